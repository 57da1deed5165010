//! Sockets, lines and tasks around the controllers: the only place here with a network and a clock.
//!
//! - [`board`]: one board with its sockets; all that happens to it goes through one lock.
//! - `udp`, `tcp`: the two ways to ask it; `udp` has the address for broadcasts, too. `accept`: connections of any port.
//! - [`station`]: one controller on a line, as [`board`]; [`unit`]: one Modbus unit; [`line`]: the line.
//! - [`modbus`]: the TCP port with Modbus units behind it.
//! - `people`: the task that lets people swipe.
//! - `plug`: lines and ports, as they are started.
//! - `keeper`: the ledger, shared, and the end of everything when it cannot be written.
//!
//! Locks are taken in this order: people, line, board or station or unit, ledger. None is held across an await. Writing the
//! ledger blocks a runtime thread for the microseconds of one `write(2)` to the page cache, which
//! is the price of "in the ledger before on the wire".

mod accept;
pub mod board;
mod keeper;
pub mod line;
pub mod modbus;
mod people;
mod plug;
pub mod station;
mod tcp;
mod udp;
pub mod unit;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{BoardConfig, Config, LineConfig};
use crate::controller::Controller;
use crate::ledger::{Ledger, LedgerError};
use crate::line::{Line, LineError};
use crate::link::LinkController;
use crate::people::Crowd;
use board::Board;
use keeper::Keeper;
use line::{SiteLine, Voice};
use modbus::ModbusServer;
pub use people::People;
use plug::Prepared;
use station::LinkStation;
use udp::Station;
use unit::ModbusUnit;

/// How many swipes are generated before others get a turn at the controller.
const GENERATE_AT_ONCE: u32 = 256;

/// How often a port that is free for TCP is tried for UDP before giving up: each try fails only
/// where another process has just that UDP port, so this many in a row mean that all are taken.
const PORT_TRIES: usize = 64;

/// Why the simulator does not start, or why it stopped.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The ground truth cannot be kept.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A socket cannot be had.
    #[error("{what}: cannot listen on {address}")]
    Bind {
        /// For whom.
        what: String,
        /// Where.
        address: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A line cannot be had.
    #[error("line {name}")]
    Line {
        /// Which.
        name: String,
        /// Why not.
        #[source]
        source: LineError,
    },
    /// A Modbus device cannot be made.
    #[error("unit {serial}: {what}")]
    Unit {
        /// Which, by its serial number.
        serial: u32,
        /// Why not.
        what: String,
    },
}

/// The simulator is being stopped, or stops because its ledger cannot be written; nothing happens
/// any more.
#[derive(Debug, thiserror::Error)]
#[error("the simulator is stopping")]
pub struct Stopped;

/// Everything that runs.
#[derive(Debug)]
pub struct Site {
    boards: BTreeMap<u32, Arc<Board>>,
    stations: BTreeMap<u32, Arc<LinkStation>>,
    units: BTreeMap<u32, Arc<ModbusUnit>>,
    lines: BTreeMap<String, SiteLine>,
    servers: BTreeMap<String, Arc<ModbusServer>>,
    people: People,
    keeper: Arc<Keeper>,
    discovery: Option<SocketAddr>,
}

impl Site {
    /// All boards by serial number.
    pub fn boards(&self) -> &BTreeMap<u32, Arc<Board>> {
        &self.boards
    }

    /// All controllers of the link protocol by serial number.
    pub fn stations(&self) -> &BTreeMap<u32, Arc<LinkStation>> {
        &self.stations
    }

    /// All Modbus units by serial number, those on lines and those behind TCP ports.
    pub fn units(&self) -> &BTreeMap<u32, Arc<ModbusUnit>> {
        &self.units
    }

    /// All lines by name.
    pub fn lines(&self) -> &BTreeMap<String, SiteLine> {
        &self.lines
    }

    /// All TCP ports with Modbus units behind them, by name.
    pub fn servers(&self) -> &BTreeMap<String, Arc<ModbusServer>> {
        &self.servers
    }

    /// The people.
    pub fn people(&self) -> &People {
        &self.people
    }

    /// Where a broadcast reaches every board, if there is such a place.
    pub fn discovery(&self) -> Option<SocketAddr> {
        self.discovery
    }

    /// The ledger's path and how many lines it has.
    pub fn ledger(&self) -> (String, u64) {
        self.keeper.ledger()
    }
}

/// A running site. Dropping it leaves the tasks running, and stops the lines; call
/// [`Running::stop`].
#[derive(Debug)]
pub struct Running {
    site: Arc<Site>,
    stop: CancellationToken,
    tasks: TaskTracker,
    lines: Vec<Line<Voice>>,
}

