//! What a returning server brings: transactions that it stored while it was active and that nobody
//! fetched from it in time. They are merged by identity, as if a gateway had sent them again, and a
//! hole that they fill is one no more.

use std::collections::BTreeMap;

use postern_protocol::uplink::EpochAlias;
use postern_protocol::{ControllerId, JournalId, RoleTerm, Seq, Timestamp, Transaction};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::apply::{
    Arrival, Decoded, Epochs, Insertion, insert, journal_mark, put_hole, put_owner,
};
use super::change::{AuditLine, Head, HoleChange, Line, OwnerChange};
use super::log::{Write, commit_logged};
use super::owner::owner_of;
use super::query::Hole;
use super::sequence::from_sql;
use super::{NotApplied, Store, StoreError, role::stored_term};

/// The most lines in one merge.
pub const MAX_LINES: usize = 1_024;

/// What a server brings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Returned {
    /// Transactions, in its order.
    pub lines: Vec<Line>,
    /// Whose their journals are, and, once all lines of them were brought, what it holds of them.
    pub journals: Vec<ReturnedJournal>,
    /// Lines of the audit log.
    pub audit: Vec<AuditLine>,
}

/// A journal as a returning server holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReturnedJournal {
    /// Which.
    pub journal: JournalId,
    /// Whose.
    pub gateway: String,
    /// Up to where it holds it, but for these holes; `None` while lines are still to come.
    pub holds: Option<(Seq, Vec<Hole>)>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merged {
    /// Transactions that were not held.
    pub stored: u64,
    /// Transactions that were.
    pub doubles: u64,
    /// Holes that are filled now.
    pub filled: u64,
}

impl Store {
    /// Merges what a returning server brings, in one commit under the role term by which this one
    /// acts.
    pub fn merge(
        &mut self,
        acting: RoleTerm,
        from: &str,
        returned: &Returned,
        now: Timestamp,
    ) -> Result<Result<(Merged, Head), NotApplied>, StoreError> {
        if self.is_paused() {
            return Ok(Err(NotApplied::Fenced));
        }
        let server = self.name.server.clone();
        let done = commit_logged(&mut self.connection, &server, acting, |write| {
            if stored_term(write.sql)? != Some(acting) {
                return Ok(Err(NotApplied::Fenced));
            }
            merge(write, from, returned, now).map(Ok)
        })?;
        Ok(match done {
            Ok(merged) => Ok((merged, self.head()?)),
            Err(refused) => Err(refused),
        })
    }

    /// The lines of a journal between two places in it, the first of them.
    pub fn journal_lines(
        &self,
        journal: JournalId,
        after: Seq,
        up_to: Seq,
    ) -> Result<Vec<Line>, StoreError> {
        super::apply::lines_of(&self.connection, journal, after, up_to, MAX_LINES)
    }
}

fn merge(
    write: &Write<'_>,
    from: &str,
    returned: &Returned,
    now: Timestamp,
) -> Result<Merged, StoreError> {
    let owners: BTreeMap<JournalId, &str> = returned
        .journals
        .iter()
        .map(|returned| (returned.journal, returned.gateway.as_str()))
        .collect();
    let mut merged = Merged::default();
    for line in &returned.lines {
        let gateway = match owners.get(&line.journal) {
            Some(gateway) => (*gateway).to_owned(),
            None => journal_mark(write.sql, line.journal)?
                .map_or_else(|| from.to_owned(), |(owner, _)| owner),
        };
        match one(write, line, &gateway)? {
            Insertion::Double => merged.doubles += 1,
            Insertion::Stored | Insertion::Conflict | Insertion::Unreadable => merged.stored += 1,
        }
    }
    for line in &returned.audit {
        if !is_known(write.sql, line)? {
            write.audit_line(line)?;
        }
    }
    for journal in &returned.journals {
        if let Some((stored, holes)) = &journal.holds {
            merged.filled += fill(write, journal.journal, *stored, holes, now)?;
        }
    }
    if merged.stored > 0 || merged.filled > 0 {
        let Merged { stored, filled, .. } = merged;
        let detail = format!("{stored} transactions that only {from} held, {filled} holes filled");
        write.audit(&super::Audit::at(now, from, "merged", from, &detail))?;
    }
    Ok(merged)
}

