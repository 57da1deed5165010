//! What operators ask of the store: transactions, journals, the audit log, how late things came.
//!
//! [`Listing`] and [`AuditPage::of`] answer for a server and for a file alike: the command line uses
//! them for an archive.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query as Url, Request, State};
use postern_protocol::role::StoreName;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::document::parameter::{FilterQuery, GroupPath, LateParameters, PageQuery};
use super::document::refused;
use super::parameter::{Parameters, spell};
use super::{ApiError, Server, operator, peer_of};
use crate::late::{Late, LateReport};
use crate::store::query::cursor::{self, CursorError};
use crate::store::query::{AuditItem, Direction, Item, JournalItem, MAX_ROWS, Page, Query, Sort};

/// How many lines a page of the audit log has where nobody says.
const DEFAULT_LINES: usize = 100;

/// A page of transactions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Transactions {
    /// In the order that was asked for.
    pub items: Vec<Item>,
    /// Of a listing by row, oldest first: the row to go on after. `None` where this page was the last.
    pub next: Option<u64>,
    /// Where to go on, in any order; `None` where this page was the last.
    pub cursor: Option<String>,
}

/// All journals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Journals {
    /// By gateway.
    pub items: Vec<JournalItem>,
}

/// A page of the audit log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditPage {
    /// In order.
    pub items: Vec<AuditItem>,
    /// The line to go on after; `None` where this page was the last.
    pub next: Option<u64>,
}

/// Which page of the audit log.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Lines {
    /// The line to go on after.
    #[serde(default)]
    #[param(format = "uint64", maximum = 18_446_744_073_709_551_615_u64)]
    after: u64,
    /// How many lines at most; 100 where nothing is said.
    #[param(minimum = 1, maximum = 5_000)]
    limit: Option<usize>,
}

type ParametersOf = Result<Url<Parameters>, QueryRejection>;

/// A question for a page of transactions of one store: [`Listing::query`] is what the store is asked,
/// and its page is what [`Listing::answer`] is made of.
pub struct Listing {
    query: Query,
    asked: String,
    store: String,
}

impl Listing {
    /// Goes on at a cursor, if it belongs to this question and this store.
    pub fn new(
        mut query: Query,
        from: Option<&str>,
        store: StoreName,
    ) -> Result<Self, CursorError> {
        let (asked, store) = (spell(&query), store.store);
        if let Some(text) = from {
            query.after = Some(cursor::read(text, &asked, &store)?);
        }
        Ok(Self { query, asked, store })
    }

    /// What to ask the store.
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// What to show.
    pub fn answer(&self, Page { items, next }: Page<Item>) -> Transactions {
        let Self { query, asked, store } = self;
        let by_row = (query.sort, query.direction) == (Sort::Row, Direction::Oldest);
        Transactions {
            items,
            next: next.filter(|_| by_row).map(|position| position.row),
            cursor: next.map(|position| cursor::write(position, asked, store)),
        }
    }
}

impl AuditPage {
    /// Of so many lines as were found where so many were asked for.
    pub fn of(items: Vec<AuditItem>, limit: usize) -> Self {
        let next = items.last().filter(|_| items.len() == limit).map(|item| item.id);
        Self { items, next }
    }
}

