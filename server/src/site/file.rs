//! Files of a data directory: secrets with mode 0600, replacement that a power cut cannot tear, and
//! the lock of the running server.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::{LOCK, SiteError};

/// Makes `dir` with mode 0700, or takes it as it is when it exists and is empty.
pub(super) fn make_directory(dir: &Path) -> Result<(), SiteError> {
    use std::os::unix::fs::PermissionsExt as _;
    if !dir.exists() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(SiteError::io("create", dir))?;
    }
    let mut entries = fs::read_dir(dir).map_err(SiteError::io("read", dir))?;
    if entries.next().is_some() {
        return Err(SiteError::NotEmpty { dir: dir.to_owned() });
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
        .map_err(SiteError::io("set the mode of", dir))
}

/// Writes a new file that only its owner may read, and syncs it; an existing one is an error.
pub(super) fn create(path: &Path, bytes: &[u8]) -> Result<(), SiteError> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = opened.map_err(|source| {
        let path = path.to_owned();
        if source.kind() == std::io::ErrorKind::AlreadyExists {
            return SiteError::Exists { path };
        }
        SiteError::Io { what: "create", path, source }
    })?;
    file.write_all(bytes).map_err(SiteError::io("write", path))?;
    file.sync_all().map_err(SiteError::io("sync", path))
}

/// Replaces a file whole or not at all.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), SiteError> {
    let temporary = path.with_extension("new");
    if temporary.exists() {
        fs::remove_file(&temporary).map_err(SiteError::io("remove", &temporary))?;
    }
    create(&temporary, bytes)?;
    fs::rename(&temporary, path).map_err(SiteError::io("replace", path))?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(dir: &Path) -> Result<(), SiteError> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir).and_then(|file| file.sync_all()).map_err(SiteError::io("sync", dir))
}

/// The right to run on a data directory; given back when it is dropped or the process ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held for its lock")] File);

impl Lock {
    /// Takes the lock, or says that another process has it.
    pub fn take(dir: &Path) -> Result<Self, SiteError> {
        let path = dir.join(LOCK);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(SiteError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(SiteError::Locked { dir: dir.to_owned() }),
            Err(TryLockError::Error(source)) => Err(SiteError::Io { what: "lock", path, source }),
        }
    }
}
