//! The writer's timing and the ring's limits, seen through the journal itself.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::*;

/// Within this something has to happen that the writer does by itself after a second or two.
const SOON: Duration = Duration::from_secs(20);

fn narrow(directory: &Path, entries: u64, bytes: u64) -> Options {
    Options { capacity: Capacity { entries, bytes }, ..options(directory, entries) }
}

fn full(answer: Result<Chain, JournalError>) -> Option<Full> {
    match answer {
        Err(JournalError::Full { reason, .. }) => Some(reason),
        Ok(_) => None,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_ceiling_of_syncs_is_kept_under_sustained_traffic() {
    let directory = tempfile::tempdir().unwrap();
    let flash =
        Options { syncs_per_second: NonZeroU32::new(4), ..options(directory.path(), 1_000) };
    let journal = Journal::open(&flash).unwrap();
    let begun = tokio::time::Instant::now();
    let before = journal.traffic().syncs();
    for index in 1..=7 {
        journal.append(append(index..=index)).await.unwrap();
    }
    // The first at once, each of the others a quarter of a second after the one before it.
    assert!(begun.elapsed() >= Duration::from_millis(1_500), "{:?}", begun.elapsed());
    assert_eq!(journal.traffic().syncs() - before, 7, "a sync for each commit");
}

#[tokio::test]
async fn a_quiet_journal_settles_and_raises_safe_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::open(&options(directory.path(), 1_000)).unwrap();
    journal.append(append(1..=3)).await.unwrap();
    let syncs = journal.traffic().syncs();
    let settled = async {
        while journal.traffic().syncs() == syncs {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, settled).await.expect("it never settles");
    journal.raise_safe(Seq(2));
    let mut state = journal.state();
    let raised = state.wait_for(|state| state.safe() == Seq(2));
    tokio::time::timeout(SOON, raised).await.expect("safe never rises").unwrap();
}

#[tokio::test]
async fn a_disk_that_has_room_again_is_noticed_without_being_asked() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(&options(directory.path(), 1_000)).unwrap();
    let free = Arc::new(AtomicU64::new(0));
    let shown = Arc::clone(&free);
    store.set_free_space(Box::new(move || Some(shown.load(Ordering::Relaxed))));
    let order = writer::Order::CommitThenAnswer;
    let journal = Journal::start(store, Pace::new(None), order).unwrap();
    assert_eq!(full(journal.append(append(1..=1)).await), Some(Full::Disk));
    free.store(u64::MAX, Ordering::Relaxed);
    let mut state = journal.state();
    let room = state.wait_for(|state| state.ring.full.is_none());
    tokio::time::timeout(SOON, room).await.expect("it stays full").unwrap();
    assert_eq!(full(journal.append(append(1..=1)).await), None);
}

/// The limit in bytes: fills, holds back, is freed by `safe` in the middle of a segment, survives a
/// reopening, and bounds what is held.
#[tokio::test]
async fn the_limit_in_bytes_is_a_limit_as_the_one_in_entries() {
    let directory = tempfile::tempdir().unwrap();
    let options = narrow(directory.path(), 1_000_000, 12_000);
    let journal = Journal::open(&options).unwrap();
    let mut next = 1;
    let mut fill = async |journal: &Journal| {
        while full(journal.append(append(next..=next + 9)).await).is_none() {
            next += 10;
        }
        next - 1
    };
    let first = fill(&journal).await;
    let held = journal.state().borrow().ring;
    assert_eq!(held.full, Some(Full::Bytes));
    assert!(held.unsafe_part().bytes <= 12_000 && held.unsafe_part().bytes > 10_000, "{held:?}");
    let closed = journal.closed();
    drop(journal);
    closed.await;

    let journal = Journal::open(&options).unwrap();
    let ring = |journal: &Journal| journal.state().borrow().ring;
    assert_eq!(ring(&journal).unsafe_part(), held.unsafe_part());
    // In the middle of a segment: that one counts whole.
    journal.raise_safe(Seq(first / 2 + 5));
    journal.barrier().await.unwrap();
    let half = ring(&journal).unsafe_part();
    assert!(half.bytes > held.unsafe_part().bytes / 3, "{half:?}");
    assert!(half.bytes < held.unsafe_part().bytes * 2 / 3, "{half:?}");
    let closed = journal.closed();
    drop(journal);
    closed.await;
    let journal = Journal::open(&options).unwrap();
    assert_eq!(ring(&journal).unsafe_part(), half, "another count after reopening");

    for _ in 0..20 {
        let last = Seq(fill(&journal).await);
        journal.raise_safe(last);
        journal.barrier().await.unwrap();
        assert!(ring(&journal).held().bytes <= 14_000, "{:?}", ring(&journal).held());
    }
    assert!(first * 10 < ring(&journal).head.seq.0, "it did not go round");
}

#[test]
fn appends_that_share_a_commit_do_not_overshoot_together() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(&options(directory.path(), 100)).unwrap();
    let group = [append(1..=60), append(61..=120)].map(|append| Change::append(append).unwrap());
    let outcomes = store.commit(&group).unwrap().outcomes;
    assert!(matches!(outcomes[..], [Ok(()), Err(JournalError::Full { .. })]), "{outcomes:?}");
}

/// What is appended above the capacity to empty a full journal must not keep it from being opened.
#[tokio::test]
async fn a_full_journal_with_notes_opens_again() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path(), 20);
    let mut store = Store::open(&options).unwrap();
    let epoch = EpochRecord {
        epoch: EpochId([1; 16]),
        controller: CONTROLLER,
        predecessor: None,
        known_as: Some(EpochId([2; 16])),
    };
    let notes = [transaction(21), transaction(22)];
    let changes =
        [Change::append(append(1..=20)).unwrap(), Change::resolve(epoch, &notes).unwrap()];
    store.commit(&changes).unwrap();
    drop(store);
    assert_eq!(Store::open(&options).unwrap().state().unsafe_entries(), 22);
}

#[test]
fn a_batch_keeps_to_its_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(&options(directory.path(), 1_000)).unwrap();
    for start in (1..=200).step_by(10) {
        store.commit(&[Change::append(append(start..=start + 9)).unwrap()]).unwrap();
    }
    let reader = Reader::new(Arc::clone(store.database()));
    let one = reader.batch(Seq(1), 1, usize::MAX).unwrap().unwrap();
    let size = one.iter().map(|(_, entry)| entry.len() + 2).sum::<usize>();
    let some = reader.batch(Seq(1), 1_000, size * 35).unwrap().unwrap();
    assert!((10..=36).contains(&some.len()), "{} entries", some.len());
}
