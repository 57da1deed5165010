//! What one commit changed, as it stands in the change log and travels to the other server.
//!
//! Plain data: a store of another make writes and reads the same. The log is ordered; each entry's
//! chain covers all before it, so that two stores whose logs end with one position and one chain
//! hold the same, row for row.

use postern_protocol::uplink::{Bytes, EpochAlias};
use postern_protocol::{ControllerId, Digest, EpochId, JournalId, RoleTerm, Seq, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A place in the change log: from 1, consecutive; 0 before the first.
pub type Position = u64;

/// Where a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The last entry.
    pub position: Position,
    /// Under which role term it was written; 0 before the first.
    pub role_term: RoleTerm,
    /// The chain there.
    pub chain: Digest,
}

impl Head {
    /// Before the first entry.
    pub fn genesis() -> Self {
        let chain = Digest::of("postern change log", &[]);
        Self { position: 0, role_term: RoleTerm(0), chain }
    }
}

/// One entry of the log with the transactions that it brought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogEntry {
    /// Its place, its role term, and the chain with it.
    pub head: Head,
    /// What it changed.
    pub change: Change,
    /// The transactions of the change's span, in order.
    pub lines: Vec<Line>,
}

/// What a commit changed. What was there before stands beside it, so that it can be taken back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Journals whose watermark moved.
    pub journals: Vec<JournalChange>,
    /// Controllers that a gateway got.
    pub controllers: Vec<OwnerChange>,
    /// Under which epoch the entries of an epoch are stored.
    pub aliases: Vec<EpochAlias>,
    /// Epochs that records are held of since.
    pub epochs: Vec<KnownEpoch>,
    /// Holes that were recorded or filled.
    pub holes: Vec<HoleChange>,
    /// Lines of the audit log.
    pub audit: Vec<AuditLine>,
    /// The first and the last row of the transactions that were stored.
    pub rows: Option<(u64, u64)>,
    /// The digest of their lines.
    pub lines: Option<Digest>,
}

/// A journal's watermark, before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalChange {
    /// Which.
    pub journal: JournalId,
    /// Whose.
    pub gateway: String,
    /// `None` where it came to be known.
    pub before: Option<Mark>,
    /// What holds now.
    pub after: Mark,
}

/// Where a journal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The highest `seq` held.
    pub stored: Seq,
    /// The journal's chain there.
    pub chain: Digest,
    /// The highest `seq` that was known to be safe then.
    pub safe: Seq,
    /// Entries whose transaction was held already.
    pub doubles: u64,
    /// Entries that contradicted what was held.
    pub conflicts: u64,
    /// Entries that could not be read.
    pub unreadable: u64,
}

/// Whose a controller is, before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerChange {
    /// Which.
    pub controller: ControllerId,
    /// `None` where it was nobody's.
    pub before: Option<String>,
    /// The gateway that it belongs to now.
    pub after: String,
}

/// An epoch that records are held of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownEpoch {
    /// Its number in the order of becoming known.
    pub id: u64,
    /// Whose log.
    pub controller: ControllerId,
    /// Which life of it.
    pub epoch: EpochId,
}

/// A hole, before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoleChange {
    /// Its row.
    pub id: u64,
    /// In which journal.
    pub journal: JournalId,
    /// The first `seq` that is missing.
    pub first: Seq,
    /// The last.
    pub last: Seq,
    /// When it was recorded.
    pub at: Timestamp,
    /// When it was filled from the other server; `None` where this change records it.
    pub filled: Option<Timestamp>,
}

/// A line of the audit log that both servers keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    /// The server that wrote it.
    pub server: String,
    /// When, by its clock.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What happened.
    pub event: String,
    /// To whom or what.
    pub subject: String,
    /// Why, and the particulars.
    pub detail: String,
}

/// A transaction as it travels between stores: its entry's bytes, and what does not follow from
/// them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its row.
    pub id: u64,
    /// The journal that brought it first.
    pub journal: JournalId,
    /// Its position there.
    pub seq: Seq,
    /// The epoch that it is stored under.
    pub epoch: Option<EpochId>,
    /// What it was, as it is shown.
    pub kind: String,
    /// When it was first stored.
    pub stored_at: Timestamp,
    /// Whether it was news then.
    pub live: bool,
    /// Under which role term.
    pub role_term: RoleTerm,
    /// `conflict`, `unreadable` or nothing.
    pub flags: String,
    /// Its encoding.
    pub entry: Bytes,
}

impl Change {
    /// Whether there is anything to tell.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Digests lines as they are stored or read.
#[derive(Clone, Default)]
pub struct LineDigest(Sha256);

impl LineDigest {
    /// Adds a line.
    pub fn add(&mut self, line: &Line) {
        self.0.update(encode(line));
    }

    /// The digest of all of them.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// The head after an entry.
pub fn link(before: &Head, role_term: RoleTerm, change: &[u8]) -> Head {
    let position = before.position.saturating_add(1);
    let parts: [&[u8]; 4] =
        [&before.chain.0, &position.to_be_bytes(), &role_term.0.to_be_bytes(), change];
    Head { position, role_term, chain: Digest::of("postern change", &parts) }
}

/// The bytes of a value of ours; these have no way to fail.
pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, Vec::new()).unwrap_or_default()
}
