//! Whether what another server sent can be stored and read again: its numbers fit, its entries are no
//! longer than entries are, what is shown is JSON.
//!
//! Called before anything of it is written. Invariant 10: what a peer sends, whatever its bytes, is
//! refused or stored whole; it never leaves a row that this server would later take for damage of its
//! own file.

use postern_protocol::transaction::MAX_ENTRY;
use postern_protocol::uplink::MAX_SEQ;
use postern_protocol::{RoleTerm, Seq};
use rusqlite::Connection;
use serde::de::IgnoredAny;

use super::StoreError;
use super::change::{Change, HoleChange, JournalChange, KnownEpoch, Line, LogEntry, Mark};
use super::merge::{MAX_BROUGHT, MAX_LINES, Returned, ReturnedJournal};
use super::sequence::from_sql;

/// Numbers above this are none that ever came of counting, and there is room to count on.
const MAX_NUMBER: u64 = 1 << 62;

/// Whether an entry of another server's log can be stored, its lines apart.
pub(super) fn change(entry: &LogEntry) -> bool {
    let Change { journals, holes, epochs, rows, .. } = &entry.change;
    number(entry.head.position)
        && term(entry.head.role_term)
        && journals.iter().all(|JournalChange { before, after, .. }| {
            mark(after) && before.as_ref().is_none_or(mark)
        })
        && holes.iter().all(|hole| number(hole.id) && span(hole.first, hole.last))
        && epochs.iter().all(|known| number(known.id))
        && rows.is_none_or(|(first, last)| first <= last && number(last))
        && entry.lines.iter().all(line)
}

/// Whether its new rows come behind all that are held, as they did where it was written.
pub(super) fn continues(connection: &Connection, change: &Change) -> Result<bool, StoreError> {
    let Change { rows, holes, epochs, .. } = change;
    let new_holes =
        holes.iter().filter(|hole| hole.filled.is_none()).map(|HoleChange { id, .. }| *id);
    let new_epochs = epochs.iter().map(|KnownEpoch { id, .. }| *id);
    Ok(follows(connection, "transactions", rows.map(|(first, _)| first).into_iter())?
        && follows(connection, "holes", new_holes)?
        && follows(connection, "epochs", new_epochs)?)
}

fn follows(
    connection: &Connection,
    table: &str,
    mut ids: impl Iterator<Item = u64>,
) -> Result<bool, StoreError> {
    let Some(first) = ids.next() else { return Ok(true) };
    let held: i64 = connection
        .prepare_cached(&format!("SELECT coalesce(max(id), 0) FROM {table}"))
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(StoreError::sqlite("look for the last row"))?;
    let held = from_sql("id", held)?;
    Ok((held + 1..).zip(std::iter::once(first).chain(ids)).all(|(next, id)| next == id))
}

/// Whether what a returning server brings can be stored; or what is wrong with it.
pub(super) fn returned(returned: &Returned) -> Result<(), &'static str> {
    let Returned { lines, journals, aliases, audit } = returned;
    if lines.len() > MAX_LINES
        || [journals.len(), aliases.len(), audit.len()].iter().any(|count| *count > MAX_BROUGHT)
    {
        return Err("more than one merge may bring");
    }
    let journal = |ReturnedJournal { holds, .. }: &ReturnedJournal| {
        holds.as_ref().is_none_or(|(stored, holes)| {
            *stored <= MAX_SEQ && holes.iter().all(|hole| span(hole.first, hole.last))
        })
    };
    if !lines.iter().all(line) || !journals.iter().all(journal) {
        return Err("a value that cannot be");
    }
    Ok(())
}

fn line(line: &Line) -> bool {
    let Line { id, seq, role_term, kind, entry, .. } = line;
    number(*id)
        && (Seq(1)..=MAX_SEQ).contains(seq)
        && term(*role_term)
        && (1..=MAX_ENTRY).contains(&entry.0.len())
        && serde_json::from_str::<IgnoredAny>(kind).is_ok()
}

fn mark(mark: &Mark) -> bool {
    let Mark { stored, safe, doubles, conflicts, unreadable, chain: _ } = mark;
    *stored <= MAX_SEQ
        && *safe <= MAX_SEQ
        && [doubles, conflicts, unreadable].iter().all(|count| **count <= MAX_NUMBER)
}

fn span(first: Seq, last: Seq) -> bool {
    Seq(1) <= first && first <= last && last <= MAX_SEQ
}

/// A position, or the number of a row.
fn number(number: u64) -> bool {
    (1..=MAX_NUMBER).contains(&number)
}

fn term(term: RoleTerm) -> bool {
    term.0 <= MAX_SEQ.0
}
