//! The other server's change log, applied here as it stands; and taken back from its end where the
//! two logs parted.
//!
//! Invariants: a page is applied in one commit, under the role term that the store stands under;
//! each entry continues the log by position and by chain, so that what was applied is what the other
//! server holds, row for row; taking an entry back leaves the store as it was before that entry.

use postern_protocol::RoleTerm;
use rusqlite::{Connection, params};

use super::apply::{insert_line, put_hole, put_journal, put_owner};
use super::change::{Change, Head, HoleChange, JournalChange, LineDigest, LogEntry, OwnerChange};
use super::change::{Position, encode, link};
use super::log::{NoPage, append, head, head_at, insert_audit};
use super::sequence::to_sql;
use super::{Store, StoreError, commit, role::stored_term, sound};

/// Why a page of another server's log was not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotApplied {
    /// The store stands under another role term than the page was fetched under.
    #[error("the role changed while the page was on its way")]
    Fenced,
    /// It does not continue what is held here.
    #[error("the page does not continue this store's log at {0}")]
    NotNext(Position),
    /// Its bytes are not what its chain says.
    #[error("entry {0} of the page is damaged")]
    Damaged(Position),
    /// It says what cannot be, or what contradicts what is held here.
    #[error("entry {0} of the page does not fit what this store holds")]
    Unfit(Position),
    /// What was brought to be merged is not what a server brings.
    #[error("what was brought holds {0}")]
    Absurd(&'static str),
}

/// How many entries are taken back in one commit.
const UNDO_AT_ONCE: i64 = 256;

impl Store {
    /// Applies entries of the log of the server that is active under `acting`. Returns where the log
    /// ends then, only once that is durable.
    pub fn apply_log(
        &mut self,
        acting: RoleTerm,
        entries: &[LogEntry],
    ) -> Result<Result<Head, NotApplied>, StoreError> {
        commit(&mut self.connection, |transaction| {
            if stored_term(transaction)? != Some(acting) {
                return Ok(Err(NotApplied::Fenced));
            }
            let mut end = head(transaction)?;
            for entry in entries {
                if entry.head.position != end.position.saturating_add(1)
                    || entry.head.role_term < end.role_term
                    || entry.head.role_term > acting
                {
                    return Ok(Err(NotApplied::NotNext(entry.head.position)));
                }
                let bytes = encode(&entry.change);
                if link(&end, entry.head.role_term, &bytes) != entry.head || !is_whole(entry) {
                    return Ok(Err(NotApplied::Damaged(entry.head.position)));
                }
                if !sound::change(entry) || !sound::continues(transaction, &entry.change)? {
                    return Ok(Err(NotApplied::Unfit(entry.head.position)));
                }
                match redo(transaction, entry) {
                    Ok(true) => {}
                    Ok(false) => return Ok(Err(NotApplied::Unfit(entry.head.position))),
                    Err(error) if error.is_contradiction() => {
                        return Ok(Err(NotApplied::Unfit(entry.head.position)));
                    }
                    Err(error) => return Err(error),
                }
                append(transaction, &entry.head, &bytes)?;
                end = entry.head;
            }
            Ok(Ok(end))
        })
    }

    /// Takes back what lies behind a position of the log, from its end, some of it at a time; `true`
    /// once there is nothing more. The store must not be the active one's, and its log has to begin
    /// at or before that position.
    pub fn undo_log(&mut self, acting: RoleTerm, down_to: Position) -> Result<bool, StoreError> {
        self.undo_some(acting, down_to, UNDO_AT_ONCE)
    }

    /// The same with so many entries at a time.
    pub(crate) fn undo_some(
        &mut self,
        acting: RoleTerm,
        down_to: Position,
        at_once: i64,
    ) -> Result<bool, StoreError> {
        let done = commit(&mut self.connection, |transaction| {
            if stored_term(transaction)? != Some(acting) {
                return Ok(Err(()));
            }
            if head_at(transaction, down_to)? == Err(NoPage::TooOld) {
                return Err(StoreError::CutOff { position: down_to });
            }
            let failed = || StoreError::sqlite("read the log");
            let mut select = transaction
                .prepare(
                    "SELECT position, change FROM log WHERE position > ?
                     ORDER BY position DESC LIMIT ?",
                )
                .map_err(failed())?;
            let rows: Result<Vec<(i64, Vec<u8>)>, _> = select
                .query_map(params![to_sql(down_to)?, at_once], |row| Ok((row.get(0)?, row.get(1)?)))
                .map_err(failed())?
                .collect();
            let rows = rows.map_err(failed())?;
            for (position, bytes) in &rows {
                let change: Change = postcard::from_bytes(bytes)
                    .map_err(|error| StoreError::Value { what: "log", got: error.to_string() })?;
                undo(transaction, *position, &change)?;
            }
            Ok(Ok(rows.is_empty()))
        })?;
        Ok(done.unwrap_or(false))
    }

