//! The voter's file: openraft's own checks of a log and a state machine, and what a disk can do to it.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};

use openraft::testing::{StoreBuilder, Suite};
use openraft::{EntryPayload, LeaderId, RaftLogReader};
use tempfile::TempDir;

use super::*;
use crate::coordination::log::Log;
use crate::coordination::machine::Machine;
use crate::coordination::types::{Command, StorageError, TypeConfig};
use crate::role::conformance::{document, version};

fn founded(dir: &Path) -> VoterFile {
    VoterFile::found(dir, 1, "a").unwrap();
    opened(dir)
}

fn opened(dir: &Path) -> VoterFile {
    VoterFile::open(dir).unwrap().unwrap()
}

fn at(term: u64, index: u64) -> LogId {
    LogId::new(LeaderId::new(term, 1), index)
}

fn blank(term: u64, index: u64) -> Entry {
    Entry { log_id: at(term, index), payload: EntryPayload::Blank }
}

fn swap(index: u64, mark: &str) -> Entry {
    let role = document(version(2, 0), mark);
    let (version, why) = (version(2, 0).into(), crate::coordination::Words::default());
    Entry {
        log_id: at(1, index),
        payload: EntryPayload::Normal(Command::Raise { version, role, why }),
    }
}

struct Builder;

impl StoreBuilder<TypeConfig, Log, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, Log, Machine), StorageError> {
        let dir = tempfile::tempdir().unwrap();
        let file = founded(dir.path());
        let machine = Machine::new(file.clone(), file.state().unwrap(), watch::Sender::default());
        Ok((dir, Log(file), machine))
    }
}

#[test]
fn it_does_what_raft_asks_of_a_log_and_a_state_machine() {
    Suite::test_all(Builder).unwrap();
}

#[test]
fn what_was_written_is_there_when_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = founded(dir.path());
    assert_eq!(*file.identity(), Identity { node: 1, name: "a".into(), founding: true });
    assert!(file.position().is_empty());
    let vote = Vote::new(7, 2);
    file.save_vote(vote).unwrap();
    file.append(&[blank(1, 0), swap(1, "x"), blank(1, 2), blank(1, 3)]).unwrap();
    file.truncate(3).unwrap();
    file.purge(at(1, 0)).unwrap();
    let mut state = State::default();
    state.apply(swap(1, "x"));
    file.save_state(&state).unwrap();
    let mut memory = Memory::default();
    memory.note(2, Position { term: 3, ..Position::default() });
    file.remember(&memory).unwrap();
    let position = file.position();
    file.close();
    assert!(matches!(file.save_vote(vote), Err(FileError::Closed)));

    let file = opened(dir.path());
    assert_eq!(
        (file.vote(), file.purged(), file.last()),
        (Some(vote), Some(at(1, 0)), Some(at(1, 2)))
    );
    assert_eq!(file.position(), position);
    assert_eq!(
        (file.position().term, file.position().voted_for, file.position().log_end),
        (7, 2, 3)
    );
    assert_eq!(file.entries(..).unwrap(), [swap(1, "x"), blank(1, 2)]);
    assert_eq!(file.state().unwrap(), state);
    assert_eq!(file.remembered().unwrap(), memory);
    assert_eq!(file.identity().node, 1);
}

#[tokio::test]
async fn long_entries_are_read_in_portions_that_fit_a_message() {
    let dir = tempfile::tempdir().unwrap();
    let file = founded(dir.path());
    // About 47,000 bytes each: the mark is in the document, and in base64 in the signature.
    let long = "x".repeat(20_000);
    let entries: Vec<Entry> = (0..6).map(|index| swap(index, &long)).collect();
    file.append(&entries).unwrap();
    let mut raft_log = Log(file);
    assert_eq!(raft_log.limited_get_log_entries(0, 6).await.unwrap(), entries[..2]);
    assert_eq!(raft_log.limited_get_log_entries(5, 6).await.unwrap(), entries[5..]);
    // All of a range, however long, and every kind of range.
    assert_eq!(raft_log.try_get_log_entries(0..6).await.unwrap(), entries);
    assert_eq!(raft_log.try_get_log_entries(1..=5).await.unwrap(), entries[1..]);
    assert_eq!(raft_log.try_get_log_entries(..).await.unwrap(), entries);
    assert_eq!(raft_log.try_get_log_entries(0..2).await.unwrap(), entries[..2]);
    assert_eq!(raft_log.try_get_log_entries(3..3).await.unwrap(), []);
}

