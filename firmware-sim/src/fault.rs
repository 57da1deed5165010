//! How a board misbehaves on the wire, and what becomes of a reply.
//!
//! Pure and seeded; the host asks [`Line::send`] what to put on the wire instead of a reply. What a
//! board records is not touched by any of this: faults are between the board and its hosts.

use postern_protocol::uhppote::{FRAME, Frame};
use serde::{Deserialize, Serialize};

use crate::random::Random;

/// The longest delay of a reply; above any time-out that a client could sensibly have.
pub const MAX_DELAY_MS: u64 = 60_000;

/// How many bits of a corrupted reply are flipped at most.
const MAX_FLIPS: usize = 4;

/// A board's misbehaviour. The default is a healthy board; numbers are probabilities for each
/// reply, from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Hears nothing: requests are neither answered nor carried out.
    pub deaf: bool,
    /// Sends no pushed events.
    pub mute_push: bool,
    /// Replies so late.
    pub delay_ms: u64,
    /// The request is carried out, the reply is lost.
    pub drop: f64,
    /// The reply comes twice.
    pub duplicate: f64,
    /// The reply is kept back and comes just before the reply to the next request.
    pub stale: f64,
    /// Some bits of the reply are flipped.
    pub corrupt: f64,
}

impl Faults {
    /// What is wrong with these values.
    pub fn check(&self) -> Result<(), String> {
        let probabilities = [
            ("drop", self.drop),
            ("duplicate", self.duplicate),
            ("stale", self.stale),
            ("corrupt", self.corrupt),
        ];
        for (name, value) in probabilities {
            if !(0.0..=1.0).contains(&value) {
                return Err(format!("{name} is {value}, not a probability from 0 to 1"));
            }
        }
        if self.delay_ms > MAX_DELAY_MS {
            return Err(format!("delay_ms is {}, above {MAX_DELAY_MS}", self.delay_ms));
        }
        Ok(())
    }
}

/// What lies between a board and its hosts.
#[derive(Clone, Debug)]
pub struct Line {
    random: Random,
    kept_back: Option<Frame>,
}

/// Keeps the draws of a board's line apart from those of its people.
const STREAM: u64 = 1 << 40;

impl Line {
    /// The line of a board.
    pub fn new(seed: u64, serial: u32) -> Self {
        Self { random: Random::new(seed, STREAM | u64::from(serial)), kept_back: None }
    }

    /// What goes on the wire for this reply: nothing, the reply, or more.
    pub fn send(&mut self, reply: Frame, faults: &Faults) -> Vec<Frame> {
        if self.random.chance(faults.drop) {
            return Vec::new();
        }
        let mut frames = Vec::from_iter(self.kept_back.take());
        if self.random.chance(faults.stale) {
            self.kept_back = Some(reply);
        } else {
            frames.push(reply);
            if self.random.chance(faults.duplicate) {
                frames.push(reply);
            }
        }
        for frame in &mut frames {
            if self.random.chance(faults.corrupt) {
                self.corrupt(frame);
            }
        }
        frames
    }

    fn corrupt(&mut self, frame: &mut Frame) {
        // The same bit is never flipped back: each flip has a quarter of the frame to itself.
        let flips = 1 + self.random.below(MAX_FLIPS);
        for part in frame.chunks_mut(FRAME / MAX_FLIPS).take(flips) {
            let place = self.random.below(part.len());
            let bit = self.random.below(8);
            if let Some(byte) = part.get_mut(place) {
                *byte ^= 1 << bit;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEALTHY: Faults = Faults {
        deaf: false,
        mute_push: false,
        delay_ms: 0,
        drop: 0.0,
        duplicate: 0.0,
        stale: 0.0,
        corrupt: 0.0,
    };

    fn line() -> Line {
        Line::new(7, 405_419_896)
    }

    #[test]
    fn a_healthy_line_sends_the_reply_once() {
        assert_eq!(HEALTHY, Faults::default());
        assert_eq!(line().send([1; FRAME], &HEALTHY), [[1; FRAME]]);
    }

    #[test]
    fn replies_are_lost_and_doubled() {
        let mut line = line();
        assert!(line.send([1; FRAME], &Faults { drop: 1.0, ..HEALTHY }).is_empty());
        assert_eq!(line.send([2; FRAME], &Faults { duplicate: 1.0, ..HEALTHY }), [[2; FRAME]; 2]);
    }

    #[test]
    fn a_stale_reply_comes_before_the_next() {
        let mut line = line();
        let stale = Faults { stale: 1.0, ..HEALTHY };
        assert!(line.send([1; FRAME], &stale).is_empty());
        assert_eq!(line.send([2; FRAME], &stale), [[1; FRAME]]);
        assert_eq!(line.send([3; FRAME], &HEALTHY), [[2; FRAME], [3; FRAME]]);
        assert_eq!(line.send([4; FRAME], &HEALTHY), [[4; FRAME]]);
    }

    #[test]
    fn a_corrupted_reply_always_differs() {
        let mut line = line();
        let corrupt = Faults { corrupt: 1.0, ..HEALTHY };
        for _ in 0..1_000 {
            assert_ne!(line.send([0; FRAME], &corrupt), [[0; FRAME]]);
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_faults() {
        let faults = Faults { drop: 0.3, duplicate: 0.3, stale: 0.3, corrupt: 0.3, ..HEALTHY };
        let run =
            |mut line: Line| (0..200).map(|n| line.send([n; FRAME], &faults)).collect::<Vec<_>>();
        assert_eq!(run(line()), run(line()));
        assert_ne!(run(line()), run(Line::new(8, 405_419_896)));
    }

    #[test]
    fn impossible_faults_are_named() {
        for (faults, name) in [
            (Faults { drop: 1.1, ..HEALTHY }, "drop"),
            (Faults { stale: -0.1, ..HEALTHY }, "stale"),
            (Faults { corrupt: f64::NAN, ..HEALTHY }, "corrupt"),
            (Faults { delay_ms: MAX_DELAY_MS + 1, ..HEALTHY }, "delay_ms"),
        ] {
            assert!(faults.check().unwrap_err().starts_with(name));
        }
        assert_eq!(HEALTHY.check(), Ok(()));
    }
}
