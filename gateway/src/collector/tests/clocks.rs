//! A controller's clock: shown, noted before it is set, set once.

use postern_protocol::transaction::{TimeSource, TimeTrust};

use super::*;
use crate::driver::Reading;

struct Site {
    rig: Rig,
    /// How far the controller's clock is off, in seconds; `None`: never set.
    off_s: Option<i64>,
    /// Whether it takes the time that it is given.
    obeys: bool,
    sets: u32,
    noted: Vec<i64>,
    /// What was done, in order.
    done: Vec<&'static str>,
}

impl Site {
    fn new(off_s: Option<i64>) -> Self {
        let mut rig = Rig::new(64, 16);
        rig.page = 100;
        rig.log.push(3);
        rig.utc = 1_790_000_000_000;
        Self { rig, off_s, obeys: true, sets: 0, noted: Vec::new(), done: Vec::new() }
    }

    fn now(&self) -> Now {
        self.rig.now()
    }

    fn step(&mut self) -> bool {
        let now = self.now();
        match self.rig.machine.action(now) {
            Action::Status => {
                let reading = match self.off_s {
                    None => Reading::Unset,
                    Some(off) => {
                        let at = Timestamp((now.utc.0 + off * 1_000) / 1_000 * 1_000);
                        Reading::At { at, or_at: None }
                    }
                };
                let status = Status { clock: Some(reading), ..self.rig.log.status() };
                self.rig.machine.on_status(Ok(status), now.utc, now);
            }
            Action::Note(append) => {
                let [note] = &append.transactions[..] else { panic!("{append:?}") };
                let Kind::ClockSet { step_s } = note.kind else { panic!("{note:?}") };
                assert_eq!(Some(append.cursor), self.rig.machine.cursor(), "a note moves nothing");
                let Origin::Gateway { after, .. } = note.origin else { panic!("{note:?}") };
                assert_eq!(after, append.cursor.index);
                self.noted.push(step_s);
                self.done.push("noted");
                self.rig.machine.on_note(Ok(()), now);
            }
            Action::SetTime => {
                self.sets += 1;
                self.done.push("set");
                if self.obeys {
                    self.off_s = Some(0);
                }
                self.rig.machine.on_time_set(Ok(()), now);
            }
            other => return self.rig.carry_out(other, false),
        }
        false
    }

    /// Until it was idle so often.
    fn run(&mut self, waits: u32) {
        let mut waited = 0;
        while waited < waits {
            waited += u32::from(self.step());
        }
    }

    fn clock(&self) -> (Option<i64>, ClockState) {
        let report = self.rig.machine.report().clock.unwrap();
        (report.skew_s, report.state)
    }
}

#[test]
fn a_clock_past_the_limit_is_noted_and_then_set_once() {
    let mut site = Site::new(Some(90));
    site.run(8);
    assert_eq!(site.done, ["noted", "set"], "the journal knows of it before the controller does");
    assert_eq!((site.noted.as_slice(), site.clock()), (&[-90][..], (Some(0), ClockState::Right)));
    assert_eq!(site.rig.machine.report().clock_sets, 1);
    assert_eq!(
        site.rig.records().len(),
        3,
        "what the old time was given to stands before the note"
    );
}

#[test]
fn a_clock_is_not_set_while_ours_is_not_known_to_be_right() {
    let mut site = Site::new(Some(90));
    site.rig.utc_is_right = false;
    site.run(8);
    assert_eq!((site.sets, site.clock()), (0, (Some(90), ClockState::GatewayUnproven)));
    site.rig.utc_is_right = true;
    site.run(8);
    assert_eq!((site.sets, site.clock()), (1, (Some(0), ClockState::Right)));
}

#[test]
fn a_step_over_an_hour_waits_for_an_operator() {
    for off in [Some(90_000), None] {
        let mut site = Site::new(off);
        site.run(8);
        assert_eq!((site.sets, site.clock()), (0, (off, ClockState::NeedsOperator)));
        site.rig.machine.on_order(Order { any_step: false, trust_gateway: false });
        site.run(2);
        assert_eq!(site.rig.machine.take_outcome(), Some(Err(NotSet::LargeStep)));
        site.rig.machine.on_order(Order { any_step: true, trust_gateway: false });
        site.run(2);
        let done = Done { before_s: off, after_s: Some(0) };
        assert_eq!(site.rig.machine.take_outcome(), Some(Ok(done)));
        assert_eq!((site.sets, site.rig.machine.take_outcome()), (1, None));
    }
}

