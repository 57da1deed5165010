//! When the records of a counter were first seen to be there. Pure.
//!
//! A ring is read page by page, and what its second page has was there when the counter was read for the first one. So
//! what counts is the look that showed the number, and the one before that.

use std::collections::VecDeque;

use postern_protocol::Index;

use super::record::Seen;
use super::watch::Now;

/// How many looks are kept apart. Of what waits longer to be read the times of two are taken together.
const MAX_SIGHTS: usize = 64;

/// Records up to a number were first seen by a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sight {
    upto: Index,
    /// When the look before began, where there was one.
    after_ms: Option<u64>,
    /// When this one ended.
    by_ms: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Sights {
    last_ms: Option<u64>,
    sights: VecDeque<Sight>,
    /// When the look before the last one began, and whether the last one showed a newer number.
    undo: Option<(Option<u64>, bool)>,
}

impl Sights {
    /// A look showed this as the newest number. What comes before `from` is not asked for any more.
    pub(crate) fn on_look(&mut self, newest: Index, from: Index, now: Now) {
        let after_ms = self.last_ms.replace(now.ms);
        while self.sights.front().is_some_and(|sight| sight.upto < from) {
            self.sights.pop_front();
        }
        let is_newer = self.sights.back().is_none_or(|sight| sight.upto < newest);
        self.undo = Some((after_ms, is_newer));
        if is_newer {
            self.sights.push_back(Sight { upto: newest, after_ms, by_ms: now.ended_ms() });
        }
        if self.sights.len() > MAX_SIGHTS
            && let Some(first) = self.sights.pop_front()
            && let Some(second) = self.sights.front_mut()
        {
            second.after_ms = first.after_ms;
        }
    }

    /// What the last look showed made no sense: nothing was seen by it.
    pub(crate) fn on_nonsense(&mut self) {
        let Some((last_ms, is_newer)) = self.undo.take() else { return };
        self.last_ms = last_ms;
        if is_newer {
            self.sights.pop_back();
        }
    }

    /// The log began anew: numbers mean other records.
    pub(crate) fn on_restart(&mut self) {
        self.sights.clear();
        self.undo = None;
    }

    /// When a record was seen, as is told now.
    pub(crate) fn of(&self, index: Index, now: Now) -> Seen {
        match self.sights.iter().find(|sight| index <= sight.upto) {
            Some(sight) => now.seen(sight.after_ms, sight.by_ms),
            None => now.seen(self.last_ms, now.ended_ms()),
        }
    }
}

#[cfg(test)]
mod tests {
    use postern_protocol::Timestamp;

    use super::*;

    fn now(ms: u64) -> Now {
        Now { ms, took_ms: 0, utc: Timestamp(i64::try_from(ms).unwrap()) }
    }

    /// What a long backlog had was once said to have happened between two of the looks that read it.
    #[test]
    fn what_is_read_later_was_there_when_its_number_was_seen() {
        let mut sights = Sights::default();
        sights.on_look(Index(100), Index(1), now(1_000));
        assert_eq!(sights.of(Index(1), now(1_000)), Seen { at: Timestamp(1_000), since_ms: None });
        // The second page of it, and one more that came meanwhile.
        sights.on_look(Index(101), Index(41), now(1_200));
        let second = sights.of(Index(41), now(1_200));
        assert_eq!(second, Seen { at: Timestamp(1_000), since_ms: None });
        let new = sights.of(Index(101), now(1_200));
        assert_eq!(new, Seen { at: Timestamp(1_200), since_ms: Some(200) });
        sights.on_look(Index(101), Index(102), now(1_400));
        sights.on_look(Index(102), Index(102), now(1_600));
        let next = sights.of(Index(102), now(1_600));
        assert_eq!(next, Seen { at: Timestamp(1_600), since_ms: Some(200) });
    }

    /// A look that was asked twice took long, and the next one did not: what the first showed was once said to have been
    /// there before that could see it.
    #[test]
    fn what_a_long_look_showed_may_be_of_its_last_moment() {
        let mut sights = Sights::default();
        sights.on_look(Index(1), Index(1), now(1_000));
        let long = Now { ms: 1_200, took_ms: 150, utc: Timestamp(1_350) };
        sights.on_look(Index(2), Index(2), long);
        let seen = sights.of(Index(2), Now { ms: 1_400, took_ms: 5, utc: Timestamp(1_405) });
        assert_eq!(seen, Seen { at: Timestamp(1_350), since_ms: Some(350) });
    }

    /// A counter that was wrong once had "shown" numbers that came only later, and those were said to have been seen then.
    #[test]
    fn a_number_that_made_no_sense_was_seen_by_no_look() {
        let mut sights = Sights::default();
        sights.on_look(Index(5), Index(1), now(1_000));
        sights.on_look(Index(900), Index(6), now(1_200));
        sights.on_nonsense();
        sights.on_nonsense();
        sights.on_look(Index(6), Index(6), now(1_400));
        let seen = sights.of(Index(6), now(1_400));
        assert_eq!(seen, Seen { at: Timestamp(1_400), since_ms: Some(400) });
    }

    #[test]
    fn as_many_looks_as_one_likes_are_of_bounded_room_and_never_too_exact() {
        let mut sights = Sights::default();
        for look in 1..=1_000 {
            sights.on_look(Index(look), Index(1), now(look * 100));
        }
        assert_eq!(sights.sights.len(), MAX_SIGHTS);
        for index in 1..=1_000 {
            let seen = sights.of(Index(index), now(100_000));
            let by = u64::try_from(seen.at.0).unwrap();
            let after = by - seen.since_ms.unwrap_or(by);
            assert!(by >= index * 100 && after <= (index - 1) * 100, "{index}: {seen:?}");
        }
    }
}
