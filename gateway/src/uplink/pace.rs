//! How long the journal lasts at the pace at which it is written: what the active server is told, so
//! that its operators know how long the site can do without the other one. Pure: time is given.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::journal::{Place, Ring};

/// The pace is that of the last day, or of as much of it as there was.
const DAY: Duration = Duration::from_hours(24);
const STEP: Duration = Duration::from_hours(1);

/// A shorter time says nothing of the hours to come.
const LEAST: Duration = Duration::from_mins(1);

/// Where the journal ended, hour by hour.
#[derive(Debug, Default)]
pub(super) struct Pace(VecDeque<(Instant, Place)>);

impl Pace {
    /// How long until the journal is full if nothing more is ever safe; `None` where no pace is known.
    pub(super) fn lasts(&mut self, ring: &Ring, now: Instant) -> Option<Duration> {
        let Self(marks) = self;
        if marks.back().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= STEP) {
            marks.push_back((now, ring.head));
        }
        // One that is a day old stays, since it is measured from there.
        while marks.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= DAY) {
            marks.pop_front();
        }
        let (since, then) = marks.front()?;
        let took = now.saturating_duration_since(*since);
        if took < LEAST {
            return None;
        }
        // Whichever limit is reached first.
        let seconds = |capacity: u64, safe: u64, then: u64, head: u64| {
            let left = capacity.saturating_sub(head.saturating_sub(safe));
            let written = head.saturating_sub(then);
            let whole = u128::from(left) * took.as_millis() / 1_000;
            whole.checked_div(u128::from(written))
        };
        let Ring { capacity, safe, head, .. } = ring;
        let entries = seconds(capacity.entries, safe.seq.0, then.seq.0, head.seq.0);
        let bytes = seconds(capacity.bytes, safe.bytes, then.bytes, head.bytes);
        let first = entries.into_iter().chain(bytes).min()?;
        Some(Duration::from_secs(u64::try_from(first).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use postern_protocol::Seq;

    use super::*;
    use crate::journal::Capacity;

    fn ring(safe: u64, head: u64) -> Ring {
        let place = |seq| Place { seq: Seq(seq), bytes: seq * 100 };
        Ring {
            capacity: Capacity { entries: 1_000, bytes: 200_000 },
            oldest: place(0),
            safe: place(safe),
            head: place(head),
            full: None,
            refused: Capacity::default(),
        }
    }

    #[test]
    fn it_lasts_as_long_as_what_is_left_takes_to_write() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(pace.lasts(&ring(0, 100), now), None, "nothing is known yet");
        assert_eq!(pace.lasts(&ring(0, 130), after(59)), None, "too short");
        // 100 in 100 seconds; 800 are left.
        let lasts = pace.lasts(&ring(0, 200), after(100));
        assert_eq!(lasts, Some(Duration::from_secs(800)));
        // What is safe makes room.
        let lasts = pace.lasts(&ring(150, 200), after(100));
        assert_eq!(lasts, Some(Duration::from_secs(950)));
        let full = pace.lasts(&ring(0, 1_100), after(100));
        assert_eq!(full, Some(Duration::ZERO));
        // The limit that is nearer counts.
        let mut narrow = ring(0, 200);
        narrow.capacity.bytes = 30_000;
        assert_eq!(pace.lasts(&narrow, after(100)), Some(Duration::from_secs(100)));
    }

    #[test]
    fn where_nothing_is_written_no_end_is_known() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.lasts(&ring(0, 100), now);
        assert_eq!(pace.lasts(&ring(0, 100), now + STEP), None);
    }

    #[test]
    fn what_was_more_than_a_day_ago_counts_no_more() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        // 500 in the first hour, then 10 an hour.
        pace.lasts(&ring(0, 0), now);
        let mut head = 500;
        for hour in 1..=30 {
            pace.lasts(&ring(head, head), now + STEP * hour);
            head += 10;
        }
        let lasts = pace.lasts(&ring(head, head), now + STEP * 30).unwrap();
        let expected = Duration::from_hours(100);
        assert!(lasts.abs_diff(expected) < Duration::from_hours(6), "{lasts:?}");
    }
}
