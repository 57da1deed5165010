//! A consistent copy of a store while its writer goes on: for backups, and for the full copy that a
//! standby is given.
//!
//! One read transaction is held for as long as pages are copied, and the pages are read through
//! `SQLite` (`sqlite3_backup_step` on a connection that has a read transaction open uses that one and
//! never starts over). So the copy is the store as it was at one commit. Why not simply copy the
//! bytes of database and log: closing a descriptor of a database file drops every lock that this
//! process has on it (POSIX), and a second process would take the store for unused and delete its
//! log; and a reader that found the log empty does not keep it from being begun anew.
//!
//! What a held read transaction costs: the log cannot be moved into the database beyond it, so it
//! grows with everything that is written meanwhile. Therefore
//!
//! - the copy gives up once the log has grown beyond a limit ([`log_limit`]);
//! - whoever writes leaves the log alone meanwhile (`StoreHandle::snapshot` sees to it), or its first
//!   commit afterwards would have to move all of it; here it is moved by this thread, in passes that
//!   do not hold up the writer, until so little is left that the log can be cut short in no time
//!   (which needs a moment without a writer: `StoreHandle::snapshot` makes one);
//! - what was copied is synced every few megabytes, or the writer's own sync would have to wait for
//!   all of it (ext4 writes the data of all new files with a journal commit).
//!
//! The copy is complete or absent: it is made under a temporary name, synced, and renamed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::{StoreError, schema};

mod online;

/// Pages between two looks at log, cancellation and progress: 1 MiB, some milliseconds.
const STEP: i32 = 256;

/// How much is copied between two syncs. The writer's sync waits for no more than that.
const SYNC_BYTES: u64 = 16 << 20;

/// Pages of the copy that are kept in memory before they are written: they are written once each, in
/// order, so none is needed again.
const CACHE_KIB: i64 = 2_048;

/// What the log may grow to, whatever the store's size.
const LOG_ALWAYS: u64 = 1 << 30;

/// From which size on the log's file is cut short afterwards.
const LOG_KEPT: u64 = 64 << 20;

/// How many passes are made over a log that goes on growing: each has less to do than the last.
const PASSES: u32 = 16;

/// With so few pages left the log may be moved in the writer's way.
const REST: i64 = 1_000;

/// How long cutting the log short may wait for readers, while the writer waits as well.
const CUT: Duration = Duration::from_millis(100);

/// Between two attempts where another connection is in the way.
const BREATH: Duration = Duration::from_millis(10);

/// The end of a name under which a copy is being made.
const UNFINISHED: &str = ".unfinished";

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum SnapshotError {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("cannot {what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot copy the store to {}: {source}", path.display())]
    Copy { path: PathBuf, source: rusqlite::Error },
    #[error("{} exists and is not overwritten", path.display())]
    Exists { path: PathBuf },
    #[error("the copy was cancelled")]
    Cancelled,
    #[error(
        "the store's log has grown to {bytes} bytes while it was being copied; more than {limit} \
         would endanger the store's own disk"
    )]
    LogTooLong { bytes: u64, limit: u64 },
}

impl SnapshotError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Store(error) => return error.hint(),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "the disk is full: make room, nothing was left behind".into()
            }
            Self::Copy { source, .. }
                if source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) =>
            {
                "the disk is full: make room, nothing was left behind".into()
            }
            Self::Exists { .. } => "choose another name".into(),
            Self::LogTooLong { .. } => {
                "copy to a faster disk, or when less is written to the store".into()
            }
            Self::Io { .. } | Self::Copy { .. } | Self::Cancelled => return None,
        })
    }

    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes copied.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

/// What was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The size of the copy.
    pub bytes: u64,
    /// The longest that the store's log was.
    pub log: u64,
}

/// What the log of a store of this size may grow to while it is copied: as much as the store, and
/// a gigabyte for a small one.
pub fn log_limit(store: u64) -> u64 {
    store.max(LOG_ALWAYS)
}

