//! Who is on a line? Says hello to every address, in clear, which is always allowed, tells nobody anything
//! and changes nothing (`docs/protocol.md` §4.2, §7).
//!
//! An address costs one reply window, whether somebody is there or not: after an answer the rest of the
//! window is for a second one, of another controller with the same address. Two whose answers collide are
//! heard as something broken.

use std::io;
use std::time::Duration;

use postern_protocol::link::frame::{
    self, From, HEADER, Header, Kind, MAX_WIRE, Receiver, SEQUENCES,
};
use postern_protocol::link::gateway::Timing;
use postern_protocol::link::message::{Hello, Present};
use postern_protocol::link::version;
use tokio::time::Instant;

use super::CHUNK;
use crate::driver::line::{Line, LineSettings};

/// Silence in the middle of an answer that ends it, as the gateway's own (`docs/protocol.md` §3).
const GAP_BYTES: usize = 20;
const GAP_AT_LEAST: Duration = Duration::from_millis(20);

/// Nobody is listened to for longer than this behind the window, on a line on which nobody falls silent.
const LISTEN_AT_MOST: Duration = Duration::from_millis(500);

/// How often an address is asked from which something broken came.
const TRIES: u32 = 2;

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// What it says of itself.
    pub(crate) present: Present,
    /// How long after the question was on the line the answer was whole.
    pub(crate) after: Duration,
}

/// What came of asking an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Each controller that answered; more than one have the same address.
    pub(crate) answers: Vec<Answer>,
    /// Whether something came that was no frame.
    pub(crate) is_broken: bool,
}

/// One address, asked once. Pure, with times as they pass on the caller's clock.
struct Asked {
    address: u8,
    sequence: u8,
    timing: Timing,
    receiver: Receiver<MAX_WIRE>,
    wire: Vec<u8>,
    sent: Duration,
    until: Duration,
    outcome: Outcome,
}

impl Asked {
    /// What to send is [`Asked::wire`], now.
    fn new(address: u8, sequence: u8, timing: Timing, now: Duration) -> Self {
        let wire = hello(address, sequence).unwrap_or_default();
        let sent = now.saturating_add(timing.time_of(wire.len()));
        Self {
            address,
            sequence,
            timing,
            receiver: Receiver::default(),
            wire,
            sent,
            until: sent.saturating_add(timing.reply),
            outcome: Outcome::default(),
        }
    }

    /// When it is over.
    fn deadline(&self) -> Duration {
        self.until
    }

    fn on_bytes(&mut self, bytes: &[u8], now: Duration) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (used, is_whole) = self.receiver.push(rest);
            rest = rest.get(used..).unwrap_or_default();
            if is_whole {
                self.on_frame(now);
            }
        }
        if self.receiver.pending() > 0 || self.outcome.is_broken {
            let gap = self.timing.time_of(GAP_BYTES).max(GAP_AT_LEAST);
            let end = self.sent.saturating_add(self.timing.reply).saturating_add(LISTEN_AT_MOST);
            self.until = self.until.max(now.saturating_add(gap)).min(end);
        }
    }

    fn on_frame(&mut self, now: Duration) {
        let Ok((header, plain)) = self.receiver.frame() else {
            self.outcome.is_broken = true;
            return;
        };
        let expected = Header {
            address: self.address,
            from: From::Station,
            kind: Kind::Hello,
            sequence: self.sequence,
        };
        // Of another address: late, and that one is asked already.
        if header != expected {
            return;
        }
        let body = plain.get(HEADER..).unwrap_or_default();
        match postcard::take_from_bytes::<Present>(body) {
            Ok((present, _)) => {
                let after = now.saturating_sub(self.sent);
                self.outcome.answers.push(Answer { present, after });
            }
            Err(_) => self.outcome.is_broken = true,
        }
    }

    fn finish(mut self) -> Outcome {
        self.outcome.is_broken |= self.receiver.pending() > 0;
        self.outcome
    }
}

/// The frame that asks; two zeros before it, as a gateway sends it.
fn hello(address: u8, sequence: u8) -> Option<Vec<u8>> {
    let header = Header { address, from: From::Gateway, kind: Kind::Hello, sequence };
    let mut plain = header.encode().to_vec();
    let hello = Hello { min: version::MIN, max: version::CURRENT };
    plain.extend(postcard::to_allocvec(&hello).ok()?);
    let mut wire = vec![0; frame::wire_length(plain.len()) + 1];
    let used = frame::encode(&plain, wire.get_mut(1..)?)?;
    wire.truncate(used + 1);
    Some(wire)
}

