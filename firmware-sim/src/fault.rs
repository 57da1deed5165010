//! How a board misbehaves on the wire, and what becomes of a reply.
//!
//! Pure and seeded; the host asks [`Line::send`] what to put on the wire instead of a reply. What a
//! board records is not touched by any of this: faults are between the board and its hosts. What
//! happens to the board itself just when it is asked is a [`crate::trap`].

use postern_protocol::uhppote::{FRAME, Frame, Response};
use serde::{Deserialize, Serialize};

use crate::random::Random;

/// The longest delay of a reply; above any time-out that a client could sensibly have.
pub const MAX_DELAY_MS: u64 = 60_000;

/// How many bits of a corrupted reply are flipped at most.
const MAX_FLIPS: usize = 4;

/// A board's misbehaviour. The default is a healthy board; numbers are probabilities, from 0 to 1,
/// for each reply where nothing else is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Hears nothing: requests are neither answered nor carried out.
    pub deaf: bool,
    /// Sends no pushed events.
    pub mute_push: bool,
    /// Replies over UDP leave from another socket, so from another port.
    pub elsewhere: bool,
    /// Replies so late.
    pub delay_ms: u64,
    /// For each request: it is lost, neither carried out nor answered.
    pub lose: f64,
    /// The request is carried out, the reply is lost.
    pub drop: f64,
    /// The connection is reset instead; over UDP the reply is lost.
    pub reset: f64,
    /// The reply comes twice.
    pub duplicate: f64,
    /// The reply is kept back and comes just before the reply to the next request.
    pub stale: f64,
    /// The reply is overtaken: it is kept back and comes just after the reply to the next request.
    pub reorder: f64,
    /// Another board's reply to the same request comes just before this board's.
    pub foreign: f64,
    /// Some bits of the reply are flipped.
    pub corrupt: f64,
    /// The record with this index is answered as if there were none; 0: every record is there.
    pub deny: u32,
    /// For each pushed event: it is lost.
    pub drop_push: f64,
    /// For each pushed event: it comes twice.
    pub duplicate_push: f64,
}

