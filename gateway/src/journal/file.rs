//! Files and directories around the store: making a journal, opening one, telling what a file is,
//! setting one aside.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use postern_protocol::JournalId;
use redb::{Builder, Database, DatabaseError, ReadableDatabase};

use super::JournalError;
use super::backend::{JournalFile, Traffic, View};
use super::carve;
use super::format::{
    FORMAT, HELD, Identity, LOG, META, META_FORMAT, Marks, RESERVE, Record, STATE, key, seal,
};
use super::options::Options;

/// redb's page cache: reading is sequential, so a small one serves; the whole gateway is to stay
/// below 64 MiB.
const CACHE: usize = 8 * 1024 * 1024;

/// What every redb file begins with.
const REDB_MAGIC: [u8; 9] = [b'r', b'e', b'd', b'b', 0x1A, 0x0A, 0xA9, 0x0D, 0x0A];

pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { path, source }
}

pub(super) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    builder
}

/// Opens a journal's file for writing. The whole of it is checked first, and `judge` looks at it, on a
/// view that writes nothing: a file that is refused is not touched, although redb itself writes to
/// whatever it opens.
pub(super) fn open<T>(
    path: &Path,
    traffic: &Arc<Traffic>,
    judge: impl FnOnce(&Database) -> Result<T, JournalError>,
) -> Result<(Database, T), JournalError> {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).map_err(io(path))?;
    let view = file.try_clone().map_err(io(path))?;
    let locked = JournalFile::lock(file, Arc::clone(traffic)).map_err(io(path))?;
    let Some(locked) = locked else {
        return Err(JournalError::InUse { path: path.to_owned() });
    };
    let judged = judge(&open_checked(path, view)?)?;
    Ok((guarded(path, || builder().create_with_backend(locked))?, judged))
}

/// Opens a journal's file without ever writing to it. Refused while a gateway has it; but a gateway that
/// starts meanwhile is not kept from it, and whoever looks then reads what makes no sense.
pub(super) fn open_view(path: &Path) -> Result<Database, JournalError> {
    let file = File::open(path).map_err(io(path))?;
    match file.try_lock_shared() {
        Ok(()) => file.unlock().map_err(io(path))?,
        Err(fs::TryLockError::WouldBlock) => {
            return Err(JournalError::InUse { path: path.to_owned() });
        }
        Err(fs::TryLockError::Error(error)) => return Err(io(path)(error)),
    }
    open_checked(path, file)
}

/// A view of a file, every page of which was checked.
fn open_checked(path: &Path, file: File) -> Result<Database, JournalError> {
    classify(path)?;
    let view = View::of(file).map_err(io(path))?;
    guarded(path, || builder().set_check_integrity_on_open(true).create_with_backend(view))
}

/// redb is known to panic on pages that make no sense.
fn guarded(
    path: &Path,
    open: impl FnOnce() -> Result<Database, DatabaseError>,
) -> Result<Database, JournalError> {
    match panic::catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(error)) => Err(open_error(path, error)),
        Err(_) => Err(damaged(path, "its pages make no sense")),
    }
}

/// Tells a file that never was a journal from one that is damaged: one must not be touched, the
/// other must not keep the gateway down. Empty and zeroed files are what crashes and failing disks
/// leave; a few wrong bits in the first bytes are damage as well.
fn classify(path: &Path) -> Result<(), JournalError> {
    let mut start = [0; REDB_MAGIC.len()];
    let mut file = File::open(path).map_err(io(path))?;
    let mut read = 0;
    while let Some(rest) = start.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read(rest).map_err(io(path))? {
            0 => break,
            count => read += count,
        }
    }
    let wrong: u32 = start.iter().zip(REDB_MAGIC).map(|(a, b)| (a ^ b).count_ones()).sum();
    if read < start.len() || start == [0; REDB_MAGIC.len()] {
        let len = file.metadata().map_err(io(path))?.len();
        return Err(damaged(path, &format!("its beginning is empty; it has {len} bytes")));
    }
    // A few wrong bits are redb's to judge. A wrong beginning is damage where anything behind it is a
    // journal's.
    if wrong <= 8 {
        same_redb(path, &file)
    } else if carve::has_records(path).map_err(io(path))? {
        Err(damaged(path, "its beginning is that of something else"))
    } else {
        Err(JournalError::NoJournal { path: path.to_owned() })
    }
}

/// Where redb says in each of its two commit slots which version of its format it writes, and the
/// version that is read here.
const REDB_VERSIONS: [u64; 2] = [64, 192];
const REDB_VERSION: u8 = 3;

/// A file of another version of redb is whole, and not for us: one wrong bit does not change both slots.
fn same_redb(path: &Path, file: &File) -> Result<(), JournalError> {
    use std::os::unix::fs::FileExt;

    let mut versions = [0; 2];
    for (at, version) in REDB_VERSIONS.into_iter().zip(versions.chunks_mut(1)) {
        if file.read_exact_at(version, at).is_err() {
            // Too short to be anything.
            return Ok(());
        }
    }
    match versions {
        [a, b] if a == b && a != REDB_VERSION && a != 0 => {
            Err(JournalError::OtherStore { path: path.to_owned(), version: a })
        }
        _ => Ok(()),
    }
}

