//! What the stores hold, against the ledger: C1, C2, C3 and C7.

use std::collections::{BTreeMap, BTreeSet};

use postern_protocol::transaction::{Continuity, Gap, GapReason};
use postern_protocol::{ControllerId, EpochId, Index, JournalId, Protocol};

use super::condition::{describe, outcome};
use super::evidence::{Evidence, ExpectedGap, GapAllowance, LogSize, Row, StoreView};
use super::matching::{Matched, Matching, lives_of_epochs};
use super::reading::is_read_right;
use super::truth::{Moment, Place, Truth};
use super::verdict::{Counts, Findings, Outcome};
use super::{position, restart};

/// How controllers named the lives of their logs.
type Names = BTreeMap<(ControllerId, u64), EpochId>;

/// Both stores, matched. The active server's must have everything.
pub(super) struct Stores<'a> {
    active: (&'a StoreView, Matching<'a>),
    standby: Option<(&'a StoreView, Matching<'a>)>,
}

impl<'a> Stores<'a> {
    pub(super) fn of(truth: &Truth, evidence: &'a Evidence) -> Self {
        let Evidence { active, standby, .. } = evidence;
        let both = std::iter::once(active).chain(standby);
        let lives = lives_of_epochs(truth, both.map(|store| store.rows.as_slice()));
        let matched = |store: &'a StoreView, is_whole| {
            (store, Matching::of(truth, &store.rows, &lives, is_whole))
        };
        Self {
            active: matched(active, true),
            standby: standby.as_ref().map(|store| matched(store, false)),
        }
    }

    fn both(&self) -> impl Iterator<Item = &(&'a StoreView, Matching<'a>)> {
        std::iter::once(&self.active).chain(&self.standby)
    }
}

fn covers(gap: &Gap, index: Index) -> bool {
    gap.first <= index && gap.last.is_none_or(|last| index <= last)
}

/// C1. A gap that covers what the store holds as well is no fault: a server keeps a gap as it was
/// claimed and counts as lost only what it does not hold. Nor is one that a journal claims again
/// which cannot know what an earlier journal had claimed; a journal claims nothing twice. A gap
/// without an end reaches to the next life that was met: it covers every life between that nobody saw.
pub(super) fn complete(
    truth: &Truth,
    stores: &Stores<'_>,
    names: &Names,
    counts: &mut Counts,
) -> Outcome {
    let (_, matching) = &stores.active;
    let mut gaps: BTreeMap<(ControllerId, u64), Vec<(JournalId, Gap)>> = BTreeMap::new();
    for (row, life, gap) in matching.gaps() {
        gaps.entry((row.controller, life)).or_default().push((row.journal, gap));
    }
    let mut findings = Findings::default();
    for (controller, place, index) in truth.places() {
        let name = || format!("{controller} life {} index {index}", place.life);
        let copies = matching.stored.get(&(controller, place)).copied().unwrap_or_default();
        if copies > 0 {
            counts.stored += 1;
            counts.doubled += copies - 1;
            continue;
        }
        let met = matching.known.met_before(controller, place.life);
        let gaps = gaps.get(&(controller, met)).map_or(&[][..], Vec::as_slice);
        let mut claims: BTreeMap<JournalId, u64> = BTreeMap::new();
        let claimed =
            |gap: &Gap| if met == place.life { covers(gap, index) } else { gap.last.is_none() };
        for (journal, _) in gaps.iter().filter(|(_, gap)| claimed(gap)) {
            *claims.entry(*journal).or_default() += 1;
        }
        match claims.values().max().copied().unwrap_or_default() {
            0 => {
                counts.lost += 1;
                findings.push(|| format!("lost: {}", name()));
            }
            1 => counts.gaps += 1,
            many => {
                counts.gaps += 1;
                findings.push(|| format!("missing under {many} gaps: {}", name()));
            }
        }
    }
    for (controller, life) in restart::unnoted(matching) {
        findings.push(|| format!("the restart of {controller} to life {life} is not noted"));
    }
    for (store, matching) in stores.both() {
        faithful(&store.server, matching, &mut findings);
        for row in misnamed(matching, names) {
            let server = &store.server;
            findings.push(|| {
                format!("not under the epoch that was named: {} in {server}", describe(row))
            });
        }
    }
    outcome(findings, || format!("{} of {} stored", counts.stored, counts.generated))
}

