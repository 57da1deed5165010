//! Damaged files: whatever happened to one, nothing wrong is read as right, nothing is hidden, and the
//! gateway is back.

use std::collections::BTreeSet;
use std::time::Duration;

use postern_protocol::Timestamp;
use postern_protocol::transaction::{Occurred, RawRecord};
use tokio::time::Instant;

use super::super::store::Store;
use super::super::{Append, Capacity, Change, Reader};
use super::*;

const CONTROLLERS: u32 = 4;

fn controller(number: u32) -> ControllerId {
    ControllerId::uhppote(number)
}

fn epoch(number: u32) -> EpochId {
    EpochId([number.to_le_bytes()[0]; 16])
}

fn record(number: u32, index: u64) -> Transaction {
    let (controller, epoch) = (controller(number), epoch(number));
    let raw = [&number.to_be_bytes()[..], &index.to_be_bytes(), &[0x5A; 40]].concat();
    Transaction {
        origin: Origin::Controller { controller, epoch, index: Index(index) },
        kind: Kind::Granted,
        occurred: Occurred::ABSENT,
        received: Timestamp(1_700_000_000_000),
        door: None,
        direction: None,
        credential: None,
        raw: RawRecord::new(&raw).unwrap(),
    }
}

/// A journal of several controllers that was filled, delivered in part, trimmed and closed, and what
/// is true about it.
struct Base {
    options: Options,
    directory: tempfile::TempDir,
    whole: Vec<u8>,
    /// The same file some commits earlier.
    earlier: Vec<u8>,
    /// Every entry ever, by position.
    truth: Vec<(u32, u64)>,
    safe: Seq,
    oldest: Seq,
    head: Seq,
    id: JournalId,
}

/// A small generator, so that a failure can be repeated from its number.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

