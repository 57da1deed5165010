//! What becomes of what a device shows, from the look to the journal.
//!
//! - `rig`: a device with a latch, and a journal.
//! - `property`: any sequence of what can happen to both.
//! - `regression`: what was once wrong.

mod property;
mod regression;
mod rig;

use postern_protocol::modbus::profile::Source;
use postern_protocol::transaction::{Occurred, ResetCause, TimeTrust};
use postern_protocol::{Digest, Kind};

use super::*;
use rig::{Rig, Write};

const CARD: Kind = Kind::CardRead { may_repeat: false };
const PERHAPS: Kind = Kind::CardRead { may_repeat: true };

fn kinds(records: &[Record]) -> Vec<(u64, Kind)> {
    records.iter().map(|record| (record.index.0, record.kind)).collect()
}

#[test]
fn a_latch_is_cleared_once_its_record_is_durable_and_not_before() {
    let mut rig = Rig::new();
    rig.turn(Write::Done);
    rig.device.show(7);
    let first = rig.turn(Write::Done);
    assert_eq!(kinds(&first), [(1, CARD)]);
    assert!(rig.watch.holds_latches() && !rig.watch.is_idle());
    assert_eq!(rig.turn(Write::Done), first, "nobody has it yet");
    assert!(rig.device.flag);
    rig.commit(&first);
    assert_eq!(rig.turn(Write::Done), []);
    assert!(!rig.device.flag && !rig.watch.holds_latches());
    rig.device.show(7);
    assert_eq!(
        kinds(&rig.turn(Write::Done)),
        [(2, CARD)],
        "the same card once more is another record"
    );
}

#[test]
fn what_is_there_at_the_first_look_may_be_a_repeat() {
    let mut rig = Rig::new();
    rig.device.show(7);
    let records = rig.turn(Write::Done);
    assert_eq!(kinds(&records), [(1, PERHAPS)]);
    assert_eq!(records[0].occurred.trust, TimeTrust::Before);
}

#[test]
fn a_commit_that_failed_hands_the_same_on_again_under_whatever_number() {
    let mut rig = Rig::new();
    rig.turn(Write::Done);
    rig.device.show(7);
    rig.device.open = true;
    let first = rig.turn(Write::Done);
    assert_eq!(kinds(&first), [(1, Kind::DoorOpened), (2, CARD)]);
    // Something else was committed under these numbers, as what is held after a salvage is.
    rig.committed = Some((Index(2), Digest::of("another", &[])));
    rig.device.show(8);
    let again = rig.turn(Write::Done);
    assert_eq!(kinds(&again), [(3, Kind::DoorOpened), (4, CARD)]);
    let raw =
        |records: &[Record]| records.iter().map(|record| record.raw.clone()).collect::<Vec<_>>();
    assert_eq!(raw(&again), raw(&first));
    // Another journal: another life of the log.
    (rig.epoch, rig.committed) = (EpochId([2; 16]), None);
    let again = rig.turn(Write::Done);
    assert_eq!((kinds(&again), raw(&again)), (kinds(&first), raw(&first)));
    rig.commit(&again);
    assert_eq!(kinds(&rig.turn(Write::Done)), [(3, CARD)], "the card that came meanwhile");
}

#[test]
fn what_is_durable_in_part_is_let_go_in_part() {
    let mut rig = Rig::new();
    rig.turn(Write::Done);
    rig.device.show(7);
    (rig.device.open, rig.device.restarted) = (true, true);
    let all = rig.turn(Write::Done);
    assert_eq!(all.len(), 3);
    rig.commit(&all[..1]);
    assert_eq!(rig.turn(Write::Done), all[1..]);
    rig.at_most = 1;
    assert_eq!(rig.turn(Write::Done), all[1..2]);
    rig.commit(&all[1..2]);
    assert_eq!(rig.turn(Write::Done), all[2..]);
    rig.commit(&all[2..]);
    assert_eq!(rig.turn(Write::Done), []);
}