fn one(write: &Write<'_>, line: &Line, gateway: &str) -> Result<Insertion, StoreError> {
    let decoded = Decoded::of(&line.entry.0);
    let arrival = Arrival {
        journal: line.journal,
        gateway,
        role_term: line.role_term,
        stored_at: line.stored_at,
        live: Some(line.live),
    };
    let mut aliases = Vec::new();
    if let Decoded::Readable(transaction, _) = &decoded {
        let controller = transaction.origin.controller();
        if owner_of(write.sql, controller)?.is_none() {
            own(write, controller, gateway)?;
        }
        aliases.extend(alias(line, transaction));
    }
    let mut epochs = Epochs::declare(write, &arrival, &aliases)?;
    insert(write, &arrival, line.seq, &decoded, &mut epochs)
}

/// What the entry's epoch was found to be. A record that contradicts another is kept under an epoch
/// that says nothing of that.
fn alias(line: &Line, transaction: &Transaction) -> Option<EpochAlias> {
    let (controller, provisional) = (transaction.origin.controller(), transaction.origin.epoch());
    let epoch = line.epoch.filter(|epoch| line.flags.is_empty() && *epoch != provisional)?;
    Some(EpochAlias { controller, provisional, epoch })
}

fn own(write: &Write<'_>, controller: ControllerId, gateway: &str) -> Result<(), StoreError> {
    let change = OwnerChange { controller, before: None, after: gateway.to_owned() };
    put_owner(write.sql, &change)?;
    write.note(|noted| noted.controllers.push(change));
    Ok(())
}

fn is_known(connection: &Connection, line: &AuditLine) -> Result<bool, StoreError> {
    let AuditLine { server, at, actor, event, subject, detail } = line;
    connection
        .query_row(
            "SELECT EXISTS (SELECT 1 FROM audit WHERE event = ? AND subject = ? AND actor = ?
                 AND at = ? AND server = ? AND detail = ? AND position IS NOT NULL)",
            params![event, subject, actor, at.0, server, detail],
            |row| row.get(0),
        )
        .map_err(StoreError::sqlite("read the audit log"))
}

/// Marks the holes that lie in what the other server holds.
fn fill(
    write: &Write<'_>,
    journal: JournalId,
    stored: Seq,
    theirs: &[Hole],
    now: Timestamp,
) -> Result<u64, StoreError> {
    let mut filled = 0;
    for hole in open_holes(write.sql, journal)? {
        let missing =
            theirs.iter().any(|their| their.first <= hole.last && hole.first <= their.last);
        if hole.last <= stored && !missing {
            let hole = HoleChange { filled: Some(now), ..hole };
            put_hole(write.sql, &hole)?;
            write.note(|noted| noted.holes.push(hole));
            filled += 1;
        }
    }
    Ok(filled)
}

/// The holes of a journal that are not filled.
fn open_holes(connection: &Connection, journal: JournalId) -> Result<Vec<HoleChange>, StoreError> {
    let failed = || StoreError::sqlite("read the holes");
    let mut select = connection
        .prepare_cached(
            "SELECT id, first, last, at FROM holes WHERE journal = ? AND filled IS NULL ORDER BY id",
        )
        .map_err(failed())?;
    let rows: Result<Vec<(i64, i64, i64, i64)>, _> = select
        .query_map([journal.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .map_err(failed())?
        .collect();
    let hole = |(id, first, last, at)| {
        Ok(HoleChange {
            id: from_sql("id", id)?,
            journal,
            first: Seq(from_sql("first", first)?),
            last: Seq(from_sql("last", last)?),
            at: Timestamp(at),
            filled: None,
        })
    };
    rows.map_err(failed())?.into_iter().map(hole).collect()
}
