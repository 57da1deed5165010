//! How a station misbehaves on the line. Pure and seeded, and apart from the line's noise: what one
//! station does wrong changes no draw of another's.

use std::time::Duration;

use super::Reply;
use crate::random::Random;

/// The longest extra turn-around; above any time-out that a host could sensibly have.
pub const MAX_SLOW: Duration = Duration::from_mins(1);
/// The most bytes of one babble.
pub const MAX_BABBLE_BYTES: u32 = 4_096;
/// The shortest time between two babbles, so that a babbler cannot keep the simulator from its end.
pub const MIN_BABBLE_EVERY: Duration = Duration::from_millis(1);

/// A station's misbehaviour. The default is a healthy station; numbers are probabilities from 0 to
/// 1, where 1 is always.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Misbehaviour {
    /// For each thing said on the line: it does not hear it.
    pub deaf: f64,
    /// For each reply: it does not send it, but has done what it was asked for.
    pub dumb: f64,
    /// For each reply: it is late by `slow_by`.
    pub slow: f64,
    /// How late a slow reply is.
    pub slow_by: Duration,
    /// For each reply: the reply before it is sent in its place, if there was one.
    pub stale: f64,
    /// For each reply: it is sent twice, without a gap.
    pub duplicate: f64,
    /// For each reply: the station loses its power after some bytes of it.
    pub cut: f64,
    /// Sends random bytes about so often, whoever is talking; zero: never. The time between two is
    /// from half to one and a half of this.
    pub babble_every: Duration,
    /// How many random bytes.
    pub babble_bytes: u32,
}

impl Misbehaviour {
    /// What is wrong with these values.
    pub fn check(&self) -> Result<(), String> {
        let probabilities = [
            ("deaf", self.deaf),
            ("dumb", self.dumb),
            ("slow", self.slow),
            ("stale", self.stale),
            ("duplicate", self.duplicate),
            ("cut", self.cut),
        ];
        for (name, value) in probabilities {
            if !(0.0..=1.0).contains(&value) {
                return Err(format!("{name} is {value}, not a probability from 0 to 1"));
            }
        }
        if self.slow_by > MAX_SLOW {
            return Err(format!("slow_by is {:?}, above {MAX_SLOW:?}", self.slow_by));
        }
        if self.babble_bytes > MAX_BABBLE_BYTES {
            return Err(format!("babble_bytes is {}, above {MAX_BABBLE_BYTES}", self.babble_bytes));
        }
        if self.babble_every != Duration::ZERO && self.babble_every < MIN_BABBLE_EVERY {
            return Err(format!(
                "babble_every is {:?}, below {MIN_BABBLE_EVERY:?}",
                self.babble_every
            ));
        }
        Ok(())
    }
}

/// What is sent in place of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) after: Duration,
    pub(super) bytes: Vec<u8>,
    pub(super) copies: usize,
    /// The power goes with the last of these bytes.
    pub(super) cut: bool,
}

/// A station as the line sees it.
#[derive(Clone, Debug)]
pub(super) struct Manners {
    misbehaviour: Misbehaviour,
    random: Random,
    last_reply: Vec<u8>,
    /// When it babbles next, since the line began.
    babbles_at: Option<Duration>,
}

/// Keeps the draws of stations apart from all others of a seed.
const STREAM: u64 = 1 << 44;

impl Manners {
    pub(super) fn new(seed: u64, index: usize) -> Self {
        let stream = STREAM | u64::try_from(index).unwrap_or(0);
        Self {
            misbehaviour: Misbehaviour::default(),
            random: Random::new(seed, stream),
            last_reply: Vec::new(),
            babbles_at: None,
        }
    }

    pub(super) fn misbehaviour(&self) -> &Misbehaviour {
        &self.misbehaviour
    }

    pub(super) fn set(&mut self, misbehaviour: Misbehaviour, now: Duration) {
        self.misbehaviour = misbehaviour;
        self.plan_babble(now);
    }

    /// Whether it misses what was just said.
    pub(super) fn misses(&mut self) -> bool {
        self.random.chance(self.misbehaviour.deaf)
    }

    /// What it sends for this reply, if anything.
    pub(super) fn send(&mut self, reply: Reply) -> Option<Sent> {
        let Misbehaviour { dumb, slow, slow_by, stale, duplicate, cut, .. } = self.misbehaviour;
        if reply.bytes.is_empty() || self.random.chance(dumb) {
            return None;
        }
        let mut after = reply.after;
        if self.random.chance(slow) {
            after += slow_by;
        }
        let mut bytes = reply.bytes.clone();
        let before = std::mem::replace(&mut self.last_reply, reply.bytes);
        if self.random.chance(stale) && !before.is_empty() {
            bytes = before;
        }
        let cut = bytes.len() > 1 && self.random.chance(cut);
        if cut {
            bytes.truncate(1 + self.random.below(bytes.len() - 1));
        }
        let copies = if !cut && self.random.chance(duplicate) { 2 } else { 1 };
        Some(Sent { after, bytes, copies, cut })
    }

