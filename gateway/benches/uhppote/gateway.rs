//! The gateway as its daemon wires it, without a server to deliver to: driver, collector, journal,
//! listener, in a runtime like the daemon's. Nothing else here names its library.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use postern_gateway::collector::{self, ClockSettings, Line, Observer, Report, orders};
use postern_gateway::driver::uhppote::listener::{Pusher, listen};
use postern_gateway::driver::uhppote::{Settings, Target, Transport, Uhppote};
use postern_gateway::driver::{Doorbell, LineCounters};
use postern_gateway::journal::{Capacity, Journal, Options, RESERVE_BYTES};
use postern_protocol::{ControllerId, Index};
use tokio::net::UdpSocket;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Outcome;
use crate::bare::Wire;
use crate::simulator::Board;

/// How long anything may take that this program waits for.
const PATIENCE: Duration = Duration::from_mins(5);

/// What an unset configuration gives.
const CAPACITY: Capacity = Capacity { entries: 1_000_000, bytes: 256 * 1024 * 1024 };
const POLL: Duration = Duration::from_millis(500);
const QUIET_POLL: Duration = Duration::from_secs(2);
const CLOCK: ClockSettings = ClockSettings { limit: Duration::from_secs(10), set: false };
const TIMEOUT: Duration = Duration::from_millis(2_500);

/// See the module.
pub(crate) struct Gateway {
    runtime: Runtime,
    journal: Journal,
    pushers: BTreeMap<u32, Pusher>,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

/// Nobody looks.
struct Nobody;

impl Observer for Nobody {
    fn observe(&mut self, _: Report, _: LineCounters) {}
}

impl Gateway {
    /// Makes a journal in the directory; nothing is asked yet.
    pub(crate) fn open(directory: &Path) -> Outcome<Self> {
        std::fs::create_dir_all(directory)?;
        let options = Options {
            path: postern_gateway::journal::path(directory),
            gateway: "bench".to_owned(),
            capacity: CAPACITY,
            syncs_per_second: None,
            reserve: RESERVE_BYTES,
        };
        Ok(Self {
            runtime: tokio::runtime::Builder::new_multi_thread().enable_all().build()?,
            journal: Journal::open(&options)?,
            pushers: BTreeMap::new(),
            cancel: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    /// Begins to collect from these boards.
    pub(crate) fn collect(&mut self, boards: &[Board], wire: Wire) {
        for board in boards {
            let driver = Uhppote::new(Settings {
                target: Target {
                    serial: board.serial,
                    address: board.address.into(),
                    transport: match wire {
                        Wire::Udp => Transport::Udp,
                        Wire::Tcp => Transport::Tcp,
                    },
                    timeout: TIMEOUT,
                },
                zone: TimeZone::UTC,
                in_flight: 1,
            });
            let bell = Arc::new(Notify::new());
            let doorbell = Arc::new(Doorbell::of(&bell));
            let address = (*board.address.ip()).into();
            self.pushers.insert(board.serial, Pusher { doorbell: Arc::clone(&doorbell), address });
            // Nobody gives orders.
            let (_, orders) = orders(&bell);
            let line = Line {
                controller: ControllerId::uhppote(board.serial),
                cursor: None,
                settings: collector::Settings { poll: POLL, quiet_poll: QUIET_POLL, clock: CLOCK },
                doorbell,
                observer: Nobody,
                orders,
            };
            let (journal, cancel) = (self.journal.clone(), self.cancel.clone());
            let own_clock = Arc::new(|| true);
            let collecting =
                collector::collect(driver, vec![line], journal, bell, own_clock, cancel);
            self.tasks.spawn_on(collecting, self.runtime.handle());
        }
    }

    /// Begins to listen for pushes of the boards that it collects from; where.
    pub(crate) fn listen(&self) -> Outcome<SocketAddr> {
        let bound = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
        let socket = self.runtime.block_on(bound)?;
        let address = socket.local_addr()?;
        let refused = Arc::new(AtomicU64::new(0));
        let listening =
            listen(socket, self.pushers.clone(), refused, |_, _| {}, self.cancel.clone());
        self.tasks.spawn_on(listening, self.runtime.handle());
        Ok(address)
    }

    /// Waits until every event up to `newest` of each of these boards is durable; when that was.
    pub(crate) fn read_to(&self, boards: &[Board], newest: u32) -> Outcome<Instant> {
        let ids: Vec<_> = boards.iter().map(|board| ControllerId::uhppote(board.serial)).collect();
        let total = ids.len() as u64 * u64::from(newest);
        let waiting = async {
            let mut state = self.journal.state();
            // Cursors are read from the file: only where there are so many entries already.
            state.wait_for(|state| state.head.seq.0 >= total).await?;
            loop {
                let now = Instant::now();
                let cursors = self.journal.reader().cursors()?;
                let there = |id| {
                    let cursor = cursors.get(id);
                    cursor.is_some_and(|cursor| cursor.index >= Index(u64::from(newest)))
                };
                if ids.iter().all(there) {
                    return Ok(now);
                }
                state.changed().await?;
            }
        };
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, waiting).await? })
    }

    /// The last entry of the journal.
    pub(crate) fn head(&self) -> u64 {
        self.journal.state().borrow().head.seq.0
    }

    /// Notes when an entry above this one is durable, and that is known to who waits for it.
    pub(crate) fn above(&self, seq: u64) -> JoinHandle<Option<Instant>> {
        let mut state = self.journal.state();
        self.runtime.spawn(async move {
            let durable = state.wait_for(|state| state.head.seq.0 > seq).await.is_ok();
            durable.then(Instant::now)
        })
    }

    /// When that was.
    pub(crate) fn at(&self, noted: JoinHandle<Option<Instant>>) -> Outcome<Instant> {
        let waiting = async { tokio::time::timeout(PATIENCE, noted).await };
        Ok(self.runtime.block_on(waiting)??.ok_or("the journal ended")?)
    }

    /// Ends everything and waits until the journal's file is let go.
    pub(crate) fn close(self) {
        self.cancel.cancel();
        self.tasks.close();
        self.runtime.block_on(self.tasks.wait());
        let closed = self.journal.closed();
        drop(self.journal);
        self.runtime.block_on(closed);
    }
}
