//! The role document: shown, offered, and told as it changes.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt as _};
use postern_protocol::pki::{PeerIdentity, PeerRole};
use postern_protocol::role::SignedRole;
use tokio_stream::wrappers::WatchStream;

use super::document::{RoleEvent, refused};
use super::{ApiError, Server, body, peer_of};

/// How often an idle stream says that it lives: a gateway takes silence of some of these for a
/// broken connection.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Shows the server's signed role document.
#[utoipa::path(
    get,
    operation_id = "showRole",
    path = "/v1/role",
    tag = "role",
    security(("certificate" = ["gateway"]), ("certificate" = ["server"]), ("certificate" = ["operator"])),
    responses(
        (status = 200, description = "The server's signed document.", body = SignedRole),
        refused::Forbidden,
    )
)]
pub(super) async fn show(
    State(server): State<Arc<Server>>,
    request: Request,
) -> Result<Json<SignedRole>, ApiError> {
    concerned(&peer_of(&request)?)?;
    Ok(Json(server.keeper.belief().signed().clone()))
}

/// Refuses whoever has nothing to do with the role: a witness keeps it in another way, a monitor asks for
/// health alone.
fn concerned(peer: &PeerIdentity) -> Result<(), ApiError> {
    match peer.role {
        PeerRole::Gateway { .. } | PeerRole::Server | PeerRole::Admin => Ok(()),
        PeerRole::Witness | PeerRole::Monitor => {
            Err(ApiError::forbidden(peer, "a gateway, a server or an operator"))
        }
    }
}

/// Brings a role document.
///
/// If it verifies and is higher than the server's own, it is stored, then obeyed. The signature proves it, whoever brings it.
#[utoipa::path(
    post,
    operation_id = "offerRole",
    path = "/v1/role",
    tag = "role",
    security(("certificate" = ["gateway"]), ("certificate" = ["server"]), ("certificate" = ["operator"])),
    request_body(content = SignedRole, description = "A signed document."),
    responses(
        (status = 200, description = "The server's document afterwards.", body = SignedRole),
        refused::BadRequest,
        refused::Forbidden,
        refused::TooLarge,
        refused::Unavailable,
    )
)]
pub(super) async fn offer(
    State(server): State<Arc<Server>>,
    request: Request,
) -> Result<Json<SignedRole>, ApiError> {
    let peer = peer_of(&request)?;
    concerned(&peer)?;
    let signed: SignedRole = body::json(request).await?;
    let belief = server.keeper.offer(&signed, &peer.to_string()).await?;
    Ok(Json(belief.signed().clone()))
}

/// Tells the role document at once and at each change.
///
/// Server-sent events: event `role` with the signed document as data; a comment at least every 2 s. A reader that is slow
/// misses documents in between, never the last.
#[utoipa::path(
    get,
    operation_id = "streamRole",
    path = "/v1/role/stream",
    tag = "role",
    security(("certificate" = ["gateway"]), ("certificate" = ["server"]), ("certificate" = ["operator"])),
    responses(
        (status = 200, description = "The events, without an end.", body = RoleEvent, content_type = "text/event-stream"),
        refused::Forbidden,
    )
)]
pub(super) async fn stream(
    State(server): State<Arc<Server>>,
    request: Request,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    concerned(&peer_of(&request)?)?;
    let stop = server.stop.clone();
    let events = WatchStream::new(server.keeper.watch())
        .map(|belief| {
            // A document that was read from JSON can be written to it.
            let text = serde_json::to_string(belief.signed()).unwrap_or_default();
            Ok(Event::default().event("role").data(text))
        })
        .take_until(stop.cancelled_owned());
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT).text("alive")))
}
