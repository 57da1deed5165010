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
use crate::store::{Audit, Delivery, Refused, query::Unanswered};

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
    let belief = server.active()?;
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
    let acting = server.active()?.role().role_term;
    let name = gateway.clone();
    let found = server.store.read(move |store| store.watermark(journal, &name, acting)).await?;
    answer(&server, found, &gateway, Subject::Journal(journal)).await
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
    let acting = server.active()?.role().role_term;
    let name = gateway.clone();
    let found =
        server.store.read(move |store| store.last(controller, at_most, &name, acting)).await?;
    answer(&server, found, &gateway, Subject::Controller(controller)).await
}

fn split(names: Names) -> Result<(String, String), ApiError> {
    names.map(|Path(names)| names).map_err(|error| ApiError::bad_request(error.body_text()))
}

fn journal_id(text: &str) -> Result<JournalId, ApiError> {
    text.parse().map_err(|error| ApiError::bad_request(format!("{error}")))
}

/// What a gateway asked about.
#[derive(Clone, Copy)]
enum Subject {
    Journal(JournalId),
    Controller(ControllerId),
}

impl Subject {
    /// Why it gets no answer where it is another gateway's, and the alarm's event and subject.
    fn foreign(self, owner: String) -> (Refused, &'static str, String) {
        match self {
            Self::Journal(journal) => {
                let name = journal.to_string();
                (Refused::ForeignJournal { journal, owner }, "foreign_journal", name)
            }
            Self::Controller(controller) => {
                let name = controller.to_string();
                (Refused::ForeignController { controller, owner }, "foreign_controller", name)
            }
        }
    }
}

async fn answer<T>(
    server: &Server,
    found: Result<T, Unanswered>,
    gateway: &str,
    subject: Subject,
) -> Result<Json<T>, ApiError> {
    let owner = match found {
        Ok(value) => return Ok(Json(value)),
        Err(Unanswered::Fenced) => {
            return Err(ApiError::refused(&Refused::Fenced, &server.keeper.belief()));
        }
        Err(Unanswered::Foreign(owner)) => owner,
    };
    let (refused, event, name) = subject.foreign(owner);
    let alarm = Audit::now(gateway, event, &name, &refused.to_string());
    server.store.write(move |store| store.alarm(&alarm)).await?;
    Err(ApiError::refused(&refused, &server.keeper.belief()))
}
