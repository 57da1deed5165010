//! The shell around [`Belief`]: verifies what is shown, stores it durably, only then acts on it and
//! tells whoever listens. Every request that depends on the role asks here.

use std::sync::{Arc, MutexGuard, PoisonError};

use postern_protocol::RoleTerm;
use postern_protocol::pki::Floor;
use postern_protocol::role::{RoleDocument, SignatureError, SignedRole, StoreName};
use rustls_pki_types::CertificateDer;
use tokio::sync::{Mutex, watch};

use super::decide::MAX_TERM;
use super::{Belief, CoordinationError, CoordinationStore, Own, Verdict};
use crate::store::{Audit, StoreError};

/// Why a role document was not taken.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// It is not to be obeyed.
    #[error("{0}")]
    Signature(#[from] SignatureError),
    /// Its role term is higher than can be counted.
    #[error("role term {0} is higher than any server can have minted")]
    TermTooHigh(RoleTerm),
    /// The server's own document says nothing of its group.
    #[error("the stored role document says nothing of group {0}")]
    NoGroup(String),
    /// There is none.
    #[error("the store holds no role document")]
    Missing,
    /// The store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Those who keep the document together cannot be asked.
    #[error("the voters cannot be asked: {0}")]
    Unavailable(String),
}

impl From<CoordinationError> for RoleError {
    fn from(error: CoordinationError) -> Self {
        match error {
            CoordinationError::Store(error) => Self::Store(error),
            CoordinationError::Unavailable(reason) => Self::Unavailable(reason),
        }
    }
}

/// How many own proposals are remembered: an older one is no longer above what is believed.
const MOST_MADE: usize = 16;

/// Keeps the role of this server.
pub struct Keeper<C> {
    authority: CertificateDer<'static>,
    site: String,
    floor: Floor,
    kept: Arc<Kept<C>>,
}

/// What a change works on. Changes run in tasks of their own: whoever asked for one may be gone
/// before it is done, as a client that hangs up is, and a document must never be stored without
/// being acted on.
struct Kept<C> {
    store: C,
    belief: watch::Sender<Arc<Belief>>,
    // What this server has proposed and does not know the outcome of: it is for whoever proposed it to
    // make durable, with the reason, and to act under.
    proposed: std::sync::Mutex<Vec<SignedRole>>,
    // What it proposed and was never told the outcome of: where it stands all the same, it is this
    // process's own.
    made: std::sync::Mutex<Vec<SignedRole>>,
    // One change at a time. Never held across the network, so that two servers that tell each
    // other of a change cannot wait for each other.
    changing: Mutex<()>,
}

impl<C: CoordinationStore> Keeper<C> {
    /// Starts from the stored document. A document that our own store holds is trusted as it was
    /// when it was stored: its signer's certificate may have expired since.
    pub async fn load(
        store: C,
        authority: CertificateDer<'static>,
        site: &str,
        group: &str,
        me: StoreName,
        floor: Floor,
    ) -> Result<Self, RoleError> {
        let signed = store.read().await?.ok_or(RoleError::Missing)?;
        let document: RoleDocument =
            serde_json::from_str(&signed.document).map_err(|_| SignatureError::Document)?;
        // A store that was put here from elsewhere.
        if document.site != site {
            return Err(SignatureError::Site { got: document.site }.into());
        }
        let belief = Belief::new(me, group, signed, document)
            .ok_or_else(|| RoleError::NoGroup(group.to_owned()))?;
        let (belief, _) = watch::channel(Arc::new(belief));
        let kept = Arc::new(Kept {
            store,
            belief,
            proposed: std::sync::Mutex::default(),
            made: std::sync::Mutex::default(),
            changing: Mutex::new(()),
        });
        Ok(Self { authority, site: site.to_owned(), floor, kept })
    }

    /// What this server believes now.
    pub fn belief(&self) -> Arc<Belief> {
        self.kept.belief()
    }

    /// Every change of it.
    pub fn watch(&self) -> watch::Receiver<Arc<Belief>> {
        self.kept.belief.subscribe()
    }

    /// The document, if a server of this site signed it.
    pub fn verify(&self, signed: &SignedRole) -> Result<RoleDocument, RoleError> {
        Ok(signed.verify(&self.authority, &self.site, self.floor.now())?)
    }

    /// Takes a document that somebody showed, if it is genuine and higher. Returns the belief after.
    pub async fn offer(&self, signed: &SignedRole, from: &str) -> Result<Arc<Belief>, RoleError> {
        let present = self.belief();
        if present.signed() == signed || self.kept.proposed().contains(signed) {
            return Ok(present);
        }
        let document = self.verify(signed)?;
        if let Verdict::Adopt(version) = present.weigh(&document) {
            let group = document.groups.get(present.group());
            let active = group.map_or("", |role| role.active.as_str());
            let detail = format!("role term {}, revision {}", version.term, version.revision);
            let why = Audit::now(from, "role_adopted", active, &detail);
            let own = if self.kept.made().contains(signed) { Own::Yes } else { Own::No };
            self.store(signed.clone(), document, why, own).await?;
        }
        Ok(self.belief())
    }