/// Whether a file was a journal of format 1, whose records nobody can tell without its trees: the names
/// of its tables stand in it.
pub(super) fn holds_format_1(path: &Path) -> Result<bool, JournalError> {
    let mut file = File::open(path).map_err(io(path))?;
    let names: [&[u8]; 3] = [b"segments", b"cursors", b"epochs"];
    let (mut seen, mut window) = ([false; 3], vec![0; 1 << 20]);
    let mut kept = 0;
    loop {
        let rest = window.get_mut(kept..).unwrap_or_default();
        let read = file.read(rest).map_err(io(path))?;
        let filled = window.get(..kept + read).unwrap_or_default();
        for (seen, name) in seen.iter_mut().zip(names) {
            *seen |= memchr::memmem::find(filled, name).is_some();
        }
        if read == 0 || seen == [true; 3] {
            return Ok(seen == [true; 3]);
        }
        // A name may lie across the end of a window.
        let end = kept + read;
        kept = end.min(16);
        window.copy_within(end - kept..end, 0);
    }
}

pub(super) fn damaged(path: &Path, reason: &str) -> JournalError {
    JournalError::Damaged { path: path.to_owned(), reason: reason.to_owned() }
}

fn open_error(path: &Path, error: DatabaseError) -> JournalError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others mean that it cannot be read")]
    match error {
        DatabaseError::DatabaseAlreadyOpen => JournalError::InUse { path: path.to_owned() },
        DatabaseError::Storage(redb::StorageError::Io(source)) if !is_damage(&source) => {
            io(path)(source)
        }
        other => damaged(path, &other.to_string()),
    }
}

/// Whether a failed read says that the file, or the medium below it, is damaged.
fn is_damage(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
        || error.raw_os_error() == Some(EIO)
}

/// Makes a journal under a temporary name and renames it when it is whole and synced: a power cut
/// during creation leaves either no journal or a good one.
pub(super) fn create(
    options: &Options,
    id: JournalId,
    content: impl FnOnce(&Database) -> Result<(), JournalError>,
) -> Result<(), JournalError> {
    let path = &options.path;
    let temporary = path.with_extension("redb.new");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io(&temporary)(error));
        }
        _ => {}
    }
    // Card numbers are in it: for the gateway's own user alone.
    let mut private = fs::OpenOptions::new();
    private.read(true).write(true).create_new(true).mode(0o600);
    let new_file = private.open(&temporary).map_err(io(&temporary))?;
    let made = || {
        let locked = JournalFile::lock(new_file, Arc::default()).map_err(io(&temporary))?;
        let Some(locked) = locked else {
            return Err(JournalError::InUse { path: temporary.clone() });
        };
        let database =
            builder().create_with_backend(locked).map_err(|error| open_error(&temporary, error))?;
        initialise(&database, options, id)?;
        content(&database)?;
        drop(database);
        File::open(&temporary).and_then(|whole| whole.sync_all()).map_err(io(&temporary))
    };
    if let Err(error) = made() {
        // Half a journal is of no use, and on a full disk its room is needed.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    fs::rename(&temporary, path).map_err(io(path))?;
    sync_directory(path)
}

/// Puts the tables and the identity into an empty store.
pub(super) fn initialise(
    database: &Database,
    options: &Options,
    journal: JournalId,
) -> Result<(), JournalError> {
    let transaction = database.begin_write()?;
    {
        let format = postcard::to_allocvec(&FORMAT)
            .map_err(|error| JournalError::Dead { reason: error.to_string() })?;
        transaction.open_table(META)?.insert(META_FORMAT, format.as_slice())?;
        let mut state = transaction.open_table(STATE)?;
        let identity = Identity { gateway: options.gateway.clone() };
        state.insert(key::IDENTITY, seal(journal, &Record::Identity(identity))?.as_slice())?;
        state.insert(key::MARKS, seal(journal, &Record::Marks(Marks::default()))?.as_slice())?;
        transaction.open_table(LOG)?;
        transaction.open_table(HELD)?;
        if options.reserve > 0 {
            let zeros = vec![0; options.reserve];
            transaction.open_table(RESERVE)?.insert((), zeros.as_slice())?;
        }
    }
    transaction.commit()?;
    Ok(())
}

/// The format of a store; `None` where it is no journal's.
pub(super) fn format_of(database: &Database) -> Result<Option<u32>, JournalError> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(META) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Some(value) = table.get(META_FORMAT)? else { return Ok(None) };
    Ok(postcard::from_bytes(value.value()).ok())
}

/// Makes a rename in the directory of `path` durable.
pub(super) fn sync_directory(path: &Path) -> Result<(), JournalError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory).and_then(|file| file.sync_all()).map_err(io(directory))
}

/// A name beside the journal's for a file that is set aside: `journal.WHY-STAMP.redb`. Never one that
/// is taken.
pub(super) fn aside(path: &Path, why: &str, stamp: &str) -> PathBuf {
    let first = path.with_extension(format!("{why}-{stamp}.redb"));
    let others = (2..).map(|n: u32| path.with_extension(format!("{why}-{stamp}-{n}.redb")));
    std::iter::once(first)
        .chain(others)
        .find(|candidate| !candidate.exists())
        .unwrap_or_else(|| path.with_extension("aside.redb"))
}

/// Puts the finished journal at `new` in the place of the one at `path`, which gets the name `aside`.
/// A second name for the old file, then an atomic replacement: at no moment is there no journal. A file
/// system without second names (FAT) has that moment.
pub(super) fn replace(path: &Path, new: &Path, aside: &Path) -> Result<(), JournalError> {
    match fs::hard_link(path, aside) {
        Ok(()) => {}
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported
            ) =>
        {
            fs::rename(path, aside).map_err(io(aside))?;
        }
        Err(error) => return Err(io(aside)(error)),
    }
    fs::rename(new, path).map_err(io(path))?;
    sync_directory(path)
}
