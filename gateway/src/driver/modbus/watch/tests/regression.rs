//! What was once wrong.

use super::*;

fn rig(debounce_ms: u64, grant_ms: u64, pause_ms: u64) -> Rig {
    let mut rig = Rig::new();
    let mut profile = rig::profile();
    profile.doors[0].debounce_ms = debounce_ms;
    profile.doors[0].grant_ms = grant_ms;
    assert!(profile.check().is_ok());
    rig.watch = Watch::new(&profile, 1);
    rig.profile = profile;
    rig.pause_ms = pause_ms;
    rig
}

/// A round that was longer than a grant made each look forget what was on its way to count: no door ever opened.
#[test]
fn a_door_that_opens_is_seen_however_seldom_it_is_looked_at() {
    for (grant, pause) in [(5_000, 6_000), (150, 200)] {
        let mut rig = rig(50, grant, pause);
        rig.turn(Write::Done);
        rig.device.open = true;
        let seen: Vec<_> = (0..100)
            .flat_map(|_| {
                let records = rig.turn(Write::Done);
                rig.commit(&records);
                kinds(&records)
            })
            .collect();
        assert_eq!(seen, [(1, Kind::DoorOpened)], "grant {grant} look every {pause}");
    }
}

/// Doors of a unit while `turn` answers with an error and no records, as `Modbus::fetch` does it.
fn doors_seen(rig: &mut Rig, mut turn: impl FnMut(&mut Rig) -> Vec<Record>) -> usize {
    let mut doors = 0;
    for at in 0..120 {
        rig.device.open |= at == 20;
        rig.refused = false;
        let records = turn(rig);
        rig.commit(&records);
        if records.is_empty() && (rig.watch.is_stuck() || rig.refused) {
            // Modbus::fetch: `page.is_err()`.
            rig.watch.on_silence();
        }
        doors += records.iter().filter(|record| record.kind == Kind::DoorOpened).count();
    }
    doors
}

/// Whoever left a card at a reader that puts its flag up again at once blinded the doors.
#[test]
fn a_door_is_seen_while_a_latch_is_stuck() {
    let mut rig = rig(50, 5_000, 250);
    rig.turn(Write::Done);
    rig.device.show(7);
    let doors = doors_seen(&mut rig, |rig| rig.turn_with(Write::Done, Some(7)));
    assert!(rig.watch.is_stuck());
    assert_eq!(doors, 1);
}

/// A device that refuses to clear its flag was read no more.
#[test]
fn a_door_is_seen_while_a_latch_will_not_be_cleared() {
    let mut rig = rig(50, 5_000, 250);
    rig.turn(Write::Done);
    rig.device.show(7);
    assert_eq!(doors_seen(&mut rig, |rig| rig.turn(Write::Refused)), 1);
}

/// A flag that takes the write and stays up was three restarts, and then a failure for good.
#[test]
fn a_restart_flag_that_stays_up_does_no_harm() {
    let mut rig = rig(50, 5_000, 250);
    rig.turn(Write::Done);
    let mut resets = 0;
    let doors = doors_seen(&mut rig, |rig| {
        // What the rig's `turn` does, of a device that says "done" and does nothing.
        rig.watch.on_durable(Some(rig.epoch), rig.committed);
        rig.now_ms += rig.pause_ms;
        if rig.watch.is_idle() {
            for latch in rig.watch.durable() {
                if rig.watch.clear(latch, &Look::default()).is_some() {
                    rig.watch.on_cleared(latch);
                }
            }
            let now = Now { ms: rig.now_ms, took_ms: 5, utc: Timestamp(0) };
            rig.device.restarted = true;
            let look = rig.device.look();
            assert!(rig.watch.on_look(&look, now).is_empty());
        }
        let from = rig.committed.map_or(Index(1), |(index, _)| index.next());
        let records = rig.watch.hand_on(Some(rig.epoch), from, 100);
        let is_reset =
            |record: &&Record| record.kind == Kind::ControllerReset(ResetCause::Reported);
        resets += records.iter().filter(is_reset).count();
        records
    });
    assert_eq!((resets, doors, rig.watch.is_stuck()), (1, 1, false), "resets, doors, stuck");
}