#[test]
fn a_clock_that_does_not_take_the_time_is_left_alone_for_a_while() {
    let mut site = Site::new(Some(90));
    site.obeys = false;
    site.run(25);
    assert_eq!((site.sets, site.clock()), (1, (Some(90), ClockState::Off)));
    site.run(50);
    assert_eq!(site.sets, 2);
}

#[test]
fn an_order_for_a_controller_of_which_nothing_was_read_has_no_place_for_its_note() {
    let mut site = Site::new(Some(90));
    site.rig.log = Log::new(64, 16);
    site.run(3);
    assert_eq!(site.sets, 0);
    site.rig.machine.on_order(Order { any_step: true, trust_gateway: true });
    site.run(1);
    assert_eq!(site.rig.machine.take_outcome(), Some(Err(NotSet::NothingRead)));
}

#[test]
fn an_order_for_a_silent_controller_says_so() {
    let mut site = Site::new(Some(0));
    site.run(3);
    site.rig.machine.on_order(Order { any_step: false, trust_gateway: false });
    let action = site.rig.machine.action(site.now());
    assert!(matches!(action, Action::Status), "{action:?}");
    let now = site.now();
    site.rig.machine.on_status(Err(DriverError::TimedOut), now.utc, now);
    let silent = Some(Err(NotSet::Silent(DriverError::TimedOut)));
    assert_eq!(site.rig.machine.take_outcome(), silent);
}

#[test]
fn a_busy_controller_is_asked_for_its_clock_all_the_same() {
    let mut site = Site::new(Some(0));
    site.run(3);
    site.off_s = Some(90);
    for _ in 0..200 {
        site.rig.log.push(1);
        site.rig.machine.on_wake(Index(0));
        while !site.step() {}
        site.rig.now += Duration::from_millis(100);
    }
    assert!(site.sets > 0, "it is woken ten times a second and never asked for its clock");
}

#[test]
fn the_clock_of_a_controller_that_is_far_behind_is_looked_at_all_the_same() {
    let mut site = Site::new(Some(0));
    site.rig = Rig::new(5_000, 16);
    site.rig.log.push(2_000);
    let (mut looks, began) = (0, site.rig.now);
    while site.rig.records().len() < 2_000 {
        let action = site.rig.machine.action(site.rig.now());
        looks += u32::from(matches!(action, Action::Status));
        if matches!(action, Action::Fetch(_)) {
            site.rig.now += Duration::from_millis(40);
        }
        site.rig.carry_out(action, false);
    }
    let seconds = u32::try_from((site.rig.now - began).as_secs()).unwrap();
    assert!(looks >= seconds / 11 && looks <= seconds / 10 + 1, "{looks} looks in {seconds} s");
}

/// A wall time that there was twice, an hour apart.
fn twice(index: u64, at: i64) -> Record {
    let occurred = Occurred {
        at: Some(Timestamp(at)),
        source: TimeSource::Controller,
        trust: TimeTrust::Ambiguous,
    };
    let or_at = Some(Timestamp(at + 3_600_000));
    let Ok(mut record) = Log { next: index + 1, ..Log::new(64, 16) }.find(Index(index)) else {
        panic!("no such record")
    };
    (record.occurred, record.or_at) = (occurred, or_at);
    record
}

/// When these records are said to have occurred, where they are read at this moment of ours.
fn told(records: &[Record], utc: i64, utc_is_right: bool) -> Vec<(Option<Timestamp>, TimeTrust)> {
    let mut site = Site::new(Some(0));
    (site.rig.utc, site.rig.utc_is_right) = (utc, utc_is_right);
    site.rig.log = Log { next: 1 + records.len() as u64, ..Log::new(64, 16) };
    for _ in 0..40 {
        let now = site.now();
        match site.rig.machine.action(now) {
            Action::Fetch(span) => {
                let from = usize::try_from(span.from.0 - 1).unwrap();
                let rest = records.get(from..).unwrap_or_default();
                let then = if rest.len() > span.at_most { Then::More } else { Then::Absent };
                let records = rest[..rest.len().min(span.at_most)].to_vec();
                site.rig.machine.on_page(Ok(Page { epoch: None, records, then }), now);
            }
            Action::Status => {
                let at = Timestamp(now.utc.0 / 1_000 * 1_000);
                let clock = Some(Reading::At { at, or_at: None });
                let status = Status { newest: None, clock };
                site.rig.machine.on_status(Ok(status), now.utc, now);
            }
            Action::Commit(append) => {
                let of = append.transactions.iter().map(|each| each.occurred);
                return of.map(|occurred| (occurred.at, occurred.trust)).collect();
            }
            other => {
                site.rig.carry_out(other, false);
            }
        }
    }
    panic!("nothing was committed")
}

