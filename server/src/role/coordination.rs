//! Where the role document is kept. The keeper changes it by compare-and-swap on its
//! version alone, so that a linearizable store of several machines can stand here as well.

use std::future::Future;
use std::sync::Arc;

use postern_protocol::role::{RoleVersion, SignedRole};

use crate::store::{Audit, StoreError, TransactionStore};

/// Why a coordination store could not do what was asked. Whether a change happened is unknown until the
/// document is read again.
#[derive(Debug, thiserror::Error)]
pub enum CoordinationError {
    /// This server's own store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Those who keep the document together did not answer, or not enough of them.
    #[error("the voters cannot be asked: {0}")]
    Unavailable(String),
}

/// A store of the role document. It is linearizable: who reads after a swap was answered reads that
/// document or a later one. What that comes to is tested for each store (`role/conformance.rs`).
pub trait CoordinationStore: Send + Sync + 'static {
    /// The document, where one was ever stored.
    fn read(&self) -> impl Future<Output = Result<Option<SignedRole>, CoordinationError>> + Send;

    /// Stores `role` durably if the present document's version is `expected` and `version` is above
    /// it; `false` where that is not so, or where there is no document yet: the first one is stored
    /// when the site is founded. After an error the outcome is unknown until the document is read
    /// again. `why` is recorded with the change.
    fn compare_and_swap(
        &self,
        expected: RoleVersion,
        version: RoleVersion,
        role: SignedRole,
        why: Audit,
    ) -> impl Future<Output = Result<bool, CoordinationError>> + Send;
}

/// The document lies in this server's own store: there is no third party that could decide, so
/// the role changes by an operator's hand alone.
#[derive(Clone)]
pub struct Fixed(pub Arc<dyn TransactionStore>);

impl CoordinationStore for Fixed {
    async fn read(&self) -> Result<Option<SignedRole>, CoordinationError> {
        Ok(self.0.role().await?.map(|(signed, _)| signed))
    }

    async fn compare_and_swap(
        &self,
        expected: RoleVersion,
        version: RoleVersion,
        role: SignedRole,
        why: Audit,
    ) -> Result<bool, CoordinationError> {
        Ok(self.0.swap_role(expected, version, role, why).await?)
    }
}

#[cfg(test)]
mod tests;
