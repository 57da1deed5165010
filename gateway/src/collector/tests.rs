//! The machine against a model of a controller's log that can be emptied, overrun and silenced
//! between any two of its steps.

use std::collections::BTreeMap;
use std::time::Duration;

use postern_protocol::transaction::{Continuity, Gap, GapReason, Occurred, RawRecord, ResetCause};
use postern_protocol::{ControllerId, EpochId, Index, Kind, Origin, Timestamp, Transaction};
use proptest::prelude::*;
use tokio::time::Instant;

use super::*;
use crate::driver::{Bounds, DriverError, Read, Record};
use crate::journal::Append;

/// A log as a board keeps it: rising index, the oldest dropped in chunks.
#[derive(Clone, Debug)]
struct Log {
    life: u8,
    first: u64,
    next: u64,
    capacity: u64,
    chunk: u64,
    ever: Vec<(u8, u64)>,
}

impl Log {
    fn new(capacity: u64, chunk: u64) -> Self {
        Self { life: 0, first: 1, next: 1, capacity, chunk, ever: Vec::new() }
    }

    fn push(&mut self, count: u64) {
        for _ in 0..count {
            if self.next - self.first == self.capacity {
                self.first += self.chunk;
            }
            self.ever.push((self.life, self.next));
            self.next += 1;
        }
    }

    fn reset(&mut self) {
        self.life += 1;
        (self.first, self.next) = (1, 1);
    }

    fn raw(life: u8, index: u64) -> RawRecord {
        RawRecord::new(&[&[life][..], &index.to_be_bytes()].concat()).unwrap()
    }

    fn read(&self, index: Index) -> Read {
        if index.0 < self.first {
            Read::Overwritten
        } else if index.0 >= self.next {
            Read::Absent
        } else {
            Read::Record(Box::new(Record {
                index,
                kind: Kind::Granted,
                occurred: Occurred::ABSENT,
                door: None,
                direction: None,
                credential: None,
                raw: Self::raw(self.life, index.0),
            }))
        }
    }

    fn bounds(&self) -> Option<Bounds> {
        (self.first < self.next)
            .then(|| Bounds { oldest: Index(self.first), newest: Index(self.next - 1) })
    }
}

struct Rig {
    log: Log,
    machine: Machine,
    now: Instant,
    stored: Vec<Transaction>,
    minted: u64,
}

fn machine(cursor: Option<Cursor>, epochs_from: u64) -> Machine {
    let mut next = epochs_from;
    let mint = move || {
        next += 1;
        EpochId(u128::from(next).to_be_bytes())
    };
    let settings = Settings { poll: Duration::from_millis(250) };
    Machine::new(ControllerId::uhppote(1), cursor, settings, Box::new(mint))
}

impl Rig {
    fn new(capacity: u64, chunk: u64) -> Self {
        Self {
            log: Log::new(capacity, chunk),
            machine: machine(None, 0),
            now: Instant::now(),
            stored: Vec::new(),
            minted: 0,
        }
    }

    fn now(&self) -> Now {
        Now { monotonic: self.now, utc: Timestamp(0) }
    }

    /// One step; true where the machine would wait.
    fn step(&mut self, fail: bool) -> bool {
        let now = self.now();
        match self.machine.action(now) {
            Action::Wait { until } => {
                self.now = self.now.max(until);
                return true;
            }
            Action::AwaitRoom => return true,
            Action::Read(_) if fail => self.machine.on_read(Err(DriverError::TimedOut), now),
            Action::FindBounds if fail => self.machine.on_bounds(Err(DriverError::TimedOut), now),
            Action::Read(index) => self.machine.on_read(Ok(self.log.read(index)), now),
            Action::FindBounds => self.machine.on_bounds(Ok(self.log.bounds()), now),
            Action::Commit(append) => {
                self.keep(append);
                self.machine.on_commit(Ok(()), now);
            }
        }
        false
    }

    fn keep(&mut self, append: Append) {
        self.stored.extend(append.transactions);
    }

    /// Until the machine has twice found nothing to do.
    fn settle(&mut self) {
        let mut waits = 0;
        for _ in 0..20_000 {
            waits += u32::from(self.step(false));
            if waits == 3 {
                return;
            }
        }
        panic!("the machine never rests: {:?}", self.machine.report());
    }

