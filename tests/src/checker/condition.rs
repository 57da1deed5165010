//! The nine conditions, each a function of the evidence.

use std::collections::{BTreeMap, BTreeSet};

use postern_protocol::transaction::Gap;
use postern_protocol::{ControllerId, Index, RoleTerm};

use super::evidence::{Evidence, ExpectedGap, GapAllowance, Row, StoreView, Told};
use super::matching::{Matched, Matching};
use super::truth::{Place, Truth};
use super::verdict::{Condition, Counts, Findings, Outcome, Verdict};

/// Exit codes that the programs document: 0 done, 1 failed, 2 usage, 10 configuration, 11 data in
/// use by another process, 12 store or journal failed, and what only some of them have.
const DOCUMENTED_CODES: [i32; 9] = [0, 1, 2, 10, 11, 12, 13, 14, 15];

/// Far above what any of the processes needs for the loads of these scenarios (tens of MiB), far
/// below what an unbounded buffer comes to.
const MAX_MEMORY_KIB: u64 = 512 * 1024;

pub(super) fn judge(evidence: &Evidence, truth: &Truth, matching: &Matching<'_>) -> Verdict {
    let mut counts = Counts { generated: truth.generated(), ..Counts::default() };
    let conditions = BTreeMap::from([
        (Condition::C1, complete(truth, matching, &mut counts)),
        (Condition::C2, in_order(matching, &mut counts)),
        (Condition::C3, no_phantom(truth, matching)),
        (Condition::C4, servers_equal(evidence)),
        (Condition::C5, promises_kept(evidence)),
        (Condition::C6, one_active(evidence)),
        (Condition::C7, balanced(evidence, matching, counts)),
        (Condition::C8, in_time(evidence)),
        (Condition::C9, ended_well(evidence)),
    ]);
    Verdict { counts, conditions }
}

fn outcome(findings: Findings, ok: impl FnOnce() -> String) -> Outcome {
    if findings.count == 0 { Outcome::Ok(ok()) } else { Outcome::Failed(findings) }
}

fn covers(gap: &Gap, index: Index) -> bool {
    gap.first <= index && gap.last.is_none_or(|last| index <= last)
}

fn describe(row: &Row) -> String {
    let (id, epoch) = (row.controller, row.epoch.to_string());
    let epoch = epoch.get(..8).unwrap_or_default();
    match row.index {
        Some(index) => format!("{id} epoch {epoch} index {index} (row {})", row.rowid),
        None => format!("{id} epoch {epoch} {:?} (row {})", row.kind, row.rowid),
    }
}

/// C1. A gap that covers what the store holds as well is no fault: a server keeps a gap as it was
/// claimed and counts as lost only what it does not hold.
fn complete(truth: &Truth, matching: &Matching<'_>, counts: &mut Counts) -> Outcome {
    let mut gaps: BTreeMap<(ControllerId, u64), Vec<Gap>> = BTreeMap::new();
    for (row, life, gap) in matching.gaps() {
        gaps.entry((row.controller, life)).or_default().push(gap);
    }
    let mut findings = Findings::default();
    for (controller, place, index) in truth.places() {
        let name = || format!("{controller} life {} index {index}", place.life);
        let copies = matching.stored.get(&(controller, place)).copied().unwrap_or_default();
        if copies > 0 {
            counts.stored += 1;
            counts.doubled += copies - 1;
            if copies > 1 {
                findings.push(|| format!("doubled: {}, {copies} rows", name()));
            }
            continue;
        }
        let gaps = gaps.get(&(controller, place.life)).map_or(&[][..], Vec::as_slice);
        match gaps.iter().filter(|gap| covers(gap, index)).count() {
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
    for row in &matching.mixed {
        findings.push(|| format!("under the epoch of another life: {}", describe(row)));
    }
    for (controller, life, epoch) in &matching.split {
        findings.push(|| format!("{controller} life {life} goes on under a second epoch {epoch}"));
    }
    for (row, _) in &matching.rows {
        let differs = row.digest.is_some_and(|digest| digest != row.raw.digest());
        if row.index.is_some() && differs {
            findings.push(|| format!("digest is not of the stored bytes: {}", describe(row)));
        }
    }
    outcome(findings, || format!("{} of {} stored", counts.stored, counts.generated))
}

/// C2. Each record stands behind all that its controller recorded before it; each gap stands
/// between what it separates. The second row of a double is counted as doubled, not here.
fn in_order(matching: &Matching<'_>, counts: &mut Counts) -> Outcome {
    let mut findings = Findings::default();
    let mut highest: BTreeMap<ControllerId, Place> = BTreeMap::new();
    // How far each life's records have come, by index; gaps name indices.
    let mut reached: BTreeMap<(ControllerId, u64), Index> = BTreeMap::new();
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
                    counts.reordered += 1;
                    findings.push(|| format!("behind what came after it: {}", describe(row)));
                } else {
                    highest.insert(row.controller, *place);
                }
                let reached = reached.entry(key).or_default();
                *reached = index.max(*reached);
            }
            Matched::Gap(life, gap) => {
                let key = (row.controller, *life);
                let past = reached.get(&key).copied().unwrap_or_default();
                if gap.last.is_some_and(|last| last < past) {
                    counts.reordered += 1;
                    findings.push(|| format!("behind what came after it: {}", describe(row)));
                }
                open.entry(key).or_default().push(*gap);
            }
            Matched::Note | Matched::Phantom(_) => {}
        }
    }
    outcome(findings, || format!("{} controllers", highest.len()))
}