/// Rows of a life under another epoch than its controller gave it.
fn misnamed<'a>(matching: &Matching<'a>, names: &Names) -> Vec<&'a Row> {
    let is_misnamed = |row: &Row, life| {
        names.get(&(row.controller, life)).is_some_and(|named| *named != row.epoch)
    };
    let life_of = |(row, matched): &(&'a Row, Matched)| match matched {
        Matched::Record(place) => Some(place.life),
        Matched::Gap(life, _) => Some(*life),
        Matched::Note => matching.lives.get(&(row.controller, row.epoch)).copied(),
        Matched::Phantom(_) => None,
    };
    let rows = matching.rows.iter();
    let misnamed = rows.filter(|row| life_of(row).is_some_and(|life| is_misnamed(row.0, life)));
    misnamed.map(|(row, _)| *row).collect()
}

/// What a store does hold, it holds once, under one identity, as it was.
fn faithful(server: &str, matching: &Matching<'_>, findings: &mut Findings) {
    for ((controller, place), copies) in matching.stored.iter().filter(|(_, copies)| **copies > 1) {
        findings.push(|| {
            let Place { life, ordinal } = place;
            format!(
                "doubled: {copies} rows of {controller} life {life} ordinal {ordinal} in {server}"
            )
        });
    }
    for row in &matching.mixed {
        findings.push(|| format!("under the epoch of another life: {} in {server}", describe(row)));
    }
    for (row, life) in restart::splits(matching) {
        findings.push(|| {
            format!("life {life} goes on under another epoch: {} in {server}", describe(row))
        });
    }
    for (row, _) in matching.records() {
        if row.digest != Some(row.raw.digest()) {
            findings.push(|| format!("digest is not of its bytes: {} in {server}", describe(row)));
        }
        if !is_read_right(row) {
            findings.push(|| {
                format!("not what its bytes say: {} {:?} in {server}", describe(row), row.kind)
            });
        }
    }
}

/// C2. Each record stands behind all that its controller recorded before it; each gap and each note
/// stands between what it separates; and so do their positions in the journal. A gap of a later
/// journal that claims nothing but what the store holds or knows to be missing separates nothing.
pub(super) fn in_order(stores: &Stores<'_>, counts: &mut Counts) -> Outcome {
    let mut findings = Findings::default();
    for (store, matching) in stores.both() {
        let reordered = reordered(matching, &mut findings);
        if matching.is_whole {
            counts.reordered = reordered;
        }
        notes_between(matching, &mut findings);
        position::rising(store, &mut findings);
    }
    outcome(findings, || format!("{} rows", stores.active.1.rows.len()))
}

/// How many rows are out of order. The second row of a double is counted as doubled, not here.
fn reordered(matching: &Matching<'_>, findings: &mut Findings) -> u64 {
    let mut count = 0;
    let mut highest: BTreeMap<ControllerId, Place> = BTreeMap::new();
    // How far each life's records have come, by index; gaps name indices.
    let mut reached: BTreeMap<(ControllerId, u64), Index> = BTreeMap::new();
    let mut reached_by: BTreeMap<(ControllerId, u64, JournalId), Index> = BTreeMap::new();
    let mut held: BTreeSet<(ControllerId, u64, Index)> = BTreeSet::new();
    let mut open: BTreeMap<(ControllerId, u64), Vec<Gap>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (row, matched) in &matching.rows {
        match matched {
            Matched::Record(place) => {
                if !seen.insert((row.controller, *place)) {
                    continue;
                }
                let index = row.index.unwrap_or_default();
                let key = (row.controller, place.life);
                let late = highest.get(&row.controller).is_some_and(|highest| place < highest);
                let before_gap = open.get(&key).is_some_and(|gaps| {
                    gaps.iter().any(|gap| index < gap.first || gap.last.is_none())
                });
                if late || before_gap {
                    count += 1;
                    findings.push(|| format!("behind what came after it: {}", describe(row)));
                } else {
                    highest.insert(row.controller, *place);
                }
                let reached = reached.entry(key).or_default();
                *reached = index.max(*reached);
                let reached_by = reached_by.entry((key.0, key.1, row.journal)).or_default();
                *reached_by = index.max(*reached_by);
                held.insert((key.0, key.1, index));
            }
            Matched::Gap(life, gap) => {
                let key = (row.controller, *life);
                let past = reached.get(&key).copied().unwrap_or_default();
                let own = reached_by.get(&(key.0, key.1, row.journal)).copied().unwrap_or_default();
                // A journal that cannot know what an earlier one brought may claim it once more.
                let is_known = |index| {
                    let mut earlier = open.get(&key).into_iter().flatten();
                    held.contains(&(key.0, key.1, index)) || earlier.any(|gap| covers(gap, index))
                };
                let late = gap.last.is_some_and(|last| {
                    last < own || last < past && !(gap.first.0..=last.0).map(Index).all(is_known)
                });
                if late {
                    count += 1;
                    findings.push(|| format!("behind what came after it: {}", describe(row)));
                }
                open.entry(key).or_default().push(*gap);
            }
            Matched::Note | Matched::Phantom(_) => {}
        }
    }
    count
}

