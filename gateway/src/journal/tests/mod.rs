use std::io;
use std::sync::{Condvar, Mutex};

use postern_protocol::transaction::{Occurred, RawRecord};
use postern_protocol::{EpochId, Index, Kind, Origin, Timestamp};
use proptest::prelude::*;
use redb::{ReadableDatabase, ReadableTable};

use super::*;

mod backend;
mod bad;
mod crash;
mod fault;
mod limit;
mod model;
mod rig;
mod truth;

const ID: JournalId = JournalId([7; 16]);
const CONTROLLER: ControllerId = ControllerId::uhppote(1);

fn transaction(index: u64) -> Transaction {
    Transaction {
        origin: Origin::Controller {
            controller: CONTROLLER,
            epoch: EpochId([1; 16]),
            index: Index(index),
        },
        kind: Kind::Granted,
        occurred: Occurred::ABSENT,
        received: Timestamp(0),
        door: None,
        direction: None,
        credential: None,
        raw: RawRecord::new(&index.to_be_bytes()).unwrap(),
    }
}

fn append(indices: std::ops::RangeInclusive<u64>) -> Append {
    let cursor = Cursor {
        epoch: EpochId([1; 16]),
        index: Index(*indices.end()),
        anchor: transaction(*indices.end()).raw.digest(),
    };
    let transactions = indices.map(transaction).collect();
    Append { controller: CONTROLLER, transactions, cursor, opens: None, drops_held: None }
}

fn options(directory: &Path, capacity: u64) -> Options {
    Options {
        path: path(directory),
        gateway: "hall".to_owned(),
        capacity: Capacity { entries: capacity, bytes: 100_000_000 },
        syncs_per_second: None,
        reserve: 0,
    }
}

fn indices(reader: &Reader) -> Vec<u64> {
    let Some(batch) = reader.batch(Seq(1), usize::MAX, usize::MAX).unwrap() else {
        return Vec::new();
    };
    let index = |bytes: &[u8]| match Transaction::decode(bytes).unwrap().origin {
        Origin::Controller { index, .. } => index.0,
        Origin::Gateway { .. } => 0,
    };
    batch.iter().map(|(_, bytes)| index(bytes)).collect()
}

/// Memory that remembers what was synced, and can hold a sync back until it is told to go on.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<(Mutex<DiskState>, Condvar)>);

#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "one switch for each way to misbehave")]
struct DiskState {
    now: Vec<u8>,
    synced: Vec<u8>,
    hold: bool,
    held: bool,
    fail: bool,
    panic: bool,
}

