//! Records that a controller denies although they lie between its oldest and its newest: a memory that
//! fails, or an answer that was late. One answer is never believed; a board that insists loses exactly
//! that record, and what stands behind it is read.

use super::*;

fn looks(rig: &mut Rig, times: u32) {
    for _ in 0..times {
        while !rig.step(false) {}
    }
}

#[test]
fn a_record_that_is_denied_again_and_again_is_a_gap_and_what_follows_is_read() {
    for denial in [Then::Absent, Then::Overwritten] {
        let mut rig = Rig::new(64, 16);
        rig.log.push(10);
        rig.settle();
        rig.log.denied.insert(15, denial);
        rig.log.push(10);
        looks(&mut rig, 4);
        assert_eq!(rig.records().len(), 14, "what stands before it is durable: {denial:?}");
        assert_eq!(rig.machine.report().stage, Stage::Disputed, "{denial:?}");
        assert_eq!(rig.gaps(), [], "{denial:?}");
        looks(&mut rig, 8);
        let [gap] = rig.gaps()[..] else { panic!("{denial:?}: {:?}", rig.gaps()) };
        assert_eq!((gap.first, gap.last), (Index(15), Some(Index(15))));
        assert_eq!(gap.reason, GapReason::Unreadable);
        assert_eq!(rig.records().last(), Some(&(0, 20)));
        assert_eq!(rig.machine.report().stage, Stage::Online);
        rig.check();
    }
}

#[test]
fn several_denied_records_in_a_row_are_one_gap() {
    let mut rig = Rig::new(64, 16);
    rig.log.push(10);
    rig.settle();
    for index in 12..16 {
        let denial = if index % 2 == 0 { Then::Absent } else { Then::Overwritten };
        rig.log.denied.insert(index, denial);
    }
    rig.log.push(10);
    looks(&mut rig, 12);
    let [gap] = rig.gaps()[..] else { panic!("{:?}", rig.gaps()) };
    assert_eq!((gap.first, gap.last), (Index(12), Some(Index(15))));
    assert_eq!(rig.records().last(), Some(&(0, 20)));
    rig.check();
}

/// A zeroed record in the middle of a log was once taken for its end: the controller looked online while
/// everything behind it was overwritten unread.
#[test]
fn a_denied_newest_record_is_disputed_until_there_is_a_newer_one() {
    for denial in [Then::Absent, Then::Overwritten] {
        let mut rig = Rig::new(64, 16);
        rig.log.push(10);
        rig.settle();
        rig.log.denied.insert(11, denial);
        rig.log.push(1);
        looks(&mut rig, 12);
        assert_eq!(rig.machine.report().stage, Stage::Disputed, "{denial:?}");
        rig.log.push(1);
        looks(&mut rig, 4);
        let [gap] = rig.gaps()[..] else { panic!("{denial:?}: {:?}", rig.gaps()) };
        assert_eq!((gap.first, gap.last), (Index(11), Some(Index(11))));
        assert_eq!(rig.records().last(), Some(&(0, 12)));
        rig.check();
    }
}

#[test]
fn a_record_that_is_denied_only_for_a_while_is_read_after_all() {
    let mut rig = Rig::new(64, 16);
    rig.log.push(10);
    rig.settle();
    rig.log.denied.insert(12, Then::Absent);
    rig.log.push(5);
    looks(&mut rig, 3);
    rig.log.denied.clear();
    looks(&mut rig, 4);
    assert_eq!(rig.gaps(), []);
    assert_eq!(rig.records().len(), 15);
    rig.check();
}

/// It shows its newest record in other bytes than those that it is read in: no reason for anything.
#[test]
fn a_status_that_shows_the_newest_record_otherwise_disputes_nothing() {
    let mut rig = Rig::new(64, 16);
    rig.log.push(10);
    rig.settle();
    let odd = Log::raw(9, 9).digest();
    let began = rig.now;
    for _ in 0..40 {
        match rig.machine.action(rig.now()) {
            Action::Status => {
                let status = Status { newest: Some(odd), clock: None };
                rig.machine.on_status(Ok(status), Timestamp(0), rig.now());
            }
            action => {
                rig.carry_out(action, false);
            }
        }
    }
    assert_eq!(rig.machine.report().stage, Stage::Online);
    assert_eq!(rig.machine.report().contradictions, 0);
    assert!(rig.now - began > Duration::from_secs(8), "it is asked as seldom as any other");
    rig.log.push(1);
    rig.settle();
    assert_eq!(rig.records().len(), 11);
}