impl Base {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = Options {
            path: directory.path().join("journal.redb"),
            gateway: "hall".to_owned(),
            capacity: Capacity { entries: 900, bytes: 10_000_000 },
            syncs_per_second: None,
            reserve: 0,
        };
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        let mut store = Store::open(&options).unwrap();
        let (mut truth, mut next) = (Vec::new(), [1u64; CONTROLLERS as usize]);
        let mut earlier = Vec::new();
        for round in 0..150 {
            let mut group = Vec::new();
            for _ in 0..=random.below(3) {
                let number = u32::try_from(random.below(CONTROLLERS as usize)).unwrap();
                let first = next[number as usize];
                let count = 1 + random.below(12) as u64;
                next[number as usize] += count;
                let transactions: Vec<_> =
                    (first..first + count).map(|index| record(number, index)).collect();
                truth.extend((first..first + count).map(|index| (number, index)));
                let last = transactions.last().unwrap().record_digest();
                let index = Index(first + count - 1);
                let cursor = Cursor { epoch: epoch(number), index, anchor: last };
                let opens = (first == 1).then_some(EpochRecord {
                    epoch: epoch(number),
                    controller: controller(number),
                    predecessor: None,
                    known_as: Some(epoch(number)),
                });
                let controller = controller(number);
                let drops_held = None;
                let append = Append { controller, transactions, cursor, opens, drops_held };
                group.push(Change::append(append).unwrap());
            }
            if round % 5 == 4 {
                let lag = 250 + random.below(100) as u64;
                group.push(Change::Safe(Seq(store.state().head.seq.0.saturating_sub(lag))));
            }
            store.commit(&group).unwrap();
            if round == 120 {
                earlier = std::fs::read(&options.path).unwrap();
            }
        }
        let state = store.state().clone();
        drop(store);
        let whole = std::fs::read(&options.path).unwrap();
        let (safe, oldest) = (state.safe(), state.oldest());
        assert!(oldest > Seq(1) && safe > oldest && safe < state.head.seq, "the base is no ring");
        let (head, id) = (state.head.seq, state.id);
        Self { options, directory, whole, earlier, truth, safe, oldest, head, id }
    }

    fn at(&self, seq: u64) -> Vec<u8> {
        let (number, index) = self.truth[usize::try_from(seq - 1).unwrap()];
        let mut buffer = [0; postern_protocol::transaction::MAX_ENTRY];
        record(number, index).encode(&mut buffer).unwrap().to_vec()
    }

    /// Puts a file in the place of the journal and clears away what an earlier one left.
    fn put(&self, bytes: &[u8]) {
        for file in std::fs::read_dir(self.directory.path()).unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
        std::fs::write(&self.options.path, bytes).unwrap();
    }

    /// Opens whatever is there, as the daemon does, and checks all that must hold.
    fn check(&self, what: &str) -> Outcome {
        let begun = Instant::now();
        let (store, salvaged) = match Store::open(&self.options) {
            Ok(store) => (store, None),
            Err(JournalError::Damaged { reason, .. }) => {
                let report = salvage(&self.options, &reason, "20261124T000000Z").unwrap();
                assert!(report.aside.exists(), "{what}: the damaged file is gone");
                (Store::open(&self.options).unwrap(), Some(report))
            }
            Err(error) => panic!("{what}: the gateway stays down: {error}"),
        };
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(10), "{what}: {took:?}");
        let reader = Reader::new(store.database().clone());
        let mut entries = Vec::new();
        while let Some(batch) = reader
            .batch(Seq(entries.len() as u64 + store.state().oldest().0), 500, 100_000)
            .unwrap()
        {
            entries.extend(batch.iter().map(|(_, entry)| entry.to_vec()));
        }
        if salvaged.is_none() {
            assert_eq!(store.state().id, self.id, "{what}");
            assert_eq!(store.state().head.seq, self.head, "{what}: it stepped back in silence");
            let expected: Vec<_> = (self.oldest.0..=self.head.0).map(|seq| self.at(seq)).collect();
            assert!(entries == expected, "{what}: something wrong was read as right");
            return Outcome::Unharmed;
        }
        assert_ne!(store.state().id, self.id, "{what}: a salvaged journal has a new id");
        self.check_salvaged(what, &reader, &entries);
        let report = salvaged.unwrap();
        assert_eq!(report.entries, entries.len() as u64, "{what}");
        Outcome::Salvaged(Box::new(report))
    }

    fn check_salvaged(&self, what: &str, reader: &Reader, entries: &[Vec<u8>]) {
        let known: BTreeSet<Vec<u8>> = (1..=self.head.0).map(|seq| self.at(seq)).collect();
        let mut seen = BTreeMap::<ControllerId, BTreeSet<Index>>::new();
        for entry in entries {
            assert!(known.contains(entry), "{what}: an entry that never was");
            let origin = Transaction::decode(entry).unwrap().origin;
            let Origin::Controller { controller, index, .. } = origin else { panic!() };
            let indices = seen.entry(controller).or_default();
            assert!(indices.last().is_none_or(|last| *last < index), "{what}: order or a double");
            indices.insert(index);
        }
        let cursors = reader.cursors().unwrap();
        for number in 0..CONTROLLERS {
            let indices = seen.remove(&controller(number)).unwrap_or_default();
            let Some(cursor) = cursors.get(&controller(number)) else {
                assert!(indices.is_empty(), "{what}: entries without a cursor");
                continue;
            };
            assert_eq!(Some(&cursor.index), indices.last(), "{what}: a cursor of its own");
            let digest = record(number, cursor.index.0).record_digest();
            assert_eq!(cursor.anchor, digest, "{what}: an anchor of another record");
            // Nothing hidden: what a cursor covers is there, or was safe on the servers.
            for (seq, (n, index)) in (1..).zip(&self.truth) {
                if *n == number && *index <= cursor.index.0 && Seq(seq) > self.safe {
                    assert!(indices.contains(&Index(*index)), "{what}: {n}/{index} is hidden");
                }
            }
            // What is held stands behind the cursor.
            for (_, held) in reader.held(controller(number), None, 10_000).unwrap() {
                let Origin::Controller { index, .. } = held.origin else { panic!() };
                assert!(index > cursor.index, "{what}: {index} is held before the cursor");
                assert_eq!(held.record_digest(), record(number, index.0).record_digest());
            }
        }
    }
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Unharmed,
    Salvaged(Box<Salvaged>),
}

const PAGE: usize = 4_096;

/// One of the ways in which files rot.
fn rot(base: &Base, number: u64) -> (String, Vec<u8>) {
    let mut random = Random(number.wrapping_mul(0x2545_F491_4F6C_DD1D) | 1);
    for _ in 0..8 {
        random.below(2);
    }
    let mut bytes = base.whole.clone();
    let pages = bytes.len() / PAGE;
    let kind = number % 5;
    let what = match kind {
        0 => {
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
            format!("#{number}: a flipped bit at {at}")
        }
        1 => {
            let page = random.below(pages);
            bytes[page * PAGE..][..PAGE].fill(0);
            format!("#{number}: page {page} zeroed")
        }
        2 => {
            let (a, b) = (random.below(pages), random.below(pages));
            let copy = bytes[a * PAGE..][..PAGE].to_vec();
            bytes.copy_within(b * PAGE..(b + 1) * PAGE, a * PAGE);
            bytes[b * PAGE..][..PAGE].copy_from_slice(&copy);
            format!("#{number}: pages {a} and {b} swapped")
        }
        3 => {
            let page = random.below(pages.min(base.earlier.len() / PAGE));
            bytes[page * PAGE..][..PAGE].copy_from_slice(&base.earlier[page * PAGE..][..PAGE]);
            format!("#{number}: page {page} is stale")
        }
        _ => {
            let len = random.below(bytes.len());
            bytes.truncate(len);
            format!("#{number}: cut off at {len}")
        }
    };
    (what, bytes)
}

