//! The bytes in the journal's tables. `docs/storage.md` describes them.
//!
//! Every value is a [`Record`], *sealed*: magic bytes, length, the journal's id, postcard, checksum. So a
//! record can be verified by itself, wherever it is found: at every read, and in a file whose trees are
//! gone. The id keeps out what a controller puts into its own records: it does not know it.

use postern_protocol::role::SignedRole;
use postern_protocol::{ControllerId, Digest, EpochId, Index, JournalId, RoleTerm, Seq};
use redb::TableDefinition;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::JournalError;

/// The format that this build writes; older ones are migrated, newer ones are refused.
pub const FORMAT: u32 = 2;

/// The format version alone, where every version of Postern looks for it, as a postcard `u32`.
pub(crate) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// The key in [`META`].
pub(crate) const META_FORMAT: &str = "format";
/// First `seq` of a segment to the segment.
pub(crate) const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
/// Everything that is not an entry: a few small values that change with every commit lie together, so
/// that a commit touches one page for all of them.
pub(crate) const STATE: TableDefinition<&str, &[u8]> = TableDefinition::new("state");
/// Entries behind a hole that wait until their controller was read again, in order.
pub(crate) const HELD: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("held");
/// Room that is given up when the disk runs full.
pub(crate) const RESERVE: TableDefinition<(), &[u8]> = TableDefinition::new("reserve");

/// Keys of [`STATE`].
pub(crate) mod key {
    use postern_protocol::{ControllerId, EpochId};

    pub(crate) const IDENTITY: &str = "identity";
    pub(crate) const MARKS: &str = "marks";
    pub(crate) const ROLE: &str = "role";
    /// Cursors stand under `cursor/CONTROLLER`.
    pub(crate) const CURSORS: &str = "cursor/";
    /// Epochs stand under `epoch/EPOCH`.
    pub(crate) const EPOCHS: &str = "epoch/";

    /// Up to where held entries were let go stands under `released/CONTROLLER`.
    pub(crate) fn released(controller: ControllerId) -> String {
        format!("released/{controller}")
    }

    pub(crate) fn cursor(controller: ControllerId) -> String {
        format!("{CURSORS}{controller}")
    }

    pub(crate) fn epoch(epoch: EpochId) -> String {
        format!("{EPOCHS}{epoch}")
    }
}

/// What every sealed record begins with; chosen so that text and zeros never look like it.
pub(crate) const MAGIC: [u8; 4] = [0xD9, b'P', b'J', 0x02];

/// Magic bytes and length before the body, the journal's id in it, checksum behind it.
pub(crate) const SEAL: usize = MAGIC.len() + 4 + 16 + 8;

/// Anything that stands in a journal. Variants are only ever added, at the end.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Record<'a> {
    /// Consecutive entries.
    #[serde(borrow)]
    Segment(Segment<'a>),
    /// Whose journal it is.
    Identity(Identity),
    /// Watermarks.
    Marks(Marks),
    /// Where a controller's log was read to.
    Cursor(ControllerId, Cursor),
    /// One life of a controller's log.
    Epoch(EpochRecord),
    /// The highest role document that was seen, as JSON, and its term, below which none is taken.
    Role(RoleTerm, Raw<'a>),
    /// An entry that waits for its controller, and its place among those of the journal.
    Held(ControllerId, u64, Raw<'a>),
    /// Up to where a controller's held entries were let go.
    Released(ControllerId, u64),
}

/// Entries of one commit, or a part of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Segment<'a> {
    /// Its first entry; also its key.
    pub(crate) first: Seq,
    /// The chain hash before it.
    pub(crate) before: Digest,
    /// The bytes of all segments before it, since the journal began: two of these are how much room
    /// lies between them.
    pub(crate) place: u64,
    /// How many entries.
    pub(crate) count: u32,
    /// Each entry: its length as a little-endian u16, its bytes.
    #[serde(borrow)]
    pub(crate) entries: Raw<'a>,
}

/// Bytes that postcard copies at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Raw<'a>(pub(crate) &'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(Self)
    }
}

/// Whose journal it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) gateway: String,
}

/// Watermarks, written with every commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marks {
    /// The last entry of the commit: what a damaged file is measured against.
    pub(crate) head: Seq,
    /// The highest entry that may be reused.
    pub(crate) safe: Seq,
    /// The oldest entry that is held: what is found below it was given up.
    pub(crate) oldest: Seq,
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

/// Why a sealed record cannot be used: its bytes are not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// Seals a record of this journal.
pub(crate) fn seal(journal: JournalId, record: &Record<'_>) -> Result<Vec<u8>, JournalError> {
    let entries = if let Record::Segment(segment) = record { segment.entries.0.len() } else { 0 };
    let mut bytes = Vec::with_capacity(256 + entries);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&journal.0);
    let mut bytes = postcard::to_extend(record, bytes).map_err(|error| unencodable(&error))?;
    let body = u32::try_from(bytes.len() - MAGIC.len() - 4).map_err(|error| unencodable(&error))?;
    if let Some(length) = bytes.get_mut(MAGIC.len()..MAGIC.len() + 4) {
        length.copy_from_slice(&body.to_le_bytes());
    }
    let checksum = xxh3_64(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

fn unencodable(error: &impl std::fmt::Display) -> JournalError {
    JournalError::Dead { reason: format!("cannot encode: {error}") }
}

/// Opens a sealed record, if it is one and nothing of it changed.
pub(crate) fn unseal(bytes: &[u8]) -> Result<Record<'_>, Broken> {
    unseal_of(bytes).map(|(_, record)| record)
}

/// The same, with the journal that it is of.
pub(crate) fn unseal_of(bytes: &[u8]) -> Result<(JournalId, Record<'_>), Broken> {
    match unseal_prefix(bytes) {
        Ok((journal, record, [])) => Ok((journal, record)),
        Ok(_) | Err(Broken) => Err(Broken),
    }
}

/// Opens the sealed record that `bytes` begin with, and gives back what stands behind it.
pub(crate) fn unseal_prefix(bytes: &[u8]) -> Result<(JournalId, Record<'_>, &[u8]), Broken> {
    let head = bytes.strip_prefix(&MAGIC).and_then(|rest| rest.first_chunk::<4>()).ok_or(Broken)?;
    let body = usize::try_from(u32::from_le_bytes(*head)).map_err(|_| Broken)?;
    let sealed = body.checked_add(MAGIC.len() + 4).ok_or(Broken)?;
    let (sealed, rest) = bytes.split_at_checked(sealed).ok_or(Broken)?;
    let (checksum, rest) = rest.split_first_chunk::<8>().ok_or(Broken)?;
    if xxh3_64(sealed) != u64::from_le_bytes(*checksum) {
        return Err(Broken);
    }
    let body = sealed.get(MAGIC.len() + 4..).ok_or(Broken)?;
    let (journal, body) = body.split_first_chunk::<16>().ok_or(Broken)?;
    match postcard::take_from_bytes(body) {
        Ok((record, [])) => Ok((JournalId(*journal), record, rest)),
        Ok(_) | Err(_) => Err(Broken),
    }
}

/// Seals a role document.
pub(crate) fn seal_role(
    journal: JournalId,
    term: RoleTerm,
    role: &SignedRole,
) -> Result<Vec<u8>, JournalError> {
    let text = serde_json::to_vec(role).map_err(|error| unencodable(&error))?;
    seal(journal, &Record::Role(term, Raw(&text)))
}
