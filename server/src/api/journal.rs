//! What gateways ask: store a batch, where does my journal stand, what is held of a controller.

use std::sync::{Arc, PoisonError};

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use postern_protocol::uplink::{Batch, Last, Told, Watermark};
use postern_protocol::{ControllerId, Index, JournalId, RoleTerm, Seq};
use serde::Deserialize;

use super::{ApiError, Server, body, peer_of};
use crate::clock;
use crate::replication::Acks;
use crate::store::{Audit, Delivery, Refused, Safe, lacking, query::Unanswered};

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
    let acting = belief.role().role_term;
    server.note_full(&gateway, batch.full, batch.lasts_s);
    let delivery = Delivery {
        journal,
        gateway,
        batch,
        acting,
        safe: Safe::Known(Seq(0)),
        forced: belief.role().forced,
        now: clock::now(),
    };
    let shared = server.clone();
    let safe = move || shared.safe(acting, journal).unwrap_or(Safe::Known(Seq(0)));
    match server.store.deliver(delivery, Box::new(safe)).await? {
        Ok((watermark, outcome)) => {
            server.with_acks(acting, |acks| {
                acks.mark(journal, outcome.position, watermark.stored);
            });
            Ok(Json(server.with_safe(acting, journal, watermark)))
        }
        Err(refused) => {
            if let Refused::Behind { .. } = refused {
                let by = peer.to_string();
                server.doubted(&belief, &by, &refused.to_string()).await;
            }
            Err(ApiError::refused(&refused, &server.keeper.belief()))
        }
    }
}

impl Server {
    /// Works with what is known of the other store in a reign; `None` where another has begun.
    pub fn with_acks<T>(&self, term: RoleTerm, work: impl FnOnce(&mut Acks) -> T) -> Option<T> {
        let mut acks = self.acks.lock().unwrap_or_else(PoisonError::into_inner);
        acks.of_reign(term).map(work)
    }

    /// What of a journal may be forgotten, by the document as it stands at this moment; `None` where
    /// this server does not act under that role term any more.
    fn safe(&self, acting: RoleTerm, journal: JournalId) -> Option<Safe> {
        let belief = self.active().ok().filter(|belief| belief.role().role_term == acting)?;
        self.with_acks(acting, |acks| acks.safe(belief.role(), belief.me(), journal))
    }

    /// The watermark as it is told: what is safe now, which may be more than what was when it was
    /// written down.
    fn with_safe(&self, acting: RoleTerm, journal: JournalId, held: Watermark) -> Watermark {
        let now = match self.safe(acting, journal) {
            Some(Safe::Stored) => held.stored,
            Some(Safe::Known(seq)) => seq.min(held.stored),
            None => Seq(0),
        };
        Watermark { safe: held.safe.max(now), ..held }
    }
}

/// What [`watermark`] is told beside.
#[derive(Deserialize)]
pub(super) struct Telling {
    safe: Option<u64>,
    role_term: Option<u64>,
    #[serde(default)]
    full: u8,
    lasts_s: Option<u64>,
}

/// `GET /v1/groups/{group}/journals/{journal}`
pub(super) async fn watermark(
    State(server): State<Arc<Server>>,
    names: Names,
    telling: Result<Query<Telling>, QueryRejection>,
    request: Request,
) -> Result<Json<Watermark>, ApiError> {
    let (group, journal) = split(names)?;
    let peer = peer_of(&request)?;
    let gateway = server.gateway(&peer, &group)?.to_owned();
    let journal = journal_id(&journal)?;
    let Query(Telling { safe, role_term, full, lasts_s }) =
        telling.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let told = safe.zip(role_term);
    let told = told.map(|(safe, term)| Told { safe: Seq(safe), role_term: RoleTerm(term) });
    let belief = server.active()?;
    let acting = belief.role().role_term;
    server.note_full(&gateway, full, lasts_s);
    let found = server.store.watermark(journal, &gateway, acting).await?;
    let subject = Subject::Journal(journal);
    let (watermark, position) = answer(&server, found, &gateway, subject, acting).await?;
    if let Some(told) = lacking(told, acting, belief.role().forced, watermark.stored) {
        let refused = Refused::Behind { held: watermark, told };
        server.doubted(&belief, &peer.to_string(), &refused.to_string()).await;
        return Err(ApiError::refused(&refused, &server.keeper.belief()));
    }
    server.with_acks(acting, |acks| acks.mark(journal, position, watermark.stored));
    Ok(Json(server.with_safe(acting, journal, watermark)))
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
    let found = server.store.last(controller, at_most, &gateway, acting).await?;
    answer(&server, found, &gateway, Subject::Controller(controller), acting).await.map(Json)
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
    acting: RoleTerm,
) -> Result<T, ApiError> {
    let owner = match found {
        Ok(value) => return Ok(value),
        Err(Unanswered::Fenced) => {
            return Err(ApiError::refused(&Refused::Fenced, &server.keeper.belief()));
        }
        Err(Unanswered::Foreign(owner)) => owner,
    };
    let (refused, event, name) = subject.foreign(owner);
    let alarm = Audit::now(gateway, event, &name, &refused.to_string());
    server.store.alarm(acting, alarm).await?;
    Err(ApiError::refused(&refused, &server.keeper.belief()))
}
