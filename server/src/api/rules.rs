//! How the group is run, changed by an operator at the active server.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use postern_protocol::role::WhenFull;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::document::refused;
use super::{ApiError, Server, body, operator, peer_of};
use crate::clock;
use crate::role::decide::{Command, Denied, Reign, Rules as Changes, decide};
use crate::store::Audit;

/// `POST /v1/admin/rules`; what is left out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"when_full": "hold"}))]
pub struct Rules {
    /// Whether somebody works on the servers, so that the role does not change by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<bool>,
    /// What happens when gateways run full while too few stores are in sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_full: Option<WhenFull>,
    /// How many copies of a transaction there are to be: 1 or 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 2)]
    pub copies_wanted: Option<u8>,
}

/// The answer to [`Rules`], and what holds then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ruled {
    /// Whether anything changed.
    pub changed: bool,
    /// See [`Rules`].
    pub maintenance: bool,
    /// See [`Rules`].
    pub when_full: WhenFull,
    /// See [`Rules`].
    pub copies_wanted: u8,
}

/// Changes how the group is run; what is left out stays as it is.
#[utoipa::path(
    post,
    operation_id = "changeRules",
    path = "/v1/admin/rules",
    tag = "operator",
    security(("certificate" = ["operator"])),
    request_body(content = Rules, description = "What is to hold."),
    responses(
        (status = 200, description = "What holds now.", body = Ruled),
        refused::BadRequest,
        refused::Forbidden,
        refused::Denied,
        refused::TooLarge,
        refused::NotActive,
        refused::Unavailable,
    )
)]
pub(super) async fn change(
    State(server): State<Arc<Server>>,
    request: Request,
) -> Result<Json<Ruled>, ApiError> {
    let peer = peer_of(&request)?;
    operator(&peer)?;
    let Rules { maintenance, when_full, copies_wanted } = body::json(request).await?;
    if let Some(copies) = copies_wanted.filter(|copies| !(1..=2).contains(copies)) {
        return Err(ApiError::bad_request(format!("copies_wanted is {copies}, not 1 or 2")));
    }
    // The change runs to its end even if the operator's connection breaks in the middle.
    let task = server.clone();
    let change = tokio::spawn(async move {
        let server = task;
        let _one = server.changing.lock().await;
        let belief = server.active()?;
        let group = belief.group().to_owned();
        let (holder, term) = (belief.me().clone(), belief.role().role_term);
        let rules = Changes { when_full, copies_wanted, maintenance, ..Changes::default() };
        let detail = format!("{:?}", Rules { maintenance, when_full, copies_wanted });
        let command =
            Command::Rules(Reign { group: group.clone(), holder, term }, rules, clock::now());
        let document = match decide(belief.document(), &command) {
            Ok(document) => document,
            Err(Denied::NothingToDo) => return Ok(false),
            Err(denied) => return Err(ApiError::denied(denied.to_string(), None)),
        };
        let signed = server
            .signer
            .sign(&document)
            .map_err(|error| ApiError::unavailable(error.to_string()))?;
        let why = Audit::now(&peer.to_string(), "rules_changed", &group, &detail).shared();
        if server.keeper.install(signed, document, why).await? {
            return Ok(true);
        }
        Err(ApiError::unavailable("another change of the role document came first"))
    });
    let changed = change
        .await
        .unwrap_or_else(|_| Err(ApiError::unavailable("the change did not come to an end")))?;
    let belief = server.keeper.belief();
    let role = belief.role();
    Ok(Json(Ruled {
        changed,
        maintenance: role.maintenance,
        when_full: role.when_full,
        copies_wanted: role.copies_wanted,
    }))
}
