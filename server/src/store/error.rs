//! What can go wrong with the store.

use std::error::Error;
use std::path::PathBuf;

use rusqlite::ErrorCode;

use crate::exit;

/// `SQLITE_IOERR_SHMSIZE`.
const NO_ROOM: i32 = rusqlite::ffi::SQLITE_IOERR_SHMSIZE;

/// What a failure of the engine below says of the store. Each engine maps its own codes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The disk or the connection failed in the middle: the outcome is unknown.
    Broken,
    /// What lies there is damaged.
    Damaged,
    /// What lies there is something else.
    Foreign,
    /// There is no room. The change was taken back, and there may be room later.
    Full,
    /// What was to be written contradicts what is held.
    Contradiction,
    /// Anything else; the change was taken back.
    Other,
}

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum StoreError {
    #[error("store: cannot {doing}: {source}")]
    Failed { doing: &'static str, fault: Fault, source: Box<dyn Error + Send + Sync> },
    #[error("store: {setting} is {got}, not {wanted}: a commit would not be durable")]
    NotDurable { setting: &'static str, got: String, wanted: &'static str },
    #[error("{} is no store of this product", path.display())]
    NotAStore { path: PathBuf },
    #[error("{} has format {got}; this version reads {wanted}", path.display())]
    Version { path: PathBuf, got: i64, wanted: i64 },
    #[error("store: {what} holds a value that cannot be: {got}")]
    Value { what: &'static str, got: String },
    #[error("there is no file {}", path.display())]
    Missing { path: PathBuf },
    #[error("{} was changed while it was read", path.display())]
    Changed { path: PathBuf },
    #[error("the change log no longer holds position {position}")]
    CutOff { position: u64 },
    #[error(
        "this program was built without SQLite's table of pages: no copy of a store could be made"
    )]
    NoPages,
    #[error("the store failed earlier")]
    Dead,
}

impl StoreError {
    /// Names what was being done.
    pub(super) fn sqlite(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| {
            let fault = match source.sqlite_error_code() {
                // The log's index could not be made longer.
                Some(ErrorCode::SystemIoFailure)
                    if source
                        .sqlite_error()
                        .is_some_and(|error| error.extended_code == NO_ROOM) =>
                {
                    Fault::Full
                }
                Some(ErrorCode::SystemIoFailure | ErrorCode::ReadOnly | ErrorCode::CannotOpen) => {
                    Fault::Broken
                }
                Some(ErrorCode::DatabaseCorrupt) => Fault::Damaged,
                Some(ErrorCode::NotADatabase) => Fault::Foreign,
                Some(ErrorCode::DiskFull) => Fault::Full,
                Some(ErrorCode::ConstraintViolation) => Fault::Contradiction,
                _ => Fault::Other,
            };
            Self::Failed { doing, fault, source: source.into() }
        }
    }

    /// What the engine below said, where it failed.
    pub(super) fn fault(&self) -> Option<Fault> {
        let Self::Failed { fault, .. } = self else { return None };
        Some(*fault)
    }

    /// Whether the store cannot go on: its outcome is unknown or its file is not to be trusted. A
    /// full disk is not that: the change was rolled back, and there may be room later.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Failed { fault, .. } => {
                matches!(fault, Fault::Broken | Fault::Damaged | Fault::Foreign)
            }
            Self::Value { .. } | Self::NotDurable { .. } => true,
            Self::NotAStore { .. }
            | Self::Version { .. }
            | Self::Missing { .. }
            | Self::Changed { .. }
            | Self::CutOff { .. }
            | Self::NoPages
            | Self::Dead => false,
        }
    }

    /// Whether what was to be written contradicts what is held.
    pub(super) fn is_contradiction(&self) -> bool {
        self.fault() == Some(Fault::Contradiction)
    }

    /// Whether there is no room.
    pub fn is_full(&self) -> bool {
        self.fault() == Some(Fault::Full)
    }

    /// The exit code for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotAStore { .. }
            | Self::Version { .. }
            | Self::Missing { .. }
            | Self::NoPages => exit::CONFIGURATION,
            Self::Changed { .. } => exit::FAILED,
            Self::Failed { .. }
            | Self::NotDurable { .. }
            | Self::Value { .. }
            | Self::CutOff { .. }
            | Self::Dead => exit::STORE,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Failed { .. } if self.is_full() => {
                "the disk is full; make space, the server goes on by itself".into()
            }
            Self::Failed { .. } | Self::Value { .. } | Self::Dead => {
                "check the disk; keep a copy of the file before anything is repaired".into()
            }
            Self::NotDurable { .. } => {
                "the file system does not support a write-ahead log; use a local one".into()
            }
            Self::CutOff { .. } => "the server needs a full copy of the active one's store".into(),
            Self::NotAStore { .. } => {
                "restore store.sqlite, or join the server to its site anew".into()
            }
            Self::Missing { .. } => {
                "name a store.sqlite, a copy of one, or a directory with one".into()
            }
            Self::Changed { .. } => {
                "a server was started on it: ask that server, or repeat the command".into()
            }
            Self::NoPages => {
                "build it within its own directory, so that .cargo/config.toml counts, and without \
                 LIBSQLITE3_FLAGS of your own"
                    .into()
            }
            Self::Version { .. } => "install the version that wrote it, or a newer one".into(),
        })
    }
}
