//! The rows of journals, controllers and holes: written by a batch, and by whoever follows the log.

use postern_protocol::{Chain, ControllerId, JournalId, Seq};
use rusqlite::{Connection, params};

use crate::store::StoreError;
use crate::store::change::{HoleChange, JournalChange, Mark, OwnerChange};
use crate::store::log::Write;
use crate::store::owner::owner_of;
use crate::store::sequence::{digest, from_sql, to_sql};

/// A journal of which nothing is held.
pub(super) fn beginning(journal: JournalId) -> Mark {
    Mark {
        stored: Seq(0),
        chain: Chain::genesis(journal).hash,
        safe: Seq(0),
        doubles: 0,
        conflicts: 0,
        unreadable: 0,
    }
}

/// Notes whose a journal is that nothing was held of, before its gateway sends it.
pub(in crate::store) fn know_journal(
    write: &Write<'_>,
    journal: JournalId,
    gateway: &str,
) -> Result<(), StoreError> {
    let (gateway, after) = (gateway.to_owned(), beginning(journal));
    let change = JournalChange { journal, gateway, before: None, after };
    put_journal(write.sql, &change)?;
    write.note(|noted| noted.journals.push(change));
    Ok(())
}

/// Writes a journal's row.
pub(in crate::store) fn put_journal(
    commit: &Connection,
    change: &JournalChange,
) -> Result<(), StoreError> {
    let JournalChange { journal, gateway, after, .. } = change;
    commit
        .prepare_cached(
            "INSERT INTO journals
                 (journal, gateway, stored, chain, safe, doubles, conflicts, unreadable)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (journal) DO UPDATE SET gateway = ?2, stored = ?3, chain = ?4, safe = ?5,
                 doubles = ?6, conflicts = ?7, unreadable = ?8",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                journal.0,
                gateway,
                after.stored.0.cast_signed(),
                after.chain.0,
                after.safe.0.cast_signed(),
                after.doubles.cast_signed(),
                after.conflicts.cast_signed(),
                after.unreadable.cast_signed(),
            ])
        })
        .map_err(StoreError::sqlite("move the watermark"))?;
    Ok(())
}

/// A journal's owner and mark, where it is known.
pub(in crate::store) fn journal_mark(
    connection: &Connection,
    journal: JournalId,
) -> Result<Option<(String, Mark)>, StoreError> {
    let failed = || StoreError::sqlite("read the journal");
    let mut select = connection
        .prepare_cached(
            "SELECT gateway, stored, chain, safe, doubles, conflicts, unreadable
             FROM journals WHERE journal = ?",
        )
        .map_err(failed())?;
    let mut rows = select.query([journal.0]).map_err(failed())?;
    let Some(row) = rows.next().map_err(failed())? else { return Ok(None) };
    let number = |at: usize| -> Result<u64, StoreError> {
        from_sql("a number", row.get(at).map_err(failed())?)
    };
    let chain: Vec<u8> = row.get(2).map_err(failed())?;
    let mark = Mark {
        stored: Seq(number(1)?),
        chain: digest("chain", &chain)?,
        safe: Seq(number(3)?),
        doubles: number(4)?,
        conflicts: number(5)?,
        unreadable: number(6)?,
    };
    Ok(Some((row.get(0).map_err(failed())?, mark)))
}

/// Makes the controller the gateway's at its first use; or says whose it is.
pub(super) fn own_controller(
    write: &Write<'_>,
    controller: ControllerId,
    gateway: &str,
) -> Result<Result<(), String>, StoreError> {
    match owner_of(write.sql, controller)? {
        Some(owner) if owner != gateway => return Ok(Err(owner)),
        Some(_) => {}
        None => {
            let change = OwnerChange { controller, before: None, after: gateway.to_owned() };
            put_owner(write.sql, &change)?;
            write.note(|noted| noted.controllers.push(change));
        }
    }
    Ok(Ok(()))
}

/// Writes whose a controller is.
pub(in crate::store) fn put_owner(
    commit: &Connection,
    change: &OwnerChange,
) -> Result<(), StoreError> {
    commit
        .execute(
            "INSERT INTO controllers VALUES (?1, ?2)
             ON CONFLICT (controller) DO UPDATE SET gateway = ?2",
            params![change.controller.to_string(), change.after],
        )
        .map_err(StoreError::sqlite("write whose the controller is"))?;
    Ok(())
}

/// Whether all entries between two places of a journal are held: another server brought them before
/// the journal's gateway came.
pub(super) fn is_held(
    connection: &Connection,
    journal: JournalId,
    first: Seq,
    last: Seq,
) -> Result<bool, StoreError> {
    let held: i64 = connection
        .prepare_cached(
            "SELECT count(*) FROM transactions WHERE journal = ? AND seq BETWEEN ? AND ?",
        )
        .and_then(|mut statement| {
            let span = params![journal.0, first.0.cast_signed(), last.0.cast_signed()];
            statement.query_row(span, |row| row.get(0))
        })
        .map_err(StoreError::sqlite("look for the entries"))?;
    Ok(from_sql("a number", held)? == last.0.saturating_sub(first.0).saturating_add(1))
}

/// Writes a hole under its number, or, where that is 0, behind all others; returns the number.
pub(in crate::store) fn put_hole(
    commit: &Connection,
    hole: &HoleChange,
) -> Result<u64, StoreError> {
    let HoleChange { id, journal, first, last, at, filled } = hole;
    let id = (*id > 0).then(|| to_sql(*id)).transpose()?;
    commit
        .execute(
            "INSERT OR REPLACE INTO holes (id, journal, first, last, at, filled)
             VALUES (?, ?, ?, ?, ?, ?)",
            params![
                id,
                journal.0,
                to_sql(first.0)?,
                to_sql(last.0)?,
                at.0,
                filled.map(|filled| filled.0)
            ],
        )
        .map_err(StoreError::sqlite("record the hole"))?;
    from_sql("id", commit.last_insert_rowid())
}
