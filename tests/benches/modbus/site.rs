//! A gateway that collects from Modbus units as its daemon does, by its own configuration, without a server to deliver
//! to.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use postern_gateway::collector::{self, ClockSettings, Observer, Report, Settings, orders};
use postern_gateway::config::{Modbus as Config, Outline};
use postern_gateway::driver::modbus::{Modbus, Settings as DriverSettings};
use postern_gateway::driver::{Doorbell, LineCounters};
use postern_gateway::journal::{self, Capacity, Journal, Options, RESERVE_BYTES};
use postern_protocol::ControllerId;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Outcome;
use crate::field::Field;
use crate::kind::{self, Kind, UNITS};

/// How long anything may take that this program waits for.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often it looks whether that has happened.
const OFTEN: Duration = Duration::from_millis(5);

const CAPACITY: Capacity = Capacity { entries: 1_000_000, bytes: 256 * 1024 * 1024 };

/// The shortest pause that may be configured, in milliseconds.
pub(crate) const SHORTEST_POLL_MS: u64 = 50;

/// The gateway's configuration of a line: all units, asked as often as may be. `plug` says where it is.
pub(crate) fn configured(plug: &str, kind: &Kind) -> Outcome<Config> {
    let mut text = format!("bundle = \"gateway.json\"\ndata_dir = \"data\"\n[[modbus]]\n{plug}\n");
    text.push_str("name = \"bench\"\n");
    for unit in 1..=UNITS {
        writeln!(
            text,
            "[[modbus.unit]]\nunit = {unit}\nserial = {}\nprofile = \"{}\"\n\
             poll_ms = {SHORTEST_POLL_MS}\nquiet_poll_ms = {SHORTEST_POLL_MS}",
            kind::serial(unit),
            kind.name,
        )?;
    }
    // What is built in may not be written.
    let is_built_in = |name: &str| {
        postern_protocol::modbus::builtin::BUILT_IN.iter().any(|(known, _)| *known == name)
    };
    if !is_built_in(kind.name) {
        let name = format!("profile.{}", kind.name);
        let inner = kind.text.replace("[[", &format!("[[{name}."));
        write!(text, "[{name}]\n{inner}")?;
    }
    let mut outline = Outline::check(Path::new("bench.toml"), &text)?;
    outline.modbus.pop().ok_or_else(|| "there is no line".into())
}

/// The gateway's configuration of the line of a field.
pub(crate) fn on_line(field: &Field, kind: &Kind) -> Outcome<Config> {
    configured(&format!("serial = \"{}\"\nreply_ms = 200", field.path()?.display()), kind)
}

/// What the driver says of each log.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<LineCounters>>>);

impl Told {
    fn all(&self) -> Vec<LineCounters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Watcher {
    told: Told,
    place: usize,
}

impl Observer for Watcher {
    fn observe(&mut self, _: Report, counters: LineCounters) {
        let mut told = self.told.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = told.get_mut(self.place) {
            *place = counters;
        }
    }
}

/// See the module.
pub(crate) struct Site {
    began: Instant,
    told: Told,
    runtime: Runtime,
    journal: Journal,
    collecting: JoinHandle<Result<(), journal::JournalError>>,
    cancel: CancellationToken,
}

impl Site {
    /// Begins to collect into an empty journal. With `poll` each unit is asked again after that instead of what is
    /// configured.
    pub(crate) fn begin(
        config: &Config,
        poll: Option<Duration>,
        directory: &Path,
    ) -> Outcome<Self> {
        let journal = Journal::open(&Options {
            path: journal::path(directory),
            gateway: "bench".to_owned(),
            capacity: CAPACITY,
            syncs_per_second: None,
            reserve: RESERVE_BYTES,
        })?;
        let bell = Arc::new(Notify::new());
        let told = Told::default();
        let mut lines = Vec::new();
        for each in &config.units {
            for (_, controller) in each.unit.logs() {
                lines.push(collector::Line {
                    controller,
                    cursor: None,
                    settings: Settings {
                        poll: poll.unwrap_or(each.poll),
                        quiet_poll: poll.unwrap_or(each.quiet_poll),
                        clock: ClockSettings { limit: Duration::ZERO, set: false },
                    },
                    doorbell: Arc::new(Doorbell::of(&bell)),
                    observer: Watcher { told: told.clone(), place: lines.len() },
                    // Nobody gives orders.
                    orders: orders(&bell).1,
                });
            }
        }
        let silent = vec![LineCounters::default(); lines.len()];
        *told.0.lock().unwrap_or_else(PoisonError::into_inner) = silent;
        let units = config.units.iter().map(|each| each.unit.clone()).collect();
        let driver = Modbus::new(DriverSettings { wire: config.wire.clone(), units });
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let cancel = CancellationToken::new();
        let began = Instant::now();
        let collecting = runtime.spawn(collector::collect(
            driver,
            lines,
            journal.clone(),
            bell,
            Arc::new(|| true),
            cancel.clone(),
        ));
        Ok(Self { began, told, runtime, journal, collecting, cancel })
    }

    /// Waits until each unit's restart, if it says that it has restarted, is durable and its flag cleared: from then on
    /// there is nothing but looks. Answers with how long that took since the collector began.
    pub(crate) fn settled(&self, kind: &Kind) -> Outcome<Duration> {
        // Who is there, a look, the clearing once that is durable, another look.
        let enough = 2 * kind.requests.len() as u64 + 2;
        self.wait(|| self.counters().iter().all(|unit| unit.replies >= enough))?;
        Ok(self.began.elapsed())
    }

    fn wait(&self, mut happened: impl FnMut() -> bool) -> Outcome<()> {
        let began = Instant::now();
        while !happened() {
            if self.collecting.is_finished() {
                return Err("the collector has ended".into());
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("nothing came of it: {:?}", self.counters()).into());
            }
            std::thread::sleep(OFTEN);
        }
        Ok(())
    }

    /// What the driver says of each unit.
    pub(crate) fn counters(&self) -> Vec<LineCounters> {
        self.told.all()
    }

    /// Time-outs of all units, and how many answers came after one, or unasked.
    pub(crate) fn late(&self) -> (u64, u64) {
        let told = self.counters();
        let of = |count: fn(&LineCounters) -> u64| told.iter().map(count).sum();
        (of(|unit| unit.timeouts), of(|unit| unit.unexpected))
    }

    /// Time-outs of one unit.
    pub(crate) fn timeouts(&self, unit: u8) -> u64 {
        let told = self.counters();
        told.get(usize::from(unit) - 1).map_or(0, |unit| unit.timeouts)
    }

    /// The index of the newest record of a unit that is durable.
    pub(crate) fn index(&self, unit: u8) -> Outcome<u64> {
        let cursors = self.journal.reader().cursors()?;
        let controller = ControllerId::modbus(kind::serial(unit));
        Ok(cursors.get(&controller).map_or(0, |cursor| cursor.index.0))
    }

    /// Waits until a unit's record of this index is durable; when that was known.
    pub(crate) fn durable(&self, unit: u8, index: u64) -> Outcome<Instant> {
        let mut state = self.journal.state();
        let waiting = async {
            loop {
                state.borrow_and_update();
                let now = Instant::now();
                if self.index(unit)? >= index {
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
        Ok(())
    }
}
