//! Whether a line is noisy: which part of the frames of the last minutes was broken or had to be repeated.
//! Pure: counts and times go in.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::driver::link::BusStats;

/// Over which time it is judged.
const WINDOW: Duration = Duration::from_mins(10);

/// How far apart what is remembered of it lies: 20 marks a line.
const STEP: Duration = Duration::from_secs(30);

/// The part, in percent, above which it is a problem. A line that is wired well has none in a day.
const NOISY_PERCENT: u64 = 10;

/// Of fewer frames nothing is concluded.
const ENOUGH: u64 = 50;

/// What was counted on a line since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Frames that the gateway sent, repeated ones included.
    frames: u64,
    /// Those of them whose answer was broken, or that had to be repeated. A station that is dead is asked
    /// once each time, so its silence is no noise.
    bad: u64,
}

impl Counted {
    pub(super) fn of(stats: &BusStats) -> Self {
        let mut counted = Self::default();
        for station in &stats.stations {
            counted.frames += station.counters.requests;
            // What is broken is repeated as a rule: it counts once.
            counted.bad += station.counters.broken.max(station.counters.repeats);
        }
        counted
    }
}

/// What each line had counted, at marks in the window and at the last one before it.
#[derive(Default)]
pub(super) struct LineNoise(BTreeMap<String, VecDeque<(Instant, Counted)>>);

impl LineNoise {
    /// Takes what is counted now; the problem in words, where it is one.
    pub(super) fn note(&mut self, bus: &str, counted: Counted, now: Instant) -> Option<String> {
        let marks = self.0.entry(bus.to_owned()).or_default();
        if marks.back().is_none_or(|(at, _)| now >= *at + STEP) {
            marks.push_back((now, counted));
        }
        while marks.get(1).is_some_and(|(at, _)| now >= *at + WINDOW) {
            marks.pop_front();
        }
        let (_, before) = marks.front()?;
        let frames = counted.frames.saturating_sub(before.frames);
        let bad = counted.bad.saturating_sub(before.bad);
        (frames >= ENOUGH && bad * 100 > frames * NOISY_PERCENT).then(|| {
            format!(
                "{bad} of {frames} frames of the last {} min were broken or had to be repeated; `postern bus stats {bus}` shows which stations'",
                WINDOW.as_secs() / 60
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use postern_protocol::link::gateway::Counters;

    use super::*;
    use crate::driver::link::StationStats;

    fn counted(frames: u64, bad: u64) -> Counted {
        Counted { frames, bad }
    }

    #[test]
    fn a_line_is_noisy_above_a_tenth_of_enough_frames() {
        for (frames, bad, is_noisy) in
            [(0, 0, false), (49, 49, false), (50, 5, false), (50, 6, true), (1_000, 100, false)]
        {
            let (mut noise, now) = (LineNoise::default(), Instant::now());
            assert_eq!(noise.note("hall", counted(7, 7), now), None);
            let found = noise.note("hall", counted(7 + frames, 7 + bad), now + STEP);
            assert_eq!(found.is_some(), is_noisy, "{bad} of {frames}");
            assert!(found.is_none_or(|text| text.contains("postern bus stats hall")));
            assert_eq!(noise.note("yard", counted(900, 900), now + STEP), None, "another line");
        }
    }

    #[test]
    fn noise_is_forgotten_after_ten_minutes_and_little_is_kept() {
        let (mut noise, begun) = (LineNoise::default(), Instant::now());
        noise.note("hall", Counted::default(), begun);
        let second = Duration::from_secs(1);
        // All of it within the first minute, and 10 good frames a second from then on.
        let mut last_noisy = 0;
        for at in 0..1_800u32 {
            let frames = u64::from(at) * 10;
            let counted = counted(frames, frames.min(600));
            if noise.note("hall", counted, begun + at * second).is_some() {
                last_noisy = at;
            }
            assert!(noise.0["hall"].len() <= 22);
        }
        // 600 of 6,000 are a tenth, and not more; then the noise leaves the window.
        assert!((590..=660).contains(&last_noisy), "{last_noisy}");
    }

    #[test]
    fn what_is_broken_and_repeated_counts_once_and_silence_of_the_dead_not_at_all() {
        let station = |requests, repeats, broken, timeouts| StationStats {
            counters: Counters { requests, repeats, broken, timeouts, ..Counters::default() },
            ..StationStats::default()
        };
        let stations = vec![station(100, 8, 9, 0), station(50, 0, 0, 50)];
        let stats = BusStats { since: Instant::now(), stations };
        assert_eq!(Counted::of(&stats), counted(150, 9));
    }
}
