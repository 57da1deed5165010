//! The daemon: opens the journal, starts one task per bus, the uplink and the control socket, and
//! stops them in order. A journal that a server contradicts is given a new name, and everything
//! starts again on it.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use postern_protocol::ControllerId;
use thiserror::Error;
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::board::{Board, BusLine, BusPlace, ControllerLine, ControllerObserver, Security};
use crate::clock;
use crate::collector::{self, Line, Orderer, OwnClock, collect, orders};
use crate::config::{self, Config};
use crate::control::{self, Control};
use crate::driver::link::{self, Access, Link, StationSettings, Stats, Tap};
use crate::driver::modbus::{self, Modbus};
use crate::driver::uhppote::listener::{Pusher, listen};
use crate::driver::uhppote::{Settings, Target, Uhppote};
use crate::driver::{Doorbell, Driver, LineCounters};
use crate::health::Tracker;
use crate::journal::{self, Cursor, Journal, JournalError, Options};
use crate::keys;
use crate::uplink::{BundleError, End, Uplink};

/// How often health is looked at while nobody asks, so that problems reach the log.
const HEALTH_INTERVAL: Duration = Duration::from_secs(5);

/// Why the daemon stopped, or did not start.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// The journal cannot be opened, or failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The bundle's key does not work.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A directory or socket cannot be used.
    #[error(
        "cannot use {path}\nhint: `data_dir` must be a directory, on a file system that is not read-only, and writable for this user"
    )]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The address for pushed events cannot be used.
    #[error(
        "cannot listen for events on {address}\nhint: another program may hold the port; change `listen` in section `uhppote`"
    )]
    Listen {
        /// Which.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// Runs until cancelled. `ready` is called once, when controllers are being read.
pub async fn run(
    config: Config,
    cancel: CancellationToken,
    ready: impl FnOnce(&Path),
) -> Result<(), DaemonError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| DaemonError::Io { path, source }
    };
    let directory = &config.data_dir;
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(io(directory))?;
    let _lock = lock(directory)?;
    let options = journal_options(&config);
    let mut ready = Some(ready);
    loop {
        let end = reign(&config, &options, &cancel, &mut ready).await?;
        match end {
            Ended::Cancelled => return Ok(()),
            Ended::Dead(reason) => return Err(JournalError::Dead { reason }.into()),
            Ended::Fork => {
                let aside = journal::fork(&options, &clock::stamp())?;
                tracing::error!(aside = %aside.display(),
                    "a server holds another past of this journal (a rolled-back, restored or cloned file); \
                     the file was set aside and its entries go on under a new journal id");
            }
        }
    }
}

/// The journal that a configuration names.
pub fn journal_options(config: &Config) -> Options {
    let bundle = &config.bundle;
    Options {
        path: journal::path(&config.data_dir),
        gateway: format!("{}/{}/{}", bundle.site, bundle.group, bundle.gateway),
        capacity: config.capacity,
        syncs_per_second: config.syncs_per_second,
        reserve: journal::RESERVE_BYTES,
    }
}

/// Takes a data directory for this process, until the file is dropped: creation, salvage and the change
/// of a forked journal need it, since the journal's own lock goes with the file.
pub fn lock(directory: &Path) -> Result<fs::File, DaemonError> {
    let path = directory.join("lock");
    // Not emptied: whoever is refused changes nothing, the time of its last change included.
    let lock = fs::OpenOptions::new().create(true).write(true).truncate(false).open(&path);
    let lock = lock.map_err(|source| DaemonError::Io { path: path.clone(), source })?;
    lock.try_lock().map_err(|_| JournalError::InUse { path: journal::path(directory) })?;
    Ok(lock)
}

/// How one life of the journal ended.
enum Ended {
    Cancelled,
    Fork,
    Dead(String),
}

