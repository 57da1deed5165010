//! The role document: shown, offered, and told as it changes.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt as _};
use postern_protocol::role::SignedRole;
use tokio_stream::wrappers::WatchStream;

use super::{ApiError, Server, body, peer_of};

/// How often an idle stream says that it lives: a gateway takes silence of some of these for a
/// broken connection.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// `GET /v1/role`
pub(super) async fn show(State(server): State<Arc<Server>>) -> Json<SignedRole> {
    Json(server.keeper.belief().signed().clone())
}

/// `POST /v1/role`: the signature proves it, so anybody of the site may bring it.
pub(super) async fn offer(
    State(server): State<Arc<Server>>,
    request: Request,
) -> Result<Json<SignedRole>, ApiError> {
    let peer = peer_of(&request)?;
    let signed: SignedRole = body::json(request).await?;
    let belief = server.keeper.offer(&signed, &peer.to_string()).await?;
    Ok(Json(belief.signed().clone()))
}

/// `GET /v1/role/stream`: the document at once and at each change. A reader that is slow misses
/// documents in between, never the last.
pub(super) async fn stream(
    State(server): State<Arc<Server>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let stop = server.stop.clone();
    let events = WatchStream::new(server.keeper.watch())
        .map(|belief| {
            // A document that was read from JSON can be written to it.
            let text = serde_json::to_string(belief.signed()).unwrap_or_default();
            Ok(Event::default().event("role").data(text))
        })
        .take_until(stop.cancelled_owned());
    Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT).text("alive"))
}
