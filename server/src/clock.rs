//! The only place that reads the wall clock and the machine's own. Order is never taken from either.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use postern_protocol::Timestamp;
use rustls_pki_types::UnixTime;

use crate::liveness::BootInstant;

/// Now, in milliseconds of UTC.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Now, since the machine was started, the time that it slept included: what leases count by.
pub fn boot() -> BootInstant {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec));
    BootInstant(Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default()))
}

/// Now, as certificates count it.
pub fn unix_now() -> UnixTime {
    UnixTime::now()
}

/// RFC 3339 in UTC with milliseconds; `None` outside the years 1 to 9999.
pub fn rfc3339(at: Timestamp) -> Option<String> {
    let time = jiff::Timestamp::from_millisecond(at.0).ok()?;
    (time.as_second() >= -62_135_596_800).then(|| format!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_with_milliseconds_and_absurd_ones_not_at_all() {
        assert_eq!(rfc3339(Timestamp(0)).unwrap(), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(Timestamp(1_700_000_000_123)).unwrap(), "2023-11-14T22:13:20.123Z");
        assert_eq!(rfc3339(Timestamp(i64::MIN)), None);
        assert_eq!(rfc3339(Timestamp(i64::MAX)), None);
    }
}
