//! Backups: verified copies of the store, one whole file each with a sidecar that says what is in it.
//!
//! - [`make()`]: a copy, verified, under its name; [`verify()`]: is a file still what was made.
//! - [`list`] and [`prune`]: which backups lie in a directory; only what a sidecar calls ours goes.
//! - [`Minder`]: backups of a running server, by schedule and on request.
//! - [`restore`]: puts a backup in the place of a store.
//!
//! Invariants: a file has its final name only if it was verified after it was written, and its
//! sidecar is there before; an older backup goes only after a newer one was verified; nothing is
//! ever overwritten. A backup is no secret key but holds card numbers: mode 0600.
//!
//! The store is copied on its own file system and from there to another: a backup disk that hangs
//! must not hold back the store's log, as a copy that cannot go on would (`store::snapshot`).

use std::io;
use std::path::{Path, PathBuf};

use crate::exit;
use crate::site::SiteError;
use crate::store::StoreError;
use crate::store::backup::Unsound;
use crate::store::snapshot::SnapshotError;

mod file;
mod keep;
mod make;
mod minder;
mod restore;
mod schedule;
mod sidecar;
mod verify;

pub use file::room as has_room;
pub use keep::{Kept, list, prune};
pub use make::{Place, make};
pub use minder::{Good, Minder, Outcome, Running, Status};
pub use restore::{Order, Restored, restore};
pub use sidecar::{SCHEMA, Sidecar, Who, sidecar_path};
pub use verify::{Verified, verify};

/// Why there is no backup, or none that can be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum BackupError {
    #[error("{0}")]
    Site(#[from] SiteError),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Snapshot(#[from] SnapshotError),
    #[error("cannot {what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is no directory", path.display())]
    NoDirectory { path: PathBuf },
    #[error("{} exists and is not overwritten", path.display())]
    Exists { path: PathBuf },
    #[error("{} has room for {free} bytes, and {needed} are needed", path.display())]
    NoRoom { path: PathBuf, free: u64, needed: u64 },
    #[error("{}: {why}", path.display())]
    Unsound { path: PathBuf, why: Unsound },
    #[error("{} is not what its sidecar says: {what} is {got}, not {wanted}", path.display())]
    Differs { path: PathBuf, what: &'static str, got: String, wanted: String },
    #[error("{} is no sidecar that can be read: {why}", path.display())]
    Sidecar { path: PathBuf, why: String },
    #[error("{} is of another {what}: {theirs}, not {ours}", path.display())]
    Foreign { path: PathBuf, what: &'static str, theirs: String, ours: String },
    #[error("{} already holds a store", path.display())]
    Occupied { path: PathBuf },
    #[error("another backup is being made")]
    Busy,
    #[error("the server is stopping")]
    Stopping,
}

impl BackupError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Site(error) => return error.hint(),
            Self::Store(error) => return error.hint(),
            Self::Snapshot(error) => return error.hint(),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "the disk is full: make room; nothing was left behind".into()
            }
            Self::Io { .. } => "is this the user that the server runs as?".into(),
            Self::NoDirectory { .. } => {
                "make it, or mount what belongs there; it is not made here, so that a disk that is \
                 not mounted is noticed"
                    .into()
            }
            Self::Exists { .. } => "choose another name".into(),
            Self::NoRoom { .. } => "make room, or keep fewer backups (`keep`)".into(),
            Self::Unsound { why: Unsound::Log, .. } => {
                "stop that server properly first, or make a backup with `postern-server backup \
                 create`"
                    .into()
            }
            Self::Unsound { .. } | Self::Differs { .. } => {
                "take an older backup; `postern-server backup list` shows which there are".into()
            }
            Self::Sidecar { .. } => {
                "move the sidecar away to have the file checked without it".into()
            }
            Self::Foreign { .. } => {
                "a store can only be restored within its own site and group".into()
            }
            Self::Occupied { .. } => {
                "with --set-aside it is kept under another name, and the backup takes its place"
                    .into()
            }
            Self::Busy => "wait until that is done".into(),
            Self::Stopping => return None,
        })
    }

    /// The exit code for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Site(error) => error.exit_code(),
            Self::Store(error) => error.exit_code(),
            Self::Unsound { .. } | Self::Differs { .. } | Self::Sidecar { .. } => exit::STORE,
            Self::Snapshot(_)
            | Self::Io { .. }
            | Self::NoDirectory { .. }
            | Self::Exists { .. }
            | Self::NoRoom { .. }
            | Self::Foreign { .. }
            | Self::Occupied { .. }
            | Self::Busy
            | Self::Stopping => exit::FAILED,
        }
    }
}

#[cfg(test)]
mod tests;
