//! The ledger, indexed: what each controller recorded, life by life.

use std::collections::{BTreeMap, BTreeSet};

use postern_protocol::{ControllerId, Index, Protocol};

use super::evidence::LedgerLine;

/// The highest index that a board gives a record: the one above it asks for the newest. Behind it a
/// board begins at 1 again, in the same life of its log, and the gateway counts on.
const LAST_INDEX: u64 = 4_294_967_294;

/// The number that a board gives to what is here, and in the gateway, counted on behind the last.
fn on_board(index: Index) -> Index {
    Index(index.0.checked_sub(1).map_or(0, |steps| steps % LAST_INDEX + 1))
}

/// The number that a controller gives to what the gateway calls so: that of the link protocol has as many
/// as the gateway.
pub(crate) fn own_number(controller: ControllerId, index: Index) -> Index {
    match controller.protocol {
        Protocol::Uhppote => on_board(index),
        Protocol::Link | Protocol::Modbus => index,
    }
}

/// A recorded transaction by its place in the truth. The order of two places of one controller is
/// the order in which it recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Which life of the log.
    pub life: u64,
    /// The how-manieth of that life, from 0. Not the index: that wraps.
    pub ordinal: usize,
}

/// One controller's lives.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// The indices of each life in the order of recording, counted on where the board's wrap.
    pub lives: BTreeMap<u64, Vec<Index>>,
    /// When each of them was recorded, where the ledger says so.
    times: BTreeMap<u64, Vec<Moment>>,
    /// The lives that began because the log was emptied.
    pub restarts: BTreeSet<u64>,
    places: BTreeMap<Vec<u8>, Vec<Place>>,
}

impl Log {
    /// The places of a life from one index to another, or to its end.
    pub(super) fn range(
        &self,
        life: u64,
        first: Index,
        last: Option<Index>,
    ) -> impl Iterator<Item = Place> + use<> {
        let indices = self.lives.get(&life).map_or(&[][..], Vec::as_slice);
        let begin = indices.partition_point(|index| *index < first);
        let end =
            last.map_or(indices.len(), |last| indices.partition_point(|index| *index <= last));
        (begin..end.max(begin)).map(move |ordinal| Place { life, ordinal })
    }

    /// Where these bytes were recorded; more than one place only where a controller recorded the
    /// very same bytes in two lives.
    pub(super) fn places_of(&self, raw: &[u8]) -> &[Place] {
        self.places.get(raw).map_or(&[], Vec::as_slice)
    }

    /// The index that was recorded there.
    pub(super) fn index_at(&self, place: Place) -> Option<Index> {
        self.lives.get(&place.life)?.get(place.ordinal).copied()
    }

    /// How many records a life had at this moment; all of them, where the ledger tells no times.
    pub(super) fn recorded_by(&self, life: u64, moment: Option<Moment>) -> u64 {
        let all = self.lives.get(&life).map_or(0, Vec::len);
        let times = self.times.get(&life).filter(|times| times.len() == all);
        let count = match (times, moment) {
            (Some(times), Some(moment)) => times.partition_point(|at| *at <= moment),
            _ => all,
        };
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    /// Whether another life came after this one.
    pub(super) fn is_over(&self, life: u64) -> bool {
        self.lives.range(life + 1..).next().is_some()
    }

    /// The highest index of a life; 0 for a life that recorded nothing.
    pub(super) fn newest(&self, life: u64) -> Index {
        self.lives.get(&life).into_iter().flatten().copied().max().unwrap_or_default()
    }
}

/// A moment to the millisecond, for comparison alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

impl Moment {
    /// Reads RFC 3339 in UTC: its digits in a row, fractions of a second to three places.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (second, rest) = text.strip_suffix('Z')?.split_at_checked(19)?;
        let fraction = rest.strip_prefix('.').unwrap_or_default();
        let digits = second.chars().filter(char::is_ascii_digit);
        let places = fraction.chars().chain("000".chars()).take(3);
        digits.chain(places).collect::<String>().parse().ok().map(Self)
    }
}

/// What a board calls `index`, behind `before` in the same life.
fn counted_on(before: Option<Index>, index: Index) -> Index {
    let Some(before) = before else { return index };
    let rounds = (before.0.saturating_sub(1)) / LAST_INDEX;
    let wraps = on_board(before) == Index(LAST_INDEX) && index == Index(1);
    Index(index.0 + (rounds + u64::from(wraps)) * LAST_INDEX)
}

/// All controllers.
#[derive(Debug, Default)]
pub(super) struct Truth {
    /// By controller.
    pub logs: BTreeMap<ControllerId, Log>,
}

impl Truth {
    pub(super) fn of(ledger: &[LedgerLine]) -> Self {
        let mut truth = Self::default();
        for line in ledger {
            match line {
                LedgerLine::Recorded { controller, life, index, raw, at } => {
                    let log = truth.logs.entry(*controller).or_default();
                    let indices = log.lives.entry(*life).or_default();
                    let place = Place { life: *life, ordinal: indices.len() };
                    indices.push(match controller.protocol {
                        Protocol::Uhppote => counted_on(indices.last().copied(), *index),
                        Protocol::Link | Protocol::Modbus => *index,
                    });
                    if let Some(at) = at.as_deref().and_then(Moment::read) {
                        log.times.entry(*life).or_default().push(at);
                    }
                    log.places.entry(raw.as_slice().to_vec()).or_default().push(place);
                }
                LedgerLine::Restarted { controller, life, .. } => {
                    let log = truth.logs.entry(*controller).or_default();
                    log.lives.entry(*life).or_default();
                    log.restarts.insert(*life);
                }
            }
        }
        truth
    }

    /// How many transactions there ever were.
    pub(super) fn generated(&self) -> u64 {
        let count: usize =
            self.logs.values().flat_map(|log| log.lives.values()).map(Vec::len).sum();
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    /// Every place, by controller and in order.
    pub(super) fn places(&self) -> impl Iterator<Item = (ControllerId, Place, Index)> {
        self.logs.iter().flat_map(|(controller, log)| {
            log.lives.iter().flat_map(move |(life, indices)| {
                indices.iter().enumerate().map(move |(ordinal, index)| {
                    (*controller, Place { life: *life, ordinal }, *index)
                })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_compared_to_the_millisecond() {
        let read = |text| Moment::read(text).unwrap();
        assert!(read("2026-11-28T13:12:16.79Z") == read("2026-11-28T13:12:16.790046393Z"));
        assert!(read("2026-11-28T13:12:16Z") < read("2026-11-28T13:12:16.001Z"));
        assert!(read("2026-11-28T13:12:59.999Z") < read("2026-11-28T13:13:00Z"));
        assert_eq!(Moment::read("yesterday"), None);
    }

    #[test]
    fn behind_the_last_index_of_a_board_the_same_life_counts_on() {
        let mut before = None;
        let counted: Vec<u64> = [LAST_INDEX - 1, LAST_INDEX, 1, 2]
            .map(|index| {
                let index = counted_on(before, Index(index));
                before = Some(index);
                index.0
            })
            .to_vec();
        assert_eq!(counted, [LAST_INDEX - 1, LAST_INDEX, LAST_INDEX + 1, LAST_INDEX + 2]);
        assert_eq!(
            [0, 1, LAST_INDEX, LAST_INDEX + 2].map(|index| on_board(Index(index)).0),
            [0, 1, LAST_INDEX, 2]
        );
        // An index that is 1 again behind any other is no wrap: then the ledger would be wrong.
        assert_eq!(counted_on(Some(Index(7)), Index(1)), Index(1));
    }
}
