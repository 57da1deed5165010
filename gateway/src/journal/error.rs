//! What can go wrong with a journal.

use std::io;
use std::path::PathBuf;

use postern_protocol::{RoleTerm, Seq};
use thiserror::Error;

/// Why the journal did not do what it was asked.
#[derive(Debug, Error)]
pub enum JournalError {
    /// Another process has it.
    #[error(
        "journal {path} is in use by another process\nhint: one gateway runs per data directory; stop the other, or give this one its own `data_dir`"
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It belongs to another gateway.
    #[error(
        "journal {path} belongs to gateway {owner}, this is gateway {gateway}\nhint: point `data_dir` at this gateway's own directory, or `bundle` at the bundle of {owner}"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: String,
        /// Who we are.
        gateway: String,
    },
    /// It was written by a newer Postern.
    #[error(
        "journal {path} has format {format}, this build reads up to {supported}\nhint: install the version that wrote it; nothing was changed"
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
        /// What we read.
        supported: u32,
    },
    /// The file is no journal, or is damaged.
    #[error(
        "journal {path} cannot be read: {reason}\nhint: nothing was changed; copy the file to a safe place before anything else, then move it away: the controllers are read again from what they still hold"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A directory or file could not be used at all.
    #[error("cannot use {path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The store failed in mid-work. The journal is dead after this.
    #[error("journal store failed")]
    Store(#[source] Box<redb::Error>),
    /// A segment does not match its own chain.
    #[error("journal segment at {at} does not match its checksum")]
    Corrupt {
        /// Its first entry.
        at: Seq,
    },
    /// Nothing may be reused: everything held is still unsafe.
    #[error("journal is full: {unsafe_entries} of {capacity} entries are not yet safe on a server")]
    Full {
        /// How many are not safe.
        unsafe_entries: u64,
        /// The limit.
        capacity: u64,
    },
    /// A higher role document is remembered.
    #[error("role term {got} is below the remembered {known}")]
    LowerRole {
        /// Of the document that was refused.
        got: RoleTerm,
        /// Of the one that stays.
        known: RoleTerm,
    },
    /// An earlier failure ended it for this process.
    #[error("journal stopped after a failure: {reason}")]
    Dead {
        /// The failure.
        reason: String,
    },
}

impl<E: Into<redb::Error>> From<E> for JournalError {
    fn from(error: E) -> Self {
        Self::Store(Box::new(error.into()))
    }
}
