//! The role document's store that stands on the voters.

use std::sync::Arc;

use postern_protocol::role::{RoleVersion, SignedRole};

use super::voter::Voter;
use crate::role::{CoordinationError, CoordinationStore};
use crate::store::Audit;

/// The document is what a majority of the voters holds. Whoever asks is led to their leader.
#[derive(Clone)]
pub struct Voted(Arc<Voter>);

impl Voted {
    pub(super) fn new(voter: Arc<Voter>) -> Self {
        Self(voter)
    }

    /// The voter that it asks.
    pub fn voter(&self) -> &Arc<Voter> {
        &self.0
    }
}

impl CoordinationStore for Voted {
    async fn read(&self) -> Result<Option<SignedRole>, CoordinationError> {
        self.0.read().await
    }

    async fn compare_and_swap(
        &self,
        expected: RoleVersion,
        version: RoleVersion,
        role: SignedRole,
        why: Audit,
    ) -> Result<bool, CoordinationError> {
        self.0.compare_and_swap(expected, version, role, why.into()).await
    }
}
