//! Files of a data directory: secrets with mode 0600, replacement that a power cut cannot tear, and
//! the lock of the running server.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::{AUTHORITY, CONFIG, Config, JOIN_LOCK, LOCK, SiteError};

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
    if is_unfinished(dir) {
        return Err(SiteError::Unfinished { dir: dir.to_owned() });
    }
    let mut entries = fs::read_dir(dir).map_err(SiteError::io("read", dir))?;
    if entries.next().is_some() {
        return Err(SiteError::NotEmpty { dir: dir.to_owned() });
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
        .map_err(SiteError::io("set the mode of", dir))
}

/// Whether `init` died here: it begins with the authority's certificate and ends with the
/// configuration. Where a server ever ran (its lock stays) the configuration was lost instead.
pub(super) fn is_unfinished(dir: &Path) -> bool {
    let has = |name: &str| dir.join(name).exists();
    has(&format!("{AUTHORITY}.crt")) && !has(CONFIG) && !has(LOCK)
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

/// Adds a line to a file that only its owner may read, durably.
pub(super) fn append(path: &Path, line: &str) -> Result<(), SiteError> {
    let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    let mut file = opened.map_err(SiteError::io("open", path))?;
    file.write_all(line.as_bytes()).map_err(SiteError::io("write", path))?;
    file.sync_all().map_err(SiteError::io("sync", path))?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
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

/// Removes a file, durably.
pub(super) fn remove(path: &Path) -> Result<(), SiteError> {
    fs::remove_file(path).map_err(SiteError::io("remove", path))?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// A small file's text, or `None` where there is no such file.
pub(super) fn read_if_there(path: &Path) -> Result<Option<String>, SiteError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SiteError::io("read", path)(error)),
    }
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(dir: &Path) -> Result<(), SiteError> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir).and_then(|file| file.sync_all()).map_err(SiteError::io("sync", dir))
}

/// The right to run on a data directory, or to join a server to it; given back when it is dropped or the process ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held for its lock")] File);

impl Lock {
    /// Takes the lock, or says that another process has it.
    pub fn take(dir: &Path) -> Result<Self, SiteError> {
        Self::take_file(&dir.join(LOCK))?.ok_or_else(|| SiteError::Locked { dir: dir.to_owned() })
    }

    /// Takes the right to join a server to the one of this directory, which may be running.
    pub(super) fn take_to_join(dir: &Path) -> Result<Self, SiteError> {
        // A directory that is no server's is told apart here: a lock file is not left in it.
        Config::read(&dir.join(CONFIG))?;
        Self::take_file(&dir.join(JOIN_LOCK))?
            .ok_or_else(|| SiteError::Joining { dir: dir.to_owned() })
    }

    fn take_file(path: &Path) -> Result<Option<Self>, SiteError> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(SiteError::io("open", path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(SiteError::io("lock", path)(source)),
        }
    }
}
