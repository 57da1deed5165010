//! When transactions were stored, and how long none was: by the clock of the server that stored each,
//! which is the clock of this machine.

use std::time::Duration;

use jiff::Timestamp;

use crate::checker::StoreView;

/// The times at which a store got its transactions, in order, in milliseconds.
#[derive(Debug)]
pub(super) struct Stored(Vec<i64>);

impl Stored {
    /// Of everything that a store holds.
    pub(super) fn of(store: &StoreView) -> Self {
        let read = |text: &str| text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond);
        let times = store.rows.iter().filter_map(|row| row.stored_at.as_deref().and_then(read));
        Self::from_times(times.collect())
    }

    fn from_times(mut times: Vec<i64>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// The longest time within which nothing was stored, of those that touch a span.
    pub(super) fn longest_pause(&self, from: Timestamp, to: Timestamp) -> Duration {
        let (from, to) = (from.as_millisecond(), to.as_millisecond());
        let pairs = self.0.iter().zip(self.0.iter().skip(1));
        let touching = pairs.filter(|&(before, after)| *after > from && *before < to);
        let longest = touching.map(|(before, after)| after - before).max().unwrap_or_default();
        Duration::from_millis(u64::try_from(longest).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_pause_is_of_those_that_touch_the_span() {
        let stored = Stored::from_times(vec![900, 100, 110, 400, 420]);
        let at = |ms| Timestamp::from_millisecond(ms).unwrap();
        let longest = |from, to| stored.longest_pause(at(from), at(to)).as_millis();
        assert_eq!(longest(105, 108), 10);
        assert_eq!(longest(105, 415), 290);
        assert_eq!(longest(200, 300), 290);
        assert_eq!(longest(0, 2_000), 480);
        assert_eq!(longest(950, 2_000), 0);
    }
}
