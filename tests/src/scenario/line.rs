//! A noisy line in simulated time: stations that run the firmware's handler, the gateway's side of each
//! as the driver runs it, and between them a wire that flips, loses and invents bytes. A million events
//! take seconds, and the same seed gives the same run.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use postern_gateway::driver::link::record_of;
use postern_protocol::link::gateway::{Access, Exchange, Failure, Peer, Settings, Step, Timing};
use postern_protocol::link::message::{Reply as Answer, Request};
use postern_protocol::link::noise::Psk;
use postern_protocol::{ControllerId, EpochId, Index, JournalId, RoleTerm, Seq};
use postern_sim::controller::happening::Swipe;
use postern_sim::ledger::Line as Recorded;
use postern_sim::line::{LineSettings, Noise, Reply, Talker, Wire};
use postern_sim::link::{LinkController, LogAfter, Security, Setup};

use crate::checker::{
    Evidence, GapAllowance, Journal, LedgerLine, ReignSeen, Row, StoreView, Verdict, check,
};
use crate::random::Random;

/// The line.
const BAUD: u32 = 115_200;
/// From the end of a request to the first bit of its answer.
const TURN_AROUND: Duration = Duration::from_millis(1);
/// How long the gateway waits for that.
const REPLY: Duration = Duration::from_millis(20);
/// So many events a station has at most that are not committed yet: its log never overflows.
const BACKLOG: u64 = 200;
const CAPACITY: usize = 1_000;
/// One request in so many is followed by a power cut of some station, before or after it answers.
const POWER_CUTS: u64 = 200;
/// One page in so many is read before the one before it is durable.
const EARLY: u64 = 5;
const JOURNAL: JournalId = JournalId([7; 16]);
/// When it all happens; any time after the year 2000.
const BEGINS_S: i64 = 1_790_000_000;

/// The bit error rate that is promised, and beside it bursts and bytes that are lost or made up.
const NOISE: Noise = Noise {
    bit_error_rate: 1e-4,
    burst_rate: 1e-5,
    burst_bits: 40,
    insert_rate: 1e-5,
    drop_rate: 1e-5,
};

type Ledger = Arc<Mutex<Vec<Recorded>>>;

/// A station on the wire.
struct Simulated {
    controller: LinkController,
    ledger: Ledger,
    /// It loses its power when it next speaks, or hears something.
    dies: bool,
}

impl Simulated {
    fn with<T>(
        &mut self,
        now: Duration,
        act: impl FnOnce(&mut LinkController, Timestamp, &mut Vec<Recorded>) -> T,
    ) -> T {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut self.controller, moment(now), &mut ledger)
    }
}

fn moment(now: Duration) -> Timestamp {
    let second = BEGINS_S.saturating_add(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    Timestamp::from_second(second).unwrap_or_default()
}

impl Talker for Simulated {
    fn on_bytes(&mut self, bytes: &[u8], now: Duration) -> Option<Reply> {
        let dies = std::mem::take(&mut self.dies);
        let reply = self.with(now, |controller, now, ledger| {
            let reply = controller.on_bytes(bytes, now, ledger).ok()?.map(<[u8]>::to_vec);
            if dies {
                // A ledger in memory takes everything.
                let _ = controller.power_cut(LogAfter::Kept, now, ledger);
            }
            reply
        })?;
        Some(Reply { after: TURN_AROUND, bytes: reply })
    }
}

/// What the gateway knows of a station.
struct Read {
    peer: Peer,
    controller: ControllerId,
    /// What is durable.
    cursor: Option<(EpochId, Index)>,
    /// What was read behind it and is not durable yet.
    pending: Vec<(Index, Vec<u8>)>,
}

/// What came of a run.
#[derive(Debug)]
pub struct NoisyLine {
    /// The judgement.
    pub verdict: Verdict,
    /// How long it took, on the line's clock.
    pub took: Duration,
    /// Frames that the gateway sent, and among them repeats.
    pub requests: u64,
    /// See `requests`.
    pub repeats: u64,
    /// Frames that were broken when they came.
    pub broken: u64,
    /// Frames with a right checksum that did not verify: what the checksum alone would have let through.
    pub unverified: u64,
    /// Bits that the wire flipped, bytes that it lost or made up.
    pub bits: u64,
    /// See `bits`.
    pub bytes: u64,
    /// Times that a station lost its power.
    pub power_cuts: u64,
}

impl fmt::Display for NoisyLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, repeats, broken, unverified, bits, bytes, power_cuts, .. } = self;
        write!(
            f,
            "line: {:.0} s on the line's clock, {requests} requests, {repeats} of them repeats, \
             {broken} broken answers, {unverified} unverified, {bits} bits flipped, \
             {bytes} bytes lost or made up, {power_cuts} power cuts",
            self.took.as_secs_f64()
        )
    }
}

