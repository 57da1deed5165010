//! The clock of a board: local wall time, without a zone, possibly wrong, possibly never set.
//!
//! Pure: what time it really is comes in as an argument. Used by [`crate::controller`].

use jiff::civil;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use postern_protocol::uhppote::field::{Date, DateTime, Time};

/// A board's clock: real time in a zone, and how far from it this board believes to be.
#[derive(Clone, Debug)]
pub struct Clock {
    zone: TimeZone,
    /// `None`: the clock was never set.
    offset: Option<SignedDuration>,
}

impl Clock {
    /// A clock that is right in `zone`.
    pub fn new(zone: TimeZone) -> Self {
        Self { zone, offset: Some(SignedDuration::ZERO) }
    }

    /// What it shows at `now`; zero where it was never set, or stands beyond any calendar.
    pub fn read(&self, now: Timestamp) -> DateTime {
        self.offset
            .and_then(|offset| self.zone.to_datetime(now).checked_add(offset).ok())
            .and_then(to_wire)
            .unwrap_or(DateTime::UNSET)
    }

    /// Sets it to what a host said. The zero date makes it unset.
    pub fn set(&mut self, to: DateTime, now: Timestamp) {
        self.offset = from_wire(to).map(|civil| civil.duration_since(self.zone.to_datetime(now)));
    }

    /// Makes it wrong by so many seconds; negative is slow.
    pub fn shift(&mut self, offset_s: i64) {
        self.offset = Some(SignedDuration::from_secs(offset_s));
    }

    /// Makes it a clock that was never set.
    pub fn unset(&mut self) {
        self.offset = None;
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
        clock.shift(-90);
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
        clock.shift(i64::MAX);
        assert_eq!(clock.read(at("2026-11-23T12:00:00Z")), DateTime::UNSET);
        clock.shift(i64::MIN);
        assert_eq!(clock.read(at("2026-11-23T12:00:00Z")), DateTime::UNSET);
    }
}
