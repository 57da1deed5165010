//! The embedded coordination store: the site's signed role document, kept by three voters (the two servers
//! and a witness) that agree by Raft, so that it changes while any one of them is away.
//!
//! - [`VoterFile`]: what a voter keeps on its disk; every write is durable before it is answered.
//! - `log`, `machine`, `state`: Raft's log and state machine over it; the pure rule of a change.
//! - `message`, `network`: what voters say to each other, over a [`Transport`] that the caller brings.
//! - `standing`, `session`: pure: whether a voter may take part at all after a start, and two processes
//!   with one identity.
//! - [`Voter`]: all of it together; [`Voted`]: the store of the role document that stands on it.
//!
//! Invariants: what was answered as changed is on the disks of two voters; a voter that lost what it
//! had acknowledged, or never had anything, does not vote under the identity that acknowledged it (ADR-0019).

mod ask;
mod error;
mod file;
mod freshness;
mod hear;
mod lead;
mod log;
mod machine;
mod member;
mod message;
mod network;
mod run;
mod session;
mod shared;
mod standing;
mod state;
mod status;
mod types;
mod voted;
mod voter;

pub use error::{FileError, Refused, TransportError, VoterError};
pub use file::VoterFile;
pub use message::MAX_MESSAGE;
pub use network::Transport;
pub use status::{Leadership, MemberStatus, Standing, VoterStatus};
pub use types::{Position, VoterAddress, Words};
pub use voted::Voted;
pub use voter::{Check, RaftTiming, Voter, VoterConfig};

#[cfg(test)]
mod tests;
