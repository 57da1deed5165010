//! The machine against a model of a controller's log that can be emptied, overrun and silenced
//! between any two of its steps.
//!
//! - `clocks`: the clock's part.
//! - `holes`: records that a controller denies in the middle of its log.
//! - `kinds`: logs that name their epoch, and logs that can be read only once.
//! - `lines`: the task of a bus with several controllers.
//! - `pushes`: when it is looked, and what a push does to that.
//! - `property`: any sequence of what can happen to a log and to the line.

use std::collections::BTreeMap;
use std::time::Duration;

use postern_protocol::transaction::{Continuity, Gap, GapReason, Occurred, RawRecord, ResetCause};
use postern_protocol::{ControllerId, EpochId, Index, Kind, Origin, Timestamp, Transaction};
use tokio::time::Instant;

use super::*;
use crate::driver::{
    Bounds, DriverError, Identity, Log as LogKind, Page, Record, Span, Status, Then,
};
use crate::journal::{Append, Cursor};

mod clocks;
mod holes;
mod kinds;
mod lines;
mod property;
mod pushes;

/// What real boards count to.
const LAST: u64 = 0xffff_fffe;

/// A log as a board keeps it: rising index, the oldest dropped in chunks, 1 after the last number.
#[derive(Clone, Debug)]
struct Log {
    life: u8,
    first: u64,
    next: u64,
    capacity: u64,
    chunk: u64,
    last: u64,
    ever: Vec<(u8, u64)>,
    /// Records that the board denies when it is asked for them, and how.
    denied: BTreeMap<u64, Then>,
}

impl Log {
    fn new(capacity: u64, chunk: u64) -> Self {
        Self {
            life: 0,
            first: 1,
            next: 1,
            capacity,
            chunk,
            last: LAST,
            ever: Vec::new(),
            denied: BTreeMap::new(),
        }
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

    /// Another board with so many records of its own.
    fn replace(&mut self, held: u64) {
        self.reset();
        self.push(held);
    }

    fn raw(life: u8, index: u64) -> RawRecord {
        RawRecord::new(&[&[life][..], &index.to_be_bytes()].concat()).unwrap()
    }

    fn number(&self, index: u64) -> u64 {
        (index - 1) % self.last + 1
    }

    /// What the board finds under a number.
    fn find(&self, index: Index) -> Result<Record, Then> {
        let steps = |from: u64, to: u64| if to >= from { to - from } else { self.last - from + to };
        if self.first == self.next {
            return Err(Then::Absent);
        }
        if let Some(denial) = self.denied.get(&index.0) {
            return Err(*denial);
        }
        let (number, oldest) = (self.number(index.0), self.number(self.first));
        let ahead = steps(oldest, number);
        if ahead >= self.next - self.first {
            let ever = self.first - 1;
            let gone = steps(number, oldest) <= ever.min(self.last / 2);
            return Err(if gone { Then::Overwritten } else { Then::Absent });
        }
        Ok(Record {
            index,
            kind: Kind::Granted,
            occurred: Occurred::ABSENT,
            or_at: None,
            door: None,
            direction: None,
            credential: None,
            raw: Self::raw(self.life, self.first + ahead),
        })
    }

    fn page(&self, from: Index, at_most: usize) -> Page {
        let mut records = Vec::new();
        let mut then = Then::More;
        for index in (from.0..).take(at_most) {
            match self.find(Index(index)) {
                Ok(record) => records.push(record),
                Err(end) => {
                    then = end;
                    break;
                }
            }
        }
        Page { epoch: None, records, then }
    }

    fn bounds(&self) -> Option<Bounds> {
        let ends = (self.number(self.first.max(1)), self.number((self.next - 1).max(1)));
        let (oldest, newest) = (Index(ends.0), Index(ends.1));
        (self.first < self.next).then_some(Bounds { epoch: None, oldest, newest })
    }

    fn status(&self) -> Status {
        let newest = (self.first < self.next).then(|| Self::raw(self.life, self.next - 1).digest());
        Status { newest, clock: None }
    }
}

struct Rig {
    log: Log,
    machine: Machine,
    began: Instant,
    now: Instant,
    /// What our own clock showed when it began.
    utc: i64,
    utc_is_right: bool,
    /// How many records a page holds.
    page: usize,
    stored: Vec<Transaction>,
    minted: u64,
    requests: u64,
    /// The ends of the log were asked for last: what is asked next has a fresh socket.
    fresh: bool,
}

fn settings() -> Settings {
    let clock = ClockSettings { limit: Duration::from_secs(10), set: true };
    Settings { poll: Duration::from_millis(250), quiet_poll: Duration::from_secs(2), clock }
}

fn at(now: Instant) -> Now {
    Now { monotonic: now, utc: Timestamp(0), utc_is_right: true }
}

fn machine(kind: LogKind, cursor: Option<Cursor>, epochs_from: u64, now: Instant) -> Machine {
    let mut next = epochs_from;
    let mint = move || {
        next += 1;
        EpochId(u128::from(next).to_be_bytes())
    };
    Machine::new(ControllerId::uhppote(1), kind, cursor, settings(), Box::new(mint), at(now))
}

fn identity() -> Identity {
    Identity { model: "model".into(), firmware: "1.00".to_owned(), is_known: true }
}

impl Rig {
    fn new(capacity: u64, chunk: u64) -> Self {
        Self::of(Log::new(capacity, chunk))
    }

