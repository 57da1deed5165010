//! What operators ask of the server itself: status, failover.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use postern_protocol::RoleTerm;
use postern_protocol::role::{GroupRole, Mode, StoreName, WhenFull};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::document::refused;
use super::{ApiError, Server, body, operator, peer_of};
use crate::clock;
use crate::failover::{How, take_over};
use crate::peer::Link;
use crate::replication::Progress;
use crate::replication::outlook::{Outlook, outlook};
use crate::role::decide::By;
use crate::store::change::{Head, Position};
use crate::store::query::Counts;
use crate::voting::VotersStatus;

/// `GET /v1/admin/status`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The server.
    pub server: String,
    /// Its version.
    pub version: String,
    /// The site.
    pub site: String,
    /// The group.
    pub group: String,
    /// The id of its store.
    pub store: String,
    /// `starting`, `active`, `standby`, `set_aside`.
    pub state: String,
    /// Who is active by its role document.
    pub active: String,
    /// Under which role term.
    pub role_term: RoleTerm,
    /// Since when, RFC 3339 UTC.
    pub since: Option<String>,
    /// How the pair is run.
    pub mode: Mode,
    /// Whether somebody works on the servers.
    pub maintenance: bool,
    /// What happens when gateways run full while too few stores are in sync.
    pub when_full: WhenFull,
    /// How many stores must hold a transaction.
    pub copies: u8,
    /// How many there are to be, once there are as many in sync.
    pub copies_wanted: u8,
    /// The stores that do.
    pub in_sync: Vec<StoreName>,
    /// Totals of its store.
    pub counts: Counts,
    /// Whether its disk has no room for what is to be stored.
    #[serde(default)]
    pub store_full: bool,
    /// Where the change log ends: equal on both servers, they hold the same.
    pub log: Head,
    /// How the active server's log is followed; of a server that is not active.
    pub following: Option<Progress>,
    /// The other stores that follow; of the active server.
    pub followers: Vec<Follower>,
    /// How full the fullest gateway's journal is, in percent, as far as the active server was told.
    pub fullest_gateway: u8,
    /// How long the site can go on as it stands; of the active server, whom gateways tell.
    #[serde(default)]
    pub outlook: Option<Outlook>,
    /// The other server as this one sees it.
    pub peer: Option<PeerStatus>,
    /// Its backups, where it makes them by itself.
    #[serde(default)]
    pub backup: Option<crate::backup::Status>,
    /// The voters, where the site has three.
    #[serde(default)]
    pub voters: Option<VotersStatus>,
    /// Why this server, which would take over by itself, may not.
    #[serde(default)]
    pub barred: Option<String>,
    /// How long the group has been away from its preferred server.
    #[serde(default)]
    pub away: Option<Away>,
}

/// How long a group has been away from its preferred server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Away {
    /// The preferred server.
    pub preferred: String,
    /// Since when, RFC 3339 UTC.
    pub since: Option<String>,
    /// For how many seconds.
    pub for_s: u64,
    /// Whether that is longer than an operator wants.
    pub alarm: bool,
}

impl Away {
    /// Of a group, where it is.
    pub fn of(role: &GroupRole) -> Option<Self> {
        let (preferred, since) = (role.preferred.clone()?, role.away_since?);
        let for_ms = u64::try_from(clock::now().0.saturating_sub(since.0)).unwrap_or(0);
        Some(Self {
            preferred,
            since: clock::rfc3339(since),
            for_s: for_ms / 1_000,
            alarm: role.away_alarm_ms.is_some_and(|limit| for_ms > limit),
        })
    }
}

/// A store that follows the active server's log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Follower {
    /// Which.
    #[serde(flatten)]
    pub name: StoreName,
    /// How far it has confirmed the log.
    #[schema(value_type = u64)]
    pub confirmed: Position,
    /// How long ago it last asked, in milliseconds.
    pub seen_ms_ago: u64,
    /// Whether it counts.
    pub in_sync: bool,
}

/// The other server as one sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PeerStatus {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub address: String,
    /// Whether it answered when it was last asked.
    pub reachable: bool,
    /// Why not.
    pub failure: Option<Failure>,
}

/// Why a server could not be asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// A stable word.
    pub code: String,
    /// In words.
    pub message: String,
}

/// `POST /v1/admin/failover`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"to": "a", "force": false}))]
pub struct Failover {
    /// The server that is to become active; the request goes to it.
    pub to: String,
    /// Whether to go on although the other server cannot be asked.
    #[serde(default)]
    pub force: bool,
}

/// The answer to [`Failover`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FailedOver {
    /// Whether anything changed.
    pub changed: bool,
    /// The active server.
    pub active: String,
    /// Its role term.
    pub role_term: RoleTerm,
}

