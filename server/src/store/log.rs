//! The change log: every commit that changes what both servers hold writes its entry with it.
//!
//! [`Write`] is what such a commit works with: it notes each change as it is made. Invariants: an
//! entry and what it tells of are one commit; positions have no holes; an entry is written under
//! the role term that the store stands under.

use std::cell::RefCell;

use postern_protocol::RoleTerm;
use rusqlite::{Connection, OptionalExtension as _, Transaction as Commit, params};

use super::change::{AuditLine, Change, Head, Line, LineDigest, LogEntry, Position, encode, link};
use super::sequence::{digest, from_sql, to_sql};
use super::{Audit, Store, StoreError, role::stored_term};

/// How many entries are kept for a server that comes back; beyond that it gets a full copy.
const KEPT: u64 = 200_000;

/// How often the beginning of the log is cut off, in entries.
const TRIM_EVERY: u64 = 1_024;

/// A commit that changes what both servers hold.
pub(super) struct Write<'a> {
    /// Where it is carried out.
    pub(super) sql: &'a Commit<'a>,
    /// The server whose store this is.
    pub(super) server: &'a str,
    head: Head,
    noted: RefCell<Noted>,
}

#[derive(Default)]
struct Noted {
    change: Change,
    lines: LineDigest,
}

impl<'a> Write<'a> {
    /// Begins behind the log's end.
    pub(super) fn begin(sql: &'a Commit<'a>, server: &'a str) -> Result<Self, StoreError> {
        Ok(Self { sql, server, head: head(sql)?, noted: RefCell::default() })
    }

    /// Notes a change that was made.
    pub(super) fn note(&self, add: impl FnOnce(&mut Change)) {
        add(&mut self.noted.borrow_mut().change);
    }

    /// Notes a transaction that was stored.
    pub(super) fn note_line(&self, line: &Line) {
        let noted = &mut *self.noted.borrow_mut();
        noted.lines.add(line);
        let (first, _) = noted.change.rows.unwrap_or((line.id, line.id));
        noted.change.rows = Some((first, line.id));
    }

    /// Writes a line of the audit log that both servers keep.
    pub(super) fn audit(&self, audit: &Audit) -> Result<(), StoreError> {
        self.audit_line(&audit.line(self.server))
    }

    /// Writes a line of the audit log that the other server wrote.
    pub(super) fn audit_line(&self, line: &AuditLine) -> Result<(), StoreError> {
        insert_audit(self.sql, line, Some(self.head.position.saturating_add(1)))?;
        self.note(|change| change.audit.push(line.clone()));
        Ok(())
    }

    /// Writes the log's entry, if there is anything to tell.
    pub(super) fn finish(self, role_term: RoleTerm) -> Result<Head, StoreError> {
        let Noted { mut change, lines } = self.noted.into_inner();
        if change.is_empty() {
            return Ok(self.head);
        }
        change.lines = change.rows.is_some().then(|| lines.finish());
        let bytes = encode(&change);
        let next = link(&self.head, role_term, &bytes);
        append(self.sql, &next, &bytes)?;
        Ok(next)
    }
}

/// Runs `change` in one commit under a role term, with its entry in the log; kept only if it
/// returns `Ok(Ok(_))`. With what it returned comes where the log ends then.
pub(super) fn commit_logged<T, R>(
    connection: &mut Connection,
    server: &str,
    role_term: RoleTerm,
    change: impl FnOnce(&Write<'_>) -> Result<Result<T, R>, StoreError>,
) -> Result<Result<(T, Head), R>, StoreError> {
    super::commit(connection, |transaction| {
        let write = Write::begin(transaction, server)?;
        Ok(match change(&write)? {
            Ok(value) => Ok((value, write.finish(role_term)?)),
            Err(refused) => Err(refused),
        })
    })
}

/// Where the log ends.
pub(super) fn head(connection: &Connection) -> Result<Head, StoreError> {
    let row: Option<(i64, i64, Vec<u8>)> = connection
        .prepare_cached("SELECT position, role_term, chain FROM log ORDER BY position DESC LIMIT 1")
        .and_then(|mut statement| {
            statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()
        })
        .map_err(StoreError::sqlite("read the end of the log"))?;
    row.map_or_else(|| Ok(Head::genesis()), |(position, term, chain)| of(position, term, &chain))
}

fn of(position: i64, term: i64, chain: &[u8]) -> Result<Head, StoreError> {
    Ok(Head {
        position: from_sql("position", position)?,
        role_term: RoleTerm(from_sql("role_term", term)?),
        chain: digest("chain", chain)?,
    })
}

/// Adds an entry and now and then cuts off the oldest.
pub(super) fn append(commit: &Connection, head: &Head, change: &[u8]) -> Result<(), StoreError> {
    let failed = || StoreError::sqlite("write the log");
    let position = to_sql(head.position)?;
    commit
        .prepare_cached("INSERT INTO log (position, role_term, chain, change) VALUES (?, ?, ?, ?)")
        .and_then(|mut statement| {
            let term = head.role_term.0.cast_signed();
            statement.execute(params![position, term, head.chain.0, change])
        })
        .map_err(failed())?;
    up_to(head.position).map_or(Ok(()), |position| cut(commit, position))
}

/// Up to where the log is cut off once it ends at a position, if it is then.
const fn up_to(end: Position) -> Option<Position> {
    if end.is_multiple_of(TRIM_EVERY) && end > KEPT { Some(end - KEPT) } else { None }
}

/// Cuts off the beginning of the log. What it brought stays.
pub(super) fn cut(commit: &Connection, up_to: Position) -> Result<(), StoreError> {
    commit
        .execute("DELETE FROM log WHERE position <= ?", [to_sql(up_to)?])
        .map_err(StoreError::sqlite("cut the log"))?;
    Ok(())
}

/// Writes a line of the audit log.
pub(super) fn insert_audit(
    connection: &Connection,
    line: &AuditLine,
    position: Option<Position>,
) -> Result<(), StoreError> {
    let AuditLine { server, at, actor, event, subject, detail } = line;
    let position = position.map(to_sql).transpose()?;
    connection
        .prepare_cached(
            "INSERT INTO audit (position, server, at, actor, event, subject, detail)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .and_then(|mut statement| {
            statement.execute(params![position, server, at.0, actor, event, subject, detail])
        })
        .map_err(StoreError::sqlite("write the audit log"))?;
    Ok(())
}

