//! What is read from the store: watermarks for gateways, listings for operators and the checker.

use postern_protocol::uplink::{Last, LastRecord, Watermark};
use postern_protocol::{
    Chain, ControllerId, Digest, EpochId, Index, JournalId, RoleTerm, Seq, Timestamp,
};
use rusqlite::{OptionalExtension as _, Row, params};

use super::item::{item, journal_item};
use super::sequence::{digest, from_sql, id};
use super::{Store, StoreError, owner::owner_of, role::stored_term};
use crate::clock::rfc3339;

pub use super::item::{AuditItem, Counts, Hole, Item, JournalItem};

/// The most rows in one answer: at about 700 bytes each an answer stays below 4 MiB.
pub const MAX_ROWS: usize = 5_000;

/// Why a gateway's question has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// The store stands under another role term than the request was accepted under.
    Fenced,
    /// What it asks about is this other gateway's.
    Foreign(String),
}

const FAILED: &str = "read";

impl Store {
    /// Where a gateway's journal stands: at the beginning where it is not known.
    pub fn watermark(
        &self,
        journal: JournalId,
        gateway: &str,
        acting: RoleTerm,
    ) -> Result<Result<Watermark, Unanswered>, StoreError> {
        if stored_term(&self.connection)? != Some(acting) {
            return Ok(Err(Unanswered::Fenced));
        }
        let row: Option<(String, i64, Vec<u8>, i64)> = self
            .connection
            .prepare_cached("SELECT gateway, stored, chain, safe FROM journals WHERE journal = ?")
            .and_then(|mut statement| {
                statement
                    .query_row([journal.0], |row| {
                        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                    })
                    .optional()
            })
            .map_err(StoreError::sqlite(FAILED))?;
        Ok(match row {
            None => Ok(Watermark {
                role_term: acting,
                stored: Seq(0),
                chain: Chain::genesis(journal).hash,
                safe: Seq(0),
            }),
            Some((owner, ..)) if owner != gateway => Err(Unanswered::Foreign(owner)),
            Some((_, stored, chain, safe)) => Ok(Watermark {
                role_term: acting,
                stored: Seq(from_sql("stored", stored)?),
                chain: digest("chain", &chain)?,
                safe: Seq(from_sql("safe", safe)?),
            }),
        })
    }

    /// What is held last of a controller.
    pub fn last(
        &self,
        controller: ControllerId,
        at_most: Index,
        gateway: &str,
        acting: RoleTerm,
    ) -> Result<Result<Last, Unanswered>, StoreError> {
        if stored_term(&self.connection)? != Some(acting) {
            return Ok(Err(Unanswered::Fenced));
        }
        let name = controller.to_string();
        if let Some(owner) = owner_of(&self.connection, controller)?
            && owner != gateway
        {
            return Ok(Err(Unanswered::Foreign(owner)));
        }
        let epoch: Option<Vec<u8>> = self
            .connection
            .query_row(
                "SELECT epoch FROM epochs WHERE controller = ? ORDER BY id DESC LIMIT 1",
                [&name],
                |row| row.get(0),
            )
            .optional()
            .map_err(StoreError::sqlite(FAILED))?;
        let Some(epoch) = epoch else {
            return Ok(Ok(Last { role_term: acting, record: None, newest: None }));
        };
        let epoch = EpochId(id("epoch", &epoch)?);
        let highest = |at_most: i64| -> Result<Option<(Index, Digest)>, StoreError> {
            let row: Option<(i64, Vec<u8>)> = self
                .connection
                .prepare_cached(
                    "SELECT idx, digest FROM transactions
                     WHERE controller = ? AND epoch = ? AND idx <= ? ORDER BY idx DESC LIMIT 1",
                )
                .and_then(|mut statement| {
                    statement
                        .query_row(params![name, epoch.0, at_most], |row| {
                            Ok((row.get(0)?, row.get(1)?))
                        })
                        .optional()
                })
                .map_err(StoreError::sqlite(FAILED))?;
            row.map(|(index, bytes)| {
                Ok((Index(from_sql("idx", index)?), digest("digest", &bytes)?))
            })
            .transpose()
        };
        let record = highest(i64::try_from(at_most.0).unwrap_or(i64::MAX))?
            .map(|(index, digest)| LastRecord { epoch, index, digest });
        let newest = highest(i64::MAX)?.map(|(index, _)| (epoch, index));
        Ok(Ok(Last { role_term: acting, record, newest }))
    }

