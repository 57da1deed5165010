//! What a server asks of its store, whatever the store stands on.
//!
//! Called by `api` for every gateway and operator, and by `role` for the document that fences it.
//! Questions and answers are plain data: no statement, no connection, no file and no thread is seen
//! through it. The embedded store ([`StoreHandle`](super::StoreHandle)) is one implementation, and
//! can more: its change log is what `replication` follows, its file is what `backup` copies. A store
//! that replicates by itself needs neither. What every implementation must do is tested
//! (`store/conformance.rs`).
//!
//! Invariants, for each implementation: what an answer says was done is durable (3); a delivery is
//! done whole or not at all, with its journal's watermark, and only while the stored document's role
//! term is the one it was accepted under (8); an entry is held once (6). Each future runs to its end
//! once it was polled: a caller that goes away leaves nothing half done.

use futures_util::future::BoxFuture;
use postern_protocol::role::{RoleVersion, SignedRole, StoreName};
use postern_protocol::uplink::{Last, Watermark};
use postern_protocol::{ControllerId, Index, JournalId, RoleTerm};

use super::change::Position;
use super::query::{AuditItem, Counts, Delay, Item, JournalItem, Page, Query, Unanswered};
use super::{Audit, Delivery, Outcome, Reassignment, Refused, Safe, StoreError, Unowned};

/// An answer on its way.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Says what of a journal may be forgotten. A store asks once for each delivery, in the delivery's
/// turn among all that write, so that no other server can begin to be waited for between that and
/// the commit.
pub type SafeNow = Box<dyn FnOnce() -> Safe + Send>;

/// A journal's watermark, and where the change log stood when it was read: whoever has confirmed
/// that position holds the journal as far.
pub type Held = (Watermark, Position);

/// See the module.
pub trait TransactionStore: Send + Sync + 'static {
    /// The name that the role document knows this store by.
    fn name(&self) -> StoreName;

    /// The role document that fences this store, with its version for the server's group.
    fn role(&self) -> Answer<'_, Option<(SignedRole, RoleVersion)>>;

    /// Puts `role` in the place of the document of version `expected`, if that is the present one
    /// and `version` is above it; `false` where it is not. `why` is recorded with it.
    fn swap_role(
        &self,
        expected: RoleVersion,
        version: RoleVersion,
        role: SignedRole,
        why: Audit,
    ) -> Answer<'_, bool>;

    /// The highest role term that may have been given out under what this store held before it was
    /// restored from a backup; 0 where it never was.
    fn term_floor(&self) -> Answer<'_, RoleTerm>;

    /// Gives the store another id: it is not what it was, and no document names it.
    fn rename(&self, id: String) -> Answer<'_, ()>;

    /// Stores a batch. `safe` replaces the delivery's own.
    fn deliver(
        &self,
        delivery: Delivery,
        safe: SafeNow,
    ) -> Answer<'_, Result<(Watermark, Outcome), Refused>>;

    /// Where a gateway's journal stands: at the beginning where it is not known.
    fn watermark(
        &self,
        journal: JournalId,
        gateway: &str,
        acting: RoleTerm,
    ) -> Answer<'_, Result<Held, Unanswered>>;

    /// What is held last of a controller, up to an index.
    fn last(
        &self,
        controller: ControllerId,
        at_most: Index,
        gateway: &str,
        acting: RoleTerm,
    ) -> Answer<'_, Result<Last, Unanswered>>;

    /// Records an alarm, unless the same was recorded within the hour.
    fn alarm(&self, acting: RoleTerm, alarm: Audit) -> Answer<'_, ()>;

    /// The gateway that a controller belongs to.
    fn owner(
        &self,
        controller: ControllerId,
        acting: RoleTerm,
    ) -> Answer<'_, Result<String, Unowned>>;

    /// Gives a controller to another gateway; answers whose it was.
    fn reassign(&self, order: Reassignment) -> Answer<'_, Result<String, Unowned>>;

    /// A page of transactions.
    fn list(&self, query: Query) -> Answer<'_, Page<Item>>;

    /// A page of the three times of transactions.
    fn delays(&self, query: Query) -> Answer<'_, Page<Delay>>;

    /// Journals with their holes; the first [`MAX_ROWS`](super::query::MAX_ROWS).
    fn journals(&self) -> Answer<'_, Vec<JournalItem>>;

    /// Lines of the audit log after one.
    fn audit(&self, after: u64, limit: usize) -> Answer<'_, Vec<AuditItem>>;

    /// Totals.
    fn counts(&self) -> Answer<'_, Counts>;
}