impl Disk {
    fn set(&self, change: impl FnOnce(&mut DiskState)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    fn wait_until_held(&self) {
        let state = self.0.0.lock().unwrap();
        let within = std::time::Duration::from_secs(20);
        let (state, timeout) =
            self.0.1.wait_timeout_while(state, within, |state| !state.held).unwrap();
        drop(state);
        assert!(!timeout.timed_out(), "the writer committed without a sync");
    }

    /// What a power cut now would leave of what was never synced: nothing.
    fn after_power_cut(&self) -> Self {
        let synced = self.0.0.lock().unwrap().synced.clone();
        let disk = Self::default();
        disk.set(|state| (state.now, state.synced) = (synced.clone(), synced));
        disk
    }

    fn store(&self) -> Store {
        Store::on(self.clone(), &options(Path::new("memory"), 1_000), ID).unwrap()
    }
}

fn start(disk: &Disk, order: writer::Order) -> Journal {
    Journal::start(disk.store(), Pace::new(None), order).unwrap()
}

impl redb::StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.0.lock().unwrap().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        out.copy_from_slice(&self.0.0.lock().unwrap().now[offset..offset + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.set(|state| state.now.resize(usize::try_from(len).unwrap(), 0));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.0.lock().unwrap();
        if state.fail {
            return Err(io::Error::from_raw_os_error(5));
        }
        if state.panic {
            drop(state);
            panic!("as redb does on a damaged page");
        }
        if state.hold {
            state.held = true;
            self.0.1.notify_all();
            state = self.0.1.wait_while(state, |state| state.hold).unwrap();
        }
        state.synced = state.now.clone();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.set(|state| state.now[offset..offset + data.len()].copy_from_slice(data));
        Ok(())
    }
}

/// Sends an append while the disk holds its sync back, and tells whether the caller was answered
/// before the sync was done, and what a power cut at that moment leaves.
async fn answered_before_the_sync(order: writer::Order) -> (bool, Vec<u64>) {
    let disk = Disk::default();
    let journal = start(&disk, order);
    disk.set(|state| state.hold = true);
    let mut answer = Box::pin(journal.append(append(1..=3)));
    // Polled so that the request is on its way to the writer thread, then once more while the sync is
    // held back: a future that has resolved is not polled again.
    let at_once = futures_util::poll!(&mut answer).is_ready();
    disk.wait_until_held();
    let answered = at_once || futures_util::poll!(&mut answer).is_ready();
    let left = disk.after_power_cut();
    let survived = indices(&Reader::new(Arc::clone(left.store().database())));
    disk.set(|state| state.hold = false);
    if !answered {
        answer.await.unwrap();
    }
    (answered, survived)
}

/// Invariant 1. The second half shows that the first can fail.
#[tokio::test]
async fn the_fsync_stands_before_the_acknowledgement() {
    let (answered, survived) = answered_before_the_sync(writer::Order::CommitThenAnswer).await;
    assert!(!answered, "acknowledged before the sync");
    assert!(survived.is_empty());

    let (answered, survived) = answered_before_the_sync(writer::Order::AnswerThenCommit).await;
    assert!(answered && survived.is_empty(), "the wrong order was not caught");
}

/// Invariant 1, once more from the other side: whatever was acknowledged survives a power cut.
#[tokio::test]
async fn what_was_acknowledged_survives_a_power_cut() {
    let disk = Disk::default();
    let journal = start(&disk, writer::Order::CommitThenAnswer);
    for round in 0..20 {
        journal.append(append(round * 5 + 1..=round * 5 + 5)).await.unwrap();
        let after = disk.after_power_cut().store();
        let reader = Reader::new(Arc::clone(after.database()));
        let expected: Vec<u64> = (1..=round * 5 + 5).collect();
        assert_eq!(indices(&reader), expected);
        // Invariant 2: the cursor is there with what it covers.
        assert_eq!(reader.cursors().unwrap()[&CONTROLLER].index, Index(round * 5 + 5));
    }
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_acknowledged_any_more() {
    let disk = Disk::default();
    let journal = start(&disk, writer::Order::CommitThenAnswer);
    journal.append(append(1..=1)).await.unwrap();
    disk.set(|state| state.fail = true);
    assert!(matches!(journal.append(append(2..=2)).await, Err(JournalError::Dead { .. })));
    disk.set(|state| state.fail = false);
    assert!(matches!(journal.append(append(2..=2)).await, Err(JournalError::Dead { .. })));
    assert!(journal.state().borrow().dead.is_some());
}

/// A writer that panics must neither acknowledge nor keep whoever waits for the file waiting.
#[tokio::test]
async fn a_panic_of_the_store_is_a_dead_journal() {
    let disk = Disk::default();
    let journal = start(&disk, writer::Order::CommitThenAnswer);
    disk.set(|state| state.panic = true);
    assert!(matches!(journal.append(append(1..=1)).await, Err(JournalError::Dead { .. })));
    assert!(journal.state().borrow().dead.is_some());
    let closed = journal.closed();
    drop(journal);
    tokio::time::timeout(std::time::Duration::from_secs(20), closed).await.unwrap();
}

/// How a journal opens after a power cut, for a bit flipped in each page that its last data commit wrote
/// and that is still there: silently back before that commit, or not.
fn flips(settled: bool) -> (usize, usize) {
    const PAGE: usize = 4_096;
    let disk = Disk::default();
    let mut store = disk.store();
    store.commit(&[Change::append(append(1..=40)).unwrap()]).unwrap();
    store.commit(&[]).unwrap();
    let before = disk.0.0.lock().unwrap().synced.clone();
    store.commit(&[Change::append(append(41..=60)).unwrap()]).unwrap();
    let after = disk.0.0.lock().unwrap().synced.clone();
    if settled {
        store.commit(&[]).unwrap();
    }
    let image = disk.0.0.lock().unwrap().synced.clone();
    let (mut tried, mut back) = (0, 0);
    for page in 1..image.len() / PAGE {
        let at = |image: &[u8]| image.get(page * PAGE..(page + 1) * PAGE).map(<[u8]>::to_vec);
        if at(&before) == at(&after) || at(&after) != at(&image) {
            continue;
        }
        // Where something was written: what lies behind it in the page is covered by no checksum.
        let mut rotten = image.clone();
        rotten[page * PAGE + 5] ^= 0x04;
        let disk = Disk::default();
        disk.set(|state| (state.now, state.synced) = (rotten.clone(), rotten));
        let options = options(Path::new("memory"), 1_000);
        let opened = std::panic::catch_unwind(|| Store::on(disk, &options, ID));
        tried += 1;
        back += usize::from(matches!(opened, Ok(Ok(store)) if store.state().head.seq < Seq(60)));
    }
    (tried, back)
}

/// ADR-0005. The second half shows what settling is for.
#[test]
fn a_flipped_bit_takes_nothing_back_once_the_journal_has_settled() {
    let (tried, back) = flips(true);
    assert!(tried >= 2, "no page of the commit is left to flip");
    assert_eq!(back, 0, "{back} of {tried} flips took acknowledged entries back in silence");
    let (tried, back) = flips(false);
    assert!(back > 0, "none of {tried}: then settling is for nothing");
}

fn role(document: &str) -> SignedRole {
    let bytes = postern_protocol::uplink::Bytes::default();
    SignedRole { document: document.to_owned(), certificate: bytes.clone(), signature: bytes }
}

/// Invariant 8.
#[tokio::test]
async fn a_lower_role_document_never_replaces_a_higher_one() {
    let disk = Disk::default();
    let journal = start(&disk, writer::Order::CommitThenAnswer);
    assert!(journal.remember_role(RoleTerm(7), role("seven")).await.unwrap());
    assert!(!journal.remember_role(RoleTerm(5), role("five")).await.unwrap());
    let kept = Some((RoleTerm(7), role("seven")));
    assert_eq!(journal.reader().role().unwrap(), kept);
    let after = disk.after_power_cut().store();
    assert_eq!(Reader::new(Arc::clone(after.database())).role().unwrap(), kept);
}

/// Invariant 3, where `safe` falls into the middle of a segment.
#[tokio::test]
async fn a_segment_that_reaches_above_safe_is_kept_whole() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::open(&options(directory.path(), 100)).unwrap();
    for start in (1..=100).step_by(10) {
        journal.append(append(start..=start + 9)).await.unwrap();
    }
    journal.raise_safe(Seq(5));
    journal.barrier().await.unwrap();
    journal.append(append(101..=105)).await.unwrap();
    assert!(indices(journal.reader()).contains(&6), "an unsafe entry was reused");
}

/// Without the notes of a settled epoch nothing could be sent, and a full journal never emptied.
#[tokio::test]
async fn a_full_journal_still_takes_what_is_needed_to_empty_it() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::open(&options(directory.path(), 20)).unwrap();
    journal.append(append(1..=20)).await.unwrap();
    let epoch = EpochRecord {
        epoch: EpochId([1; 16]),
        controller: CONTROLLER,
        predecessor: None,
        known_as: Some(EpochId([2; 16])),
    };
    journal.resolve(epoch, &[transaction(21)]).await.unwrap();
    assert_eq!(journal.reader().epochs().unwrap(), [epoch]);
    journal.raise_safe(Seq(21));
    journal.barrier().await.unwrap();
    journal.append(append(22..=30)).await.unwrap();
}

