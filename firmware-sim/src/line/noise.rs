//! Noise on a line: what becomes of characters on their way. Pure and seeded.
//!
//! All bits of a character can be hit, and what that does is what a receiver makes of it:
//!
//! - a data bit: the byte has another value;
//! - the start bit: the receiver takes the first 0 among the data bits for the start bit, and what
//!   follows for the byte, with the idle line (ones) behind it; where there is no 0, the byte is
//!   lost. The character after it is received well, which on a real line it may not be;
//! - a stop or parity bit: the receiver drops the byte.
//!
//! Errors are rare and bytes are many, so chance is asked how far away the next error is (a
//! geometric distribution) and not once per bit. That takes a logarithm, whose last bit may differ
//! from one platform to another: the same seed gives the same run on the same platform.

use serde::{Deserialize, Serialize};

use crate::random::Random;

/// The longest burst: a quarter of a second at 115,200 baud.
pub const MAX_BURST_BITS: u32 = 30_000;

/// What disturbs a line. The default is silence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Noise {
    /// For each bit: it is flipped.
    pub bit_error_rate: f64,
    /// For each byte: a burst begins in it.
    pub burst_rate: f64,
    /// How long a burst is, in bits of line time; half of the bits in it are flipped. What of it
    /// falls on an idle line does no harm.
    pub burst_bits: u32,
    /// For each byte: one with any value is received before it, at the same time.
    pub insert_rate: f64,
    /// For each byte: it is not received.
    pub drop_rate: f64,
}

impl Noise {
    /// What is wrong with these values.
    pub fn check(&self) -> Result<(), String> {
        let probabilities = [
            ("bit_error_rate", self.bit_error_rate),
            ("burst_rate", self.burst_rate),
            ("insert_rate", self.insert_rate),
            ("drop_rate", self.drop_rate),
        ];
        for (name, value) in probabilities {
            if !(0.0..=1.0).contains(&value) {
                return Err(format!("{name} is {value}, not a probability from 0 to 1"));
            }
        }
        if self.burst_bits > MAX_BURST_BITS {
            return Err(format!("burst_bits is {}, above {MAX_BURST_BITS}", self.burst_bits));
        }
        Ok(())
    }
}

/// What noise has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoiseCounters {
    /// Bits flipped.
    pub bit_errors: u64,
    /// Bursts begun.
    pub bursts: u64,
    /// Bytes that were not received: dropped, or a start, stop or parity bit was hit.
    pub lost: u64,
    /// Bytes received that nobody sent.
    pub inserted: u64,
}

/// Noise at work.
#[derive(Clone, Debug)]
pub struct NoiseSource {
    bits_per_byte: u32,
    burst_bits: u32,
    random: Random,
    bit: Countdown,
    burst: Countdown,
    insert: Countdown,
    drop: Countdown,
    /// How many bits the burst under way still has.
    burst_left: u64,
    counters: NoiseCounters,
}

/// Keeps the draws of noise apart from all others of a seed.
const STREAM: u64 = 1 << 42;

impl NoiseSource {
    /// The noise of a line whose characters have so many bits.
    pub fn new(noise: &Noise, bits_per_byte: u32, seed: u64) -> Self {
        let mut source = Self {
            bits_per_byte,
            burst_bits: 0,
            random: Random::new(seed, STREAM),
            bit: Countdown::default(),
            burst: Countdown::default(),
            insert: Countdown::default(),
            drop: Countdown::default(),
            burst_left: 0,
            counters: NoiseCounters::default(),
        };
        source.set(noise);
        source
    }

    /// Other noise from now on; a burst under way goes on.
    pub fn set(&mut self, noise: &Noise) {
        self.burst_bits = noise.burst_bits;
        self.bit = Countdown::new(noise.bit_error_rate, &mut self.random);
        self.burst = Countdown::new(noise.burst_rate, &mut self.random);
        self.insert = Countdown::new(noise.insert_rate, &mut self.random);
        self.drop = Countdown::new(noise.drop_rate, &mut self.random);
    }

    /// What it has done so far.
    pub fn counters(&self) -> NoiseCounters {
        self.counters
    }

