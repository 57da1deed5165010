//! A consistent copy of a store while its writer goes on: for backups, and for the full copy that a
//! standby is given.
//!
//! One read transaction is held for as long as pages are copied, and the pages are read through
//! `SQLite` (`pages`). So the copy is the store as it was at one commit. Why not simply copy the
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
//!   do not hold up the writer, until so little is left that a commit may move it as ever;
//! - what was copied is synced every few megabytes, and the database while a long log is moved into
//!   it, or the writer's own sync would have to wait for all of it (ext4 writes the data of all new
//!   blocks with a journal commit).
//!
//! The copy is complete or absent: it is made under a temporary name, synced, and renamed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::{StoreError, schema};

mod online;
mod pages;

pub use online::Sent;
use pages::Taken;

/// How much is copied between two syncs. The writer's sync waits for no more than that.
const SYNC_BYTES: u64 = 16 << 20;

/// What the log may grow by, whatever the store's size.
const LOG_ALWAYS: u64 = 1 << 30;

/// From which size on moving the log would make the writer wait if nothing were flushed meanwhile.
const LOG_LONG: u64 = 64 << 20;

/// How many passes are made over a log that goes on growing: each has less to do than the last.
const PASSES: u32 = 16;

/// With so few pages left the writer may move the log: it does so by itself at some more.
const REST: i64 = 1_000;

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
    #[error("{} exists and is not overwritten", path.display())]
    Exists { path: PathBuf },
    #[error("the copy was cancelled")]
    Cancelled,
    #[error(
        "the store's log has grown by {bytes} bytes while it was being copied; more than {limit} \
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
            Self::Exists { .. } => "choose another name".into(),
            Self::LogTooLong { .. } => {
                "copy to a faster disk, or when less is written to the store".into()
            }
            Self::Io { .. } | Self::Cancelled => return None,
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

/// By how much the log of a store of this size may grow while it is copied: as much as the store, and
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

/// The same with a limit of the log's growth.
pub fn take_within(
    source: &Path,
    destination: &Path,
    limit: Option<u64>,
    watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Snapshot, SnapshotError> {
    if destination.exists() {
        return Err(SnapshotError::Exists { path: destination.to_owned() });
    }
    let unfinished = Unfinished::create(destination)?;
    let snapshot =
        reading(source, |from, log_path| copy(from, &unfinished, log_path, limit, watch))?;
    unfinished.finish(destination)?;
    Ok(snapshot)
}

/// Hands on every page of the store at `source`, which others may be writing, in order: one whole file.
/// Nothing is written here.
///
/// Blocks. The log grows for as long as `sink` takes.
fn send(source: &Path, limit: u64, sink: pages::Sink<'_>) -> Result<Snapshot, SnapshotError> {
    reading(source, |from, log_path| pages::read(from, log_path, Some(limit), sink))
}

/// Reads with a connection of its own, and moves the log that this held back.
fn reading(
    source: &Path,
    read: impl FnOnce(&Connection, &Path) -> Result<Snapshot, SnapshotError>,
) -> Result<Snapshot, SnapshotError> {
    let (from, log_path) = (open(source)?, beside(source, "-wal"));
    let result = read(&from, &log_path);
    // Whatever became of the copy: the log that it held back is ours to move.
    if let Err(error) = move_log(&from, &log_path) {
        tracing::warn!(%error, "the log is left to the next commit");
    }
    result
}

/// The name of a file that belongs to the database at `path`.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Removes what there is of a copy, and what `SQLite` may have left beside it: a journal that a crash left
/// would be taken for the next copy's.
pub(crate) fn forget(copy: &Path) {
    for side in ["-journal", "-wal", "-shm", ""] {
        let _ = fs::remove_file(beside(copy, side));
    }
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

/// Writes the pages, and has them synced every few megabytes.
fn copy(
    from: &Connection,
    unfinished: &Unfinished,
    log_path: &Path,
    limit: Option<u64>,
    watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Snapshot, SnapshotError> {
    let mut file = &unfinished.file;
    let mut syncing = Syncing::start(unfinished)?;
    let mut synced = 0;
    let snapshot = pages::read(from, log_path, limit, &mut |portion, progress| {
        file.write_all(portion).map_err(SnapshotError::io("write", &unfinished.path))?;
        if progress.done - synced >= SYNC_BYTES {
            syncing.sync()?;
            synced = progress.done;
        }
        Ok(if watch(progress).is_break() { Taken::Unwanted } else { Taken::Yes })
    })?;
    syncing.end()?;
    Ok(snapshot)
}

/// Moves the log into the database without holding up the writer: all but what is written meanwhile,
/// which a commit moves. Then the log is begun anew; its file stays as long as it was and is filled
/// again, since cutting off a gigabyte takes seconds in which nobody could write.
fn move_log(connection: &Connection, log_path: &Path) -> Result<(), StoreError> {
    let _flushing = is_long(log_path).then(|| Flushing::start(log_path));
    for _ in 0..PASSES {
        let (busy, left): (bool, i64) = connection
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
                Ok((row.get(0)?, row.get::<_, i64>(1)? - row.get::<_, i64>(2)?))
            })
            .map_err(StoreError::sqlite("move the log"))?;
        if busy {
            // Another connection is at it.
            std::thread::sleep(BREATH);
        } else if left <= REST {
            break;
        }
    }
    Ok(())
}

/// Has the file system write what is dirty, over and over, in a thread of its own. The whole file
/// system, since the database itself must not be opened here (see the module's page).
struct Flushing {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flushing {
    /// Without a thread the log is moved all the same.
    fn start(log_path: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        // The log bears no locks; the directory would do as well.
        let (stopped, log) = (stop.clone(), File::open(log_path));
        let flush = move || {
            let Ok(log) = log else { return };
            while !stopped.load(Ordering::Acquire) && rustix::fs::syncfs(&log).is_ok() {
                std::thread::sleep(BREATH);
            }
        };
        let thread = std::thread::Builder::new().name("snapshot-flush".into()).spawn(flush).ok();
        Self { stop, thread }
    }
}

impl Drop for Flushing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn is_long(log: &Path) -> bool {
    fs::metadata(log).is_ok_and(|file| file.len() > LOG_LONG)
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