/// Asks these addresses, one after the other.
///
/// # Errors
/// Where the line cannot be opened, or breaks twice in a row.
pub(crate) async fn probe(
    settings: &LineSettings,
    addresses: impl Iterator<Item = u8>,
    reply: Duration,
    mut each: impl FnMut(u8, Outcome),
) -> io::Result<()> {
    let timing = Timing { byte: settings.time_of(1), reply };
    let mut line = Line::open(settings).await?;
    let (began, mut sequence) = (Instant::now(), 0);
    for address in addresses {
        let mut tries = 0;
        let outcome = loop {
            tries += 1;
            sequence = (sequence + 1) % SEQUENCES;
            match ask(&mut line, address, sequence, timing, began).await {
                Ok(outcome) if outcome.is_broken && tries < TRIES => {}
                Ok(outcome) => break outcome,
                // A device server may hang up after each answer.
                Err(_) if tries < TRIES => line = Line::open(settings).await?,
                Err(error) => return Err(error),
            }
        };
        each(address, outcome);
    }
    Ok(())
}

async fn ask(
    line: &mut Line,
    address: u8,
    sequence: u8,
    timing: Timing,
    began: Instant,
) -> io::Result<Outcome> {
    let mut asked = Asked::new(address, sequence, timing, began.elapsed());
    line.send(&asked.wire).await?;
    let mut buffer = [0; CHUNK];
    while began.elapsed() < asked.deadline() {
        let deadline = began + asked.deadline();
        // Cancel-safety: an abandoned read loses bytes that nobody waits for any more.
        let Ok(length) = tokio::time::timeout_at(deadline, line.receive(&mut buffer)).await else {
            break;
        };
        match length {
            Ok(length) => {
                asked.on_bytes(buffer.get(..length).unwrap_or_default(), began.elapsed());
            }
            // It answered and hung up.
            Err(_) if !asked.outcome.answers.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(asked.finish())
}

#[cfg(test)]
mod tests {
    use super::super::rig::rig;
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn asked() -> Asked {
        Asked::new(5, 3, Timing { byte: MS, reply: 20 * MS }, 100 * MS)
    }

    fn present(serial: u32) -> Present {
        Present { min: 1, max: 1, serial, wire: 256, is_keyed: true }
    }

    fn answer(header: Header, serial: u32) -> Vec<u8> {
        let mut plain = header.encode().to_vec();
        plain.extend(postcard::to_allocvec(&present(serial)).unwrap());
        let mut wire = vec![0; 64];
        let used = frame::encode(&plain, &mut wire).unwrap();
        wire.truncate(used);
        wire
    }

    fn header() -> Header {
        Header { address: 5, from: From::Station, kind: Kind::Hello, sequence: 3 }
    }

    /// docs/protocol.md §12, with sequence 1.
    #[test]
    fn what_is_sent_is_the_hello_of_the_specification() {
        let wire = hello(5, 1).unwrap();
        assert_eq!(wire, [0, 0, 9, 5, 1, 1, 1, 0xce, 0x44, 0x44, 0x79, 0]);
    }

    #[test]
    fn silence_costs_one_window() {
        let asked = asked();
        assert_eq!(asked.deadline(), 132 * MS);
        assert_eq!(asked.finish(), Outcome::default());
    }

    #[test]
    fn every_answer_of_the_address_counts_and_none_of_another() {
        let mut asked = asked();
        asked.on_bytes(&answer(Header { address: 4, ..header() }, 1), 115 * MS);
        asked.on_bytes(&answer(Header { sequence: 2, ..header() }, 1), 115 * MS);
        asked.on_bytes(&answer(header(), 7), 120 * MS);
        asked.on_bytes(&answer(header(), 8), 125 * MS);
        assert_eq!(asked.deadline(), 132 * MS);
        let outcome = asked.finish();
        assert!(!outcome.is_broken);
        let answer = |serial, after| Answer { present: present(serial), after };
        assert_eq!(outcome.answers, [answer(7, 8 * MS), answer(8, 13 * MS)]);
    }

    #[test]
    fn an_answer_that_has_begun_is_waited_for_and_babble_is_not_for_ever() {
        let mut asked = asked();
        let whole = answer(header(), 7);
        asked.on_bytes(&whole[..5], 131 * MS);
        assert_eq!(asked.deadline(), 151 * MS);
        asked.on_bytes(&whole[5..], 140 * MS);
        assert_eq!(asked.finish().answers.len(), 1);

        let mut asked = self::asked();
        let mut now = 110 * MS;
        while now < asked.deadline() {
            asked.on_bytes(&[9; 30], now);
            now += 10 * MS;
        }
        assert_eq!(asked.deadline(), 632 * MS);
        assert!(asked.finish().is_broken);
    }

    #[tokio::test]
    async fn the_stations_of_a_line_are_found_and_the_dead_are_not() {
        let (link, stations) = rig(4).await;
        stations.lock().unwrap()[1].is_dead = true;
        let mut found = Vec::new();
        let window = Duration::from_millis(300);
        let result = probe(&link.settings.line, 1..=5, window, |address, outcome| {
            assert!(!outcome.is_broken);
            found.extend(outcome.answers.iter().map(|answer| (address, answer.present)));
        });
        result.await.unwrap();
        let serials: Vec<(u8, u32, bool)> = found
            .iter()
            .map(|(address, present)| (*address, present.serial, present.is_keyed))
            .collect();
        assert_eq!(serials, [(1, 1, true), (3, 3, false), (4, 4, false)]);
        assert_eq!(found[0].1.wire, 256);
    }
}
