//! A line of simulated units, and a gateway that collects from them into a journal as its daemon does, all in this process
//! and without a server. The gateway can be ended at any moment and started again on the journal that it left.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern_gateway::collector::{self, ClockSettings, Observer, Report, Settings, orders};
use postern_gateway::driver::line::{LineSettings, Parity, StopBits};
use postern_gateway::driver::modbus::{
    Framing, Modbus, Settings as ModbusSettings, Unit, WireSettings,
};
use postern_gateway::driver::{Doorbell, LineCounters};
use postern_gateway::journal::{
    self, Append, Capacity, Journal, JournalError, Options, RESERVE_BYTES,
};
use postern_protocol::modbus::builtin::BUILT_IN;
use postern_protocol::modbus::profile::Profile;
use postern_protocol::{ControllerId, Seq, Transaction};
use postern_sim::config::Config;
use postern_sim::host::Running;
use postern_sim::host::unit::ModbusUnit;
use postern_sim::ledger::{Line, ModbusLine, What};
use postern_sim::line::Place;
use postern_tests::harness::wait_every;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Everything that is waited for comes about within this, on a loaded machine.
const WITHIN: Duration = Duration::from_secs(8);
/// Short against a poll.
const LOOK_EVERY: Duration = Duration::from_millis(3);
/// As fast as a usual line can be.
const BAUD: u32 = 115_200;
/// Longer than the silence that ends a frame (1.75 ms), by a timer's tick.
const GAP: Duration = Duration::from_millis(4);
const POLL: Duration = Duration::from_millis(15);
const CLOCK: ClockSettings = ClockSettings { limit: Duration::from_secs(10), set: false };

/// Profiles that are not built in: a ring, and a latch that says its card in two requests' worth of registers.
pub(super) const PROFILES: &str = r#"
[profile.ring]
model = "a controller with a ring"
[[profile.ring.readers]]
door = 1
direction = "out"
events = { ring = { counter = { table = "input_register", address = 0 }, table = "input_register", first = 100, records = 16, words = 4 } }
card = { table = "input_register", address = 1, count = 3, format = "wiegand34", align = "left", bytes = "low" }

[profile.apart]
model = "a counter far from its card"
[[profile.apart.readers]]
door = 1
events = { sequence = { counter = { table = "holding_register", address = 0 } } }
card = { table = "holding_register", address = 40, count = 2, format = "raw" }

[profile.words]
model = "a latch in registers alone, and two readers of one shape"
[[profile.words.readers]]
door = 1
events = { latch = { flag = { table = "holding_register", address = 0 }, clear = 0 } }
card = { table = "holding_register", address = 10, count = 4, format = "raw" }
[[profile.words.readers]]
door = 2
events = { latch = { flag = { table = "holding_register", address = 20 }, clear = 0 } }
card = { table = "holding_register", address = 30, count = 4, format = "raw" }
"#;

/// How the gateway and the units are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plug {
    /// A serial device.
    Pty,
    /// Modbus TCP.
    Tcp,
    /// The port of a serial device server.
    Server,
}