/// One life of the journal.
async fn reign(
    config: &Config,
    options: &Options,
    cancel: &CancellationToken,
    ready: &mut Option<impl FnOnce(&Path)>,
) -> Result<Ended, DaemonError> {
    let journal = open(options)?;
    {
        let state = journal.state();
        let state = state.borrow();
        tracing::info!(journal = %state.id, head = %state.head.seq, safe = %state.safe(), "journal open");
    }
    let board = Board::default();
    for server in &config.bundle.servers {
        board.add_server(&server.name, &server.address);
    }
    let uplink = Uplink::new(Arc::new(config.bundle.clone()), journal.clone(), board.clone())?;
    let stop = cancel.child_token();
    let tasks = TaskTracker::new();
    let clock = board.clock.clone();
    let own_clock: OwnClock = Arc::new(move || clock.is_right());
    let lost = CancellationToken::new();
    let crew = Crew { tasks: tasks.clone(), stop: stop.clone(), lost: lost.clone() };
    let result = start(config, &journal, &board, &own_clock, &crew).await;
    if let Err(error) = result {
        stop.cancel();
        return Err(error);
    }
    if let Some(ready) = ready.take() {
        ready(&config.data_dir);
    }
    let end = supervise(uplink, &journal, &lost, &stop).await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    let ended = match end {
        End::Cancelled => Ended::Cancelled,
        End::Fork => Ended::Fork,
        End::JournalDead => {
            let reason = journal.state().borrow().dead.clone();
            Ended::Dead(reason.unwrap_or_else(|| "it cannot be read, see the log".to_owned()))
        }
    };
    // The writer thread ends with the last handle; the file is free when it has.
    let file = journal.closed();
    drop(journal);
    file.await;
    Ok(ended)
}

/// Opens the journal. One that is damaged is set aside, and what can be read of it goes on in a new
/// one; if that fails as well, or the new one is damaged too, the gateway stays down for people to see.
fn open(options: &Options) -> Result<Journal, JournalError> {
    let reason = match Journal::open(options) {
        Err(JournalError::Damaged { reason, .. }) => reason,
        opened => return opened,
    };
    let salvaged = journal::salvage(options, &reason, &clock::stamp())?;
    tracing::error!(
        code = "journal_salvaged",
        aside = %salvaged.aside.display(),
        entries = salvaged.entries,
        held = salvaged.held,
        missing = salvaged.missing,
        read_again = salvaged.read_again.len(),
        "the journal was damaged ({reason}); it was set aside, and what could be read goes on in a new one",
    );
    Journal::open(options)
}

async fn supervise(
    uplink: Uplink,
    journal: &Journal,
    lost: &CancellationToken,
    stop: &CancellationToken,
) -> End {
    let mut state = journal.state();
    let dead = async move {
        // Ends when the journal dies, or when the writer is gone altogether.
        let _ = state.wait_for(|state| state.dead.is_some()).await;
    };
    // Cancel-safety: whichever ends first ends the reign; the uplink's requests are idempotent.
    tokio::select! {
        end = uplink.run(stop.clone()) => end,
        () = dead => End::JournalDead,
        () = lost.cancelled() => End::JournalDead,
    }
}

/// What runs while a journal is open.
struct Crew {
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Somebody who needs the journal could not go on with it.
    lost: CancellationToken,
}

impl Crew {
    /// Runs what ends by itself only where the journal cannot be used any more. A controller that nobody
    /// reads must not look well: all start anew then.
    fn spawn_vital(&self, task: impl Future<Output = Result<(), JournalError>> + Send + 'static) {
        // Also where the task panics.
        let lost = self.lost.clone().drop_guard();
        self.tasks.spawn(async move {
            match task.await {
                Ok(()) => drop(lost.disarm()),
                Err(error) => tracing::error!(%error, "collecting stops"),
            }
        });
    }
}

/// A controller that is to be read, as the configuration has it.
struct Member {
    controller: ControllerId,
    /// Where it is, and over what.
    address: String,
    transport: &'static str,
    zone: String,
    place: Option<BusPlace>,
    security: Security,
    settings: collector::Settings,
}

/// What every bus that is started needs.
struct Starter<'a> {
    journal: &'a Journal,
    board: &'a Board,
    own_clock: &'a OwnClock,
    crew: &'a Crew,
    /// Where the journal says that each controller's log was read to.
    cursors: BTreeMap<ControllerId, Cursor>,
    /// Ways to give orders to the controllers of all buses.
    orderers: BTreeMap<ControllerId, Orderer>,
}

