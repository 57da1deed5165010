//! Rows of a store against the truth: which recorded transaction each row is, by its bytes.
//!
//! A store names lives of a log by epoch, the truth by number. Which epoch is which life is found
//! by the bytes of its rows; an epoch without any takes the life after the one before it.

use std::collections::{BTreeMap, BTreeSet};

use postern_protocol::transaction::{Gap, ResetCause};
use postern_protocol::{ControllerId, EpochId, Index, JournalId, Kind};

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
    /// Which life each epoch is.
    pub lives: Lives,
    /// What is asked of the records again and again.
    pub known: Known,
    /// Whether this store must have everything, which the standby's need not.
    pub is_whole: bool,
}

/// What the records of a store are, taken together.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The first row of each life.
    pub first: BTreeMap<(ControllerId, u64), i64>,
    /// The epochs that have a record.
    pub epochs: BTreeSet<(ControllerId, EpochId)>,
    /// The earliest life of which each journal brought a record.
    pub earliest: BTreeMap<(ControllerId, JournalId), u64>,
    /// The highest index that each journal brought of each life.
    pub newest: BTreeMap<(ControllerId, u64, JournalId), Index>,
}

impl Known {
    /// Rows come in the store's order.
    fn add(&mut self, row: &Row, life: u64) {
        let Row { controller, journal, .. } = *row;
        self.first.entry((controller, life)).or_insert(row.rowid);
        self.epochs.insert((controller, row.epoch));
        let earliest = self.earliest.entry((controller, journal)).or_insert(life);
        *earliest = life.min(*earliest);
        let newest = self.newest.entry((controller, life, journal)).or_default();
        *newest = row.index.unwrap_or_default().max(*newest);
    }

    /// Whether a journal brought a record of a life before this one.
    pub(super) fn knew_before(
        &self,
        controller: ControllerId,
        journal: JournalId,
        life: u64,
    ) -> bool {
        self.earliest.get(&(controller, journal)).is_some_and(|earliest| *earliest < life)
    }
}

impl Known {
    /// The life whose gaps may cover what this one recorded: itself, or, where nothing of it was met and a
    /// later one was, the one that was met last before it.
    pub(super) fn met_before(&self, controller: ControllerId, life: u64) -> u64 {
        let met = |lives| self.first.range(lives).map(|((_, life), _)| *life);
        let is_over = met((controller, life + 1)..=(controller, u64::MAX)).next().is_some();
        match met((controller, 0)..=(controller, life)).next_back() {
            Some(before) if is_over => before,
            _ => life,
        }
    }
}

/// Which life of its controller's log each epoch is.
pub(super) type Lives = BTreeMap<(ControllerId, EpochId), u64>;

impl<'a> Matching<'a> {
    pub(super) fn of(truth: &Truth, rows: &'a [Row], lives: &Lives, is_whole: bool) -> Self {
        let ordered = in_order(rows);

        let mut matching = Self {
            rows: Vec::new(),
            stored: BTreeMap::new(),
            mixed: Vec::new(),
            lives: lives.clone(),
            known: Known::default(),
            is_whole,
        };
        for row in ordered {
            let life = lives.get(&(row.controller, row.epoch)).copied().unwrap_or_default();
            let matched = match (row.index, row.kind) {
                (None, _) if !is_bare(row) => {
                    Matched::Phantom("a note with a record's particulars")
                }
                (None, Kind::Gap(gap)) => Matched::Gap(life, gap),
                (
                    None,
                    Kind::ControllerReset(ResetCause::LogRestarted { .. }) | Kind::ClockSet { .. },
                ) => Matched::Note,
                (None, _) => Matched::Phantom("a note of what only a controller can tell"),
                (Some(_), _) => match place_of(truth, row, life) {
                    Ok(place) => {
                        if place.life != life {
                            matching.mixed.push(row);
                        }
                        *matching.stored.entry((row.controller, place)).or_default() += 1;
                        matching.known.add(row, place.life);
                        Matched::Record(place)
                    }
                    Err(why) => Matched::Phantom(why),
                },
            };
            matching.rows.push((row, matched));
        }
        matching
    }

    /// Every row that a controller recorded, with its place.
    pub(super) fn records(&self) -> impl Iterator<Item = (&'a Row, Place)> {
        self.rows.iter().filter_map(|(row, matched)| match matched {
            Matched::Record(place) => Some((*row, *place)),
            Matched::Gap(..) | Matched::Note | Matched::Phantom(_) => None,
        })
    }

    /// Every gap with its row.
    pub(super) fn gaps(&self) -> impl Iterator<Item = (&'a Row, u64, Gap)> {
        self.rows.iter().filter_map(|(row, matched)| match matched {
            Matched::Gap(life, gap) => Some((*row, *life, *gap)),
            Matched::Record(_) | Matched::Note | Matched::Phantom(_) => None,
        })
    }
}

fn in_order(rows: &[Row]) -> Vec<&Row> {
    let mut ordered: Vec<&Row> = rows.iter().collect();
    ordered.sort_by_key(|row| row.rowid);
    ordered
}

/// Whether a row has nothing of what only a controller's record has.
fn is_bare(row: &Row) -> bool {
    let Row { raw, door, direction, credential, .. } = row;
    raw.as_slice().is_empty() && door.is_none() && direction.is_none() && credential.is_none()
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

/// Each epoch goes by the majority of its rows, in all stores, that can be of one life only.
pub(super) fn lives_of_epochs<'a>(
    truth: &Truth,
    stores: impl IntoIterator<Item = &'a [Row]>,
) -> Lives {
    let mut votes: BTreeMap<_, BTreeMap<u64, u64>> = BTreeMap::new();
    let mut order: BTreeMap<ControllerId, Vec<EpochId>> = BTreeMap::new();
    for row in stores.into_iter().flat_map(in_order) {
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