    /// The process dies and another goes on from the journal.
    fn crash(&mut self) {
        self.minted += 50;
        self.machine = machine(self.machine.report().cursor, self.minted);
    }

    fn records(&self) -> Vec<(u8, u64)> {
        let record = |transaction: &Transaction| match transaction.origin {
            Origin::Controller { .. } => {
                let raw = transaction.raw.as_slice();
                Some((raw[0], u64::from_be_bytes(raw[1..9].try_into().unwrap())))
            }
            Origin::Gateway { .. } => None,
        };
        self.stored.iter().filter_map(record).collect()
    }

    fn gaps(&self) -> Vec<Gap> {
        let gap = |transaction: &Transaction| match transaction.kind {
            Kind::Gap(gap) => Some(gap),
            _ => None,
        };
        self.stored.iter().filter_map(gap).collect()
    }

    fn unproven(&self, epoch: EpochId) -> bool {
        self.stored.iter().any(|transaction| {
            transaction.origin.epoch() == epoch
                && matches!(transaction.kind, Kind::Gap(gap)
                    if gap.continuity == Continuity::Unproven
                        && gap.reason == GapReason::Overwritten)
        })
    }

    /// Collected = generated minus exactly what the gaps say, once each, in order. An epoch may hold
    /// two lives of the log only where a gap says that continuity is unproven.
    fn check(&self) {
        let records = self.records();
        let mut sorted = records.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(records, sorted, "out of order or doubled");
        let mut lives: BTreeMap<u8, EpochId> = BTreeMap::new();
        for transaction in &self.stored {
            if let Origin::Controller { epoch, .. } = transaction.origin {
                let life = transaction.raw.as_slice()[0];
                let known = *lives.entry(life).or_insert(epoch);
                assert!(known == epoch || self.unproven(known), "a life in two epochs");
            }
        }
        for (life, epoch) in &lives {
            let alone = lives.values().filter(|other| *other == epoch).count() == 1;
            assert!(alone || self.unproven(*epoch), "two lives in one epoch");
            if !alone {
                continue;
            }
            for (_, index) in self.log.ever.iter().filter(|(of, _)| of == life) {
                let held = records.contains(&(*life, *index));
                let gaps = self.stored.iter().filter(|transaction| {
                    transaction.origin.epoch() == *epoch
                        && matches!(transaction.kind, Kind::Gap(gap)
                            if gap.first.0 <= *index && gap.last.is_none_or(|last| *index <= last.0))
                });
                assert_eq!(gaps.count(), usize::from(!held), "life {life} index {index}");
            }
        }
    }
}

#[test]
fn an_overflowed_ring_at_first_contact_gives_one_exact_gap() {
    let mut rig = Rig::new(64, 16);
    rig.log.push(200);
    rig.settle();
    let first = rig.log.first;
    assert_eq!(
        rig.gaps(),
        [Gap {
            first: Index(1),
            last: Some(Index(first - 1)),
            reason: GapReason::BeforeFirstContact,
            continuity: Continuity::Unproven,
        }]
    );
    rig.check();
}

#[test]
fn a_chunk_overwritten_in_mid_read_gives_one_exact_gap() {
    let mut rig = Rig::new(64, 16);
    rig.log.push(10);
    rig.settle();
    rig.log.push(50);
    while !matches!(rig.machine.action(rig.now()), Action::Read(Index(11))) {
        rig.step(false);
    }
    rig.log.push(30);
    rig.step(false);
    // Between the ends of the log and the next read the oldest jumps once more: still one gap.
    rig.step(false);
    rig.log.push(16);
    rig.settle();
    let [gap] = rig.gaps()[..] else { panic!("{:?}", rig.gaps()) };
    assert_eq!((gap.first, gap.continuity), (Index(11), Continuity::Unproven));
    rig.check();
}

#[test]
fn a_ring_that_turns_over_during_a_pull_keeps_what_was_read_and_marks_it() {
    let mut rig = Rig::new(64, 16);
    rig.log.push(10);
    rig.settle();
    rig.log.push(50);
    while !matches!(rig.machine.action(rig.now()), Action::Read(Index(20))) {
        rig.step(false);
    }
    rig.log.push(300);
    rig.settle();
    assert!(rig.records().contains(&(0, 19)));
    assert!(rig.gaps().iter().all(|gap| gap.continuity == Continuity::Unproven));
    rig.check();
}

