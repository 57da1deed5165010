//! The bytes in the journal's tables, each postcard. `docs/storage.md` describes them.

use postern_protocol::{Chain, ControllerId, Digest, EpochId, Index, Seq};
use redb::TableDefinition;
use serde::{Deserialize, Serialize};

use super::JournalError;

/// The format that this build writes; older ones would be migrated, newer ones are refused.
pub(crate) const FORMAT: u32 = 1;

/// First `seq` of a segment to the segment.
pub(crate) const SEGMENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("segments");
/// Controller to [`Cursor`].
pub(crate) const CURSORS: TableDefinition<&str, &[u8]> = TableDefinition::new("cursors");
/// Epoch to [`EpochRecord`].
pub(crate) const EPOCHS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("epochs");
/// One value each, under the names of `meta`.
pub(crate) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

/// Keys of [`META`].
pub(crate) mod meta {
    pub(crate) const FORMAT: &str = "format";
    pub(crate) const JOURNAL: &str = "journal";
    pub(crate) const GATEWAY: &str = "gateway";
    pub(crate) const HEAD: &str = "head";
    pub(crate) const SAFE: &str = "safe";
    pub(crate) const ROLE: &str = "role";
    pub(crate) const ROLE_TERM: &str = "role_term";
}

/// Entries of one commit. The chain is the checksum: `after` is recomputed from `before` and the
/// entries at every read, so no wrong byte leaves the journal as right.
#[derive(Serialize, Deserialize)]
pub(crate) struct Segment<'a> {
    pub(crate) first: Seq,
    pub(crate) before: Digest,
    pub(crate) after: Digest,
    #[serde(borrow)]
    pub(crate) entries: Vec<&'a [u8]>,
}

impl<'a> Segment<'a> {
    /// Reads and verifies.
    pub(crate) fn decode(key: u64, bytes: &'a [u8]) -> Result<Self, JournalError> {
        let corrupt = || JournalError::Corrupt { at: Seq(key) };
        let segment: Self = postcard::from_bytes(bytes).map_err(|_| corrupt())?;
        let start = Chain { seq: segment.first.previous(), hash: segment.before };
        let end = segment.entries.iter().fold(start, |chain, entry| chain.link(entry));
        if segment.first.0 != key || end.hash != segment.after || segment.entries.is_empty() {
            return Err(corrupt());
        }
        Ok(segment)
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Seq {
        Seq(self.first.0 + self.entries.len() as u64 - 1)
    }
}

/// Where a controller's log was read to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Which life of the log.
    pub epoch: EpochId,
    /// The last index that was read.
    pub index: Index,
    /// The digest of the record there, to know it again.
    pub anchor: Digest,
}

/// One life of a controller's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Its id.
    pub epoch: EpochId,
    /// Whose log.
    pub controller: ControllerId,
    /// The life before it, where the journal saw that end.
    pub predecessor: Option<EpochId>,
    /// `None`: provisional, the active server has not been asked yet. Otherwise the name under
    /// which it is sent.
    pub known_as: Option<EpochId>,
}

/// Encodes a value of one of the tables.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, JournalError> {
    postcard::to_allocvec(value)
        .map_err(|error| JournalError::Dead { reason: format!("cannot encode: {error}") })
}

/// Decodes a value of one of the tables.
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    postcard::from_bytes(bytes).map_err(|error| format!("unreadable value: {error}"))
}
