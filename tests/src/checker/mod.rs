//! The checker: a pure function from what was observed of a run to a verdict on it.
//!
//! Every scenario, the demo and the long runs end with it. It knows nothing of processes and
//! files: [`Evidence`] is collected by the harness once all faults are healed and the backlog is
//! empty, and the simulator's ledger, which lies outside the faults, is the only truth in it.
//!
//! | condition | what it says |
//! | --- | --- |
//! | C1 complete | every generated transaction is in the active server's store exactly once, byte-equal and read right, under one identity; or in exactly one gap; every restart that was met is noted |
//! | C2 order | the store's order per controller is the order in which the controller recorded |
//! | C3 no phantom | nothing is in the store that no controller recorded and no journal brought; no gap or note claims what never was |
//! | C4 servers equal | both servers hold the same, where they replicate |
//! | C5 promises | what was acknowledged or forgotten before a kill is durable after it |
//! | C6 one active | one acknowledging server per role term; terms never fall |
//! | C7 balance | stored + gaps = generated; rows + doubles = each journal's watermark; no gaps but those that the scenario allows |
//! | C8 times | what was timed stayed within its bound |
//! | C9 processes | no panic, only exit codes that are documented and expected, bounded memory |
//!
//! C1 to C3 are asked of the standby's store as well, except that it need not be complete.
//!
//! Devices that speak Modbus and are none of the simulator's have a ledger of their own: [`judge_modbus`] tells what
//! came of each swipe at them, and puts their ledger into these words.
//!
//! A checker that cannot fail proves nothing: `tests.rs` falsifies a good run in every way that is
//! listed there and demands that the right condition says so.

mod condition;
mod conduct;
mod content;
mod evidence;
mod matching;
mod modbus;
mod position;
mod reading;
mod restart;
mod truth;
mod verdict;

pub use evidence::{
    Evidence, Exit, ExpectedGap, GapAllowance, Hole, Journal, Kill, LedgerLine, LogSize, Position,
    ReignSeen, Row, StoreView, Timing, Told, parse_lines, read_lines,
};
pub use modbus::{Judged, Shows, Swipe, judge_modbus};
pub(crate) use truth::own_number;
pub use verdict::{Condition, Counts, Findings, MAX_FINDINGS, Outcome, Verdict};

use content::Stores;
use truth::Truth;

/// Judges a run.
pub fn check(evidence: &Evidence) -> Verdict {
    let truth = Truth::of(&evidence.ledger);
    let stores = Stores::of(&truth, evidence);
    condition::judge(evidence, &truth, &stores)
}

#[cfg(test)]
mod tests;