#[test]
fn an_overwritten_anchor_marks_continuity_unproven() {
    let mut rig = Rig::new(64, 16);
    rig.log.push(10);
    rig.settle();
    rig.log.push(200);
    rig.settle();
    let gap = rig.gaps()[0];
    assert_eq!((gap.first, gap.continuity), (Index(11), Continuity::Unproven));
    rig.check();
}

#[test]
fn a_log_that_restarts_and_overtakes_the_cursor_is_noticed() {
    let mut rig = Rig::new(1_000, 16);
    rig.log.push(10);
    rig.settle();
    rig.log.push(5);
    rig.log.reset();
    rig.log.push(30);
    rig.settle();
    rig.check();
    let ended = rig.gaps()[0];
    assert_eq!((ended.first, ended.last, ended.reason), (Index(11), None, GapReason::EpochEnded));
    let reset = rig.stored.iter().find_map(|transaction| match transaction.kind {
        Kind::ControllerReset(ResetCause::LogRestarted { predecessor }) => Some(predecessor),
        _ => None,
    });
    assert_eq!(reset, Some(EpochId(1u128.to_be_bytes())));
    assert_eq!(rig.records().iter().filter(|(life, _)| *life == 1).count(), 30);
}

#[test]
fn a_log_that_restarts_in_the_middle_of_a_pull_mixes_nothing() {
    for steps in 0..40 {
        let mut rig = Rig::new(1_000, 16);
        rig.log.push(10);
        rig.settle();
        rig.log.push(20);
        for _ in 0..steps {
            rig.step(false);
        }
        rig.log.reset();
        rig.log.push(60);
        rig.settle();
        rig.check();
    }
}

#[test]
fn a_log_that_restarts_empty_is_read_from_its_first_record() {
    let mut rig = Rig::new(1_000, 16);
    rig.log.push(10);
    rig.settle();
    rig.log.reset();
    rig.settle();
    rig.log.push(3);
    rig.settle();
    assert_eq!(rig.records().len(), 13);
    rig.check();
}

#[test]
fn a_log_that_is_empty_for_a_moment_is_not_read_twice() {
    let mut rig = Rig::new(1_000, 16);
    rig.log.push(10);
    rig.settle();
    let log = rig.log.clone();
    rig.log.reset();
    rig.settle();
    rig.log = log;
    rig.settle();
    assert_eq!(rig.records().len(), 10);
    assert_eq!(rig.machine.report().restarts, 0);
}

#[test]
fn a_stray_record_of_an_old_life_restarts_nothing() {
    let mut rig = Rig::new(1_000, 16);
    rig.log.push(10);
    rig.settle();
    rig.log.reset();
    rig.log.push(10);
    rig.settle();
    while !matches!(rig.machine.action(rig.now()), Action::Read(Index(10))) {
        rig.step(false);
    }
    let stray = Log { life: 0, ..rig.log.clone() }.read(Index(10));
    let now = rig.now();
    rig.machine.on_read(Ok(stray), now);
    rig.settle();
    assert_eq!(rig.machine.report().restarts, 1, "the one that was real");
    assert_eq!(rig.machine.report().contradictions, 1);
    rig.check();
}

#[test]
fn contradictions_without_end_do_not_look_well() {
    let mut rig = Rig::new(1_000, 16);
    rig.log.push(10);
    rig.settle();
    for _ in 0..200 {
        let now = rig.now();
        match rig.machine.action(now) {
            Action::Wait { until } => rig.now = until,
            Action::Read(_) => rig.machine.on_read(Ok(Read::Overwritten), now),
            Action::FindBounds => rig.machine.on_bounds(Ok(rig.log.bounds()), now),
            Action::Commit(_) | Action::AwaitRoom => panic!("something was concluded"),
        }
    }
    assert_eq!(rig.machine.report().stage, Stage::Disputed);
}

