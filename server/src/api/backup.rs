//! Backups that operators ask for: one is begun, and how far it is can be asked until it is there.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::document::refused;
use super::{ApiError, Server, body, operator, peer_of};
use crate::backup::{BackupError, Outcome, Running};

/// `POST /v1/admin/backups`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BackupBegin)]
pub struct Begin {
    /// The file to make, an absolute path on the server; where absent, as `[backup]` says.
    #[schema(value_type = Option<String>, pattern = "^/")]
    pub out: Option<PathBuf>,
}

/// The answer to [`Begin`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = BackupBegun)]
pub struct Begun {
    /// Which backup it is, for [`Progress`].
    pub number: u64,
}

/// `GET /v1/admin/backups`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = BackupProgress)]
pub struct Progress {
    /// The one that is being made.
    pub running: Option<Running>,
    /// The latest that ended.
    pub finished: Option<Outcome>,
}

/// Begins a backup on the server's own disks.
#[utoipa::path(
    post,
    operation_id = "beginBackup",
    path = "/v1/admin/backups",
    tag = "operator",
    security(("certificate" = ["operator"])),
    request_body(content = Begin, description = "Where it goes."),
    responses(
        (status = 200, description = "Its number.", body = Begun),
        refused::BadRequest,
        refused::Forbidden,
        refused::Denied,
        refused::TooLarge,
        refused::Unavailable,
    )
)]
pub(super) async fn begin(
    State(server): State<Arc<Server>>,
    request: Request,
) -> Result<Json<Begun>, ApiError> {
    let peer = peer_of(&request)?;
    operator(&peer)?;
    let Begin { out } = body::json(request).await?;
    if out.as_ref().is_some_and(|out| !out.is_absolute()) {
        return Err(ApiError::bad_request("`out` is no absolute path"));
    }
    let Some(place) = server.backups.place(out.as_deref()) else {
        let hint = "name a file with --out, or say in [backup] of server.toml where backups go";
        return Err(ApiError::denied("nothing says where the backup goes", Some(hint.into())));
    };
    let by = peer.to_string();
    let begun = server.backups.begin(&server.embedded, place, &by, &server.stop);
    let denied = |error: BackupError| ApiError::denied(error.to_string(), error.hint());
    Ok(Json(Begun { number: begun.map_err(denied)? }))
}

/// Shows how far a backup is.
#[utoipa::path(
    get,
    operation_id = "showBackups",
    path = "/v1/admin/backups",
    tag = "operator",
    security(("certificate" = ["operator"])),
    responses(
        (status = 200, description = "The one that is being made, and the latest that ended.", body = Progress),
        refused::Forbidden,
    )
)]
pub(super) async fn progress(
    State(server): State<Arc<Server>>,
    request: Request,
) -> Result<Json<Progress>, ApiError> {
    operator(&peer_of(&request)?)?;
    let (running, finished) = server.backups.progress();
    Ok(Json(Progress { running, finished }))
}
