//! A controller's clock: how far it is off, and whether it may be set.
//!
//! Boards keep local wall time to the second, drift, and lose it with their battery. The difference is
//! measured at every look, shown, alarmed past a limit and, where that is allowed, corrected. Setting a
//! clock moves what schedules open and lock, and it moves the time of evidence. So:
//! - it is set only while the gateway's own clock is known to be right;
//! - a step above an hour is an operator's;
//! - the journal holds the note of it before the controller hears of it: a note without its effect is
//!   possible, an effect without its note is not;
//! - a clock that does not take the time is not set again and again.

use std::time::Duration;

use postern_protocol::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use super::now::Now;
use crate::driver::Reading;

/// A larger step is an operator's: doors open and lock by the clock. An hour, since that is what a board
/// that missed the change of summer time is off, give or take what it drifted within the usual limit.
pub(crate) const MAX_STEP_S: i64 = 3_600 + 10;

/// How long a clock that was set is left alone, at first; twice as long each time it did not help.
const FIRST_PAUSE: Duration = Duration::from_mins(1);

/// However often it did not help.
const MAX_PAUSE: Duration = Duration::from_hours(6);

/// What is to be done about the clock of a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockSettings {
    /// How far it may be off before that is a problem.
    pub limit: Duration,
    /// Whether it may be set.
    pub set: bool,
}

/// An operator's order to set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Also by more than an hour.
    pub any_step: bool,
    /// Also while nothing says that the gateway's own clock is right.
    pub trust_gateway: bool,
}

/// What came of an order.
pub type Outcome = Result<Done, NotSet>;

/// The clock was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Done {
    /// How far it was off before, in seconds; `None` where it had never been set.
    pub before_s: Option<i64>,
    /// How far it is off now; `None` where it still is not set.
    pub after_s: Option<i64>,
}

/// Why an order was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSet {
    /// The step is an operator's who says so.
    #[error(
        "the clock would be moved by more than an hour, which opens and locks doors\nhint: say --any-step if that is meant"
    )]
    LargeStep,
    /// Nothing says that the gateway's own clock is right.
    #[error(
        "nothing says that this gateway's own clock is right\nhint: let the operating system synchronise it, or say --trust-gateway-clock"
    )]
    GatewayUnproven,
    /// There is no place for the note yet.
    #[error(
        "nothing was read from this controller yet, so there is no place in the journal for the note\nhint: let it record something, a swipe for example, and try again"
    )]
    NothingRead,
    /// The journal takes no note.
    #[error(
        "the journal is full, so the note has no place\nhint: see journal_full or disk_full in the runbook"
    )]
    JournalFull,
    /// The controller does not answer.
    #[error("the controller does not answer: {0}\nhint: try `postern controllers ping`")]
    Silent(crate::driver::DriverError),
    /// It has no clock.
    #[error("this controller has no clock that can be set")]
    NoClock,
}

/// How a clock stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ClockReport {
    /// How far it is off, in seconds; positive is fast. `None`: it was never set.
    pub skew_s: Option<i64>,
    /// What that means.
    pub state: ClockState,
}

/// What the state of a clock means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockState {
    /// Within the limit.
    Right,
    /// Past the limit, and it may not be set, or did not take the time.
    Off,
    /// Past the limit, and it will be set.
    ToBeSet,
    /// Past the limit, it might be set, but the gateway's own clock is not known to be right.
    GatewayUnproven,
    /// Past the limit by more than an hour: an operator has to look.
    NeedsOperator,
}

/// The nearest second, towards zero where there are two.
fn seconds(ms: i64) -> i64 {
    (ms.saturating_abs() + 499) / 1_000 * ms.signum()
}

/// How far a clock is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skew {
    /// It was never set.
    Unset,
    /// So many seconds; positive is fast.
    Off(i64),
}