/// Copies the store at `source`, which others may be writing, to the new file `destination`: one
/// whole file with mode 0600, durable when this returns, absent where it fails. `watch` is called
/// every megabyte and ends the copy with `Break`.
///
/// Blocks. Several may run on one store.
pub fn take(
    source: &Path,
    destination: &Path,
    watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Snapshot, SnapshotError> {
    take_within(source, destination, None, watch)
}

/// The same with a limit of the log's size.
pub fn take_within(
    source: &Path,
    destination: &Path,
    limit: Option<u64>,
    watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Snapshot, SnapshotError> {
    if destination.exists() {
        return Err(SnapshotError::Exists { path: destination.to_owned() });
    }
    let from = open(source)?;
    let unfinished = Unfinished::create(destination)?;
    let log_path = beside(source, "-wal");
    let result = copy(&from, &unfinished, &log_path, limit, watch);
    // Whatever became of the copy: the log that it held back is ours to move.
    let moved = move_log(&from, &log_path);
    let snapshot = result?;
    if let Err(error) = moved {
        tracing::warn!(%error, "the log is left to the next commit");
    }
    unfinished.finish(destination)?;
    Ok(snapshot)
}

/// The name of a file that belongs to the database at `path`.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn open(source: &Path) -> Result<Connection, SnapshotError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(source, flags).map_err(StoreError::sqlite("open the file"))?;
    recognise(&connection, source)?;
    Ok(connection)
}

/// Checks that a file is a store that this version reads.
pub(super) fn recognise(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let number =
        |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let application = number("application_id").map_err(StoreError::sqlite("open the file"))?;
    if application != schema::APPLICATION {
        return Err(StoreError::NotAStore { path: path.to_owned() });
    }
    let got = number("user_version").map_err(StoreError::sqlite("read the format"))?;
    if got != schema::FORMAT {
        let wanted = schema::FORMAT;
        return Err(StoreError::Version { path: path.to_owned(), got, wanted });
    }
    Ok(())
}

fn copy(
    from: &Connection,
    unfinished: &Unfinished,
    log_path: &Path,
    limit: Option<u64>,
    watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Snapshot, SnapshotError> {
    let path = &unfinished.path;
    let failed = |source| SnapshotError::Copy { path: path.clone(), source };
    let mut to =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    // Torn files are thrown away and whole ones are synced below, so neither is SQLite's business.
    to.execute_batch(&format!(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;
         PRAGMA cache_size = -{CACHE_KIB};"
    ))
    .map_err(failed)?;

    let read = |what| StoreError::sqlite(what);
    let transaction = from.unchecked_transaction().map_err(read("begin to read"))?;
    let (pages, size): (u64, u64) = transaction
        .query_row(
            // A table is read as well: from here on the transaction has its commit.
            "SELECT page_count, page_size FROM pragma_page_count, pragma_page_size,
                 (SELECT count(*) FROM meta)",
            [],
            |row| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, i64>(1)?.unsigned_abs())),
        )
        .map_err(read("read the size"))?;
    let total = pages * size;
    let limit = limit.unwrap_or_else(|| log_limit(total));
    let (mut log, mut synced) = (0, 0);
    let backup = Backup::new(from, &mut to).map_err(failed)?;
    let mut syncing = Syncing::start(unfinished)?;
    loop {
        let step = backup.step(STEP).map_err(failed)?;
        let left = u64::from(backup.progress().remaining.unsigned_abs());
        let done = pages.saturating_sub(left) * size;
        if watch(Progress { done, total }).is_break() {
            return Err(SnapshotError::Cancelled);
        }
        log = log.max(fs::metadata(log_path).map_or(0, |file| file.len()));
        if log > limit {
            return Err(SnapshotError::LogTooLong { bytes: log, limit });
        }
        if done - synced >= SYNC_BYTES {
            syncing.sync()?;
            synced = done;
        }
        match step {
            StepResult::Done => break,
            // Nobody else knows of the copy, and the right to read is had; to be waited for all the same.
            StepResult::Busy | StepResult::Locked => std::thread::sleep(BREATH),
            StepResult::More | _ => {}
        }
    }
    syncing.end()?;
    drop(backup);
    transaction.finish().map_err(read("end reading"))?;
    // The header says that there is a log; a backup is to be one file.
    let mode: String =
        to.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0)).map_err(failed)?;
    debug_assert_eq!(mode, "delete");
    to.close().map_err(|(_, source)| failed(source))?;
    Ok(Snapshot { bytes: total, log })
}

