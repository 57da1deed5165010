//! The clock of a board: local wall time, without a zone, possibly wrong, possibly never set.
//!
//! Pure: what time it really is comes in as an argument. Used by [`crate::controller`].

use jiff::civil;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use postern_protocol::uhppote::field::{Date, DateTime, Time};

/// How wrong a clock's speed may be: a thousand times too fast, so that a test need not wait.
pub const MAX_DRIFT_PPM: i64 = 1_000_000_000;

const MILLION: i128 = 1_000_000;

/// A board's clock: real time in a zone, and how far from it this board believes to be.
#[derive(Clone, Debug)]
pub struct Clock {
    zone: TimeZone,
    /// The zone that it goes by instead: one without summer time.
    frozen: Option<TimeZone>,
    /// How far it was from the truth at `since`; `None`: it was never set.
    offset: Option<SignedDuration>,
    /// Where its drift counts from.
    since: Timestamp,
    drift_ppm: i64,
}

impl Clock {
    /// A clock that is right in `zone`.
    pub fn new(zone: TimeZone) -> Self {
        Self {
            zone,
            frozen: None,
            offset: Some(SignedDuration::ZERO),
            since: Timestamp::UNIX_EPOCH,
            drift_ppm: 0,
        }
    }

    /// What it shows at `now`; zero where it was never set, or stands beyond any calendar.
    pub fn read(&self, now: Timestamp) -> DateTime {
        self.civil(now).and_then(to_wire).unwrap_or(DateTime::UNSET)
    }

    /// What it shows at `now`, with fractions of a second; `None` where it was never set.
    pub fn civil(&self, now: Timestamp) -> Option<civil::DateTime> {
        self.right(now).checked_add(self.offset_at(now)?).ok()
    }

    /// Sets it to what a host said. The zero date makes it unset. A drift stays: it is in the
    /// board's crystal.
    pub fn set(&mut self, to: DateTime, now: Timestamp) {
        self.set_civil(from_wire(to), now);
    }

    /// Sets it to what a host said, to the fraction of a second; `None` makes it unset.
    pub fn set_civil(&mut self, to: Option<civil::DateTime>, now: Timestamp) {
        self.offset = to.map(|civil| civil.duration_since(self.right(now)));
        self.since = now;
    }

    /// Makes it wrong by so many seconds at this moment; negative is slow.
    pub fn shift(&mut self, offset_s: i64, now: Timestamp) {
        self.offset = Some(SignedDuration::from_secs(offset_s));
        self.since = now;
    }

    /// Makes it a clock that was never set.
    pub fn unset(&mut self) {
        self.offset = None;
    }

    /// From now on it runs so many millionths too fast; negative is too slow. What it shows at this
    /// moment does not change. At most [`MAX_DRIFT_PPM`] either way.
    pub fn drift(&mut self, ppm: i64, now: Timestamp) {
        self.offset = self.offset_at(now);
        self.since = now;
        self.drift_ppm = ppm.clamp(-MAX_DRIFT_PPM, MAX_DRIFT_PPM);
    }

    /// Whether it follows the summer time of its zone. One that does not goes on in the zone's
    /// offset of this moment.
    pub fn follow_summer_time(&mut self, follow: bool, now: Timestamp) {
        let offset = self.right_zone().to_offset(now);
        self.frozen = (!follow).then(|| TimeZone::fixed(offset));
    }

    fn right_zone(&self) -> &TimeZone {
        self.frozen.as_ref().unwrap_or(&self.zone)
    }

    /// What it would show if it were right.
    fn right(&self, now: Timestamp) -> civil::DateTime {
        self.right_zone().to_datetime(now)
    }

    fn offset_at(&self, now: Timestamp) -> Option<SignedDuration> {
        // No overflow: the calendar has less than 2^70 nanoseconds, the drift less than 2^30.
        let run = now.duration_since(self.since).as_nanos() * i128::from(self.drift_ppm) / MILLION;
        self.offset?.checked_add(SignedDuration::try_from_nanos_i128(run)?)
    }
}

fn to_wire(civil: civil::DateTime) -> Option<DateTime> {
    let part = |value: i8| u8::try_from(value).ok();
    let year = u16::try_from(civil.year()).ok()?;
    Some(DateTime {
        date: Date::new(year, part(civil.month())?, part(civil.day())?)?,
        time: Time::new(part(civil.hour())?, part(civil.minute())?, part(civil.second())?)?,
    })
}