/// Invariant 3.
#[tokio::test]
async fn nothing_above_safe_is_ever_reused() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::open(&options(directory.path(), 100)).unwrap();
    for start in (1..=100).step_by(10) {
        journal.append(append(start..=start + 9)).await.unwrap();
    }
    let full = journal.append(append(101..=101)).await;
    assert!(matches!(
        full,
        Err(JournalError::Full { unsafe_entries: 100, reason: Full::Entries, .. })
    ));
    assert_eq!(indices(journal.reader()), (1..=100).collect::<Vec<_>>());

    journal.raise_safe(Seq(35));
    journal.barrier().await.unwrap();
    journal.append(append(101..=120)).await.unwrap();
    let held = indices(journal.reader());
    assert!(held.contains(&36), "an unsafe entry was reused");
    assert_eq!(held.last(), Some(&120));
    assert!(journal.state().borrow().oldest() <= Seq(36));

    journal.raise_safe(Seq(1));
    journal.barrier().await.unwrap();
    assert_eq!(journal.state().borrow().safe(), Seq(35), "safe fell");
    journal.raise_safe(Seq(999));
    journal.barrier().await.unwrap();
    assert_eq!(journal.state().borrow().safe(), Seq(120), "safe above the head");
}

#[tokio::test]
async fn delivered_history_is_kept_as_long_as_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::open(&options(directory.path(), 100)).unwrap();
    for start in (1..=90).step_by(10) {
        journal.append(append(start..=start + 9)).await.unwrap();
        journal.raise_safe(Seq(start + 9));
        journal.barrier().await.unwrap();
    }
    assert_eq!(indices(journal.reader()).len(), 90);
    for start in (91..=990).step_by(10) {
        journal.append(append(start..=start + 9)).await.unwrap();
        journal.raise_safe(Seq(start + 9));
        journal.barrier().await.unwrap();
        assert!(indices(journal.reader()).len() <= 100);
    }
}