/// A board that denied the record at our place was once disputed until its ring had gone round.
#[test]
fn a_denied_record_at_the_cursor_is_as_good_as_overwritten() {
    for denial in [Then::Absent, Then::Overwritten] {
        let mut rig = Rig::new(64, 16);
        rig.log.push(10);
        rig.settle();
        rig.log.denied.insert(10, denial);
        rig.log.push(10);
        looks(&mut rig, 12);
        assert_eq!(rig.records().last(), Some(&(0, 20)), "{denial:?}");
        let [gap] = rig.gaps()[..] else { panic!("{denial:?}: {:?}", rig.gaps()) };
        assert_eq!((gap.first, gap.last), (Index(11), Some(Index(10))), "nothing is missing");
        assert_eq!(gap.continuity, Continuity::Unproven);
        assert_eq!(rig.machine.report().restarts, 0);
        rig.check();
    }
}

#[test]
fn a_denied_record_at_the_cursor_of_a_quiet_board_skips_nothing_that_comes_later() {
    for denial in [Then::Absent, Then::Overwritten] {
        let mut rig = Rig::new(64, 16);
        rig.log.push(10);
        rig.settle();
        rig.log.denied.insert(10, denial);
        for _ in 0..20 {
            rig.machine.on_wake(Index(0));
            looks(&mut rig, 1);
        }
        rig.log.push(3);
        looks(&mut rig, 12);
        assert_eq!(rig.records().len(), 13, "{denial:?}");
        assert!(rig.gaps().iter().all(|gap| gap.count() == Some(0)), "{:?}", rig.gaps());
    }
}

/// At the first contact, of a log that overflowed, of a new life, and behind what was overwritten.
#[test]
fn a_denied_oldest_record_is_a_gap_of_its_own_and_what_follows_is_read() {
    type Scene = (fn(&mut Rig), u64, usize);
    let scenes: [Scene; 4] = [
        (|rig| rig.log.push(10), 1, 9),
        (|rig| rig.log.push(70), 17, 53),
        (
            |rig| {
                rig.log.push(20);
                rig.settle();
                rig.log.replace(10);
            },
            1,
            29,
        ),
        (
            |rig| {
                rig.log.push(5);
                rig.settle();
                rig.log.push(75);
            },
            17,
            68,
        ),
    ];
    for (scene, oldest, held) in scenes {
        for denial in [Then::Absent, Then::Overwritten] {
            let mut rig = Rig::new(64, 16);
            scene(&mut rig);
            assert_eq!(rig.log.first, oldest);
            rig.log.denied.insert(oldest, denial);
            looks(&mut rig, 20);
            let name = format!("{oldest} {held} {denial:?}: {:?}", rig.gaps());
            assert_eq!(rig.records().len(), held, "{name}");
            let unreadable: Vec<_> =
                rig.gaps().into_iter().filter(|gap| gap.reason == GapReason::Unreadable).collect();
            let [gap] = unreadable[..] else { panic!("{name}") };
            assert_eq!((gap.first, gap.last), (Index(oldest), Some(Index(oldest))), "{name}");
            rig.check();
        }
    }
}

/// The ends of its log say that there is none, while its status shows a record: one of them is wrong.
#[test]
fn a_log_whose_ends_are_denied_does_not_look_well() {
    let mut rig = Rig::new(64, 16);
    rig.log.push(20);
    for _ in 0..200 {
        match rig.machine.action(rig.now()) {
            Action::FindBounds => rig.machine.on_bounds(Ok(None), rig.now()),
            action => {
                rig.carry_out(action, false);
            }
        }
    }
    assert_eq!(rig.machine.report().stage, Stage::Disputed);
    rig.settle();
    assert_eq!(rig.records().len(), 20);
}

#[test]
fn each_denied_record_is_asked_for_as_often_as_the_first() {
    let mut rig = Rig::new(64, 16);
    rig.log.push(10);
    rig.settle();
    rig.log.denied.insert(12, Then::Absent);
    rig.log.denied.insert(15, Then::Absent);
    rig.log.push(10);
    looks(&mut rig, 20);
    assert_eq!(rig.machine.report().contradictions, 2 * 4);
    assert_eq!(rig.gaps().len(), 2);
    rig.check();
}
