//! What stands in paths and queries, for the document. The handlers read these as texts, so that each is
//! refused in the server's own words; a test holds the names here to those that are read.
#![expect(dead_code, reason = "each stands for what a URL has, and is never made")]

use postern_protocol::transaction::Credential;
use postern_protocol::{ControllerId, JournalId};
use utoipa::IntoParams;

/// The group.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::api) struct GroupPath {
    /// The failover group.
    #[param(pattern = "^[a-z0-9-]{1,32}$", example = "main")]
    group: String,
}

/// A journal of a group.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::api) struct JournalPath {
    /// The failover group.
    #[param(pattern = "^[a-z0-9-]{1,32}$", example = "main")]
    group: String,
    /// The journal.
    #[param(example = "07070707-0707-0707-0707-070707070707")]
    journal: JournalId,
}

/// A controller of a group.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::api) struct ControllerPath {
    /// The failover group.
    #[param(pattern = "^[a-z0-9-]{1,32}$", example = "main")]
    group: String,
    /// The controller.
    #[param(example = "uhppote-405419896")]
    controller: ControllerId,
}

/// Which transactions. A parameter that is not documented is refused.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct FilterQuery {
    /// That happened at or after this time, RFC 3339 with its offset.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<String>,
    /// That happened before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<String>,
    /// That this server stored at or after this time.
    #[param(value_type = Option<String>, format = DateTime)]
    stored_from: Option<String>,
    /// That this server stored before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    stored_to: Option<String>,
    /// Of this controller.
    controller: Option<ControllerId>,
    /// At the door of this number.
    #[param(minimum = 0, maximum = 255)]
    door: Option<u8>,
    /// Of this card. Personal data.
    card: Option<Credential>,
    /// Of this kind.
    #[param(inline)]
    kind: Option<super::shape::KindName>,
    /// That came by a journal of this gateway first.
    #[param(pattern = "^[a-z0-9-]{1,32}$")]
    gateway: Option<String>,
    /// That were news when they were stored, or that were not.
    live: Option<bool>,
}

/// Which page of transactions.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct PageQuery {
    /// Begin after this row; with `by=row`, `order=oldest` alone, and not with `cursor`.
    #[param(format = "uint64", maximum = 18_446_744_073_709_551_615_u64)]
    after: Option<u64>,
    /// Go on where an answer to the same question ended.
    cursor: Option<String>,
    /// How many at most; 100 where nothing is said.
    #[param(minimum = 1, maximum = 5_000)]
    limit: Option<u64>,
    /// By what they are sorted: the row in the store (where nothing is said), when it happened, when it was stored.
    #[param(inline)]
    by: Option<By>,
    /// Which come first: the oldest where nothing is said.
    #[param(inline)]
    order: Option<Order>,
}

/// What a report takes for late.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct LateParameters {
    /// Stored more than this many milliseconds after it happened is late; five minutes where nothing is said.
    #[param(format = "uint64", maximum = 18_446_744_073_709_551_615_u64)]
    over_ms: Option<u64>,
    /// How many of the latest are named; 10 where nothing is said.
    #[param(minimum = 0, maximum = 1_000)]
    worst: Option<u64>,
}

#[derive(utoipa::ToSchema)]
#[schema(rename_all = "snake_case")]
enum By {
    Row,
    Occurred,
    Stored,
}

#[derive(utoipa::ToSchema)]
#[schema(rename_all = "snake_case")]
enum Order {
    Oldest,
    Newest,
}
