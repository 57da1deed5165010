//! What a voter says of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde::Serialize;

use super::types::Position;

/// Whether a voter takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Its file is being opened.
    Opening,
    /// It has no node id and asks to be admitted.
    Newcomer,
    /// It waits until all others say that they are as new as it is.
    Founding,
    /// It waits for another voter to say how far it had come.
    Checking,
    /// It receives what the others hold and does not vote yet.
    Joining,
    /// It takes part.
    Voting,
    /// Its file has failed; it is tried again.
    Failed,
    /// It was told to stop.
    Stopped,
}

impl Standing {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Newcomer => "newcomer",
            Self::Founding => "founding",
            Self::Checking => "checking",
            Self::Joining => "joining",
            Self::Voting => "voting",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// Who leads the voters, as this one sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Leadership {
    /// This one.
    Leading {
        /// Since when, by the monotonic clock.
        since: Instant,
    },
    /// Another one.
    Following {
        /// Its name.
        leader: String,
    },
    /// Nobody that is known.
    #[default]
    None,
}

/// A voter, told to people.
#[derive(Clone, Debug, Serialize)]
pub struct VoterStatus {
    /// Its name.
    pub name: String,
    /// Its node id; a newcomer has none.
    pub node: Option<u64>,
    /// Whether it takes part.
    pub standing: Standing,
    /// The name of the leader, if one is known.
    pub leader: Option<String>,
    /// How long ago a majority last acknowledged this leader, in milliseconds.
    pub quorum_age_ms: Option<u64>,
    /// How far it has come.
    pub position: Position,
    /// The index of the last applied entry.
    pub applied: Option<u64>,
    /// The members by node id.
    pub members: BTreeMap<u64, MemberStatus>,
    /// The names of those that vote by the word of the members, but are not configured here: dead for ever.
    /// They lose their votes once the voter joins that is configured in their place.
    pub unconfigured: BTreeSet<String>,
    /// Messages of a process that another one with the same identity has replaced, by name: not empty
    /// means that a machine was cloned.
    pub doubled: BTreeMap<String, u64>,
    /// Why it does not work, if it does not.
    pub failure: Option<String>,
}

/// A member, told to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemberStatus {
    /// Its name.
    pub name: String,
    /// Whether it votes, or receives only.
    pub votes: bool,
}