/// The number of files; `POSTERN_ROT_FILES` asks for more.
fn files() -> u64 {
    std::env::var("POSTERN_ROT_FILES").map_or(200, |count| count.parse().unwrap())
}

#[test]
fn rot_is_never_read_as_right_and_never_keeps_the_gateway_down() {
    let base = Base::new();
    let (mut salvaged, mut missing, mut held) = (0, 0, 0);
    let begun = Instant::now();
    for number in 0..files() {
        let (what, bytes) = rot(&base, number);
        base.put(&bytes);
        if let Outcome::Salvaged(report) = base.check(&what) {
            salvaged += 1;
            missing += report.missing;
            held += report.held;
        }
    }
    println!(
        "{} files rotted: {salvaged} set aside and salvaged, {} unharmed; {missing} entries missing, {held} held; {:.1} s",
        files(),
        files() - salvaged,
        begun.elapsed().as_secs_f64()
    );
    assert!(salvaged > files() / 4, "hardly any file was harmed: {salvaged}");
    assert!(missing > 0 && held > 0, "nothing was ever lost: the rot does no harm");
}

#[test]
fn a_whole_file_is_salvaged_whole() {
    let base = Base::new();
    base.put(&base.whole);
    let report = salvage(&base.options, "for the test", "20261124T000000Z").unwrap();
    assert_eq!((report.missing, report.held, report.read_again.len()), (0, 0, 0));
    assert_eq!(report.entries, base.head.0 - base.oldest.0 + 1);
    let store = Store::open(&base.options).unwrap();
    let reader = Reader::new(store.database().clone());
    let epochs = reader.epochs().unwrap();
    assert!(epochs.iter().all(|epoch| epoch.known_as.is_some()) && !epochs.is_empty());
    assert_eq!(std::fs::read(&report.aside).unwrap(), base.whole, "the evidence was changed");
    assert_eq!(salvages(&base.options.path), [report]);
}

