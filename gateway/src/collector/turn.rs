//! Whose turn it is on a shared line: fair, and live first.
//!
//! In a round everybody who is due and at the end of his log gets the line once, one after the other; then
//! one of those that work off a backlog gets it, these too in turn; then the next round begins. So a swipe
//! at a quiet door waits for one backlog turn at most, and a backlog for one round of looks. Pure: who
//! wants the line goes in, who gets it comes out.

use std::collections::BTreeSet;

use crate::driver::Station;

/// What a station wants the line for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Haste {
    /// Something short: a look at a log that was read to its end, a question, a clock.
    Live,
    /// To read more of what has piled up.
    Backlog,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Who was live and had the line in this round.
    served: BTreeSet<Station>,
    /// Who comes first among the live ones, and among the others.
    live: Station,
    backlog: Station,
}

impl Turn {
    /// Gives the line to one of those who want it, named by its place in `wants`; to nobody where nobody
    /// wants it. The stations rise, and none stands there twice.
    pub(super) fn give(&mut self, wants: &[(Station, Haste)]) -> Option<usize> {
        let of = |haste: Haste| move |(_, each): &&(Station, Haste)| *each == haste;
        let served = &self.served;
        let waiting = wants.iter().filter(of(Haste::Live)).map(|(station, _)| *station);
        let station = if let Some(station) =
            first(self.live, waiting.filter(|station| !served.contains(station)))
        {
            self.live_turn(station)
        } else {
            // The round is over.
            self.served.clear();
            let backlog = wants.iter().filter(of(Haste::Backlog)).map(|(station, _)| *station);
            if let Some(station) = first(self.backlog, backlog) {
                self.backlog = station + 1;
                station
            } else {
                let all = wants.iter().map(|(station, _)| *station);
                let station = first(self.live, all)?;
                self.live_turn(station)
            }
        };
        wants.iter().position(|(each, _)| *each == station)
    }

    /// What it had the line for was not its look: that is still to come in this round.
    pub(super) fn still_owed(&mut self, station: Station) {
        self.served.remove(&station);
    }

    fn live_turn(&mut self, station: Station) -> Station {
        self.served.insert(station);
        self.live = station + 1;
        station
    }
}

