//! Every page of a store as one commit left it, in order.
//!
//! The pages are read through `SQLite`'s own table of them (`sqlite_dbpage`, an option of the build,
//! see `.cargo/config.toml`), within one read transaction.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use super::{Progress, Snapshot, SnapshotError, log_limit};
use crate::store::StoreError;

/// How much is handed on at a time: some milliseconds' work.
const PORTION: usize = 1 << 20;

/// Where the header says how the file is written and read: 2 with a write-ahead log, 1 without.
const VERSIONS: std::ops::Range<usize> = 18..20;

const FAILED: &str = "read the pages";

/// What became of a portion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It was taken.
    Yes,
    /// There is no room for it yet: it is offered again.
    NotYet,
    /// Nobody wants it, or any other.
    Unwanted,
}

/// Where pages go, a portion at a time, with how far that is.
pub(super) type Sink<'a> = &'a mut dyn FnMut(&[u8], Progress) -> Result<Taken, SnapshotError>;

/// Between two offers of a portion; meanwhile the log is looked at.
const BREATH: Duration = Duration::from_millis(2);

/// How long the log is. It does not become shorter while a server runs: what it grows by counts.
struct Log<'a> {
    path: &'a Path,
    begun: u64,
    longest: u64,
    limit: u64,
}

impl<'a> Log<'a> {
    fn new(path: &'a Path, limit: u64) -> Self {
        let begun = length(path);
        Self { path, begun, longest: begun, limit }
    }

    fn look(&mut self) -> Result<(), SnapshotError> {
        self.longest = self.longest.max(length(self.path));
        let (bytes, limit) = (self.longest - self.begun, self.limit);
        if bytes > limit { Err(SnapshotError::LogTooLong { bytes, limit }) } else { Ok(()) }
    }
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

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
    let (mut log, mut done) = (Log::new(log_path, limit), 0);
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
            loop {
                log.look()?;
                match sink(&portion, Progress { done, total })? {
                    Taken::Yes => break,
                    Taken::NotYet => std::thread::sleep(BREATH),
                    Taken::Unwanted => return Err(SnapshotError::Cancelled),
                }
            }
            portion.clear();
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
    Ok(Snapshot { bytes: total, log: log.longest })
}