    /// A document is about to be proposed to those who decide. As long as the answer is kept, it is not
    /// taken from anybody else who shows it sooner than they answer.
    pub fn propose(&self, signed: &SignedRole) -> Proposed<C> {
        self.kept.proposed().push(signed.clone());
        Proposed { kept: self.kept.clone(), signed: signed.clone() }
    }

    /// Makes a document of this server's own making durable and then acts under it, if it is higher
    /// than the present one; `false` where it is not. Once begun it runs to its end, whatever becomes
    /// of the caller.
    pub async fn install(
        &self,
        signed: SignedRole,
        document: RoleDocument,
        why: Audit,
    ) -> Result<bool, RoleError> {
        self.store(signed, document, why, Own::Yes).await
    }

    async fn store(
        &self,
        signed: SignedRole,
        document: RoleDocument,
        why: Audit,
        own: Own,
    ) -> Result<bool, RoleError> {
        let kept = self.kept.clone();
        let change = tokio::spawn(async move { kept.install(signed, document, why, own).await });
        change.await.unwrap_or(Err(RoleError::Store(StoreError::Dead)))
    }

    /// From now on this server acts as the document says: its peer was asked, or cannot be.
    pub async fn confirm(&self) {
        // Cancel-safety: nothing is awaited once the change has begun.
        let _one = self.kept.changing.lock().await;
        let next = self.belief().confirmed();
        tracing::info!(
            active = next.role().active,
            term = %next.role().role_term,
            state = next.state().code(),
            "the role is known"
        );
        self.kept.belief.send_replace(Arc::new(next));
    }
}

impl<C: CoordinationStore> Keeper<C> {
    /// This server's store lacks what it had acknowledged: it no longer acts. `false` where that was
    /// known already.
    pub async fn fall_behind(&self, term: RoleTerm) -> bool {
        // Cancel-safety: nothing is awaited once the change has begun.
        let _one = self.kept.changing.lock().await;
        let present = self.belief();
        let next = present.fallen_behind();
        // A judgement of an earlier reign says nothing of this one.
        if next.state() == present.state() || present.role().role_term != term {
            return false;
        }
        tracing::error!("this server's store lacks what it had acknowledged; it is set aside");
        self.kept.belief.send_replace(Arc::new(next));
        true
    }

    /// This server's store is another one now.
    pub async fn renamed(&self, me: StoreName) {
        let _one = self.kept.changing.lock().await;
        let next = self.belief().with_store(me);
        self.kept.belief.send_replace(Arc::new(next));
    }
}

/// A proposal whose outcome is not known yet.
pub struct Proposed<C> {
    kept: Arc<Kept<C>>,
    signed: SignedRole,
}

impl<C> Drop for Proposed<C> {
    fn drop(&mut self) {
        let mut made = self.kept.made();
        if made.len() >= MOST_MADE {
            made.remove(0);
        }
        made.push(self.signed.clone());
        let mut proposed = self.kept.proposed();
        if let Some(place) = proposed.iter().position(|signed| *signed == self.signed) {
            proposed.swap_remove(place);
        }
    }
}

impl<C> Kept<C> {
    fn proposed(&self) -> MutexGuard<'_, Vec<SignedRole>> {
        self.proposed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn made(&self) -> MutexGuard<'_, Vec<SignedRole>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: CoordinationStore> Kept<C> {
    fn belief(&self) -> Arc<Belief> {
        self.belief.borrow().clone()
    }

    async fn install(
        &self,
        signed: SignedRole,
        document: RoleDocument,
        why: Audit,
        own: Own,
    ) -> Result<bool, RoleError> {
        let _one = self.changing.lock().await;
        let present = self.belief();
        if present.signed() == &signed && own == Own::Yes {
            // Somebody showed it sooner than it was told here that it stands.
            self.belief.send_replace(Arc::new(present.confirmed()));
            return Ok(true);
        }
        let Verdict::Adopt(version) = present.weigh(&document) else { return Ok(false) };
        if version.term > MAX_TERM {
            return Err(RoleError::TermTooHigh(version.term));
        }
        let Some(next) = present.adopted(signed.clone(), document, own) else { return Ok(false) };
        if !self.store.compare_and_swap(present.role().version(), version, signed, why).await? {
            self.follow(&present).await?;
            return Ok(false);
        }
        self.publish(next);
        Ok(true)
    }

    /// Believes what the store holds: it is not what was believed, so somebody else changed it. Like
    /// the document that we start from, it was verified before it was stored.
    async fn follow(&self, present: &Belief) -> Result<(), RoleError> {
        let signed = self.store.read().await?.ok_or(RoleError::Missing)?;
        let document: RoleDocument =
            serde_json::from_str(&signed.document).map_err(|_| SignatureError::Document)?;
        if let Verdict::Adopt(_) = present.weigh(&document)
            && let Some(next) = present.adopted(signed, document, Own::No)
        {
            self.publish(next);
        }
        Ok(())
    }

    fn publish(&self, next: Belief) {
        tracing::warn!(
            active = next.role().active,
            term = %next.role().role_term,
            state = next.state().code(),
            "the role changed"
        );
        self.belief.send_replace(Arc::new(next));
    }
}

#[cfg(test)]
mod tests;
