//! What the other server asks: the change log, and what belongs to a change of the role. Specified by
//! [`wire`](crate::replication::wire); for servers of the site alone.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use postern_protocol::RoleTerm;
use postern_protocol::pki::{PeerIdentity, PeerRole};
use postern_protocol::role::StoreName;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::document::parameter::GroupPath;
use super::document::{Binary, refused};
use super::{ApiError, Server, body, peer_of};
use crate::backup;
use crate::clock;
use crate::replication::wire::{
    self, Answer, Ask, Copy, Found, Heads, Known, KnownJournals, Merge, MergeDone, PAGE_BYTES,
    Pause, Paused,
};
use crate::role::{self, Belief};
use crate::store::change::{Head, Position};
use crate::store::snapshot::{self, Sent};
use crate::store::{NoPage, Store};

/// The longest that an answer waits for news.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The longest pause: a handover takes a fraction of it.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// Room that is left on the disk while a copy is sent: what is stored meanwhile needs some.
const ROOM_LEFT: u64 = 256 << 20;

/// The most positions in one question.
const MAX_POSITIONS: usize = 256;

pub(super) type Group = Result<Path<String>, PathRejection>;

/// Reads the change log from where a store stands.
///
/// The answer waits up to 10 s for news.
#[utoipa::path(
    post,
    operation_id = "readLog",
    path = "/v1/groups/{group}/log",
    tag = "server",
    security(("certificate" = ["server"])),
    params(GroupPath),
    request_body(content = inline(Binary), content_type = "application/octet-stream", description = "`Ask`: the store that asks, where its log ends, and how long the answer may wait."),
    responses(
        (status = 200, description = "`Answer`: what follows.", body = inline(Binary), content_type = "application/octet-stream"),
        refused::BetweenServers,
    )
)]
pub(super) async fn log(
    State(server): State<Arc<Server>>,
    group: Group,
    request: Request,
) -> Result<Vec<u8>, ApiError> {
    let (peer, ask): (_, Ask) = asked(&server, group, request).await?;
    if ask.store.server != peer.name {
        return Err(ApiError::forbidden(&peer, &format!("server {}", ask.store.server)));
    }
    let belief = acting(&server, ask.role_term)?;
    let role_term = belief.role().role_term;
    let wait = Duration::from_millis(u64::from(ask.wait_ms)).min(MAX_WAIT);
    let mut heads = server.embedded.heads();
    let mut roles = server.keeper.watch();
    let deadline = Instant::now() + wait;
    let mut confirmed = false;
    loop {
        let head = ask.head;
        let page = server.embedded.read(move |store| store.log_page(&head, PAGE_BYTES)).await?;
        let entries = match page {
            Ok(entries) => entries,
            Err(NoPage::TooOld) => return packed(&Answer::TooOld { role_term }),
            Err(NoPage::Differs | NoPage::Beyond) if head.role_term == role_term => {
                return Err(lost(&server, &belief, &peer, &head).await);
            }
            Err(NoPage::Differs | NoPage::Beyond) => {
                let end = server.embedded.read(Store::head).await?.position;
                return packed(&Answer::Parted { role_term, end });
            }
        };
        // Once, as it comes: an answer that waited while the store has asked anew would confirm what
        // is long surpassed, and look as if the store had fallen back.
        if !std::mem::replace(&mut confirmed, true) {
            server.confirmed(&belief, &ask.store, head.position);
        }
        if !entries.is_empty() || Instant::now() >= deadline {
            let last = entries.last().map_or(head.position, |entry| entry.head.position);
            let end = heads.borrow().position.max(last);
            return packed(&Answer::Page { role_term, entries, end });
        }
        // Cancel-safety: watches keep their marks; the log is read anew.
        tokio::select! {
            () = server.stop.cancelled() => return Err(ApiError::stopping()),
            _ = heads.wait_for(|known| known.position > head.position) => {}
            // What is waited for is a lock of the watch: it is given back before the role is read.
            () = until_over(&mut roles, role_term) => {
                return Err(ApiError::not_active(&server.keeper.belief()));
            }
            () = tokio::time::sleep_until(deadline) => {}
        }
    }
}

/// Waits until this server no longer acts under a role term.
async fn until_over(roles: &mut watch::Receiver<Arc<Belief>>, role_term: RoleTerm) {
    let over =
        |now: &Arc<Belief>| now.role().role_term != role_term || now.state() != role::State::Active;
    let _ = roles.wait_for(over).await;
}

