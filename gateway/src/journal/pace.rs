//! When the writer commits: at once where it was idle, at most so often under sustained traffic, and
//! once more when it has become quiet. Pure.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

/// A quiet writer commits once more after this long: a raised `safe` is then durable without a
/// commit of its own for every batch that is delivered, and the last transactions no longer stand in
/// the last commit, whose pages alone redb may give up unnoticed when they rot (ADR-0005).
pub(crate) const SETTLE: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    interval: Duration,
    last: Option<Instant>,
    /// Since when nothing was committed although something is not settled.
    quiet_since: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(syncs_per_second: Option<NonZeroU32>) -> Self {
        let interval =
            syncs_per_second.map_or(Duration::ZERO, |syncs| Duration::from_secs(1) / syncs.get());
        Self { interval, last: None, quiet_since: None }
    }

    /// When the next commit may begin, if somebody waits for it; `None`: now.
    pub(crate) fn allowed_at(&self, now: Instant) -> Option<Instant> {
        self.last.map(|last| last + self.interval).filter(|at| *at > now)
    }

    /// When to commit although nobody waits for it.
    pub(crate) fn settle_at(&self) -> Option<Instant> {
        self.quiet_since.map(|since| since + SETTLE.max(self.interval))
    }

    /// A commit begins. `settling`: it holds nothing that anybody would miss.
    pub(crate) fn on_commit(&mut self, now: Instant, settling: bool) {
        (self.last, self.quiet_since) = (Some(now), (!settling).then_some(now));
    }

    /// `safe` was raised in memory.
    pub(crate) fn on_raised(&mut self, now: Instant) {
        self.quiet_since.get_or_insert(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_writer_commits_at_once_and_a_busy_one_keeps_to_the_ceiling() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pace = Pace::new(NonZeroU32::new(4));
        assert_eq!(pace.allowed_at(at(0)), None);
        pace.on_commit(at(0), false);
        assert_eq!(pace.allowed_at(at(10)), Some(at(250)));
        assert_eq!(pace.allowed_at(at(250)), None);
        pace.on_commit(at(5_000), false);
        assert_eq!(pace.allowed_at(at(5_001)), Some(at(5_250)));
        let mut free = Pace::new(None);
        free.on_commit(at(0), false);
        assert_eq!(free.allowed_at(at(0)), None);
    }

    #[test]
    fn a_quiet_writer_settles_once() {
        let start = Instant::now();
        let mut pace = Pace::new(None);
        assert_eq!(pace.settle_at(), None, "nothing was committed");
        pace.on_commit(start, false);
        assert_eq!(pace.settle_at(), Some(start + SETTLE));
        pace.on_commit(start + SETTLE, true);
        assert_eq!(pace.settle_at(), None);
        pace.on_raised(start + SETTLE * 9);
        assert_eq!(pace.settle_at(), Some(start + SETTLE * 10));
        assert_eq!(pace.allowed_at(start + SETTLE * 9), None, "an append has to wait");
    }
}
