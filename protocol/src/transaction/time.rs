//! Times: milliseconds of UTC, and how far to trust them. Order is never taken from a time.

// Named by what `ToSchema` derives.
#[cfg(feature = "schema")]
use alloc::{string::String, vec::Vec};

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::ParseError;

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

/// How far a time can be trusted. Text: `exact`, `ambiguous`, `skipped`, `absent`, `within_250_ms`, `before`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeTrust {
    /// One instant of the configured zone has this local time (or the source counts in UTC).
    Exact,
    /// Two have: the hour that summer time repeats. The earlier is given.
    Ambiguous,
    /// None has: the hour that summer time skips. The reading is taken with the offset before it.
    Skipped,
    /// The clock gave no time; nothing is guessed.
    Absent,
    /// It was seen at that moment, and had not happened yet at the look before, so long ago.
    Within {
        /// Milliseconds.
        ms: u32,
    },
    /// It was seen at that moment, and nobody had looked before.
    Before,
}

/// As it is in postcard. The order of variants is wire format: add at the end, never in between.
#[derive(Serialize, Deserialize)]
enum Wire {
    Exact,
    Ambiguous,
    Skipped,
    Absent,
    Within { ms: u32 },
    Before,
}

impl TimeTrust {
    /// The version of the encoding that has it.
    pub(super) const fn version(self) -> u8 {
        match self {
            Self::Exact | Self::Ambiguous | Self::Skipped | Self::Absent => 1,
            Self::Within { .. } | Self::Before => 2,
        }
    }

    const fn wire(self) -> Wire {
        match self {
            Self::Exact => Wire::Exact,
            Self::Ambiguous => Wire::Ambiguous,
            Self::Skipped => Wire::Skipped,
            Self::Absent => Wire::Absent,
            Self::Within { ms } => Wire::Within { ms },
            Self::Before => Wire::Before,
        }
    }
}

impl From<Wire> for TimeTrust {
    fn from(wire: Wire) -> Self {
        match wire {
            Wire::Exact => Self::Exact,
            Wire::Ambiguous => Self::Ambiguous,
            Wire::Skipped => Self::Skipped,
            Wire::Absent => Self::Absent,
            Wire::Within { ms } => Self::Within { ms },
            Wire::Before => Self::Before,
        }
    }
}

impl fmt::Display for TimeTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => f.write_str("exact"),
            Self::Ambiguous => f.write_str("ambiguous"),
            Self::Skipped => f.write_str("skipped"),
            Self::Absent => f.write_str("absent"),
            Self::Within { ms } => write!(f, "within_{ms}_ms"),
            Self::Before => f.write_str("before"),
        }
    }
}

impl FromStr for TimeTrust {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let words = [Self::Exact, Self::Ambiguous, Self::Skipped, Self::Absent, Self::Before];
        let names = ["exact", "ambiguous", "skipped", "absent", "before"];
        let word = words.into_iter().zip(names).find(|(_, name)| *name == text);
        let within = || {
            let digits = text.strip_prefix("within_")?.strip_suffix("_ms")?;
            let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            Some(Self::Within { ms: digits.parse().ok().filter(|_| is_plain)? })
        };
        let expected = "exact, ambiguous, skipped, absent, before or such as within_250_ms";
        word.map(|(word, _)| word).or_else(within).ok_or(ParseError { expected })
    }
}

impl Serialize for TimeTrust {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.wire().serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for TimeTrust {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return deserializer.deserialize_str(crate::text::FromText::<Self>::new());
        }
        Wire::deserialize(deserializer).map(Self::from)
    }
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

/// The longest time between two looks that is told: eleven days, nine digits.
const LONGEST_MS: u32 = 1_000_000_000;

impl Occurred {
    /// By the gateway's clock.
    pub const fn noted(at: Timestamp) -> Self {
        Self { at: Some(at), source: TimeSource::Gateway, trust: TimeTrust::Exact }
    }

    /// Seen by the gateway at a look, so many milliseconds after the one before, where there was one.
    pub fn seen(at: Timestamp, since: Option<u64>) -> Self {
        // Longer ago is as good as never.
        let within = |ms| match u32::try_from(ms) {
            Ok(ms) if ms < LONGEST_MS => TimeTrust::Within { ms },
            Ok(_) | Err(_) => TimeTrust::Before,
        };
        Self { trust: since.map_or(TimeTrust::Before, within), ..Self::noted(at) }
    }

    /// The controller recorded no usable time.
    pub const ABSENT: Self =
        Self { at: None, source: TimeSource::Controller, trust: TimeTrust::Absent };
}
