//! What a returning server brings: transactions that it stored while it was active and that nobody
//! fetched from it in time. They are merged by identity, as if a gateway had sent them again, and a
//! hole that they fill is one no more.

use std::collections::{BTreeMap, BTreeSet};

use postern_protocol::uplink::EpochAlias;
use postern_protocol::{ControllerId, EpochId, JournalId, RoleTerm, Seq, Timestamp, Transaction};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::apply::{
    Arrival, Decoded, Epochs, Insertion, insert, journal_mark, know_journal, put_hole, put_owner,
};
use super::change::{AuditLine, Head, HoleChange, Line, OwnerChange};
use super::log::{Write, commit_logged};
use super::owner::owner_of;
use super::query::Hole;
use super::sequence::from_sql;
use super::{Audit, NotApplied, Store, StoreError, role::stored_term, sound};

/// The most lines in one merge.
pub const MAX_LINES: usize = 1_024;

/// The most journals, aliases, or lines of the audit log in one merge: as many as the part of a log
/// that is looked at for it can tell of.
pub(super) const MAX_BROUGHT: usize = 8_192;

/// What a server brings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Returned {
    /// Transactions, in its order.
    pub lines: Vec<Line>,
    /// Whose their journals are, and, once all lines of them were brought, what it holds of them.
    pub journals: Vec<ReturnedJournal>,
    /// Under which epoch it stores the entries of an epoch.
    pub aliases: Vec<EpochAlias>,
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
        if let Err(what) = sound::returned(returned) {
            return Ok(Err(NotApplied::Absurd(what)));
        }
        let server = self.name.server.clone();
        commit_logged(&mut self.connection, &server, acting, |write| {
            if stored_term(write.sql)? != Some(acting) {
                return Ok(Err(NotApplied::Fenced));
            }
            merge(write, from, returned, now).map(Ok)
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
    let named: BTreeMap<JournalId, &str> = returned
        .journals
        .iter()
        .map(|returned| (returned.journal, returned.gateway.as_str()))
        .collect();
    let mut brought =
        Brought { write, from, now, gateways: BTreeMap::new(), told: BTreeSet::new() };
    for line in &returned.lines {
        brought.meet(line.journal, named.get(&line.journal).copied())?;
    }
    for alias in &returned.aliases {
        brought.alias(alias)?;
    }
    let mut merged = Merged::default();
    for line in &returned.lines {
        match brought.line(line)? {
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
        write.audit(&Audit::at(now, from, "merged", from, &detail))?;
    }
    Ok(merged)
}

/// A merge at work.
struct Brought<'a> {
    write: &'a Write<'a>,
    from: &'a str,
    now: Timestamp,
    /// Whose the journals are, where that is known.
    gateways: BTreeMap<JournalId, Option<String>>,
    /// Epochs whose contradiction was told.
    told: BTreeSet<(ControllerId, EpochId)>,
}

impl Brought<'_> {
    /// Finds out whose a journal is. One that was not known here comes to be known, so that what it
    /// brings is known again when its gateway brings it by another.
    fn meet(&mut self, journal: JournalId, named: Option<&str>) -> Result<(), StoreError> {
        if self.gateways.contains_key(&journal) {
            return Ok(());
        }
        let gateway = match (journal_mark(self.write.sql, journal)?, named) {
            (Some((owner, _)), _) => Some(owner),
            (None, Some(named)) => {
                know_journal(self.write, journal, named)?;
                Some(named.to_owned())
            }
            (None, None) => None,
        };
        self.gateways.insert(journal, gateway);
        Ok(())
    }

    /// Takes what an epoch was found to be there, unless it was found to be something here.
    fn alias(&mut self, alias: &EpochAlias) -> Result<(), StoreError> {
        let EpochAlias { controller, provisional, epoch } = *alias;
        let stored = Epochs::new(self.write).resolve_or(controller, provisional, epoch)?;
        if stored != epoch {
            self.contradicted(alias, stored)?;
        }
        Ok(())
    }

    /// Says once that the two servers store an epoch's entries under two. What a server brings again
    /// was said before.
    fn contradicted(&mut self, alias: &EpochAlias, stored: EpochId) -> Result<(), StoreError> {
        let EpochAlias { controller, provisional, epoch } = *alias;
        if !self.told.insert((controller, provisional)) {
            return Ok(());
        }
        let (from, subject) = (self.from, controller.to_string());
        let detail = format!("epoch {provisional} is {epoch} at {from}; it stays {stored}");
        let audit = Audit::at(self.now, from, "alias_contradicted", &subject, &detail);
        if !was_told(self.write.sql, &audit)? {
            tracing::warn!(from, subject, detail, "alarm: alias_contradicted");
            self.write.audit(&audit)?;
        }
        Ok(())
    }

    fn line(&mut self, line: &Line) -> Result<Insertion, StoreError> {
        let decoded = Decoded::of(&line.entry.0);
        let gateway = self.gateways.get(&line.journal).cloned().flatten();
        let arrival = Arrival {
            journal: line.journal,
            gateway: gateway.as_deref().unwrap_or(self.from),
            role_term: line.role_term,
            stored_at: line.stored_at,
            live: Some(line.live),
        };
        if let Decoded::Readable(transaction, _) = &decoded {
            let controller = transaction.origin.controller();
            if let Some(gateway) = &gateway
                && owner_of(self.write.sql, controller)?.is_none()
            {
                own(self.write, controller, gateway)?;
            }
            if let Some(alias) = alias(line, transaction) {
                self.alias(&alias)?;
            }
        }
        insert(self.write, &arrival, line.seq, &decoded, &mut Epochs::new(self.write))
    }
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

/// Whether an alarm stands in the audit log that both servers keep, whenever it was raised.
fn was_told(connection: &Connection, audit: &Audit) -> Result<bool, StoreError> {
    let Audit { actor, event, subject, detail, at: _, shared: _ } = audit;
    connection
        .query_row(
            "SELECT EXISTS (SELECT 1 FROM audit WHERE event = ? AND subject = ? AND actor = ?
                 AND detail = ? AND position IS NOT NULL)",
            params![event, subject, actor, detail],
            |row| row.get(0),
        )
        .map_err(StoreError::sqlite("read the audit log"))
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

#[cfg(test)]
mod tests;