impl Faults {
    /// What is wrong with these values.
    pub fn check(&self) -> Result<(), String> {
        let probabilities = [
            ("lose", self.lose),
            ("drop", self.drop),
            ("reset", self.reset),
            ("duplicate", self.duplicate),
            ("stale", self.stale),
            ("reorder", self.reorder),
            ("foreign", self.foreign),
            ("corrupt", self.corrupt),
            ("drop_push", self.drop_push),
            ("duplicate_push", self.duplicate_push),
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

/// What goes on the wire instead of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// These frames; there may be none.
    Frames(Vec<Frame>),
    /// The end of the connection, where there is one.
    Reset,
}

/// What lies between a board and its hosts.
#[derive(Clone, Debug)]
pub struct Line {
    random: Random,
    /// Decides about pushes alone: how many there are depends on the people, and the faults of
    /// replies must not depend on that.
    random_of_pushes: Random,
    stale: Option<Frame>,
    overtaken: Option<Frame>,
}

/// Keep the draws of a board's line apart from those of its people, and of each other.
const REPLIES: u64 = 1 << 40;
const PUSHES: u64 = 1 << 41;

impl Line {
    /// The line of a board.
    pub fn new(seed: u64, serial: u32) -> Self {
        Self {
            random: Random::new(seed, REPLIES | u64::from(serial)),
            random_of_pushes: Random::new(seed, PUSHES | u64::from(serial)),
            stale: None,
            overtaken: None,
        }
    }

    /// Whether a request is lost before the board has it.
    pub fn loses(&mut self, faults: &Faults) -> bool {
        self.random.chance(faults.lose)
    }

    /// What goes on the wire for this reply: nothing, the reply, or more.
    pub fn send(&mut self, reply: Frame, faults: &Faults) -> Sent {
        let reply = denied(reply, faults.deny);
        if self.random.chance(faults.drop) {
            return Sent::Frames(Vec::new());
        }
        if self.random.chance(faults.reset) {
            return Sent::Reset;
        }
        let mut frames = Vec::from_iter(self.stale.take());
        if self.random.chance(faults.stale) {
            self.stale = Some(reply);
        } else if self.overtaken.is_none() && self.random.chance(faults.reorder) {
            // A reply that overtakes is not overtaken itself: replies change places in pairs.
            self.overtaken = Some(reply);
        } else {
            if self.random.chance(faults.foreign) {
                frames.push(of_another_board(reply));
            }
            frames.push(reply);
            if self.random.chance(faults.duplicate) {
                frames.push(reply);
            }
            frames.extend(self.overtaken.take());
        }
        for frame in &mut frames {
            if self.random.chance(faults.corrupt) {
                self.corrupt(frame);
            }
        }
        Sent::Frames(frames)
    }

    /// How often a pushed event goes on the wire.
    pub fn copies_of_push(&mut self, faults: &Faults) -> usize {
        if faults.mute_push || self.random_of_pushes.chance(faults.drop_push) {
            0
        } else if self.random_of_pushes.chance(faults.duplicate_push) {
            2
        } else {
            1
        }
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

/// Start, function and serial number.
const HEAD: usize = 8;

/// The answer to a request for the record that is denied: what a board says past its newest.
fn denied(reply: Frame, index: u32) -> Frame {
    match Response::decode(&reply) {
        Ok(Response::GetEvent(event)) if index != 0 && event.index == index => {
            let mut none = [0; FRAME];
            none[..HEAD].copy_from_slice(&reply[..HEAD]);
            none
        }
        _ => reply,
    }
}

/// What another board could have answered: another serial number and, where there is a record,
/// another card, so that whoever takes it for this board's has something that never was.
fn of_another_board(mut reply: Frame) -> Frame {
    const SERIAL: usize = 4;
    const CARD: usize = 16;
    reply[SERIAL] ^= 1;
    reply[CARD] ^= 1;
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEALTHY: Faults = Faults {
        deaf: false,
        mute_push: false,
        elsewhere: false,
        delay_ms: 0,
        lose: 0.0,
        drop: 0.0,
        reset: 0.0,
        duplicate: 0.0,
        stale: 0.0,
        reorder: 0.0,
        foreign: 0.0,
        corrupt: 0.0,
        deny: 0,
        drop_push: 0.0,
        duplicate_push: 0.0,
    };

    fn line() -> Line {
        Line::new(7, 405_419_896)
    }

    /// The first bytes of what goes on the wire for a reply of such bytes.
    fn send(line: &mut Line, reply: u8, faults: &Faults) -> Vec<u8> {
        match line.send([reply; FRAME], faults) {
            Sent::Frames(frames) => frames.iter().map(|frame| frame[0]).collect(),
            Sent::Reset => panic!("a reset"),
        }
    }

    #[test]
    fn a_denied_record_is_answered_like_one_past_the_newest() {
        let faults = Faults { deny: 7, ..HEALTHY };
        let mut record = [0; FRAME];
        record[..9].copy_from_slice(&[0x17, 0xb0, 0, 0, 0x78, 0x37, 0x2a, 0x18, 7]);
        record[12] = 1;
        let mut none = [0; FRAME];
        none[..8].copy_from_slice(&record[..8]);
        assert_eq!(line().send(record, &faults), Sent::Frames(vec![none]));
        record[8] = 8;
        assert_eq!(line().send(record, &faults), Sent::Frames(vec![record]), "another one");
    }

    #[test]
    fn a_healthy_line_sends_the_reply_once() {
        assert_eq!(HEALTHY, Faults::default());
        assert!(!line().loses(&HEALTHY));
        assert_eq!(line().send([1; FRAME], &HEALTHY), Sent::Frames(vec![[1; FRAME]]));
        assert_eq!(line().copies_of_push(&HEALTHY), 1);
    }

    #[test]
    fn requests_are_lost_before_anything_is_done() {
        let mut line = line();
        assert!(line.loses(&Faults { lose: 1.0, ..HEALTHY }));
        let lost = (0..10_000).filter(|_| line.loses(&Faults { lose: 0.1, ..HEALTHY })).count();
        assert!((900..1_100).contains(&lost), "{lost}");
    }

    #[test]
    fn replies_are_lost_and_doubled() {
        let mut line = line();
        assert!(send(&mut line, 1, &Faults { drop: 1.0, ..HEALTHY }).is_empty());
        assert_eq!(send(&mut line, 2, &Faults { duplicate: 1.0, ..HEALTHY }), [2, 2]);
    }

    #[test]
    fn a_reset_takes_the_reply_with_it() {
        let mut line = line();
        let reset = Faults { reset: 1.0, duplicate: 1.0, ..HEALTHY };
        assert_eq!(line.send([1; FRAME], &reset), Sent::Reset);
        assert_eq!(send(&mut line, 2, &HEALTHY), [2]);
    }

    #[test]
    fn a_stale_reply_comes_before_the_next() {
        let mut line = line();
        let stale = Faults { stale: 1.0, ..HEALTHY };
        assert!(send(&mut line, 1, &stale).is_empty());
        assert_eq!(send(&mut line, 2, &stale), [1]);
        assert_eq!(send(&mut line, 3, &HEALTHY), [2, 3]);
        assert_eq!(send(&mut line, 4, &HEALTHY), [4]);
    }

    #[test]
    fn an_overtaken_reply_comes_after_the_next() {
        let mut line = line();
        let reorder = Faults { reorder: 1.0, ..HEALTHY };
        let sent: Vec<_> = (1..=4).map(|reply| send(&mut line, reply, &reorder)).collect();
        assert_eq!(sent, [vec![], vec![2, 1], vec![], vec![4, 3]]);
        assert!(send(&mut line, 5, &reorder).is_empty());
        assert!(send(&mut line, 6, &Faults { drop: 1.0, ..HEALTHY }).is_empty());
        assert_eq!(send(&mut line, 7, &HEALTHY), [7, 5], "a lost reply overtakes nothing");
    }

    #[test]
    fn a_foreign_reply_comes_first_with_another_serial_number_and_another_card() {
        let mut line = line();
        let sent = line.send([8; FRAME], &Faults { foreign: 1.0, ..HEALTHY });
        let mut foreign = [8; FRAME];
        (foreign[4], foreign[16]) = (9, 9);
        assert_eq!(sent, Sent::Frames(vec![foreign, [8; FRAME]]));
    }

    #[test]
    fn a_corrupted_reply_always_differs() {
        let mut line = line();
        let corrupt = Faults { corrupt: 1.0, ..HEALTHY };
        for _ in 0..1_000 {
            assert_ne!(line.send([0; FRAME], &corrupt), Sent::Frames(vec![[0; FRAME]]));
        }
    }

    #[test]
    fn pushes_are_lost_and_doubled() {
        let mut line = line();
        let mut copies = |faults| line.copies_of_push(&faults);
        assert_eq!(copies(Faults { drop_push: 1.0, duplicate_push: 1.0, ..HEALTHY }), 0);
        assert_eq!(copies(Faults { mute_push: true, duplicate_push: 1.0, ..HEALTHY }), 0);
        assert_eq!(copies(Faults { duplicate_push: 1.0, ..HEALTHY }), 2);
    }

    #[test]
    fn the_same_seed_makes_the_same_faults_however_many_pushes_there_are() {
        let faults = Faults {
            lose: 0.1,
            drop: 0.2,
            reset: 0.1,
            duplicate: 0.3,
            stale: 0.3,
            reorder: 0.3,
            foreign: 0.3,
            corrupt: 0.3,
            drop_push: 0.5,
            ..HEALTHY
        };
        let run = |mut line: Line, pushes: usize| {
            (0..200)
                .map(|n| {
                    (0..pushes).for_each(|_| _ = line.copies_of_push(&faults));
                    (line.loses(&faults), line.send([n; FRAME], &faults))
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(run(line(), 0), run(line(), 3));
        assert_ne!(run(line(), 0), run(Line::new(8, 405_419_896), 0));
    }

    #[test]
    fn impossible_faults_are_named() {
        for (faults, name) in [
            (Faults { lose: 1.1, ..HEALTHY }, "lose"),
            (Faults { drop: 1.1, ..HEALTHY }, "drop"),
            (Faults { reset: 2.0, ..HEALTHY }, "reset"),
            (Faults { reorder: -1.0, ..HEALTHY }, "reorder"),
            (Faults { foreign: 1.1, ..HEALTHY }, "foreign"),
            (Faults { drop_push: 1.1, ..HEALTHY }, "drop_push"),
            (Faults { duplicate_push: f64::INFINITY, ..HEALTHY }, "duplicate_push"),
            (Faults { stale: -0.1, ..HEALTHY }, "stale"),
            (Faults { corrupt: f64::NAN, ..HEALTHY }, "corrupt"),
            (Faults { delay_ms: MAX_DELAY_MS + 1, ..HEALTHY }, "delay_ms"),
        ] {
            assert!(faults.check().unwrap_err().starts_with(name));
        }
        assert_eq!(HEALTHY.check(), Ok(()));
    }
}
