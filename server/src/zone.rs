//! The times that people read and write: in the site's zone, always with the offset. Programs are
//! given UTC (`clock::rfc3339`).

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use postern_protocol::Timestamp;

use crate::clock;

/// A time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// Which end of a span a time is: in the hour that summer time repeats a time without an offset is
/// twice, and the span takes in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It begins there.
    From,
    /// It ends before.
    To,
}

/// Why a text is no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{got:?} is no time")]
pub struct NoTime {
    got: String,
}

impl NoTime {
    /// What to do next.
    pub const HINT: &str = "write 2026-11-28, 2026-11-28T10:00, either also with an offset such as \
                            2026-11-28T10:00+01:00, or how long ago, such as -24h or -7d";
}

impl Zone {
    /// A zone by its IANA name.
    pub fn named(name: &str) -> Option<Self> {
        TimeZone::get(name).ok().map(Self)
    }

    /// The machine's own; UTC where it has none.
    pub fn system() -> Self {
        Self(TimeZone::try_system().unwrap_or(TimeZone::UTC))
    }

    /// Its name, where it has one.
    pub fn name(&self) -> Option<&str> {
        self.0.iana_name()
    }

    /// A time here, with milliseconds and the offset; it can be given back to [`Zone::read`].
    pub fn show(&self, at: Timestamp) -> Option<String> {
        clock::rfc3339(at)?;
        let time = jiff::Timestamp::from_millisecond(at.0).ok()?;
        Some(format!("{:.3}", time.display_with_offset(self.0.to_offset(time))))
    }

    /// The same of a time of an answer, which is RFC 3339.
    pub fn show_text(&self, text: &str) -> Option<String> {
        let time: jiff::Timestamp = text.parse().ok()?;
        self.show(Timestamp(time.as_millisecond()))
    }

    /// A time as a person writes it. A date alone is its first moment.
    pub fn read(&self, text: &str, end: End, now: Timestamp) -> Result<Timestamp, NoTime> {
        let time = self.instant(text.trim(), end, now);
        let time = time.ok_or_else(|| NoTime { got: text.to_owned() })?;
        Ok(Timestamp(time.as_millisecond()))
    }

    fn instant(&self, text: &str, end: End, now: Timestamp) -> Option<jiff::Timestamp> {
        if text.starts_with('-') && !text.starts_with("-0") {
            let ago: jiff::Span = text.parse().ok()?;
            let now = jiff::Timestamp::from_millisecond(now.0).ok()?.to_zoned(self.0.clone());
            return Some(now.checked_add(ago).ok()?.timestamp());
        }
        if let Ok(time) = text.parse::<jiff::Timestamp>() {
            return Some(time);
        }
        let local: DateTime = text.parse().ok()?;
        let here = self.0.to_ambiguous_zoned(local);
        let time = match end {
            End::From => here.earlier(),
            End::To => here.later(),
        };
        Some(time.ok()?.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-28T12:00:00Z.
    const NOW: Timestamp = Timestamp(1_795_867_200_000);

    fn berlin() -> Zone {
        Zone::named("Europe/Berlin").unwrap()
    }

    fn read(text: &str, end: End) -> Option<String> {
        berlin().read(text, end, NOW).ok().and_then(clock::rfc3339)
    }

    #[test]
    fn people_read_the_sites_time_with_its_offset() {
        let shown = |ms| berlin().show(Timestamp(ms)).unwrap();
        assert_eq!(shown(NOW.0), "2026-11-28T13:00:00.000+01:00");
        assert_eq!(shown(1_782_907_200_123), "2026-07-01T14:00:00.123+02:00");
        // The hour that is twice is told apart by the offset.
        assert_eq!(shown(1_792_888_200_000), "2026-10-25T02:30:00.000+02:00");
        assert_eq!(shown(1_792_891_800_000), "2026-10-25T02:30:00.000+01:00");
        assert_eq!(berlin().show(Timestamp(i64::MIN)), None);
        let kathmandu = Zone::named("Asia/Kathmandu").unwrap();
        assert_eq!(kathmandu.show(NOW).unwrap(), "2026-11-28T17:45:00.000+05:45");
        assert_eq!(Zone::named("UTC").unwrap().show(NOW).unwrap(), "2026-11-28T12:00:00.000+00:00");
        assert_eq!(
            berlin().show_text("2026-11-28T12:00:00.000Z").unwrap(),
            "2026-11-28T13:00:00.000+01:00"
        );
    }

    #[test]
    fn people_write_dates_times_offsets_and_how_long_ago() {
        for (text, expected) in [
            ("2026-11-28", "2026-11-27T23:00:00.000Z"),
            ("2026-11-28T10:00", "2026-11-28T09:00:00.000Z"),
            ("2026-11-28 10:00:30", "2026-11-28T09:00:30.000Z"),
            ("2026-07-01T10:00", "2026-07-01T08:00:00.000Z"),
            ("2026-11-28T10:00Z", "2026-11-28T10:00:00.000Z"),
            ("2026-11-28T10:00+05:30", "2026-11-28T04:30:00.000Z"),
            ("2026-11-28T13:00:00.000+01:00", "2026-11-28T12:00:00.000Z"),
            ("-24h", "2026-11-27T12:00:00.000Z"),
            ("-90m", "2026-11-28T10:30:00.000Z"),
            ("-7d", "2026-11-21T12:00:00.000Z"),
            // A day ago is the same hour by the clock on the wall, whatever summer time did.
            ("-35d", "2026-10-24T11:00:00.000Z"),
        ] {
            assert_eq!(read(text, End::From).as_deref(), Some(expected), "{text}");
        }
        for wrong in ["", "yesterday", "-", "-24", "24h", "2026-13-01", "10:00", "2026-11-28T25:00"]
        {
            assert_eq!(read(wrong, End::From), None, "{wrong}");
        }
    }

    #[test]
    fn a_span_takes_in_both_hours_that_summer_time_repeats_and_none_that_it_skips() {
        let ends = |text| (read(text, End::From).unwrap(), read(text, End::To).unwrap());
        let (from, to) = ends("2026-10-25T02:30");
        assert_eq!((&*from, &*to), ("2026-10-25T00:30:00.000Z", "2026-10-25T01:30:00.000Z"));
        let (from, to) = ends("2026-03-29T02:30");
        assert_eq!((&*from, &*to), ("2026-03-29T00:30:00.000Z", "2026-03-29T01:30:00.000Z"));
    }

    #[test]
    fn what_is_shown_reads_back_as_the_same_time() {
        for ms in [0, NOW.0, 1_792_888_200_000, 1_792_891_800_000] {
            let shown = berlin().show(Timestamp(ms)).unwrap();
            assert_eq!(berlin().read(&shown, End::To, NOW), Ok(Timestamp(ms)), "{shown}");
        }
    }
}
