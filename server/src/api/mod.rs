//! The HTTPS interface, as specified in `docs/uplink.md`. Called by `serve`; every handler reads the
//! role from the keeper and leaves deciding to `role` and `store`.
//!
//! Invariants: nobody without a certificate of the site gets as far as a request; each handler
//! checks what the certificate is for; every refusal is a closed code with words; bodies, pages,
//! connections and waits are bounded.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use postern_protocol::pki::{PeerIdentity, PeerRole};
use tokio::sync::{Mutex, Notify, watch};
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::backup::Minder;
use crate::liveness::Guard;
use crate::peer::Peer;
use crate::replication::{Acks, Progress};
use crate::role::{Belief, Fixed, Keeper, Signer, State};
use crate::site::{Config, Member};
use crate::store::{StoreHandle, TransactionStore};
use crate::voting::Voting;

pub mod admin;
mod admission;
mod aside;
pub mod backup;
mod body;
pub mod controller;
mod document;
mod drain;
mod filling;
mod handover;
mod health;
mod journal;
pub mod listing;
pub mod parameter;
mod refusal;
mod replication;
mod role;
pub mod rules;
mod stall;
pub mod tls;
pub mod voters;

pub use document::document;
pub use health::Health;
pub use refusal::ApiError;
use voters::Voters;

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
    /// The voter, where the site has a third one.
    pub voting: Option<Arc<Voting>>,
    /// The machine of this server's lease and claims.
    pub guard: std::sync::Mutex<Guard>,
    /// One failover at a time.
    pub changing: Mutex<()>,
    /// What is known of the other store.
    pub acks: std::sync::Mutex<Acks>,
    /// Told when the other store has confirmed something, or a gateway runs full.
    pub news: Notify,
    /// One full copy at a time.
    pub copying: Arc<Mutex<()>>,
    /// Its data directory.
    pub dir: PathBuf,
    /// Where one is received.
    pub incoming: PathBuf,
    /// How the active server's log is followed.
    pub progress: watch::Sender<Progress>,
    /// How full the gateways' journals are, and when they said so.
    pub full: std::sync::Mutex<BTreeMap<String, filling::Said>>,
    /// Its backups.
    pub backups: Arc<Minder>,
    /// Ends the streams when the server stops.
    pub stop: CancellationToken,
}

/// Every route with what the document says of it: one registration for both, so there is no other way to add one.
fn routes() -> OpenApiRouter<Arc<Server>> {
    OpenApiRouter::with_openapi(document::base())
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::active))
        .routes(routes!(health::standby))
        .routes(routes!(role::show, role::offer))
        .routes(routes!(role::stream))
        .routes(routes!(listing::journals))
        .routes(routes!(journal::watermark))
        .routes(routes!(journal::store))
        .routes(routes!(journal::last))
        .routes(routes!(listing::transactions))
        .routes(routes!(listing::late))
        .routes(routes!(replication::log))
        .routes(routes!(replication::heads))
        .routes(routes!(replication::merge))
        .routes(routes!(replication::known))
        .routes(routes!(replication::copy))
        .routes(routes!(replication::pause))
        .routes(routes!(admin::status))
        .routes(routes!(listing::audit))
        .routes(routes!(admin::failover))
        .routes(routes!(rules::change))
        .routes(routes!(backup::progress, backup::begin))
        .routes(routes!(controller::show))
        .routes(routes!(controller::reassign))
        .routes(routes!(handover::hand_over))
        .routes(routes!(voters::raft))
        .routes(routes!(voters::order))
        .routes(routes!(voters::sight))
        .routes(routes!(voters::presence))
}

/// The whole interface.
pub fn router(server: Arc<Server>) -> Router {
    let (router, _) = routes().split_for_parts();
    router
        .fallback(refusal::no_such_path)
        .method_not_allowed_fallback(refusal::no_such_method)
        .with_state(server)
}

/// The interface of a witness.
pub fn witness(voters: Voters) -> Router {
    let (router, _) = OpenApiRouter::new()
        .routes(routes!(voters::raft))
        .routes(routes!(voters::order))
        .routes(routes!(voters::sight))
        .routes(routes!(voters::presence))
        .split_for_parts();
    router
        .route("/live", get(voters::live))
        .route("/ready", get(voters::ready))
        .fallback(refusal::no_such_path)
        .method_not_allowed_fallback(refusal::no_such_method)
        .with_state(voters)
}

impl Server {
    /// The name of the gateway that asks, if it is one of this group and the path names the group.
    fn gateway<'a>(&self, peer: &'a PeerIdentity, group: &str) -> Result<&'a str, ApiError> {
        match &peer.role {
            PeerRole::Gateway { group: own } if own == group => {}
            PeerRole::Gateway { .. }
            | PeerRole::Server
            | PeerRole::Witness
            | PeerRole::Admin
            | PeerRole::Monitor => {
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

    /// The belief, if by it this server may change what is set: without a lease another one may be doing so.
    fn claiming(&self) -> Result<Arc<Belief>, ApiError> {
        let belief = self.active()?;
        if self.claims() {
            return Ok(belief);
        }
        let message = "this server holds no lease: it stores transactions and changes nothing else";
        Err(ApiError::unavailable(message)
            .hint(Some("two of the three voters have to reach each other; see `status`")))
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
        PeerRole::Server | PeerRole::Witness | PeerRole::Gateway { .. } | PeerRole::Monitor => {
            Err(ApiError::forbidden(peer, "an operator"))
        }
    }
}

/// Who is at the other end: put there by `tls` for each connection.
fn peer_of(request: &Request) -> Result<PeerIdentity, ApiError> {
    request.extensions().get::<PeerIdentity>().cloned().ok_or_else(ApiError::nobody)
}