    /// These bytes pass, after the line was idle for so many bits; what is received goes to the end
    /// of `received`. Into how many calls a stream is cut makes no difference.
    pub fn pass(&mut self, bytes: &[u8], idle_bits: u64, received: &mut Vec<u8>) {
        self.burst_left = self.burst_left.saturating_sub(idle_bits);
        let mut rest = bytes;
        while let Some((&first, behind)) = rest.split_first() {
            let clean = usize::try_from(self.clean()).unwrap_or(usize::MAX).min(rest.len());
            if clean == 0 {
                self.pass_one(first, received);
                rest = behind;
            } else {
                let (unharmed, behind) = rest.split_at(clean);
                received.extend_from_slice(unharmed);
                let bytes = u64::try_from(clean).unwrap_or(u64::MAX);
                self.bit.skip(bytes * u64::from(self.bits_per_byte));
                for countdown in [&mut self.burst, &mut self.insert, &mut self.drop] {
                    countdown.skip(bytes);
                }
                rest = behind;
            }
        }
    }

    /// How many bytes pass before the next one with which anything happens.
    fn clean(&self) -> u64 {
        if self.burst_left > 0 {
            return 0;
        }
        (self.bit.left / u64::from(self.bits_per_byte))
            .min(self.burst.left)
            .min(self.insert.left)
            .min(self.drop.left)
    }

    fn pass_one(&mut self, byte: u8, received: &mut Vec<u8>) {
        if self.insert.hit(&mut self.random) {
            self.counters.inserted += 1;
            received.push(self.random.draw().to_le_bytes()[0]);
        }
        let begins = self.burst.hit(&mut self.random).then(|| {
            self.counters.bursts += 1;
            self.random.below(usize::try_from(self.bits_per_byte).unwrap_or(1))
        });
        let mut flips = 0_u32;
        for bit in 0..self.bits_per_byte {
            if begins.is_some_and(|begin| u32::try_from(begin) == Ok(bit)) {
                self.burst_left = self.burst_left.max(u64::from(self.burst_bits));
            }
            let mut flip = self.bit.hit(&mut self.random);
            if self.burst_left > 0 {
                self.burst_left -= 1;
                flip ^= self.random.draw() & 1 == 1;
            }
            if flip {
                self.counters.bit_errors += 1;
                flips |= 1 << bit;
            }
        }
        let dropped = self.drop.hit(&mut self.random);
        match character(byte, flips) {
            Some(byte) if !dropped => received.push(byte),
            _ => self.counters.lost += 1,
        }
    }
}

/// What a receiver makes of a character; bit 0 of `flips` is its start bit, 1 to 8 the data, least
/// significant first, and above these parity and stop.
fn character(byte: u8, flips: u32) -> Option<u8> {
    const DATA: u32 = 8;
    let [data_flips, ..] = (flips >> 1).to_le_bytes();
    let data = byte ^ data_flips;
    if flips >> (1 + DATA) != 0 {
        None
    } else if flips & 1 == 0 {
        Some(data)
    } else {
        let start = data.trailing_ones();
        let line = (u16::MAX << DATA) | u16::from(data);
        (start < DATA).then(|| (line >> (start + 1)).to_le_bytes()[0])
    }
}

/// How many trials come before the next hit.
#[derive(Clone, Copy, Debug)]
struct Countdown {
    left: u64,
    rate: f64,
}

/// Never; what is left of it after any run is still out of reach.
const NEVER: u64 = u64::MAX;

impl Default for Countdown {
    fn default() -> Self {
        Self { left: NEVER, rate: 0.0 }
    }
}

impl Countdown {
    fn new(rate: f64, random: &mut Random) -> Self {
        Self { left: geometric(rate, random), rate }
    }

    fn skip(&mut self, trials: u64) {
        self.left -= trials;
    }

    fn hit(&mut self, random: &mut Random) -> bool {
        if self.left == 0 {
            self.left = geometric(self.rate, random);
            true
        } else {
            self.left -= 1;
            false
        }
    }
}

/// How many failures come before a success of this probability. 0 never draws.
fn geometric(probability: f64, random: &mut Random) -> u64 {
    if probability <= 0.0 {
        return NEVER;
    }
    // 53 bits, all that fit; above 0, so that the logarithm is a number.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let chance = ((random.draw() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    let failures = chance.ln() / (-probability).ln_1p();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, as both logarithms are at most 0; too large becomes the largest"
    )]
    let failures = failures as u64;
    failures
}

#[cfg(test)]
mod tests {
    use super::*;

    const BITS: u32 = 10;

    fn passed(noise: &Noise, seed: u64, bytes: &[u8]) -> (Vec<u8>, NoiseCounters) {
        let mut source = NoiseSource::new(noise, BITS, seed);
        let mut received = Vec::new();
        source.pass(bytes, 0, &mut received);
        (received, source.counters())
    }

