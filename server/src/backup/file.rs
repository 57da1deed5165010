//! Files and file systems: copies that are synced, digests, room.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use ring::digest::{Context, SHA256};

use super::BackupError;

/// How much is read at a time.
const PIECE: usize = 1 << 20;

/// A file's size and SHA-256.
pub(super) fn digest(path: &Path) -> Result<(u64, [u8; 32]), BackupError> {
    let mut file = File::open(path).map_err(BackupError::io("open", path))?;
    let (mut context, mut size) = (Context::new(&SHA256), 0);
    let mut piece = vec![0; PIECE];
    loop {
        let read = file.read(&mut piece).map_err(BackupError::io("read", path))?;
        let Some(part) = piece.get(..read).filter(|part| !part.is_empty()) else { break };
        context.update(part);
        size += u64::try_from(read).unwrap_or(u64::MAX);
    }
    Ok((size, context.finish().as_ref().try_into().unwrap_or_default()))
}

/// Copies to a new file that only its owner may read, durably.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), BackupError> {
    let mut source = File::open(from).map_err(BackupError::io("open", from))?;
    let mut target = create(to)?;
    io::copy(&mut source, &mut target).map_err(BackupError::io("write", to))?;
    target.sync_all().map_err(BackupError::io("sync", to))
}

/// Makes a new file that only its owner may read.
pub(super) fn create(path: &Path) -> Result<File, BackupError> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|source| {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::AlreadyExists {
            return BackupError::Exists { path };
        }
        BackupError::Io { what: "create", path, source }
    })
}

/// Gives a whole file its name, durably.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), BackupError> {
    fs::rename(from, to).map_err(BackupError::io("give its name to", to))?;
    sync_directory(to.parent().unwrap_or(Path::new(".")))
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(dir: &Path) -> Result<(), BackupError> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir).and_then(|file| file.sync_all()).map_err(BackupError::io("sync", dir))
}

/// Whether two paths lie on one file system.
pub(super) fn together(one: &Path, other: &Path) -> Result<bool, BackupError> {
    let device = |path: &Path| {
        fs::metadata(path).map(|file| file.dev()).map_err(BackupError::io("look at", path))
    };
    Ok(device(one)? == device(other)?)
}

/// Refuses where a directory's file system has not so many bytes free; says how many there are.
pub fn room(dir: &Path, needed: u64) -> Result<u64, BackupError> {
    let stat =
        rustix::fs::statvfs(dir).map_err(|error| BackupError::io("look at", dir)(error.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free >= needed {
        return Ok(free);
    }
    Err(BackupError::NoRoom { path: dir.to_owned(), free, needed })
}
