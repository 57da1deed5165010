//! What the tasks of a voter share, and what it makes of who speaks to it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft::Config;
use postern_protocol::role::SignedRole;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, oneshot, watch};

use super::error::{FileError, Refused};
use super::file::VoterFile;
use super::freshness::{Freshness, Moment};
use super::network::Caller;
use super::session::Sessions;
use super::standing::{Memory, Told};
use super::state::State;
use super::status::{Leadership, Standing};
use super::types::{NodeId, Position, Raft, StoredMembership};
use super::voter::{Check, RaftTiming};

/// A question to the voters is given up after so many of the shortest election time-outs: an election and
/// the question itself fit, twice.
const PATIENCE: u32 = 5;

/// What the voter's tasks share.
pub(super) struct Shared {
    pub dir: PathBuf,
    pub name: String,
    pub timing: RaftTiming,
    pub config: Arc<Config>,
    pub check: Check,
    pub caller: Arc<Caller>,
    pub link: Mutex<Link>,
    pub sessions: Mutex<Sessions>,
    pub freshness: Mutex<Freshness>,
    pub applied: watch::Sender<Arc<State>>,
    pub documents: watch::Sender<Option<SignedRole>>,
    pub leadership: watch::Sender<Leadership>,
    pub failure: watch::Sender<Option<String>>,
    pub standing: watch::Sender<Standing>,
    /// A founder's offers of a node id, to the one task that makes files.
    pub offers: mpsc::Sender<Offer>,
    /// One change of the members at a time.
    pub changing: Arc<tokio::sync::Mutex<()>>,
}

/// A node id for a newcomer, and whom to tell once it is written down.
pub(super) type Offer = (NodeId, oneshot::Sender<()>);

/// What there is while the voter's file is open.
#[derive(Default)]
pub(super) struct Link {
    pub file: Option<VoterFile>,
    pub node: Option<NodeId>,
    pub raft: Option<Raft>,
    /// Who the nodes are that are in no membership yet, as they said first.
    pub bound: BTreeMap<NodeId, String>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Now, by both clocks.
pub(super) fn moment() -> Moment {
    let read = |clock| {
        let time = clock_gettime(clock);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
    };
    Moment { monotonic: read(ClockId::Monotonic), boot: read(ClockId::Boottime) }
}

impl Shared {
    pub(super) fn raft(&self) -> Option<Raft> {
        lock(&self.link).raft.clone()
    }

    pub(super) fn node(&self) -> Option<NodeId> {
        lock(&self.link).node
    }

    /// How long a question to the voters may take.
    pub(super) fn patience(&self) -> Duration {
        self.timing.election_base * PATIENCE
    }

    pub(super) fn position(&self) -> Position {
        lock(&self.link).file.as_ref().map(VoterFile::position).unwrap_or_default()
    }

    pub(super) fn membership(&self) -> StoredMembership {
        match self.raft() {
            Some(raft) => (*raft.metrics().borrow().membership_config).clone(),
            None => self.applied.borrow().membership.clone(),
        }
    }

    /// What to tell a voter of ourselves; of its own name and node id, where it said them.
    pub(super) fn told(&self, to: Option<(&str, NodeId)>) -> Told {
        let replaced = to.is_some_and(|(name, node)| {
            self.applied.borrow().admitted.get(name).is_some_and(|last| *last > node)
        });
        let memory = lock(&self.caller.memory).clone();
        let (node, position) = (self.node(), self.position());
        // A file that failed has no position either, but it is no newcomer's.
        let newcomer = *self.standing.borrow() == Standing::Newcomer;
        let empty = newcomer || (node.is_some() && position.is_empty());
        Told { node, position, empty, memory, replaced }
    }

    /// The message is from a voter of this site.
    pub(super) fn known(&self, sender: &str) -> Result<(), Refused> {
        if self.caller.peers.contains_key(sender) {
            return Ok(());
        }
        Err(Refused::Stranger(sender.to_owned()))
    }

    /// Takes over what another voter told.
    pub(super) fn heard(&self, sender: &str, told: &Told) -> Result<(), Refused> {
        let Some(node) = told.node else { return Ok(()) };
        self.is_who_it_says(sender, node)?;
        let me = self.node();
        let mut memory = lock(&self.caller.memory);
        memory.note(node, told.position);
        memory.merge(me, &told.memory);
        Ok(())
    }

    /// The name in the certificate is that of the node that the sender says it is.
    pub(super) fn is_who_it_says(&self, sender: &str, node: NodeId) -> Result<(), Refused> {
        /// More nodes than will ever be met between two changes of the members.
        const MAX_BOUND: usize = 64;

        let known = self.membership().membership().get_node(&node).map(|at| at.name.clone());
        let mut link = lock(&self.link);
        let is = match known {
            Some(name) => name,
            None if link.bound.len() >= MAX_BOUND && !link.bound.contains_key(&node) => {
                return Err(Refused::Malformed("too many nodes"));
            }
            None => link.bound.entry(node).or_insert_with(|| sender.to_owned()).clone(),
        };
        if is == sender && link.node != Some(node) {
            return Ok(());
        }
        let is = if link.node == Some(node) { self.name.clone() } else { is };
        Err(Refused::OtherName { node, is, says: sender.to_owned() })
    }

    pub(super) fn stand(&self, standing: Standing) {
        let changed = self.standing.send_if_modified(|present| {
            let changed = *present != standing;
            *present = standing;
            changed
        });
        if changed {
            tracing::info!(voter = self.name, standing = standing.word(), "the voter's standing");
        }
    }

    pub(super) fn failed(&self, error: &FileError) {
        self.failure.send_replace(Some(error.to_string()));
    }
}

/// What is remembered, taken out of its lock.
pub(super) fn remembered(memory: &Mutex<Memory>) -> Memory {
    lock(memory).clone()
}
