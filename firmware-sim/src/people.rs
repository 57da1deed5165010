//! The people of a site: who swipes which card where, and when the next one comes.
//!
//! Pure and seeded: the same seed gives the same people. One [`Crowd`] for the site decides when and
//! at which controller, one for each controller decides who and at which door, so that a
//! controller's people do not change when another one is added.

use std::time::Duration;

use crate::controller::DOORS;
use crate::controller::happening::Swipe;
use crate::random::Random;

/// One swipe in so many is a stranger's, whom no board knows.
const STRANGERS: usize = 8;

/// Strangers' cards begin here; there are so many of them.
const FIRST_STRANGER: u32 = 9_000_000;
const STRANGER_CARDS: usize = 1_000;

/// The longest wait between two swipes; the rates that would give more are as good as none.
const MAX_GAP: Duration = Duration::from_hours(1);

/// People, as far as chance decides.
#[derive(Clone, Debug)]
pub struct Crowd {
    random: Random,
}

impl Crowd {
    /// The people of a seed; `stream` is a board's serial number, or 0 for the site.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self { random: Random::new(seed, stream) }
    }

    /// How long until the next swipe, at `rate` swipes a second: a Poisson process.
    pub fn gap(&mut self, rate: f64) -> Duration {
        let seconds = -(1.0 - self.random.unit()).ln() / rate;
        Duration::try_from_secs_f64(seconds).unwrap_or(MAX_GAP).min(MAX_GAP)
    }

    /// At which of so many controllers it happens.
    pub fn controller(&mut self, controllers: usize) -> usize {
        self.random.below(controllers)
    }

    /// Who swipes where: mostly one of `cards`, sometimes a stranger.
    pub fn swipe(&mut self, cards: &[u32]) -> Swipe {
        let stranger = self.random.below(STRANGERS) == 0;
        let known = cards.get(self.random.below(cards.len())).copied();
        let number = u32::try_from(self.random.below(STRANGER_CARDS)).unwrap_or(0);
        let card = known.filter(|_| !stranger).unwrap_or(FIRST_STRANGER + number);
        let door = u8::try_from(self.random.below(usize::from(DOORS))).unwrap_or(0) + 1;
        let direction = u8::try_from(self.random.below(2)).unwrap_or(0) + 1;
        Swipe { card, door, direction }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_people() {
        let swipes = |seed| {
            let mut crowd = Crowd::new(seed, 405_419_896);
            (0..50).map(|_| crowd.swipe(&[1, 2, 3])).collect::<Vec<_>>()
        };
        assert_eq!(swipes(7), swipes(7));
        assert_ne!(swipes(7), swipes(8));
    }

    #[test]
    fn some_are_strangers_and_all_doors_are_used() {
        let mut crowd = Crowd::new(7, 1);
        let swipes: Vec<_> = (0..800).map(|_| crowd.swipe(&[1, 2, 3])).collect();
        let strangers = swipes.iter().filter(|swipe| swipe.card >= FIRST_STRANGER).count();
        assert!((60..140).contains(&strangers), "{strangers}");
        for door in 1..=DOORS {
            assert!(swipes.iter().any(|swipe| swipe.door == door));
        }
        assert!(swipes.iter().all(|swipe| (1..=2).contains(&swipe.direction)));
        assert!(
            crowd.swipe(&[]).card >= FIRST_STRANGER,
            "a board without cards has strangers only"
        );
    }

    #[test]
    fn gaps_give_the_rate_on_average() {
        let mut crowd = Crowd::new(7, 0);
        let total: Duration = (0..4_000).map(|_| crowd.gap(40.0)).sum();
        assert!((90..110).contains(&total.as_secs()), "{total:?} for 4000 at 40 a second");
        assert_eq!(crowd.gap(1e-300), MAX_GAP);
    }
}
