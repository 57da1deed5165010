//! A line with stations, and a gateway that collects from them as its daemon does, without a server to
//! deliver to.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postern_gateway::collector::{self, ClockSettings, Observer, Report, Settings, orders};
use postern_gateway::driver::line::{LineSettings as Port, Parity, StopBits};
use postern_gateway::driver::link::{
    Access, Link, Settings as LinkSettings, StationSettings, Stats, Tap,
};
use postern_gateway::driver::{Doorbell, LineCounters};
use postern_gateway::journal::{self, Capacity, Journal, Options, RESERVE_BYTES};
use postern_protocol::{ControllerId, Seq};
use postern_sim::line::{Line, LineHandle, LineSettings, Noise, Place};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Outcome;
use crate::station::{self, Answer, Answers, EVENT, Station};

/// How long anything may take that this program waits for.
const PATIENCE: Duration = Duration::from_mins(4);

const CAPACITY: Capacity = Capacity { entries: 1_000_000, bytes: 256 * 1024 * 1024 };
const CLOCK: ClockSettings = ClockSettings { limit: Duration::from_secs(10), set: false };

/// How long a station may take to begin its answer, unless the configuration says otherwise.
pub(crate) const REPLY: Duration = Duration::from_millis(20);

/// How often a station is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Polls {
    pub(crate) poll: Duration,
    pub(crate) quiet: Duration,
}

/// What an unset configuration gives.
pub(crate) const USUAL: Polls =
    Polls { poll: Duration::from_millis(250), quiet: Duration::from_millis(500) };

/// What there is to be.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) baud: u32,
    pub(crate) noise: Noise,
    pub(crate) seed: u64,
    pub(crate) polls: Polls,
    /// How many events each station has.
    pub(crate) backlogs: Vec<u64>,
    /// One more station is configured that is not there.
    pub(crate) with_dead: bool,
}

impl Plan {
    /// A line without errors.
    pub(crate) fn clean(baud: u32, backlogs: Vec<u64>) -> Self {
        Self { baud, noise: Noise::default(), seed: 1, polls: USUAL, backlogs, with_dead: false }
    }
}

/// What a backlog came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drained {
    pub(crate) events: u64,
    /// From the first request that was answered to the last event that became durable.
    pub(crate) time: Duration,
    /// Bytes that passed on the line, both ways.
    pub(crate) bytes: u64,
    /// Frames that were sent once more.
    pub(crate) repeats: u64,
}

impl Drained {
    pub(crate) fn rate(&self) -> f64 {
        crate::common::measure::rate(self.events, self.time)
    }

    /// The events' own part of all bytes.
    pub(crate) fn share(&self) -> f64 {
        use crate::common::measure::float;
        float(self.events * EVENT) / float(self.bytes)
    }
}

/// See the module.
pub(crate) struct Site {
    line: Line<Station>,
    answers: Answers,
    stats: Stats,
    runtime: Runtime,
    journal: Journal,
    collecting: JoinHandle<Result<(), journal::JournalError>>,
    cancel: CancellationToken,
}

/// Nobody looks.
struct Nobody;

impl Observer for Nobody {
    fn observe(&mut self, _: Report, _: LineCounters) {}
}

impl Site {
    /// Begins to collect into an empty journal.
    pub(crate) fn begin(plan: &Plan, directory: &Path) -> Outcome<Self> {
        let answers = Answers::default();
        let mut seats = Vec::new();
        let mut stations = Vec::new();
        for (number, events) in plan.backlogs.iter().enumerate() {
            let seat = Seat::new(number, plan)?;
            stations.push(Station::new(number, seat.key, *events, answers.clone())?);
            seats.push(seat);
        }
        if plan.with_dead {
            seats.push(Seat::new(seats.len(), plan)?);
        }
        let settings = LineSettings {
            baud: plan.baud,
            noise: plan.noise,
            seed: plan.seed,
            ..LineSettings::default()
        };
        let line = Line::on_pty(&settings, stations, None)?;
        let Place::Device(path) = line.place().clone() else {
            return Err("a pty is no device".into());
        };
        let journal = Journal::open(&Options {
            path: journal::path(directory),
            gateway: "bench".to_owned(),
            capacity: CAPACITY,
            syncs_per_second: None,
            reserve: RESERVE_BYTES,
        })?;
        let seen = Stats::new(seats.len());
        let driver = Link::new(
            LinkSettings {
                line: Port::Serial {
                    path,
                    baud: plan.baud,
                    parity: Parity::None,
                    stop_bits: StopBits::One,
                    rs485: false,
                },
                reply: REPLY,
                stations: seats.iter().map(Seat::station).collect(),
            },
            seen.clone(),
            Tap::default(),
        );
        let bell = Arc::new(Notify::new());
        let lines = seats.iter().map(|seat| seat.line(plan.polls, &bell)).collect();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let cancel = CancellationToken::new();
        let collecting = runtime.spawn(collector::collect(
            driver,
            lines,
            journal.clone(),
            bell,
            Arc::new(|| true),
            cancel.clone(),
        ));
        Ok(Self { line, answers, stats: seen, runtime, journal, collecting, cancel })
    }