/// Everything of a run.
struct Run {
    wire: Wire,
    stations: Vec<Simulated>,
    reads: Vec<Read>,
    exchange: Exchange,
    rows: Vec<Row>,
    random: Random,
    now: Duration,
    secret: u64,
    power_cuts: u64,
}

/// Polls `stations` stations until they have recorded `events` events in all and all of them are durable.
///
/// # Errors
/// Where the run makes no progress any more.
pub fn line_noise(
    stations: u8,
    events: u64,
    seed: u64,
    progress: &mut dyn FnMut(String),
) -> Result<NoisyLine, String> {
    let ledger = Ledger::default();
    let mut run = Run::new(stations, seed, &ledger);
    let share = events.div_ceil(u64::from(stations).max(1));
    let mut fruitless = 0u32;
    let mut shown = 0;
    loop {
        let mut is_done = true;
        for station in 0..run.stations.len() {
            run.people(station, share);
            let before = run.rows.len();
            run.turn(station).map_err(|failure| format!("station {station}: {failure:?}"))?;
            fruitless = if run.rows.len() > before { 0 } else { fruitless + 1 };
            is_done &= run.is_drained(station, share);
        }
        if run.rows.len() / 100_000 > shown {
            shown = run.rows.len() / 100_000;
            progress(format!("{} events durable, {:.0} s", run.rows.len(), run.now.as_secs_f64()));
        }
        if is_done {
            break;
        }
        if fruitless > 10_000 {
            return Err(format!("no progress after {} events", run.rows.len()));
        }
    }
    let ledger = std::mem::take(&mut *ledger.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(run.judge(&ledger))
}

impl Run {
    fn new(count: u8, seed: u64, ledger: &Ledger) -> Self {
        let settings = LineSettings { baud: BAUD, noise: NOISE, seed, ..LineSettings::default() };
        let mut random = Random::new(seed);
        let (mut stations, mut reads) = (Vec::new(), Vec::new());
        for address in 1..=count {
            let serial = 70_000 + u32::from(address);
            let mut key = [0; 32];
            for byte in &mut key {
                *byte = u8::try_from(random.below(256)).unwrap_or(0);
            }
            let setup = Setup {
                seed,
                serial,
                address,
                security: Security::Key(Psk::new(key)),
                capacity: CAPACITY,
                record_special_events: false,
                cards: vec![8_165_501, 8_165_502],
            };
            let controller = LinkController::new(setup);
            stations.push(Simulated { controller, ledger: Arc::clone(ledger), dies: false });
            let peer = Peer::new(Settings { address, serial, access: Access::Keyed(key) });
            let controller = ControllerId::link(serial);
            reads.push(Read { peer, controller, cursor: None, pending: Vec::new() });
        }
        let wire = Wire::new(&settings, stations.len());
        let timing = Timing { byte: wire.byte_time(), reply: REPLY };
        Self {
            wire,
            stations,
            reads,
            exchange: Exchange::new(timing),
            rows: Vec::new(),
            random,
            now: Duration::ZERO,
            secret: seed,
            power_cuts: 0,
        }
    }

    /// Some people come to a station, as long as it has not had its share of events.
    fn people(&mut self, station: usize, share: u64) {
        let (Some(simulated), Some(read)) =
            (self.stations.get_mut(station), self.reads.get(station))
        else {
            return;
        };
        let durable = read.cursor.map_or(0, |(_, index)| index.0);
        for _ in 0..self.random.below(60) {
            let newest = simulated.controller.device().log().newest().0;
            if newest >= share || newest - durable.min(newest) >= BACKLOG {
                return;
            }
            let card = 8_165_500 + u32::try_from(self.random.below(4)).unwrap_or(0);
            let (door, direction) = (1 + u8::try_from(newest % 4).unwrap_or(0), 1);
            let swipe = Swipe { card, door, direction };
            // A ledger in memory takes everything.
            let _ = simulated
                .with(self.now, |controller, now, ledger| controller.swipe(swipe, now, ledger));
        }
    }

    fn is_drained(&self, station: usize, share: u64) -> bool {
        let log = self.stations.get(station).map(|each| each.controller.device().log());
        let read = self.reads.get(station).and_then(|read| read.cursor);
        log.zip(read)
            .is_some_and(|(log, (_, index))| log.newest().0 >= share && index == log.newest())
    }

    /// One turn of a station: a page, and the commit of what was read.
    fn turn(&mut self, station: usize) -> Result<(), Failure> {
        if self.random.below(POWER_CUTS) == 0 {
            let place = self.random.place(self.stations.len());
            if let Some(simulated) = self.stations.get_mut(place) {
                simulated.dies = true;
                self.power_cuts += 1;
            }
        }
        let Some(read) = self.reads.get_mut(station) else { return Ok(()) };
        let step = read.peer.open(self.now);
        match self.converse(station, step) {
            Ok(()) => {}
            // A station may miss three in a row on such a line; its turn comes again.
            Err(Failure::Silent | Failure::Broken) => return Ok(()),
            Err(failure) => return Err(failure),
        }
        let Some(read) = self.reads.get_mut(station) else { return Ok(()) };
        let Some(welcome) = read.peer.welcome() else { return Ok(()) };
        let epoch = welcome.epoch;
        let (known, committed) = read.cursor.unwrap_or((epoch, Index(0)));
        if known != epoch {
            // No log is lost in this run.
            return Err(Failure::Life { epoch });
        }
        let behind = read.pending.last().map_or(committed, |(index, _)| *index);
        let request = Request::Poll {
            committed: committed.0,
            skip: behind.0 - committed.0,
            room: read.peer.room(),
        };
        let step = read.peer.ask(&request, Some(epoch), self.now);
        match self.converse(station, step) {
            Ok(()) => {}
            Err(Failure::Silent | Failure::Broken) => return Ok(()),
            Err(failure) => return Err(failure),
        }
        let Some(read) = self.reads.get_mut(station) else { return Ok(()) };
        let Some((Answer::Events { lost, .. }, events)) = read.peer.answer() else {
            return Err(Failure::Nonsense);
        };
        let first = behind.0 + 1 + lost;
        let page: Vec<_> = (first..).zip(events).map(|(i, e)| (Index(i), e.to_vec())).collect();
        let is_early = !page.is_empty() && self.random.below(EARLY) == 0;
        read.pending.extend(page);
        if !is_early {
            self.commit(station, epoch);
        }
        Ok(())
    }

    /// What was read is durable now.
    fn commit(&mut self, station: usize, epoch: EpochId) {
        let Some(read) = self.reads.get_mut(station) else { return };
        for (index, bytes) in read.pending.drain(..) {
            let Some(record) = record_of(index, &bytes) else { continue };
            let seq = self.rows.len() + 1;
            self.rows.push(Row {
                rowid: i64::try_from(seq).unwrap_or(i64::MAX),
                controller: read.controller,
                epoch,
                index: Some(index),
                after: None,
                journal: JOURNAL,
                seq: Seq(u64::try_from(seq).unwrap_or(u64::MAX)),
                kind: record.kind,
                occurred: None,
                time_source: None,
                time_trust: None,
                received: None,
                stored_at: None,
                door: record.door,
                direction: record.direction,
                credential: record.credential,
                digest: Some(record.raw.digest()),
                raw: record.raw,
                role_term: RoleTerm(1),
                flags: Vec::new(),
            });
            read.cursor = Some((epoch, index));
        }
    }

    /// Exchanges frames until there is an answer, or none.
    fn converse(&mut self, station: usize, first: Step) -> Result<(), Failure> {
        let mut step = first;
        loop {
            let window = match step {
                Step::Answered => return Ok(()),
                Step::Failed(failure) => return Err(failure),
                Step::Send(window) => window,
            };
            let Some(Read { peer, .. }) = self.reads.get_mut(station) else { return Ok(()) };
            let wire = peer.wire();
            self.wire.host_sends(wire, self.now);
            self.exchange.begin(wire.len(), window, self.now);
            step = loop {
                let deadline = self.exchange.deadline();
                let events = [self.wire.next_arrival(64), self.wire.next_deadline()];
                let next =
                    events.into_iter().flatten().min().map_or(deadline, |at| at.min(deadline));
                self.now = self.now.max(next);
                self.wire.advance(self.now, &mut self.stations);
                let bytes = self.wire.take_for_host();
                let secret = &mut self.secret;
                let mut secret = || {
                    *secret = secret.wrapping_add(1);
                    let mut bytes = [0x5a; 32];
                    bytes.iter_mut().zip(secret.to_le_bytes()).for_each(|(to, from)| *to = from);
                    bytes
                };
                let heard =
                    self.exchange.on_bytes(&bytes, self.now, peer, &mut secret, &mut |_, _, _| ());
                if let Some(step) = heard {
                    break step;
                }
                if self.now >= self.exchange.deadline() {
                    break self.exchange.on_deadline(peer);
                }
            };
        }
    }

    fn judge(self, ledger: &[Recorded]) -> NoisyLine {
        let lines = ledger.iter().filter_map(|line| match line {
            Recorded::Event(event) => Some(LedgerLine::Recorded {
                controller: event.controller,
                life: event.life,
                index: Index(event.index),
                raw: postern_protocol::transaction::RawRecord::new(event.raw.as_slice())
                    .unwrap_or_default(),
                at: None,
            }),
            Recorded::Restart(restart) => Some(LedgerLine::Restarted {
                controller: restart.controller,
                life: restart.life,
                event: "log-restarted".to_owned(),
            }),
            // Nobody on this line speaks it.
            Recorded::Modbus(_) => None,
        });
        let stored = Seq(u64::try_from(self.rows.len()).unwrap_or(u64::MAX));
        let server = "simulated".to_owned();
        let journal = Journal { journal: JOURNAL, stored, doubles: 0, holes: Vec::new() };
        let reign = ReignSeen {
            observer: "gateway".to_owned(),
            active: server.clone(),
            role_term: RoleTerm(1),
        };
        let evidence = Evidence {
            ledger: lines.collect(),
            active: StoreView { server, rows: self.rows, journals: vec![journal] },
            reigns: vec![reign],
            gaps: GapAllowance::None,
            ..Evidence::default()
        };
        let verdict = check(&evidence);
        let counters: BTreeMap<_, _> =
            self.reads.iter().map(|read| (read.controller, read.peer.counters())).collect();
        let noise = self.wire.counters().noise;
        let sum = |of: fn(&postern_protocol::link::gateway::Counters) -> u64| {
            counters.values().map(of).sum()
        };
        NoisyLine {
            verdict,
            took: self.now,
            requests: sum(|each| each.requests),
            repeats: sum(|each| each.repeats),
            broken: sum(|each| each.broken),
            unverified: sum(|each| each.unverified),
            bits: noise.bit_errors,
            bytes: noise.lost + noise.inserted,
            power_cuts: self.power_cuts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noisy_line_loses_nothing_and_doubles_nothing() {
        let run = line_noise(8, 8_000, 1, &mut |_| ()).unwrap();
        assert!(run.verdict.is_ok(), "{}", run.verdict);
        assert!(run.broken > 50 && run.repeats > 50 && run.power_cuts > 0, "{run}");
        assert_eq!(run.unverified, 0, "the checksum found all of it: {run}");
        assert_eq!(run.verdict.counts.lost, 0);
    }

    #[test]
    fn the_same_seed_gives_the_same_run() {
        let run = || line_noise(3, 900, 5, &mut |_| ()).unwrap().to_string();
        assert_eq!(run(), run());
    }
}
