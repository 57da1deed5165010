//! Whether a voter may take part after a start. Pure.
//!
//! Raft relies on what a voter acknowledged: that it voted, and that it holds an entry. A voter whose file was
//! put back from a copy, or was lost, has forgotten; with its second vote in a term, or with the entry
//! missing that it helped to commit, a committed document could be lost. So every voter remembers how far
//! it ever saw each other one come, and one that starts asks first. What is behind what others remember of
//! it is set aside, and the voter comes back under a new node id, as one that never promised anything.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::Refused;
use super::message::MAX_COUNT;
use super::types::{NodeId, Position};

/// How many nodes are remembered: the three voters, those that they replaced, and some to spare. The
/// lowest ids go first: ids are never given twice, so they are the longest replaced.
const MAX_REMEMBERED: usize = 16;

/// How far each node was seen to have come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory(BTreeMap<NodeId, Position>);

impl Memory {
    /// Remembers a position; `true` where it is higher than what was remembered. One that nobody can have come
    /// to is not: what this voter then told would be refused by all.
    pub(super) fn note(&mut self, node: NodeId, seen: Position) -> bool {
        if node > MAX_COUNT || !seen.is_sane() {
            return false;
        }
        let known = self.0.entry(node).or_default();
        let grown = seen > *known;
        *known = seen.max(*known);
        while self.0.len() > MAX_REMEMBERED {
            self.0.pop_first();
        }
        grown && self.0.contains_key(&node)
    }

    /// Takes over what another voter remembers, but for what it says of this one.
    pub(super) fn merge(&mut self, me: Option<NodeId>, other: &Self) -> bool {
        let mut grown = false;
        for (node, seen) in other.0.iter().filter(|(node, _)| Some(**node) != me) {
            grown |= self.note(*node, *seen);
        }
        grown
    }

    /// What of it is of such nodes.
    pub(super) fn only(&self, of: impl Fn(NodeId) -> bool) -> Self {
        let kept = self.0.iter().filter(|(node, _)| of(**node));
        Self(kept.map(|(node, seen)| (*node, *seen)).collect())
    }

    /// Whether a voter can remember this.
    pub(super) fn is_sane(&self) -> bool {
        let sane = |(node, seen): (&NodeId, &Position)| *node <= MAX_COUNT && seen.is_sane();
        self.0.len() <= MAX_REMEMBERED && self.0.iter().all(sane)
    }

    /// How far a node was seen to have come.
    pub(super) fn of(&self, node: NodeId) -> Position {
        self.0.get(&node).copied().unwrap_or_default()
    }
}

/// What another voter told of itself and of what it remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    /// Its node id; a newcomer has none, and what it remembers says nothing.
    pub node: Option<NodeId>,
    /// How far it has come.
    pub position: Position,
    /// Whether it never promised anything. Where neither this nor a node id is told, its file cannot be read
    /// just now, and nobody knows.
    pub empty: bool,
    /// What it remembers of the others.
    pub memory: Memory,
    /// For the one that is told: whether its name was given a higher node id since, and the one it has does not
    /// vote, so that it was given up.
    pub replaced: bool,
}

impl Told {
    /// Refuses what no voter can have told.
    pub(super) fn check(&self) -> Result<(), Refused> {
        let counted = self.node.is_none_or(|node| node <= MAX_COUNT) && self.position.is_sane();
        if counted && self.memory.is_sane() {
            return Ok(());
        }
        Err(Refused::Malformed("no voter can have come so far, or remember it"))
    }
}

/// What is to be done at a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nobody whose word counts has answered yet.
    Wait,
    /// The file holds whatever others remember: take part.
    Current,
    /// The file is an old one.
    Outdated {
        /// The highest position that is remembered.
        remembered: Position,
    },
}

/// Judges the file of node `me`, which is at `file`, by what the others told.
pub(super) fn judge<'a>(
    me: NodeId,
    file: Position,
    told: impl IntoIterator<Item = &'a Told>,
) -> Verdict {
    let (mut answered, mut replaced, mut highest) = (false, false, Position::default());
    for told in told.into_iter().filter(|told| told.node.is_some()) {
        (answered, replaced) = (true, replaced || told.replaced);
        highest = highest.max(told.memory.of(me));
    }
    if replaced || highest > file {
        Verdict::Outdated { remembered: highest }
    } else if answered {
        Verdict::Current
    } else {
        Verdict::Wait
    }
}

/// Judges an empty file that is to found the group of voters, of which there are `others` more: it does
/// so only where all of them answered that they are as empty.
pub(super) fn judge_founding<'a>(
    me: NodeId,
    others: usize,
    told: impl IntoIterator<Item = &'a Told> + Clone,
) -> Verdict {
    if let outdated @ Verdict::Outdated { .. } = judge(me, Position::default(), told.clone()) {
        return outdated;
    }
    let mut answered = 0;
    for told in told {
        if told.empty {
            answered += 1;
        } else if told.node.is_some() {
            // The group was founded before, and this file had no part in it.
            return Verdict::Outdated { remembered: told.position };
        }
    }
    if answered == others { Verdict::Current } else { Verdict::Wait }
}

#[cfg(test)]
mod tests;
