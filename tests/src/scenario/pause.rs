//! When transactions were stored, and how long none was: by the clock of the server that stored each,
//! which is the clock of this machine.

use std::time::Duration;

use jiff::Timestamp;
use postern_protocol::RoleTerm;

use crate::checker::StoreView;

/// The times at which a store got its transactions, in order, in milliseconds, and under which role terms.
#[derive(Debug)]
pub struct Stored(Vec<(i64, RoleTerm)>);

impl Stored {
    /// Of everything that a store holds.
    pub fn of(store: &StoreView) -> Self {
        let read = |text: &str| text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond);
        let times = store.rows.iter().filter_map(|row| {
            let at = row.stored_at.as_deref().and_then(read)?;
            Some((at, row.role_term))
        });
        Self::from_times(times.collect())
    }

    fn from_times(mut times: Vec<(i64, RoleTerm)>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// The longest time within which nothing was stored, of those that touch a span.
    pub fn longest_pause(&self, from: Timestamp, to: Timestamp) -> Duration {
        let (from, to) = (from.as_millisecond(), to.as_millisecond());
        let pairs = self.0.iter().zip(self.0.iter().skip(1)).map(|(one, next)| (one.0, next.0));
        let touching = pairs.filter(|(before, after)| *after > from && *before < to);
        let longest = touching.map(|(before, after)| after - before).max().unwrap_or_default();
        Duration::from_millis(u64::try_from(longest).unwrap_or_default())
    }

    /// How long it was from a moment until something was stored under a later role term than this.
    pub fn until_taken_over(&self, from: Timestamp, before: RoleTerm) -> Option<Duration> {
        let from = from.as_millisecond();
        let mut later = self.0.iter().filter(|(at, term)| *at >= from && *term > before);
        let (at, _) = later.next()?;
        u64::try_from(at - from).ok().map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    #[test]
    fn the_longest_pause_is_of_those_that_touch_the_span() {
        let times = [900, 100, 110, 400, 420].map(|at| (at, RoleTerm(1)));
        let stored = Stored::from_times(times.to_vec());
        let longest = |from, to| stored.longest_pause(at(from), at(to)).as_millis();
        assert_eq!(longest(105, 108), 10);
        assert_eq!(longest(105, 415), 290);
        assert_eq!(longest(200, 300), 290);
        assert_eq!(longest(0, 2_000), 480);
        assert_eq!(longest(950, 2_000), 0);
    }

    #[test]
    fn taken_over_is_what_was_stored_first_under_a_later_term() {
        let times =
            vec![(500, RoleTerm(2)), (100, RoleTerm(1)), (300, RoleTerm(1)), (700, RoleTerm(4))];
        let stored = Stored::from_times(times);
        let until = |from, before| stored.until_taken_over(at(from), RoleTerm(before));
        assert_eq!(until(200, 1), Some(Duration::from_millis(300)));
        assert_eq!(until(600, 1), Some(Duration::from_millis(100)));
        assert_eq!(until(0, 2), Some(Duration::from_millis(700)));
        assert_eq!(until(0, 4), None);
    }
}