/// The numbers that the operator is told, of a hole whose size is known.
#[test]
fn a_lost_segment_is_told_in_numbers() {
    let base = Base::new();
    base.put(&base.whole);
    let gone = {
        let store = Store::open(&base.options).unwrap();
        let reader = Reader::new(store.database().clone());
        reader.batch(Seq(base.head.0 - 100), 1, 1).unwrap().unwrap().last()
    };
    // Every copy of the segment that holds this entry is broken in one byte.
    let mut bytes = base.whole.clone();
    let mut range = None;
    carve(&base.options.path, |offset, _, record| {
        if let Record::Segment(segment) = record
            && segment.first <= gone
            && segment.last() >= gone
        {
            range = Some((segment.first, segment.last()));
            bytes[usize::try_from(offset).unwrap() + 60] ^= 0x10;
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    let (first, end) = range.unwrap();
    base.put(&bytes);
    let Outcome::Salvaged(report) = base.check("a lost segment") else { panic!("not noticed") };
    assert_eq!(report.holes, [(first, end)]);
    assert_eq!(report.missing, end.0 - first.0 + 1);
    assert_eq!(report.was, Some(base.id));
    let hit: BTreeSet<u32> =
        (first.0..=end.0).map(|seq| base.truth[usize::try_from(seq - 1).unwrap()].0).collect();
    let behind: BTreeSet<u32> = base.truth[usize::try_from(end.0).unwrap()..]
        .iter()
        .map(|(number, _)| *number)
        .filter(|number| hit.contains(number))
        .collect();
    assert_eq!(report.held > 0, !behind.is_empty());
}

#[test]
fn a_damaged_journal_of_another_gateway_is_left_alone() {
    let base = Base::new();
    let mut bytes = base.whole.clone();
    bytes[100] ^= 0xFF;
    base.put(&bytes);
    let yard = Options { gateway: "yard".to_owned(), ..base.options.clone() };
    let refused = salvage(&yard, "for the test", "20261124T000000Z");
    assert!(matches!(refused, Err(JournalError::Foreign { .. })), "{refused:?}");
    assert_eq!(std::fs::read(&base.options.path).unwrap(), bytes);
    assert_eq!(std::fs::read_dir(base.directory.path()).unwrap().count(), 1);
}

#[test]
fn empty_and_zeroed_files_are_damage_and_text_is_no_journal() {
    let base = Base::new();
    for bytes in [vec![], vec![0; 8_192], base.whole[..100].to_vec()] {
        base.put(&bytes);
        let outcome = base.check("empty or zeroed");
        assert!(matches!(outcome, Outcome::Salvaged(report) if report.entries == 0));
    }
    base.put(b"These are the minutes of a meeting, and no journal at all.");
    assert!(matches!(Store::open(&base.options), Err(JournalError::NoJournal { .. })));
}

/// Held entries that were let go still lie in free pages; a second salvage once brought them back,
/// behind what had been read since.
#[test]
fn a_second_salvage_revives_nothing_that_was_let_go() {
    let base = Base::new();
    let mut held = None;
    // A file whose damage leaves entries behind a hole.
    for number in (1..400).step_by(5) {
        let (what, bytes) = rot(&base, number);
        base.put(&bytes);
        if let Outcome::Salvaged(report) = base.check(&what)
            && report.held > 20
        {
            held = Some(report);
            break;
        }
    }
    assert!(held.is_some(), "no damage left anything behind a hole");
    let mut store = Store::open(&base.options).unwrap();
    let reader = Reader::new(store.database().clone());
    for (controller, _) in reader.held_controllers().unwrap() {
        let rows = reader.held(controller, None, 10_000).unwrap();
        let half = rows[rows.len() / 2].0;
        for upto in [half, u64::MAX] {
            let Some((_, last)) = rows.iter().rev().find(|(order, _)| *order <= upto) else {
                continue;
            };
            let Origin::Controller { epoch, index, .. } = last.origin else { panic!() };
            let cursor = Cursor { epoch, index, anchor: last.record_digest() };
            let append = Append {
                controller,
                transactions: vec![last.clone()],
                cursor,
                opens: None,
                drops_held: Some(upto),
            };
            store.commit(&[Change::append(append).unwrap()]).unwrap();
        }
    }
    assert_eq!(store.state().held, 0);
    drop((store, reader));
    let again = salvage(&base.options, "once more", "20261125T000000Z").unwrap();
    assert_eq!((again.held, again.missing), (0, 0));
}

/// A controller's record may hold any bytes, also those of a sealed record; it does not know whose.
#[test]
fn what_a_controller_puts_into_its_record_is_no_state_of_ours() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { path: directory.path().join("journal.redb"), ..Base::new().options };
    let mut store = Store::open(&options).unwrap();
    let far = Seq(1 << 40);
    let marks = Marks { head: Seq(1), safe: far, oldest: far };
    let forged = super::super::format::seal(JournalId([9; 16]), &Record::Marks(marks)).unwrap();
    for index in 1..=60 {
        let raw = RawRecord::new(&forged).unwrap();
        let swipe = Transaction { raw, ..record(1, index) };
        let cursor = Cursor { epoch: epoch(1), index: Index(index), anchor: swipe.record_digest() };
        let append = Append {
            controller: controller(1),
            transactions: vec![swipe],
            cursor,
            opens: None,
            drops_held: None,
        };
        store.commit(&[Change::append(append).unwrap()]).unwrap();
    }
    drop(store);
    // One record is broken, so that the search goes on within it.
    let mut bytes = std::fs::read(&options.path).unwrap();
    let mut places = Vec::new();
    carve(&options.path, |offset, _, record| {
        if matches!(record, Record::Segment(_)) {
            places.push(offset);
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    for place in places.iter().rev().take(3) {
        bytes[usize::try_from(*place).unwrap() + 9] ^= 1;
    }
    std::fs::write(&options.path, &bytes).unwrap();
    let report = salvage(&options, "for the test", "20261124T000000Z").unwrap();
    assert!(report.entries + report.held >= 56, "{report:?}");
}

/// Watermarks that make no sense hide nothing and overflow nothing.
#[test]
fn absurd_watermarks_hide_nothing() {
    let base = Base::new();
    let whole = base.head.0 - base.oldest.0 + 1;
    for marks in [
        Marks { head: Seq(u64::MAX), safe: Seq(0), oldest: Seq(0) },
        Marks { head: Seq(0), safe: Seq(u64::MAX), oldest: Seq(u64::MAX) },
        Marks { head: Seq(u64::MAX), safe: Seq(u64::MAX), oldest: Seq(u64::MAX) },
        Marks { head: Seq(0), safe: Seq(0), oldest: Seq(u64::MAX) },
    ] {
        let mut bytes = base.whole.clone();
        let forged = super::super::format::seal(base.id, &Record::Marks(marks)).unwrap();
        bytes.extend_from_slice(&forged);
        base.put(&bytes);
        let report = salvage(&base.options, "for the test", "20261124T000000Z").unwrap();
        assert!(report.entries + report.held >= whole, "{marks:?}: {report:?}");
    }
}