/// Shows the server, its store and how it sees the other one.
#[utoipa::path(
    get,
    operation_id = "showStatus",
    path = "/v1/admin/status",
    tag = "operator",
    security(("certificate" = ["operator"])),
    responses(
        (status = 200, description = "What it knows of itself.", body = Status),
        refused::Forbidden,
        refused::Unavailable,
    )
)]
pub(super) async fn status(
    State(server): State<Arc<Server>>,
    request: Request,
) -> Result<Json<Status>, ApiError> {
    operator(&peer_of(&request)?)?;
    let belief = server.keeper.belief();
    let role = belief.role();
    let (counts, log) = (server.store.counts().await?, *server.embedded.heads().borrow());
    let is_active = belief.state() == crate::role::State::Active;
    let now = tokio::time::Instant::now();
    let followers = if is_active {
        server.with_acks(role.role_term, |acks| acks.followers(now)).unwrap_or_default()
    } else {
        Vec::new()
    };
    let others = || role.in_sync.iter().filter(|store| *store != belief.me());
    let all_follow = server
        .with_acks(role.role_term, |acks| {
            others().all(|store| !acks.is_gone(store, now) && !acks.creeps(store, now))
        })
        .unwrap_or(false);
    let followers = followers
        .into_iter()
        .map(|(name, confirmed, ago)| Follower {
            in_sync: role.in_sync.contains(&name),
            name,
            confirmed,
            seen_ms_ago: u64::try_from(ago.as_millis()).unwrap_or(u64::MAX),
        })
        .collect();
    let peer = server.peer.member().map(|member| {
        let failure = match server.peer.link() {
            Link::Up(_) => None,
            Link::Unknown => {
                Some(Failure { code: "unknown".into(), message: "not asked yet".into() })
            }
            Link::Down { code, message } => Some(Failure { code: code.into(), message }),
        };
        let (name, address) = (member.name, member.address);
        PeerStatus { name, address, reachable: failure.is_none(), failure }
    });
    Ok(Json(Status {
        server: server.me.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        site: server.config.site.clone(),
        group: server.config.group.clone(),
        store: belief.me().store.clone(),
        state: belief.state().code().to_owned(),
        active: role.active.clone(),
        role_term: role.role_term,
        since: clock::rfc3339(role.since),
        mode: role.mode,
        maintenance: role.maintenance,
        when_full: role.when_full,
        copies: role.copies,
        copies_wanted: role.copies_wanted,
        in_sync: role.in_sync.clone(),
        counts,
        store_full: server.embedded.is_full(),
        log,
        following: (!is_active).then(|| server.progress.borrow().clone()),
        followers,
        fullest_gateway: server.fullest(now),
        outlook: is_active.then(|| outlook(role, all_follow, server.filling(now))),
        peer,
        backup: server.backups.status(clock::now()),
        voters: server.voting.as_ref().map(|voting| voting.status()),
        barred: server.barred(&belief).map(|why| why.to_string()),
        away: Away::of(role),
    }))
}

/// Makes this server the active one.
#[utoipa::path(
    post,
    operation_id = "failOver",
    path = "/v1/admin/failover",
    tag = "operator",
    security(("certificate" = ["operator"])),
    request_body(content = Failover, description = "Which server; the request goes to it."),
    responses(
        (status = 200, description = "Who is active now.", body = FailedOver),
        refused::BadRequest,
        refused::Forbidden,
        refused::Denied,
        refused::TooLarge,
        refused::Unavailable,
    )
)]
pub(super) async fn failover(
    State(server): State<Arc<Server>>,
    request: Request,
) -> Result<Json<FailedOver>, ApiError> {
    let peer = peer_of(&request)?;
    operator(&peer)?;
    let Failover { to, force } = body::json(request).await?;
    if to != server.me.name {
        let message =
            format!("this is server {}; {to} has to take the role itself", server.me.name);
        return Err(ApiError::denied(message, Some(format!("send the request to server {to}"))));
    }
    // The change runs to its end even if the operator's connection breaks in the middle.
    let task = server.clone();
    let change = tokio::spawn(async move {
        let server = task;
        let _one = server.changing.lock().await;
        let how = if force { How::Forced } else { How::Switchover };
        take_over(&server, how, &peer.to_string(), By::Operator).await
    });
    let changed = change.await.unwrap_or(Err(crate::failover::FailoverError::Starting))?;
    let belief = server.keeper.belief();
    let role = belief.role();
    Ok(Json(FailedOver { changed, active: role.active.clone(), role_term: role.role_term }))
}