#[tokio::test]
async fn a_reopened_journal_goes_on_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path(), 100);
    let (id, head) = {
        let journal = Journal::open(&options).unwrap();
        let head = journal.append(append(1..=5)).await.unwrap();
        let id = journal.state().borrow().id;
        (id, head)
    };
    let store = loop {
        // The writer thread lets go of the file when the last handle is gone.
        match Store::open(&options) {
            Err(JournalError::InUse { .. }) => std::thread::yield_now(),
            other => break other.unwrap(),
        }
    };
    assert_eq!((store.state().id, store.state().head), (id, head));
    let reader = Reader::new(Arc::clone(store.database()));
    assert_eq!(reader.chain_at(Seq(5)).unwrap(), Some(head));
    assert_eq!(reader.chain_at(Seq(0)).unwrap(), Some(Chain::genesis(id)));
    assert_eq!(reader.chain_at(Seq(6)).unwrap(), None);
    let batch = reader.batch(Seq(3), 2, usize::MAX).unwrap().unwrap();
    assert_eq!(batch.before.seq, Seq(2));
    assert_eq!(batch.len(), 2);
}

#[test]
fn a_second_process_a_foreign_owner_and_a_file_that_is_no_journal_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path(), 100);
    let store = Store::open(&options).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(&options.path).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600, "others may read it");
    assert!(matches!(Store::open(&options), Err(JournalError::InUse { .. })));
    drop(store);
    let other = Options { gateway: "yard".to_owned(), ..options.clone() };
    assert!(matches!(Store::open(&other), Err(JournalError::Foreign { .. })));
    std::fs::write(&options.path, b"this is no journal at all, just some bytes").unwrap();
    assert!(matches!(Store::open(&options), Err(JournalError::NoJournal { .. })));
    assert!(std::fs::read(&options.path).unwrap().starts_with(b"this is no journal"));
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path(), 100);
    let store = Store::open(&options).unwrap();
    let transaction = store.database().begin_write().unwrap();
    let newer = postcard::to_allocvec(&(format::FORMAT + 1)).unwrap();
    let mut table = transaction.open_table(format::META).unwrap();
    table.insert(format::META_FORMAT, newer.as_slice()).unwrap();
    drop(table);
    transaction.commit().unwrap();
    drop(store);
    assert!(matches!(
        Store::open(&options),
        Err(JournalError::NewerFormat { format: 3, supported: 2, .. })
    ));
}

#[test]
fn a_wrong_byte_in_a_segment_is_never_read_as_right() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(&options(directory.path(), 100)).unwrap();
    store.commit(&[Change::append(append(1..=3)).unwrap()]).unwrap();
    let transaction = store.database().begin_write().unwrap();
    let mut table = transaction.open_table(format::LOG).unwrap();
    let mut bytes = table.get(1).unwrap().unwrap().value().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    table.insert(1, bytes.as_slice()).unwrap();
    drop(table);
    transaction.commit().unwrap();
    let reader = Reader::new(Arc::clone(store.database()));
    assert!(matches!(
        reader.batch(Seq(1), 10, usize::MAX),
        Err(JournalError::Corrupt { at: Seq(1) })
    ));
}

