//! `query`: stored transactions, for people as a table, for programs as JSON.

use clap::Args;

use super::asked::{Filters, Sorting};
use super::{Failed, Source, output};
use crate::api::listing::Transactions;
use crate::store::query::{Direction, Item, KindWord, Position, Query, Sort};
use crate::zone::Zone;

/// How many transactions are shown where nobody says.
const DEFAULT_ROWS: usize = 100;

#[derive(Args)]
pub(super) struct Arguments {
    /// Write one JSON object
    #[arg(long)]
    json: bool,
    /// Write one JSON object per transaction and line
    #[arg(long, conflicts_with = "json")]
    jsonl: bool,
    /// Go on to the end, page by page; without a filter by row, else oldest first
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// How many at most
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=5_000), value_name = "N")]
    limit: Option<u64>,
    /// Begin after this row, in the order of rows
    #[arg(long, value_name = "ROWID", conflicts_with_all = ["by", "order", "cursor"])]
    after: Option<u64>,
    /// Go on where an answer to the same question ended
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    sorting: Sorting,
    #[command(flatten)]
    filters: Filters,
}

pub(super) async fn query(source: &Source, arguments: Arguments) -> Result<(), Failed> {
    let Arguments { json, jsonl, all, limit, after, cursor, sorting, filters } = arguments;
    let zone = filters.zone(source);
    let filter = filters.filter(&zone)?;
    let fixed = filters.fixed(&filter);
    let (sort, direction) = match after {
        Some(_) => (Sort::Row, Direction::Oldest),
        None => sorting.of(&filter, all),
    };
    let after = after.map(Position::row);
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(DEFAULT_ROWS);
    let query = Query { filter, sort, direction, after, limit };

    let mut shown = 0;
    let mut gathered = Transactions { items: Vec::new(), next: None, cursor: None };
    let wanted = (!all).then_some(limit);
    let show = |page: Transactions, is_last: bool| {
        if jsonl {
            return output::lines(&page.items);
        }
        if json {
            gathered.items.extend(page.items);
            (gathered.next, gathered.cursor) = (page.next, page.cursor);
            return Ok(());
        }
        shown += page.items.len();
        // A page that found nothing on its way is no table.
        if page.items.is_empty() && !is_last {
            return Ok(());
        }
        let more = match (page.next, page.cursor) {
            (Some(row), _) if after.is_some() => format!("; more with --after {row} or --all"),
            (_, Some(cursor)) => format!("; more with {fixed}--cursor {cursor} or --all"),
            (_, None) => String::new(),
        };
        let more = if all { "" } else { &more };
        let of = zone.name().map(|name| format!(", times of {name}")).unwrap_or_default();
        table(&page.items, &zone, &format!("{shown} transactions{of}{more}."))
    };
    source.pages(query, cursor, wanted, show).await?;
    if json {
        output::json("postern-server.transactions.v1", &source.answer(gathered))?;
    }
    Ok(())
}

fn table(items: &[Item], zone: &Zone, summary: &str) -> Result<(), Failed> {
    let dash = || "-".to_owned();
    let rows = items.iter().map(|item| {
        let number = match (item.index, item.after) {
            (Some(index), _) => index.to_string(),
            (None, Some(after)) => format!("{after}+"),
            (None, None) => dash(),
        };
        let time = [&item.occurred, &item.received, &item.stored_at].into_iter().flatten().next();
        let time = time.and_then(|time| zone.show_text(time)).unwrap_or_else(dash);
        vec![
            item.rowid.to_string(),
            item.controller.clone().unwrap_or_else(dash),
            number,
            time,
            kind(&item.kind),
            item.door.map_or_else(dash, |door| door.to_string()),
            item.direction.clone().unwrap_or_else(dash),
            item.credential.map_or_else(dash, |credential| credential.to_string()),
            flags(item).join(" "),
        ]
    });
    let headers =
        ["ROW", "CONTROLLER", "INDEX", "OCCURRED", "KIND", "DOOR", "DIRECTION", "CARD", "FLAGS"];
    output::table(&headers, rows.collect(), summary)
}

/// The word, and the particulars as they are stored.
fn kind(kind: &serde_json::Value) -> String {
    let word = KindWord::of(kind).map_or("-", KindWord::as_str);
    if word == "card_read" {
        let again = kind["card_read"]["may_repeat"] == true;
        return if again { "card_read may-repeat".to_owned() } else { word.to_owned() };
    }
    match kind.as_object().and_then(|object| object.values().next()) {
        Some(serde_json::Value::String(particular)) => format!("{word} {particular}"),
        Some(particular) => format!("{word} {particular}"),
        None => word.to_owned(),
    }
}

/// What is special: a contradiction, news, and a time that is not the controller's without doubt.
fn flags(item: &Item) -> Vec<String> {
    let mut flags = item.flags.clone();
    if item.live {
        flags.push("live".to_owned());
    }
    match item.time_trust.as_deref() {
        Some("exact") => {}
        // What is shown is when the gateway received it, or the server stored what it cannot read.
        Some("absent") | None => flags.push("time-unknown".to_owned()),
        Some(trust) => flags.push(format!("time-{trust}")),
    }
    flags
}
