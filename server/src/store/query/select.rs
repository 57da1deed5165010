//! The listing of transactions in SQL. Text of a user only ever is a parameter.
//!
//! Each listing is a walk along one index, from the key of the last row on (`Walk`). What that index does
//! not know is looked up row by row; how many rows one page looks through is bounded, so that a rare
//! door in ten million rows takes many short pages and not one that keeps gateways waiting.

use postern_protocol::{Index, Timestamp};
use rusqlite::types::Value;
use rusqlite::{OptionalExtension as _, Row, params_from_iter};

use super::{Direction, Filter, Item, KindWord, MAX_ROWS, Page, Position, Query, Sort, Span};
use crate::store::item::{COLUMNS, item};
use crate::store::sequence::from_sql;
use crate::store::{Store, StoreError};

/// How many rows a page looks through where not every one of them is wanted: some 20 ms. It begins with
/// a few, since most filters find what they want there.
#[cfg(not(test))]
const WINDOWS: [usize; 3] = [1_000, 6_000, 13_000];
/// Small enough that the tests of paging come across them.
#[cfg(test)]
const WINDOWS: [usize; 3] = [1, 2, 4];

const FAILED: &str = "list transactions";

/// When one record of a controller happened, was received and was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delay {
    /// Its row.
    pub row: u64,
    /// Whose record.
    pub controller: String,
    /// Its number there.
    pub index: Index,
    /// The gateway whose journal brought it first.
    pub gateway: String,
    /// When it happened, where the controller said so, by its own clock, without doubt.
    pub occurred: Option<Timestamp>,
    /// When the gateway read it.
    pub received: Timestamp,
    /// When this server stored it.
    pub stored: Timestamp,
}

impl Store {
    /// A page of transactions; the query has been checked.
    pub fn list(&self, query: &Query) -> Result<Page<Item>, StoreError> {
        let limit = query.limit.min(MAX_ROWS);
        self.walk(query, limit, "", &format!("{COLUMNS}, "), item)
    }

    /// The same of how long the records of controllers took.
    pub fn delays(&self, query: &Query) -> Result<Page<Delay>, StoreError> {
        let columns = "t.id, controller, idx,
            coalesce((SELECT gateway FROM journals WHERE journals.journal = t.journal), ''),
            CASE WHEN time_trust = 'exact' AND time_source = 'controller' THEN occurred END,
            received, stored_at, ";
        let only = " AND idx IS NOT NULL AND received IS NOT NULL";
        self.walk(query, query.limit, only, columns, delay)
    }