    fn of(log: Log) -> Self {
        let now = Instant::now();
        let kind = LogKind::Reread { last_index: log.last };
        let machine = machine(kind, None, 0, now);
        Self {
            log,
            machine,
            began: now,
            now,
            utc: 0,
            utc_is_right: true,
            page: 1,
            stored: Vec::new(),
            minted: 0,
            requests: 0,
            fresh: false,
        }
    }

    fn now(&self) -> Now {
        let passed = i64::try_from((self.now - self.began).as_millis()).unwrap();
        let (utc, utc_is_right) = (Timestamp(self.utc + passed), self.utc_is_right);
        Now { monotonic: self.now, utc, utc_is_right }
    }

    /// One step; true where the machine would wait.
    fn step(&mut self, fail: bool) -> bool {
        let action = self.machine.action(self.now());
        self.carry_out(action, fail)
    }

    fn carry_out(&mut self, action: Action, fail: bool) -> bool {
        let now = self.now();
        let failed = || DriverError::TimedOut;
        self.requests += 1;
        self.fresh = matches!(action, Action::FindBounds);
        match action {
            Action::Wait { until } => {
                self.requests -= 1;
                self.now = self.now.max(until);
                return true;
            }
            Action::AwaitRoom => {
                self.requests -= 1;
                return true;
            }
            Action::Identify if fail => self.machine.on_identity(Err(failed()), now),
            Action::Status if fail => self.machine.on_status(Err(failed()), now.utc, now),
            Action::Fetch(_) if fail => self.machine.on_page(Err(failed()), now),
            Action::FindBounds if fail => self.machine.on_bounds(Err(failed()), now),
            Action::Identify => self.machine.on_identity(Ok(identity()), now),
            Action::Status => self.machine.on_status(Ok(self.log.status()), now.utc, now),
            Action::Fetch(span) => {
                let page = self.log.page(span.from, span.at_most.min(self.page));
                self.machine.on_page(Ok(page), now);
            }
            Action::FindBounds => self.machine.on_bounds(Ok(self.log.bounds()), now),
            Action::Commit(append) => {
                self.keep(append);
                self.machine.on_commit(Ok(()), now);
            }
            Action::AwaitCommit | Action::Note(_) | Action::SetTime => {
                panic!("nothing here has a clock, and every commit is answered at once");
            }
        }
        false
    }