impl Starter<'_> {
    /// Puts the controllers of one bus on the board and has them read. The members stand in the order of
    /// the driver's stations; so do the doorbells that are answered with, one for each.
    fn spawn_bus<D: Driver + 'static>(
        &mut self,
        driver: D,
        bell: Arc<Notify>,
        members: Vec<Member>,
    ) -> Vec<Arc<Doorbell>> {
        let mut lines = Vec::with_capacity(members.len());
        for member in members {
            let id = member.controller;
            let doorbell = Arc::new(Doorbell::of(&bell));
            let (orderer, orders) = orders(&bell);
            self.orderers.insert(id, orderer);
            let cursor = self.cursors.get(&id).copied();
            let line = ControllerLine {
                address: member.address,
                transport: member.transport,
                zone: member.zone,
                place: member.place,
                security: member.security,
                // Before anybody can ask: its collector may not have had its first turn by then.
                report: collector::Report::starting(cursor),
                counters: LineCounters::default(),
                doorbell: Arc::clone(&doorbell),
                strayed: None,
            };
            self.board.add_controller(id, line);
            lines.push(Line {
                controller: id,
                cursor,
                settings: member.settings,
                doorbell,
                observer: ControllerObserver { board: self.board.clone(), controller: id },
                orders,
            });
        }
        let doorbells = lines.iter().map(|line| Arc::clone(&line.doorbell)).collect();
        let (journal, own_clock) = (self.journal.clone(), Arc::clone(self.own_clock));
        let stop = self.crew.stop.clone();
        self.crew.spawn_vital(collect(driver, lines, journal, bell, own_clock, stop));
        doorbells
    }

    /// A board of this make is a bus of its own. Answers with what a push of it wakes.
    fn spawn_board(&mut self, serial: u32, controller: &config::Controller) -> Option<Pusher> {
        let driver = Uhppote::new(Settings {
            target: Target {
                serial,
                address: controller.address,
                transport: controller.transport,
                timeout: controller.timeout,
            },
            zone: controller.zone.clone(),
            in_flight: controller.in_flight,
        });
        let member = Member {
            controller: ControllerId::uhppote(serial),
            address: controller.address.to_string(),
            transport: controller.transport.name(),
            zone: controller.zone_name.clone(),
            place: None,
            security: Security::Board,
            settings: collector::Settings {
                poll: controller.poll,
                quiet_poll: controller.quiet_poll,
                clock: controller.clock,
            },
        };
        let doorbell = self.spawn_bus(driver, Arc::default(), vec![member]).pop()?;
        Some(Pusher { doorbell, address: controller.address.ip() })
    }

    /// A line with its stations.
    fn spawn_link(&mut self, bus: &config::Bus, data_dir: &Path) {
        let mut stations = Vec::with_capacity(bus.stations.len());
        let mut members = Vec::with_capacity(bus.stations.len());
        for station in &bus.stations {
            let key = keys::load(data_dir, station.controller()).unwrap_or_else(|error| {
                let controller = station.controller();
                tracing::error!(%controller, %error, "its key cannot be used; it is not talked to");
                None
            });
            let (access, security) = match (station.plaintext, key) {
                (true, _) => (Some(Access::Plain), Security::Plaintext),
                (false, Some(key)) => (Some(Access::Keyed(*key.bytes())), Security::Sealed),
                (false, None) => (None, Security::NoKey),
            };
            let (address, serial) = (station.address, station.serial);
            stations.push(StationSettings { address, serial, access });
            members.push(Member {
                controller: station.controller(),
                address: bus.line.to_string(),
                transport: bus.line.transport(),
                zone: station.zone_name.clone(),
                place: Some(BusPlace { bus: bus.name.clone(), station: address }),
                security,
                settings: collector::Settings {
                    poll: station.poll,
                    quiet_poll: station.quiet_poll,
                    clock: station.clock,
                },
            });
        }
        let (stats, tap) = (Stats::new(stations.len()), Tap::default());
        self.board.add_bus(BusLine::new(bus, stats.clone(), tap.clone()));
        let settings = link::Settings { line: bus.line.clone(), reply: bus.reply, stations };
        self.spawn_bus(Link::new(settings, stats, tap), Arc::default(), members);
    }

    /// A line whose units speak Modbus; each of a unit's logs is collected by itself.
    fn spawn_modbus(&mut self, line: &config::Modbus) {
        let mut members = Vec::new();
        for each in &line.units {
            members.extend(each.unit.logs().map(|(_, controller)| Member {
                controller,
                address: line.wire.line.to_string(),
                transport: line.wire.line.transport(),
                zone: each.zone_name.clone(),
                place: Some(BusPlace { bus: line.name.clone(), station: each.unit.address }),
                // The protocol has nothing that could keep others out.
                security: Security::Board,
                settings: collector::Settings {
                    poll: each.poll,
                    quiet_poll: each.quiet_poll,
                    // It has none.
                    clock: collector::ClockSettings { limit: Duration::ZERO, set: false },
                },
            }));
        }
        let units = line.units.iter().map(|each| each.unit.clone()).collect();
        let driver = Modbus::new(modbus::Settings { wire: line.wire.clone(), units });
        self.spawn_bus(driver, Arc::default(), members);
    }

    /// Releases what is held of controllers that are not read any more.
    fn release_the_others(&self) -> Result<(), JournalError> {
        for controller in self.journal.reader().held_controllers()?.into_keys() {
            if self.orderers.contains_key(&controller) {
                continue;
            }
            let cursor = self.cursors.get(&controller).copied();
            let (journal, stop) = (self.journal.clone(), self.crew.stop.clone());
            self.crew.spawn_vital(async move {
                let release = collector::release_all(journal, controller, cursor);
                stop.run_until_cancelled(release).await.unwrap_or(Ok(()))
            });
        }
        Ok(())
    }
}

