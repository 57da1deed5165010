//! Invariant 10: what a peer sends is stored whole or refused. It neither stops this server nor leaves
//! what would stop it later.

use postern_protocol::uplink::EpochAlias;
use postern_protocol::{Digest, EpochId, Index, JournalId, Seq};

use super::super::change::{KnownEpoch, Line, LineDigest, Mark};
use super::super::testing::{BOARD, EPOCH, JOURNAL, NOW, Node, folder};
use super::tests::every_kind;
use super::*;

const ABSURD: u64 = u64::MAX;

/// A standby that holds every kind of change, and what would come next in it.
struct Victim {
    standby: Node,
    end: Head,
    row: u64,
    hole: u64,
    epoch: u64,
    /// A line that it holds.
    held: Line,
    _folder: tempfile::TempDir,
}

fn victim() -> Victim {
    let folder = folder();
    let (node, _) = every_kind(folder.path());
    let mut standby = Node::new(folder.path(), "b", "b", 4);
    let held = node.page_for(&standby, usize::MAX).unwrap()[0].lines[0].clone();
    standby.follow(&node, usize::MAX);
    let next =
        |table: &str| standby.count(&format!("SELECT max(id) + 1 FROM {table}")).unsigned_abs();
    let (row, hole, epoch) = (next("transactions"), next("holes"), next("epochs"));
    Victim { end: node.head(), standby, row, hole, epoch, held, _folder: folder }
}

impl Victim {
    /// An entry as an active server with other thoughts would write it: its chain and digest are
    /// right.
    fn forged(&self, fill: impl FnOnce(&mut Change, &mut Vec<Line>)) -> LogEntry {
        let (mut change, mut lines) = (Change::default(), Vec::new());
        fill(&mut change, &mut lines);
        if change.rows.is_some() {
            let mut digest = LineDigest::default();
            for line in &lines {
                digest.add(line);
            }
            change.lines = Some(digest.finish());
        }
        let head = link(&self.end, self.end.role_term, &encode(&change));
        LogEntry { head, change, lines }
    }

    fn line(&self, alter: impl FnOnce(&mut Line)) -> LogEntry {
        let mut line = self.held.clone();
        (line.id, line.journal) = (self.row, JournalId([0x44; 16]));
        line.flags = "unreadable".into();
        line.entry.0 = vec![0xff; 9];
        alter(&mut line);
        self.forged(|change, lines| {
            change.rows = Some((line.id, line.id));
            lines.push(line);
        })
    }

    fn rows(&self, first: u64, last: u64) -> LogEntry {
        self.forged(|change, _| change.rows = Some((first, last)))
    }

    fn hole(&self, id: u64, first: u64, last: u64) -> LogEntry {
        let (first, last) = (Seq(first), Seq(last));
        let hole = HoleChange { id, journal: JOURNAL, first, last, at: NOW, filled: None };
        self.forged(|change, _| change.holes.push(hole))
    }

    fn epoch(&self, id: u64, epoch: EpochId) -> LogEntry {
        self.forged(|change, _| change.epochs.push(KnownEpoch { id, controller: BOARD, epoch }))
    }

    fn mark(&self, in_the_past: bool, set: impl FnOnce(&mut Mark)) -> LogEntry {
        let zero = Mark {
            stored: Seq(1),
            chain: Digest([0; 32]),
            safe: Seq(0),
            doubles: 0,
            conflicts: 0,
            unreadable: 0,
        };
        let mut mark = zero;
        set(&mut mark);
        let (before, after) = if in_the_past { (Some(mark), zero) } else { (None, mark) };
        let gateway = "hall".into();
        let journal = JournalChange { journal: JOURNAL, gateway, before, after };
        self.forged(|change, _| change.journals.push(journal))
    }