    /// The line.
    pub(crate) fn handle(&self) -> LineHandle<Station> {
        self.line.handle()
    }

    /// All answers so far.
    pub(crate) fn answers(&self) -> Vec<Answer> {
        self.answers.so_far()
    }

    /// Waits until so many events are durable; what that took.
    pub(crate) fn drained(&self, events: u64) -> Outcome<Drained> {
        let line = self.handle();
        let mut state = self.journal.state();
        let waiting = async {
            state.wait_for(|state| state.head.seq >= Seq(events)).await?;
            Outcome::Ok((line.now(), line.counters()))
        };
        let waiting = async { tokio::time::timeout(PATIENCE, waiting).await };
        let (now, counters) = self.runtime.block_on(waiting)??;
        let first = self.answers().first().ok_or("nobody answered")?.at;
        let said: u64 = counters.stations.iter().map(|station| station.bytes).sum();
        let seen = self.stats.look();
        Ok(Drained {
            events,
            time: now.saturating_sub(first),
            bytes: counters.host_bytes + said,
            repeats: seen.stations.iter().map(|station| station.counters.repeats).sum(),
        })
    }

    /// How many entries are durable.
    pub(crate) fn head(&self) -> u64 {
        self.journal.state().borrow().head.seq.0
    }

    /// Waits until the event of this index is durable; when that was known, since the line began.
    pub(crate) fn durable(&self, station: usize, index: u64) -> Outcome<Duration> {
        let line = self.handle();
        let controller = ControllerId::link(station::serial(station));
        let mut state = self.journal.state();
        let waiting = async {
            loop {
                let now = line.now();
                let cursors = self.journal.reader().cursors()?;
                if cursors.get(&controller).is_some_and(|cursor| cursor.index.0 >= index) {
                    return Outcome::Ok(now);
                }
                state.changed().await?;
            }
        };
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, waiting).await })?
    }

    /// Ends everything and waits until the journal's file is let go.
    pub(crate) fn end(self) -> Outcome<()> {
        self.cancel.cancel();
        self.runtime.block_on(self.collecting)??;
        let closed = self.journal.closed();
        drop(self.journal);
        self.runtime.block_on(closed);
        self.line.stop().map_err(|_| "a station panicked".into())
    }
}

/// A station as the gateway is configured for it.
struct Seat {
    address: u8,
    serial: u32,
    key: [u8; 32],
}

impl Seat {
    /// With a key that is nobody else's.
    fn new(number: usize, plan: &Plan) -> Outcome<Self> {
        let mut random = postern_sim::random::Random::new(plan.seed, number as u64);
        let mut key = [0; 32];
        for chunk in key.chunks_mut(8) {
            chunk.copy_from_slice(&random.draw().to_le_bytes());
        }
        Ok(Self { address: station::address(number)?, serial: station::serial(number), key })
    }

    fn station(&self) -> StationSettings {
        let access = Some(Access::Keyed(self.key));
        StationSettings { address: self.address, serial: self.serial, access }
    }

    fn line(&self, polls: Polls, bell: &Arc<Notify>) -> collector::Line<Nobody> {
        collector::Line {
            controller: ControllerId::link(self.serial),
            cursor: None,
            settings: Settings { poll: polls.poll, quiet_poll: polls.quiet, clock: CLOCK },
            doorbell: Arc::new(Doorbell::of(bell)),
            observer: Nobody,
            // Nobody gives orders.
            orders: orders(bell).1,
        }
    }
}