/// The first from there on, and from the beginning again.
fn first(from: Station, stations: impl Iterator<Item = Station>) -> Option<Station> {
    stations.min_by_key(|station| (*station < from, *station))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_asked_how_he_is_has_his_look_in_the_same_round() {
        let mut turn = Turn::default();
        let all = [(0, Haste::Live), (1, Haste::Live), (2, Haste::Live)];
        assert_eq!(turn.give(&all), Some(0));
        turn.still_owed(0);
        let order = [(); 4].map(|()| turn.give(&all));
        assert_eq!(order, [Some(1), Some(2), Some(0), Some(1)]);
    }

    const STATIONS: usize = 3;

    /// What each station wants, as the digits of a number: nothing, something live, a backlog.
    fn wants(mut code: usize) -> Vec<(Station, Haste)> {
        let mut wants = Vec::new();
        for station in 0..STATIONS {
            match code % 3 {
                1 => wants.push((station, Haste::Live)),
                2 => wants.push((station, Haste::Backlog)),
                _ => {}
            }
            code /= 3;
        }
        wants
    }

    /// What must hold over any time, kept step by step.
    #[derive(Default)]
    struct Judge {
        /// How many backlog turns passed since each station wants the line for something live.
        waited_live: [usize; STATIONS],
        /// How many turns of other backlogs passed since each wants it for its own.
        waited_backlog: [usize; STATIONS],
        /// Who had a live turn since some backlog waits without one.
        live_since: [usize; STATIONS],
    }

    impl Judge {
        fn see(&mut self, wants: &[(Station, Haste)], given: Option<usize>) {
            let Some((who, haste)) = given.map(|place| wants[place]) else {
                assert!(wants.is_empty(), "the line is idle and somebody wants it");
                *self = Self::default();
                return;
            };
            let is = |station, haste| wants.contains(&(station, haste));
            for station in 0..STATIONS {
                if station == who || !is(station, Haste::Live) {
                    self.waited_live[station] = 0;
                } else {
                    self.waited_live[station] += usize::from(haste == Haste::Backlog);
                }
                if station == who || !is(station, Haste::Backlog) {
                    self.waited_backlog[station] = 0;
                } else {
                    self.waited_backlog[station] += usize::from(haste == Haste::Backlog);
                }
                assert!(self.waited_live[station] <= 1, "{station} waits for a second backlog");
                assert!(self.waited_backlog[station] < STATIONS, "{station} is not in turn");
            }
            let some_backlog = wants.iter().any(|(_, haste)| *haste == Haste::Backlog);
            if haste == Haste::Backlog || !some_backlog {
                self.live_since = [0; STATIONS];
            } else {
                self.live_since[who] += 1;
                assert!(self.live_since[who] <= 1, "{who} twice before any backlog");
            }
        }
    }

    /// Every behaviour of three stations over four turns, and the first four states are whatever the
    /// turns before left.
    #[test]
    fn nobody_waits_longer_than_his_due_whatever_the_others_do() {
        let states = 3usize.pow(u32::try_from(STATIONS).unwrap());
        for before in 0..states {
            for code in 0..states.pow(3) {
                let (mut turn, mut judge) = (Turn::default(), Judge::default());
                let steps = [before, code % states, code / states % states, code / states / states];
                for step in steps {
                    let wants = wants(step);
                    let given = turn.give(&wants);
                    judge.see(&wants, given);
                }
            }
        }
    }

    /// The same over a long time, where stations come and go by a simple rule.
    #[test]
    fn nor_over_a_long_time() {
        let states = 3usize.pow(u32::try_from(STATIONS).unwrap());
        for (factor, offset) in [(5, 3), (7, 1), (11, 13), (1, 1), (1, 0), (2, 1)] {
            for start in 0..states {
                let (mut turn, mut judge) = (Turn::default(), Judge::default());
                let mut step = start;
                for _ in 0..500 {
                    let wants = wants(step);
                    let given = turn.give(&wants);
                    judge.see(&wants, given);
                    step = (step * factor + offset) % states;
                }
            }
        }
    }

    fn served(turn: &mut Turn, wants: &[(Station, Haste)], turns: usize) -> Vec<Station> {
        (0..turns).map(|_| wants[turn.give(wants).unwrap()].0).collect()
    }

    #[test]
    fn the_live_ones_go_round_and_each_round_ends_with_one_backlog() {
        use Haste::{Backlog, Live};
        let wants = [(0, Live), (1, Backlog), (2, Live), (3, Backlog), (4, Live)];
        let turns = served(&mut Turn::default(), &wants, 12);
        assert_eq!(turns, [0, 2, 4, 1, 0, 2, 4, 3, 0, 2, 4, 1]);
    }

    #[test]
    fn those_of_one_kind_go_round_by_themselves() {
        for haste in [Haste::Live, Haste::Backlog] {
            let wants = [(1, haste), (2, haste), (7, haste)];
            let turns = served(&mut Turn::default(), &wants, 7);
            assert_eq!(turns, [1, 2, 7, 1, 2, 7, 1], "{haste:?}");
        }
    }

    #[test]
    fn whoever_comes_late_in_a_round_is_still_of_it() {
        use Haste::{Backlog, Live};
        let mut turn = Turn::default();
        assert_eq!(served(&mut turn, &[(0, Backlog), (5, Live)], 1), [5]);
        assert_eq!(served(&mut turn, &[(0, Backlog), (2, Live), (5, Live)], 3), [2, 0, 5]);
        assert_eq!(turn.give(&[]), None);
    }
}
