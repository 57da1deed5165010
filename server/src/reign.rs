//! How this server changes the role document, and what it does to stay or to become the active one
//! where the role changes by itself.
//!
//! Where the document's mode is automatic the voters decide: whatever is to be changed is swapped in
//! their store first, then made durable in our own, then obeyed, then told. Else our own store
//! decides, and the voters are raised to that afterwards (ADR-0020).
//!
//! - [`Server::change_role`]: the one way in which a document is changed.
//! - [`guard`]: the task around [`Guard`]: lease and claims.
//! - [`follow_voters`]: the task that takes what the voters decided, and tells them what was decided
//!   without them.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use postern_protocol::RoleTerm;
use postern_protocol::role::{GroupRole, Mode, RoleDocument, RoleVersion, SignedRole};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::Server;
use crate::clock;
use crate::coordination::Words;
use crate::liveness::{BootInstant, ClaimAnswer, Guard, Order, RenewalAnswer, Standing};
use crate::role::decide::{self, Because, By, Claim, Command, Denied};
use crate::role::{Belief, CoordinationError, CoordinationStore as _, RoleError, State};
use crate::site::SiteError;
use crate::store::Audit;
use crate::voting::Voting;
use crate::voting::message::{self, Answer, Renew, Said, Wanted, Why};

/// How long the voters may lag behind our own document before they are raised to it: what they
/// decided themselves is there sooner.
const LAG: Duration = Duration::from_secs(1);

/// Why a document could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// It could not be signed.
    #[error("{0}")]
    Sign(#[from] SiteError),
    /// The voters could not be asked, or it is not known what they did.
    #[error("{0}")]
    Voters(#[from] CoordinationError),
    /// It could not be stored here.
    #[error("{0}")]
    Role(#[from] RoleError),
    /// There is nobody who could decide.
    #[error("the role cannot change by itself without a third voter")]
    NoThirdVoter,
}

impl ChangeError {
    /// What to do next.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoThirdVoter => Some(
                "make a witness with `postern-server init --join DIR --witness …`, start it, and \
                 start both servers again",
            ),
            Self::Voters(_) => Some(
                "two of the three voters have to reach each other; see `postern-server status`",
            ),
            Self::Sign(_) | Self::Role(_) => None,
        }
    }
}

/// Whether a document is one that the voters alone change.
pub fn by_voters(document: &RoleDocument, group: &str) -> bool {
    document.groups.get(group).is_some_and(|role| role.mode == Mode::Automatic)
}

fn version(document: &RoleDocument, group: &str) -> RoleVersion {
    document.groups.get(group).map_or(RoleVersion::first(RoleTerm(0)), GroupRole::version)
}

impl Server {
    /// Puts `next` in the place of what is believed; `false` where another document came first, which
    /// is believed then.
    pub async fn change_role(
        &self,
        before: &Belief,
        next: RoleDocument,
        why: Audit,
    ) -> Result<bool, ChangeError> {
        let signed = self.signer.sign(&next)?;
        let group = before.group();
        let is_theirs = by_voters(before.document(), group);
        let mut proposed = None;
        if is_theirs || by_voters(&next, group) {
            let voting = self.voting.as_ref().ok_or(ChangeError::NoThirdVoter)?;
            let (expected, version) = (before.role().version(), version(&next, group));
            if !is_theirs {
                voting.voter.raise(expected, before.signed().clone(), raised(before)).await?;
            }
            let store = voting.voter.store();
            proposed = Some(self.keeper.propose(&signed));
            if !store.compare_and_swap(expected, version, signed.clone(), why.clone()).await? {
                if let Some(theirs) = store.read().await? {
                    self.keeper.offer(&theirs, VOTERS).await?;
                }
                return Ok(false);
            }
        }
        let installed = self.keeper.install(signed, next, why).await?;
        drop(proposed);
        Ok(installed)
    }

    /// Whether this server may say that it is the active one: by its role, and where the role changes
    /// by itself, by its lease.
    pub fn claims(&self) -> bool {
        let belief = self.keeper.belief();
        belief.state() == State::Active
            && (belief.role().mode != Mode::Automatic || self.guard().holds_lease(clock::boot()))
    }

    /// Why this server, which would take over by itself, may not; `None` where nothing bars it.
    pub fn barred(&self, belief: &Belief) -> Option<Denied> {
        let because = self.guard().reason(clock::boot())?;
        let (_, command) = self.claim_of(belief, RoleTerm(0), because)?;
        decide::decide(belief.document(), &command).err()
    }

    /// How this server claims the role, under which role term above `floor`; `None` where there are no
    /// more.
    fn claim_of(
        &self,
        belief: &Belief,
        floor: RoleTerm,
        because: Because,
    ) -> Option<(RoleTerm, Command)> {
        let term = decide::next_term(self.me.ordinal, belief.role().role_term.max(floor))?;
        let claim = Claim {
            group: belief.group().to_owned(),
            to: belief.me().clone(),
            ordinal: self.me.ordinal,
            term,
            by: By::Server,
            at: clock::now(),
        };
        Some((term, Command::Claim(claim, because)))
    }

