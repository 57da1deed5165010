//! `query`, `journals`, `audit`: what a server holds.

use serde::Serialize;

use super::{Audit, Console, Failed, Query, Reading, output};
use crate::api::admin::{AuditPage, Journals, Transactions};
use crate::store::query::{Item, MAX_ROWS};

/// How many transactions are shown where nobody says.
const DEFAULT_ROWS: u64 = 100;

#[derive(Serialize)]
struct Answer<'a, T> {
    server: &'a str,
    #[serde(flatten)]
    value: T,
}

pub(super) async fn query(args: Query) -> Result<(), Failed> {
    let Query { reading, jsonl, all, controller, limit, after } = args;
    let console = Console::open(&reading.dir)?;
    let member = console.member(reading.server.as_deref())?;
    let group = &console.site.config.group;
    let limit = limit.unwrap_or(DEFAULT_ROWS);
    let page_size = if all { u64::try_from(MAX_ROWS).unwrap_or(limit) } else { limit };
    let filter = controller.map(|id| format!("&controller={id}")).unwrap_or_default();

    let (mut after, mut shown) = (after, 0_usize);
    let mut gathered = Transactions { items: Vec::new(), next: None };
    loop {
        let path =
            format!("/v1/groups/{group}/transactions?after={after}&limit={page_size}{filter}");
        let page: Transactions = console
            .client
            .get(&member.address, &path)
            .await
            .map_err(|error| Failed::at(&member, error))?;
        shown += page.items.len();
        let next = page.next;
        if jsonl {
            output::lines(&page.items)?;
        } else if reading.json {
            gathered.items.extend(page.items);
            gathered.next = next;
        } else {
            table(&page.items, shown, next.filter(|_| !all))?;
        }
        match next {
            Some(row) if all => after = row,
            Some(_) | None => break,
        }
    }
    if reading.json {
        let answer = Answer { server: &member.name, value: gathered };
        output::json("postern-server.transactions.v1", &answer)?;
    }
    Ok(())
}

fn table(items: &[Item], shown: usize, next: Option<u64>) -> Result<(), Failed> {
    let dash = || "-".to_owned();
    let rows = items.iter().map(|item| {
        let number = match (item.index, item.after) {
            (Some(index), _) => index.to_string(),
            (None, Some(after)) => format!("{after}+"),
            (None, None) => dash(),
        };
        let mut flags = item.flags.clone();
        if item.live {
            flags.push("live".to_owned());
        }
        vec![
            item.rowid.to_string(),
            item.controller.clone().unwrap_or_else(dash),
            number,
            item.occurred.clone().unwrap_or_else(dash),
            item.kind.as_str().map_or_else(|| item.kind.to_string(), str::to_owned),
            item.door.map_or_else(dash, |door| door.to_string()),
            item.direction.clone().unwrap_or_else(dash),
            item.credential.map_or_else(dash, |credential| credential.to_string()),
            flags.join(" "),
        ]
    });
    let summary = match next {
        Some(row) => format!("{shown} transactions; more with --after {row} or --all."),
        None => format!("{shown} transactions."),
    };
    let headers =
        ["ROW", "CONTROLLER", "INDEX", "OCCURRED", "KIND", "DOOR", "DIRECTION", "CARD", "FLAGS"];
    output::table(&headers, rows.collect(), &summary)
}

pub(super) async fn journals(reading: Reading) -> Result<(), Failed> {
    let console = Console::open(&reading.dir)?;
    let member = console.member(reading.server.as_deref())?;
    let path = format!("/v1/groups/{}/journals", console.site.config.group);
    let journals: Journals = console
        .client
        .get(&member.address, &path)
        .await
        .map_err(|error| Failed::at(&member, error))?;
    if reading.json {
        let answer = Answer { server: &member.name, value: journals };
        return output::json("postern-server.journals.v1", &answer);
    }
    let rows = journals.items.iter().map(|item| {
        let holes: Vec<String> =
            item.holes.iter().map(|hole| format!("{}-{}", hole.first, hole.last)).collect();
        vec![
            item.gateway.clone(),
            item.journal.to_string(),
            item.stored.to_string(),
            item.safe.to_string(),
            item.doubles.to_string(),
            item.conflicts.to_string(),
            if holes.is_empty() { "none".to_owned() } else { holes.join(" ") },
        ]
    });
    let summary = format!("{} journals.", journals.items.len());
    let headers = ["GATEWAY", "JOURNAL", "STORED", "SAFE", "DOUBLES", "CONFLICTS", "HOLES"];
    output::table(&headers, rows.collect(), &summary)
}

pub(super) async fn audit(args: Audit) -> Result<(), Failed> {
    let Audit { reading, limit, after } = args;
    let console = Console::open(&reading.dir)?;
    let member = console.member(reading.server.as_deref())?;
    let page: AuditPage = console
        .client
        .get(&member.address, &format!("/v1/admin/audit?after={after}&limit={limit}"))
        .await
        .map_err(|error| Failed::at(&member, error))?;
    if reading.json {
        let answer = Answer { server: &member.name, value: page };
        return output::json("postern-server.audit.v1", &answer);
    }
    let rows = page.items.iter().map(|item| {
        vec![
            item.id.to_string(),
            item.at.clone().unwrap_or_else(|| "-".to_owned()),
            item.actor.clone(),
            item.event.clone(),
            item.subject.clone(),
            item.detail.clone(),
        ]
    });
    let summary = match page.next {
        Some(next) => format!("{} lines; more with --after {next}.", page.items.len()),
        None => format!("{} lines.", page.items.len()),
    };
    output::table(&["ID", "AT", "WHO", "EVENT", "SUBJECT", "DETAIL"], rows.collect(), &summary)
}
