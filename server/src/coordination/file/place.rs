//! The file in its directory: made whole or not at all, opened and checked, set aside.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use redb::{Builder, Database, DatabaseError};

use super::backend::Locked;
use crate::coordination::error::FileError;

/// redb's page cache: all that is in the file is a document and some hundred entries.
const CACHE: usize = 2 * 1024 * 1024;

/// What every redb file begins with.
const MAGIC: [u8; 9] = [b'r', b'e', b'd', b'b', 0x1A, 0x0A, 0xA9, 0x0D, 0x0A];

/// How many files are set aside for one reason before one of them must be moved away by hand.
const MAX_ASIDE: u32 = 1_000;

fn io(path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError::Io { path, source }
}

pub(super) fn damaged(path: &Path, reason: &str) -> FileError {
    FileError::Damaged { path: path.to_owned(), reason: reason.to_owned() }
}

/// Opens a file and checks every page; `None` where there is none.
pub(super) fn open(path: &Path, full: &Arc<AtomicBool>) -> Result<Option<Database>, FileError> {
    let file = match fs::OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(path)(error)),
    };
    // Not yet judged: a file that is being written by another process looks damaged.
    let start = file.try_clone().map_err(io(path))?;
    let Some(locked) = Locked::take(file, full).map_err(io(path))? else {
        return Err(FileError::InUse { path: path.to_owned() });
    };
    // redb makes a new store of an empty file, and one that forgot everything is what must not be.
    let mut magic = [0; MAGIC.len()];
    let mut start = start;
    if start.read_exact(&mut magic).is_err() || magic != MAGIC {
        return Err(damaged(path, "it does not begin as it must"));
    }
    let mut builder = builder();
    builder.set_check_integrity_on_open(true);
    guarded(path, || builder.create_with_backend(locked)).map(Some)
}

/// Makes a file under a temporary name and gives it its own when it is whole and synced: a power cut leaves
/// no file or a good one.
pub(super) fn create(
    path: &Path,
    content: impl FnOnce(&Database) -> Result<(), FileError>,
) -> Result<(), FileError> {
    if path.try_exists().map_err(io(path))? {
        return Err(FileError::Exists { path: path.to_owned() });
    }
    let temporary = path.with_extension("redb.new");
    remove(&temporary)?;
    let mut private = fs::OpenOptions::new();
    private.read(true).write(true).create_new(true).mode(0o600);
    let file = private.open(&temporary).map_err(io(&temporary))?;
    let made = || {
        let Some(locked) = Locked::take(file, &Arc::default()).map_err(io(&temporary))? else {
            return Err(FileError::InUse { path: temporary.clone() });
        };
        let database = guarded(&temporary, || builder().create_with_backend(locked))?;
        content(&database)?;
        drop(database);
        File::open(&temporary).and_then(|whole| whole.sync_all()).map_err(io(&temporary))
    };
    if let Err(error) = made() {
        // Half a file is of no use, and on a full disk its room is needed.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    fs::rename(&temporary, path).map_err(io(path))?;
    sync_directory(path)
}

/// Gives a file the name `voter.redb.WHY-N`, with the lowest free number.
pub(super) fn set_aside(path: &Path, why: &str) -> Result<PathBuf, FileError> {
    let name = |n: u32| path.with_extension(format!("redb.{why}-{n}"));
    let free = (1..MAX_ASIDE).map(name).find(|aside| !aside.exists());
    let aside = free.ok_or_else(|| FileError::Exists { path: name(MAX_ASIDE) })?;
    fs::rename(path, &aside).map_err(io(path))?;
    sync_directory(path)?;
    Ok(aside)
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    builder
}

fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io(path)(error)),
        _ => Ok(()),
    }
}

fn sync_directory(path: &Path) -> Result<(), FileError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory).and_then(|file| file.sync_all()).map_err(io(directory))
}

/// redb is known to panic on pages that make no sense.
fn guarded(
    path: &Path,
    open: impl FnOnce() -> Result<Database, DatabaseError>,
) -> Result<Database, FileError> {
    match panic::catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(DatabaseError::DatabaseAlreadyOpen)) => {
            Err(FileError::InUse { path: path.to_owned() })
        }
        Ok(Err(DatabaseError::Storage(redb::StorageError::Io(source)))) if !is_damage(&source) => {
            Err(io(path)(source))
        }
        Ok(Err(other)) => Err(damaged(path, &other.to_string())),
        Err(_) => Err(damaged(path, "its pages make no sense")),
    }
}

/// Whether a failed read says that the file, or the medium below it, is damaged.
fn is_damage(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
        || error.raw_os_error() == Some(EIO)
}
