//! When the next backup is due. Pure; times are the wall clock's, since backups outlive processes.

use std::time::Duration;

use postern_protocol::Timestamp;

/// After a failure it is tried again sooner than the next is due, within these bounds.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(1));

/// How long until the next backup: `last` is the last good one, `failed` the last failure after it.
pub(super) fn wait(
    now: Timestamp,
    last: Option<Timestamp>,
    failed: Option<Timestamp>,
    every: Duration,
) -> Duration {
    // What lies in the future was noted by a clock that was wrong, and says nothing.
    let left = |since: Option<Timestamp>, span: Duration| {
        since
            .and_then(|since| age(now, since))
            .map_or(Duration::ZERO, |age| span.saturating_sub(age))
    };
    left(last, every).max(left(failed, (every / 8).clamp(RETRY.0, RETRY.1)))
}

/// Whether the last good backup is so old that somebody should look: half as old again as it may be.
pub(super) fn is_overdue(
    now: Timestamp,
    last: Option<Timestamp>,
    failed: Option<Timestamp>,
    every: Duration,
) -> bool {
    match last {
        Some(last) => age(now, last).is_some_and(|age| age > every + every / 2),
        // The first is due at once.
        None => failed.is_some(),
    }
}

/// How long ago; `None` where it is still to come.
pub(super) fn age(now: Timestamp, then: Timestamp) -> Option<Duration> {
    u64::try_from(now.0.saturating_sub(then.0)).ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);
    const HOUR: i64 = 3_600_000;
    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    #[expect(clippy::unnecessary_wraps, reason = "as `wait` takes it")]
    fn ago(hours: i64) -> Option<Timestamp> {
        Some(Timestamp(NOW.0 - hours * HOUR))
    }

    #[test]
    fn a_backup_is_due_when_the_last_is_old_enough_and_after_a_failure_sooner() {
        let hours = Duration::from_hours;
        for (last, failed, expected) in [
            (None, None, hours(0)),
            (ago(1), None, hours(23)),
            (ago(24), None, hours(0)),
            (ago(90), None, hours(0)),
            (None, ago(0), hours(1)),
            (ago(30), ago(0), hours(1)),
            (ago(30), ago(1), hours(0)),
            (ago(1), ago(0), hours(23)),
            // Made while the clock was wrong.
            (ago(-9_000), None, hours(0)),
            (None, ago(-9_000), hours(0)),
        ] {
            assert_eq!(wait(NOW, last, failed, DAY), expected, "{last:?} {failed:?}");
        }
        let second = Duration::from_secs(1);
        assert_eq!(wait(NOW, None, ago(0), second), second);
    }

    #[test]
    fn it_is_overdue_when_it_is_half_as_old_again() {
        for (last, failed, expected) in [
            (ago(36), None, false),
            (ago(37), None, true),
            (ago(37), ago(1), true),
            (ago(1), ago(0), false),
            (ago(-9_000), None, false),
            (None, None, false),
            (None, ago(0), true),
        ] {
            assert_eq!(is_overdue(NOW, last, failed, DAY), expected, "{last:?} {failed:?}");
        }
    }
}