    fn refuses(&mut self, bad: Vec<(&str, LogEntry)>) {
        let before = self.standby.content();
        for (what, entry) in bad {
            let applied = self.standby.store.apply_log(self.standby.term, &[entry]);
            let Ok(Err(_)) = applied else { panic!("{what}: {applied:?}") };
            assert_eq!(self.standby.content(), before, "{what}");
        }
        // It goes on, and all that is listed can be read.
        let good = self.line(|_| {});
        assert_eq!(self.standby.apply_log(std::slice::from_ref(&good)), Ok(good.head));
        let store = &self.standby.store;
        let items = store.transactions(0, 5_000, None).unwrap();
        assert_eq!(u64::try_from(items.len()).unwrap(), self.row);
        store.journals().unwrap();
        store.counts().unwrap();
        let last = store.last(BOARD, Index(9), "hall", self.standby.term).unwrap().unwrap();
        assert!(last.newest.is_some());
    }
}

#[test]
fn what_contradicts_the_store_is_refused_however_well_it_is_chained() {
    let mut victim = victim();
    let held = victim.held.clone();
    let bad = vec![
        ("a place that is taken", victim.line(|line| *line = Line { id: line.id, ..held })),
        ("an epoch that is known", victim.epoch(victim.epoch, EPOCH)),
        (
            "an alias that is fixed",
            victim.forged(|change, _| {
                let (provisional, epoch) = (EPOCH, EPOCH);
                change.aliases.push(EpochAlias { controller: BOARD, provisional, epoch });
            }),
        ),
        ("a row that is held", victim.line(|line| line.id = 1)),
        ("a row far away", victim.line(|line| line.id += 1)),
        ("a hole that is held", victim.hole(1, 1, 2)),
        ("a hole far away", victim.hole(victim.hole + 9, 1, 2)),
        ("an epoch's number that is held", victim.epoch(1, EpochId([0x55; 16]))),
        ("an epoch far away", victim.epoch(victim.epoch + 1, EpochId([0x55; 16]))),
    ];
    victim.refuses(bad);
}

#[test]
fn numbers_that_cannot_be_are_refused_however_well_they_are_chained() {
    let mut victim = victim();
    let (row, hole) = (victim.row, victim.hole);
    let bad = vec![
        ("row 0", victim.line(|line| line.id = 0)),
        ("a row beyond counting", victim.line(|line| line.id = i64::MAX.unsigned_abs())),
        ("rows the wrong way round", victim.rows(row + 3, row)),
        ("no rows", victim.rows(row, row - 1)),
        ("all rows", victim.rows(0, ABSURD)),
        ("no seq", victim.line(|line| line.seq = Seq(0))),
        ("an absurd seq", victim.line(|line| line.seq = Seq(ABSURD))),
        ("a negative seq", victim.line(|line| line.seq = Seq(1 << 63))),
        ("an absurd role term", victim.line(|line| line.role_term = RoleTerm(ABSURD))),
        ("no JSON", victim.line(|line| line.kind = "granted".into())),
        ("an empty entry", victim.line(|line| line.entry.0.clear())),
        ("a long entry", victim.line(|line| line.entry.0 = vec![1; 10_000])),
        ("hole 0", victim.hole(0, 1, 2)),
        ("a hole beyond counting", victim.hole(ABSURD, 1, 2)),
        ("a hole that ends before it begins", victim.hole(hole, 2, 1)),
        ("a hole before the first", victim.hole(hole, 0, 1)),
        ("an endless hole", victim.hole(hole, 1, ABSURD)),
        ("epoch 0", victim.epoch(0, EpochId([0x55; 16]))),
        ("absurd stored", victim.mark(false, |mark| mark.stored = Seq(ABSURD))),
        ("absurd safe", victim.mark(false, |mark| mark.safe = Seq(ABSURD))),
        ("absurd doubles", victim.mark(false, |mark| mark.doubles = ABSURD)),
        ("absurd conflicts", victim.mark(false, |mark| mark.conflicts = 1 << 63)),
        ("absurd unreadable", victim.mark(false, |mark| mark.unreadable = (1 << 62) + 1)),
        ("absurd before", victim.mark(true, |mark| mark.stored = Seq(ABSURD))),
    ];
    victim.refuses(bad);
}
