//! Changes of the members, which only the leader makes.

use std::collections::BTreeSet;
use std::sync::Arc;

use openraft::ChangeMembers;

use super::error::Refused;
use super::message::Answer;
use super::shared::Shared;
use super::types::{NodeId, Raft, VoterAddress};

/// A new node is made a voter when it lacks no more entries than this.
const CAUGHT_UP: u64 = 20;

impl Shared {
    /// Begins to make an admitted node a voter, in the place of the one of the same name; the node asks until
    /// it is.
    pub(super) fn join(&self, name: &str, node: NodeId) -> Result<Answer, Refused> {
        let Some(raft) = self.leading()? else { return Ok(Answer::NotLeader(self.leader())) };
        if self.applied.borrow().admitted.get(name) != Some(&node) {
            return Err(Refused::NotStanding("not admitted under this node id"));
        }
        let Ok(changing) = Arc::clone(&self.changing).try_lock_owned() else {
            return Ok(Answer::Joining);
        };
        let name = name.to_owned();
        let configured = self.configured();
        // Longer than a question may take: it ends when the node has all entries.
        tokio::spawn(async move {
            if let Err(reason) = make_voter(&raft, &name, node, &configured).await {
                tracing::warn!(name, node, reason, "the node is no voter yet");
            }
            drop(changing);
        });
        Ok(Answer::Joining)
    }

    /// Begins to end a change of the members that an earlier leader left half done, where this voter leads.
    pub(super) fn end_change(&self) {
        let Ok(Some(raft)) = self.leading() else { return };
        let Some(next) = half_done(&raft) else { return };
        let Ok(changing) = Arc::clone(&self.changing).try_lock_owned() else { return };
        tokio::spawn(async move {
            if let Err(reason) = end_change(&raft, next).await {
                tracing::warn!(reason, "the change of the members is not ended yet");
            }
            drop(changing);
        });
    }
}

/// The later members of a change whose first step is stored, and whose second one is not made: until it is, each
/// decision needs a majority of the earlier ones as well, of whom one may be dead for ever.
fn half_done(raft: &Raft) -> Option<BTreeSet<NodeId>> {
    let metrics = raft.metrics();
    let metrics = metrics.borrow();
    let stored = metrics.last_applied >= *metrics.membership_config.log_id();
    match metrics.membership_config.membership().get_joint_config().as_slice() {
        [_, .., next] if stored => Some(next.clone()),
        _ => None,
    }
}

async fn end_change(raft: &Raft, next: BTreeSet<NodeId>) -> Result<(), String> {
    tracing::warn!(voters = ?next, "a change of the members that was left half done is ended");
    raft.change_membership(next, false).await.map(drop).map_err(|error| error.to_string())
}

/// One step on a node's way to a vote. Who is not configured any more loses its own: it is heard by nobody, and
/// would count as a voter that is dead for ever.
async fn make_voter(
    raft: &Raft,
    name: &str,
    node: NodeId,
    configured: &BTreeSet<String>,
) -> Result<(), String> {
    if let Some(next) = half_done(raft) {
        return end_change(raft, next).await;
    }
    let metrics = raft.metrics().borrow().clone();
    let membership = metrics.membership_config.membership().clone();
    if membership.get_node(&node).is_none() {
        let address = VoterAddress { name: name.to_owned(), address: String::new() };
        raft.add_learner(node, address, false).await.map_err(|error| error.to_string())?;
        return Ok(());
    }
    let given_up = |other: &NodeId| {
        let at = membership.get_node(other).filter(|_| *other != node);
        at.is_some_and(|at| at.name == name || !configured.contains(&at.name))
    };
    let mut voters: BTreeSet<NodeId> = membership.voter_ids().collect();
    if !voters.contains(&node) {
        let matched =
            metrics.replication.as_ref().and_then(|all| all.get(&node).copied()).flatten();
        let lacks = metrics.last_log_index.unwrap_or(0) - matched.map_or(0, |last| last.index);
        if matched.is_none() || lacks > CAUGHT_UP {
            return Err(format!("it lacks {lacks} entries"));
        }
        voters.retain(|other| !given_up(other));
        voters.insert(node);
        tracing::warn!(name, node, "the node becomes a voter in the place of its earlier one");
        raft.change_membership(voters.clone(), false).await.map_err(|error| error.to_string())?;
    }
    // Those that were admitted and never became voters.
    let stale: BTreeSet<NodeId> = membership
        .nodes()
        .map(|(other, _)| *other)
        .filter(|other| given_up(other) && !membership.voter_ids().any(|voter| voter == *other))
        .collect();
    if !stale.is_empty() {
        let removed = raft.change_membership(ChangeMembers::RemoveNodes(stale), false).await;
        removed.map_err(|error| error.to_string())?;
    }
    Ok(())
}