/// Lists transactions by time, door, card and more.
///
/// A page may have fewer items than `limit`, even none, and a cursor all the same: go on until there is none.
#[utoipa::path(
    get,
    operation_id = "listTransactions",
    path = "/v1/groups/{group}/transactions",
    tag = "operator",
    security(("certificate" = ["operator"])),
    params(GroupPath, FilterQuery, PageQuery),
    responses(
        (status = 200, description = "A page.", body = Transactions),
        refused::BadRequest,
        refused::Forbidden,
        refused::NotFound,
        refused::Unavailable,
    )
)]
pub(super) async fn transactions(
    State(server): State<Arc<Server>>,
    path: Result<Path<String>, PathRejection>,
    parameters: ParametersOf,
    request: Request,
) -> Result<Json<Transactions>, ApiError> {
    operator(&peer_of(&request)?)?;
    server.group(&group(path)?)?;
    let (query, cursor) = url(parameters)?.query()?;
    let name = server.store.name();
    let listing = Listing::new(query, cursor.as_deref(), name.clone());
    let listing = listing.map_err(|error| {
        let hint = match error {
            CursorError::Malformed => "begin without one",
            CursorError::Foreign => {
                "repeat the question as it was, at the same server; or begin without a cursor"
            }
        };
        ApiError::bad_request(error.to_string()).hint(Some(hint))
    })?;
    let page = server.store.list(listing.query().clone()).await?;
    if server.store.name() != name {
        return Err(ApiError::unavailable("the store was replaced meanwhile: ask again"));
    }
    Ok(Json(listing.answer(page)))
}

/// Reports how late transactions came after they happened.
#[utoipa::path(
    get,
    operation_id = "reportLate",
    path = "/v1/groups/{group}/late",
    tag = "operator",
    security(("certificate" = ["operator"])),
    params(GroupPath, FilterQuery, LateParameters),
    responses(
        (status = 200, description = "The report.", body = LateReport),
        refused::BadRequest,
        refused::Forbidden,
        refused::NotFound,
        refused::Unavailable,
    )
)]
pub(super) async fn late(
    State(server): State<Arc<Server>>,
    path: Result<Path<String>, PathRejection>,
    parameters: ParametersOf,
    request: Request,
) -> Result<Json<LateReport>, ApiError> {
    operator(&peer_of(&request)?)?;
    server.group(&group(path)?)?;
    let mut late = Late::new(url(parameters)?.late()?);
    while let Some(query) = late.query() {
        late.page(server.store.delays(query).await?);
    }
    Ok(Json(late.report()))
}

/// Lists the gateways' journals.
#[utoipa::path(
    get,
    operation_id = "listJournals",
    path = "/v1/groups/{group}/journals",
    tag = "operator",
    security(("certificate" = ["operator"])),
    params(GroupPath),
    responses(
        (status = 200, description = "The first 5,000.", body = Journals),
        refused::BadRequest,
        refused::Forbidden,
        refused::NotFound,
        refused::Unavailable,
    )
)]
pub(super) async fn journals(
    State(server): State<Arc<Server>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<Journals>, ApiError> {
    operator(&peer_of(&request)?)?;
    server.group(&group(path)?)?;
    Ok(Json(Journals { items: server.store.journals().await? }))
}

/// Lists the audit log: changes of the role, reassigned controllers, alarms.
#[utoipa::path(
    get,
    operation_id = "listAudit",
    path = "/v1/admin/audit",
    tag = "operator",
    security(("certificate" = ["operator"])),
    params(Lines),
    responses(
        (status = 200, description = "A page.", body = AuditPage),
        refused::BadRequest,
        refused::Forbidden,
        refused::Unavailable,
    )
)]
pub(super) async fn audit(
    State(server): State<Arc<Server>>,
    query: Result<Url<Lines>, QueryRejection>,
    request: Request,
) -> Result<Json<AuditPage>, ApiError> {
    operator(&peer_of(&request)?)?;
    let Lines { after, limit } = url(query)?;
    let limit = limit.unwrap_or(DEFAULT_LINES);
    if !(1..=MAX_ROWS).contains(&limit) {
        return Err(ApiError::bad_request(format!("limit is {limit}, not 1 to {MAX_ROWS}")));
    }
    Ok(Json(AuditPage::of(server.store.audit(after, limit).await?, limit)))
}

fn url<T>(query: Result<Url<T>, QueryRejection>) -> Result<T, ApiError> {
    query.map(|Url(query)| query).map_err(|error| ApiError::bad_request(error.body_text()))
}

fn group(path: Result<Path<String>, PathRejection>) -> Result<String, ApiError> {
    path.map(|Path(group)| group).map_err(|error| ApiError::bad_request(error.body_text()))
}
