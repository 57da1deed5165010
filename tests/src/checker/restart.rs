//! Restarts of logs: each is noted once, where the gateway met the new life, and none that never
//! was. And lives that go on under another epoch, which takes a reason.

use std::collections::{BTreeMap, BTreeSet};

use postern_protocol::transaction::{Continuity, Gap, GapReason, ResetCause};
use postern_protocol::{ControllerId, EpochId, JournalId, Kind};

use super::evidence::Row;
use super::matching::{Matched, Matching};
use super::truth::Truth;

/// The flag of a record that contradicted another one and is kept beside it.
const CONFLICT: &str = "conflict";

/// Notes of restarts that are not true, and why.
pub(super) fn untrue<'a>(truth: &Truth, matching: &Matching<'a>) -> Vec<(&'a Row, &'static str)> {
    let mut noted = BTreeSet::new();
    let mut untrue = Vec::new();
    for (row, life, predecessor) in notes(matching) {
        let (controller, epoch) = (row.controller, row.epoch);
        let restarted = truth.logs.get(&controller).is_some_and(|log| log.restarts.contains(&life));
        let is_met = matching.known.epochs.contains(&(controller, epoch));
        if !restarted {
            untrue.push((row, "a restart that never was"));
        } else if matching.is_whole && !is_met {
            untrue.push((row, "a restart behind which nothing was read"));
        } else if !noted.insert((controller, life)) {
            untrue.push((row, "a second note of one restart"));
        }
        // A store that never knew the earlier life cannot know its epoch either.
        let knows_earlier = matching.known.knew_before(controller, row.journal, life);
        match matching.lives.get(&(controller, predecessor)) {
            Some(before) if *before >= life => {
                untrue.push((row, "a restart that names no earlier life"));
            }
            None if knows_earlier => untrue.push((row, "a restart that names an unknown life")),
            _ => {}
        }
    }
    untrue
}

/// Lives that follow another one in the store without a note of the restart between them. A new
/// journal that first met the new life knows of no restart; it closes the life before instead.
pub(super) fn unnoted(matching: &Matching<'_>) -> Vec<(ControllerId, u64)> {
    let noted: BTreeSet<_> = notes(matching).map(|(row, life, _)| (row.controller, life)).collect();
    // Through which journal each life's first record came.
    let mut first: BTreeMap<(ControllerId, u64), JournalId> = BTreeMap::new();
    for (row, place) in matching.records() {
        first.entry((row.controller, place.life)).or_insert(row.journal);
    }
    // The first life of each log that was closed.
    let mut closed: BTreeMap<ControllerId, u64> = BTreeMap::new();
    for (row, life, gap) in matching.gaps() {
        if gap.last.is_none() && gap.reason == GapReason::EpochEnded {
            let first = closed.entry(row.controller).or_insert(life);
            *first = life.min(*first);
        }
    }
    let follows = |(controller, life): (ControllerId, u64)| {
        first.range((controller, 0)..(controller, life)).next().is_some()
    };
    let is_new_journals = |(controller, life): (ControllerId, u64), journal| {
        let knew = matching.known.knew_before(controller, journal, life);
        !knew && closed.get(&controller).is_some_and(|before| *before < life)
    };
    first
        .iter()
        .filter(|(life, journal)| {
            follows(**life) && !noted.contains(*life) && !is_new_journals(**life, **journal)
        })
        .map(|(life, _)| *life)
        .collect()
}

/// Notes of restarts with a record of their own life before them.
pub(super) fn late<'a>(matching: &Matching<'a>) -> Vec<&'a Row> {
    let precedes = |note: &Row, life| {
        let first = matching.known.first.get(&(note.controller, life));
        first.is_some_and(|first| *first < note.rowid)
    };
    notes(matching).filter(|(row, life, _)| precedes(row, *life)).map(|(row, ..)| row).collect()
}

/// Where a life goes on under another epoch, unless what was lost in between may have held the end
/// of it. A record that is kept beside the one that it contradicts has an epoch of its own.
pub(super) fn splits<'a>(matching: &Matching<'a>) -> Vec<(&'a Row, u64)> {
    let mut current: BTreeMap<(ControllerId, u64), EpochId> = BTreeMap::new();
    let mut unproven: BTreeSet<(ControllerId, u64)> = BTreeSet::new();
    let mut left: BTreeSet<(ControllerId, EpochId)> = BTreeSet::new();
    let mut splits = Vec::new();
    for (row, matched) in &matching.rows {
        match matched {
            Matched::Record(place) if !row.flags.iter().any(|flag| flag == CONFLICT) => {
                let life = (row.controller, place.life);
                let excused = unproven.remove(&life);
                let Some(before) = current.insert(life, row.epoch) else { continue };
                if before != row.epoch {
                    left.insert((row.controller, before));
                    if !excused || left.contains(&(row.controller, row.epoch)) {
                        splits.push((*row, place.life));
                    }
                }
            }
            Matched::Gap(life, Gap { last: Some(_), continuity: Continuity::Unproven, .. }) => {
                unproven.insert((row.controller, *life));
            }
            Matched::Record(_) | Matched::Gap(..) | Matched::Note | Matched::Phantom(_) => {}
        }
    }
    splits
}

/// Every note of a restart: its life and the epoch that it names as the one before.
fn notes<'a>(matching: &Matching<'a>) -> impl Iterator<Item = (&'a Row, u64, EpochId)> {
    matching.rows.iter().filter_map(|(row, matched)| match (row.kind, matched) {
        (Kind::ControllerReset(ResetCause::LogRestarted { predecessor }), Matched::Note) => {
            let life = matching.lives.get(&(row.controller, row.epoch)).copied();
            Some((*row, life.unwrap_or_default(), predecessor))
        }
        _ => None,
    })
}
