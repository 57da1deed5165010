//! The nine conditions, each a function of the evidence: C1, C2, C3 and C7 in `content`, the others in
//! `conduct`.

use std::collections::BTreeMap;

use super::conduct::{ended_well, in_time, one_active, promises_kept, servers_equal};
use super::content::{Stores, balanced, complete, in_order, no_phantom};
use super::evidence::{Evidence, Row};
use super::truth::Truth;
use super::verdict::{Condition, Counts, Findings, Outcome, Verdict};

pub(super) fn judge(evidence: &Evidence, truth: &Truth, stores: &Stores<'_>) -> Verdict {
    let mut counts = Counts { generated: truth.generated(), ..Counts::default() };
    let conditions = BTreeMap::from([
        (Condition::C1, complete(truth, stores, &evidence.epochs, &mut counts)),
        (Condition::C2, in_order(stores, &mut counts)),
        (Condition::C3, no_phantom(truth, stores)),
        (Condition::C4, servers_equal(evidence)),
        (Condition::C5, promises_kept(evidence)),
        (Condition::C6, one_active(evidence)),
        (Condition::C7, balanced(evidence, truth, stores, counts)),
        (Condition::C8, in_time(evidence)),
        (Condition::C9, ended_well(evidence)),
    ]);
    Verdict { counts, conditions }
}

pub(super) fn outcome(findings: Findings, ok: impl FnOnce() -> String) -> Outcome {
    if findings.count == 0 { Outcome::Ok(ok()) } else { Outcome::Failed(findings) }
}

pub(super) fn describe(row: &Row) -> String {
    let (id, epoch) = (row.controller, row.epoch.to_string());
    let epoch = epoch.get(..8).unwrap_or_default();
    match row.index {
        Some(index) => format!("{id} epoch {epoch} index {index} (row {})", row.rowid),
        None => format!("{id} epoch {epoch} {:?} (row {})", row.kind, row.rowid),
    }
}
