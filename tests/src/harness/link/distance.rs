//! How far away the other end of a wire is: when what was sent there arrives. Pure: the time is an argument.
//!
//! A stream loses nothing and keeps its order; a packet that is lost is sent again, and everything behind it waits
//! until then. So a loss is a pause of the stream.

use std::time::{Duration, Instant};

use crate::random::Random;

/// What Linux waits at least, beyond a round trip, before it sends again what was not acknowledged.
const RETRANSMITTED_AFTER: Duration = Duration::from_millis(200);
/// What it waits for the answer to the first packet of a connection, of which no round trip is known.
const CONNECTED_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// It doubles its patience each time, up to minutes; here a packet that is lost so often arrives after all.
const MOST_LOSSES: u32 = 8;

/// How far away the other end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Distance {
    /// How long a packet is under way, each way.
    pub way: Duration,
    /// Up to so much longer, at random.
    pub jitter: Duration,
    /// So many packets of a thousand are lost.
    pub lost: u16,
    /// Where chance begins.
    pub seed: u64,
}

/// One direction of one connection.
#[derive(Debug)]
pub(super) struct Path {
    distance: Distance,
    random: Random,
    /// When the last piece arrives: none arrives before it.
    last: Instant,
}

impl Distance {
    /// The direction from whoever connects, and the one back. What is sent first waits until the connection is
    /// made: a round trip, and more where a packet of that is lost.
    pub(super) fn connect(self, number: u64, now: Instant) -> [Path; 2] {
        // As far from each other as any two seeds.
        let mut random = Random::new(self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let made = now + self.way * 2 + self.pause(&mut random, CONNECTED_AGAIN_AFTER);
        let mut path = |last| Path { distance: self, random: Random::new(random.number()), last };
        [path(made + self.way), path(made)]
    }

    /// How long a packet is waited for that is lost, perhaps more than once: nothing, where it is not.
    fn pause(&self, random: &mut Random, first: Duration) -> Duration {
        let mut lost = || random.below(1_000) < u64::from(self.lost);
        let losses = (0..MOST_LOSSES).take_while(|_| lost()).count();
        // The first time, twice that, four times: so many of it in all.
        first * ((1 << losses) - 1)
    }
}

impl Path {
    /// When a piece arrives that is sent now.
    pub(super) fn arrival(&mut self, now: Instant) -> Instant {
        let Distance { way, jitter, .. } = self.distance;
        let again = way * 2 + RETRANSMITTED_AFTER;
        let pause = self.distance.pause(&mut self.random, again);
        let jitter_us = u64::try_from(jitter.as_micros()).unwrap_or(u64::MAX);
        let late = Duration::from_micros(self.random.below(jitter_us.saturating_add(1)));
        self.last = self.last.max(now + way + late + pause);
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: Distance = Distance {
        way: Duration::from_millis(80),
        jitter: Duration::from_millis(5),
        lost: 10,
        seed: 7,
    };

    /// Pieces sent one every millisecond, and how long each was under way.
    fn sent(distance: Distance, count: u32) -> Vec<Duration> {
        let begin = Instant::now();
        let [mut path, _] = distance.connect(0, begin);
        // The connection is made long before.
        let begin = begin + Duration::from_mins(10);
        let times = (0..count).map(|number| {
            let now = begin + Duration::from_millis(number.into());
            path.arrival(now) - now
        });
        times.collect()
    }

    #[test]
    fn nothing_overtakes_and_nothing_is_faster_than_the_way() {
        let times = sent(FAR, 20_000);
        assert!(times.iter().all(|time| *time >= FAR.way));
        let step = Duration::from_millis(1);
        assert!(times.iter().zip(times.iter().skip(1)).all(|(one, next)| *next + step >= *one));
    }

    #[test]
    fn without_loss_it_is_the_way_and_the_jitter_and_no_more() {
        let times = sent(Distance { lost: 0, ..FAR }, 5_000);
        assert!(times.iter().all(|time| *time <= FAR.way + FAR.jitter));
        let exact = sent(Distance { lost: 0, jitter: Duration::ZERO, ..FAR }, 100);
        assert!(exact.iter().all(|time| *time == FAR.way));
    }

    #[test]
    fn every_hundredth_piece_pauses_the_stream_until_it_is_sent_again() {
        let begin = Instant::now();
        let mut random = Random::new(FAR.seed);
        let pauses = (0..100_000).map(|_| FAR.pause(&mut random, Duration::from_millis(360)));
        let pauses: Vec<Duration> = pauses.filter(|pause| *pause > Duration::ZERO).collect();
        assert!((900..1_100).contains(&pauses.len()), "{}", pauses.len());
        assert!(pauses.iter().any(|pause| *pause == Duration::from_millis(3 * 360)));
        // What comes right behind a lost piece waits with it.
        let [mut path, _] = Distance { lost: 1_000, ..FAR }.connect(0, begin);
        let first = path.arrival(begin);
        path.distance.lost = 0;
        assert_eq!(path.arrival(begin), first);
    }

    #[test]
    fn the_first_piece_waits_for_the_connection() {
        let begin = Instant::now();
        let plain = Distance { lost: 0, jitter: Duration::ZERO, ..FAR };
        let [mut there, mut back] = plain.connect(0, begin);
        assert_eq!(there.arrival(begin) - begin, FAR.way * 3);
        assert_eq!(back.arrival(begin) - begin, FAR.way * 2);
    }

    #[test]
    fn a_seed_and_a_number_give_the_same_times_again_and_others_give_others() {
        let begin = Instant::now();
        let times = |seed, number| {
            let [mut path, _] = Distance { seed, ..FAR }.connect(number, begin);
            (0..200).map(|_| path.arrival(begin)).collect::<Vec<_>>()
        };
        assert_eq!(times(1, 2), times(1, 2));
        assert_ne!(times(1, 2), times(2, 2));
        assert_ne!(times(1, 2), times(1, 3));
    }
}
