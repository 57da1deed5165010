//! Positions: a row's place in its store and in the journal that brought it. Every position that a
//! server says it has holds a row, a double that it turned away, or lies in a hole.

use std::collections::{BTreeMap, BTreeSet};

use postern_protocol::{JournalId, Seq};

use super::condition::describe;
use super::evidence::{Row, StoreView};
use super::verdict::Findings;

/// C2: within a journal, what stands later in the store stands later in the journal.
pub(super) fn rising(store: &StoreView, findings: &mut Findings) {
    let mut rows: Vec<&Row> = store.rows.iter().collect();
    rows.sort_by_key(|row| row.rowid);
    let mut reached: BTreeMap<JournalId, Seq> = BTreeMap::new();
    for row in rows {
        let reached = reached.entry(row.journal).or_default();
        if row.seq < *reached {
            findings.push(|| format!("seq {} behind {reached}: {}", row.seq, describe(row)));
        }
        *reached = row.seq.max(*reached);
    }
}

/// C3: no position is held twice, and none lies in a journal, or past its end, that is not known.
pub(super) fn exists(store: &StoreView, findings: &mut Findings) {
    let stored: BTreeMap<_, _> =
        store.journals.iter().map(|journal| (journal.journal, journal.stored)).collect();
    let (mut rowids, mut positions) = (BTreeSet::new(), BTreeSet::new());
    for row in &store.rows {
        if !rowids.insert(row.rowid) {
            findings.push(|| format!("a second row of this number: {}", describe(row)));
        }
        if !positions.insert((row.journal, row.seq)) {
            findings.push(|| format!("a second row at seq {}: {}", row.seq, describe(row)));
        }
        match stored.get(&row.journal) {
            None => findings.push(|| format!("of a journal nobody knows: {}", describe(row))),
            Some(stored) if row.seq > *stored => findings
                .push(|| format!("seq {} past the journal's {stored}: {}", row.seq, describe(row))),
            Some(_) => {}
        }
    }
}

/// C7: rows + doubles + holes = stored, for every journal.
pub(super) fn balanced(store: &StoreView, findings: &mut Findings) {
    for journal in &store.journals {
        let rows = store.rows.iter().filter(|row| row.journal == journal.journal).count() as u64;
        let missing: u64 =
            journal.holes.iter().map(|hole| (hole.last.0 + 1).saturating_sub(hole.first.0)).sum();
        let doubles = journal.doubles;
        if rows + doubles + missing != journal.stored.0 {
            findings.push(|| {
                format!(
                    "server {}, journal {}: {rows} rows + {doubles} doubles + {missing} in holes \
                     is not {}",
                    store.server, journal.journal, journal.stored
                )
            });
        }
    }
}
