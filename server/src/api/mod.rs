//! The HTTPS interface, as specified in `docs/uplink.md`. Called by `serve`; every handler reads the
//! role from the keeper and leaves deciding to `role` and `store`.
//!
//! Invariants: nobody without a certificate of the site gets as far as a request; each handler
//! checks what the certificate is for; every refusal is a closed code with words; bodies, pages,
//! connections and waits are bounded.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::routing::{get, post};
use postern_protocol::pki::{PeerIdentity, PeerRole};
use tokio::sync::{Mutex, Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::backup::Minder;
use crate::peer::Peer;
use crate::replication::outlook::Filling;
use crate::replication::{Acks, FULL, Progress};
use crate::role::{Belief, Fixed, Keeper, Signer, State};
use crate::site::{Config, Member};
use crate::store::{StoreHandle, TransactionStore};

pub mod admin;
pub mod backup;
mod body;
pub mod controller;
mod journal;
pub mod listing;
pub mod parameter;
mod refusal;
mod replication;
mod role;
pub mod rules;
mod stall;
pub mod tls;

pub use refusal::ApiError;

/// How long it counts that a gateway said its journal is full: it says so with each request.
const FULL_COUNTS: Duration = Duration::from_secs(30);

/// How long what it said counts for how long the site can go on.
const PACE_COUNTS: Duration = Duration::from_hours(1);

/// Of how many gateways that is kept.
const MAX_FULL: usize = 4_096;

/// What every handler works with.
pub struct Server {
    /// Who this server is.
    pub config: Config,
    /// This server among the members.
    pub me: Member,
    /// The role.
    pub keeper: Keeper<Fixed>,
    /// The store.
    pub store: Arc<dyn TransactionStore>,
    /// The same, as what replicates, copies and backs up knows it.
    pub embedded: StoreHandle,
    /// Signs role documents.
    pub signer: Signer,
    /// The other server.
    pub peer: Peer,
    /// One failover at a time.
    pub changing: Mutex<()>,
    /// What is known of the other store.
    pub acks: std::sync::Mutex<Acks>,
    /// Told when the other store has confirmed something, or a gateway runs full.
    pub news: Notify,
    /// One full copy at a time.
    pub copying: Arc<Mutex<()>>,
    /// Where a full copy is made before it is sent.
    pub outgoing: PathBuf,
    /// Where one is received.
    pub incoming: PathBuf,
    /// How the active server's log is followed.
    pub progress: watch::Sender<Progress>,
    /// How full the gateways' journals are, and when they said so.
    pub full: std::sync::Mutex<BTreeMap<String, Said>>,
    /// Its backups.
    pub backups: Arc<Minder>,
    /// Ends the streams when the server stops.
    pub stop: CancellationToken,
}

/// What a gateway said of its journal, and when.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    percent: u8,
    lasts_s: Option<u64>,
    at: Instant,
}

impl Said {
    fn counts(&self, now: Instant) -> bool {
        self.ago(now) < FULL_COUNTS
    }

    fn ago(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at)
    }

    fn filling(&self, gateway: &str, now: Instant) -> Filling {
        let ago = self.ago(now).as_secs();
        let lasts_s = self.lasts_s.map(|lasts| lasts.saturating_sub(ago));
        Filling { gateway: gateway.to_owned(), percent: self.percent, lasts_s }
    }
}

