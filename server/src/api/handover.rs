//! The active server asks the other one to take over: it is about to stop.

use std::sync::Arc;

use axum::extract::{Request, State};

use super::document::parameter::GroupPath;
use super::document::{Binary, refused};
use super::replication::{Group, asked, packed};
use super::{ApiError, Server};
use crate::failover::{FailoverError, How, take_over};
use crate::replication::wire::{HandOver, HandedOver};
use crate::role::decide::By;

/// Takes the role over from the active server, which asks for it since it is about to stop.
///
/// Nothing is missing afterwards: it is the switchover that an operator orders.
#[utoipa::path(
    post,
    operation_id = "handOver",
    path = "/v1/groups/{group}/handover",
    tag = "server",
    security(("certificate" = ["server"])),
    params(GroupPath),
    request_body(content = inline(Binary), content_type = "application/octet-stream", description = "`HandOver`: under which role term it acts."),
    responses(
        (status = 200, description = "`HandedOver`: the new role term.", body = inline(Binary), content_type = "application/octet-stream"),
        refused::BetweenServers,
        refused::Denied,
    )
)]
pub(super) async fn hand_over(
    State(server): State<Arc<Server>>,
    group: Group,
    request: Request,
) -> Result<Vec<u8>, ApiError> {
    let (peer, HandOver { role_term }): (_, HandOver) = asked(&server, group, request).await?;
    let belief = server.keeper.belief();
    if belief.role().active != peer.name || belief.role().role_term != role_term {
        return Err(ApiError::denied("only the active server can hand over", None));
    }
    // The change runs to its end even if the one that asked is gone in the middle.
    let task = server.clone();
    let change = tokio::spawn(async move {
        let _one = task.changing.lock().await;
        take_over(&task, How::Switchover, &peer.to_string(), By::Server).await
    });
    change.await.unwrap_or(Err(FailoverError::Starting))?;
    packed(&HandedOver { role_term: server.keeper.belief().role().role_term })
}
