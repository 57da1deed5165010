//! This server's store is not what it was: who says so, how far they are believed, and what follows.
//! Invariant 9 from the other end: what was acknowledged is held by whoever acts, or nobody acts.

use std::sync::Arc;

use postern_protocol::RoleTerm;
use postern_protocol::role::StoreName;
use tokio::time::Instant;

use super::Server;
use crate::replication::Acks;
use crate::role::{Belief, State};
use crate::store::{Audit, Store};

impl Server {
    /// A gateway says that it was told more to be safe than is held here. As long as another store
    /// that counts may follow this reign's log, nobody can hold more of it than this one: then it is
    /// the gateway that is wrong, and it alone is refused.
    pub(super) async fn doubted(&self, belief: &Belief, by: &str, detail: &str) {
        let (role, me, now) = (belief.role(), belief.me(), Instant::now());
        let alone = |acks: &mut Acks| {
            let mut others = role.in_sync.iter().filter(|store| *store != me);
            others.all(|store| acks.is_gone(store, now) || acks.fell(store))
        };
        let term = role.role_term;
        let Some(alone) = self.with_acks(term, alone) else { return };
        if !alone {
            let alarm = Audit::now(by, "safe_contradicted", &self.me.name, detail);
            let _ = self.store.alarm(term, alarm).await;
        } else if self.keeper.fall_behind(term).await {
            // Not written down: a gateway's word is not proof enough for what an operator has to undo,
            // and whoever is right says it again with its next request.
            let alarm = Audit::now(by, "behind_safe", &self.me.name, detail);
            let _ = self.store.alarm(term, alarm).await;
        }
    }

    /// The other server showed that this one's store lacks what it held: it acts no longer, after a
    /// restart neither, whatever becomes of whoever asked.
    pub(super) async fn put_back(self: &Arc<Self>, belief: &Belief, by: &str, detail: &str) {
        let term = belief.role().role_term;
        if self.keeper.fall_behind(term).await {
            let alarm = Audit::now(by, "store_put_back", &self.me.name, detail);
            let server = self.clone();
            let mark = tokio::spawn(async move {
                server.set_aside(term).await;
                let _ = server.store.alarm(term, alarm).await;
            });
            let _ = mark.await;
        }
    }

    /// Gives the store another name: the document names one that held what this one lacks. So it is
    /// still set aside after a restart, and only an operator's force makes it active again.
    async fn set_aside(&self, term: RoleTerm) {
        // Not in the middle of a failover that may be just that.
        let _one = self.changing.lock().await;
        let belief = self.keeper.belief();
        if belief.role().role_term != term || belief.state() != State::SetAside {
            return;
        }
        let name = StoreName { store: Store::new_id(), ..belief.me().clone() };
        match self.store.rename(name.store.clone()).await {
            Ok(()) => self.keeper.renamed(name).await,
            Err(error) => {
                tracing::error!(%error, "not written down: after a restart it is found out anew");
            }
        }
    }
}
