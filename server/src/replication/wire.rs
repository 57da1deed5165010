//! What two servers say to each other about their logs: postcard, packed with zstd. Both run the same
//! version or neighbouring ones; the version stands in front.

use std::io::Read as _;

use postern_protocol::role::StoreName;
use postern_protocol::{JournalId, RoleTerm, Seq};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::store::change::{Head, LogEntry, Position};
use crate::store::query::Hole;
use crate::store::{Merged, Returned};

/// The version of this language.
const VERSION: u8 = 1;

/// The longest message, unpacked: a page's target, one full batch on top that contradicts what is held
/// line by line, and as much again. What it says takes up to fifty times its length in memory.
pub const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// How many bytes of entries a page is filled up to.
pub const PAGE_BYTES: usize = 512 * 1024;

/// The level of compression: entries share most of their bytes, and time is what counts.
const LEVEL: i32 = 1;

/// What a standby asks for: `POST /v1/groups/{group}/log`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The store that asks.
    pub store: StoreName,
    /// Where its log ends, durably.
    pub head: Head,
    /// Under which role term it would apply what it gets.
    pub role_term: RoleTerm,
    /// How long the answer may wait for news, in milliseconds.
    pub wait_ms: u32,
}

/// The active server's wish to be replaced: `POST /v1/groups/{group}/handover`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOver {
    /// Under which role term it acts.
    pub role_term: RoleTerm,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedOver {
    /// The role term of the server that has taken over.
    pub role_term: RoleTerm,
}

/// The answer to [`Ask`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// What follows; nothing where nothing came in the time.
    Page {
        /// Under which role term the server acts.
        role_term: RoleTerm,
        /// The entries, in order.
        entries: Vec<LogEntry>,
        /// Where its log ends.
        end: Position,
    },
    /// Its log is another one at that position: the two have to find where they parted.
    Parted {
        /// Under which role term the server acts.
        role_term: RoleTerm,
        /// Where its log ends.
        end: Position,
    },
    /// It no longer holds what follows that position.
    TooOld {
        /// Under which role term the server acts.
        role_term: RoleTerm,
    },
}

impl Answer {
    /// Under which role term the server answered.
    pub fn role_term(&self) -> RoleTerm {
        match self {
            Self::Page { role_term, .. }
            | Self::Parted { role_term, .. }
            | Self::TooOld { role_term } => *role_term,
        }
    }
}

/// `POST /v1/groups/{group}/log/heads`: the heads at these positions, where the log has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heads {
    /// Where.
    pub positions: Vec<Position>,
}

/// What was found there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// In the order asked for.
    pub heads: Vec<Option<Head>>,
}

/// `POST /v1/groups/{group}/merge`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Merge {
    /// Under which role term the sender believes the receiver to be active.
    pub role_term: RoleTerm,
    /// What it brings.
    pub returned: Returned,
}

/// The answer to [`Merge`], once it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeDone {
    /// What became of it.
    pub merged: Merged,
}

/// `POST /v1/groups/{group}/known`: what is held of journals, so that another server can tell what
/// it alone holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// Under which role term the sender believes the receiver to be active.
    pub role_term: RoleTerm,
}

/// The answer to [`Known`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KnownJournals {
    /// Up to where each is held, and what is missing below.
    pub journals: Vec<(JournalId, Seq, Vec<Hole>)>,
}

/// `POST /v1/groups/{group}/copy`: the whole store, as a file of its own. Its length is announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// Under which role term the sender believes the receiver to be active.
    pub role_term: RoleTerm,
}

/// `POST /v1/groups/{group}/pause`: the active server stops taking transactions, so that another
/// can become active without a loss of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// For how long at most, in milliseconds; 0 ends the pause.
    pub at_most_ms: u32,
}

/// The answer to [`Pause`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// Under which role term the server acts.
    pub role_term: RoleTerm,
    /// Its store.
    pub holder: StoreName,
    /// Where its log ends: nothing is added during the pause.
    pub end: Position,
}

/// Why a message cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the message cannot be read: {0}")]
pub struct Unreadable(String);

/// A message as it travels.
pub fn pack<T: Serialize>(message: &T) -> Result<Vec<u8>, Unreadable> {
    let unreadable = |error: &dyn std::fmt::Display| Unreadable(error.to_string());
    let bytes = postcard::to_extend(message, vec![VERSION]).map_err(|error| unreadable(&error))?;
    zstd::bulk::compress(&bytes, LEVEL).map_err(|error| unreadable(&error))
}

/// The message in what has come.
pub fn unpack<T: DeserializeOwned>(packed: &[u8]) -> Result<T, Unreadable> {
    let unreadable = |error: &dyn std::fmt::Display| Unreadable(error.to_string());
    let mut decoder =
        zstd::stream::read::Decoder::with_buffer(packed).map_err(|error| unreadable(&error))?;
    // A frame may ask for a larger window than anything here needs.
    decoder.window_log_max(24).map_err(|error| unreadable(&error))?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_MESSAGE).unwrap_or(u64::MAX);
    decoder.take(limit + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() > MAX_MESSAGE {
        return Err(Unreadable(format!("longer than {MAX_MESSAGE} bytes")));
    }
    match bytes.split_first() {
        Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(|error| unreadable(&error)),
        Some((version, _)) => Err(Unreadable(format!("version {version}, not {VERSION}"))),
        None => Err(Unreadable("it is empty".into())),
    }
}

#[cfg(test)]
mod tests;
