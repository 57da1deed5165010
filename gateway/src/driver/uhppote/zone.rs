//! Local wall time of a board to UTC. Boards know no zone and no summer time; the configuration
//! does. What cannot be known is marked, never guessed.

use jiff::civil;
use jiff::tz::{AmbiguousOffset, TimeZone};
use postern_protocol::transaction::{Occurred, TimeSource, TimeTrust, Timestamp};
use postern_protocol::uhppote::field::DateTime;

pub(super) fn occurred(local: DateTime, zone: &TimeZone) -> Occurred {
    convert(local, zone).unwrap_or(Occurred::ABSENT)
}

fn convert(local: DateTime, zone: &TimeZone) -> Option<Occurred> {
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
    let ambiguous = zone.to_ambiguous_timestamp(reading);
    let (offset, trust) = match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { offset } => (offset, TimeTrust::Exact),
        AmbiguousOffset::Fold { before, .. } => (before, TimeTrust::Ambiguous),
        AmbiguousOffset::Gap { before, .. } => (before, TimeTrust::Skipped),
    };
    let at = Timestamp(offset.to_timestamp(reading).ok()?.as_millisecond());
    Some(Occurred { at: Some(at), source: TimeSource::Controller, trust })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> (Option<jiff::Timestamp>, TimeTrust) {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let occurred = occurred(text.parse().unwrap(), &berlin);
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
