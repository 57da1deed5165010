//! A running server: lock, store, role, interface and the exchange with the peer, put together.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postern_protocol::role::{Mode, SignatureError};
use tokio::sync::{Mutex, Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{self, Server, tls};
use crate::backup::Minder;
use crate::exit;
use crate::liveness::Guard;
use crate::peer::Peer;
use crate::reign;
use crate::replication::wire::{HandOver, HandedOver};
use crate::replication::{follow, tend};
use crate::role::{Fixed, Keeper, RoleError, Signer};
use crate::site::{INCOMING, Lock, Site, SiteError};
use crate::store::snapshot::forget;
use crate::store::{StoreError, StoreHandle, TransactionStore};
use crate::voting::{self, Voting};

/// How often the servers show each other their role documents: so that after a split they agree
/// soon, even where no gateway carries word between them.
const EXCHANGE: Duration = Duration::from_secs(3);

/// How long a handover may hold up an orderly stop.
const HANDOVER: Duration = Duration::from_secs(6);

/// How long connections have to end by themselves when the server stops.
pub(crate) const FAREWELL: Duration = Duration::from_secs(5);

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Its data directory.
    #[error("{0}")]
    Site(#[from] SiteError),
    /// Its store.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Its role document.
    #[error("{0}")]
    Role(#[from] RoleError),
    /// Its address.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

impl ServeError {
    /// The exit code for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Site(error) => error.exit_code(),
            Self::Store(error) | Self::Role(RoleError::Store(error)) => error.exit_code(),
            Self::Role(_) => exit::CONFIGURATION,
            Self::Listen { .. } => exit::LISTEN,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Site(error) => error.hint(),
            Self::Store(error) | Self::Role(RoleError::Store(error)) => error.hint(),
            Self::Role(RoleError::Signature(SignatureError::Site { .. }) | RoleError::NoGroup(_)) => Some(
                "this directory holds another site's or group's store.sqlite: put back its own, or restore a \
                 backup of it"
                    .into(),
            ),
            Self::Role(_) => Some("was this directory made by `postern-server init`?".into()),
            Self::Listen { source, .. } if source.kind() == ErrorKind::AddrInUse => Some(
                "another program uses the port: stop it, or change `listen` in server.toml".into(),
            ),
            Self::Listen { source, .. } if source.kind() == ErrorKind::AddrNotAvailable => Some(
                "this machine has no such address: change `listen` in server.toml to one of its \
                 own, or to 0.0.0.0 for all"
                    .into(),
            ),
            Self::Listen { .. } => {
                Some("change `listen` in server.toml to an address that this user may use".into())
            }
        }
    }
}

/// A server that runs until it is stopped.
pub struct Running {
    /// What its handlers work with.
    pub server: Arc<Server>,
    /// Where it listens.
    pub address: SocketAddr,
    /// Cancelled when the store failed for good.
    pub dead: CancellationToken,
    tasks: TaskTracker,
    _lock: Lock,
}

/// Starts a server on a data directory. When this returns it serves, and has asked its peer.
pub async fn start(dir: &Path) -> Result<Running, ServeError> {
    let site = Site::open(dir)?;
    if site.config.is_witness() {
        return Err(SiteError::IsWitness { dir: dir.to_owned() }.into());
    }
    let lock = Lock::take(dir)?;
    // What an earlier process did not finish.
    forget(&dir.join(INCOMING));
    let dead = CancellationToken::new();
    let config = site.config.clone();
    let embedded = StoreHandle::open(&site.store_path(), &config.name, dead.clone())?;
    let store: Arc<dyn TransactionStore> = Arc::new(embedded.clone());
    let keeper = Keeper::load(
        Fixed(store.clone()),
        site.authority.clone(),
        &config.site,
        &config.group,
        store.name(),
        site.floor.clone(),
    )
    .await?;
    let me = config.me().cloned().ok_or_else(|| RoleError::NoGroup(config.group.clone()))?;
    let tls = site.accept_config()?;
    let listen = |source| ServeError::Listen { address: config.listen, source };
    let listener = tls::listen(config.listen).map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;

    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let site_name = config.site.clone();
    let voting = Voting::start(&site, &tasks, &stop).await?;
    let guard = Guard::new(voting::timing(&config));
    let server = Arc::new(Server {
        me,
        keeper,
        store,
        embedded,
        signer: Signer::of(&site)?,
        peer: Peer::new(&site)?,
        voting: voting.clone(),
        guard: std::sync::Mutex::new(guard),
        changing: Mutex::new(()),
        acks: std::sync::Mutex::default(),
        news: Notify::new(),
        copying: Arc::default(),
        dir: dir.to_owned(),
        incoming: dir.join(INCOMING),
        progress: watch::Sender::default(),
        full: std::sync::Mutex::default(),
        backups: Arc::new(Minder::new(dir, &config)),
        stop: stop.clone(),
        config,
    });
    let router = api::router(server.clone());
    tasks.spawn(tls::accept(listener, tls, router, site_name, tasks.clone(), stop.clone()));

    // It listens already, so that two servers that start together can ask each other.
    exchange(&server).await;
    if !begins_anew(&server) {
        server.keeper.confirm().await;
    }
    if let Some(voting) = voting {
        tasks.spawn(reign::follow_voters(server.clone(), voting.clone(), stop.clone()));
        tasks.spawn(reign::guard(server.clone(), voting, stop.clone()));
    }
    tasks.spawn(server.backups.clone().keep_up(server.embedded.clone(), stop.clone()));
    tasks.spawn(exchange_forever(server.clone(), stop.clone()));
    tasks.spawn(follow(server.clone(), stop.clone()));
    tasks.spawn(tend(server.clone(), stop));
    Ok(Running { server, address, dead, tasks, _lock: lock })
}

/// Whether this server's reign has to begin anew by the voters' word before it acts: where the role
/// changes by itself, a reign ends with its process.
fn begins_anew(server: &Server) -> bool {
    let belief = server.keeper.belief();
    let automatic = belief.role().mode == Mode::Automatic;
    if automatic && server.voting.is_none() {
        tracing::error!(
            "the role changes by itself, and this server has no [witness] in server.toml: it goes on without a lease, and \
             nothing is safe"
        );
    }
    automatic && server.voting.is_some()
}

impl Running {
    /// Gives the role to the other server, where it may and can take it: before an orderly stop.
    pub async fn hand_over(&self) {
        let server = &self.server;
        let belief = server.keeper.belief();
        let role = belief.role();
        let may = server.claims() && role.mode == Mode::Automatic && !role.maintenance;
        let Some(member) = server.peer.member().filter(|_| may) else { return };
        if !role.in_sync.iter().any(|store| store.server == member.name) {
            return;
        }
        let path = format!("/v1/groups/{}/handover", belief.group());
        let order = HandOver { role_term: role.role_term };
        let handed: Result<Result<HandedOver, _>, _> =
            tokio::time::timeout(HANDOVER, server.peer.ask(&member, &path, &order)).await;
        match handed {
            Ok(Ok(HandedOver { role_term })) => {
                tracing::info!(peer = member.name, %role_term, "handed over");
            }
            Ok(Err(why)) => tracing::warn!(peer = member.name, %why, "not handed over"),
            Err(_) => tracing::warn!(peer = member.name, "not handed over in time"),
        }
    }

    /// Stops: no new connections, the present requests are answered, then it is over.
    pub async fn stop(self) {
        self.server.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(FAREWELL, self.tasks.wait()).await.is_err() {
            tracing::info!("connections did not end in time");
        }
    }
}

async fn exchange(server: &Server) {
    if let Some(member) = server.peer.member() {
        // How it went is kept and logged there.
        let _ = server.peer.exchange(&member, &server.keeper).await;
    }
}

async fn exchange_forever(server: Arc<Server>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(EXCHANGE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        // Cancel-safety: an exchange that is dropped has either stored a document or not.
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = exchange(&server) => {}
        }
    }
}