    fn walk<T>(
        &self,
        query: &Query,
        limit: usize,
        only: &str,
        columns: &str,
        read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Page<T>, StoreError> {
        let walk = Walk::of(query);
        let rest = rest(query, &walk);
        let failed = || StoreError::sqlite(FAILED);
        let window = |query: &Query, bound: Option<Position>, items: &mut Vec<T>| {
            // One more than wanted tells whether there is more.
            let rows = limit - items.len() + 1;
            let (sql, values) = walk.statement(query, bound, &rest, only, columns, rows);
            let mut statement = self.connection.prepare_cached(&sql).map_err(failed())?;
            let mut rows = statement.query(params_from_iter(values)).map_err(failed())?;
            let mut last = None;
            while let Some(row) = rows.next().map_err(failed())? {
                if items.len() == limit {
                    return Ok(last);
                }
                items.push(read(row)?);
                last = Some(position(row, "walked", "place")?);
            }
            Ok(bound)
        };
        let (mut query, mut items) = (query.clone(), Vec::new());
        if rest.is_empty() && only.is_empty() {
            let next = window(&query, None, &mut items)?;
            return Ok(Page { items, next });
        }
        for rows in WINDOWS {
            let bound = self.bound(&query, &walk, rows)?;
            query.after = window(&query, bound, &mut items)?;
            if query.after.is_none() || items.len() == limit {
                break;
            }
        }
        Ok(Page { items, next: query.after })
    }

    /// The last of so many rows of a walk, where there may be more of them.
    fn bound(
        &self,
        query: &Query,
        walk: &Walk,
        rows: usize,
    ) -> Result<Option<Position>, StoreError> {
        let failed = || StoreError::sqlite(FAILED);
        if query.sort == Sort::Row {
            // Rows count up without gaps.
            let newest: i64 = self
                .connection
                .query_row("SELECT coalesce(max(id), 0) FROM transactions", [], |row| row.get(0))
                .map_err(failed())?;
            let (newest, far) = (newest.unsigned_abs(), u64::try_from(rows).unwrap_or(u64::MAX));
            let after = query.after.map(|position| position.row);
            let (row, ends) = match query.direction {
                Direction::Oldest => (after.unwrap_or(0).saturating_add(far), 1..newest),
                Direction::Newest => {
                    (after.unwrap_or(newest).min(newest).saturating_sub(far), 2..newest)
                }
            };
            return Ok(ends.contains(&row).then_some(Position::row(row)));
        }
        let (range, values) = walk.range(query, None);
        let Walk { index, key, .. } = walk;
        let sql = format!(
            "SELECT {key}, t.id FROM transactions AS t {index} WHERE {range}
             ORDER BY {} LIMIT 1 OFFSET {}",
            walk.order(query.direction),
            rows - 1,
        );
        let mut statement = self.connection.prepare_cached(&sql).map_err(failed())?;
        let found: Option<(i64, i64)> = statement
            .query_row(params_from_iter(values), |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .map_err(failed())?;
        found.map(|(key, row)| Ok(Position { key, row: from_sql("row", row)? })).transpose()
    }
}

/// A condition, and what its parameter is.
type Term = (&'static str, Value);

/// Along which index a listing goes.
struct Walk {
    /// `INDEXED BY`: the plan is the same whatever the store holds.
    index: &'static str,
    /// The column that it is sorted by.
    key: &'static str,
    /// The index's first column, where it has one value for the whole walk.
    fixed: Option<Term>,
}

impl Walk {
    fn of(query: &Query) -> Self {
        let Filter { controller, card, kind, .. } = &query.filter;
        let (index, key, fixed) = match query.sort {
            Sort::Row => ("NOT INDEXED", "0", None),
            Sort::Stored => ("INDEXED BY by_stored", "stored_at", None),
            Sort::Occurred if card.is_some() => ("INDEXED BY by_card", "at", Some(CARD)),
            // Before the controller: a controller may have a hundred thousand records, and none of these.
            Sort::Occurred if kind.is_some_and(KindWord::is_rare) => {
                ("INDEXED BY by_kind", "at", Some(KIND))
            }
            Sort::Occurred if controller.is_some() => {
                ("INDEXED BY by_controller", "at", Some(CONTROLLER))
            }
            Sort::Occurred => ("INDEXED BY by_time", "at", None),
        };
        let fixed = known(&query.filter).into_iter().find(|(term, _)| Some(*term) == fixed);
        Self { index, key, fixed }
    }

    /// The rows from where the page before ended up to the end of the span, or to `bound`. There is
    /// one limit on each side, since with two `SQLite` would choose which one to walk from.
    fn range(&self, query: &Query, bound: Option<Position>) -> (String, Vec<Value>) {
        let key = self.key;
        let span = match query.sort {
            Sort::Row => Span::default(),
            Sort::Occurred => query.filter.occurred,
            Sort::Stored => query.filter.stored,
        };
        let (mut terms, mut values) = (Vec::new(), Vec::new());
        if let Some((term, value)) = &self.fixed {
            terms.push((*term).to_owned());
            values.push(value.clone());
        }
        if self.index.ends_with("by_kind") {
            terms.push(RARE.to_owned());
        }
        let mut place = |how: &str, at: Position| {
            if query.sort == Sort::Row {
                terms.push(format!("t.id {how} ?"));
            } else {
                terms.push(format!("({key}, t.id) {how} (?, ?)"));
                values.push(Value::Integer(at.key));
            }
            values.push(Value::Integer(i64::try_from(at.row).unwrap_or(i64::MAX)));
        };
        let (start, stop) = match query.direction {
            Direction::Oldest => (">", "<="),
            Direction::Newest => ("<", ">="),
        };
        for (how, at) in [(start, query.after), (stop, bound)] {
            if let Some(at) = at {
                place(how, at);
            }
        }
        let (low, high) = match query.direction {
            Direction::Oldest => (query.after, bound),
            Direction::Newest => (bound, query.after),
        };
        for (how, time, place) in [(">=", span.from, low), ("<", span.to, high)] {
            if let (Some(Timestamp(time)), None) = (time, place) {
                terms.push(format!("{key} {how} ?"));
                values.push(Value::Integer(time));
            }
        }
        if terms.is_empty() {
            terms.push("true".to_owned());
        }
        (terms.join(" AND "), values)
    }

    fn statement(
        &self,
        query: &Query,
        bound: Option<Position>,
        rest: &[Term],
        only: &str,
        columns: &str,
        rows: usize,
    ) -> (String, Vec<Value>) {
        let (range, mut values) = self.range(query, bound);
        values.extend(rest.iter().map(|(_, value)| value.clone()));
        let mut conditions = vec![range.as_str()];
        conditions.extend(rest.iter().map(|(term, _)| term));
        let conditions = conditions.join(" AND ");
        let Self { index, key, .. } = self;
        let order = self.order(query.direction);
        let sql = format!(
            "SELECT {columns}{key} AS walked, t.id AS place FROM transactions AS t {index}
             WHERE {conditions}{only} ORDER BY {order} LIMIT {rows}"
        );
        (sql, values)
    }

    fn order(&self, direction: Direction) -> String {
        let way = match direction {
            Direction::Oldest => "",
            Direction::Newest => " DESC",
        };
        if self.key == "0" { format!("t.id{way}") } else { format!("{}{way}, t.id{way}", self.key) }
    }
}

/// The condition of `by_kind`, in its words: by it `SQLite` knows that it may use the index.
const RARE: &str = "word NOT IN ('granted', 'denied', 'door_opened', 'door_closed', 'button')";

const CARD: &str = "credential = ?";
const CONTROLLER: &str = "controller = ?";
const KIND: &str = "word = ?";

/// What a filter asks for beside times.
fn known(filter: &Filter) -> Vec<Term> {
    let Filter { controller, door, card, kind, gateway, live, .. } = filter;
    let mut terms = Vec::new();
    if let Some(card) = card {
        terms.push((CARD, Value::Integer(card.cast_signed())));
    }
    if let Some(controller) = controller {
        terms.push((CONTROLLER, Value::Text(controller.to_string())));
    }
    if let Some(kind) = kind {
        terms.push((KIND, Value::Text(kind.as_str().to_owned())));
    }
    if let Some(door) = door {
        terms.push(("door = ?", Value::Integer(i64::from(*door))));
    }
    if let Some(live) = live {
        terms.push(("live = ?", Value::Integer(i64::from(*live))));
    }
    if let Some(gateway) = gateway {
        let of = "t.journal IN (SELECT journal FROM journals WHERE gateway = ?)";
        terms.push((of, Value::Text(gateway.clone())));
    }
    terms
}

/// What the walk does not know of, to be looked up row by row.
fn rest(query: &Query, walk: &Walk) -> Vec<Term> {
    let mut terms = known(&query.filter);
    terms.retain(|(term, _)| walk.fixed.as_ref().is_none_or(|(fixed, _)| fixed != term));
    let Filter { occurred, stored, .. } = &query.filter;
    for (sort, span, from, to) in [
        (Sort::Occurred, occurred, "at >= ?", "at < ?"),
        (Sort::Stored, stored, "stored_at >= ?", "stored_at < ?"),
    ] {
        if query.sort != sort {
            terms.extend(span.from.map(|time| (from, Value::Integer(time.0))));
            terms.extend(span.to.map(|time| (to, Value::Integer(time.0))));
        }
    }
    terms
}

fn position(row: &Row<'_>, key: &str, place: &str) -> Result<Position, StoreError> {
    let failed = || StoreError::sqlite(FAILED);
    let id: i64 = row.get(place).map_err(failed())?;
    Ok(Position { key: row.get(key).map_err(failed())?, row: from_sql("row", id)? })
}

fn delay(row: &Row<'_>) -> Result<Delay, StoreError> {
    let read = || -> rusqlite::Result<_> {
        let times = (row.get::<_, Option<i64>>(4)?, row.get(5)?, row.get(6)?);
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, times))
    };
    let (id, controller, index, gateway, (occurred, received, stored)) =
        read().map_err(StoreError::sqlite(FAILED))?;
    Ok(Delay {
        row: from_sql("row", id)?,
        controller,
        index: Index(from_sql("idx", index)?),
        gateway,
        occurred: occurred.map(Timestamp),
        received: Timestamp(received),
        stored: Timestamp(stored),
    })
}

#[cfg(test)]
impl Store {
    /// How `SQLite` goes about a listing.
    pub(super) fn plan(&self, query: &Query) -> String {
        let walk = Walk::of(query);
        let rest = rest(query, &walk);
        let (sql, values) = walk.statement(query, None, &rest, "", "", query.limit);
        let mut statement = self.connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let lines = statement.query_map(params_from_iter(values), |row| row.get::<_, String>(3));
        lines.unwrap().map(Result::unwrap).collect::<Vec<_>>().join("; ")
    }
}
