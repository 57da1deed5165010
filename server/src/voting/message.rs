//! What voters ask each other beside Raft's own messages, packed as servers talk among themselves. A
//! presence is lines of JSON.

use std::time::Duration;

use postern_protocol::RoleTerm;
use postern_protocol::role::{RoleVersion, SignedRole};
use serde::{Deserialize, Serialize};

use crate::liveness::{BootInstant, Sight};
use crate::role::decide::Because;

/// Where Raft's messages go.
pub const RAFT: &str = "/v1/voters/raft";
/// Where an [`Order`] goes.
pub const ORDER: &str = "/v1/voters/order";
/// Where it is asked how another voter is seen.
pub const SIGHT: &str = "/v1/voters/sight";
/// Where a voter's presence is streamed.
pub const PRESENCE: &str = "/v1/voters/presence";

/// Something for the voter that leads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// The server that wants it.
    pub by: String,
    /// Whether it may be passed on by a voter that does not lead.
    pub pass_on: bool,
    /// What is wanted.
    pub what: Wanted,
}

/// What a server wants of the voter that leads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Wanted {
    /// To keep its lease.
    Renew(Renew),
    /// To take the role over.
    Claim(Box<Claim>),
}

/// The answer to an [`Order`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Nobody leads, as far as is known here.
    NoLeader,
    /// The lease holds from when it was asked for.
    Granted,
    /// Another document than the asker's stands.
    Superseded(Box<SignedRole>),
    /// The claim's document stands.
    Won,
    /// Another document came first.
    Overtaken,
    /// Not yet, for this reason.
    NotYet {
        /// When to ask again, in milliseconds.
        after_ms: u64,
        /// Why.
        why: String,
    },
    /// Not at all.
    Never {
        /// Why.
        why: String,
    },
    /// It is not known whether it was done.
    Unavailable {
        /// Why.
        why: String,
    },
}

/// A server's wish to go on as the active one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Renew {
    /// Of which group.
    pub group: String,
    /// Under which role term.
    pub role_term: RoleTerm,
    /// The version of the document that it obeys.
    pub version: Version,
}

/// A standby's wish to become the active server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claim {
    /// Of which group.
    pub group: String,
    /// Why.
    pub because: Why,
    /// The version of the document that it was made from.
    pub expected: Version,
    /// The version of the new one.
    pub version: Version,
    /// The new one.
    pub role: SignedRole,
}

/// A version as it travels.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Version {
    term: RoleTerm,
    revision: u64,
}

impl From<RoleVersion> for Version {
    fn from(version: RoleVersion) -> Self {
        Self { term: version.term, revision: version.revision }
    }
}

impl From<Version> for RoleVersion {
    fn from(version: Version) -> Self {
        Self { term: version.term, revision: version.revision }
    }
}

/// Why a standby claims, as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// The active server was silent past its lease.
    Expired,
    /// Its process is known to have ended.
    Killed,
}

impl Why {
    /// Of a claim that has to be judged; others are no matter of liveness.
    pub fn of(because: Because) -> Option<Self> {
        match because {
            Because::Expired { .. } => Some(Self::Expired),
            Because::Killed => Some(Self::Killed),
            Because::Vouched | Because::Restarted => None,
        }
    }
}

impl From<Why> for Because {
    fn from(why: Why) -> Self {
        match why {
            // How long the claimant knew the reign is its own matter.
            Why::Expired => Self::Expired { reigned: Duration::ZERO },
            Why::Killed => Self::Killed,
        }
    }
}

/// The question how another voter is seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct See {
    /// Which.
    pub voter: String,
}

/// The answer to [`See`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Saw {
    /// It was never there.
    Never,
    /// It was never there, and nobody listens there.
    Absent,
    /// It is there.
    Connected,
    /// The connection broke, or it is silent.
    Broken,
    /// The connection broke, and nobody listens there any more.
    Refused,
}

impl From<Sight> for Saw {
    fn from(sight: Sight) -> Self {
        match sight {
            Sight::Never => Self::Never,
            Sight::Absent { .. } => Self::Absent,
            Sight::Connected => Self::Connected,
            Sight::Broken { .. } => Self::Broken,
            Sight::Refused { .. } => Self::Refused,
        }
    }
}

impl Saw {
    /// As a sight of now.
    pub fn into_sight(self, now: BootInstant) -> Sight {
        match self {
            Self::Never => Sight::Never,
            Self::Absent => Sight::Absent { since: now },
            Self::Connected => Sight::Connected,
            Self::Broken => Sight::Broken { since: now },
            Self::Refused => Sight::Refused { since: now },
        }
    }
}

/// What a server says of its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Under which role term.
    pub term: RoleTerm,
    /// Whether it holds it.
    pub holds: bool,
}

/// One line of a presence stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Voice {
    /// Where its log stands, for whoever remembers it.
    pub position: postern_protocol::uplink::Bytes,
    /// Whether it holds its lease, where it is active under one.
    #[serde(default)]
    pub lease: Option<Said>,
    /// On which disk of which machine its file is.
    #[serde(default)]
    pub disk: Option<String>,
    /// By which times it works.
    #[serde(default)]
    pub timers: Option<String>,
    /// What its voter does, in the words of [`VotersStatus`](super::VotersStatus).
    #[serde(default)]
    pub standing: Option<String>,
}

/// The longest line of a stream.
pub const MAX_LINE: usize = 16 * 1024;
