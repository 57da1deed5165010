//! The one place that reads the wall clock. Order is never taken from it.

use postern_protocol::Timestamp;

/// Now, in UTC.
pub fn utc() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

/// A time for people and JSON: RFC 3339 in UTC.
pub fn text(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0)
        .map_or_else(|_| format!("{} ms", at.0), |at| at.to_string())
}

/// Now, as it stands in the names of files: `20261124T003000Z`.
pub fn stamp() -> String {
    jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string()
}
