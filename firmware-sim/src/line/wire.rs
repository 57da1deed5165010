//! The wire: who talks when, who hears what, and what becomes of it on the way. Pure.
//!
//! - **Time** is a [`Duration`] since the line began, exact to the nanosecond, and is moved on by
//!   [`Wire::advance`] alone; what is handed in happens at the time to which the wire was advanced
//!   last, or later.
//! - **The host** does not listen before it talks: its bytes go out as soon as those that it wrote
//!   before are gone.
//! - **A station** hears what was written at once when the last byte of that has passed, and its
//!   reply begins its turn-around later, whoever is talking then. The other stations hear it, too.
//! - **Silence**: a station that wants that is told when nobody has said anything for as long as it wants; what is
//!   then being said has broken the silence, though its last byte has not passed yet.
//! - **A collision** garbles every byte during which somebody else was sending: it is heard with a
//!   random value, by everybody but its own sender. Both senders' bytes are heard, where a real
//!   receiver would make one stream of garbage of them.
//! - **Everybody hears the same**, as noise is on the line and not in a receiver.
//!
//! Nothing is unbounded: what a host writes, what a station says and what the host has not taken
//! have limits, and what is over them is not sent or is lost, and counted.

use std::time::Duration;

use super::lane::{Lane, MAX_WRITE, Speed, Write};
use super::misbehaviour::{Manners, Sent};
use super::noise::{NoiseCounters, NoiseSource};
use super::{
    LineSettings, MAX_BAUD, MAX_BITS_PER_BYTE, MIN_BITS_PER_BYTE, Misbehaviour, Noise, Reply,
    Talker,
};
use crate::random::Random;

/// How much of what the host wrote waits for the line; above the 4 KiB of a serial device.
pub const MAX_WAITING: usize = 65_536;
/// How much waits for the host to take it. Above that it is lost, as it is in a receiver that
/// nobody reads.
pub const MAX_INBOX: usize = 65_536;
/// How many replies of a station wait for their turn; a station that is asked faster than it can
/// answer loses the rest.
pub const MAX_REPLIES: usize = 4;

/// What happened on the line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes that the host sent.
    pub host_bytes: u64,
    /// Bytes that the host could take.
    pub heard_by_host: u64,
    /// Bytes lost because nobody took them.
    pub overrun: u64,
    /// How long anybody was sending; over the time since the line began it is the utilisation.
    pub busy: Duration,
    /// Bytes that were garbled because two were sending.
    pub collided: u64,
    /// What noise did.
    pub noise: NoiseCounters,
    /// The stations, in their order.
    pub stations: Vec<StationCounters>,
}

/// What a station did on the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StationCounters {
    /// Bytes that it sent.
    pub bytes: u64,
    /// Replies that its [`Talker`] gave.
    pub replies: u64,
    /// Replies, or parts of them, that were over a limit.
    pub refused: u64,
    /// How often something was said that it did not hear, being deaf.
    pub missed: u64,
    /// How often its power was cut in mid-reply.
    pub power_cuts: u64,
    /// How often it babbled.
    pub babbles: u64,
}

/// A line in simulated time.
#[derive(Clone, Debug)]
pub struct Wire {
    echo: bool,
    speed: Speed,
    bits_per_byte: u32,
    /// The host's transmitter and then the stations'.
    lanes: Vec<Lane>,
    manners: Vec<Manners>,
    /// When each station is told of a silence, if there is one until then.
    silences: Vec<Option<u64>>,
    noise: NoiseSource,
    garbage: Random,
    now: u64,
    busy_until: u64,
    inbox: Vec<u8>,
    counters: Counters,
}

/// The host's transmitter.
const HOST: usize = 0;
/// Keeps the draws of collisions apart from all others of a seed.
const STREAM: u64 = 1 << 43;

impl Wire {
    /// A line with so many stations. Settings out of range are brought into it;
    /// [`LineSettings::check`] says what is wrong with them.
    pub fn new(settings: &LineSettings, stations: usize) -> Self {
        let bits_per_byte = settings.bits_per_byte.clamp(MIN_BITS_PER_BYTE, MAX_BITS_PER_BYTE);
        let speed = Speed {
            baud: u64::from(settings.baud.min(MAX_BAUD)),
            bits_per_byte: u64::from(bits_per_byte),
        };
        Self {
            echo: settings.echo,
            speed,
            bits_per_byte,
            lanes: vec![Lane::new(speed); stations + 1],
            manners: (0..stations).map(|index| Manners::new(settings.seed, index)).collect(),
            silences: vec![None; stations],
            noise: NoiseSource::new(&settings.noise, bits_per_byte, settings.seed),
            garbage: Random::new(settings.seed, STREAM),
            now: 0,
            busy_until: 0,
            inbox: Vec::new(),
            counters: Counters {
                stations: vec![StationCounters::default(); stations],
                ..Counters::default()
            },
        }
    }