/// C3.
fn no_phantom(truth: &Truth, matching: &Matching<'_>) -> Outcome {
    let mut findings = Findings::default();
    for (row, matched) in &matching.rows {
        if let Matched::Phantom(why) = matched {
            findings.push(|| format!("{why}: {}", describe(row)));
        }
    }
    for (row, life, gap) in matching.gaps() {
        let newest = truth.logs.get(&row.controller).map(|log| log.newest(life));
        match (newest, gap.last) {
            (None, _) => findings.push(|| format!("gap of no controller: {}", describe(row))),
            (Some(newest), Some(last)) if last > newest => findings.push(|| {
                format!("gap past the newest index {newest} of life {life}: {}", describe(row))
            }),
            _ => {}
        }
    }
    outcome(findings, || format!("{} rows", matching.rows.len()))
}

/// C4.
fn servers_equal(evidence: &Evidence) -> Outcome {
    let Some(standby) = evidence.standby.as_ref().filter(|_| evidence.replicated) else {
        return Outcome::NotApplicable("the servers do not replicate yet");
    };
    let mut findings = Findings::default();
    let (active, standby) = (by_controller(&evidence.active), by_controller(standby));
    for controller in active.keys().chain(standby.keys()).collect::<BTreeSet<_>>() {
        let none = Vec::new();
        let left = active.get(controller).unwrap_or(&none);
        let right = standby.get(controller).unwrap_or(&none);
        let differs = left.iter().zip(right).position(|(left, right)| left != right);
        let position = differs.or((left.len() != right.len()).then(|| left.len().min(right.len())));
        if let Some(position) = position {
            findings.push(|| format!("{controller} differs from its transaction {position} on"));
        }
    }
    outcome(findings, || format!("{} controllers", active.len()))
}

/// What is compared between servers: identity, kind and the controller's bytes.
fn by_controller(store: &StoreView) -> BTreeMap<ControllerId, Vec<impl PartialEq + use<'_>>> {
    let mut rows: Vec<&Row> = store.rows.iter().collect();
    rows.sort_by_key(|row| row.rowid);
    let mut by_controller: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for row in rows {
        let compared = (row.epoch, row.index, row.after, row.kind, &row.raw);
        by_controller.entry(row.controller).or_default().push(compared);
    }
    by_controller
}

/// C5.
fn promises_kept(evidence: &Evidence) -> Outcome {
    if evidence.kills.is_empty() {
        return Outcome::NotApplicable("nothing was killed");
    }
    let mut findings = Findings::default();
    for kill in &evidence.kills {
        let victim = &kill.victim;
        for told in &kill.told {
            match told {
                Told::Read { controller, told, kept } if kept < told => findings.push(|| {
                    format!("{victim}: {controller} was read up to {told}, afterwards {kept}")
                }),
                Told::Stored { journal, told, kept } if kept < told => findings.push(|| {
                    format!(
                        "{victim}: journal {journal} was stored up to {told}, afterwards {kept}"
                    )
                }),
                Told::Forgotten { journal, forgotten, stored } if stored < forgotten => {
                    findings.push(|| {
                        format!(
                            "{victim}: journal {journal} was forgotten up to {forgotten}, \
                             but servers hold it up to {stored} only"
                        )
                    });
                }
                Told::Read { .. } | Told::Stored { .. } | Told::Forgotten { .. } => {}
            }
        }
    }
    let told: usize = evidence.kills.iter().map(|kill| kill.told.len()).sum();
    outcome(findings, || format!("{} kills, {told} promises", evidence.kills.len()))
}