/// A note says itself behind which index it stands.
fn notes_between(matching: &Matching<'_>, findings: &mut Findings) {
    // The next record of each epoch, seen from the end.
    let mut next: BTreeMap<(ControllerId, EpochId), Index> = BTreeMap::new();
    for (row, matched) in matching.rows.iter().rev() {
        let key = (row.controller, row.epoch);
        let stated = match matched {
            Matched::Record(_) => {
                next.insert(key, row.index.unwrap_or_default());
                continue;
            }
            Matched::Gap(_, gap) => row.after == Some(gap.first.previous()),
            Matched::Note => row.after.is_some(),
            Matched::Phantom(_) => continue,
        };
        let before = next.get(&key).is_none_or(|next| row.after < Some(*next));
        if !stated || !before {
            let after = row.after.unwrap_or_default();
            findings.push(|| format!("not behind index {after} as it says: {}", describe(row)));
        }
    }
    for row in restart::late(matching) {
        findings.push(|| format!("behind what came after it: {}", describe(row)));
    }
}

/// C3.
pub(super) fn no_phantom(truth: &Truth, stores: &Stores<'_>) -> Outcome {
    let mut findings = Findings::default();
    for (store, matching) in stores.both() {
        for (row, matched) in &matching.rows {
            if let Matched::Phantom(why) = matched {
                findings.push(|| format!("{why}: {}", describe(row)));
            }
        }
        for (row, life, gap) in matching.gaps() {
            if let Some(why) = untrue_gap(truth, matching, row, life, gap) {
                findings.push(|| format!("{why}: {} in life {life}", describe(row)));
            }
        }
        for row in repeated_gaps(matching) {
            findings.push(|| format!("a gap that was claimed before: {}", describe(row)));
        }
        for (row, why) in restart::untrue(truth, matching) {
            findings.push(|| format!("{why}: {}", describe(row)));
        }
        position::exists(store, &mut findings);
    }
    outcome(findings, || format!("{} rows", stores.active.1.rows.len()))
}

/// Why a gap claims what cannot be.
fn untrue_gap(
    truth: &Truth,
    matching: &Matching<'_>,
    row: &Row,
    life: u64,
    gap: Gap,
) -> Option<&'static str> {
    let Some(log) = truth.logs.get(&row.controller) else { return Some("gap of no controller") };
    if row.controller.protocol == Protocol::Uhppote && gap.continuity == Continuity::Proven {
        return Some("a proven far side in a log that names no lives");
    }
    if let Some(last) = gap.last {
        let past = last > log.newest(life);
        let inverted = last.next() < gap.first;
        return match (past, inverted) {
            (true, _) => Some("gap past the newest index"),
            (_, true) => Some("gap that ends before it begins"),
            (false, false) => None,
        };
    }
    // Another journal may have known more of that life than the one that saw it end.
    let newest = matching.known.newest.get(&(row.controller, life, row.journal));
    let is_held = newest.is_some_and(|newest| *newest >= gap.first);
    if !log.is_over(life) {
        Some("open-ended gap in a log that goes on")
    } else if is_held {
        Some("open-ended gap over what is stored")
    } else {
        None
    }
}

