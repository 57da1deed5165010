//! What an operator should know of the voters, as one server sees them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Voting;
use super::message::Saw;

/// The voters that decide on the role, as this server sees them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VotersStatus {
    /// What this server's own voter does: `opening`, `newcomer`, `founding`, `checking`, `joining`,
    /// `voting`, `failed`, `stopped`.
    pub standing: String,
    /// Who leads them.
    pub leader: Option<String>,
    /// The others.
    pub others: Vec<OtherVoter>,
    /// Whether this server holds its lease; of an active one, where the role changes by itself.
    pub lease: Option<bool>,
    /// Voters that keep their files on the disk of this one: with it, they are all lost.
    pub on_one_disk: Vec<String>,
    /// Voters of which two processes were seen.
    pub doubled: Vec<String>,
    /// Those that have a vote and are not configured here.
    pub unconfigured: Vec<String>,
    /// Voters that work by other `timers`.
    pub by_other_times: Vec<String>,
    /// Why this server's own voter does not work.
    pub failure: Option<String>,
}

/// The word of a voter that takes part.
const VOTING: &str = "voting";

/// Another voter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OtherVoter {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub address: String,
    /// How it is seen.
    pub sight: Saw,
    /// What its voter does, as it says itself, in the words of the status; where it has said so.
    #[serde(default)]
    pub standing: Option<String>,
}

impl VotersStatus {
    /// What is wrong with the voters, in words for the server's operator.
    pub fn warnings(&self, server: &str) -> Vec<String> {
        let mut lines = Vec::new();
        if self.leader.is_none() {
            lines.push(format!(
                "WARNING: no majority of the voters reaches server {server}: it cannot be told whether \
                 the role changed, and nothing more is safe that it stores."
            ));
        }
        for other in self.others.iter().filter(|other| other.sight != Saw::Connected) {
            lines.push(format!(
                "WARNING: server {server} does not reach voter {} at {}: with one voter less, the next \
                 failure stops the failover.",
                other.name, other.address
            ));
        }
        let connected = self.others.iter().filter(|other| other.sight == Saw::Connected);
        for other in connected {
            if let Some(standing) = other.standing.as_ref().filter(|word| *word != VOTING) {
                lines.push(format!(
                    "WARNING: voter {} at {} runs and does not vote ({standing}): with one voter less, the next \
                     failure stops the failover. Its log says why.",
                    other.name, other.address
                ));
            }
        }
        if self.standing != VOTING {
            let why = self.failure.as_deref().unwrap_or("it waits for the others");
            let standing = &self.standing;
            lines.push(format!("WARNING: server {server}'s own voter is {standing}: {why}."));
        }
        if !self.on_one_disk.is_empty() {
            lines.push(format!(
                "WARNING: voters {server} and {} are on one disk: if it fails, there is no majority.",
                self.on_one_disk.join(", ")
            ));
        }
        for name in &self.unconfigured {
            lines.push(format!(
                "WARNING: {name} has a vote and is not in server {server}'s server.toml: name it there, or start the \
                 voter that takes its place."
            ));
        }
        for name in &self.by_other_times {
            lines.push(format!(
                "WARNING: voters {server} and {name} work by different times: `timers` in server.toml has to be \
                 the same on all three, or two servers may say at once that they are active."
            ));
        }
        for name in &self.doubled {
            lines.push(format!(
                "WARNING: voter {name} runs twice: a directory was copied. Stop one of them."
            ));
        }
        lines
    }
}

impl Voting {
    /// See [`VotersStatus`].
    pub fn status(&self) -> VotersStatus {
        let voter = self.voter.status();
        let other = |voter: &crate::coordination::VoterAddress| OtherVoter {
            name: voter.name.clone(),
            address: voter.address.clone(),
            sight: self.sight(&voter.name).into(),
            standing: self.standing_of(&voter.name),
        };
        VotersStatus {
            standing: voter.standing.word().to_owned(),
            leader: voter.leader,
            others: self.others.iter().map(other).collect(),
            lease: self.lease.borrow().map(|said| said.holds),
            on_one_disk: self.on_one_disk(),
            doubled: voter.doubled.into_keys().collect(),
            unconfigured: voter.unconfigured.into_iter().collect(),
            by_other_times: self.by_other_times(),
            failure: voter.failure,
        }
    }
}
