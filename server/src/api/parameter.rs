//! A question for transactions as it stands in a URL: read by the server, written by the command line.
//! `docs/query.md` specifies it.

use std::fmt::Write as _;
use std::str::FromStr;

use postern_protocol::Timestamp;
use postern_protocol::pki::is_name;
use serde::Deserialize;

use super::ApiError;
use crate::late::LateQuery;
use crate::store::query::{Direction, Filter, KindWord, Position, Query, Sort, Span, UnknownKind};

/// How many rows a page has where nobody says.
const DEFAULT_ROWS: usize = 100;

/// How many of the latest a report names where nobody says, and at most.
const DEFAULT_WORST: usize = 10;
const MAX_WORST: usize = 1_000;

/// More than this late is late, where nobody says.
pub const DEFAULT_OVER_MS: u64 = 5 * 60 * 1_000;

/// All that a URL may say. A name that is not among these is refused: a filter that is misspelt and
/// ignored shows more than was asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    after: Option<String>,
    cursor: Option<String>,
    limit: Option<String>,
    by: Option<String>,
    order: Option<String>,
    from: Option<String>,
    to: Option<String>,
    stored_from: Option<String>,
    stored_to: Option<String>,
    controller: Option<String>,
    door: Option<String>,
    card: Option<String>,
    kind: Option<String>,
    gateway: Option<String>,
    live: Option<String>,
    over_ms: Option<String>,
    worst: Option<String>,
}

impl Parameters {
    /// A question for a page, and the cursor that it goes on from.
    pub(super) fn query(self) -> Result<(Query, Option<String>), ApiError> {
        without(&[("over_ms", &self.over_ms), ("worst", &self.worst)])?;
        let sort = match self.by.as_deref() {
            None | Some("row") => Sort::Row,
            Some("occurred") => Sort::Occurred,
            Some("stored") => Sort::Stored,
            Some(got) => return Err(wrong("by", got, "row, occurred or stored")),
        };
        let direction = match self.order.as_deref() {
            None | Some("oldest") => Direction::Oldest,
            Some("newest") => Direction::Newest,
            Some(got) => return Err(wrong("order", got, "oldest or newest")),
        };
        let after = number::<u64>("after", self.after.as_deref())?;
        if after.is_some() && (sort, direction) != (Sort::Row, Direction::Oldest) {
            let message = "after is a row and goes with by=row, order=oldest alone";
            return Err(ApiError::bad_request(message).hint(Some("go on with cursor")));
        }
        if after.is_some() && self.cursor.is_some() {
            return Err(ApiError::bad_request("after and cursor exclude each other"));
        }
        let limit = number("limit", self.limit.as_deref())?.unwrap_or(DEFAULT_ROWS);
        let cursor = self.cursor.clone();
        let filter = self.filter()?;
        let query = Query { filter, sort, direction, after: after.map(Position::row), limit };
        query.check().map_err(|error| ApiError::bad_request(error.to_string()))?;
        Ok((query, cursor))
    }

    /// A question for a report.
    pub(super) fn late(self) -> Result<LateQuery, ApiError> {
        let paging = [("after", &self.after), ("cursor", &self.cursor), ("limit", &self.limit)];
        without(&paging)?;
        without(&[("by", &self.by), ("order", &self.order)])?;
        let over_ms = number("over_ms", self.over_ms.as_deref())?.unwrap_or(DEFAULT_OVER_MS);
        let worst = number("worst", self.worst.as_deref())?.unwrap_or(DEFAULT_WORST);
        if worst > MAX_WORST {
            return Err(ApiError::bad_request(format!("worst is {worst}, not 0 to {MAX_WORST}")));
        }
        let filter = self.filter()?;
        let query = Query { filter, limit: 1, ..Query::default() };
        query.check().map_err(|error| ApiError::bad_request(error.to_string()))?;
        Ok(LateQuery { filter: query.filter, over_ms, worst })
    }