    /// Its memory is lost.
    pub(super) fn forget(&mut self) {
        self.last_reply.clear();
    }

    /// When it babbles next.
    pub(super) fn babbles_at(&self) -> Option<Duration> {
        self.babbles_at
    }

    /// What it babbles, `now` being the time for that.
    pub(super) fn babble(&mut self, now: Duration) -> Vec<u8> {
        let bytes =
            (0..self.misbehaviour.babble_bytes).map(|_| self.random.draw().to_le_bytes()[0]);
        let bytes = bytes.collect();
        self.plan_babble(now);
        bytes
    }

    fn plan_babble(&mut self, now: Duration) {
        let every = self.misbehaviour.babble_every;
        self.babbles_at = (every != Duration::ZERO && self.misbehaviour.babble_bytes > 0)
            .then(|| now + every.mul_f64(0.5 + self.random.unit()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: Duration = Duration::from_millis(1);

    fn reply(bytes: &[u8]) -> Reply {
        Reply { after: TURN, bytes: bytes.to_vec() }
    }

    fn manners(misbehaviour: Misbehaviour) -> Manners {
        let mut manners = Manners::new(1, 0);
        manners.set(misbehaviour, Duration::ZERO);
        manners
    }

    #[test]
    fn a_healthy_station_sends_its_reply() {
        let mut healthy = manners(Misbehaviour::default());
        let sent = Sent { after: TURN, bytes: vec![1, 2], copies: 1, cut: false };
        assert_eq!(healthy.send(reply(&[1, 2])), Some(sent));
        assert!(!healthy.misses());
        assert_eq!(healthy.babbles_at(), None);
    }

    #[test]
    fn certain_misbehaviour_always_happens() {
        assert!(manners(Misbehaviour { deaf: 1.0, ..Misbehaviour::default() }).misses());
        let mut dumb = manners(Misbehaviour { dumb: 1.0, ..Misbehaviour::default() });
        assert_eq!(dumb.send(reply(&[1])), None);
        let slow_by = Duration::from_millis(9);
        let mut slow = manners(Misbehaviour { slow: 1.0, slow_by, ..Misbehaviour::default() });
        assert_eq!(slow.send(reply(&[1])).unwrap().after, TURN + slow_by);
        let mut twice = manners(Misbehaviour { duplicate: 1.0, ..Misbehaviour::default() });
        assert_eq!(twice.send(reply(&[1])).unwrap().copies, 2);
    }

    #[test]
    fn a_stale_reply_is_the_one_before() {
        let mut stale = manners(Misbehaviour { stale: 1.0, ..Misbehaviour::default() });
        assert_eq!(stale.send(reply(&[1])).unwrap().bytes, [1], "there was none before");
        assert_eq!(stale.send(reply(&[2])).unwrap().bytes, [1]);
        assert_eq!(stale.send(reply(&[3])).unwrap().bytes, [2]);
    }

    #[test]
    fn a_cut_reply_has_a_beginning_and_no_end() {
        let mut cut = manners(Misbehaviour { cut: 1.0, ..Misbehaviour::default() });
        for _ in 0..100 {
            let sent = cut.send(reply(&[1, 2, 3, 4])).unwrap();
            assert!(sent.cut && (1..4).contains(&sent.bytes.len()), "{sent:?}");
            assert!([1, 2, 3, 4].starts_with(&sent.bytes));
        }
    }

    #[test]
    fn babbles_come_about_as_often_as_asked_for() {
        let every = Duration::from_secs(1);
        let babble =
            Misbehaviour { babble_every: every, babble_bytes: 5, ..Misbehaviour::default() };
        let mut babbler = manners(babble);
        let mut now = Duration::ZERO;
        for _ in 0..1_000 {
            now = babbler.babbles_at().unwrap();
            assert_eq!(babbler.babble(now).len(), 5);
        }
        assert!((950..1_050).contains(&now.as_secs()), "{now:?}");
    }

    #[test]
    fn values_out_of_range_are_refused() {
        assert!(Misbehaviour::default().check().is_ok());
        let micro = Duration::from_micros(1);
        for wrong in [
            Misbehaviour { deaf: 1.5, ..Misbehaviour::default() },
            Misbehaviour { slow_by: MAX_SLOW + micro, ..Misbehaviour::default() },
            Misbehaviour { babble_every: micro, ..Misbehaviour::default() },
            Misbehaviour { babble_bytes: MAX_BABBLE_BYTES + 1, ..Misbehaviour::default() },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