#[test]
fn a_forked_journal_has_a_new_name_and_everything_that_the_old_one_held() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path(), 5_000);
    let mut store = Store::open(&options).unwrap();
    for start in (1..=3_000).step_by(100) {
        store.commit(&[Change::append(append(start..=start + 99)).unwrap()]).unwrap();
    }
    let epoch = EpochRecord {
        epoch: EpochId([1; 16]),
        controller: CONTROLLER,
        predecessor: None,
        known_as: Some(EpochId([2; 16])),
    };
    let changes = [Change::Role(RoleTerm(3), role("three")), Change::resolve(epoch, &[]).unwrap()];
    store.commit(&changes).unwrap();
    // What the gateway alone numbers begins anew: another past may have given the next numbers already.
    let seen_only = ControllerId::modbus(80_001);
    let mut seen = append(3_001..=3_002);
    seen.controller = seen_only;
    store.commit(&[Change::append(seen).unwrap()]).unwrap();
    assert!(Reader::new(Arc::clone(store.database())).cursors().unwrap().contains_key(&seen_only));
    let (old_id, old_head) = (store.state().id, store.state().head);
    drop(store);
    let aside = fork(&options, "20261123T120000Z").unwrap();
    let store = Store::open(&options).unwrap();
    assert_ne!(store.state().id, old_id);
    assert_eq!(store.state().head.seq, old_head.seq);
    assert_ne!(store.state().head.hash, old_head.hash);
    let reader = Reader::new(Arc::clone(store.database()));
    assert_eq!(indices(&reader), (1..=3_002).collect::<Vec<_>>());
    assert!(!reader.cursors().unwrap().contains_key(&seen_only));
    assert_eq!(reader.chain_at(old_head.seq).unwrap(), Some(store.state().head));
    assert_eq!(reader.cursors().unwrap()[&CONTROLLER].index, Index(3_000));
    assert_eq!(reader.role().unwrap(), Some((RoleTerm(3), role("three"))));
    assert_eq!(reader.epochs().unwrap(), [epoch]);
    let old = Store::open(&Options { path: aside, ..options }).unwrap();
    assert_eq!(old.state().id, old_id);
}

/// A disk that others fill holds collectors back before a write fails, gives the reserve up for what has
/// to be written still, and goes on by itself.
#[tokio::test]
async fn a_full_disk_stops_collecting_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { reserve: 100_000, ..options(directory.path(), 1_000) };
    let mut store = Store::open(&options).unwrap();
    let free = Arc::new(std::sync::atomic::AtomicU64::new(u64::MAX));
    let shown = Arc::clone(&free);
    store.set_free_space(Box::new(move || Some(shown.load(std::sync::atomic::Ordering::Relaxed))));
    let held_back = |store: &mut Store, index| {
        let committed = store.commit(&[Change::append(append(index..=index)).unwrap()]).unwrap();
        matches!(committed.outcomes[..], [Err(JournalError::Full { reason: Full::Disk, .. })])
    };
    let reserved = |store: &Store| {
        let transaction = store.database().begin_read().unwrap();
        transaction.open_table(format::RESERVE).unwrap().get(()).unwrap().is_some()
    };
    assert!(!held_back(&mut store, 1) && reserved(&store));
    free.store(1_000_000, std::sync::atomic::Ordering::Relaxed);
    assert!(held_back(&mut store, 2) && !reserved(&store));
    assert!(store.commit(&[Change::Role(RoleTerm(1), role("one"))]).unwrap().outcomes[0].is_ok());
    free.store(9_000_000, std::sync::atomic::Ordering::Relaxed);
    assert!(held_back(&mut store, 2), "it swings");
    free.store(90_000_000, std::sync::atomic::Ordering::Relaxed);
    assert!(!held_back(&mut store, 2) && reserved(&store));
    assert_eq!(indices(&Reader::new(Arc::clone(store.database()))), [1, 2]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    /// Power cuts between commits: what was committed is there, once, in order, and goes on.
    #[test]
    fn appends_and_power_cuts_agree_with_a_list(
        steps in proptest::collection::vec((1u64..30, any::<bool>()), 1..20),
    ) {
        let mut disk = Disk::default();
        let mut store = disk.store();
        let mut next = 1;
        for (size, cut) in steps {
            store.commit(&[Change::append(append(next..=next + size - 1)).unwrap()]).unwrap();
            next += size;
            if cut {
                disk = disk.after_power_cut();
                store = disk.store();
            }
            let expected: Vec<u64> = (1..next).collect();
            prop_assert_eq!(indices(&Reader::new(Arc::clone(store.database()))), expected);
        }
    }
}