    /// Transactions in the order in which they were stored, after a row, of one controller or all.
    pub fn transactions(
        &self,
        after: u64,
        limit: usize,
        controller: Option<ControllerId>,
    ) -> Result<Vec<Item>, StoreError> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit.min(MAX_ROWS)).unwrap_or(0);
        let sql = |filter: &str| {
            format!(
                "SELECT id, controller, epoch, idx, after, journal, seq, kind, occurred,
                     time_source, time_trust, received, stored_at, live, door, direction,
                     credential, raw, digest, role_term, flags
                 FROM transactions WHERE id > ? {filter} ORDER BY id LIMIT ?"
            )
        };
        let failed = || StoreError::sqlite("list transactions");
        let read = |row: &Row<'_>| Ok(item(row));
        let rows: Result<Vec<_>, _> = match controller {
            Some(controller) => self
                .connection
                .prepare_cached(&sql("AND controller = ?"))
                .map_err(failed())?
                .query_map(params![after, controller.to_string(), limit], read)
                .map_err(failed())?
                .collect(),
            None => self
                .connection
                .prepare_cached(&sql(""))
                .map_err(failed())?
                .query_map(params![after, limit], read)
                .map_err(failed())?
                .collect(),
        };
        rows.map_err(failed())?.into_iter().collect()
    }

    /// Journals with their holes; the first [`MAX_ROWS`].
    pub fn journals(&self) -> Result<Vec<JournalItem>, StoreError> {
        let failed = || StoreError::sqlite("list journals");
        let mut holes = self
            .connection
            .prepare_cached(
                "SELECT first, last FROM holes WHERE journal = ? AND filled IS NULL
                 ORDER BY id LIMIT ?",
            )
            .map_err(failed())?;
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT journal, gateway, stored, chain, safe, doubles, conflicts, unreadable
                 FROM journals ORDER BY gateway, journal LIMIT ?",
            )
            .map_err(failed())?;
        let limit = i64::try_from(MAX_ROWS).unwrap_or(i64::MAX);
        let mut rows = statement.query([limit]).map_err(failed())?;
        let mut journals = Vec::new();
        while let Some(row) = rows.next().map_err(failed())? {
            let mut item = journal_item(row)?;
            let found: Result<Vec<(i64, i64)>, _> = holes
                .query_map(params![item.journal.0, limit], |row| Ok((row.get(0)?, row.get(1)?)))
                .map_err(failed())?
                .collect();
            for (first, last) in found.map_err(failed())? {
                let (first, last) = (from_sql("first", first)?, from_sql("last", last)?);
                item.holes.push(Hole { first: Seq(first), last: Seq(last) });
            }
            journals.push(item);
        }
        Ok(journals)
    }

    /// Lines of the audit log after one.
    pub fn audit(&self, after: u64, limit: usize) -> Result<Vec<AuditItem>, StoreError> {
        let failed = || StoreError::sqlite("list the audit log");
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit.min(MAX_ROWS)).unwrap_or(0);
        self.connection
            .prepare_cached(
                "SELECT id, at, actor, event, subject, detail FROM audit
                 WHERE id > ? ORDER BY id LIMIT ?",
            )
            .map_err(failed())?
            .query_map(params![after, limit], |row| {
                Ok(AuditItem {
                    id: row.get::<_, i64>(0)?.unsigned_abs(),
                    at: rfc3339(Timestamp(row.get(1)?)),
                    actor: row.get(2)?,
                    event: row.get(3)?,
                    subject: row.get(4)?,
                    detail: row.get(5)?,
                })
            })
            .map_err(failed())?
            .collect::<Result<_, _>>()
            .map_err(failed())
    }

    /// Totals.
    pub fn counts(&self) -> Result<Counts, StoreError> {
        self.connection
            .query_row(
                // Rows are never deleted, so the highest id is the count.
                "SELECT (SELECT coalesce(max(id), 0) FROM transactions), count(*),
                     coalesce(sum(doubles), 0), coalesce(sum(conflicts), 0),
                     coalesce(sum(unreadable), 0), (SELECT coalesce(max(id), 0) FROM holes)
                 FROM journals",
                [],
                |row| {
                    let count = |at: usize| row.get::<_, i64>(at).map(i64::unsigned_abs);
                    Ok(Counts {
                        transactions: count(0)?,
                        journals: count(1)?,
                        doubles: count(2)?,
                        conflicts: count(3)?,
                        unreadable: count(4)?,
                        holes: count(5)?,
                    })
                },
            )
            .map_err(StoreError::sqlite("count"))
    }
}
