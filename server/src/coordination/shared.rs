//! What the tasks of a voter share, and what it makes of who speaks to it.

use std::collections::{BTreeMap, BTreeSet};
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
use super::message::MAX_COUNT;
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
    /// Whoever did not answer the last question for the leader: the next one goes another way first.
    pub unheard: Mutex<Option<String>>,
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
    /// By name, the node that the voter says it is, where neither a membership nor an admission that is known
    /// here names that node yet.
    pub bound: BTreeMap<String, NodeId>,
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
        self.timing.shortest() * PATIENCE
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
            let state = self.applied.borrow();
            // Until the later one takes its place it votes, and whether it may is its memory's to say.
            let votes = state.membership.voter_ids().any(|voter| voter == node);
            !votes && state.admitted.get(name).is_some_and(|last| *last > node)
        });
        let memory = lock(&self.caller.memory).clone();
        let (node, position) = (self.node(), self.position());
        // A file that failed has no position either, but it is no newcomer's.
        let newcomer = *self.standing.borrow() == Standing::Newcomer;
        let empty = newcomer || (node.is_some() && position.is_empty());
        Told { node, position, empty, memory, replaced }
    }

    /// The names of the voters as they are configured.
    pub(super) fn configured(&self) -> BTreeSet<String> {
        self.caller.peers.keys().chain([&self.name]).cloned().collect()
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
        told.check()?;
        let Some(node) = told.node else { return Ok(()) };
        self.is_who_it_says(sender, node)?;
        let (me, present) = (self.node(), self.present_nodes());
        let mut memory = lock(&self.caller.memory);
        if present.contains(&node) {
            memory.note(node, told.position);
        }
        // Of nodes that nobody knows there could be so many that they displace the true ones.
        memory.merge(me, &told.memory.only(|node| present.contains(&node)));
        Ok(())
    }

    /// The nodes that a membership or an admission names, as far as this voter knows.
    fn named_nodes(&self) -> BTreeMap<NodeId, String> {
        let state = self.applied.borrow().clone();
        let mut named: BTreeMap<NodeId, String> =
            state.admitted.iter().map(|(name, node)| (*node, name.clone())).collect();
        let membership = self.membership();
        named.extend(membership.nodes().map(|(node, at)| (*node, at.name.clone())));
        named
    }

    /// The nodes that may be heard as such: the named ones, and what each other voter says it is.
    pub(super) fn present_nodes(&self) -> BTreeSet<NodeId> {
        let named = self.named_nodes().into_keys();
        let link = lock(&self.link);
        named.chain(link.bound.values().copied()).collect()
    }

    /// What is remembered, without the nodes that were given up: their names were given others since, which is
    /// what tells them so.
    pub(super) fn tidy_memory(&self) -> Memory {
        let (present, highest) = (self.present_nodes(), self.applied.borrow().highest_node);
        let mut memory = lock(&self.caller.memory);
        *memory = memory.only(|node| node > highest || present.contains(&node));
        memory.clone()
    }

    /// The name in the certificate is that of the node that the sender says it is.
    pub(super) fn is_who_it_says(&self, sender: &str, node: NodeId) -> Result<(), Refused> {
        if node > MAX_COUNT {
            return Err(Refused::Malformed("nobody has counted so far"));
        }
        let (named, highest) = (self.named_nodes(), self.applied.borrow().highest_node);
        let mut link = lock(&self.link);
        let bound = || link.bound.iter().find(|(_, other)| **other == node).map(|(name, _)| name);
        let is = if link.node == Some(node) {
            Some(&self.name)
        } else {
            named.get(&node).or_else(bound)
        };
        match is {
            Some(is) if is == sender => return Ok(()),
            Some(is) => {
                return Err(Refused::OtherName { node, is: is.clone(), says: sender.to_owned() });
            }
            // It was given up, and is told so; nothing is kept of it.
            None if node <= highest => return Ok(()),
            // This voter has not heard of it yet. One of each name: nothing is kept of an earlier one.
            None => {}
        }
        let before = link.bound.insert(sender.to_owned(), node);
        drop(link);
        if let Some(before) = before.filter(|before| !named.contains_key(before)) {
            let mut memory = lock(&self.caller.memory);
            *memory = memory.only(|node| node != before);
        }
        Ok(())
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
