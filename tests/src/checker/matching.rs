//! Rows of a store against the truth: which recorded transaction each row is, by its bytes.
//!
//! A store names lives of a log by epoch, the truth by number. Which epoch is which life is found
//! by the bytes of its rows; an epoch without any takes the life after the one before it.

use std::collections::{BTreeMap, BTreeSet};

use postern_protocol::transaction::{Gap, ResetCause};
use postern_protocol::{ControllerId, EpochId, Kind};

use super::evidence::Row;
use super::truth::{Place, Truth};

/// What a row turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Matched {
    /// What a controller recorded.
    Record(Place),
    /// A gap in this life of its controller's log.
    Gap(u64, Gap),
    /// Something else that the gateway noted.
    Note,
    /// Nothing that ever was; why.
    Phantom(&'static str),
}

/// All rows, matched.
#[derive(Debug)]
pub(super) struct Matching<'a> {
    /// Every row in the store's order.
    pub rows: Vec<(&'a Row, Matched)>,
    /// How many rows hold each recorded transaction.
    pub stored: BTreeMap<(ControllerId, Place), u64>,
    /// Rows under an epoch that is another life's.
    pub mixed: Vec<&'a Row>,
    /// Lives that are stored under two epochs without the store saying why: the second epoch.
    pub split: Vec<(ControllerId, u64, EpochId)>,
}

impl<'a> Matching<'a> {
    pub(super) fn of(truth: &Truth, rows: &'a [Row]) -> Self {
        let mut ordered: Vec<&Row> = rows.iter().collect();
        ordered.sort_by_key(|row| row.rowid);
        let lives = lives_of_epochs(truth, &ordered);

        let mut matching = Self {
            rows: Vec::new(),
            stored: BTreeMap::new(),
            mixed: Vec::new(),
            split: Vec::new(),
        };
        for row in ordered {
            let life = lives.get(&(row.controller, row.epoch)).copied().unwrap_or_default();
            let matched = match (row.index, row.kind) {
                (None, Kind::Gap(gap)) => Matched::Gap(life, gap),
                (None, _) => Matched::Note,
                (Some(_), _) => match place_of(truth, row, life) {
                    Ok(place) => {
                        if place.life != life {
                            matching.mixed.push(row);
                        }
                        *matching.stored.entry((row.controller, place)).or_default() += 1;
                        Matched::Record(place)
                    }
                    Err(why) => Matched::Phantom(why),
                },
            };
            matching.rows.push((row, matched));
        }
        matching.split = splits(&matching.rows, &lives);
        matching
    }

    /// Every gap with its row.
    pub(super) fn gaps(&self) -> impl Iterator<Item = (&'a Row, u64, Gap)> {
        self.rows.iter().filter_map(|(row, matched)| match matched {
            Matched::Gap(life, gap) => Some((*row, *life, *gap)),
            Matched::Record(_) | Matched::Note | Matched::Phantom(_) => None,
        })
    }
}

/// The place of a row's bytes, of several the one in the life that its epoch stands for.
fn place_of(truth: &Truth, row: &Row, life: u64) -> Result<Place, &'static str> {
    let log = truth.logs.get(&row.controller).ok_or("of a controller that does not exist")?;
    let places = log.places_of(row.raw.as_slice());
    let place = places
        .iter()
        .find(|place| place.life == life)
        .or(places.first())
        .ok_or("bytes that its controller never recorded")?;
    if log.index_at(*place) == row.index {
        Ok(*place)
    } else {
        Err("under another index than its controller gave it")
    }
}

/// Each epoch goes by the majority of its rows that can be of one life only.
fn lives_of_epochs(truth: &Truth, rows: &[&Row]) -> BTreeMap<(ControllerId, EpochId), u64> {
    let mut votes: BTreeMap<_, BTreeMap<u64, u64>> = BTreeMap::new();
    let mut order: BTreeMap<ControllerId, Vec<EpochId>> = BTreeMap::new();
    for row in rows {
        let epochs = order.entry(row.controller).or_default();
        if !epochs.contains(&row.epoch) {
            epochs.push(row.epoch);
        }
        let Some(log) = truth.logs.get(&row.controller) else { continue };
        let vote = votes.entry((row.controller, row.epoch)).or_default();
        if let [place] = log.places_of(row.raw.as_slice()) {
            *vote.entry(place.life).or_default() += 1;
        }
    }

    let mut lives = BTreeMap::new();
    for (controller, epochs) in order {
        let mut next = 0;
        for epoch in epochs {
            // Of equal numbers the earlier life: `max_by_key` takes the last, hence the reversal.
            let elected = votes.get(&(controller, epoch)).and_then(|vote| {
                vote.iter().rev().max_by_key(|(_, count)| **count).map(|(life, _)| *life)
            });
            let life = elected.unwrap_or(next);
            lives.insert((controller, epoch), life);
            next = life + 1;
        }
    }
    lives
}

/// A life may go on under a second epoch only where the store says that it could not be known to
/// be the same: by a flag on a row, or by a note that the log began anew.
fn splits(
    rows: &[(&Row, Matched)],
    lives: &BTreeMap<(ControllerId, EpochId), u64>,
) -> Vec<(ControllerId, u64, EpochId)> {
    let mut with_records = BTreeSet::new();
    let mut explained = BTreeSet::new();
    for (row, matched) in rows {
        let key = (row.controller, row.epoch);
        if matches!(matched, Matched::Record(_)) {
            with_records.insert(key);
        }
        let restarted = matches!(row.kind, Kind::ControllerReset(ResetCause::LogRestarted { .. }));
        if restarted || !row.flags.is_empty() {
            explained.insert(key);
        }
    }
    let mut first_epoch = BTreeMap::new();
    let mut split = Vec::new();
    for (row, _) in rows {
        let key = (row.controller, row.epoch);
        let Some(life) = lives.get(&key).filter(|_| with_records.contains(&key)) else { continue };
        let first = *first_epoch.entry((row.controller, *life)).or_insert(row.epoch);
        let finding = (row.controller, *life, row.epoch);
        if first != row.epoch && !explained.contains(&key) && !split.contains(&finding) {
            split.push(finding);
        }
    }
    split
}
