//! Many units on a line, and one that is not there. What is counted is requests, so that a slow machine is none that fails.

use std::time::Duration;

use super::rig::{Plan, Plug, Site, serial, shown};

const UNITS: u8 = 29;
/// In the middle of them.
const DEAD: u8 = 77;
/// What one look at a board takes: its coils, and its inputs.
const LOOK: u64 = 2;
/// How many rounds are watched.
const ROUNDS: u64 = 6;

#[test]
fn one_dead_unit_of_thirty_delays_the_others_and_takes_no_turn_from_them() {
    let units: Vec<_> = (60..77).chain(78..=60 + UNITS).map(|unit| (unit, "relay-board")).collect();
    assert_eq!(units.len(), usize::from(UNITS));
    let (reply, late) = (Duration::from_millis(60), Duration::from_millis(40));
    let plan =
        Plan { reply, late, absent: vec![(DEAD, "relay-board")], ..Plan::new(Plug::Pty, &units) };
    let site = Site::begin(plan);
    let requests = || units.iter().map(|(unit, _)| site.requests(*unit)).collect::<Vec<_>>();
    // Each has said that it is there.
    site.wait("everybody to be met", |_| requests().iter().all(|requests| *requests > LOOK));
    let dead = || site.counters(shown(DEAD)).timeouts;
    let (begun, dead_begun) = (requests(), dead());
    let door = (units[5].0, units[28].0);
    site.unit(door.0).open_door(1, true).unwrap();
    site.unit(door.1).open_door(4, true).unwrap();
    let mut seen = [None, None];
    site.wait("some rounds", |site| {
        let now = requests();
        let rounds: Vec<_> =
            now.iter().zip(&begun).map(|(now, begun)| (now - begun) / LOOK).collect();
        let (least, most) = (*rounds.iter().min().unwrap(), *rounds.iter().max().unwrap());
        // A look that is under way, and one that a time-out had asked twice.
        assert!(most - least <= 2, "{rounds:?}");
        for (at, unit) in [door.0, door.1].into_iter().enumerate() {
            if seen[at].is_none() && !site.log(shown(unit)).is_empty() {
                seen[at] = Some(rounds[units.iter().position(|(each, _)| *each == unit).unwrap()]);
            }
        }
        least >= ROUNDS
    });
    // Seen, lasting, kept; and the round that it came in.
    assert!(seen.iter().all(|rounds| rounds.is_some_and(|rounds| rounds <= 4)), "{seen:?}");
    let of_dead = dead() - dead_begun;
    assert!(of_dead <= ROUNDS + 2, "{of_dead} requests to unit {DEAD}, serial {}", serial(DEAD));
    site.end();
}
