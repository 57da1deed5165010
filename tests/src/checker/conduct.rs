//! How the programs behaved: what follows from observations of a run rather than from the ledger
//! (C4, C5, C6, C8 and C9).

use std::collections::{BTreeMap, BTreeSet};

use postern_protocol::{ControllerId, Index, RoleTerm};

use super::condition::{describe, outcome};
use super::evidence::{Evidence, Position, Row, StoreView, Told};
use super::verdict::{Findings, Outcome};

/// Exit codes that the programs document: 0 done, 1 failed, 2 usage, 10 configuration, 11 data in
/// use by another process, 12 store or journal failed, and what only some of them have.
const DOCUMENTED_CODES: [i32; 9] = [0, 1, 2, 10, 11, 12, 13, 14, 15];

/// Far above what any of the processes needs for the loads of these scenarios (tens of MiB), far
/// below what an unbounded buffer comes to.
const MAX_MEMORY_KIB: u64 = 512 * 1024;

/// C4.
pub(super) fn servers_equal(evidence: &Evidence) -> Outcome {
    let Some(standby) = evidence.standby.as_ref().filter(|_| evidence.replicated) else {
        return Outcome::NotApplicable("there is one server alone");
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
pub(super) fn promises_kept(evidence: &Evidence) -> Outcome {
    if evidence.kills.is_empty() {
        return Outcome::NotApplicable("nothing was killed");
    }
    if evidence.kills.iter().all(|kill| kill.told.is_empty()) {
        return Outcome::NotApplicable("nothing was promised before any kill");
    }
    let mut findings = Findings::default();
    for kill in &evidence.kills {
        let victim = &kill.victim;
        for told in &kill.told {
            match told {
                Told::Read { controller, told, kept }
                    if !is_kept(&evidence.active, *controller, *told, *kept) =>
                {
                    let kept = kept.map_or(Index(0), |kept| kept.index);
                    findings.push(|| {
                        let told = told.index;
                        format!("{victim}: {controller} was read up to {told}, afterwards {kept}")
                    });
                }
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

/// Whether the gateway went on where it had told that it was. Where a log began anew between the
/// promise and the kill it goes on in the new life, and the store shows what became of the old one.
fn is_kept(
    store: &StoreView,
    controller: ControllerId,
    told: Position,
    kept: Option<Position>,
) -> bool {
    kept.is_some_and(|kept| {
        let wanted = (controller, told.epoch, Some(told.index));
        if kept.epoch == told.epoch {
            kept.index >= told.index
        } else {
            store.rows.iter().any(|row| (row.controller, row.epoch, row.index) == wanted)
        }
    })
}

/// C6. Besides what was seen, every row says under which term its server stored it: each server
/// acknowledges for itself, so a term in two stores has two holders, and a term that nobody saw
/// its server hold was never granted to it. When a deposed server learned of it is not in the
/// evidence: what it stored under its old term before it knew is right, so nothing is said of it.
pub(super) fn one_active(evidence: &Evidence) -> Outcome {
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
        // Where the servers replicate, a row keeps the term under which the peer stored it.
        let seen: BTreeSet<RoleTerm> = evidence
            .reigns
            .iter()
            .filter(|seen| evidence.replicated || seen.active == store.server)
            .map(|seen| seen.role_term)
            .collect();
        for row in rows {
            // What a returning server brought keeps the term under which that one stored it.
            if row.role_term < before && !evidence.replicated {
                findings.push(|| {
                    format!(
                        "stored under term {} behind {before}: {}",
                        row.role_term,
                        describe(row)
                    )
                });
            }
            if row.role_term != before && !seen.contains(&row.role_term) {
                let (server, term) = (&store.server, row.role_term);
                findings.push(|| {
                    format!("nobody saw {server} hold role term {term}: {}", describe(row))
                });
            }
            if row.role_term != before
                && !evidence.replicated
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

/// C8.
pub(super) fn in_time(evidence: &Evidence) -> Outcome {
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
pub(super) fn ended_well(evidence: &Evidence) -> Outcome {
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
            (Some(code), _) if code != exit.expected => findings
                .push(|| format!("{process}: exit code {code}, expected was {}", exit.expected)),
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