    /// The host writes. Returns how many of the bytes there was room for; the others are not sent.
    pub fn host_sends(&mut self, bytes: &[u8], now: Duration) -> usize {
        let bytes = &bytes[..bytes.len().min(self.room())];
        if !bytes.is_empty() {
            let start = nanos(now).max(self.now);
            self.lanes[HOST].push(Write { bytes: bytes.to_vec(), start, ..Write::default() });
        }
        bytes.len()
    }

    /// How many bytes the host may write now.
    pub fn room(&self) -> usize {
        MAX_WAITING - self.lanes[HOST].waiting()
    }

    /// When something happens next, if nobody does anything until then: somebody has sent all of
    /// what was written at once, a station is told of a silence, or a babbler begins. Advance the wire to there.
    pub fn next_deadline(&self) -> Option<Duration> {
        let ends = self.lanes.iter().filter_map(|lane| lane.end_of(usize::MAX)).min();
        let babbles = self.manners.iter().filter_map(Manners::babbles_at).min();
        let silence = self.next_silence().map(|(at, _)| at);
        ends.into_iter().chain(silence).map(Duration::from_nanos).chain(babbles).min()
    }

    /// When the next `bytes` bytes for the host will have arrived, or the last ones of a reply;
    /// for a host that is to see a reply come in.
    pub fn next_arrival(&self, bytes: usize) -> Option<Duration> {
        let from = if self.echo { HOST } else { HOST + 1 };
        let ends = self.lanes[from..].iter().filter_map(|lane| lane.end_of(bytes));
        ends.min().map(Duration::from_nanos)
    }

    /// All that happens up to this time happens, in its order. `talkers` are the stations, always
    /// the same ones in the same order.
    pub fn advance<T: Talker>(&mut self, now: Duration, talkers: &mut [T]) {
        let now = nanos(now).max(self.now);
        loop {
            let babble = self.next_babble();
            let next = self.next_byte();
            if let Some((at, station)) = self.next_silence()
                && at <= now
                && next.is_none_or(|(end, _)| at <= end)
                && babble.is_none_or(|(begin, _)| at <= begin)
            {
                self.tell_of_silence(station, at, talkers);
                continue;
            }
            match (next, babble) {
                (_, Some((at, station))) if at <= now && next.is_none_or(|(end, _)| at < end) => {
                    self.now = self.now.max(at);
                    self.babble(station, at);
                }
                (Some((end, lane)), _) if end <= now => {
                    let until = babble.map_or(now, |(at, _)| at.min(now));
                    self.carry(lane, until, talkers);
                }
                _ => break,
            }
        }
        self.now = now;
    }