/// What there is to be.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) plug: Plug,
    /// Where chance begins.
    pub(super) seed: u64,
    /// Unit number and profile; a unit's serial number is [`serial`].
    pub(super) units: Vec<(u8, &'static str)>,
    /// Of these the gateway alone knows.
    pub(super) absent: Vec<(u8, &'static str)>,
    pub(super) reply: Duration,
    pub(super) late: Duration,
    /// How many entries the journal holds.
    pub(super) entries: u64,
}

impl Plan {
    pub(super) fn new(plug: Plug, units: &[(u8, &'static str)]) -> Self {
        Self {
            plug,
            seed: 1,
            units: units.to_vec(),
            absent: Vec::new(),
            reply: Duration::from_millis(120),
            late: Duration::from_millis(120),
            entries: 100_000,
        }
    }
}

/// The serial number of a unit.
pub(super) fn serial(unit: u8) -> u32 {
    80_000 + u32::from(unit)
}

/// The log of what a unit shows without a number.
pub(super) fn shown(unit: u8) -> ControllerId {
    ControllerId::modbus(serial(unit))
}

/// The log of a unit's first reader, which counts.
pub(super) fn counted(unit: u8) -> ControllerId {
    ControllerId::modbus_reader(serial(unit), 1)
}

/// How each log stood when its collector said so last.
type Seen = Arc<Mutex<BTreeMap<ControllerId, (Report, LineCounters)>>>;

struct Watcher {
    controller: ControllerId,
    seen: Seen,
}

impl Observer for Watcher {
    fn observe(&mut self, report: Report, counters: LineCounters) {
        self.seen.lock().unwrap().insert(self.controller, (report, counters));
    }
}

struct Gateway {
    journal: Journal,
    collecting: JoinHandle<Result<(), JournalError>>,
    cancel: CancellationToken,
}

/// See the module.
pub(super) struct Site {
    plan: Plan,
    directory: TempDir,
    sim: Running,
    line: LineSettings,
    units: Vec<Unit>,
    seen: Seen,
    /// All that the journal had so far: it gives up what was delivered.
    entries: Mutex<Vec<Transaction>>,
    gateway: Option<Gateway>,
    // Last: whatever runs on it is dropped before.
    runtime: Runtime,
}

impl Site {
    /// Starts the units, and a gateway with an empty journal.
    pub(super) fn begin(plan: Plan) -> Self {
        let mut site = Self::prepare(plan);
        site.start_gateway();
        site
    }

    /// The units alone.
    pub(super) fn prepare(plan: Plan) -> Self {
        let directory = tempfile::Builder::new().prefix("postern-").tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let config = Config::parse(&directory.path().join("sim.toml"), &written(&plan)).unwrap();
        let sim = runtime.block_on(Running::start(&config)).unwrap();
        let line = match plan.plug {
            Plug::Tcp => LineSettings::Tcp { address: sim.site().servers()["line"].address() },
            Plug::Pty | Plug::Server => match sim.site().lines()["line"].place() {
                Place::Tcp(address) => LineSettings::Tcp { address: *address },
                Place::Device(path) => LineSettings::Serial {
                    path: path.clone(),
                    baud: BAUD,
                    parity: Parity::None,
                    stop_bits: StopBits::One,
                    rs485: false,
                },
            },
        };
        let known = profiles();
        let unit = |(address, profile): &(u8, &str)| Unit {
            address: *address,
            serial: serial(*address),
            profile: Arc::clone(&known[*profile]),
        };
        let units = plan.units.iter().chain(&plan.absent).map(unit).collect();
        let seen = Seen::default();
        let entries = Mutex::default();
        Self { plan, directory, sim, line, units, seen, entries, gateway: None, runtime }
    }

    /// Starts a gateway on the journal that there is, or on a new one.
    pub(super) fn start_gateway(&mut self) {
        assert!(self.gateway.is_none(), "there is one already");
        let Plan { reply, late, entries, plug, .. } = self.plan;
        let journal = Journal::open(&Options {
            path: self.journal_path(),
            gateway: "units".to_owned(),
            capacity: Capacity { entries, bytes: 64 * 1024 * 1024 },
            syncs_per_second: None,
            reserve: RESERVE_BYTES,
        })
        .unwrap();
        let framing = match plug {
            Plug::Pty | Plug::Server => Framing::Rtu,
            Plug::Tcp => Framing::Tcp,
        };
        let wire = WireSettings { line: self.line.clone(), framing, reply, gap: GAP, late };
        let driver = Modbus::new(ModbusSettings { wire, units: self.units.clone() });
        let bell = Arc::new(Notify::new());
        let cursors = journal.reader().cursors().unwrap();
        let log = |controller| collector::Line {
            controller,
            cursor: cursors.get(&controller).copied(),
            settings: Settings { poll: POLL, quiet_poll: POLL, clock: CLOCK },
            doorbell: Arc::new(Doorbell::of(&bell)),
            observer: Watcher { controller, seen: Arc::clone(&self.seen) },
            // Nobody gives orders.
            orders: orders(&bell).1,
        };
        let logs = self.units.iter().flat_map(Unit::logs).map(|(_, id)| log(id)).collect();
        let cancel = CancellationToken::new();
        let collecting = collector::collect(
            driver,
            logs,
            journal.clone(),
            bell,
            Arc::new(|| true),
            cancel.clone(),
        );
        let collecting = self.runtime.spawn(collecting);
        self.gateway = Some(Gateway { journal, collecting, cancel });
    }

    /// Ends the gateway, in the middle of whatever it does, and waits until its journal's file is let go.
    pub(super) fn end_gateway(&mut self) {
        let Some(Gateway { journal, collecting, cancel }) = self.gateway.take() else { return };
        cancel.cancel();
        self.runtime.block_on(collecting).unwrap().unwrap();
        let closed = journal.closed();
        drop(journal);
        self.runtime.block_on(closed);
    }

    fn journal_path(&self) -> PathBuf {
        journal::path(self.directory.path())
    }

    pub(super) fn sim(&self) -> &postern_sim::host::Site {
        self.sim.site()
    }

    pub(super) fn unit(&self, unit: u8) -> &Arc<ModbusUnit> {
        &self.sim().units()[&serial(unit)]
    }

    /// How many requests a unit has heard so far.
    pub(super) fn requests(&self, unit: u8) -> u64 {
        self.unit(unit).look(|state| state.unit.counters().requests)
    }

    pub(super) fn journal(&self) -> &Journal {
        &self.gateway.as_ref().expect("a gateway that runs").journal
    }

    /// What the journal has, or had, of a log, in its order.
    pub(super) fn log(&self, of: ControllerId) -> Vec<Transaction> {
        let mut all = self.entries.lock().unwrap();
        let reader = self.journal().reader();
        let next = |all: &Vec<_>| Seq(all.len() as u64 + 1);
        while let Some(batch) = reader.batch(next(&all), 1_024, 1 << 20).unwrap() {
            assert_eq!(batch.before.seq.next(), next(&all), "the ring went on unread");
            all.extend(batch.iter().map(|(_, bytes)| Transaction::decode(bytes).unwrap()));
        }
        all.iter().filter(|entry| entry.origin.controller() == of).cloned().collect()
    }

    /// Somebody else appends to the journal.
    pub(super) fn append(&self, append: Append) {
        let controller = append.controller;
        self.runtime.block_on(self.journal().append(append)).unwrap();
        // Before what is delivered is given up.
        self.log(controller);
    }

    /// What the ledger has of a unit, or of its reader.
    pub(super) fn truth(&self, of: ControllerId) -> Vec<ModbusLine> {
        let text = std::fs::read_to_string(self.directory.path().join("ledger.jsonl")).unwrap();
        // The last may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let line = |line: &str| match serde_json::from_str(line).unwrap() {
            Line::Modbus(line) => Some(line),
            Line::Event(_) | Line::Restart(_) => None,
        };
        whole.lines().filter_map(line).filter(|line| line.controller == of).collect()
    }

    /// How many lines the ledger has of this.
    pub(super) fn told(&self, of: ControllerId, what: What) -> usize {
        self.truth(of).iter().filter(|line| line.what == what).count()
    }

    /// What the gateway's present run, or its last, counted on a log's line.
    pub(super) fn counters(&self, of: ControllerId) -> LineCounters {
        self.seen.lock().unwrap().get(&of).map(|(_, counters)| *counters).unwrap_or_default()
    }

    /// How a log stood when that was told last.
    pub(super) fn report(&self, of: ControllerId) -> Option<Report> {
        self.seen.lock().unwrap().get(&of).map(|(report, _)| report.clone())
    }

    /// Waits until it is so.
    pub(super) fn wait(&self, what: &str, mut is: impl FnMut(&Self) -> bool) {
        let waited = wait_every(LOOK_EVERY, what, WITHIN, || Ok(is(self).then_some(())));
        if let Err(error) = waited {
            let seen = self.seen.lock().unwrap();
            let stands = seen.iter().map(|(controller, (report, counters))| {
                let (lines, entries) = (self.truth(*controller), self.log(*controller));
                format!(
                    "\n{controller}: {report:?} {counters:?}\nshown {lines:#?}\nkept {entries:#?}"
                )
            });
            panic!("{error}{}", stands.collect::<String>());
        }
    }

    /// Waits until the journal has so many entries of a log.
    pub(super) fn kept(&self, of: ControllerId, entries: usize) {
        let what = format!("{entries} entries of {of}");
        self.wait(&what, |site| site.log(of).len() >= entries);
    }

    /// Waits until a unit has heard so many requests more.
    pub(super) fn asked(&self, unit: u8, more: u64) {
        let upto = self.requests(unit) + more;
        self.wait(&format!("unit {unit} to be asked"), |site| site.requests(unit) >= upto);
    }

    /// Ends everything.
    pub(super) fn end(mut self) {
        self.end_gateway();
        self.runtime.block_on(self.sim.stop()).unwrap();
    }
}

/// The simulator's configuration.
fn written(plan: &Plan) -> String {
    let plug = match plan.plug {
        Plug::Pty => format!("pty = \"line.tty\"\nbaud = {BAUD}\nreply_us = 300"),
        Plug::Tcp => "tcp = \"127.0.0.1:0\"".to_owned(),
        Plug::Server => "tcp = \"127.0.0.1:0\"\nframing = \"rtu\"\nreply_us = 300".to_owned(),
    };
    let unit = |(unit, profile): &(u8, &str)| {
        let serial = serial(*unit);
        format!("[[line.unit]]\nunit = {unit}\nserial = {serial}\nprofile = \"{profile}\"\n")
    };
    let units: String = plan.units.iter().map(unit).collect();
    let seed = plan.seed;
    format!(
        "seed = {seed}\nledger = \"ledger.jsonl\"\n{PROFILES}\n[[line]]\nname = \"line\"\n\
         protocol = \"modbus\"\n{plug}\n{units}"
    )
}

/// What people write of devices; of a door's times, what a test can wait for.
fn profiles() -> BTreeMap<String, Arc<Profile>> {
    #[derive(Deserialize)]
    struct File {
        profile: BTreeMap<String, Profile>,
    }
    let built_in = BUILT_IN.iter().map(|(name, text)| {
        let profile: Profile = toml::from_str(text).unwrap();
        ((*name).to_owned(), profile)
    });
    let own = toml::from_str::<File>(PROFILES).unwrap().profile;
    let ready = |(name, mut profile): (String, Profile)| {
        for door in &mut profile.doors {
            (door.debounce_ms, door.grant_ms, door.held_ms) = (20, 700, Some(500));
        }
        profile.check().unwrap();
        (name, Arc::new(profile))
    };
    built_in.chain(own).map(ready).collect()
}
