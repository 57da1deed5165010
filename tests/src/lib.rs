//! The assembled system under test: real processes, real faults, one checker.
//!
//! - [`checker`]: judges a run; pure.
//! - [`random`]: reproducible choices.
//!
//! The scenarios themselves are in `tests/`, the longer runs and the demo in `src/bin/`.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::cast_possible_truncation))]

pub mod checker;
pub mod random;
