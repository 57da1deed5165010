//! A store's file, or a copy of one, read without a server: nothing on the disk is written, neither the
//! file nor what lies beside it.
//!
//! What was committed last may stand in the write-ahead log beside the file (`-wal`) and not in the file
//! yet, so a log is read where there is one. `SQLite` would make or repair the log's index (`-shm`) for
//! that, and fold the log into the file at the end; how that is kept from happening depends on what lies
//! there (`Beside`).

use std::fs::{self, Metadata};
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::error::Fault;
use super::{Store, StoreError};

/// A store that is only read.
pub struct Archive {
    store: Store,
    path: PathBuf,
    beside: Beside,
    found: [Option<Print>; 3],
}

/// What lies beside the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    /// No log, or an empty one without an index: all there is stands in the file. It is read without
    /// locks, as what cannot change.
    Nothing,
    /// A log without its index, so no process has it open: both are read without locks, and the index
    /// is kept in memory.
    Log,
    /// Both. A server may be running there, whose index is then used as it is; where none is, one is
    /// made in memory.
    LogAndIndex,
}

/// By what a file is seen to have changed.
type Print = (u64, Option<SystemTime>);

impl Archive {
    /// Opens a file, or the store of a data directory.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let missing = || StoreError::Missing { path: path.to_owned() };
        let inside = path.join(crate::site::STORE);
        let path = if path.is_dir() { &inside } else { path };
        let path = fs::canonicalize(path).map_err(|_| missing())?;
        if !fs::metadata(&path).is_ok_and(|found| found.is_file()) {
            return Err(StoreError::NotAStore { path });
        }
        let found = prints(&path);
        let beside = match found {
            [_, Some(_), Some(_)] => Beside::LogAndIndex,
            [_, Some((length, _)), None] if length > 0 => Beside::Log,
            _ => Beside::Nothing,
        };
        let connection = connect(&path, beside)?;
        let store = match Store::of(connection, &path, "") {
            Err(error) if error.fault() == Some(Fault::Foreign) => {
                return Err(StoreError::NotAStore { path });
            }
            opened => opened?,
        };
        Ok(Self { store, path, beside, found })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fails if what was read without locks was written meanwhile: to be asked at the end.
    pub fn check_unchanged(&self) -> Result<(), StoreError> {
        if self.beside == Beside::LogAndIndex || prints(&self.path) == self.found {
            return Ok(());
        }
        Err(StoreError::Changed { path: self.path.clone() })
    }
}

impl Deref for Archive {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

/// Of the file, its log and the log's index.
fn prints(path: &Path) -> [Option<Print>; 3] {
    ["", "-wal", "-shm"].map(|end| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        let print = |found: Metadata| (found.len(), found.modified().ok());
        fs::metadata(name).ok().map(print)
    })
}

fn connect(path: &Path, beside: Beside) -> Result<Connection, StoreError> {
    let how = match beside {
        Beside::Nothing => "immutable=1",
        Beside::Log => "vfs=unix-none",
        Beside::LogAndIndex => "readonly_shm=1",
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<Connection> {
        let connection =
            Connection::open_with_flags(format!("file:{}?mode=ro&{how}", escaped(path)), flags)?;
        connection.busy_timeout(super::schema::BUSY)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.pragma_update(None, "query_only", true)?;
        if beside == Beside::Log {
            // With nobody else there the log's index need not be in a file.
            connection.pragma_update(None, "locking_mode", "exclusive")?;
        }
        Ok(connection)
    };
    open().map_err(StoreError::sqlite("open the file"))
}

/// A path in a URI, whatever its bytes are.
fn escaped(path: &Path) -> String {
    use std::fmt::Write as _;
    path.as_os_str().as_bytes().iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                write!(text, "{}", char::from(*byte))
            }
            byte => write!(text, "%{byte:02X}"),
        };
        text
    })
}

#[cfg(test)]
mod tests;
