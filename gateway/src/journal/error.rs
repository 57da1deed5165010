//! What can go wrong with a journal.

use std::io;
use std::path::PathBuf;

use postern_protocol::{RoleTerm, Seq};
use thiserror::Error;

use super::ring::{Capacity, Full};

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
    /// It was written by an older Postern, and only a gateway migrates it.
    #[error(
        "journal {path} has the older format {format}\nhint: start the gateway once: it migrates the journal and sets the old file aside; nothing was changed"
    )]
    OlderFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// It was written by an older Postern and is damaged.
    #[error(
        "journal {path} has the older format 1 and is damaged ({reason})\nhint: what is in it can only be read by the version that wrote it; keep the file, then move it away: the controllers are read again from what they still hold; nothing was changed"
    )]
    DamagedFormat1 {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// It is a redb file of another version of redb.
    #[error(
        "{path} was written by another version of the store (redb file format {version})\nhint: install the version of Postern that wrote it, or move the file away; nothing was changed"
    )]
    OtherStore {
        /// The file.
        path: PathBuf,
        /// The version.
        version: u8,
    },
    /// The file is something else.
    #[error(
        "{path} is no journal\nhint: point `data_dir` at this gateway's own directory, or move that file away: a new journal is made where there is none; nothing was changed"
    )]
    NoJournal {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged.
    #[error(
        "journal {path} is damaged: {reason}\nhint: start the gateway, or run `postern journal salvage`: what can be read goes on in a new journal, and this file is set aside; nothing was changed yet"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// More is undelivered than the configured capacity holds.
    #[error(
        "journal {path} holds {} entries ({} bytes) that are not yet safe on a server, more than the configured capacity of {} entries and {} bytes\nhint: raise `capacity_entries` or `capacity_mb` in section `journal`, let the servers catch up, then lower it; nothing was changed",
        .held.entries, .held.bytes, .capacity.entries, .capacity.bytes
    )]
    TooSmall {
        /// The file.
        path: PathBuf,
        /// What is not safe.
        held: Capacity,
        /// What is configured.
        capacity: Capacity,
    },
    /// A directory or file could not be used at all.
    #[error(
        "cannot use {path}\nhint: the directory must exist, be writable for the gateway's user, and have room"
    )]
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
    /// Nothing may be reused: everything held is still unsafe, or the disk has no room.
    #[error("journal is full ({}): {unsafe_entries} of {} entries are not yet safe on a server", 
        match .reason { Full::Entries => "entries", Full::Bytes => "bytes", Full::Disk => "no room on the disk" },
        .capacity.entries)]
    Full {
        /// What ran out.
        reason: Full,
        /// How many are not safe.
        unsafe_entries: u64,
        /// The limits.
        capacity: Capacity,
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
    #[error(
        "journal stopped after a failure: {reason}\nhint: nothing that was acknowledged is lost; start the gateway again: it checks the journal at every open; with \"No space left\" make room first"
    )]
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
