//! What voters ask each other: on a server beside everything else, on the witness all there is.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRef, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use postern_protocol::pki::{PeerIdentity, PeerRole};
use tokio_util::sync::CancellationToken;

use super::document::{Binary, refused};
use super::{ApiError, Server, body, peer_of};
use crate::coordination::Refused;
use crate::replication::wire;
use crate::voting::Voting;
use crate::voting::message::{Order, Saw, See};

/// What these handlers work with.
#[derive(Clone)]
pub struct Voters {
    /// The voter, where the site has a third one.
    pub voting: Option<Arc<Voting>>,
    /// Ends the streams.
    pub stop: CancellationToken,
}

impl FromRef<Arc<Server>> for Voters {
    fn from_ref(server: &Arc<Server>) -> Self {
        Self { voting: server.voting.clone(), stop: server.stop.clone() }
    }
}

impl Voters {
    fn voting(&self, request: &Request) -> Result<(&Arc<Voting>, PeerIdentity), ApiError> {
        let peer = peer_of(request)?;
        if !matches!(peer.role, PeerRole::Server | PeerRole::Witness) {
            return Err(ApiError::forbidden(&peer, "a voter"));
        }
        let voting = self.voting.as_ref();
        let voting = voting.ok_or_else(|| ApiError::not_found("this site has no third voter"))?;
        if !voting.knows(&peer.name) {
            return Err(ApiError::forbidden(&peer, "a voter that is configured here"));
        }
        Ok((voting, peer))
    }
}

/// Takes a message of Raft.
#[utoipa::path(
    post,
    operation_id = "voterMessage",
    path = "/v1/voters/raft",
    tag = "voter",
    security(("certificate" = ["server"]), ("certificate" = ["witness"])),
    request_body(content = inline(Binary), content_type = "application/octet-stream", description = "An envelope of a voter."),
    responses(
        (status = 200, description = "The answer.", body = inline(Binary), content_type = "application/octet-stream"),
        refused::BetweenVoters,
    )
)]
pub(super) async fn raft(
    State(voters): State<Voters>,
    request: Request,
) -> Result<Vec<u8>, ApiError> {
    let (voting, peer) = voters.voting(&request)?;
    let message = body::bytes(request).await?;
    voting.voter.on_message(&peer.name, &message).await.map_err(|refused| match refused {
        Refused::Malformed(_)
        | Refused::Document(_)
        | Refused::Stranger(_)
        | Refused::OtherName { .. }
        | Refused::OtherNode { .. } => ApiError::bad_request(refused.to_string()),
        Refused::Doubled(_) | Refused::NotStanding(_) | Refused::Failed(_) => {
            ApiError::unavailable(refused.to_string())
        }
    })
}

/// Takes what a server wants of the voter that leads.
#[utoipa::path(
    post,
    operation_id = "voterOrder",
    path = "/v1/voters/order",
    tag = "voter",
    security(("certificate" = ["server"]), ("certificate" = ["witness"])),
    request_body(content = inline(Binary), content_type = "application/octet-stream", description = "An `Order`."),
    responses(
        (status = 200, description = "The `Answer`.", body = inline(Binary), content_type = "application/octet-stream"),
        refused::BetweenVoters,
    )
)]
pub(super) async fn order(
    State(voters): State<Voters>,
    request: Request,
) -> Result<Vec<u8>, ApiError> {
    let (voting, peer) = voters.voting(&request)?;
    let order: Order = body::packed(request).await?;
    if !voting.may_order(&peer.name, &order) {
        return Err(ApiError::forbidden(&peer, "the server that wants it"));
    }
    packed(&voting.on_order(order).await)
}

/// Says how another voter is seen.
#[utoipa::path(
    post,
    operation_id = "voterSight",
    path = "/v1/voters/sight",
    tag = "voter",
    security(("certificate" = ["server"]), ("certificate" = ["witness"])),
    request_body(content = inline(Binary), content_type = "application/octet-stream", description = "`See`: which voter."),
    responses(
        (status = 200, description = "`Saw`.", body = inline(Binary), content_type = "application/octet-stream"),
        refused::BetweenVoters,
    )
)]
pub(super) async fn sight(
    State(voters): State<Voters>,
    request: Request,
) -> Result<Vec<u8>, ApiError> {
    let (voting, _) = voters.voting(&request)?;
    let see: See = body::packed(request).await?;
    packed(&Saw::from(voting.settled_sight(&see.voter).await))
}

/// Tells that this voter is there, for as long as it is.
///
/// One line of JSON every half second, and at once when a lease begins or ends.
#[utoipa::path(
    get,
    operation_id = "voterPresence",
    path = "/v1/voters/presence",
    tag = "voter",
    security(("certificate" = ["server"]), ("certificate" = ["witness"])),
    responses(
        (status = 200, description = "The lines, without an end.", body = String, content_type = "application/x-ndjson"),
        refused::Forbidden,
        refused::NotFound,
    )
)]
pub(super) async fn presence(
    State(voters): State<Voters>,
    request: Request,
) -> Result<Response, ApiError> {
    let (voting, _) = voters.voting(&request)?;
    let lines = voting.presence(voters.stop.clone());
    let lines = futures_util::StreamExt::map(lines, Ok::<_, std::convert::Infallible>);
    let mut response = Response::new(Body::from_stream(lines));
    let kind = axum::http::HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(axum::http::header::CONTENT_TYPE, kind);
    Ok(response)
}

/// What a witness says of itself.
#[derive(serde::Serialize)]
struct Standing {
    standing: &'static str,
    leader: Option<String>,
}

/// Says that a witness runs.
pub(super) async fn live(State(voters): State<Voters>) -> Response {
    health(&voters, |_| true)
}

/// Says whether a witness takes part: 200, or 503.
pub(super) async fn ready(State(voters): State<Voters>) -> Response {
    health(&voters, |standing| standing == "voting")
}

fn health(voters: &Voters, judge: impl FnOnce(&str) -> bool) -> Response {
    let status = voters.voting.as_ref().map(|voting| voting.voter.status());
    let standing = status.as_ref().map_or("stopped", |status| status.standing.word());
    let leader = status.and_then(|status| status.leader);
    let code = if judge(standing) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(Standing { standing, leader })).into_response()
}

fn packed<T: serde::Serialize>(message: &T) -> Result<Vec<u8>, ApiError> {
    wire::pack(message).map_err(|error| ApiError::unavailable(error.to_string()))
}