#[test]
fn a_door_says_when_it_was_seen_and_how_long_after_the_look_before() {
    let mut rig = Rig::new();
    rig.pause_ms = 250;
    rig.turn(Write::Done);
    let closed_at = rig.now_ms;
    rig.device.open = true;
    let opened = rig.turn(Write::Done);
    // A look takes 5 ms, and says when it ended.
    let seen = |ms: u64| Timestamp(i64::try_from(ms).unwrap() + 5);
    assert_eq!(kinds(&opened), [(1, Kind::DoorOpened)]);
    assert_eq!(opened[0].occurred, Occurred::seen(seen(closed_at + 250), Some(255)));
    rig.commit(&opened);
    rig.pause_ms = 60_000;
    rig.device.open = false;
    let closed = rig.turn(Write::Done);
    assert_eq!(closed[0].occurred, Occurred::seen(seen(rig.now_ms), Some(60_005)));
    assert_eq!(kinds(&closed), [(2, Kind::DoorClosed)]);
}

#[test]
fn a_restart_is_recorded_once_and_cleared() {
    let reset = Kind::ControllerReset(ResetCause::Reported);
    for write in [Write::Done, Write::Refused] {
        let mut rig = Rig::new();
        rig.device.restarted = true;
        let records = rig.turn(write);
        assert_eq!(kinds(&records), [(1, reset)]);
        rig.commit(&records);
        for _ in 0..5 {
            assert_eq!(rig.turn(write), []);
        }
        assert_eq!(rig.device.restarted, write == Write::Refused);
        assert!(!rig.watch.is_stuck() && !rig.refused);
        rig.device.restarted = false;
        rig.turn(write);
        rig.device.restarted = true;
        assert_eq!(kinds(&rig.turn(write)), [(2, reset)]);
    }
}

#[test]
fn a_latch_that_will_not_be_cleared_is_said_and_makes_no_second_record() {
    let mut rig = Rig::new();
    rig.turn(Write::Done);
    rig.device.show(7);
    let records = rig.turn(Write::Refused);
    rig.commit(&records);
    for _ in 0..5 {
        rig.refused = false;
        assert_eq!(rig.turn(Write::Refused), []);
        assert!(rig.refused);
    }
    rig.device.show(8);
    assert_eq!(kinds(&rig.turn(Write::Refused)), [(2, CARD)]);
}

/// After three clearings in a row that were lost it was never cleared again, and a device that keeps its card until it is
/// showed no other any more.
#[test]
fn a_latch_whose_clearing_was_lost_is_cleared_at_last() {
    let mut rig = Rig::new();
    rig.turn(Write::Done);
    rig.device.show(7);
    for _ in 0..7 {
        let records = rig.turn(Write::Lost);
        rig.commit(&records);
    }
    assert!(rig.watch.is_stuck() && rig.device.flag);
    rig.turn(Write::Done);
    assert!(!rig.device.flag && !rig.watch.is_stuck());
    rig.device.show(7);
    assert_eq!(kinds(&rig.turn(Write::Done)).last(), Some(&(4, CARD)));
}

#[test]
fn a_flag_without_a_card_makes_nothing_and_is_counted() {
    let mut rig = Rig::new();
    rig.turn(Write::Done);
    rig.device.show(0);
    assert_eq!(rig.turn(Write::Done), []);
    let mut counters = LineCounters::default();
    rig.watch.count(&mut counters);
    assert_eq!((counters.nonsense, counters.unreadable), (1, 0));
    // The card came after its flag.
    rig.device.show(7);
    assert_eq!(kinds(&rig.turn(Write::Done)), [(1, CARD)]);
    assert!(rig.device.flag, "it is not durable");
}

/// Its flag was up before, but which card it is was seen only now: another one may have been shown since.
#[test]
fn a_card_that_could_not_be_read_at_once_is_from_before_its_flag_until_it_was_read() {
    let mut rig = Rig::new();
    rig.turn(Write::Done);
    rig.device.show(7);
    rig.is_deaf = true;
    assert_eq!(rig.turn(Write::Done), []);
    rig.is_deaf = false;
    let records = rig.turn(Write::Done);
    let at = Timestamp(i64::try_from(rig.now_ms).unwrap() + 5);
    assert_eq!(records[0].occurred, Occurred::seen(at, Some(2 * rig.pause_ms + 5)));
    assert_eq!(rig.profile.look(Source::Shown).map(|plan| plan.requests.len()), Ok(2));
}
