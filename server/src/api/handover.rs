//! The active server asks the other one to take over: it is about to stop.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use postern_protocol::pki::PeerRole;

use super::document::parameter::GroupPath;
use super::document::refused;
use super::{ApiError, Server, peer_of};
use crate::failover::{FailoverError, How, take_over};

/// Takes the role over from the active server, which asks for it.
///
/// Nothing is missing afterwards: it is the switchover that an operator orders.
#[utoipa::path(
    post,
    operation_id = "handOver",
    path = "/v1/groups/{group}/handover",
    tag = "between servers",
    security(("certificate" = ["server"])),
    params(GroupPath),
    responses(
        (status = 204, description = "This server is active."),
        refused::BadRequest,
        refused::Forbidden,
        refused::NotFound,
        refused::Denied,
        refused::Unavailable,
    )
)]
pub(super) async fn hand_over(
    State(server): State<Arc<Server>>,
    group: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<axum::http::StatusCode, ApiError> {
    let peer = peer_of(&request)?;
    if peer.role != PeerRole::Server {
        return Err(ApiError::forbidden(&peer, "a server"));
    }
    let Path(group) = group.map_err(|error| ApiError::bad_request(error.body_text()))?;
    server.group(&group)?;
    if server.keeper.belief().role().active != peer.name {
        return Err(ApiError::denied("only the active server can hand over", None));
    }
    // The change runs to its end even if the one that asked is gone in the middle.
    let change = tokio::spawn(async move {
        let _one = server.changing.lock().await;
        take_over(&server, How::Switchover, &peer.to_string()).await
    });
    change.await.unwrap_or(Err(FailoverError::Starting))?;
    Ok(axum::http::StatusCode::NO_CONTENT)
}
