//! The simulator's only source of chance: splitmix64.
//!
//! Ten lines instead of a crate, because what matters here is that the same seed gives the same
//! run in every version of the project, which no general random-number crate promises.

/// A splitmix64 generator (Steele, Lea, Flood 2014). Not for secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of `seed`; `stream` keeps the generators of one run apart.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self(seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // One step, so that neighbouring streams do not begin with neighbouring states.
        let state = random.draw();
        Self(state)
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 where the bound is 0. The bias of the modulus is below 2^-40 for
    /// the small bounds used here.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.draw() % bound).unwrap_or(0)
    }

    /// A number from 0 up to but without 1.
    pub fn unit(&mut self) -> f64 {
        let bits = u32::try_from(self.draw() >> 32).unwrap_or(0);
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }

    /// True with this probability. 0 never draws, so that an unused fault changes no other draw.
    pub fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.unit() < probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_numbers_of_a_seed_never_change() {
        let mut random = Random::new(7, 405_419_896);
        let first: Vec<u64> = (0..3).map(|_| random.draw()).collect();
        let mut again = Random::new(7, 405_419_896);
        assert_eq!(first, (0..3).map(|_| again.draw()).collect::<Vec<_>>());
        let mut other = Random::new(7, 405_419_897);
        assert_ne!(first[0], other.draw());
        // The reference value of splitmix64 for the state 0.
        assert_eq!(Random(0).draw(), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn chances_are_about_what_was_asked_for() {
        let mut random = Random::new(1, 1);
        let hits = (0..10_000).filter(|_| random.chance(0.25)).count();
        assert!((2_300..2_700).contains(&hits), "{hits}");
        assert!(!(0..1_000).any(|_| random.chance(0.0)));
        assert!((0..1_000).all(|_| random.chance(1.0)));
        assert!((0..1_000).all(|_| random.below(4) < 4));
    }
}
