//! What operators ask about a controller: whose it is, and to give it to another gateway. Only the
//! active server answers, since it alone says whose transactions are taken.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use postern_protocol::ControllerId;
use postern_protocol::pki::is_name;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::document::refused;
use super::{ApiError, Server, body, operator, peer_of};
use crate::clock;
use crate::store::Reassignment;

/// `GET /v1/admin/controllers/{controller}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ownership {
    /// Which.
    pub controller: ControllerId,
    /// The gateway that it belongs to.
    pub gateway: String,
}

/// `POST /v1/admin/reassign`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"controller": "uhppote-405419896", "to": "hall"}))]
pub struct Reassign {
    /// Which.
    pub controller: ControllerId,
    /// The gateway that it is to belong to.
    #[schema(pattern = "^[a-z0-9-]{1,32}$")]
    pub to: String,
}

/// The answer to [`Reassign`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reassigned {
    /// Whether anything changed.
    pub changed: bool,
    /// Which.
    pub controller: ControllerId,
    /// The gateway that it belonged to.
    pub from: String,
    /// The gateway that it belongs to now.
    pub to: String,
}

/// Shows whose a controller is.
#[utoipa::path(
    get,
    operation_id = "showController",
    path = "/v1/admin/controllers/{controller}",
    tag = "operator",
    security(("certificate" = ["operator"])),
    params(("controller" = ControllerId, Path, description = "The controller.", example = "uhppote-405419896")),
    responses(
        (status = 200, description = "The gateway that it belongs to.", body = Ownership),
        refused::BadRequest,
        refused::Forbidden,
        refused::NotFound,
        refused::NotActive,
        refused::Unavailable,
    )
)]
pub(super) async fn show(
    State(server): State<Arc<Server>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<Ownership>, ApiError> {
    operator(&peer_of(&request)?)?;
    let Path(name) = path.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let controller: ControllerId =
        name.parse().map_err(|error| ApiError::bad_request(format!("{error}")))?;
    let acting = server.active()?.role().role_term;
    let found = server.store.owner(controller, acting).await?;
    let gateway =
        found.map_err(|why| ApiError::unowned(why, controller, &server.keeper.belief()))?;
    Ok(Json(Ownership { controller, gateway }))
}

/// Gives a controller to another gateway.
#[utoipa::path(
    post,
    operation_id = "reassignController",
    path = "/v1/admin/reassign",
    tag = "operator",
    security(("certificate" = ["operator"])),
    request_body(content = Reassign, description = "Which, and to whom."),
    responses(
        (status = 200, description = "Whose it was, and whose it is.", body = Reassigned),
        refused::BadRequest,
        refused::Forbidden,
        refused::NotFound,
        refused::TooLarge,
        refused::NotActive,
        refused::Unavailable,
    )
)]
pub(super) async fn reassign(
    State(server): State<Arc<Server>>,
    request: Request,
) -> Result<Json<Reassigned>, ApiError> {
    let peer = peer_of(&request)?;
    operator(&peer)?;
    let Reassign { controller, to } = body::json(request).await?;
    if !is_name(&to) {
        return Err(ApiError::bad_request(format!("{to:?} cannot be the name of a gateway")));
    }
    let acting = server.claiming()?.role().role_term;
    let order = Reassignment {
        controller,
        to: to.clone(),
        acting,
        by: peer.to_string(),
        now: clock::now(),
    };
    let done = server.store.reassign(order).await?;
    let from = done.map_err(|why| ApiError::unowned(why, controller, &server.keeper.belief()))?;
    Ok(Json(Reassigned { changed: from != to, controller, from, to }))
}
