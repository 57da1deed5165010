//! One exchange over a line: when an answer is given up, and when the line may be spoken on again
//! (`docs/protocol.md` §3).
//!
//! Pure, with times as they pass on the caller's clock, so that the gateway's driver and a simulated line
//! wait by the same rules.

use core::time::Duration;

use super::{Peer, Secret, Step, Window};
use crate::link::frame::{FrameError, Header, MAX_WIRE, Receiver};

/// How long a station may compute a handshake.
const HANDSHAKE: Duration = Duration::from_secs(1);

/// Silence in the middle of an answer that ends it: twenty bytes' time, and at least what a USB adapter or
/// an operating system may sit on.
const GAP_BYTES: u32 = 20;
const GAP_AT_LEAST: Duration = Duration::from_millis(20);

/// After something broken a line is left alone until it was quiet for so long: whoever still speaks must
/// not be spoken over.
const QUIET_BYTES: u32 = 5;
const QUIET_AT_LEAST: Duration = Duration::from_millis(3);

/// A line on which nobody ever falls silent is not listened to for longer than this and the window. The
/// longest frame takes 1.2 s at 9,600 baud with parity.
const LISTEN_AT_MOST: Duration = Duration::from_secs(2);

/// What a line is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a byte takes; nothing over TCP.
    pub byte: Duration,
    /// How long a station may take from the last bit of a request to the first of its answer.
    pub reply: Duration,
}

impl Timing {
    /// How long so many bytes take.
    pub fn time_of(&self, bytes: usize) -> Duration {
        self.byte.saturating_mul(u32::try_from(bytes).unwrap_or(u32::MAX))
    }

    fn window(&self, window: Window) -> Duration {
        match window {
            Window::Usual => self.reply,
            Window::Handshake => self.reply.max(HANDSHAKE),
        }
    }
}

/// What was heard on the line, for who listens.
pub type Hear<'a> = &'a mut dyn FnMut(&Peer, Result<(Header, &[u8]), FrameError>, Option<Step>);

/// See the module. One for a line, used for one exchange after the other.
#[derive(Clone, Debug)]
pub struct Exchange {
    timing: Timing,
    receiver: Receiver<MAX_WIRE>,
    begin_by: Duration,
    end_by: Duration,
    until: Duration,
    is_broken: bool,
}

impl Exchange {
    /// A line like this.
    pub fn new(timing: Timing) -> Self {
        let zero = Duration::ZERO;
        Self {
            timing,
            receiver: Receiver::default(),
            begin_by: zero,
            end_by: zero,
            until: zero,
            is_broken: false,
        }
    }

    /// So many bytes were given to the line now, and an answer is awaited.
    pub fn begin(&mut self, bytes: usize, window: Window, now: Duration) {
        let sent = now.saturating_add(self.timing.time_of(bytes));
        self.receiver.clear();
        self.is_broken = false;
        self.begin_by = sent.saturating_add(self.timing.window(window));
        self.end_by = self.begin_by.saturating_add(LISTEN_AT_MOST);
        self.until = self.begin_by;
    }

    /// When [`Exchange::on_deadline`] is due.
    pub fn deadline(&self) -> Duration {
        self.until.min(self.end_by)
    }

    /// Bytes came. What is next, if that is known by now; what stands behind it is dropped.
    pub fn on_bytes(
        &mut self,
        bytes: &[u8],
        now: Duration,
        peer: &mut Peer,
        secret: Secret<'_>,
        hear: Hear<'_>,
    ) -> Option<Step> {
        if bytes.is_empty() {
            return None;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let (used, is_whole) = self.receiver.push(rest);
            rest = rest.get(used..).unwrap_or_default();
            if !is_whole {
                continue;
            }
            match self.receiver.frame() {
                Err(error) => {
                    self.is_broken = true;
                    hear(peer, Err(error), None);
                }
                Ok((header, plain)) => {
                    let step = peer.on_frame(header, plain, secret);
                    hear(peer, Ok((header, plain)), step);
                    if step.is_some() {
                        return step;
                    }
                }
            }
        }
        let time_of = |bytes| self.timing.byte.saturating_mul(bytes);
        self.until = if self.is_broken {
            now.saturating_add(time_of(QUIET_BYTES).max(QUIET_AT_LEAST))
        } else if self.receiver.pending() > 0 {
            self.begin_by.max(now.saturating_add(time_of(GAP_BYTES).max(GAP_AT_LEAST)))
        } else {
            self.begin_by
        };
        None
    }