/// The other server holds what this one wrote under its present role term, and this one does not.
async fn lost(
    server: &Arc<Server>,
    belief: &Belief,
    peer: &PeerIdentity,
    theirs: &Head,
) -> ApiError {
    let detail = format!(
        "{peer} holds entry {} of this reign's log, this server does not: its store was put back",
        theirs.position
    );
    server.put_back(belief, &peer.to_string(), &detail).await;
    ApiError::not_active(&server.keeper.belief())
}

/// Compares the change log at some positions.
#[utoipa::path(
    post,
    operation_id = "compareHeads",
    path = "/v1/groups/{group}/log/heads",
    tag = "server",
    security(("certificate" = ["server"])),
    params(GroupPath),
    request_body(content = inline(Binary), content_type = "application/octet-stream", description = "`Heads`: at most 256 positions."),
    responses(
        (status = 200, description = "`Found`: the heads there.", body = inline(Binary), content_type = "application/octet-stream"),
        refused::BadRequest,
        refused::Forbidden,
        refused::NotFound,
        refused::TooLarge,
        refused::Unavailable,
    )
)]
pub(super) async fn heads(
    State(server): State<Arc<Server>>,
    group: Group,
    request: Request,
) -> Result<Vec<u8>, ApiError> {
    let (_, Heads { positions }): (_, Heads) = asked(&server, group, request).await?;
    if positions.len() > MAX_POSITIONS {
        return Err(ApiError::bad_request(format!("more than {MAX_POSITIONS} positions")));
    }
    let heads = server
        .embedded
        .read(move |store| {
            positions.iter().map(|at| Ok(store.head_at(*at)?.ok())).collect::<Result<Vec<_>, _>>()
        })
        .await?;
    packed(&Found { heads })
}

/// Takes what a store alone holds.
#[utoipa::path(
    post,
    operation_id = "mergeStore",
    path = "/v1/groups/{group}/merge",
    tag = "server",
    security(("certificate" = ["server"])),
    params(GroupPath),
    request_body(content = inline(Binary), content_type = "application/octet-stream", description = "`Merge`: what it brings."),
    responses(
        (status = 200, description = "`MergeDone`: what became of it, once it is durable.", body = inline(Binary), content_type = "application/octet-stream"),
        refused::BetweenServers,
    )
)]
pub(super) async fn merge(
    State(server): State<Arc<Server>>,
    group: Group,
    request: Request,
) -> Result<Vec<u8>, ApiError> {
    let (peer, Merge { role_term, returned }): (_, Merge) = asked(&server, group, request).await?;
    acting(&server, role_term)?;
    let from = peer.name.clone();
    let done = server
        .embedded
        .write(move |store| store.merge(role_term, &from, &returned, clock::now()))
        .await?;
    match done {
        Ok((merged, _)) => packed(&MergeDone { merged }),
        Err(refused) => Err(ApiError::unavailable(refused.to_string())),
    }
}

/// Shows what is held of journals.
#[utoipa::path(
    post,
    operation_id = "listKnown",
    path = "/v1/groups/{group}/known",
    tag = "server",
    security(("certificate" = ["server"])),
    params(GroupPath),
    request_body(content = inline(Binary), content_type = "application/octet-stream", description = "`Known`: the role term that the asker knows."),
    responses(
        (status = 200, description = "`KnownJournals`: up to where each is held, and what is missing below.", body = inline(Binary), content_type = "application/octet-stream"),
        refused::BetweenServers,
    )
)]
pub(super) async fn known(
    State(server): State<Arc<Server>>,
    group: Group,
    request: Request,
) -> Result<Vec<u8>, ApiError> {
    let (_, Known { role_term }): (_, Known) = asked(&server, group, request).await?;
    acting(&server, role_term)?;
    let journals = server.embedded.read(Store::journals).await?;
    let journals =
        journals.into_iter().map(|item| (item.journal, item.stored, item.holes)).collect();
    packed(&KnownJournals { journals })
}

