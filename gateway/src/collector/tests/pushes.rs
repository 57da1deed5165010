//! When a controller is looked at: after a push, after news, when nothing happens.

use super::*;

#[test]
fn a_push_wakes_an_idle_collector_at_once_and_costs_three_requests() {
    let mut rig = Rig::new(64, 16);
    rig.log.push(1);
    rig.settle();
    rig.until_idle();
    rig.log.push(1);
    let before = rig.requests;
    rig.machine.on_wake(Index(2));
    while rig.records().len() < 2 {
        rig.step(false);
    }
    assert_eq!(rig.requests - before, 3, "the record, the one before it, and the commit");
}

#[test]
fn a_doubled_push_brings_nothing_twice() {
    let mut rig = Rig::new(64, 16);
    rig.log.push(1);
    rig.settle();
    rig.until_idle();
    rig.log.push(1);
    rig.machine.on_wake(Index(2));
    rig.machine.on_wake(Index(2));
    while rig.records().len() < 2 {
        rig.step(false);
    }
    rig.machine.on_wake(Index(2));
    rig.settle();
    assert_eq!(rig.records(), [(0, 1), (0, 2)]);
    rig.check();
}

#[test]
fn a_lost_push_costs_one_poll_interval() {
    let mut rig = Rig::new(64, 16);
    rig.log.push(1);
    // Until it is as quiet as it gets.
    for _ in 0..8 {
        while !rig.step(false) {}
    }
    let happened = rig.now;
    rig.log.push(1);
    while rig.records().len() < 2 {
        rig.step(false);
    }
    assert!(rig.now - happened <= settings().quiet_poll, "{:?}", rig.now - happened);
}

#[test]
fn pushed_indices_that_are_not_true_move_nothing() {
    for claimed in [0, 1, 3, 2_000, u64::from(u32::MAX)] {
        let mut rig = Rig::new(64, 16);
        rig.log.push(3);
        rig.settle();
        rig.machine.on_wake(Index(claimed));
        rig.settle();
        rig.log.push(4);
        rig.machine.on_wake(Index(claimed));
        rig.settle();
        assert_eq!(rig.records().len(), 7, "{claimed}");
        rig.check();
    }
}

#[test]
fn the_poll_is_fast_after_news_and_slow_when_quiet() {
    let mut rig = Rig::new(64, 16);
    rig.log.push(1);
    let mut pauses = Vec::new();
    while pauses.len() < 8 {
        let before = rig.now;
        if rig.step(false) {
            pauses.push((rig.now - before).as_millis());
        }
    }
    assert_eq!(pauses, [250, 500, 1_000, 2_000, 2_000, 2_000, 2_000, 2_000]);
    rig.until_idle();
    rig.machine.on_wake(Index(0));
    while !rig.step(false) {}
    let before = rig.now;
    while !rig.step(false) {}
    assert_eq!((rig.now - before).as_millis(), 500, "it had been woken just before");
}

#[test]
fn a_controller_that_is_behind_is_read_without_a_pause() {
    let mut rig = Rig::new(5_000, 16);
    rig.page = 2_000;
    rig.log.push(4_000);
    rig.step(false);
    while rig.records().len() < 4_000 {
        assert!(!rig.step(false), "it waits with {} records read", rig.records().len());
    }
}

#[test]
fn a_look_at_a_quiet_controller_is_one_request() {
    let mut rig = Rig::new(64, 16);
    rig.log.push(1);
    rig.settle();
    let before = rig.requests;
    for _ in 0..10 {
        while !rig.step(false) {}
    }
    assert_eq!(rig.requests - before, 10);
}

/// Forged pushes cost their sender one datagram each, and must not cost a board more.
#[test]
fn pushes_that_bring_nothing_do_not_wear_a_board_out() {
    let mut rig = Rig::new(64, 16);
    rig.log.push(1);
    rig.settle();
    rig.until_idle();
    let (before, began) = (rig.requests, rig.now);
    while rig.now < began + Duration::from_secs(1) {
        rig.machine.on_wake(Index(99));
        rig.step(false);
        rig.now += Duration::from_millis(1);
    }
    let requests = rig.requests - before;
    assert!(requests <= 3 * 20, "{requests} requests in a second");
    rig.log.push(1);
    rig.machine.on_wake(Index(2));
    rig.settle();
    assert_eq!(rig.records().len(), 2);
}