impl Skew {
    /// In seconds, where it was ever set.
    pub(super) fn seconds(self) -> Option<i64> {
        match self {
            Self::Unset => None,
            Self::Off(seconds) => Some(seconds),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Watch {
    settings: ClockSettings,
    skew: Option<Skew>,
    utc_is_right: bool,
    /// Not before this, and how long the pause before it was.
    pause: Option<(Instant, Duration)>,
}

impl Watch {
    pub(super) fn new(settings: ClockSettings) -> Self {
        Self { settings, skew: None, utc_is_right: false, pause: None }
    }

    /// What its clock read, between these two moments of ours.
    pub(super) fn on_reading(&mut self, reading: Reading, asked: Timestamp, now: Now) {
        self.utc_is_right = now.utc_is_right;
        // Cut to the second: half of one is added.
        let middle = asked.0 + (now.utc.0 - asked.0) / 2;
        let off = |at: Timestamp| at.0.saturating_add(500).saturating_sub(middle);
        let doubt = 500 + (now.utc.0 - asked.0).abs() / 2;
        self.skew = Some(match reading {
            Reading::Unset => Skew::Unset,
            Reading::At { at, or_at } => {
                let both = [Some(at), or_at].into_iter().flatten().map(off);
                let nearer = both.min_by_key(|off| off.saturating_abs());
                let within = |off: &i64| off.saturating_abs() <= doubt;
                Skew::Off(nearer.filter(|off| !within(off)).map_or(0, seconds))
            }
        });
        if self.is_right() {
            self.pause = None;
        }
    }

    fn is_right(&self) -> bool {
        let limit = i64::try_from(self.settings.limit.as_secs()).unwrap_or(i64::MAX);
        matches!(self.skew, Some(Skew::Off(skew)) if skew.saturating_abs() <= limit)
    }

    /// How far it is off, where that is known and within the limit.
    pub(super) fn tolerance(&self) -> Option<Duration> {
        self.is_right().then_some(self.settings.limit + Duration::from_secs(1))
    }

    pub(super) fn report(&self) -> Option<ClockReport> {
        let skew_s = self.skew?.seconds();
        let large = skew_s.is_none_or(|skew| skew.saturating_abs() > MAX_STEP_S);
        let state = match (self.is_right(), large) {
            (true, _) => ClockState::Right,
            (false, true) => ClockState::NeedsOperator,
            (false, false) if !self.settings.set => ClockState::Off,
            (false, false) if !self.utc_is_right => ClockState::GatewayUnproven,
            (false, false) if self.pause.is_some() => ClockState::Off,
            (false, false) => ClockState::ToBeSet,
        };
        Some(ClockReport { skew_s, state })
    }

    /// Whether it is to be set now, and by how many seconds that moves it.
    pub(super) fn due(&mut self, now: Now) -> Option<i64> {
        self.utc_is_right &= now.utc_is_right;
        let waiting = self.pause.is_some_and(|(until, _)| now.monotonic < until);
        let report = self.report()?;
        let state = report.state;
        let again = state == ClockState::Off && self.settings.set && self.pause.is_some();
        if waiting || !(state == ClockState::ToBeSet || again) {
            return None;
        }
        report.skew_s.map(|skew| -skew)
    }

    /// Whether an operator's order can be carried out, and by how many seconds that moves it; one that
    /// was never set counts as standing at 1970.
    pub(super) fn ordered(&self, order: Order, now: Now) -> Result<i64, NotSet> {
        let skew = self.skew.ok_or(NotSet::NoClock)?;
        let step = skew.seconds().map_or(now.utc.0 / 1_000, |skew| -skew);
        if step.saturating_abs() > MAX_STEP_S && !order.any_step {
            return Err(NotSet::LargeStep);
        }
        if !now.utc_is_right && !order.trust_gateway {
            return Err(NotSet::GatewayUnproven);
        }
        Ok(step)
    }

    pub(super) fn skew(&self) -> Option<Skew> {
        self.skew
    }

    /// It is being set; if that does not help, it is left alone for a while.
    pub(super) fn on_set(&mut self, now: Instant) {
        let pause = self.pause.map_or(FIRST_PAUSE, |(_, last)| (last * 2).min(MAX_PAUSE));
        self.pause = Some((now + pause, pause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn watch(set: bool) -> Watch {
        Watch::new(ClockSettings { limit: LIMIT, set })
    }

    fn now(utc_is_right: bool) -> Now {
        Now { monotonic: Instant::now(), utc: Timestamp(1_000_000_500), utc_is_right }
    }

    /// A reading that is off by so many seconds, cut to the second as boards do.
    fn read(watch: &mut Watch, off_s: i64, now: Now) {
        let at = Timestamp((now.utc.0 + off_s * 1_000) / 1_000 * 1_000);
        watch.on_reading(Reading::At { at, or_at: None }, now.utc, now);
    }

    fn state(watch: &Watch) -> (Option<i64>, ClockState) {
        let report = watch.report().unwrap();
        (report.skew_s, report.state)
    }

    #[test]
    fn a_clock_within_the_limit_is_right_and_nothing_is_done() {
        let mut watch = watch(true);
        assert_eq!(watch.report(), None);
        for off in [0, 9, -10] {
            read(&mut watch, off, now(true));
            assert_eq!(state(&watch).1, ClockState::Right, "{off}");
            assert_eq!(watch.due(now(true)), None);
        }
    }

    #[test]
    fn a_clock_past_the_limit_is_set_only_where_that_is_allowed_and_ours_is_right() {
        for (set, right, wanted, due) in [
            (false, true, ClockState::Off, None),
            (true, false, ClockState::GatewayUnproven, None),
            (true, true, ClockState::ToBeSet, Some(-90)),
        ] {
            let mut watch = watch(set);
            read(&mut watch, 90, now(right));
            assert_eq!(state(&watch), (Some(90), wanted));
            assert_eq!(watch.due(now(right)), due);
        }
    }

    #[test]
    fn a_step_above_an_hour_and_a_clock_that_was_never_set_are_an_operators() {
        let mut watch = watch(true);
        read(&mut watch, 3_600, now(true));
        assert_eq!(watch.due(now(true)), Some(-3_600), "summer time");
        // The usual drift on top of it.
        read(&mut watch, -3_610, now(true));
        assert_eq!(state(&watch), (Some(-3_610), ClockState::ToBeSet));
        read(&mut watch, -3_611, now(true));
        assert_eq!(state(&watch), (Some(-3_611), ClockState::NeedsOperator));
        assert_eq!(watch.due(now(true)), None);
        watch.on_reading(Reading::Unset, now(true).utc, now(true));
        assert_eq!(state(&watch), (None, ClockState::NeedsOperator));
        assert_eq!(watch.due(now(true)), None);
        let careful = Order { any_step: false, trust_gateway: false };
        assert_eq!(watch.ordered(careful, now(true)), Err(NotSet::LargeStep));
        let any = Order { any_step: true, ..careful };
        assert_eq!(watch.ordered(any, now(false)), Err(NotSet::GatewayUnproven));
        assert_eq!(watch.ordered(any, now(true)), Ok(1_000_000));
    }

    #[test]
    fn a_clock_that_does_not_take_the_time_is_not_set_again_and_again() {
        let mut watch = watch(true);
        let mut at = now(true);
        read(&mut watch, 90, at);
        let mut set = 0;
        for _ in 0..24 * 60 {
            if watch.due(at).is_some() {
                set += 1;
                watch.on_set(at.monotonic);
            }
            read(&mut watch, 90, at);
            at.monotonic += Duration::from_mins(1);
        }
        assert_eq!(state(&watch).1, ClockState::Off);
        assert!((8..=14).contains(&set), "{set} times in a day");
        read(&mut watch, 0, at);
        read(&mut watch, 90, at);
        assert!(watch.due(at).is_some(), "it had been right again");
    }

    #[test]
    fn in_the_repeated_hour_the_nearer_moment_counts() {
        let mut watch = watch(true);
        let now = now(true);
        let at = Timestamp(now.utc.0 - 3_600_000);
        watch.on_reading(Reading::At { at, or_at: Some(now.utc) }, now.utc, now);
        assert_eq!(state(&watch), (Some(0), ClockState::Right));
    }
}
