//! Transactions as they travel between stores: read from one, written into another as they are.

use rusqlite::{Connection, Row as Sql, params};

use super::entry::{Decoded, Row};
use crate::store::StoreError;
use crate::store::change::Line;
use crate::store::sequence::{from_sql, id, to_sql};
use postern_protocol::uplink::Bytes;
use postern_protocol::{EpochId, JournalId, RoleTerm, Seq, Timestamp};

const COLUMNS: &str = "id, journal, seq, epoch, kind, stored_at, live, role_term, flags, entry";

/// The rows from one to another.
pub(in crate::store) fn lines(
    connection: &Connection,
    first: u64,
    last: u64,
) -> Result<Vec<Line>, StoreError> {
    let failed = || StoreError::sqlite("read transactions");
    let sql = format!("SELECT {COLUMNS} FROM transactions WHERE id BETWEEN ? AND ? ORDER BY id");
    let mut statement = connection.prepare_cached(&sql).map_err(failed())?;
    let mut rows = statement.query(params![to_sql(first)?, to_sql(last)?]).map_err(failed())?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next().map_err(failed())? {
        lines.push(line(row)?);
    }
    Ok(lines)
}

/// The first lines of a journal behind a place in it.
pub(in crate::store) fn lines_of(
    connection: &Connection,
    journal: JournalId,
    after: Seq,
    up_to: Seq,
    limit: usize,
) -> Result<Vec<Line>, StoreError> {
    let failed = || StoreError::sqlite("read transactions");
    let sql = format!(
        "SELECT {COLUMNS} FROM transactions WHERE journal = ? AND seq > ? AND seq <= ?
         ORDER BY seq LIMIT ?"
    );
    let mut statement = connection.prepare_cached(&sql).map_err(failed())?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let span = params![journal.0, to_sql(after.0)?, to_sql(up_to.0)?, limit];
    let mut rows = statement.query(span).map_err(failed())?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next().map_err(failed())? {
        lines.push(line(row)?);
    }
    Ok(lines)
}

fn line(row: &Sql<'_>) -> Result<Line, StoreError> {
    let failed = || StoreError::sqlite("read a transaction");
    macro_rules! get {
        ($at:expr) => {
            row.get($at).map_err(failed())?
        };
    }
    let (journal, epoch): (Vec<u8>, Option<Vec<u8>>) = (get!(1), get!(3));
    Ok(Line {
        id: from_sql("id", get!(0))?,
        journal: JournalId(id("journal", &journal)?),
        seq: Seq(from_sql("seq", get!(2))?),
        epoch: epoch.map(|epoch| id("epoch", &epoch).map(EpochId)).transpose()?,
        kind: get!(4),
        stored_at: Timestamp(get!(5)),
        live: get!(6),
        role_term: RoleTerm(from_sql("role_term", get!(7))?),
        flags: get!(8),
        entry: Bytes(get!(9)),
    })
}

/// Writes a line as it stands; `false` where its place is taken.
pub(in crate::store) fn insert_line(
    connection: &Connection,
    line: &Line,
) -> Result<bool, StoreError> {
    let decoded = Decoded::of(&line.entry.0);
    let row = match &decoded {
        // What is shown follows from the line, not from what this version makes of the entry.
        Decoded::Readable(transaction, bytes) if let Some(epoch) = line.epoch => {
            let mut row = Row::of(transaction, bytes, epoch, line.stored_at);
            row.kind.clone_from(&line.kind);
            row
        }
        Decoded::Readable(_, bytes) | Decoded::Unreadable(bytes) => Row::unreadable(bytes),
    };
    row.insert(connection, line)
}
