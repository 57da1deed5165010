//! The checker: a pure function from what was observed of a run to a verdict on it.
//!
//! Every scenario, the demo and the long runs end with it. It knows nothing of processes and
//! files: [`Evidence`] is collected by the harness once all faults are healed and the backlog is
//! empty, and the simulator's ledger, which lies outside the faults, is the only truth in it.
//!
//! | condition | what it says |
//! | --- | --- |
//! | C1 complete | every generated transaction is in the active server's store exactly once, byte-equal, under one identity; or in exactly one gap |
//! | C2 order | the store's order per controller is the order in which the controller recorded |
//! | C3 no phantom | nothing is in the store that no controller recorded; no gap claims what never was |
//! | C4 servers equal | both servers hold the same, where they replicate |
//! | C5 promises | what was acknowledged or forgotten before a kill is durable after it |
//! | C6 one active | one acknowledging server per role term; terms never fall |
//! | C7 balance | stored + gaps = generated; no gaps but those that the scenario allows |
//! | C8 times | what was timed stayed within its bound |
//! | C9 processes | no panic, only documented exit codes, bounded memory |
//!
//! A checker that cannot fail proves nothing: `tests.rs` falsifies a good run in every way that is
//! listed there and demands that the right condition says so.

mod condition;
mod evidence;
mod matching;
mod truth;
mod verdict;

pub use evidence::{
    Evidence, Exit, ExpectedGap, GapAllowance, Hole, Journal, Kill, LedgerLine, ReignSeen, Row,
    StoreView, Timing, Told, parse_lines,
};
pub use verdict::{Condition, Counts, Findings, MAX_FINDINGS, Outcome, Verdict};

use matching::Matching;
use truth::Truth;

/// Judges a run.
pub fn check(evidence: &Evidence) -> Verdict {
    let truth = Truth::of(&evidence.ledger);
    let matching = Matching::of(&truth, &evidence.active.rows);
    condition::judge(evidence, &truth, &matching)
}

#[cfg(test)]
mod tests;