const HOUR: i64 = 3_600_000;
const FOLD: i64 = 1_790_000_000_000;

/// Two wall times, the second one behind the first by the clock on the wall.
#[test]
fn the_repeated_hour_is_resolved_by_the_order_of_the_log() {
    let records = [twice(1, FOLD + 3_000_000), twice(2, FOLD + 600_000)];
    let (first, second) = (Timestamp(FOLD + 3_000_000), Timestamp(FOLD + 600_000 + HOUR));
    let exact = |at| (Some(at), TimeTrust::Exact);
    assert_eq!(told(&records, FOLD + 50 * HOUR, true), [exact(first), exact(second)]);
}

#[test]
fn the_repeated_hour_is_marked_where_the_order_leaves_both() {
    let marked = [(Some(Timestamp(FOLD)), TimeTrust::Ambiguous)];
    assert_eq!(told(&[twice(1, FOLD)], FOLD + 50 * HOUR, true), marked);
}

/// What is still to come cannot have happened, if our clock is right; where it may be wrong, a record once
/// was told to be exact and was an hour early.
#[test]
fn a_clock_of_ours_that_may_be_wrong_resolves_nothing() {
    let records = [twice(1, FOLD)];
    let at = Some(Timestamp(FOLD));
    assert_eq!(told(&records, FOLD + 60_000, true), [(at, TimeTrust::Exact)]);
    assert_eq!(told(&records, FOLD + 60_000, false), [(at, TimeTrust::Ambiguous)]);
}

/// What was held of a salvaged journal is appended in place of a pull: the controller is looked at again,
/// and an order that somebody waits for was once forgotten over it.
#[test]
fn an_order_outlives_a_commit_of_something_else() {
    let mut site = Site::new(Some(4_000));
    site.run(3);
    site.rig.machine.on_order(Order { any_step: true, trust_gateway: false });
    let cursor = site.rig.machine.cursor();
    site.rig.machine.go_on_from(cursor);
    site.run(3);
    let done = site.rig.machine.take_outcome();
    assert_eq!(done, Some(Ok(Done { before_s: Some(4_000), after_s: Some(0) })));
    assert_eq!(site.sets, 1);
}

/// Between the note and the order to the board a sync may take its time, and our clock may jump.
#[test]
fn a_clock_is_not_set_once_ours_jumped_or_is_not_known_to_be_right_any_more() {
    let meddlings: [fn(&mut Site); 2] =
        [|site| site.rig.utc += 7_200_000, |site| site.rig.utc_is_right = false];
    for meddle in meddlings {
        let mut site = Site::new(Some(90));
        while site.noted.is_empty() {
            site.step();
        }
        meddle(&mut site);
        assert!(!matches!(site.rig.machine.action(site.now()), Action::SetTime));
        // And not before the note either.
        let mut site = Site::new(Some(90));
        site.rig.utc_is_right = true;
        while !matches!(site.rig.machine.action(site.now()), Action::Fetch(_)) {
            site.step();
        }
        meddle(&mut site);
        site.off_s = Some(0);
        site.run(3);
        assert_eq!((site.sets, site.noted.len()), (0, 0));
    }
}

/// A journal that was full for a moment once cost the repeated hour its resolution.
#[test]
fn a_full_journal_does_not_change_what_the_order_of_the_log_says() {
    let records = [twice(1, FOLD + 3_000_000), twice(2, FOLD + 600_000)];
    let mut site = Site::new(Some(0));
    site.rig.utc = FOLD + 50 * HOUR;
    site.rig.log = Log { next: 3, ..Log::new(64, 16) };
    let mut told = Vec::new();
    while told.len() < 2 {
        let now = site.now();
        match site.rig.machine.action(now) {
            Action::Fetch(span) => {
                let from = usize::try_from(span.from.0 - 1).unwrap();
                let rest = records.get(from..).unwrap_or_default();
                let records = rest[..rest.len().min(span.at_most)].to_vec();
                let then = if rest.len() > span.at_most { Then::More } else { Then::Absent };
                site.rig.machine.on_page(Ok(Page { epoch: None, records, then }), now);
            }
            Action::Commit(append) => {
                told.push(append.transactions.iter().map(|each| each.occurred).collect::<Vec<_>>());
                site.rig.machine.on_commit(Err(Refused::Full), now);
                site.rig.machine.set_room(true);
            }
            _ => {
                site.step();
            }
        }
    }
    assert_eq!(told[0], told[1]);
    assert!(told[0].iter().all(|occurred| occurred.trust == TimeTrust::Exact));
}