async fn start(
    config: &Config,
    journal: &Journal,
    board: &Board,
    own_clock: &OwnClock,
    crew: &Crew,
) -> Result<(), DaemonError> {
    let Crew { tasks, stop, .. } = crew;
    let cursors = journal.reader().cursors()?;
    let orderers = BTreeMap::new();
    let mut starter = Starter { journal, board, own_clock, crew, cursors, orderers };
    let mut pushers = BTreeMap::new();
    for (serial, controller) in &config.controllers {
        if let Some(pusher) = starter.spawn_board(*serial, controller) {
            pushers.insert(*serial, pusher);
        }
    }
    for bus in &config.buses {
        starter.spawn_link(bus, &config.data_dir);
    }
    for line in &config.modbus {
        starter.spawn_modbus(line);
    }
    starter.release_the_others()?;
    let Starter { orderers, .. } = starter;
    if let Some(address) = config.listen {
        let socket = UdpSocket::bind(address)
            .await
            .map_err(|source| DaemonError::Listen { address, source })?;
        let refused = Arc::clone(&board.refused_pushes);
        let strays = board.clone();
        let elsewhere = move |serial, from| {
            strays.note_stray(ControllerId::uhppote(serial), from, tokio::time::Instant::now());
        };
        tasks.spawn(listen(socket, pushers, refused, elsewhere, stop.clone()));
    }
    let control = Control {
        board: board.clone(),
        journal: journal.clone(),
        gateway: config.bundle.gateway.clone(),
        group: config.bundle.group.clone(),
        site: config.bundle.site.clone(),
        health: Arc::new(Mutex::new(Tracker::default())),
        orderers: Arc::new(orderers),
    };
    tasks.spawn(watch_health(control.clone(), journal::path(&config.data_dir), stop.clone()));
    let path = control::socket(&config.data_dir);
    let stop = stop.clone();
    let lost = |path: &Path, error: std::io::Error| {
        tracing::error!(path = %path.display(), %error, "no control socket; the command line cannot ask this gateway");
    };
    // Whoever hears that it is ready can ask it.
    match control::listen(&path) {
        Ok(listener) => {
            tasks.spawn(async move {
                if let Err(error) = control::serve(listener, &path, control, stop).await {
                    lost(&path, error);
                }
            });
        }
        Err(error) => lost(&path, error),
    }
    Ok(())
}

async fn watch_health(control: Control, journal: PathBuf, stop: CancellationToken) {
    control.board.set_salvaged(journal::salvages(&journal).pop());
    // Not at once: nothing has had the time to be well yet.
    let first = tokio::time::Instant::now() + HEALTH_INTERVAL;
    let mut ticks = tokio::time::interval_at(first, HEALTH_INTERVAL);
    loop {
        // Cancel-safety: a tick that is missed is made up by the next.
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        control.board.set_salvaged(journal::salvages(&journal).pop());
        let state = control.journal.state().borrow().clone();
        let mut health = control.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.check(&control.board, &state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A controller that nobody reads any more must not look well.
    #[tokio::test]
    async fn whoever_cannot_go_on_collecting_ends_the_reign() {
        let dead = || JournalError::Dead { reason: "a sync failed".to_owned() };
        let crew = || Crew {
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            lost: CancellationToken::new(),
        };
        let (fails, panics, ends) = (crew(), crew(), crew());
        fails.spawn_vital(async move { Err(dead()) });
        panics.spawn_vital(async { panic!("a collector") });
        ends.spawn_vital(async { Ok(()) });
        for crew in [&fails, &panics, &ends] {
            crew.tasks.close();
            crew.tasks.wait().await;
        }
        assert!(fails.lost.is_cancelled() && panics.lost.is_cancelled());
        assert!(!ends.lost.is_cancelled());
    }
}
