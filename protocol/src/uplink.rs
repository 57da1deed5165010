//! What a gateway and a server say to each other: JSON over HTTPS, specified in `docs/uplink.md`.
//!
//! A gateway posts batches of journal entries to the active server of its failover group. Every
//! answer carries the server's watermark, every refusal a closed [`RefusalCode`]. The bytes of an
//! entry travel as they stand in the journal (the chain hash covers them); the readable
//! transaction travels beside them for receivers that do not decode postcard.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

pub use crate::bytes::Bytes;
use crate::digest::{Chain, Digest};
use crate::id::{ControllerId, EpochId, Index, JournalId, RoleTerm, Seq};
use crate::role::SignedRole;
use crate::transaction::{MAX_ENTRY, Transaction};

/// The most entries in one batch: at 60 to 200 bytes each a batch stays far below [`MAX_BODY`], and
/// one server commit pays for many transactions.
pub const MAX_BATCH: usize = 1_024;

/// The longest body of a request, unpacked: a full batch of the longest entries in JSON.
pub const MAX_BODY: usize = 4 * 1024 * 1024;

/// The highest `seq`: stores count in signed 64-bit integers.
pub const MAX_SEQ: Seq = Seq(i64::MAX.cast_unsigned());

/// `POST /v1/groups/{group}/journals/{journal}/transactions`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Batch {
    /// The highest role document that the gateway knows.
    pub role: Option<SignedRole>,
    /// The oldest `seq` that the journal still holds; what a server lacks below it is a hole.
    pub oldest: Seq,
    /// The highest `safe` that the gateway was told: whoever holds less is not in sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<Told>,
    /// How full the journal is of what may not be forgotten, in percent.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(minimum = 0, maximum = 255))]
    pub full: u8,
    /// In how many seconds it is full at its present pace, if nothing more may ever be forgotten;
    /// `None` where no pace is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schema(format = "uint32", minimum = 0, maximum = 4_294_967_295_u64)
    )]
    pub lasts_s: Option<u32>,
    /// The chain hash before the first entry.
    pub chain_before: Digest,
    /// For each provisional epoch named by an entry that turned out to be a known one: which. An
    /// epoch that is not named here stands for itself.
    #[cfg_attr(feature = "schema", schema(max_items = 2_000))]
    pub epochs: Vec<EpochAlias>,
    /// Consecutive entries, at least one, at most [`MAX_BATCH`].
    #[cfg_attr(feature = "schema", schema(min_items = 1, max_items = 1_024))]
    pub entries: Vec<Entry>,
}

/// What a gateway was told to be safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Told {
    /// Up to where.
    pub safe: Seq,
    /// Under which role term.
    pub role_term: RoleTerm,
}

/// One journal entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Entry {
    /// Its position in the journal.
    pub seq: Seq,
    /// Its encoding, as the chain covers it.
    pub bytes: Bytes,
    /// The same for readers that do not decode: this is a courtesy, `bytes` rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<Transaction>,
}

/// A provisional epoch and what it was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct EpochAlias {
    /// Whose log.
    pub controller: ControllerId,
    /// As the entries' bytes name it.
    pub provisional: EpochId,
    /// As it is to be stored.
    pub epoch: EpochId,
}

/// The answer to a batch, and `GET /v1/groups/{group}/journals/{journal}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Watermark {
    /// Under which role term the server answers.
    pub role_term: RoleTerm,
    /// The highest `seq` that it has durably, without holes other than recorded ones.
    pub stored: Seq,
    /// The chain hash there.
    pub chain: Digest,
    /// The highest `seq` that the gateway may forget.
    pub safe: Seq,
}

/// `GET /v1/groups/{group}/controllers/{controller}/last?at_most=N`: what a gateway with a new
/// journal asks before it sends anything of a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Last {
    /// Under which role term the server answers.
    pub role_term: RoleTerm,
    /// The highest record of the newest epoch, at most the index asked for; `None` where the server
    /// holds none.
    pub record: Option<LastRecord>,
    /// The newest epoch and its highest index, whatever was asked for.
    pub newest: Option<(EpochId, Index)>,
}

/// A record that a server holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LastRecord {
    /// The life of the log.
    pub epoch: EpochId,
    /// Its index there.
    pub index: Index,
    /// The digest of the controller's bytes.
    pub digest: Digest,
}

/// Why a server refused, as a closed list: the HTTP status says the class, this says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// 421: this server is not the active one; the role document says who is.
    NotActive,
    /// 409: the journal's past differs from what this server holds under its name.
    Fork,
    /// 409: the batch begins above what is stored although the gateway still holds what is missing.
    OutOfSequence,
    /// 403: the journal or the controller belongs to another gateway.
    Foreign,
    /// 403: the certificate is not for this.
    Forbidden,
    /// 404: no such group, journal, controller or path.
    NotFound,
    /// 400: the request is not what it should be.
    BadRequest,
    /// 413: the body or the batch is larger than allowed.
    TooLarge,
    /// 409: the operator's command does not fit the present role document.
    Denied,
    /// 503: the store failed or is full; nothing of the batch was kept.
    Unavailable,
}

