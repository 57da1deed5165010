use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use postern_protocol::{Digest, RoleTerm};

use super::*;
use crate::store::query::Query;
use crate::store::{Audit, StoreHandle};

/// Every file of a directory, with the digest of its bytes and the time of its last change.
fn everything(dir: &Path) -> BTreeMap<PathBuf, (Digest, SystemTime)> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| {
            let changed = fs::metadata(&path).unwrap().modified().unwrap();
            (path.clone(), (Digest::of("", &[&fs::read(&path).unwrap()]), changed))
        })
        .collect()
}

fn note(store: &mut Store, n: usize) {
    let line = Audit::now("test", "note", &n.to_string(), "");
    store.alarm(RoleTerm(1), &line).unwrap();
}

/// A store with 20 lines of audit of which the log alone holds some, while it is open.
fn live(dir: &Path) -> (PathBuf, Store) {
    let path = dir.join("store.sqlite");
    let mut store = Store::create(&path, "a").unwrap();
    (0..10).for_each(|n| note(&mut store, n));
    store.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    (10..20).for_each(|n| note(&mut store, n));
    (path, store)
}

fn lines(path: &Path) -> usize {
    let archive = Archive::open(path).unwrap();
    let lines = archive.audit(0, 100).unwrap().len();
    assert!(archive.list(&Query { limit: 5, ..Query::default() }).unwrap().items.is_empty());
    archive.check_unchanged().unwrap();
    lines
}

fn copy(from: &Path, to: &Path, ends: &[&str]) -> PathBuf {
    for end in ends {
        fs::copy(format!("{}{end}", from.display()), to.join(format!("copy.db{end}"))).unwrap();
    }
    to.join("copy.db")
}

#[test]
fn a_running_servers_store_is_read_up_to_its_last_commit_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (path, mut store) = live(dir.path());
    // Here the server is this process, whose index is writable; `tests/archive.rs` has one of its own.
    let written = || {
        let mut all = everything(dir.path());
        all.retain(|path, _| !path.to_string_lossy().ends_with("-shm"));
        all
    };
    let before = written();
    assert_eq!(before.len(), 2);
    assert_eq!(lines(&path), 20);
    assert_eq!(lines(dir.path()), 20, "its data directory may be named as well");
    assert_eq!(written(), before);
    let archive = Archive::open(&path).unwrap();
    note(&mut store, 20);
    store.connection.execute_batch("PRAGMA wal_checkpoint(PASSIVE)").unwrap();
    note(&mut store, 21);
    assert_eq!(
        archive.audit(0, 100).unwrap().len(),
        22,
        "each question sees what is there by then"
    );
    archive.check_unchanged().unwrap();
}

#[test]
fn a_copy_with_its_log_is_read_with_it_whether_the_index_was_copied_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let (path, store) = live(dir.path());
    for (ends, expected) in [
        (&["", "-wal", "-shm"][..], 20),
        (&["", "-wal"], 20),
        // A log that was not copied is not known to have been there.
        (&[""], 10),
    ] {
        let place = tempfile::tempdir().unwrap();
        let copied = copy(&path, place.path(), ends);
        let before = everything(place.path());
        assert_eq!(lines(&copied), expected, "{ends:?}");
        assert_eq!(everything(place.path()), before, "{ends:?}");

        // The same where nothing can be written at all.
        for file in before.keys() {
            fs::set_permissions(file, fs::Permissions::from_mode(0o400)).unwrap();
        }
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o500)).unwrap();
        assert_eq!(lines(&copied), expected, "{ends:?}");
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(everything(place.path()), before, "{ends:?}");
    }
    drop(store);
}

#[test]
fn a_log_that_ends_in_a_torn_commit_counts_up_to_the_last_whole_one() {
    let dir = tempfile::tempdir().unwrap();
    let (path, store) = live(dir.path());
    let place = tempfile::tempdir().unwrap();
    let copied = copy(&path, place.path(), &["", "-wal"]);
    let log = place.path().join("copy.db-wal");
    let bytes = fs::read(&log).unwrap();
    fs::write(&log, &bytes[..bytes.len() - 1_000]).unwrap();
    assert_eq!(lines(&copied), 19);
    fs::write(&log, "").unwrap();
    assert_eq!(lines(&copied), 10, "an empty log holds nothing");
    drop(store);
}

#[test]
fn a_store_that_was_closed_is_one_file_and_stays_one() {
    let dir = tempfile::tempdir().unwrap();
    let (path, store) = live(dir.path());
    drop(store);
    let before = everything(dir.path());
    assert_eq!(before.len(), 1);
    assert_eq!(lines(&path), 20);
    assert_eq!(everything(dir.path()), before);
    let strange = dir.path().join("a b?c#d%20ü.sqlite");
    fs::rename(&path, &strange).unwrap();
    assert_eq!(lines(&strange), 20);
}

#[test]
fn a_server_that_starts_meanwhile_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (path, store) = live(dir.path());
    drop(store);
    let archive = Archive::open(&path).unwrap();
    let mut store = Store::open(&path, "a").unwrap();
    note(&mut store, 20);
    let error = archive.check_unchanged().unwrap_err();
    assert!(matches!(error, StoreError::Changed { .. }), "{error}");
}

#[test]
fn what_is_no_store_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let refused = |path: &Path| Archive::open(path).map(|_| ()).unwrap_err();
    assert!(matches!(refused(&at("nowhere")), StoreError::Missing { .. }));
    assert!(matches!(refused(dir.path()), StoreError::Missing { .. }), "no store in it");
    fs::write(at("text"), "not a store, but longer than the header of one".repeat(100)).unwrap();
    fs::write(at("empty"), "").unwrap();
    rusqlite::Connection::open(at("other")).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    for name in ["text", "empty", "other"] {
        let error = refused(&at(name));
        assert!(matches!(error, StoreError::NotAStore { .. }), "{name}: {error}");
    }
    let store = Store::create(&at("newer"), "a").unwrap();
    store.connection.pragma_update(None, "user_version", 99).unwrap();
    drop(store);
    let error = refused(&at("newer"));
    assert!(matches!(error, StoreError::Version { got: 99, .. }), "{error}");
}

#[test]
fn a_damaged_file_is_an_error_and_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    let (path, store) = live(dir.path());
    drop(store);
    let whole = fs::read(&path).unwrap();
    let damaged = dir.path().join("damaged");
    let ask = || -> Result<usize, StoreError> { Ok(Archive::open(&damaged)?.audit(0, 100)?.len()) };
    fs::write(&damaged, &whole[..whole.len() / 2]).unwrap();
    let error = ask().unwrap_err();
    assert!(error.to_string().contains("malformed") && error.hint().is_some(), "{error}");
    for start in (100..whole.len() - 512).step_by(4_096) {
        let mut bytes = whole.clone();
        bytes[start..start + 512].fill(0xff);
        fs::write(&damaged, &bytes).unwrap();
        let _ = ask();
    }
}

#[tokio::test]
async fn the_server_goes_on_writing_while_an_archive_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let (path, store) = live(dir.path());
    drop(store);
    let handle = StoreHandle::open(&path, "a", tokio_util::sync::CancellationToken::new()).unwrap();
    handle.write(|store| store.alarm(RoleTerm(1), &Audit::now("t", "x", "1", ""))).await.unwrap();
    let archive = Archive::open(&path).unwrap();
    assert_eq!(archive.audit(0, 100).unwrap().len(), 21);
    handle.write(|store| store.alarm(RoleTerm(1), &Audit::now("t", "y", "2", ""))).await.unwrap();
    assert_eq!(archive.audit(0, 100).unwrap().len(), 22);
}
