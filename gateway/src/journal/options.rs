//! Where and whose the journal is, and what it is to keep to.

use std::num::NonZeroU32;
use std::path::PathBuf;

use super::ring::Capacity;

/// Where and whose the journal is.
#[derive(Clone, Debug)]
pub struct Options {
    /// The file.
    pub path: PathBuf,
    /// The gateway's name, bound into the journal when it is made.
    pub gateway: String,
    /// How much it may hold.
    pub capacity: Capacity,
    /// The most syncs a second under sustained traffic, to spare the medium; `None`: as many as
    /// there is work for.
    pub syncs_per_second: Option<NonZeroU32>,
    /// Bytes in the file that are given up when the disk runs full, so that watermarks, role documents
    /// and notes can still be written.
    pub reserve: usize,
}

/// The reserve that a gateway keeps, a little below a power of two, as redb's runs of pages are: a commit
/// of notes takes about 30 KiB, and the pages of the one before the last are free again.
pub const RESERVE_BYTES: usize = 1024 * 1024 - 4096;