/// Why there is no page of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPage {
    /// The entries that follow were cut off, or what is asked about is before the beginning.
    #[error("the log begins behind that position")]
    TooOld,
    /// The log does not reach so far.
    #[error("the log ends before that position")]
    Beyond,
    /// The log has another entry there.
    #[error("the log has another entry at that position")]
    Differs,
}

impl Store {
    /// Where the change log ends.
    pub fn head(&self) -> Result<Head, StoreError> {
        head(&self.connection)
    }

    /// The log at a position, or why there is nothing there.
    pub fn head_at(&self, position: Position) -> Result<Result<Head, NoPage>, StoreError> {
        head_at(&self.connection, position)
    }

    /// The entries behind `after`, which the log has to have: at least one where there are any, and
    /// no more once their transactions' entries are `bytes` long.
    pub fn log_page(
        &self,
        after: &Head,
        bytes: usize,
    ) -> Result<Result<Vec<LogEntry>, NoPage>, StoreError> {
        let transaction =
            self.connection.unchecked_transaction().map_err(StoreError::sqlite("read the log"))?;
        match head_at(&transaction, after.position)? {
            Ok(held) if held == *after => {}
            Ok(_) => return Ok(Err(NoPage::Differs)),
            Err(no) => return Ok(Err(no)),
        }
        page(&transaction, after.position, bytes).map(Ok)
    }

    /// Records something that concerns both servers, under the role term by which this one acts;
    /// `false` where the store stands under another.
    pub fn record(&mut self, acting: RoleTerm, audit: &Audit) -> Result<bool, StoreError> {
        if self.is_paused() {
            return Ok(false);
        }
        let server = self.name.server.clone();
        let done = commit_logged(&mut self.connection, &server, acting, |write| {
            if stored_term(write.sql)? != Some(acting) {
                return Ok(Err(()));
            }
            write.audit(audit).map(Ok)
        })?;
        Ok(done.is_ok())
    }
}

pub(super) fn head_at(
    connection: &Connection,
    position: Position,
) -> Result<Result<Head, NoPage>, StoreError> {
    let failed = || StoreError::sqlite("read the log");
    let end = head(connection)?;
    if position >= end.position {
        return Ok(if position == end.position { Ok(end) } else { Err(NoPage::Beyond) });
    }
    let oldest: i64 = connection
        .query_row("SELECT min(position) FROM log", [], |row| row.get(0))
        .map_err(failed())?;
    if position == 0 && oldest == 1 {
        return Ok(Ok(Head::genesis()));
    }
    let row: Option<(i64, i64, Vec<u8>)> = connection
        .prepare_cached("SELECT position, role_term, chain FROM log WHERE position = ?")
        .and_then(|mut statement| {
            statement
                .query_row([to_sql(position).unwrap_or(i64::MAX)], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })
                .optional()
        })
        .map_err(failed())?;
    row.map_or(Ok(Err(NoPage::TooOld)), |(position, term, chain)| {
        of(position, term, &chain).map(Ok)
    })
}

/// The entries behind a position.
pub(super) fn page(
    connection: &Connection,
    after: Position,
    bytes: usize,
) -> Result<Vec<LogEntry>, StoreError> {
    let failed = || StoreError::sqlite("read the log");
    let mut statement = connection
        .prepare_cached(
            "SELECT position, role_term, chain, change FROM log
             WHERE position > ? ORDER BY position LIMIT 4096",
        )
        .map_err(failed())?;
    let mut rows = statement.query([to_sql(after)?]).map_err(failed())?;
    let (mut entries, mut length) = (Vec::new(), 0);
    while length < bytes
        && let Some(row) = rows.next().map_err(failed())?
    {
        let chain: Vec<u8> = row.get(2).map_err(failed())?;
        let head = of(row.get(0).map_err(failed())?, row.get(1).map_err(failed())?, &chain)?;
        let change: Vec<u8> = row.get(3).map_err(failed())?;
        length += change.len();
        let change: Change = postcard::from_bytes(&change)
            .map_err(|error| StoreError::Value { what: "log", got: error.to_string() })?;
        let lines = match change.rows {
            Some((first, last)) => super::apply::lines(connection, first, last)?,
            None => Vec::new(),
        };
        length += lines.iter().map(|line| line.entry.0.len() + 100).sum::<usize>();
        entries.push(LogEntry { head, change, lines });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests;
