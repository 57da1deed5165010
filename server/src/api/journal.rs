//! What gateways ask: store a batch, where does my journal stand, what is held of a controller.

use std::sync::{Arc, PoisonError};

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use postern_protocol::uplink::{Batch, Last, MAX_SEQ, Told, Watermark};
use postern_protocol::{ControllerId, Index, JournalId, RoleTerm, Seq};
use serde::Deserialize;
use utoipa::IntoParams;

use super::admission::BATCHES;
use super::document::parameter::{ControllerPath, JournalPath};
use super::document::{example, refused};
use super::{ApiError, Server, body, peer_of};
use crate::clock;
use crate::replication::Acks;
use crate::store::{Audit, Delivery, Refused, Safe, lacking, query::Unanswered};

type Names = Result<Path<(String, String)>, PathRejection>;

/// Stores a batch of a journal.
///
/// The answer is sent only after the commit is on the disk. A batch may be sent again: what is stored already is not stored twice.
#[utoipa::path(
    post,
    operation_id = "storeBatch",
    path = "/v1/groups/{group}/journals/{journal}/transactions",
    tag = "gateway",
    security(("certificate" = ["gateway"])),
    params(JournalPath),
    request_body(content = Batch, description = "Consecutive entries of the journal. May be sent with `content-encoding: zstd`.", example = json!(example::batch())),
    responses(
        (status = 200, description = "Where the journal stands now.", body = Watermark),
        refused::BadRequest,
        refused::Foreign,
        refused::NotFound,
        refused::Conflict,
        refused::TooLarge,
        refused::NotActive,
        refused::Unavailable,
    )
)]
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
    can_be(batch.told.map(|told| told.safe))?;
    let place = BATCHES.enter(batch.entries.len()).await?;
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
    let safe = move || {
        // Held until its turn at the store, although its sender may have hung up by then.
        let _place = place;
        shared.safe(acting, journal).unwrap_or(Safe::Known(Seq(0)))
    };
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
        if !self.claims() {
            // Without a lease it goes on storing, and lets nobody forget anything more.
            return Some(Safe::Known(Seq(0)));
        }
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
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Telling {
    /// The highest `safe` that the gateway was told; counts together with `role_term`.
    #[param(value_type = Option<Seq>)]
    safe: Option<u64>,
    /// Under which role term it was told so.
    #[param(value_type = Option<RoleTerm>)]
    role_term: Option<u64>,
    /// How full the journal is of what may not be forgotten, in percent; more than 100 is as 100.
    #[serde(default)]
    #[param(minimum = 0, maximum = 255)]
    full: u8,
    /// In how many seconds the journal is full at its present pace; where it is known.
    #[param(format = "uint32", minimum = 0, maximum = 4_294_967_295_u64)]
    lasts_s: Option<u32>,
}

/// Shows where a journal stands.
///
/// One that is not known stands at `stored` 0.
#[utoipa::path(
    get,
    operation_id = "showJournal",
    path = "/v1/groups/{group}/journals/{journal}",
    tag = "gateway",
    security(("certificate" = ["gateway"])),
    params(JournalPath, Telling),
    responses(
        (status = 200, description = "Where the journal stands.", body = Watermark),
        refused::BadRequest,
        refused::Foreign,
        refused::NotFound,
        refused::NotActive,
        refused::Unavailable,
    )
)]
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
    can_be(safe.map(Seq))?;
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
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AtMost {
    /// The highest index that is asked for; of all where absent.
    #[param(value_type = Option<Index>)]
    at_most: Option<u64>,
}

/// Shows what is held last of a controller.
#[utoipa::path(
    get,
    operation_id = "showLast",
    path = "/v1/groups/{group}/controllers/{controller}/last",
    tag = "gateway",
    security(("certificate" = ["gateway"])),
    params(ControllerPath, AtMost),
    responses(
        (status = 200, description = "Its last record, and its newest epoch.", body = Last),
        refused::BadRequest,
        refused::Foreign,
        refused::NotFound,
        refused::NotActive,
        refused::Unavailable,
    )
)]
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

/// Refuses what no server can have told.
fn can_be(safe: Option<Seq>) -> Result<(), ApiError> {
    if safe.is_some_and(|safe| safe > MAX_SEQ) {
        return Err(ApiError::bad_request(format!("safe is above the highest seq ({MAX_SEQ})")));
    }
    Ok(())
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
