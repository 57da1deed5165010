//! The one place that reads the wall clock. Order is never taken from it.
//!
//! [`OwnClock`] says whether it is known to be right, for those who set other clocks by it. The time at
//! which certificates are judged is another matter: `postern_protocol::pki::Floor`.

use postern_protocol::Timestamp;
use rustls_pki_types::UnixTime;

mod kernel;
mod own;
#[cfg(test)]
mod tests;

pub use kernel::Kernel;
pub use own::{Known, Now, OwnClock, Trust};

/// Now, in UTC.
pub fn utc() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

/// Now, as certificates count it.
pub fn unix_now() -> UnixTime {
    UnixTime::now()
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