/// Moves the log into the database without holding up the writer for long.
fn move_log(connection: &Connection, log_path: &Path) -> Result<(), StoreError> {
    // Pages of the log that are left, or `None` where another connection is at it.
    let checkpoint = |mode: &str| -> Result<Option<i64>, StoreError> {
        connection
            .query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
                let (busy, pages, moved): (bool, i64, i64) =
                    (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok((!busy).then_some(pages - moved))
            })
            .map_err(StoreError::sqlite("move the log"))
    };
    connection.busy_timeout(CUT).map_err(StoreError::sqlite("set the time to wait"))?;
    for _ in 0..PASSES {
        match checkpoint("PASSIVE")? {
            Some(left) if left > REST => {}
            Some(_) if !is_long(log_path) => break,
            Some(_) if checkpoint("TRUNCATE")?.is_some() => break,
            Some(_) | None => std::thread::sleep(BREATH),
        }
    }
    Ok(())
}

/// Cuts a long log short, while the caller keeps the writer from writing. What is left to be moved
/// is little, or it is not begun.
fn cut_log(source: &Path) -> Result<(), SnapshotError> {
    if !is_long(&beside(source, "-wal")) {
        return Ok(());
    }
    let connection = open(source)?;
    let checkpoint = |mode: &str| -> Result<i64, StoreError> {
        connection
            .query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
                Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?)
            })
            .map_err(StoreError::sqlite("cut the log"))
    };
    connection.busy_timeout(CUT).map_err(StoreError::sqlite("set the time to wait"))?;
    if checkpoint("NOOP")? <= REST {
        checkpoint("TRUNCATE")?;
    }
    Ok(())
}

fn is_long(log: &Path) -> bool {
    fs::metadata(log).is_ok_and(|file| file.len() > LOG_KEPT)
}

/// A file that is removed unless it is finished.
struct Unfinished {
    path: PathBuf,
    file: File,
    finished: bool,
}

impl Unfinished {
    fn create(destination: &Path) -> Result<Self, SnapshotError> {
        let path = beside(destination, UNFINISHED);
        // Left by a process that was killed.
        for stale in [path.clone(), beside(&path, "-wal"), beside(&path, "-shm")] {
            let _ = fs::remove_file(stale);
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(SnapshotError::io("create", &path))?;
        Ok(Self { path, file, finished: false })
    }

    fn finish(mut self, destination: &Path) -> Result<(), SnapshotError> {
        self.file.sync_all().map_err(SnapshotError::io("sync", &self.path))?;
        fs::rename(&self.path, destination)
            .map_err(SnapshotError::io("give its name to", destination))?;
        self.finished = true;
        sync_directory(destination)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.finished {
            for path in [self.path.clone(), beside(&self.path, "-wal"), beside(&self.path, "-shm")]
            {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// Syncs the copy in a thread of its own while more is copied.
struct Syncing<'a> {
    file: &'a Unfinished,
    ask: Option<SyncSender<()>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl<'a> Syncing<'a> {
    fn start(file: &'a Unfinished) -> Result<Self, SnapshotError> {
        let own = file.file.try_clone().map_err(SnapshotError::io("open", &file.path))?;
        // Without room, so that the copy waits while a sync takes longer than the next part.
        let (ask, asked) = std::sync::mpsc::sync_channel(0);
        let sync = move || asked.into_iter().try_for_each(|()| own.sync_data());
        let thread = std::thread::Builder::new()
            .name("snapshot-sync".into())
            .spawn(sync)
            .map_err(SnapshotError::io("start a thread for", &file.path))?;
        Ok(Self { file, ask: Some(ask), thread: Some(thread) })
    }

    fn sync(&mut self) -> Result<(), SnapshotError> {
        match &self.ask {
            Some(ask) if ask.send(()).is_ok() => Ok(()),
            // It ended, so it failed.
            Some(_) | None => self.end(),
        }
    }

    /// Waits for the sync at hand.
    fn end(&mut self) -> Result<(), SnapshotError> {
        self.ask = None;
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let panicked = |_| Err(io::Error::other("the syncing thread panicked"));
        thread.join().unwrap_or_else(panicked).map_err(SnapshotError::io("sync", &self.file.path))
    }
}

impl Drop for Syncing<'_> {
    fn drop(&mut self) {
        // Where the copy failed, why is known already.
        let _ = self.end();
    }
}

/// Makes the name of a file durable.
fn sync_directory(path: &Path) -> Result<(), SnapshotError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let dir = parent.unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(SnapshotError::io("sync", dir))
}

#[cfg(test)]
mod tests;
