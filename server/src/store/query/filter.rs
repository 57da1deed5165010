//! What a listing of transactions is asked for: plain values, of no database in particular.
//!
//! Pages follow each other by the key of their last row, never by a count of rows, so that what is
//! stored meanwhile moves nothing: a transaction that was there when the first page was read is in
//! exactly one page.

use postern_protocol::{ControllerId, Timestamp};

use super::KindWord;

/// The most rows in one answer: at about 700 bytes each an answer stays below 4 MiB.
pub const MAX_ROWS: usize = 5_000;

/// Which transactions, in which order, how many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Which.
    pub filter: Filter,
    /// By what they are sorted.
    pub sort: Sort,
    /// From which end.
    pub direction: Direction,
    /// Where the page before ended.
    pub after: Option<Position>,
    /// How many at most, from 1 to [`MAX_ROWS`].
    pub limit: usize,
}

/// Which transactions; each part narrows it further.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// By when they happened: the controller's time; where it gave none, the time at which the gateway
    /// received them, so that nothing is left out for want of a clock.
    pub occurred: Span,
    /// By when this server stored them.
    pub stored: Span,
    /// Of this controller.
    pub controller: Option<ControllerId>,
    /// At the door of this number.
    pub door: Option<u8>,
    /// Of this card. Personal data.
    pub card: Option<u64>,
    /// Of this kind.
    pub kind: Option<KindWord>,
    /// That came by a journal of this gateway first.
    pub gateway: Option<String>,
    /// That were news when they were stored, or that were not.
    pub live: Option<bool>,
}

/// From a time, which counts in, to another, which does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
}

/// By what a listing is sorted; what is equal in that goes by row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// By row: the order in which this server stored them.
    #[default]
    Row,
    /// By the time of [`Filter::occurred`].
    Occurred,
    /// By the time of [`Filter::stored`]. It differs from the rows' order where the server's clock was
    /// set back.
    Stored,
}

/// From which end a listing begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Oldest first.
    #[default]
    Oldest,
    /// Newest first.
    Newest,
}

/// A place in a listing: the sorted value of a row, and the row. Of [`Sort::Row`] the row alone counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The time in milliseconds of UTC, or 0.
    pub key: i64,
    /// The row.
    pub row: u64,
}

/// A part of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// As many as were wanted, or fewer: what a page looks through is bounded as well.
    pub items: Vec<T>,
    /// Where to go on; `None` where there is nothing more.
    pub next: Option<Position>,
}

/// Why a listing cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Too few or too many rows.
    #[error("limit is {0}, not 1 to {MAX_ROWS}")]
    Limit(u64),
    /// The span's ends are the wrong way round, or the same.
    #[error("{0} is not before {1}: nothing lies between")]
    Span(&'static str, &'static str),
}

impl Query {
    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), QueryError> {
        if !(1..=MAX_ROWS).contains(&self.limit) {
            return Err(QueryError::Limit(u64::try_from(self.limit).unwrap_or(u64::MAX)));
        }
        let Filter { occurred, stored, .. } = &self.filter;
        for (span, from, to) in [(occurred, "from", "to"), (stored, "stored_from", "stored_to")] {
            if span.from.zip(span.to).is_some_and(|(from, to)| from >= to) {
                return Err(QueryError::Span(from, to));
            }
        }
        Ok(())
    }
}

impl Position {
    /// Behind a row, in [`Sort::Row`].
    pub fn row(row: u64) -> Self {
        Self { key: 0, row }
    }
}