#[test]
fn what_is_unproven_in_a_new_life_stands_behind_the_end_of_the_old_one() {
    let mut rig = Rig::new(64, 16);
    rig.log.push(30);
    rig.settle();
    let before = rig.stored.len();
    rig.log.reset();
    rig.log.push(20);
    while !matches!(rig.machine.action(rig.now()), Action::Read(Index(21))) {
        rig.step(false);
    }
    rig.step(false);
    rig.log.push(300);
    rig.settle();
    assert!(matches!(
        rig.stored[before].kind,
        Kind::Gap(Gap { reason: GapReason::EpochEnded, .. })
    ));
    assert!(rig.gaps()[1..].iter().any(|gap| gap.continuity == Continuity::Unproven));
}

#[test]
fn a_failed_read_never_moves_the_cursor() {
    let mut rig = Rig::new(1_000, 16);
    rig.log.push(10);
    rig.settle();
    let before = rig.machine.report().cursor;
    rig.log.push(10);
    for _ in 0..20 {
        rig.step(true);
        assert_eq!(rig.machine.report().cursor, before);
    }
    rig.settle();
    rig.check();
}

#[test]
fn silence_is_asked_less_and_less_often() {
    let mut rig = Rig::new(64, 16);
    let mut pauses = Vec::new();
    for _ in 0..24 {
        let before = rig.now;
        if rig.step(true) {
            pauses.push(rig.now - before);
        }
    }
    assert!(pauses.is_sorted(), "{pauses:?}");
    assert_eq!(pauses.last(), Some(&Duration::from_secs(30)));
}

#[test]
fn a_late_no_such_record_restarts_nothing() {
    let mut rig = Rig::new(64, 16);
    rig.log.push(10);
    rig.settle();
    // The anchor is there; a stray sentinel says it is not.
    while !matches!(rig.machine.action(rig.now()), Action::Read(_)) {
        rig.step(false);
    }
    let now = rig.now();
    rig.machine.on_read(Ok(Read::Absent), now);
    rig.settle();
    assert_eq!(rig.machine.report().contradictions, 1);
    assert_eq!(rig.machine.report().restarts, 0);
    rig.check();
}

#[test]
fn a_full_journal_pauses_and_goes_on_by_itself() {
    let mut rig = Rig::new(64, 16);
    rig.log.push(10);
    while !matches!(rig.machine.action(rig.now()), Action::Commit(_)) {
        rig.step(false);
    }
    let now = rig.now();
    rig.machine.on_commit(Err(Refused::Full), now);
    assert_eq!(rig.machine.report().stage, Stage::Paused);
    assert_eq!(rig.machine.report().cursor, None);
    rig.machine.on_wake();
    assert!(matches!(rig.machine.action(now), Action::AwaitRoom), "it reads for nothing");
    rig.machine.set_room(true);
    rig.settle();
    assert_eq!(rig.machine.report().stage, Stage::Online);
    rig.check();
}

#[test]
fn a_push_wakes_an_idle_collector_at_once() {
    let mut rig = Rig::new(64, 16);
    rig.log.push(1);
    rig.settle();
    assert!(matches!(rig.machine.action(rig.now()), Action::Wait { .. } | Action::Read(_)));
    while !matches!(rig.machine.action(rig.now()), Action::Wait { .. }) {
        rig.step(false);
    }
    rig.machine.on_wake();
    assert!(matches!(rig.machine.action(rig.now()), Action::Read(_)));
}

#[derive(Clone, Debug)]
enum Event {
    Push(u64),
    Reset,
    Steps(u8),
    Fail,
    Crash,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => (1u64..40).prop_map(Event::Push),
        1 => Just(Event::Reset),
        6 => (1u8..60).prop_map(Event::Steps),
        2 => Just(Event::Fail),
        1 => Just(Event::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// Every life that the gateway met is held completely, but for exactly what its gaps say.
    #[test]
    fn collected_is_generated_minus_exactly_the_gaps(
        events in proptest::collection::vec(event(), 1..40),
        capacity in 20u64..80,
    ) {
        let mut rig = Rig::new(capacity, 8);
        for event in events {
            match event {
                Event::Push(count) => rig.log.push(count),
                Event::Reset => rig.log.reset(),
                Event::Steps(count) => (0..count).for_each(|_| { rig.step(false); }),
                Event::Fail => { rig.step(true); }
                Event::Crash => rig.crash(),
            }
        }
        // A log that began anew is known to have done so by its first record.
        rig.log.push(1);
        rig.settle();
        rig.check();
    }
}