    /// Until the machine wants to read this index.
    fn until_read(&mut self, index: u64) {
        for _ in 0..20_000 {
            match self.machine.action(self.now()) {
                Action::Fetch(Span { from: Index(from), .. }) if from == index => return,
                action => {
                    self.carry_out(action, false);
                }
            }
        }
        panic!("index {index} is never read");
    }

    /// Answers what the machine wants to read with this.
    fn answer(&mut self, page: Page) {
        let now = self.now();
        self.machine.on_page(Ok(page), now);
    }

    fn keep(&mut self, append: Append) {
        self.stored.extend(append.transactions);
    }

    /// Until the machine has thrice found nothing to do.
    fn settle(&mut self) {
        let mut waits = 0;
        for _ in 0..40_000 {
            waits += u32::from(self.step(false));
            if waits == 3 {
                return;
            }
        }
        panic!("the machine never rests: {:?}", self.machine.report());
    }

    fn until_idle(&mut self) {
        while !matches!(self.machine.action(self.now()), Action::Wait { .. }) {
            self.step(false);
        }
    }

    /// The process dies and another goes on from the journal.
    fn crash(&mut self) {
        self.minted += 50;
        let kind = LogKind::Reread { last_index: self.log.last };
        self.machine = machine(kind, self.machine.report().cursor, self.minted, self.now);
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
    rig.until_read(11);
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

/// Anchor and first record are gone by the time they are compared: the gap says so, and no second one.
#[test]
fn a_chunk_overwritten_behind_what_was_read_gives_one_exact_gap() {
    let mut rig = Rig::new(64, 16);
    rig.log.push(10);
    rig.settle();
    rig.log.push(50);
    rig.until_read(20);
    rig.log.push(30);
    rig.settle();
    let [gap] = rig.gaps()[..] else { panic!("{:?}", rig.gaps()) };
    assert_eq!((gap.first, gap.last), (Index(20), Some(Index(rig.log.first - 1))));
    assert_eq!(gap.continuity, Continuity::Unproven);
    assert!(rig.records().contains(&(0, 19)));
    rig.check();
}

#[test]
fn a_ring_that_turns_over_during_a_pull_keeps_what_was_read_and_marks_it() {
    let mut rig = Rig::new(64, 16);
    rig.log.push(10);
    rig.settle();
    rig.log.push(50);
    rig.until_read(20);
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
fn another_board_under_the_same_serial_number_is_a_new_life() {
    // Its own log may be shorter than the cursor, longer, or have overflowed already.
    for held in [3, 30, 70] {
        let mut rig = Rig::new(64, 16);
        rig.log.push(20);
        rig.settle();
        rig.log.replace(held);
        rig.settle();
        rig.check();
        assert_eq!(rig.machine.report().restarts, 1, "{held}");
        let [ended, gaps @ ..] = &rig.gaps()[..] else { panic!("{held}") };
        assert_eq!((ended.first, ended.last), (Index(21), None), "{held}");
        let oldest = rig.log.first;
        let missing: Vec<_> = gaps.iter().map(|gap| (gap.first.0, gap.last.unwrap().0)).collect();
        let expected = if oldest > 1 { vec![(1, oldest - 1)] } else { Vec::new() };
        assert_eq!(missing, expected, "{held}");
        let of_it = rig.records().iter().filter(|(life, _)| *life == 1).count() as u64;
        assert_eq!(of_it, held - (oldest - 1), "{held}");
    }
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
        assert_eq!(rig.records().last(), Some(&(1, 60)), "it stalled");
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
    rig.machine.on_wake(Index(0));
    rig.until_read(10);
    let stray = Log { life: 0, ..rig.log.clone() }.page(Index(10), 1);
    rig.answer(stray);
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
            Action::Status => rig.machine.on_status(Ok(Status::default()), now.utc, now),
            Action::Fetch(_) => {
                let page = Page { epoch: None, records: Vec::new(), then: Then::Overwritten };
                rig.machine.on_page(Ok(page), now);
            }
            Action::FindBounds => rig.machine.on_bounds(Ok(rig.log.bounds()), now),
            other => panic!("something was concluded: {other:?}"),
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
    rig.until_read(21);
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

/// A controller that answered everything but its log once looked online for ever, and was asked for the
/// same record at full pace.
#[test]
fn a_controller_that_answers_everything_but_its_log_is_offline() {
    let mut rig = Rig::new(64, 16);
    rig.log.push(10);
    rig.settle();
    rig.log.push(1);
    let (began, before) = (rig.now, rig.requests);
    for _ in 0..60 {
        let fails = matches!(rig.machine.action(rig.now()), Action::Fetch(_));
        rig.step(fails);
    }
    assert_eq!(rig.machine.report().stage, Stage::Offline);
    assert_eq!(rig.machine.report().failure, Some(DriverError::TimedOut));
    let (requests, seconds) = (rig.requests - before, (rig.now - began).as_secs());
    assert!(seconds > 100, "{requests} requests in {seconds} s");
    rig.settle();
    assert_eq!(rig.machine.report().stage, Stage::Online);
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
    rig.machine.on_wake(Index(0));
    rig.until_read(10);
    rig.answer(Page { epoch: None, records: Vec::new(), then: Then::Absent });
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
    rig.machine.on_wake(Index(0));
    assert!(matches!(rig.machine.action(now), Action::AwaitRoom), "it reads for nothing");
    rig.machine.set_room(true);
    rig.settle();
    assert_eq!(rig.machine.report().stage, Stage::Online);
    rig.check();
}

#[test]
fn indices_go_on_where_the_controllers_begin_again_at_1() {
    let mut log = Log { last: 300, ..Log::new(100, 20) };
    log.push(250);
    let mut rig = Rig::of(log);
    rig.settle();
    for _ in 0..30 {
        rig.log.push(33);
        rig.settle();
    }
    let newest = rig.machine.report().cursor.unwrap().index;
    assert_eq!(newest, Index(250 + 30 * 33));
    assert_eq!(rig.gaps().len(), 1, "the one from before the first contact");
    rig.check();
    // The turn also lies between two contacts, behind a gap, and in a log that holds both sides of it.
    for missed in [150, 220, 50] {
        rig.log.push(missed);
        rig.settle();
        rig.check();
    }
    assert_eq!(rig.machine.report().restarts, 0);
}

#[test]
fn a_log_that_is_emptied_just_before_its_last_number_is_a_new_life() {
    for (held, then) in [(298, 5), (298, 120), (160, 5), (200, 180)] {
        let mut log = Log { last: 300, ..Log::new(100, 20) };
        log.push(held);
        let mut rig = Rig::of(log);
        rig.settle();
        rig.log.reset();
        rig.log.push(then);
        rig.settle();
        rig.check();
        let newest = rig.records().last().copied();
        assert_eq!(newest, Some((1, then)), "{held} {then}");
    }
}

#[test]
fn what_was_read_before_the_line_failed_is_kept() {
    let mut rig = Rig::new(1_000, 16);
    rig.log.push(10);
    rig.settle();
    rig.log.push(40);
    rig.until_read(31);
    rig.step(true);
    // The record at the cursor is still the same: twenty records are one life of the log.
    while rig.records().len() == 10 {
        rig.step(false);
    }
    assert_eq!(rig.machine.report().cursor.unwrap().index, Index(30));
    assert_eq!(rig.machine.report().failure, Some(DriverError::TimedOut));
    rig.settle();
    rig.check();
}

#[test]
fn a_pull_ends_after_a_while_however_slow_the_controller_is() {
    let mut rig = Rig::new(5_000, 16);
    rig.log.push(2_000);
    let mut reads = 0;
    while rig.stored.is_empty() {
        let action = rig.machine.action(rig.now());
        if matches!(action, Action::Fetch(_)) {
            rig.now += Duration::from_millis(40);
            reads += 1;
        }
        rig.carry_out(action, false);
    }
    assert!((5..12).contains(&reads), "{reads} reads of 40 ms before anything was durable");
}
