//! Times: milliseconds of UTC, and how far to trust them. Order is never taken from a time.

// Named by what `ToSchema` derives.
#[cfg(feature = "schema")]
use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z, without leap seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// Whose clock gave a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TimeSource {
    /// The controller's own clock.
    Controller,
    /// The gateway's clock, because the controller has none or did not note the time.
    Gateway,
}

/// How far the conversion of a clock's reading to UTC can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TimeTrust {
    /// One instant of the configured zone has this local time (or the source counts in UTC).
    Exact,
    /// Two have: the hour that summer time repeats. The earlier is given.
    Ambiguous,
    /// None has: the hour that summer time skips. The reading is taken with the offset before it.
    Skipped,
    /// The clock gave no time; nothing is guessed.
    Absent,
}

/// When something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Occurred {
    /// The instant, where there is one.
    pub at: Option<Timestamp>,
    /// Whose clock.
    pub source: TimeSource,
    /// How far it is to be trusted.
    pub trust: TimeTrust,
}

impl Occurred {
    /// By the gateway's clock.
    pub const fn noted(at: Timestamp) -> Self {
        Self { at: Some(at), source: TimeSource::Gateway, trust: TimeTrust::Exact }
    }

    /// The controller recorded no usable time.
    pub const ABSENT: Self =
        Self { at: None, source: TimeSource::Controller, trust: TimeTrust::Absent };
}