/// Gaps that say the same as one before them.
fn repeated_gaps<'a>(matching: &Matching<'a>) -> Vec<&'a Row> {
    let mut claimed: BTreeMap<_, Vec<Gap>> = BTreeMap::new();
    let mut repeated = Vec::new();
    for (row, _, gap) in matching.gaps() {
        let before = claimed.entry((row.controller, row.epoch, gap.first)).or_default();
        if before.contains(&gap) {
            repeated.push(row);
        }
        before.push(gap);
    }
    repeated
}

/// Why the ledger does not prove that what a gap covers was gone.
fn unproven(
    truth: &Truth,
    matching: &Matching<'_>,
    sizes: &BTreeMap<ControllerId, LogSize>,
    row: &Row,
    life: u64,
    gap: Gap,
) -> Option<&'static str> {
    let log = truth.logs.get(&row.controller)?;
    if gap.reason == GapReason::Unreadable {
        return Some("a gap of what nobody denied");
    }
    if row.controller.protocol == Protocol::Link
        && gap.reason == GapReason::Overwritten
        && gap.continuity == Continuity::Unproven
    {
        return Some("an unproven far side in a log that names its lives");
    }
    let mut covered = log.range(life, gap.first, gap.last);
    if covered.any(|place| matching.stored.contains_key(&(row.controller, place))) {
        return Some("a gap over what is stored");
    }
    let Some(size) = sizes.get(&row.controller) else { return Some("a gap of no log") };
    // What was dropped later was still there to be read.
    let by = row.received.as_deref().and_then(Moment::read);
    let dropped = size.dropped(log.recorded_by(life, by));
    let newest = log.range(life, gap.first, gap.last).last()?;
    let is_gone = gap.last.is_none() || u64::try_from(newest.ordinal).is_ok_and(|at| at < dropped);
    (!is_gone).then_some("a gap over what the log still held")
}

/// C7.
pub(super) fn balanced(
    evidence: &Evidence,
    truth: &Truth,
    stores: &Stores<'_>,
    counts: Counts,
) -> Outcome {
    let mut findings = Findings::default();
    let Counts { generated, stored, gaps, .. } = counts;
    if generated == 0 {
        findings.push(|| "nothing was generated, so nothing is proven".to_owned());
    }
    if stored + gaps != generated {
        findings.push(|| format!("{stored} stored + {gaps} in gaps is not {generated}"));
    }
    for journal in &evidence.active.journals {
        for hole in &journal.holes {
            findings.push(|| {
                format!("journal {} lacks {} to {}", journal.journal, hole.first, hole.last)
            });
        }
    }
    for (store, _) in stores.both() {
        position::balanced(store, &mut findings);
    }
    let (_, matching) = &stores.active;
    match &evidence.gaps {
        GapAllowance::Any => {}
        GapAllowance::Proven(sizes) => {
            for (row, life, gap) in matching.gaps() {
                if let Some(why) = unproven(truth, matching, sizes, row, life, gap) {
                    findings.push(|| format!("{why}: {} in life {life}", describe(row)));
                }
            }
        }
        GapAllowance::None => {
            for (row, _, gap) in matching.gaps() {
                if let Some(count) = gap.count().filter(|count| *count > 0) {
                    findings.push(|| {
                        format!(
                            "a gap of {count} where nothing need have been lost: {}",
                            describe(row)
                        )
                    });
                }
            }
            if gaps > 0 {
                findings.push(|| format!("{gaps} in gaps where nothing need have been lost"));
            }
        }
        GapAllowance::Exactly(expected) => {
            let mut found: Vec<_> = matching
                .gaps()
                .map(|(row, life, gap)| ExpectedGap { controller: row.controller, life, gap })
                .collect();
            let mut expected = expected.clone();
            let place = |ExpectedGap { controller, life, gap }: &ExpectedGap| {
                (*controller, *life, gap.first, gap.last)
            };
            found.sort_unstable_by_key(place);
            expected.sort_unstable_by_key(place);
            if found != expected {
                findings.push(|| format!("gaps are {found:?}, expected were {expected:?}"));
            }
        }
    }
    outcome(findings, || format!("{stored} + {gaps} = {generated}"))
}