    /// The deadline passed.
    pub fn on_deadline(&mut self, peer: &mut Peer) -> Step {
        let heard = self.is_broken || self.receiver.pending() > 0;
        self.receiver.clear();
        if heard { peer.on_broken() } else { peer.on_silence() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::gateway::{Access, Settings};

    const MS: Duration = Duration::from_millis(1);

    fn rig() -> (Exchange, Peer) {
        let timing = Timing { byte: MS, reply: 20 * MS };
        let settings = Settings { address: 5, serial: 1, access: Access::Plain };
        let mut peer = Peer::new(settings);
        assert_eq!(peer.open(Duration::ZERO), Step::Send(Window::Usual));
        let mut exchange = Exchange::new(timing);
        exchange.begin(10, Window::Usual, 100 * MS);
        (exchange, peer)
    }

    fn hear(exchange: &mut Exchange, peer: &mut Peer, bytes: &[u8], now: Duration) -> Option<Step> {
        exchange.on_bytes(bytes, now, peer, &mut || [0; 32], &mut |_, _, _| ())
    }

    #[test]
    fn the_window_begins_when_the_last_byte_has_left() {
        let (mut exchange, mut peer) = rig();
        assert_eq!(exchange.deadline(), 130 * MS);
        exchange.on_deadline(&mut peer);
        assert_eq!((peer.counters().timeouts, peer.counters().broken), (1, 0));
        exchange.begin(10, Window::Handshake, 200 * MS);
        assert_eq!(exchange.deadline(), 1_210 * MS);
    }

    #[test]
    fn an_answer_that_has_begun_is_given_its_time_and_one_that_stops_is_given_up() {
        let (mut exchange, mut peer) = rig();
        assert_eq!(hear(&mut exchange, &mut peer, &[0, 9, 9], 128 * MS), None);
        assert_eq!(exchange.deadline(), 148 * MS);
        assert_eq!(hear(&mut exchange, &mut peer, &[9, 9], 140 * MS), None);
        assert_eq!(exchange.deadline(), 160 * MS);
        exchange.on_deadline(&mut peer);
        assert_eq!((peer.counters().timeouts, peer.counters().broken), (0, 1));
    }

    #[test]
    fn zeros_alone_are_no_beginning() {
        let (mut exchange, mut peer) = rig();
        assert_eq!(hear(&mut exchange, &mut peer, &[0, 0, 0], 120 * MS), None);
        assert_eq!(exchange.deadline(), 130 * MS);
    }

    #[test]
    fn after_something_broken_the_line_is_left_alone_until_it_is_quiet() {
        let (mut exchange, mut peer) = rig();
        assert_eq!(hear(&mut exchange, &mut peer, &[0, 9, 9, 0], 120 * MS), None);
        assert_eq!(exchange.deadline(), 125 * MS);
        assert_eq!(hear(&mut exchange, &mut peer, &[9], 124 * MS), None);
        assert_eq!(exchange.deadline(), 129 * MS);
        exchange.on_deadline(&mut peer);
        assert_eq!(peer.counters().broken, 1);
    }

    #[test]
    fn a_line_that_never_falls_silent_is_given_up() {
        let (mut exchange, mut peer) = rig();
        let mut now = 110 * MS;
        while now < exchange.deadline() {
            assert_eq!(hear(&mut exchange, &mut peer, &[9; 30], now), None);
            now += 10 * MS;
        }
        assert_eq!(exchange.deadline(), 2_130 * MS);
    }
}