/// Sends the whole store.
///
/// One at a time, since each takes the room of a whole store.
#[utoipa::path(
    post,
    operation_id = "copyStore",
    path = "/v1/groups/{group}/copy",
    tag = "server",
    security(("certificate" = ["server"])),
    params(GroupPath),
    request_body(content = inline(Binary), content_type = "application/octet-stream", description = "`Copy`: the role term that the asker knows."),
    responses(
        (status = 200, description = "The store as a SQLite file; its length is announced.", body = inline(Binary), content_type = "application/octet-stream"),
        refused::BetweenServers,
    )
)]
pub(super) async fn copy(
    State(server): State<Arc<Server>>,
    group: Group,
    request: Request,
) -> Result<Response, ApiError> {
    let (peer, Copy { role_term }): (_, Copy) = asked(&server, group, request).await?;
    acting(&server, role_term)?;
    let turn = server.copying.clone().try_lock_owned();
    let turn = turn.map_err(|_| ApiError::unavailable("a full copy is under way already"))?;
    let unavailable = |error: &dyn std::fmt::Display| ApiError::unavailable(error.to_string());
    // The log grows for as long as the other server takes, and must not fill the disk.
    let free = backup::has_room(&server.dir, ROOM_LEFT).map_err(|error| unavailable(&error))?;
    let size = server.embedded.size().map_err(|error| unavailable(&error))?;
    // What the log grows by is moved into the store afterwards, and is then there twice.
    let limit = snapshot::log_limit(size).min(free.saturating_sub(ROOM_LEFT) / 2);
    let sent = server.embedded.send(limit, turn).await;
    let Sent { total, portions } = sent.map_err(|error| unavailable(&error))?;
    tracing::info!(%peer, bytes = total, "sending a full copy of the store");
    let stopped = server.stop.clone().cancelled_owned();
    let portions = ReceiverStream::new(portions).take_until(stopped);
    let bytes = portions.map(|portion| portion.map(Bytes::from));
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, total.to_string()),
    ];
    Ok((headers, Body::from_stream(bytes)).into_response())
}

/// Stops taking transactions for a moment, so that another server can become active without a loss.
#[utoipa::path(
    post,
    operation_id = "pauseStore",
    path = "/v1/groups/{group}/pause",
    tag = "server",
    security(("certificate" = ["server"])),
    params(GroupPath),
    request_body(content = inline(Binary), content_type = "application/octet-stream", description = "`Pause`: for how long at most, up to 10 s; 0 ends it."),
    responses(
        (status = 200, description = "`Paused`: where the log ends.", body = inline(Binary), content_type = "application/octet-stream"),
        refused::BetweenServers,
    )
)]
pub(super) async fn pause(
    State(server): State<Arc<Server>>,
    group: Group,
    request: Request,
) -> Result<Vec<u8>, ApiError> {
    let (peer, Pause { at_most_ms }): (_, Pause) = asked(&server, group, request).await?;
    let belief = server.active()?;
    let length = Duration::from_millis(u64::from(at_most_ms)).min(MAX_PAUSE);
    let until = (length > Duration::ZERO).then(|| Instant::now() + length);
    tracing::info!(%peer, ?length, "transactions pause for a handover");
    let end = server
        .embedded
        .write(move |store| {
            store.pause(until);
            store.head()
        })
        .await?
        .position;
    let (role_term, holder) = (belief.role().role_term, belief.me().clone());
    packed(&Paused { role_term, holder, end })
}

/// Who asks what, if it is a server of this site and the path names this server's group.
pub(super) async fn asked<T: DeserializeOwned + Send + 'static>(
    server: &Server,
    group: Group,
    request: Request,
) -> Result<(PeerIdentity, T), ApiError> {
    let peer = peer_of(&request)?;
    if peer.role != PeerRole::Server {
        return Err(ApiError::forbidden(&peer, "a server"));
    }
    let Path(group) = group.map_err(|error| ApiError::bad_request(error.body_text()))?;
    server.group(&group)?;
    Ok((peer, body::packed(request).await?))
}

/// The belief, if this server acts under that role term.
fn acting(server: &Server, role_term: RoleTerm) -> Result<Arc<Belief>, ApiError> {
    let belief = server.active()?;
    if belief.role().role_term != role_term {
        return Err(ApiError::not_active(&belief));
    }
    Ok(belief)
}

pub(super) fn packed<T: Serialize>(message: &T) -> Result<Vec<u8>, ApiError> {
    wire::pack(message).map_err(|error| ApiError::unavailable(error.to_string()))
}

impl Server {
    /// A store holds the log up to a position.
    fn confirmed(&self, belief: &Belief, store: &StoreName, position: Position) {
        let term = belief.role().role_term;
        self.with_acks(term, |acks| acks.confirm(store, position, Instant::now()));
        self.news.notify_one();
    }
}
