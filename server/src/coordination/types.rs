//! The types that Raft is used with, and the commands of the state machine.

use std::fmt;
use std::io::Cursor;

use postern_protocol::role::{RoleVersion, SignedRole};
use postern_protocol::{RoleTerm, Timestamp};
use serde::{Deserialize, Serialize};

use super::message::MAX_COUNT;
use crate::store::Audit;

openraft::declare_raft_types!(
    /// Raft as it is used here.
    pub(super) TypeConfig:
        D = Command,
        R = Reply,
        Node = VoterAddress,
        SnapshotData = Cursor<Vec<u8>>,
);

pub(super) type NodeId = u64;
pub(super) type Raft = openraft::Raft<TypeConfig>;
pub(super) type Entry = openraft::Entry<TypeConfig>;
pub(super) type LogId = openraft::LogId<NodeId>;
pub(super) type Vote = openraft::Vote<NodeId>;
pub(super) type StoredMembership = openraft::StoredMembership<NodeId, VoterAddress>;
pub(super) type StorageError = openraft::StorageError<NodeId>;

/// A voter's name, which its certificate bears, and where it is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoterAddress {
    /// The name in its certificate.
    pub name: String,
    /// Where it is reached, as the transport understands it.
    pub address: String,
}

/// A role document's version, as it is written down here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Version {
    term: u64,
    revision: u64,
}

impl From<RoleVersion> for Version {
    fn from(version: RoleVersion) -> Self {
        Self { term: version.term.0, revision: version.revision }
    }
}

impl From<Version> for RoleVersion {
    fn from(version: Version) -> Self {
        Self { term: RoleTerm(version.term), revision: version.revision }
    }
}

/// Why the document was changed: the words of the audit log, kept with the change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words {
    /// When, in milliseconds of UTC.
    pub at_ms: i64,
    /// Who.
    pub actor: String,
    /// What happened, as a stable word.
    pub event: String,
    /// To whom or what.
    pub subject: String,
    /// Why, and the particulars.
    pub detail: String,
}

/// The longest that one of the words may be, in bytes: with the longest document a command still fits
/// a message many times over.
const MAX_WORD: usize = 1_024;

impl Words {
    /// Each of them no longer than is kept.
    #[must_use]
    pub(super) fn bounded(mut self) -> Self {
        for word in [&mut self.actor, &mut self.event, &mut self.subject, &mut self.detail] {
            if word.len() > MAX_WORD {
                let end = (0..=MAX_WORD).rev().find(|&end| word.is_char_boundary(end));
                word.truncate(end.unwrap_or(0));
            }
        }
        self
    }
}

impl From<Audit> for Words {
    fn from(audit: Audit) -> Self {
        let Audit { at, actor, event, subject, detail, shared: _ } = audit;
        Self { at_ms: at.0, actor, event, subject, detail }.bounded()
    }
}

impl From<Words> for Audit {
    fn from(words: Words) -> Self {
        let Words { at_ms, actor, event, subject, detail } = words;
        Self::at(Timestamp(at_ms), &actor, &event, &subject, &detail)
    }
}

/// What the log holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Command {
    /// Changes the document if its version is `expected` and `version` is above it.
    Swap { expected: Version, version: Version, role: SignedRole, why: Words },
    /// Takes a document that was decided elsewhere, if there is none or a lower one.
    Raise { version: Version, role: SignedRole, why: Words },
    /// Gives the voter of this name a new node id.
    Admit { name: String },
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Reply {
    /// Nothing was asked: a blank entry or a change of the members.
    None,
    /// Whether the document was changed.
    Changed(bool),
    /// The new node id.
    Admitted(NodeId),
}

/// How far a voter has come: the vote that it gave and the end of its log. What a voter once said of itself
/// it never falls behind, unless its file was lost or is an old one.
///
/// Whether the vote was won is left out: a leader tells others so before it has written it down.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Position {
    /// The Raft term of its vote.
    pub term: u64,
    /// Whom the vote is for.
    pub voted_for: u64,
    /// The Raft term of its last log entry.
    pub log_term: u64,
    /// The leader that made that entry.
    pub log_leader: u64,
    /// One more than that entry's index; 0 for an empty log.
    pub log_end: u64,
}

impl Position {
    pub(super) fn new(vote: Option<&Vote>, last: Option<&LogId>) -> Self {
        let vote = vote.map(|vote| *vote.leader_id()).unwrap_or_default();
        let log = last.map(|last| last.leader_id).unwrap_or_default();
        Self {
            term: vote.term,
            voted_for: vote.node_id,
            log_term: log.term,
            log_leader: log.node_id,
            log_end: last.map_or(0, |last| last.index.saturating_add(1)),
        }
    }

    /// Whether a voter can have come so far.
    pub(super) fn is_sane(&self) -> bool {
        let Self { term, voted_for, log_term, log_leader, log_end } = *self;
        [term, voted_for, log_term, log_leader, log_end].into_iter().all(|count| count <= MAX_COUNT)
    }

    /// Whether it never voted and holds nothing.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "term {} for node {}, {} entries to term {}",
            self.term, self.voted_for, self.log_end, self.log_term
        )
    }
}
