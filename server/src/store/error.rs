//! What can go wrong with the store.

use std::path::PathBuf;

use rusqlite::ErrorCode;

use crate::exit;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum StoreError {
    #[error("store: cannot {doing}: {source}")]
    Sqlite { doing: &'static str, source: rusqlite::Error },
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
    #[error("the store failed earlier")]
    Dead,
}

impl StoreError {
    /// Names what was being done.
    pub(super) fn sqlite(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Sqlite { doing, source }
    }

    /// Whether the store cannot go on: its outcome is unknown or its file is not to be trusted. A
    /// full disk is not that: the change was rolled back, and there may be room later.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Sqlite { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(
                    ErrorCode::SystemIoFailure
                        | ErrorCode::DatabaseCorrupt
                        | ErrorCode::NotADatabase
                        | ErrorCode::ReadOnly
                        | ErrorCode::CannotOpen
                )
            ),
            Self::Value { .. } | Self::NotDurable { .. } => true,
            Self::NotAStore { .. }
            | Self::Version { .. }
            | Self::Missing { .. }
            | Self::Changed { .. }
            | Self::CutOff { .. }
            | Self::Dead => false,
        }
    }

    /// Whether what was to be written contradicts what is held.
    pub(super) fn is_contradiction(&self) -> bool {
        matches!(self, Self::Sqlite { source, .. }
            if source.sqlite_error_code() == Some(ErrorCode::ConstraintViolation))
    }

    /// Whether there is no room.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Sqlite { source, .. }
            if source.sqlite_error_code() == Some(ErrorCode::DiskFull))
    }

    /// The exit code for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotAStore { .. } | Self::Version { .. } | Self::Missing { .. } => {
                exit::CONFIGURATION
            }
            Self::Changed { .. } => exit::FAILED,
            Self::Sqlite { .. }
            | Self::NotDurable { .. }
            | Self::Value { .. }
            | Self::CutOff { .. }
            | Self::Dead => exit::STORE,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Sqlite { .. } if self.is_full() => {
                "the disk is full; make space, the server goes on by itself".into()
            }
            Self::Sqlite { .. } | Self::Value { .. } | Self::Dead => {
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
            Self::Version { .. } => "install the version that wrote it, or a newer one".into(),
        })
    }
}