    /// What has arrived for the host: every byte whose last bit had passed by the time of the last
    /// [`Wire::advance`], and none twice.
    pub fn take_for_host(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.inbox)
    }

    /// What happened so far, in the bytes that have passed.
    pub fn counters(&self) -> Counters {
        Counters { noise: self.noise.counters(), ..self.counters.clone() }
    }

    /// How a station misbehaves; `None` where there is no such station.
    pub fn misbehaviour(&self, station: usize) -> Option<&Misbehaviour> {
        self.manners.get(station).map(Manners::misbehaviour)
    }

    /// A station misbehaves like this from now on. Returns false where there is no such station.
    pub fn set_misbehaviour(&mut self, station: usize, misbehaviour: Misbehaviour) -> bool {
        let now = Duration::from_nanos(self.now);
        self.manners.get_mut(station).map(|manners| manners.set(misbehaviour, now)).is_some()
    }

    /// The line is disturbed like this from now on.
    pub fn set_noise(&mut self, noise: &Noise) {
        self.noise.set(noise);
    }

    /// How long a byte takes.
    pub fn byte_time(&self) -> Duration {
        let bits = Duration::from_secs(u64::from(self.bits_per_byte));
        u32::try_from(self.speed.baud)
            .ok()
            .and_then(|baud| bits.checked_div(baud))
            .unwrap_or_default()
    }

    /// The byte that ends first, and whose it is.
    fn next_byte(&self) -> Option<(u64, usize)> {
        let lanes = self.lanes.iter().enumerate();
        lanes.filter_map(|(index, lane)| Some((lane.next_end()?, index))).min()
    }

    /// The station that is told of a silence first. A silence that is broken is none; when what breaks it has passed,
    /// another one begins.
    fn next_silence(&self) -> Option<(u64, usize)> {
        let silences = self.silences.iter().enumerate();
        let (at, station) = silences.filter_map(|(index, at)| Some(((*at)?, index))).min()?;
        (!self.lanes.iter().any(|lane| lane.breaks_silence(at))).then_some((at, station))
    }

    fn tell_of_silence<T: Talker>(&mut self, station: usize, at: u64, talkers: &mut [T]) {
        self.now = self.now.max(at);
        self.silences[station] = None;
        let talker = talkers.get_mut(station);
        if let Some(reply) = talker.and_then(|talker| talker.on_silence(Duration::from_nanos(at))) {
            self.reply(station, reply, at);
        }
    }

    fn next_babble(&self) -> Option<(u64, usize)> {
        let manners = self.manners.iter().enumerate();
        manners.filter_map(|(index, manners)| Some((nanos(manners.babbles_at()?), index))).min()
    }

    fn babble(&mut self, station: usize, at: u64) {
        let bytes = self.manners[station].babble(Duration::from_nanos(at));
        self.counters.stations[station].babbles += 1;
        self.queue(station, Write { bytes, start: at, ..Write::default() });
    }

    /// The bytes that this lane sends pass: one where it collides, otherwise as many as pass until
    /// then before anybody else begins.
    fn carry<T: Talker>(&mut self, index: usize, until: u64, talkers: &mut [T]) {
        let others = || self.lanes.iter().enumerate().filter(|(other, _)| *other != index);
        let begins = others().filter_map(|(_, lane)| lane.next_start()).min().unwrap_or(u64::MAX);
        let ended = others().map(|(_, lane)| lane.last_end()).max().unwrap_or(0);
        let lane = &mut self.lanes[index];
        let (Some(start), Some(end)) = (lane.next_start(), lane.next_end()) else { return };
        let collides = begins < end || ended > start;
        // At least one, as a byte that ends by then is why we are here.
        let count = if collides { 1 } else { lane.passed_by(until.min(begins)).max(1) };
        let end = lane.end_of(count).unwrap_or(end);

        let Some(write) = lane.front() else { return };
        let already = write.heard.len();
        let idle_bits = self.speed.bits(start.saturating_sub(self.busy_until));
        let bytes = &mut write.bytes[write.passed..write.passed + count];
        if collides {
            self.counters.collided += 1;
            for byte in &mut *bytes {
                *byte = self.garbage.draw().to_le_bytes()[0];
            }
        }
        self.noise.pass(bytes, idle_bits, &mut write.heard);
        if index != HOST || self.echo {
            let room = MAX_INBOX - self.inbox.len();
            let heard = &write.heard[already..];
            let (taken, lost) = heard.split_at(heard.len().min(room));
            self.inbox.extend_from_slice(taken);
            self.counters.heard_by_host += u64::try_from(taken.len()).unwrap_or(0);
            self.counters.overrun += u64::try_from(lost.len()).unwrap_or(0);
        }
        let sent = u64::try_from(count).unwrap_or(0);
        match index.checked_sub(1) {
            None => self.counters.host_bytes += sent,
            Some(station) => self.counters.stations[station].bytes += sent,
        }
        let busy = end.saturating_sub(start.max(self.busy_until));
        self.counters.busy += Duration::from_nanos(busy);
        self.busy_until = self.busy_until.max(end);
        self.now = self.now.max(end);
        if let Some(write) = lane.pass(count) {
            self.deliver(&write, index.checked_sub(1), end, talkers);
        }
    }

    /// What was written at once has passed: the stations hear it and answer.
    fn deliver<T: Talker>(
        &mut self,
        write: &Write,
        sender: Option<usize>,
        end: u64,
        talkers: &mut [T],
    ) {
        let now = Duration::from_nanos(end);
        for (station, talker) in talkers.iter_mut().take(self.manners.len()).enumerate() {
            if Some(station) == sender {
                if write.cut {
                    self.counters.stations[station].power_cuts += 1;
                    self.manners[station].forget();
                    talker.on_power_cut(now);
                }
            } else if !write.heard.is_empty() {
                if self.manners[station].misses() {
                    self.counters.stations[station].missed += 1;
                } else if let Some(reply) = talker.on_bytes(&write.heard, now) {
                    self.reply(station, reply, end);
                }
            }
            self.silences[station] =
                talker.silence().map(|silence| end.saturating_add(nanos(silence)));
        }
    }

    fn reply(&mut self, station: usize, mut reply: Reply, end: u64) {
        let counters = &mut self.counters.stations[station];
        counters.replies += 1;
        if reply.bytes.len() > MAX_WRITE {
            counters.refused += 1;
            reply.bytes.truncate(MAX_WRITE);
        }
        let Some(Sent { after, bytes, copies, cut }) = self.manners[station].send(reply) else {
            return;
        };
        let start = end.saturating_add(nanos(after));
        for _ in 0..copies {
            self.queue(station, Write { bytes: bytes.clone(), start, cut, ..Write::default() });
        }
    }

    fn queue(&mut self, station: usize, write: Write) {
        let lane = &mut self.lanes[station + 1];
        if lane.writes() < MAX_REPLIES {
            lane.push(write);
        } else {
            self.counters.stations[station].refused += 1;
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