/// C6. Besides what was seen, every row says under which term its server stored it: each server
/// acknowledges for itself, so a term in two stores has two holders.
fn one_active(evidence: &Evidence) -> Outcome {
    let mut findings = Findings::default();
    let mut holder: BTreeMap<RoleTerm, (&str, &str)> = BTreeMap::new();
    let mut highest: BTreeMap<&str, RoleTerm> = BTreeMap::new();
    let mut claim = |term: RoleTerm, active, observer| {
        let (held_by, seen_by) = *holder.entry(term).or_insert((active, observer));
        (held_by != active).then(|| {
            format!("role term {term}: {held_by} (says {seen_by}), {active} (says {observer})")
        })
    };
    for seen in &evidence.reigns {
        if let Some(two) = claim(seen.role_term, &seen.active, &seen.observer) {
            findings.push(|| two);
        }
        let highest = highest.entry(&seen.observer).or_default();
        if seen.role_term < *highest {
            findings.push(|| {
                format!("{}: role term fell from {highest} to {}", seen.observer, seen.role_term)
            });
        }
        *highest = seen.role_term.max(*highest);
    }
    let standby = evidence.standby.iter().filter(|_| !evidence.replicated);
    for store in std::iter::once(&evidence.active).chain(standby) {
        let mut rows: Vec<&Row> = store.rows.iter().collect();
        rows.sort_by_key(|row| row.rowid);
        let mut before = RoleTerm(0);
        for row in rows {
            if row.role_term < before {
                findings.push(|| {
                    format!(
                        "stored under term {} behind {before}: {}",
                        row.role_term,
                        describe(row)
                    )
                });
            }
            if row.role_term != before
                && let Some(two) = claim(row.role_term, &store.server, "its store")
            {
                findings.push(|| format!("{two}: {}", describe(row)));
            }
            before = row.role_term.max(before);
        }
    }
    if holder.is_empty() {
        return Outcome::NotApplicable("nobody was seen to be active");
    }
    let terms = holder.len();
    outcome(findings, || format!("{terms} reigns, {} observations", evidence.reigns.len()))
}

/// C7.
fn balanced(evidence: &Evidence, matching: &Matching<'_>, counts: Counts) -> Outcome {
    let mut findings = Findings::default();
    let Counts { generated, stored, gaps, .. } = counts;
    if generated == 0 {
        findings.push(|| "nothing was generated, so nothing is proven".to_owned());
    }
    if stored + gaps != generated {
        findings.push(|| format!("{stored} stored + {gaps} in gaps is not {generated}"));
    }
    match &evidence.gaps {
        GapAllowance::Any => {}
        GapAllowance::None => {
            if gaps > 0 {
                findings.push(|| format!("{gaps} in gaps where nothing need have been lost"));
            }
            for journal in &evidence.active.journals {
                for hole in &journal.holes {
                    findings.push(|| {
                        format!("journal {} lacks {} to {}", journal.journal, hole.first, hole.last)
                    });
                }
            }
        }
        GapAllowance::Exactly(expected) => {
            let mut found: Vec<_> = matching
                .gaps()
                .map(|(row, life, gap)| ExpectedGap {
                    controller: row.controller,
                    life,
                    first: gap.first,
                    last: gap.last,
                })
                .collect();
            let mut expected = expected.clone();
            found.sort_unstable();
            expected.sort_unstable();
            if found != expected {
                findings.push(|| format!("gaps are {found:?}, expected were {expected:?}"));
            }
        }
    }
    outcome(findings, || format!("{stored} + {gaps} = {generated}"))
}

/// C8.
fn in_time(evidence: &Evidence) -> Outcome {
    if evidence.times.is_empty() {
        return Outcome::NotApplicable("nothing was timed");
    }
    let mut findings = Findings::default();
    for timing in evidence.times.iter().filter(|timing| timing.took_ms > timing.bound_ms) {
        let (what, took, bound) = (&timing.what, timing.took_ms, timing.bound_ms);
        findings.push(|| format!("{what}: {took} ms, bound {bound} ms"));
    }
    let slowest = evidence.times.iter().max_by_key(|timing| timing.took_ms);
    let slowest = slowest.map(|slowest| format!("{} {} ms", slowest.what, slowest.took_ms));
    outcome(findings, || {
        format!("{} timed, slowest: {}", evidence.times.len(), slowest.unwrap_or_default())
    })
}

/// C9.
fn ended_well(evidence: &Evidence) -> Outcome {
    if evidence.exits.is_empty() {
        return Outcome::NotApplicable("no process was observed");
    }
    let mut findings = Findings::default();
    for exit in &evidence.exits {
        let process = &exit.process;
        for panic in &exit.panics {
            findings.push(|| format!("{process}: {panic}"));
        }
        match (exit.code, exit.signal) {
            (Some(code), _) if !DOCUMENTED_CODES.contains(&code) => {
                findings.push(|| format!("{process}: exit code {code} is documented nowhere"));
            }
            (None, Some(signal)) if exit.sent != Some(signal) => {
                findings.push(|| format!("{process}: died of signal {signal} that nobody sent"));
            }
            _ => {}
        }
        if let Some(kib) = exit.peak_memory_kib.filter(|kib| *kib > MAX_MEMORY_KIB) {
            findings.push(|| format!("{process}: {kib} KiB of memory, bound {MAX_MEMORY_KIB} KiB"));
        }
    }
    let peak = evidence.exits.iter().filter_map(|exit| exit.peak_memory_kib).max().unwrap_or(0);
    outcome(findings, || format!("{} processes, at most {peak} KiB", evidence.exits.len()))
}