fn from_wire(wire: DateTime) -> Option<civil::DateTime> {
    let part = |value: u8| i8::try_from(value).ok();
    let (date, time) = (wire.date, wire.time);
    let date = civil::Date::new(i16::try_from(date.year).ok()?, part(date.month)?, part(date.day)?);
    let time = civil::Time::new(part(time.hour)?, part(time.minute)?, part(time.second)?, 0);
    Some(date.ok()?.to_datetime(time.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin() -> Clock {
        Clock::new(TimeZone::get("Europe/Berlin").unwrap())
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn it_shows_local_time_and_follows_summer_time() {
        let clock = berlin();
        assert_eq!(clock.read(at("2026-03-29T00:59:59Z")).to_string(), "2026-03-29 01:59:59");
        assert_eq!(clock.read(at("2026-03-29T01:00:00Z")).to_string(), "2026-03-29 03:00:00");
    }

    #[test]
    fn it_goes_on_from_what_it_was_set_to() {
        let mut clock = berlin();
        clock.set("2001-02-03 04:05:06".parse().unwrap(), at("2026-11-23T12:00:00.5Z"));
        assert_eq!(clock.read(at("2026-11-23T12:00:00.5Z")).to_string(), "2001-02-03 04:05:06");
        assert_eq!(clock.read(at("2026-11-23T12:01:00.5Z")).to_string(), "2001-02-03 04:06:06");
        clock.shift(-90, at("2026-11-23T12:01:30Z"));
        assert_eq!(clock.read(at("2026-11-23T12:01:30Z")).to_string(), "2026-11-23 13:00:00");
    }

    #[test]
    fn an_unset_clock_shows_zero_until_it_is_set() {
        let mut clock = berlin();
        clock.unset();
        assert_eq!(clock.read(at("2026-11-23T12:00:00Z")), DateTime::UNSET);
        clock.set("2026-11-23 13:00:00".parse().unwrap(), at("2026-11-23T12:00:00Z"));
        assert!(clock.read(at("2026-11-23T12:00:00Z")).is_set());
        clock.set(DateTime::UNSET, at("2026-11-23T12:00:00Z"));
        assert!(!clock.read(at("2026-11-23T12:00:00Z")).is_set());
    }

    #[test]
    fn a_clock_beyond_the_calendar_is_unset_and_no_panic() {
        let mut clock = berlin();
        clock.shift(i64::MAX, Timestamp::UNIX_EPOCH);
        assert_eq!(clock.read(at("2026-11-23T12:00:00Z")), DateTime::UNSET);
        clock.shift(i64::MIN, Timestamp::UNIX_EPOCH);
        assert_eq!(clock.read(at("2026-11-23T12:00:00Z")), DateTime::UNSET);
    }

    #[test]
    fn a_drift_begins_when_it_is_said_and_outlasts_being_set() {
        let mut clock = berlin();
        clock.shift(-90, at("2026-11-23T10:00:00Z"));
        clock.drift(10_000, at("2026-11-23T11:00:00Z"));
        let shown = |clock: &Clock, now| clock.read(at(now)).to_string();
        assert_eq!(shown(&clock, "2026-11-23T11:00:00Z"), "2026-11-23 11:58:30");
        assert_eq!(shown(&clock, "2026-11-23T12:00:00Z"), "2026-11-23 12:59:06");
        clock.set("2026-11-23 13:00:00".parse().unwrap(), at("2026-11-23T12:00:00Z"));
        assert_eq!(shown(&clock, "2026-11-23T13:00:00Z"), "2026-11-23 14:00:36");
        clock.drift(0, at("2026-11-23T13:00:00Z"));
        assert_eq!(shown(&clock, "2026-11-23T15:00:00Z"), "2026-11-23 16:00:36", "it stays wrong");
        clock.drift(-1_000_000, at("2026-11-23T15:00:00Z"));
        assert_eq!(shown(&clock, "2026-11-23T19:00:00Z"), "2026-11-23 16:00:36", "it stands still");
        clock.unset();
        clock.drift(5, at("2026-11-23T15:00:00Z"));
        assert_eq!(shown(&clock, "2026-11-23T19:00:00Z"), "");
    }

    #[test]
    fn the_wildest_drift_is_no_panic() {
        let mut clock = berlin();
        clock.drift(i64::MAX, Timestamp::MIN);
        assert_eq!(clock.read(Timestamp::MAX), DateTime::UNSET);
        clock.drift(i64::MIN, Timestamp::MIN);
        assert_eq!(clock.read(Timestamp::MAX), DateTime::UNSET);
    }

    #[test]
    fn a_clock_without_summer_time_goes_on_in_the_offset_that_it_had() {
        let mut clock = berlin();
        clock.follow_summer_time(false, at("2026-10-24T12:00:00Z"));
        assert_eq!(clock.read(at("2026-10-24T12:00:00Z")).to_string(), "2026-10-24 14:00:00");
        assert_eq!(clock.read(at("2026-11-23T12:00:00Z")).to_string(), "2026-11-23 14:00:00");
        clock.follow_summer_time(false, at("2026-11-23T12:00:00Z"));
        assert_eq!(clock.read(at("2026-11-23T12:00:00Z")).to_string(), "2026-11-23 14:00:00");
        clock.follow_summer_time(true, at("2026-11-23T12:00:00Z"));
        assert_eq!(clock.read(at("2026-11-23T12:00:00Z")).to_string(), "2026-11-23 13:00:00");
    }
}
