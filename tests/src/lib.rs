//! The assembled system under test: real processes, real faults, one checker.
//!
//! - [`checker`]: judges a run; pure.
//! - [`demo`]: `cargo demo`.
//! - [`harness`]: starts, watches, kills and asks the real programs.
//! - [`random`]: reproducible choices.
//! - [`scenario`]: faults that are repeated, in short and in long runs.
//! - [`simulation`]: automatic failover in simulated time: thousands of minutes of faults in a few.
//!
//! The scenarios themselves are in `tests/`, the longer runs and the demo in `src/bin/`.
#![allow(
    clippy::disallowed_methods,
    reason = "real processes run on the real clock; the one place that sleeps is `harness::wait`"
)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::cast_possible_truncation))]

pub mod checker;
pub mod demo;
pub mod harness;
pub mod random;
pub mod scenario;
pub mod simulation;