    /// What lies behind a position of the log: what the other server may lack.
    pub fn log_behind(&self, after: Position, bytes: usize) -> Result<Vec<LogEntry>, StoreError> {
        let transaction =
            self.connection.unchecked_transaction().map_err(StoreError::sqlite("read the log"))?;
        super::log::page(&transaction, after, bytes)
    }
}

/// Whether the lines are those that the change tells of.
fn is_whole(entry: &LogEntry) -> bool {
    let Some((first, last)) = entry.change.rows else { return entry.lines.is_empty() };
    let mut digest = LineDigest::default();
    let mut next = first;
    for line in &entry.lines {
        if line.id != next {
            return false;
        }
        digest.add(line);
        next = next.saturating_add(1);
    }
    next == last.saturating_add(1) && entry.change.lines == Some(digest.finish())
}

/// Writes what an entry tells of; `false` where a line's place is taken.
fn redo(commit: &Connection, entry: &LogEntry) -> Result<bool, StoreError> {
    let LogEntry { head, change, lines } = entry;
    let Change { journals, controllers, aliases, epochs, holes, audit, .. } = change;
    for line in lines {
        if !insert_line(commit, line)? {
            return Ok(false);
        }
    }
    for journal in journals {
        put_journal(commit, journal)?;
    }
    for owner in controllers {
        put_owner(commit, owner)?;
    }
    for alias in aliases {
        execute(
            commit,
            "INSERT INTO aliases VALUES (?, ?, ?)",
            params![alias.controller.to_string(), alias.provisional.0, alias.epoch.0],
        )?;
    }
    for known in epochs {
        execute(
            commit,
            "INSERT INTO epochs (id, controller, epoch) VALUES (?, ?, ?)",
            params![to_sql(known.id)?, known.controller.to_string(), known.epoch.0],
        )?;
    }
    for hole in holes {
        put_hole(commit, hole)?;
    }
    for line in audit {
        insert_audit(commit, line, Some(head.position))?;
    }
    Ok(true)
}

fn undo(commit: &Connection, position: i64, change: &Change) -> Result<(), StoreError> {
    let Change { journals, controllers, aliases, epochs, holes, audit: _, rows, lines: _ } = change;
    if let Some((first, last)) = rows {
        let span = params![to_sql(*first)?, to_sql(*last)?];
        execute(commit, "DELETE FROM transactions WHERE id BETWEEN ? AND ?", span)?;
    }
    for JournalChange { journal, gateway, before, .. } in journals {
        match before {
            Some(before) => {
                let back = JournalChange {
                    journal: *journal,
                    gateway: gateway.clone(),
                    before: None,
                    after: *before,
                };
                put_journal(commit, &back)?;
            }
            None => execute(commit, "DELETE FROM journals WHERE journal = ?", [journal.0])?,
        }
    }
    for OwnerChange { controller, before, .. } in controllers {
        let name = controller.to_string();
        match before {
            Some(before) => put_owner(
                commit,
                &OwnerChange { controller: *controller, before: None, after: before.clone() },
            )?,
            None => execute(commit, "DELETE FROM controllers WHERE controller = ?", [name])?,
        }
    }
    for alias in aliases {
        let key = params![alias.controller.to_string(), alias.provisional.0];
        execute(commit, "DELETE FROM aliases WHERE controller = ? AND provisional = ?", key)?;
    }
    for known in epochs {
        execute(commit, "DELETE FROM epochs WHERE id = ?", [to_sql(known.id)?])?;
    }
    for hole in holes {
        match hole.filled {
            Some(_) => {
                put_hole(commit, &HoleChange { filled: None, ..*hole })?;
            }
            None => execute(commit, "DELETE FROM holes WHERE id = ?", [to_sql(hole.id)?])?,
        }
    }
    execute(commit, "DELETE FROM audit WHERE position = ?", [position])?;
    execute(commit, "DELETE FROM log WHERE position = ?", [position])
}

fn execute(
    commit: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
) -> Result<(), StoreError> {
    commit
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute(values))
        .map_err(StoreError::sqlite("follow the log"))?;
    Ok(())
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
