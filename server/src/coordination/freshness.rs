//! How long ago a majority last acknowledged this leader. Pure.
//!
//! Raft says it as of the moment of its report, and by a clock that stands still while the machine sleeps. So
//! an age is counted from before the report can have been made, by a clock that goes on, and what was
//! acknowledged before a sleep counts as nothing.

use std::time::Duration;

/// How far the two clocks drift apart before it is a sleep.
const DRIFT: Duration = Duration::from_millis(20);

/// A moment by both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moment {
    /// By the clock that goes on while the machine sleeps.
    pub boot: Duration,
    /// By the clock that stands still then.
    pub monotonic: Duration,
}

impl Moment {
    /// How long the machine has slept in all.
    fn slept(self) -> Duration {
        self.boot.saturating_sub(self.monotonic)
    }
}

/// The last report.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Freshness {
    /// The age, and a moment before the report was made.
    report: Option<(Duration, Moment)>,
    /// When the machine was last noticed to have slept, by the clock that stood still.
    woke: Duration,
}

impl Freshness {
    /// Raft reported an age, or that it does not lead, at some time between `before` and `now`.
    pub(super) fn on_report(&mut self, age: Option<Duration>, before: Moment, now: Moment) {
        if now.slept() > before.slept() + DRIFT {
            self.woke = now.monotonic;
        }
        self.report = age.map(|age| (age, before));
    }

    /// How old the last acknowledgement is at most; `None` where there is none that counts.
    pub(super) fn age(&self, now: Moment) -> Option<Duration> {
        let (age, before) = self.report?;
        let acknowledged = before.monotonic.checked_sub(age)?;
        (acknowledged >= self.woke).then(|| age + now.boot.saturating_sub(before.boot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    const fn moment(boot: u64, monotonic: u64) -> Moment {
        Moment { boot: ms(boot), monotonic: ms(monotonic) }
    }

    #[test]
    fn an_age_grows_from_before_the_report() {
        let mut freshness = Freshness::default();
        assert_eq!(freshness.age(moment(1_000, 1_000)), None);
        freshness.on_report(Some(ms(10)), moment(1_000, 1_000), moment(1_100, 1_100));
        assert_eq!(freshness.age(moment(1_150, 1_150)), Some(ms(160)));
        freshness.on_report(None, moment(1_150, 1_150), moment(1_200, 1_200));
        assert_eq!(freshness.age(moment(1_200, 1_200)), None);
    }

    #[test]
    fn a_sleep_counts_and_what_was_acknowledged_before_it_does_not() {
        let mut freshness = Freshness::default();
        freshness.on_report(Some(ms(10)), moment(1_000, 1_000), moment(1_000, 1_000));
        // Asleep for ten seconds, and nobody has reported yet.
        assert_eq!(freshness.age(moment(11_000, 1_000)), Some(ms(10_010)));
        // A report that counts the time awake alone.
        freshness.on_report(Some(ms(15)), moment(1_000, 1_000), moment(11_005, 1_005));
        assert_eq!(freshness.age(moment(11_005, 1_005)), None);
        freshness.on_report(Some(ms(115)), moment(11_005, 1_005), moment(11_105, 1_105));
        assert_eq!(freshness.age(moment(11_105, 1_105)), None);
        // And one of what was acknowledged since.
        freshness.on_report(Some(ms(20)), moment(11_205, 1_205), moment(11_205, 1_205));
        assert_eq!(freshness.age(moment(11_205, 1_205)), Some(ms(20)));
    }
}
