//! The embedded store as a [`TransactionStore`]: each question is one turn of the reading or the
//! writing connection.

use postern_protocol::role::{RoleVersion, SignedRole, StoreName};
use postern_protocol::uplink::{Last, Watermark};
use postern_protocol::{ControllerId, Index, JournalId, RoleTerm};

use super::contract::{Answer, Held, SafeNow, TransactionStore};
use super::query::{AuditItem, Counts, Delay, Item, JournalItem, Page, Query, Unanswered};
use super::{Audit, Delivery, Outcome, Reassignment, Refused, Store, StoreHandle, Unowned};

impl TransactionStore for StoreHandle {
    fn name(&self) -> StoreName {
        Self::name(self)
    }

    fn role(&self) -> Answer<'_, Option<(SignedRole, RoleVersion)>> {
        Box::pin(self.read(Store::role))
    }

    fn swap_role(
        &self,
        expected: RoleVersion,
        version: RoleVersion,
        role: SignedRole,
        why: Audit,
    ) -> Answer<'_, bool> {
        Box::pin(self.write(move |store| store.swap_role(expected, version, &role, &why)))
    }

    fn term_floor(&self) -> Answer<'_, RoleTerm> {
        Box::pin(self.read(Store::term_floor))
    }

    fn rename(&self, id: String) -> Answer<'_, ()> {
        Box::pin(Self::rename(self, id))
    }

    fn deliver(
        &self,
        mut delivery: Delivery,
        safe: SafeNow,
    ) -> Answer<'_, Result<(Watermark, Outcome), Refused>> {
        Box::pin(self.write(move |store| {
            delivery.safe = safe();
            store.apply(&delivery)
        }))
    }

    fn watermark(
        &self,
        journal: JournalId,
        gateway: &str,
        acting: RoleTerm,
    ) -> Answer<'_, Result<Held, Unanswered>> {
        let gateway = gateway.to_owned();
        Box::pin(self.read(move |store| {
            let found = store.watermark(journal, &gateway, acting)?;
            // Read afterwards, so that whoever has confirmed it holds at least as much.
            let position = store.head()?.position;
            Ok(found.map(|watermark| (watermark, position)))
        }))
    }

    fn last(
        &self,
        controller: ControllerId,
        at_most: Index,
        gateway: &str,
        acting: RoleTerm,
    ) -> Answer<'_, Result<Last, Unanswered>> {
        let gateway = gateway.to_owned();
        Box::pin(self.read(move |store| store.last(controller, at_most, &gateway, acting)))
    }

    fn alarm(&self, acting: RoleTerm, alarm: Audit) -> Answer<'_, ()> {
        Box::pin(self.write(move |store| store.alarm(acting, &alarm)))
    }

    fn owner(
        &self,
        controller: ControllerId,
        acting: RoleTerm,
    ) -> Answer<'_, Result<String, Unowned>> {
        Box::pin(self.read(move |store| store.owner(controller, acting)))
    }

    fn reassign(&self, order: Reassignment) -> Answer<'_, Result<String, Unowned>> {
        Box::pin(self.write(move |store| store.reassign(&order)))
    }

    fn list(&self, query: Query) -> Answer<'_, Page<Item>> {
        Box::pin(self.read(move |store| store.list(&query)))
    }

    fn delays(&self, query: Query) -> Answer<'_, Page<Delay>> {
        Box::pin(self.read(move |store| store.delays(&query)))
    }

    fn journals(&self) -> Answer<'_, Vec<JournalItem>> {
        Box::pin(self.read(Store::journals))
    }

    fn audit(&self, after: u64, limit: usize) -> Answer<'_, Vec<AuditItem>> {
        Box::pin(self.read(move |store| store.audit(after, limit)))
    }

    fn counts(&self) -> Answer<'_, Counts> {
        Box::pin(self.read(Store::counts))
    }
}
