//! What voters say to each other: a byte for the version, then an envelope in postcard.

use openraft::SnapshotMeta;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use postern_protocol::role::{MAX_DOCUMENT, SignedRole};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::Refused;
use super::standing::{Memory, Told};
use super::types::{Command, LogId, NodeId, Position, TypeConfig, Vote, VoterAddress};

/// The longest message, in bytes: twice the longest document with its certificate, signature and words.
pub const MAX_MESSAGE: usize = 256 * 1024;

/// The version of the messages. Another one is refused: the voters of a site are updated one after the
/// other, and two of one version are a majority.
const VERSION: u8 = 1;

/// Terms and indices above this are nobody's: a change every microsecond takes a hundred thousand years to count
/// so far, and Raft's own arithmetic must not overflow by what a message says.
pub(super) const MAX_COUNT: u64 = 1 << 62;

/// A term that is so far above one's own, or further, is nobody's either: a voter that is cut off stands for
/// election every 400 ms, and is as far ahead after fifty years. So no single message brings a voter to the
/// bound, where nobody hears it any more. What remains: a hostile voter can bring the others there step by step,
/// each of which they write to their disks, a thousand million times.
pub(super) const MAX_STEP: u64 = 1 << 32;

/// A message.
#[derive(Serialize, Deserialize)]
pub(super) struct Envelope {
    /// The sender's node id, where it has one.
    pub from: Option<NodeId>,
    /// The node id that it is for, where it is for one.
    pub to: Option<NodeId>,
    /// Drawn by the sender's process at its start.
    pub session: u128,
    pub body: Body,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Body {
    Vote(VoteRequest<NodeId>),
    Append(AppendEntriesRequest<TypeConfig>),
    Snapshot {
        vote: Vote,
        meta: SnapshotMeta<NodeId, VoterAddress>,
        data: Vec<u8>,
    },
    /// How far the sender has come and what it remembers; asks for the same.
    Tell(Told),
    /// The founder gives a newcomer its node id.
    Found {
        node: NodeId,
    },
    /// A newcomer asks for a node id.
    Admit,
    /// An admitted node asks to become a voter.
    Join,
    /// For the leader: a change, or a read that sees every change that was answered. Whoever does not lead
    /// passes it on if it may, and then nobody else does.
    Change {
        command: Command,
        pass_on: bool,
    },
    Read {
        pass_on: bool,
    },
}

#[derive(Serialize, Deserialize)]
pub(super) enum Answer {
    Vote(VoteResponse<NodeId>),
    Append(AppendEntriesResponse<NodeId>),
    Snapshot(SnapshotResponse<NodeId>),
    Told(Told),
    Founded,
    Admitted {
        node: NodeId,
        memory: Memory,
    },
    Joining,
    Changed(bool),
    Read(Option<SignedRole>),
    /// Only the leader can, and who that is, by name. Nothing was done.
    NotLeader(Option<String>),
    /// It was tried; what came of it is not known.
    Unknown(String),
}

/// The bytes of a message; `None` where it would be too long.
pub(super) fn encode(message: &impl Serialize) -> Option<Vec<u8>> {
    let bytes = postcard::to_extend(message, vec![VERSION]).ok()?;
    (bytes.len() <= MAX_MESSAGE).then_some(bytes)
}

/// The message that these bytes are.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refused> {
    if bytes.len() > MAX_MESSAGE {
        return Err(Refused::Malformed("it is too long"));
    }
    match bytes.split_first() {
        None => Err(Refused::Malformed("it is empty")),
        Some((&VERSION, rest)) => match postcard::take_from_bytes(rest) {
            Ok((message, [])) => Ok(message),
            Ok(_) => Err(Refused::Malformed("something follows it")),
            Err(_) => Err(Refused::Malformed("it cannot be read")),
        },
        Some(_) => Err(Refused::Malformed("it is of another version")),
    }
}

impl Body {
    /// Refuses what no voter can have sent to one that is at `own`: numbers that nobody has counted to, and
    /// entries that do not follow each other. Raft itself takes such things for granted.
    pub(super) fn check(&self, own: Position) -> Result<(), Refused> {
        match self {
            Self::Vote(request) => counted(own, &request.vote, request.last_log_id),
            Self::Append(request) => {
                let mut next = request.prev_log_id.map_or(0, |last| last.index.saturating_add(1));
                for entry in &request.entries {
                    if entry.log_id.index != next {
                        return Err(Refused::Malformed("its entries do not follow each other"));
                    }
                    next = next.saturating_add(1);
                }
                let entries = request.entries.iter().map(|entry| entry.log_id);
                let others = request.prev_log_id.into_iter().chain(request.leader_commit);
                counted(own, &request.vote, entries.chain(others))
            }
            Self::Snapshot { vote, meta, .. } => {
                let membership = *meta.last_membership.log_id();
                counted(own, vote, meta.last_log_id.into_iter().chain(membership))
            }
            Self::Tell(told) => told.check(),
            Self::Found { .. }
            | Self::Admit
            | Self::Join
            | Self::Change { .. }
            | Self::Read { .. } => Ok(()),
        }
    }
}

/// Refuses a vote and what is logged under it where a voter that is at `own` cannot hear of it.
pub(super) fn counted(
    own: Position,
    vote: &Vote,
    logged: impl IntoIterator<Item = LogId>,
) -> Result<(), Refused> {
    // Whoever has no term of its own takes one that leaves as much above it.
    let beyond = if own.is_empty() {
        MAX_COUNT / 2
    } else {
        own.term.saturating_add(MAX_STEP).min(MAX_COUNT)
    };
    let sane = |log: Option<&LogId>| Position::new(Some(vote), log).is_sane();
    let possible = |log: LogId| sane(Some(&log)) && log.leader_id <= vote.leader_id;
    if vote.leader_id.term < beyond && sane(None) && logged.into_iter().all(possible) {
        return Ok(());
    }
    Err(Refused::Malformed("nobody has counted so far"))
}

/// The longest command, in bytes: with it, a message has room for whatever else is in it.
const MAX_COMMAND: usize = MAX_MESSAGE / 4 * 3;

impl Command {
    /// Refuses what must not come into the log: what does not fit a message would stay there for ever, with
    /// everything behind it.
    pub(super) fn check(&self) -> Result<(), Refused> {
        let (Self::Swap { role, .. } | Self::Raise { role, .. }) = self else {
            return Err(Refused::Malformed("nobody is admitted like that"));
        };
        let long = role.document.len() > MAX_DOCUMENT
            || postcard::to_allocvec(self).is_ok_and(|bytes| bytes.len() > MAX_COMMAND);
        if long { Err(Refused::Malformed("the document is too long")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
