//! The state machine's state and the pure rule of a change: the same entries give every voter the same
//! state.

use std::collections::BTreeMap;

use openraft::EntryPayload;
use postern_protocol::role::{RoleVersion, SignedRole};
use serde::{Deserialize, Serialize};

use super::types::{Command, Entry, LogId, NodeId, Reply, StoredMembership, Version, Words};

/// All that is agreed on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// The last entry in it.
    pub applied: Option<LogId>,
    /// Who votes.
    pub membership: StoredMembership,
    /// The document.
    pub document: Option<Document>,
    /// The highest node id that was ever given.
    pub highest_node: NodeId,
    /// The node id that was given last to each name.
    pub admitted: BTreeMap<String, NodeId>,
}

/// The role document with what is known of its last change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Document {
    version: Version,
    pub role: SignedRole,
    pub why: Words,
}

impl Document {
    pub(super) fn version(&self) -> RoleVersion {
        self.version.into()
    }
}

impl State {
    /// Applies an entry.
    pub(super) fn apply(&mut self, entry: Entry) -> Reply {
        self.applied = Some(entry.log_id);
        match entry.payload {
            EntryPayload::Blank => Reply::None,
            EntryPayload::Normal(command) => self.command(command),
            EntryPayload::Membership(membership) => {
                let highest = membership.nodes().map(|(node, _)| *node).max().unwrap_or(0);
                self.highest_node = self.highest_node.max(highest);
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
                Reply::None
            }
        }
    }

    fn command(&mut self, command: Command) -> Reply {
        let present = self.document.as_ref().map(|document| document.version);
        let (changed, document) = match command {
            Command::Swap { expected, version, role, why } => {
                let fits = present == Some(expected) && version > expected;
                (fits, Document { version, role, why })
            }
            Command::Raise { version, role, why } => {
                (present.is_none_or(|present| version > present), Document { version, role, why })
            }
            Command::Admit { name } => {
                self.highest_node += 1;
                self.admitted.insert(name, self.highest_node);
                return Reply::Admitted(self.highest_node);
            }
        };
        if changed {
            self.document = Some(document);
        }
        Reply::Changed(changed)
    }
}

#[cfg(test)]
mod tests;