#[test]
fn it_is_open_once_private_and_never_made_twice() {
    let dir = tempfile::tempdir().unwrap();
    assert!(VoterFile::open(dir.path()).unwrap().is_none());
    let file = founded(dir.path());
    assert!(matches!(VoterFile::open(dir.path()), Err(FileError::InUse { .. })));
    assert!(matches!(VoterFile::found(dir.path(), 1, "a"), Err(FileError::Exists { .. })));
    let mode = fs::metadata(dir.path().join(NAME)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Whatever a crash left of an earlier attempt is no obstacle.
    drop(file);
    let aside = VoterFile::set_aside(dir.path(), "outdated").unwrap();
    assert!(aside.ends_with("voter.redb.outdated-1") && aside.exists());
    fs::write(dir.path().join("voter.redb.new"), "half").unwrap();
    drop(founded(dir.path()));
    let aside = VoterFile::set_aside(dir.path(), "outdated").unwrap();
    assert!(aside.ends_with("voter.redb.outdated-2"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn a_file_that_is_not_what_was_written_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(NAME);
    let file = founded(dir.path());
    let long = "x".repeat(60_000);
    file.append(&[swap(0, &long)]).unwrap();
    drop(file);
    let good = fs::read(&path).unwrap();
    let middle = good.windows(8).position(|part| part == b"xxxxxxxx").unwrap();
    let mut wrong = good.clone();
    wrong[middle] ^= 1;
    let cases = [vec![], vec![0; 4_096], b"text".to_vec(), wrong, good[..good.len() / 2].to_vec()];
    for (case, bytes) in cases.into_iter().enumerate() {
        fs::write(&path, bytes).unwrap();
        let opened = VoterFile::open(dir.path());
        assert!(matches!(opened, Err(FileError::Damaged { .. })), "case {case}: {opened:?}");
    }
    // Another store, and another version of this one.
    fs::remove_file(&path).unwrap();
    drop(Database::create(&path).unwrap());
    assert!(matches!(VoterFile::open(dir.path()), Err(FileError::Damaged { .. })));
    fs::write(&path, &good).unwrap();
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let format = encode(&2_u32).unwrap();
    transaction.open_table(META).unwrap().insert(key::FORMAT, format.as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(database);
    assert!(matches!(VoterFile::open(dir.path()), Err(FileError::Format { got: 2, .. })));
}

#[test]
fn after_a_failed_write_nothing_is_answered_until_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = founded(dir.path());
    file.append(&[blank(1, 0)]).unwrap();
    let failure = file.failure();
    file.fill_disk(true);
    assert!(matches!(file.append(&[blank(1, 1)]), Err(FileError::Store(_))));
    assert!(failure.borrow().is_some());
    // There is room again, and this handle does not know what it wrote.
    file.fill_disk(false);
    assert!(matches!(file.append(&[blank(1, 1)]), Err(FileError::Dead(_))));
    assert!(matches!(file.entries(..), Err(FileError::Dead(_))));
    assert_eq!(file.position().log_end, 1);
    file.close();
    let file = opened(dir.path());
    assert_eq!(file.entries(..1).unwrap(), [blank(1, 0)]);
    file.append(&[blank(1, 1)]).unwrap();
}

/// A power cut while the file is written leaves what was answered. The image is taken between two
/// answered writes: the later one may be in it or not, the earlier one must be.
#[test]
fn a_copy_that_was_taken_while_it_was_written_opens() {
    let dir = tempfile::tempdir().unwrap();
    let file = founded(dir.path());
    file.append(&[blank(1, 0)]).unwrap();
    let image = fs::File::open(dir.path().join(NAME)).unwrap();
    let mut bytes = vec![0; usize::try_from(image.metadata().unwrap().len()).unwrap()];
    image.read_exact_at(&mut bytes, 0).unwrap();
    let copy = tempfile::tempdir().unwrap();
    fs::write(copy.path().join(NAME), bytes).unwrap();
    assert_eq!(opened(copy.path()).entries(..).unwrap(), [blank(1, 0)]);
}
