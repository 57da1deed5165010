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