    fn guard(&self) -> MutexGuard<'_, Guard> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who brought a document that the voters hold.
const VOTERS: &str = "the voters";

/// Takes what the voters decided, and tells them what was decided without them.
pub async fn follow_voters(server: Arc<Server>, voting: Arc<Voting>, stop: CancellationToken) {
    let (mut documents, mut beliefs) = (voting.voter.documents(), server.keeper.watch());
    let mut failure = None;
    loop {
        let theirs = documents.borrow_and_update().clone();
        let belief = beliefs.borrow_and_update().clone();
        if let Some(theirs) = theirs.as_ref() {
            let failed = server.keeper.offer(theirs, VOTERS).await.err().map(|why| why.to_string());
            // It is tried again and again: one line each time that the reason changes.
            if let Some(why) = failed.as_ref().filter(|_| failed != failure) {
                tracing::error!(why, "the voters hold a document that cannot be obeyed");
            }
            failure = failed;
        }
        let lags = is_lower(theirs.as_ref(), &belief);
        // What this server proposed itself is not taken here, and is looked at again.
        let differs =
            theirs.as_ref().is_some_and(|theirs| theirs != server.keeper.belief().signed());
        // Cancel-safety: a watch keeps its mark; a document twice is a document once.
        tokio::select! {
            () = stop.cancelled() => return,
            changed = documents.changed() => if changed.is_err() { return },
            changed = beliefs.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LAG), if differs && !lags => {}
            () = tokio::time::sleep(LAG), if lags => {
                let (version, signed) = (belief.role().version(), belief.signed().clone());
                let raised = voting.voter.raise(version, signed, raised(&belief));
                if let Err(why) = raised.await {
                    tracing::debug!(%why, "the voters cannot be told of the document");
                }
            }
        }
    }
}

/// Why the voters are raised, in their words.
fn raised(belief: &Belief) -> Words {
    let me = &belief.me().server;
    Audit::now(me, "role_raised", &belief.role().active, "decided without the voters").into()
}

/// Whether the voters hold less than is believed here.
fn is_lower(theirs: Option<&SignedRole>, belief: &Belief) -> bool {
    let Some(theirs) = theirs else { return true };
    if theirs == belief.signed() {
        return false;
    }
    let document: Option<RoleDocument> = serde_json::from_str(&theirs.document).ok();
    document.is_none_or(|document| version(&document, belief.group()) < belief.role().version())
}

/// What came of an order.
enum Done {
    Renewed { term: RoleTerm, sent: BootInstant, answer: RenewalAnswer },
    Claimed(ClaimAnswer),
}

/// Keeps the lease of an active server, and lets a standby take over, until the server stops.
pub async fn guard(server: Arc<Server>, voting: Arc<Voting>, stop: CancellationToken) {
    let (mut beliefs, mut news) = (server.keeper.watch(), voting.news());
    let (mut under_way, mut barred) = (JoinSet::new(), None);
    loop {
        let belief = beliefs.borrow_and_update().clone();
        news.borrow_and_update();
        let active = belief.role().active.clone();
        let (orders, until, holds, now) = {
            let (mut guard, now) = (server.guard(), clock::boot());
            guard.on_belief(&Standing::from(&*belief), now);
            guard.on_sight(voting.sight(&active), now);
            if let Some(Said { term, holds }) = voting.said_of_lease(&active) {
                guard.on_lease_flag(term, holds);
            }
            let orders: Vec<Order> = std::iter::from_fn(|| guard.poll(now)).collect();
            (orders, guard.next_deadline(), guard.holds_lease(now), now)
        };
        let bars = server.barred(&belief);
        // One line a reason, whatever numbers are in it.
        if let Some(why) = &bars
            && barred != Some(std::mem::discriminant(why))
        {
            tracing::warn!(%why, "this server would take over, and may not");
        }
        barred = bars.as_ref().map(std::mem::discriminant);
        // Whoever is named and does not act holds none: the standby must not wait for it.
        let acts = belief.role().active == server.me.name && belief.role().mode == Mode::Automatic;
        let term = belief.role().role_term;
        voting.tell_lease(acts.then_some(Said { term, holds }));
        for order in orders {
            match order {
                Order::Renew { term } => {
                    let (group, version) = (belief.group().to_owned(), belief.role().version());
                    let renew = Renew { group, role_term: term, version: version.into() };
                    under_way.spawn(renewal(server.clone(), voting.clone(), renew, now));
                }
                Order::Claim(because) => {
                    under_way.spawn(claim(server.clone(), voting.clone(), belief.clone(), because));
                }
                Order::GoOnWithoutLease => {
                    tracing::error!("no majority of the voters answers: going on without a lease");
                    server.keeper.confirm().await;
                }
            }
        }
        let pause = until.map(|until| until.since(clock::boot()));
        // Cancel-safety: watches keep their marks; what is under way stays in the set.
        tokio::select! {
            () = stop.cancelled() => return,
            changed = beliefs.changed() => if changed.is_err() { return },
            changed = news.changed() => if changed.is_err() { return },
            Some(done) = under_way.join_next() => {
                let (mut guard, now) = (server.guard(), clock::boot());
                match done {
                    Ok(Done::Renewed { term, sent, answer }) => guard.on_renewal(term, sent, answer, now),
                    Ok(Done::Claimed(answer)) => guard.on_claim(answer, now),
                    Err(error) => {
                        tracing::error!(%error, "a claim or a renewal came to no end");
                        guard.on_claim(ClaimAnswer::Unavailable, now);
                    }
                }
            }
            () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
        }
    }
}

