//! One session of a station: what it can open, what it answers with, and which request was the last.

use crate::id::EpochId;
use crate::link::frame::{CRC_LENGTH, MAX_AHEAD, SEQUENCES};
use crate::link::noise::Keys;

/// Requests in one session, after which the gateway has to open another: each has its own nonce, and the
/// sequence numbers begin again long before.
pub(super) const MAX_REQUESTS: u64 = 1 << 32;

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) enum Security {
    Sealed(Keys),
    Plain,
}

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Session {
    pub(super) security: Security,
    /// The life of the log that it is about.
    pub(super) epoch: EpochId,
    /// The number of the last request that was answered; 0 for none.
    pub(super) last: u64,
    /// Its checksum: whether a frame is that request once more.
    crc: [u8; CRC_LENGTH],
}

/// What a sequence number means in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The request that was answered last, once more.
    Repeat,
    /// A new one, with this number.
    New(u64),
    /// None that could come now.
    Stale,
}

impl Session {
    pub(super) fn new(security: Security, epoch: EpochId) -> Self {
        Self { security, epoch, last: 0, crc: [0; CRC_LENGTH] }
    }

    /// Nothing was asked in it yet.
    pub(super) fn is_unused(&self) -> bool {
        self.last == 0
    }

    /// Which request this may be.
    pub(super) fn turn(&self, sequence: u8, crc: [u8; CRC_LENGTH]) -> Turn {
        let last = u8::try_from(self.last % u64::from(SEQUENCES)).unwrap_or(0);
        match (sequence.wrapping_sub(last)) % SEQUENCES {
            0 if self.last > 0 && crc == self.crc => Turn::Repeat,
            0 => Turn::Stale,
            _ if self.last >= MAX_REQUESTS => Turn::Stale,
            MAX_AHEAD.. => Turn::Stale,
            ahead => Turn::New(self.last + u64::from(ahead)),
        }
    }

    /// This request was verified, and will be answered: never again but by the same answer.
    pub(super) fn accept(&mut self, number: u64, crc: [u8; CRC_LENGTH]) {
        (self.last, self.crc) = (number, crc);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In clear nothing but its number tells a late copy of an older request from a new one.
    #[test]
    fn an_older_request_is_stale_and_a_lost_one_is_passed_over() {
        let mut session = Session::new(Security::Plain, EpochId([1; 16]));
        assert_eq!(session.turn(0, [0; 4]), Turn::Stale, "nothing was answered yet");
        for last in [1u64, 31, 32, 33, 1_000] {
            session.accept(last, [7; 4]);
            let turn = |number: u64| session.turn(u8::try_from(number % 32).unwrap(), [8; 4]);
            assert!((1..16).all(|ahead| turn(last + ahead) == Turn::New(last + ahead)));
            assert!((0..=16.min(last)).all(|behind| turn(last - behind) == Turn::Stale));
            let sequence = u8::try_from(last % 32).unwrap();
            assert_eq!(session.turn(sequence, [7; 4]), Turn::Repeat);
        }
        session.accept(MAX_REQUESTS, [7; 4]);
        assert_eq!(session.turn(1, [8; 4]), Turn::Stale);
        assert_eq!(session.turn(0, [7; 4]), Turn::Repeat);
    }
}