/// The whole interface.
pub fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/v1/role", get(role::show).post(role::offer))
        .route("/v1/role/stream", get(role::stream))
        .route("/v1/groups/{group}/journals", get(listing::journals))
        .route("/v1/groups/{group}/journals/{journal}", get(journal::watermark))
        .route("/v1/groups/{group}/journals/{journal}/transactions", post(journal::store))
        .route("/v1/groups/{group}/controllers/{controller}/last", get(journal::last))
        .route("/v1/groups/{group}/transactions", get(listing::transactions))
        .route("/v1/groups/{group}/late", get(listing::late))
        .route("/v1/groups/{group}/log", post(replication::log))
        .route("/v1/groups/{group}/log/heads", post(replication::heads))
        .route("/v1/groups/{group}/merge", post(replication::merge))
        .route("/v1/groups/{group}/known", post(replication::known))
        .route("/v1/groups/{group}/copy", post(replication::copy))
        .route("/v1/groups/{group}/pause", post(replication::pause))
        .route("/v1/admin/status", get(admin::status))
        .route("/v1/admin/audit", get(listing::audit))
        .route("/v1/admin/failover", post(admin::failover))
        .route("/v1/admin/rules", post(rules::change))
        .route("/v1/admin/backups", get(backup::progress).post(backup::begin))
        .route("/v1/admin/controllers/{controller}", get(controller::show))
        .route("/v1/admin/reassign", post(controller::reassign))
        .fallback(refusal::no_such_path)
        .method_not_allowed_fallback(refusal::no_such_method)
        .with_state(server)
}

impl Server {
    /// How full the fullest gateway's journal is, in percent; what was said long ago does not count.
    pub fn fullest(&self, now: Instant) -> u8 {
        let full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        full.values().filter(|said| said.counts(now)).map(|said| said.percent).max().unwrap_or(0)
    }

    /// What each gateway said last of its journal. One that has nothing to send says nothing for long.
    pub fn filling(&self, now: Instant) -> Vec<Filling> {
        let full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = full.iter().filter(|(_, said)| said.ago(now) < PACE_COUNTS);
        recent.map(|(gateway, said)| said.filling(gateway, now)).collect()
    }

    /// A gateway says how full its journal is.
    fn note_full(&self, gateway: &str, percent: u8, lasts_s: Option<u64>) {
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        // Names of gateways that are gone.
        if full.len() >= MAX_FULL {
            full.retain(|_, said| said.counts(now));
        }
        if full.len() >= MAX_FULL && !full.contains_key(gateway) {
            return;
        }
        full.insert(gateway.to_owned(), Said { percent, lasts_s, at: now });
        drop(full);
        if percent >= FULL {
            self.news.notify_one();
        }
    }

    /// The name of the gateway that asks, if it is one of this group and the path names the group.
    fn gateway<'a>(&self, peer: &'a PeerIdentity, group: &str) -> Result<&'a str, ApiError> {
        match &peer.role {
            PeerRole::Gateway { group: own } if own == group => {}
            PeerRole::Gateway { .. } | PeerRole::Server | PeerRole::Admin => {
                return Err(ApiError::forbidden(peer, "a gateway of this group"));
            }
        }
        self.group(group)?;
        Ok(&peer.name)
    }

    /// The belief, if by it this server may do what only the active one may.
    fn active(&self) -> Result<Arc<Belief>, ApiError> {
        let belief = self.keeper.belief();
        match belief.state() {
            State::Active => Ok(belief),
            State::Starting | State::Standby | State::SetAside => {
                Err(ApiError::not_active(&belief))
            }
        }
    }

    /// Refuses a group that is not this server's.
    fn group(&self, group: &str) -> Result<(), ApiError> {
        if group == self.config.group {
            return Ok(());
        }
        Err(ApiError::not_found(format!("this server has no group {group:?}")))
    }
}

/// Refuses everyone but operators.
fn operator(peer: &PeerIdentity) -> Result<(), ApiError> {
    match peer.role {
        PeerRole::Admin => Ok(()),
        PeerRole::Server | PeerRole::Gateway { .. } => {
            Err(ApiError::forbidden(peer, "an operator"))
        }
    }
}

/// Who is at the other end: put there by `tls` for each connection.
fn peer_of(request: &Request) -> Result<PeerIdentity, ApiError> {
    request.extensions().get::<PeerIdentity>().cloned().ok_or_else(ApiError::nobody)
}
