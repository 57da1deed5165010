//! How a controller misbehaves on its line, as people write it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::LogAfter;
use crate::line::Misbehaviour;

/// See [`Misbehaviour`]: numbers without a unit are probabilities. What is left out is healthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StationFaults {
    /// It does not hear what is said.
    pub deaf: f64,
    /// It does what it is asked for and says nothing.
    pub dumb: f64,
    /// It answers late by `slow_ms`.
    pub slow: f64,
    /// How late, in milliseconds.
    pub slow_ms: u64,
    /// It sends the reply before this one instead.
    pub stale: f64,
    /// It sends a reply twice.
    pub duplicate: f64,
    /// It loses its power within a reply.
    pub cut: f64,
    /// What that leaves of its log.
    pub cut_log: LogAfter,
    /// It sends random bytes about so often, whoever is talking; 0: never.
    pub babble_every_ms: u64,
    /// How many random bytes.
    pub babble_bytes: u32,
}

impl StationFaults {
    /// What is wrong with these values.
    pub fn check(&self) -> Result<(), String> {
        Misbehaviour::from(*self).check()
    }
}

impl From<StationFaults> for Misbehaviour {
    fn from(faults: StationFaults) -> Self {
        let StationFaults {
            deaf,
            dumb,
            slow,
            slow_ms,
            stale,
            duplicate,
            cut,
            cut_log: _,
            babble_every_ms,
            babble_bytes,
        } = faults;
        Self {
            deaf,
            dumb,
            slow,
            slow_by: Duration::from_millis(slow_ms),
            stale,
            duplicate,
            cut,
            babble_every: Duration::from_millis(babble_every_ms),
            babble_bytes,
        }
    }
}
