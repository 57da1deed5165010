//! The ledger, indexed: what each controller recorded, life by life.

use std::collections::{BTreeMap, BTreeSet};

use postern_protocol::{ControllerId, Index};

use super::evidence::LedgerLine;

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
    /// The indices of each life in the order of recording.
    pub lives: BTreeMap<u64, Vec<Index>>,
    /// The lives that began because the log was emptied.
    pub restarts: BTreeSet<u64>,
    places: BTreeMap<Vec<u8>, Vec<Place>>,
}

impl Log {
    /// Where these bytes were recorded; more than one place only where a controller recorded the
    /// very same bytes in two lives.
    pub(super) fn places_of(&self, raw: &[u8]) -> &[Place] {
        self.places.get(raw).map_or(&[], Vec::as_slice)
    }

    /// The index that was recorded there.
    pub(super) fn index_at(&self, place: Place) -> Option<Index> {
        self.lives.get(&place.life)?.get(place.ordinal).copied()
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
                LedgerLine::Recorded { controller, life, index, raw } => {
                    let log = truth.logs.entry(*controller).or_default();
                    let indices = log.lives.entry(*life).or_default();
                    let place = Place { life: *life, ordinal: indices.len() };
                    indices.push(*index);
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