impl Running {
    /// Reads the ledger back, lets happen what happened before anyone could connect, opens the
    /// sockets and lines and starts. When this returns, every controller answers.
    pub async fn start(config: &Config) -> Result<Self, HostError> {
        let mut controllers: Vec<_> = config
            .boards
            .iter()
            .map(|board| (board, Controller::new(board.setup.clone())))
            .collect();
        let stations = || config.lines.iter().flat_map(LineConfig::stations);
        let mut on_lines: Vec<_> =
            stations().map(|station| LinkController::new(station.setup.clone())).collect();
        let mut devices = plug::devices(config)?;
        let mut ledger = Ledger::open(&config.ledger, |line| {
            controllers.iter_mut().try_for_each(|(_, controller)| controller.resume(&line))?;
            on_lines.iter_mut().try_for_each(|controller| controller.resume(&line))?;
            devices.iter_mut().try_for_each(|device| device.resume(&line))
        })?;

        let mut prepared = Vec::new();
        for (board, mut controller) in controllers {
            let mut crowd = Crowd::new(config.seed, u64::from(board.setup.serial));
            // A resumed log has its past already.
            if controller.recorded() == 0 {
                for _ in 0..board.preload {
                    let swipe = crowd.swipe(&board.setup.cards);
                    controller.swipe(swipe, Timestamp::now(), &mut ledger)?;
                }
            }
            prepared.push((board, controller, crowd));
        }
        let mut prepared_on_lines = Vec::new();
        for (station, mut controller) in stations().zip(on_lines) {
            let mut crowd = Crowd::new(config.seed, u64::from(station.setup.serial));
            if controller.device().recorded() == 0 {
                for _ in 0..station.preload {
                    let swipe = crowd.swipe(&station.setup.cards);
                    controller.swipe(swipe, Timestamp::now(), &mut ledger)?;
                }
            }
            prepared_on_lines.push((controller, crowd));
        }
        plug::power_on(&mut devices, &mut ledger)?;

        let stop = CancellationToken::new();
        let keeper = Arc::new(Keeper::new(ledger, stop.clone()));
        let tasks = TaskTracker::new();
        let mut boards = BTreeMap::new();
        let mut reached = Vec::new();
        for (config_of_board, controller, crowd) in prepared {
            let (tcp, udp) = bind(config_of_board).await?;
            let board = Board::new(
                config.seed,
                &config_of_board.setup,
                controller,
                crowd,
                udp,
                Arc::clone(&keeper),
            )
            .await
            .map_err(|source| bind_error(config_of_board, source))?;
            let board = Arc::new(board);
            let station = Station::new(Arc::clone(&board), tasks.clone(), stop.clone());
            tasks.spawn(udp::serve(station.clone()));
            tasks.spawn(tcp::serve(Arc::clone(&board), tcp, tasks.clone(), stop.clone()));
            reached.push(station);
            boards.insert(board.serial(), board);
        }
        let discovery = match config.discovery {
            Some(address) => {
                let (socket, address) = bind_discovery(address)?;
                tasks.spawn(udp::serve_discovery(socket, reached, stop.clone()));
                Some(address)
            }
            None => None,
        };

        let site = plug::Site { config, keeper: &keeper, tasks: &tasks, stop: &stop };
        let prepared = Prepared { stations: prepared_on_lines, devices };
        let plug::Plugged { stations, units, lines, servers, running } =
            plug::plug_in(site, prepared).await?;

        let people = People::new(config.rate);
        let site =
            Arc::new(Site { boards, stations, units, lines, servers, people, keeper, discovery });
        tasks.spawn(people::run(Arc::clone(&site), config.seed, stop.clone()));
        tasks.spawn(tick(Arc::clone(&site), stop.clone()));
        Ok(Self { site, stop, tasks, lines: running })
    }

    /// What runs.
    pub fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// Cancelled when the site stops, by [`Running::stop`] or because the ledger failed.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Stops every task and line and waits for them. Says why, where the site stopped by itself.
    pub async fn stop(self) -> Result<(), HostError> {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        // A line's thread ends within a wake-up.
        for line in self.lines {
            if line.stop().is_err() {
                tracing::error!("the thread of a line panicked");
            }
        }
        self.site.keeper.take_failure().map_or(Ok(()), |error| Err(error.into()))
    }
}

/// Lets a second pass at every board.
async fn tick(site: Arc<Site>, stop: CancellationToken) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // Cancel-safety: neither branch holds anything.
        tokio::select! {
            () = stop.cancelled() => return,
            _ = seconds.tick() => {}
        }
        for board in site.boards.values() {
            board.on_second();
        }
    }
}

/// TCP and UDP at the same port.
async fn bind(board: &BoardConfig) -> Result<(TcpListener, UdpSocket), HostError> {
    let mut tries = if board.address.port() == 0 { PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        match bind_once(board.address).await {
            Ok(sockets) => return Ok(sockets),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
            Err(source) => return Err(bind_error(board, source)),
        }
    }
}

async fn bind_once(address: SocketAddrV4) -> io::Result<(TcpListener, UdpSocket)> {
    let tcp = TcpListener::bind(address).await?;
    let udp = UdpSocket::bind(tcp.local_addr()?).await?;
    Ok((tcp, udp))
}

/// A broadcast address can be bound like any other of this machine, and by several simulators at
/// once: each has every broadcast, as boards on one network do. So there can be two boards with one
/// serial number, each with a ledger of its own.
fn bind_discovery(address: SocketAddrV4) -> Result<(UdpSocket, SocketAddr), HostError> {
    let bound = || {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        // Of an address that is not for broadcasts one socket alone would hear.
        let shared = address.ip().octets()[3] == u8::MAX;
        // Any free port is to be free, not someone's who would share it.
        socket.set_reuse_address(shared && address.port() != 0)?;
        socket.bind(&address.into())?;
        socket.set_reuse_address(shared)?;
        let socket = UdpSocket::from_std(socket.into())?;
        let address = socket.local_addr()?;
        Ok((socket, address))
    };
    bound().map_err(|source| HostError::Bind {
        what: "discovery".to_owned(),
        address: address.to_string(),
        source,
    })
}

fn bind_error(board: &BoardConfig, source: io::Error) -> HostError {
    HostError::Bind {
        what: format!("controller {}", board.setup.serial),
        address: board.address.to_string(),
        source,
    }
}

/// A lock that a panic elsewhere does not take away: what it guards is consistent after each step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