/// The body of every refusal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Refusal {
    /// Which.
    pub code: RefusalCode,
    /// What, where and why, for people.
    pub message: String,
    /// What to do next, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Where the journal stands here (`fork`, `out_of_sequence`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<Watermark>,
    /// Who is active (`not_active`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<SignedRole>,
}

/// Why a batch is not well-formed, before anything is compared with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchError {
    /// No entries.
    Empty,
    /// More than [`MAX_BATCH`].
    TooMany,
    /// Not consecutive at this entry.
    Hole {
        /// The `seq` that should have stood there.
        expected: Seq,
        /// The one that did.
        got: Seq,
    },
    /// The batch begins below the oldest entry that it says the journal holds, or at 0.
    BelowOldest,
    /// A `seq` above [`MAX_SEQ`].
    SeqTooLarge,
    /// An entry that is empty or longer than [`MAX_ENTRY`].
    EntryLength {
        /// Which.
        seq: Seq,
    },
}

impl core::fmt::Display for BatchError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Empty => f.write_str("batch without entries"),
            Self::TooMany => write!(f, "batch of more than {MAX_BATCH} entries"),
            Self::Hole { expected, got } => {
                write!(f, "entry {got} stands where {expected} should")
            }
            Self::BelowOldest => f.write_str("batch begins below the oldest entry it names"),
            Self::SeqTooLarge => write!(f, "entry above the highest seq ({MAX_SEQ})"),
            Self::EntryLength { seq } => {
                write!(f, "entry {seq} is empty or longer than {MAX_ENTRY} bytes")
            }
        }
    }
}

impl core::error::Error for BatchError {}

impl Batch {
    /// Checks what can be checked without a store and returns the chain before and after.
    pub fn check(&self) -> Result<(Chain, Chain), BatchError> {
        let first = self.entries.first().ok_or(BatchError::Empty)?.seq;
        if self.entries.len() > MAX_BATCH {
            return Err(BatchError::TooMany);
        }
        if first < self.oldest || self.oldest == Seq(0) {
            return Err(BatchError::BelowOldest);
        }
        let before = Chain { seq: first.previous(), hash: self.chain_before };
        let mut chain = before;
        for entry in &self.entries {
            if entry.seq != chain.seq.next() {
                return Err(BatchError::Hole { expected: chain.seq.next(), got: entry.seq });
            }
            if entry.seq > MAX_SEQ {
                return Err(BatchError::SeqTooLarge);
            }
            if entry.bytes.0.is_empty() || entry.bytes.0.len() > MAX_ENTRY {
                return Err(BatchError::EntryLength { seq: entry.seq });
            }
            chain = chain.link(&entry.bytes.0);
        }
        Ok((before, chain))
    }
}

/// The path of a journal on a server.
pub fn journal_path(group: &str, journal: JournalId) -> String {
    alloc::format!("/v1/groups/{group}/journals/{journal}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(seqs: &[u64]) -> Batch {
        Batch {
            role: None,
            oldest: Seq(1),
            told: None,
            full: 0,
            lasts_s: None,
            chain_before: Chain::genesis(JournalId([0; 16])).hash,
            epochs: Vec::new(),
            entries: seqs
                .iter()
                .map(|seq| Entry {
                    seq: Seq(*seq),
                    bytes: Bytes([1, 2].to_vec()),
                    transaction: None,
                })
                .collect(),
        }
    }

    #[test]
    fn a_consecutive_batch_gives_its_chain() {
        let (before, after) = batch(&[1, 2, 3]).check().unwrap();
        assert_eq!((before.seq, after.seq), (Seq(0), Seq(3)));
        assert_eq!(after, before.link(&[1, 2]).link(&[1, 2]).link(&[1, 2]));
    }

    #[test]
    fn holes_repeats_shuffles_and_wrong_sizes_are_refused() {
        assert_eq!(batch(&[]).check(), Err(BatchError::Empty));
        for seqs in [[1, 3], [1, 1], [2, 1]] {
            assert!(matches!(batch(&seqs).check(), Err(BatchError::Hole { .. })), "{seqs:?}");
        }
        assert_eq!(batch(&[0]).check(), Err(BatchError::BelowOldest));
        assert_eq!(batch(&[u64::MAX, u64::MAX]).check(), Err(BatchError::SeqTooLarge));
        let many: Vec<u64> = (1..=MAX_BATCH as u64 + 1).collect();
        assert_eq!(batch(&many).check(), Err(BatchError::TooMany));
        for length in [0, MAX_ENTRY + 1] {
            let mut bad = batch(&[1]);
            bad.entries[0].bytes.0.resize(length, 7);
            assert_eq!(bad.check(), Err(BatchError::EntryLength { seq: Seq(1) }));
        }
    }
}
