//! Local wall time of a board to UTC and back. Boards know no zone and no summer time; the
//! configuration does. What cannot be known is marked, never guessed.

use jiff::civil;
use jiff::tz::{AmbiguousOffset, TimeZone};
use postern_protocol::transaction::{Occurred, TimeSource, TimeTrust, Timestamp};
use postern_protocol::uhppote::field::{Date, DateTime, Time};

use crate::driver::Reading;

/// When a record happened; and the other moment that its wall time may mean.
pub fn occurred(local: DateTime, zone: &TimeZone) -> (Occurred, Option<Timestamp>) {
    match convert(local, zone) {
        Some((at, or_at, trust)) => {
            (Occurred { at: Some(at), source: TimeSource::Controller, trust }, or_at)
        }
        None => (Occurred::ABSENT, None),
    }
}

/// What a board's clock reads.
pub fn reading(local: DateTime, zone: &TimeZone) -> Reading {
    match convert(local, zone) {
        Some((at, or_at, _)) => Reading::At { at, or_at },
        None => Reading::Unset,
    }
}

/// The wall time of a moment, to the nearest second; `None` beyond the calendar of a board.
pub fn wall(at: Timestamp, zone: &TimeZone) -> Option<DateTime> {
    let nearest = jiff::Timestamp::from_millisecond(at.0.checked_add(500)?).ok()?;
    let local = zone.to_datetime(nearest);
    let part = |value: i8| u8::try_from(value).ok();
    let date =
        Date::new(u16::try_from(local.year()).ok()?, part(local.month())?, part(local.day())?)?;
    let time = Time::new(part(local.hour())?, part(local.minute())?, part(local.second())?)?;
    Some(DateTime { date, time })
}

fn convert(local: DateTime, zone: &TimeZone) -> Option<(Timestamp, Option<Timestamp>, TimeTrust)> {
    if !local.is_set() {
        return None;
    }
    let (date, time) = (local.date, local.time);
    let reading = civil::DateTime::new(
        i16::try_from(date.year).ok()?,
        i8::try_from(date.month).ok()?,
        i8::try_from(date.day).ok()?,
        i8::try_from(time.hour).ok()?,
        i8::try_from(time.minute).ok()?,
        i8::try_from(time.second).ok()?,
        0,
    )
    .ok()?;
    let (offset, other, trust) = match zone.to_ambiguous_timestamp(reading).offset() {
        AmbiguousOffset::Unambiguous { offset } => (offset, None, TimeTrust::Exact),
        AmbiguousOffset::Fold { before, after } => (before, Some(after), TimeTrust::Ambiguous),
        AmbiguousOffset::Gap { before, .. } => (before, None, TimeTrust::Skipped),
    };
    let at = |offset: jiff::tz::Offset| {
        offset.to_timestamp(reading).ok().map(|at| Timestamp(at.as_millisecond()))
    };
    Some((at(offset)?, other.and_then(at), trust))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> (Option<jiff::Timestamp>, TimeTrust) {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let (occurred, _) = occurred(text.parse().unwrap(), &berlin);
        let at = occurred.at.map(|at| jiff::Timestamp::from_millisecond(at.0).unwrap());
        (at, occurred.trust)
    }

    #[test]
    fn wall_time_becomes_utc_through_the_zone() {
        let (winter, trust) = at("2026-01-15 12:00:00");
        assert_eq!(winter, Some("2026-01-15T11:00:00Z".parse().unwrap()));
        assert_eq!(trust, TimeTrust::Exact);
        assert_eq!(at("2026-07-15 12:00:00").0, Some("2026-07-15T10:00:00Z".parse().unwrap()));
    }

    #[test]
    fn the_repeated_hour_is_marked_ambiguous() {
        let (first, trust) = at("2026-10-25 02:30:00");
        assert_eq!(first, Some("2026-10-25T00:30:00Z".parse().unwrap()));
        assert_eq!(trust, TimeTrust::Ambiguous);
    }

    #[test]
    fn the_repeated_hour_names_both_of_its_moments() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let (first, second) = occurred("2026-10-25 02:30:00".parse().unwrap(), &berlin);
        assert_eq!(second.unwrap().0 - first.at.unwrap().0, 3_600_000);
    }

    #[test]
    fn a_moment_becomes_the_wall_time_that_it_came_from() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let at = |text: &str| {
            wall(Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond()), &berlin)
        };
        let wall = |text: &str| Some(text.parse().unwrap());
        assert_eq!(at("2026-07-15T10:00:00.4Z"), wall("2026-07-15 12:00:00"));
        assert_eq!(at("2026-10-25T01:29:59.6Z"), wall("2026-10-25 02:30:00"));
    }

    #[test]
    fn the_skipped_hour_is_marked_skipped() {
        let (time, trust) = at("2026-03-29 02:30:00");
        assert_eq!(time, Some("2026-03-29T01:30:00Z".parse().unwrap()));
        assert_eq!(trust, TimeTrust::Skipped);
    }

    #[test]
    fn an_unset_clock_gives_no_time() {
        assert_eq!(at(""), (None, TimeTrust::Absent));
    }
}