    #[test]
    fn silence_changes_nothing() {
        let bytes: Vec<u8> = (0..=255).collect();
        let (received, counters) = passed(&Noise::default(), 1, &bytes);
        assert_eq!(received, bytes);
        assert_eq!(counters, NoiseCounters::default());
    }

    #[test]
    fn each_bit_of_a_character_has_its_own_effect() {
        assert_eq!(character(0x55, 0), Some(0x55));
        assert_eq!(character(0x55, 1 << 1), Some(0x54), "the lowest data bit");
        assert_eq!(character(0x55, 1 << 8), Some(0xd5), "the highest");
        assert_eq!(character(0x55, 1 << 9), None, "stop");
        // Data 1 0 1 0 1 0 1 0 in the order of the line; the second is taken for the start bit.
        assert_eq!(character(0x55, 1), Some(0b1101_0101), "start");
        assert_eq!(character(0x7f, 1), Some(0xff), "start, and the last data bit is the first 0");
        assert_eq!(character(0xff, 1), None, "start, and nothing to take for one");
    }

    #[test]
    fn a_million_bytes_have_as_many_errors_as_asked_for() {
        let bytes = vec![0x5a; 1_000_000];
        let noise = Noise { bit_error_rate: 1e-4, ..Noise::default() };
        let (received, counters) = passed(&noise, 42, &bytes);
        // 1,000 expected, the standard deviation is 32; four of them.
        assert!((870..=1_130).contains(&counters.bit_errors), "{counters:?}");
        let lost = usize::try_from(counters.lost).unwrap();
        assert_eq!(received.len(), bytes.len() - lost);
        // One of ten bits is the stop bit.
        assert!((60..=140).contains(&lost), "{counters:?}");
    }

    #[test]
    fn bytes_are_dropped_and_inserted_as_often_as_asked_for() {
        let bytes = vec![0; 1_000_000];
        let noise = Noise { insert_rate: 1e-3, drop_rate: 2e-3, ..Noise::default() };
        let (received, counters) = passed(&noise, 42, &bytes);
        assert!((870..=1_130).contains(&counters.inserted), "{counters:?}");
        assert!((1_820..=2_180).contains(&counters.lost), "{counters:?}");
        let difference = counters.lost - counters.inserted;
        assert_eq!(received.len(), bytes.len() - usize::try_from(difference).unwrap());
    }

    #[test]
    fn a_burst_hits_neighbours_and_ends_on_an_idle_line() {
        let noise = Noise { burst_rate: 1.0, burst_bits: 40, ..Noise::default() };
        let mut source = NoiseSource::new(&noise, BITS, 7);
        let mut received = Vec::new();
        source.pass(&[0], 0, &mut received);
        source.set(&Noise::default());
        let mut behind = source.clone();
        behind.pass(&[0; 20], 0, &mut received);
        assert_eq!(behind.counters().bursts, 1);
        let at_once = behind.counters().bit_errors;
        assert!((8..=32).contains(&at_once), "{at_once}");
        let mut later = source.clone();
        later.pass(&[0; 20], 40, &mut received);
        assert_eq!(later.counters().bit_errors, source.counters().bit_errors);
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_however_the_stream_is_cut() {
        let bytes: Vec<u8> = (0..20_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let noise = Noise {
            bit_error_rate: 1e-3,
            burst_rate: 1e-3,
            burst_bits: 25,
            insert_rate: 1e-3,
            drop_rate: 1e-3,
        };
        let (whole, counters) = passed(&noise, 3, &bytes);
        let mut source = NoiseSource::new(&noise, BITS, 3);
        let mut pieces = Vec::new();
        for piece in bytes.chunks(7) {
            source.pass(piece, 0, &mut pieces);
        }
        assert_eq!(pieces, whole);
        assert_eq!(source.counters(), counters);
        assert_ne!(passed(&noise, 4, &bytes).0, whole);
    }

    #[test]
    fn certainty_hits_everything() {
        let noise = Noise { bit_error_rate: 1.0, ..Noise::default() };
        let (received, counters) = passed(&noise, 1, &[0; 10]);
        assert_eq!((received.len(), counters.bit_errors), (0, 100));
    }

    #[test]
    fn values_that_are_no_probabilities_are_refused() {
        assert!(Noise::default().check().is_ok());
        for rate in [-0.1, 1.1, f64::NAN] {
            assert!(Noise { bit_error_rate: rate, ..Noise::default() }.check().is_err());
        }
        assert!(Noise { burst_bits: MAX_BURST_BITS + 1, ..Noise::default() }.check().is_err());
    }
}