async fn renewal(
    server: Arc<Server>,
    voting: Arc<Voting>,
    renew: Renew,
    sent: BootInstant,
) -> Done {
    let term = renew.role_term;
    let answer = match voting.order(Wanted::Renew(renew)).await {
        Answer::Granted => RenewalAnswer::Granted,
        Answer::Superseded(role) => {
            if let Err(why) = server.keeper.offer(&role, VOTERS).await {
                tracing::error!(%why, "the voters hold a document that cannot be obeyed");
            }
            // A later revision of the same reign: it renews under that.
            let reigns = server.keeper.belief().role().role_term == term;
            if reigns { RenewalAnswer::Failed } else { RenewalAnswer::Superseded }
        }
        Answer::NoLeader => RenewalAnswer::NoLeader,
        Answer::Won
        | Answer::Overtaken
        | Answer::NotYet { .. }
        | Answer::Never { .. }
        | Answer::Unavailable { .. } => RenewalAnswer::Failed,
    };
    Done::Renewed { term, sent, answer }
}

async fn claim(
    server: Arc<Server>,
    voting: Arc<Voting>,
    belief: Arc<Belief>,
    because: Because,
) -> Done {
    // An operator's change comes first, and waits for no more than one claim.
    let Ok(_one) = server.changing.try_lock() else {
        return Done::Claimed(ClaimAnswer::NotYet { after: Duration::ZERO });
    };
    Done::Claimed(match try_claim(&server, &voting, &belief, because).await {
        Ok(answer) => answer,
        Err(why) => {
            tracing::warn!(%why, ?because, "the role could not be claimed");
            ClaimAnswer::Unavailable
        }
    })
}

async fn try_claim(
    server: &Server,
    voting: &Arc<Voting>,
    belief: &Belief,
    because: Because,
) -> Result<ClaimAnswer, ChangeError> {
    let now = server.keeper.belief();
    if now.signed() != belief.signed() || now.state() != belief.state() {
        // Something else came first; the guard hears of it.
        return Ok(ClaimAnswer::NotYet { after: Duration::ZERO });
    }
    let floor = server.store.term_floor().await.map_err(RoleError::Store)?;
    let Some((term, command)) = server.claim_of(belief, floor, because) else {
        return Ok(ClaimAnswer::Denied);
    };
    let next = match decide::decide(belief.document(), &command) {
        Ok(next) => next,
        Err(denied) => {
            tracing::debug!(%denied, "the role is not claimed");
            return Ok(ClaimAnswer::Denied);
        }
    };
    let (active, present) = (&belief.role().active, belief.role().role_term);
    let detail = format!("role term {term}, from {active} under {present}: {}", said(because));
    let why = Audit::now(&server.me.name, "role_claimed", &server.me.name, &detail).shared();
    let Some(judged) = Why::of(because) else {
        let won = server.change_role(belief, next, why).await?;
        return Ok(if won {
            ClaimAnswer::Won
        } else {
            ClaimAnswer::NotYet { after: Duration::ZERO }
        });
    };
    let signed = server.signer.sign(&next)?;
    let wanted = Wanted::Claim(Box::new(message::Claim {
        group: belief.group().to_owned(),
        because: judged,
        expected: belief.role().version().into(),
        version: version(&next, belief.group()).into(),
        role: signed.clone(),
    }));
    let proposed = server.keeper.propose(&signed);
    let answer = voting.order(wanted).await;
    match answer {
        Answer::Won => {
            server.keeper.install(signed, next, why).await?;
            drop(proposed);
            Ok(ClaimAnswer::Won)
        }
        Answer::NotYet { after_ms, why } => {
            tracing::debug!(why, "not yet");
            Ok(ClaimAnswer::NotYet { after: Duration::from_millis(after_ms) })
        }
        Answer::Never { why } => {
            tracing::info!(why, "the role is not claimed");
            Ok(ClaimAnswer::Denied)
        }
        Answer::Overtaken => Ok(ClaimAnswer::NotYet { after: Duration::ZERO }),
        Answer::NoLeader | Answer::Granted | Answer::Superseded(_) | Answer::Unavailable { .. } => {
            Ok(ClaimAnswer::Unavailable)
        }
    }
}

/// Why, in words for the audit log.
fn said(because: Because) -> &'static str {
    match because {
        Because::Expired { .. } => "it was silent past its lease",
        Because::Killed => "its process has ended",
        Because::Vouched => "an operator says that it is down",
        Because::Restarted => "this server's process has begun again",
    }
}
