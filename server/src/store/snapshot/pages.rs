//! Every page of a store as one commit left it, in order.
//!
//! The pages are read through `SQLite`'s own table of them (`sqlite_dbpage`, an option of the build,
//! see `.cargo/config.toml`), within one read transaction.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use rusqlite::Connection;

use super::{Progress, Snapshot, SnapshotError, log_limit};
use crate::store::StoreError;

/// How much is handed on at a time: some milliseconds' work.
const PORTION: usize = 1 << 20;

/// Where the header says how the file is written and read: 2 with a write-ahead log, 1 without.
const VERSIONS: std::ops::Range<usize> = 18..20;

const FAILED: &str = "read the pages";

/// Where pages go, a portion at a time, with how far that is. `Break` ends it.
pub(super) type Sink<'a> =
    &'a mut dyn FnMut(&[u8], Progress) -> Result<ControlFlow<()>, SnapshotError>;

/// Reads all pages; what comes out is one whole file that has no log.
pub(super) fn read(
    from: &Connection,
    log_path: &Path,
    limit: Option<u64>,
    sink: Sink<'_>,
) -> Result<Snapshot, SnapshotError> {
    let failed = |what| StoreError::sqlite(what);
    let transaction = from.unchecked_transaction().map_err(failed("begin to read"))?;
    let (pages, size): (u64, u64) = transaction
        .query_row(
            // A table is read as well: from here on the transaction has its commit.
            "SELECT page_count, page_size FROM pragma_page_count, pragma_page_size,
                 (SELECT count(*) FROM meta)",
            [],
            |row| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, i64>(1)?.unsigned_abs())),
        )
        .map_err(failed("read the size"))?;
    let total = pages * size;
    let limit = limit.unwrap_or_else(|| log_limit(total));
    let (mut log, mut done) = (0, 0);
    {
        let mut select = transaction
            .prepare("SELECT data FROM sqlite_dbpage ORDER BY pgno")
            .map_err(failed(FAILED))?;
        let mut rows = select.query([]).map_err(failed(FAILED))?;
        let mut portion = Vec::with_capacity(PORTION);
        loop {
            let row = rows.next().map_err(failed(FAILED))?;
            if let Some(row) = &row {
                let page = row.get_ref(0).and_then(|data| Ok(data.as_blob()?));
                portion.extend_from_slice(page.map_err(failed(FAILED))?);
            }
            let ends = row.is_none();
            if portion.len() < PORTION && !ends {
                continue;
            }
            if done == 0
                && let Some(versions) = portion.get_mut(VERSIONS)
            {
                versions.fill(1);
            }
            done += u64::try_from(portion.len()).unwrap_or(u64::MAX);
            if sink(&portion, Progress { done, total })?.is_break() {
                return Err(SnapshotError::Cancelled);
            }
            portion.clear();
            log = log.max(fs::metadata(log_path).map_or(0, |file| file.len()));
            if log > limit {
                return Err(SnapshotError::LogTooLong { bytes: log, limit });
            }
            if ends {
                break;
            }
        }
    }
    if done != total {
        let got = format!("{done} of {total} bytes of pages");
        return Err(StoreError::Value { what: "the file", got }.into());
    }
    transaction.finish().map_err(failed("end reading"))?;
    Ok(Snapshot { bytes: total, log })
}
