//! What gateways ask: store a batch, where does my journal stand, what is held of a controller.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use postern_protocol::uplink::{Batch, Last, Watermark};
use postern_protocol::{ControllerId, Index, JournalId};
use serde::Deserialize;

use super::{ApiError, Server, body, peer_of};
use crate::clock;
use crate::role::{Belief, State as RoleState};
use crate::store::{Audit, Delivery, query::Unanswered};

type Names = Result<Path<(String, String)>, PathRejection>;

/// `POST /v1/groups/{group}/journals/{journal}/transactions`
pub(super) async fn store(
    State(server): State<Arc<Server>>,
    names: Names,
    request: Request,
) -> Result<Json<Watermark>, ApiError> {
    let (group, journal) = split(names)?;
    let peer = peer_of(&request)?;
    let gateway = server.gateway(&peer, &group)?.to_owned();
    let journal = journal_id(&journal)?;
    let mut batch: Batch = body::json(request).await?;
    if let Some(role) = batch.role.take() {
        // A document that does not verify proves nothing, so it changes nothing; to refuse the
        // batch for it would hold up transactions.
        if let Err(error) = server.keeper.offer(&role, &peer.to_string()).await {
            tracing::debug!(gateway, %error, "a role document was not taken");
        }
    }
    let belief = active(&server)?;
    let role = belief.role();
    let delivery = Delivery {
        journal,
        gateway,
        batch,
        acting: role.role_term,
        copies: role.copies,
        now: clock::now(),
    };
    match server.store.write(move |store| store.apply(&delivery)).await? {
        Ok((watermark, _)) => Ok(Json(watermark)),
        Err(refused) => Err(ApiError::refused(&refused, &server.keeper.belief())),
    }
}

/// `GET /v1/groups/{group}/journals/{journal}`
pub(super) async fn watermark(
    State(server): State<Arc<Server>>,
    names: Names,
    request: Request,
) -> Result<Json<Watermark>, ApiError> {
    let (group, journal) = split(names)?;
    let peer = peer_of(&request)?;
    let gateway = server.gateway(&peer, &group)?.to_owned();
    let journal = journal_id(&journal)?;
    let acting = active(&server)?.role().role_term;
    let name = gateway.clone();
    let found = server.store.read(move |store| store.watermark(journal, &name, acting)).await?;
    answer(&server, found, &gateway, "journal", &journal.to_string()).await
}

/// What [`last`] is asked.
#[derive(Deserialize)]
pub(super) struct AtMost {
    at_most: Option<u64>,
}

/// `GET /v1/groups/{group}/controllers/{controller}/last?at_most=N`
pub(super) async fn last(
    State(server): State<Arc<Server>>,
    names: Names,
    query: Result<Query<AtMost>, QueryRejection>,
    request: Request,
) -> Result<Json<Last>, ApiError> {
    let (group, controller) = split(names)?;
    let peer = peer_of(&request)?;
    let gateway = server.gateway(&peer, &group)?.to_owned();
    let controller: ControllerId =
        controller.parse().map_err(|error| ApiError::bad_request(format!("{error}")))?;
    let Query(AtMost { at_most }) =
        query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let at_most = Index(at_most.unwrap_or(u64::MAX));
    let acting = active(&server)?.role().role_term;
    let name = gateway.clone();
    let found =
        server.store.read(move |store| store.last(controller, at_most, &name, acting)).await?;
    answer(&server, found, &gateway, "controller", &controller.to_string()).await
}

fn split(names: Names) -> Result<(String, String), ApiError> {
    names.map(|Path(names)| names).map_err(|error| ApiError::bad_request(error.body_text()))
}

fn journal_id(text: &str) -> Result<JournalId, ApiError> {
    text.parse().map_err(|error| ApiError::bad_request(format!("{error}")))
}

/// The belief, if by it this server may take what a gateway sends.
fn active(server: &Server) -> Result<Arc<Belief>, ApiError> {
    let belief = server.keeper.belief();
    match belief.state() {
        RoleState::Active => Ok(belief),
        RoleState::Starting | RoleState::Standby | RoleState::SetAside => {
            Err(ApiError::not_active(&belief))
        }
    }
}

async fn answer<T>(
    server: &Server,
    found: Result<T, Unanswered>,
    gateway: &str,
    kind: &str,
    name: &str,
) -> Result<Json<T>, ApiError> {
    let unanswered = match found {
        Ok(value) => return Ok(Json(value)),
        Err(unanswered) => unanswered,
    };
    let what = format!("{kind} {name}");
    let refused = ApiError::unanswered(&unanswered, &what, &server.keeper.belief());
    if let Unanswered::Foreign(owner) = unanswered {
        let detail = format!("{what} belongs to gateway {owner}");
        let alarm = Audit::now(gateway, &format!("foreign_{kind}"), name, &detail);
        server.store.write(move |store| store.alarm(&alarm)).await?;
    }
    Err(refused)
}