    fn filter(self) -> Result<Filter, ApiError> {
        let kind = self.kind.as_deref().map(str::parse::<KindWord>).transpose();
        let gateway = match self.gateway {
            Some(got) if !is_name(&got) => {
                return Err(wrong("gateway", &got, "a name of 1 to 32 of a-z, 0-9 and -"));
            }
            other => other,
        };
        let controller = match self.controller.as_deref().map(str::parse).transpose() {
            Ok(controller) => controller,
            Err(error) => return Err(ApiError::bad_request(format!("controller: {error}"))),
        };
        Ok(Filter {
            occurred: Span {
                from: time("from", self.from.as_deref())?,
                to: time("to", self.to.as_deref())?,
            },
            stored: Span {
                from: time("stored_from", self.stored_from.as_deref())?,
                to: time("stored_to", self.stored_to.as_deref())?,
            },
            controller,
            door: number("door", self.door.as_deref())?,
            card: number("card", self.card.as_deref())?,
            kind: kind.map_err(|error| {
                ApiError::bad_request(error.to_string()).hint(Some(UnknownKind::hint()))
            })?,
            gateway,
            live: match self.live.as_deref() {
                None => None,
                Some("true") => Some(true),
                Some("false") => Some(false),
                Some(got) => return Err(wrong("live", got, "true or false")),
            },
        })
    }
}

fn wrong(name: &str, got: &str, wanted: &str) -> ApiError {
    ApiError::bad_request(format!("{name} is {got:?}, not {wanted}"))
}

fn without(parameters: &[(&str, &Option<String>)]) -> Result<(), ApiError> {
    match parameters.iter().find(|(_, value)| value.is_some()) {
        Some((name, _)) => Err(ApiError::bad_request(format!("{name} is not for this path"))),
        None => Ok(()),
    }
}

/// A card number is a person's: what was given is not said back.
fn number<T: FromStr>(name: &str, text: Option<&str>) -> Result<Option<T>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if plain => Ok(Some(number)),
        Ok(_) | Err(_) => {
            let bits = 8 * size_of::<T>();
            Err(ApiError::bad_request(format!("{name} is not a number of at most {bits} bits")))
        }
    }
}

fn time(name: &str, text: Option<&str>) -> Result<Option<Timestamp>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    let Ok(time) = text.parse::<jiff::Timestamp>() else {
        let wanted = "a time with its offset, such as 2026-11-28T10:00:00Z";
        let hint = "in a URL + is written %2B";
        return Err(wrong(name, text, wanted).hint(text.contains(' ').then_some(hint)));
    };
    Ok(Some(Timestamp(time.as_millisecond())))
}

/// A question's one spelling, without where it goes on and how far.
pub fn spell(query: &Query) -> String {
    let by = match query.sort {
        Sort::Row => "row",
        Sort::Occurred => "occurred",
        Sort::Stored => "stored",
    };
    let order = match query.direction {
        Direction::Oldest => "oldest",
        Direction::Newest => "newest",
    };
    format!("by={by}&order={order}{}", spell_filter(&query.filter))
}

/// The same of a report.
pub fn spell_late(LateQuery { filter, over_ms, worst }: &LateQuery) -> String {
    format!("over_ms={over_ms}&worst={worst}{}", spell_filter(filter))
}

/// Every value is of a closed form without a character that a URL gives a meaning to.
fn spell_filter(filter: &Filter) -> String {
    let Filter { occurred, stored, controller, door, card, kind, gateway, live } = filter;
    let mut text = String::new();
    let mut add = |name: &str, value: Option<&dyn std::fmt::Display>| {
        if let Some(value) = value {
            // Writing to a String cannot fail.
            let _ = write!(text, "&{name}={value}");
        }
    };
    for (name, time) in [
        ("from", occurred.from),
        ("to", occurred.to),
        ("stored_from", stored.from),
        ("stored_to", stored.to),
    ] {
        let time = time.map(|Timestamp(at)| {
            let earliest = jiff::Timestamp::MIN.as_millisecond();
            let latest = jiff::Timestamp::MAX.as_millisecond();
            jiff::Timestamp::from_millisecond(at.clamp(earliest, latest)).unwrap_or_default()
        });
        add(name, time.as_ref().map(|time| time as _));
    }
    add("controller", controller.as_ref().map(|value| value as _));
    add("door", door.as_ref().map(|value| value as _));
    add("card", card.as_ref().map(|value| value as _));
    add("kind", kind.as_ref().map(|value| value as _));
    add("gateway", gateway.as_ref().map(|value| value as _));
    add("live", live.as_ref().map(|value| value as _));
    text
}

#[cfg(test)]
mod tests;
