//! The change of the active server by an operator's hand, carried out by the server that is to
//! become active.
//!
//! The order is what makes it safe under a crash at any point: the present active server stores
//! the new document and is standby from then on; only then the new one stores it; only then it
//! acts. If the new one dies in between, nobody is active, and repeating the command mends that:
//! the new one finds the document at its peer and takes it. There is never a moment in which two
//! believe that they are active under one role term, and the higher term wins where they meet.

use std::time::Duration;

use postern_protocol::RoleTerm;
use postern_protocol::role::{GroupRole, RoleDocument, StoreName};
use postern_protocol::uplink::RefusalCode;

use crate::api::Server;
use crate::clock;
use crate::peer::PeerError;
use crate::reign::{self, ChangeError};
use crate::replication::reached;
use crate::replication::wire::{Pause, Paused};
use crate::role::decide::{self, Because, By, Claim, Command, Denied, Reign};
use crate::role::{Belief, RoleError, State};
use crate::site::{Member, SiteError};
use crate::store::{Audit, Store};

/// Why the role was not taken.
#[derive(Debug, thiserror::Error)]
pub enum FailoverError {
    /// The document does not allow it.
    #[error("{0}")]
    Denied(#[from] Denied),
    /// This server has not finished starting.
    #[error("this server is starting and does not know the role yet")]
    Starting,
    /// The other server cannot agree, and nobody said to go on without it.
    #[error("server {peer} cannot be asked to stand down ({why})")]
    Unreachable {
        /// Who.
        peer: String,
        /// Why.
        why: PeerError,
    },
    /// The active server is not one that this server knows.
    #[error("the active server {0} is not among the members known here")]
    Stranger(String),
    /// The other server stopped answering after it was told.
    #[error("server {peer} gave no clear answer ({why}); it may have stood down already")]
    Unclear {
        /// Who.
        peer: String,
        /// Why.
        why: PeerError,
    },
    /// Another change came first.
    #[error("another change of the role came first; server {active} has role term {term}")]
    Overtaken {
        /// Who is active by the document.
        active: String,
        /// Under which term.
        term: RoleTerm,
    },
    /// What the active server holds could not be fetched in time.
    #[error("server {peer} holds transactions that this server could not fetch in time")]
    Lagging {
        /// Who.
        peer: String,
    },
    /// The active server does not act, so it has nothing to hand over.
    #[error("server {peer} is set aside: its store is not the one that the role document names")]
    PeerSetAside {
        /// Who.
        peer: String,
    },
    /// There are no higher role terms.
    #[error("there is no higher role term")]
    NoTerm,
    /// The document could not be stored.
    #[error("{0}")]
    Role(#[from] RoleError),
    /// The document could not be signed.
    #[error("{0}")]
    Sign(#[from] SiteError),
    /// The voters did not decide it.
    #[error("{0}")]
    Change(#[from] ChangeError),
}

impl FailoverError {
    /// What to do next.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Unreachable { .. } | Self::Stranger(_) => {
                "mend the link, or, if that server is really gone, repeat with --force: what it \
                 alone holds is then missing here until the gateways send it again"
            }
            Self::PeerSetAside { .. } => {
                "repeat with --force: what only that server's former store held is missing until \
                 gateways send it again"
            }
            Self::Denied(Denied::NotInSync { .. }) => {
                "wait until `status` shows it in sync; or repeat with --force if it is to go on \
                 without what it lacks"
            }
            Self::Unclear { .. } => {
                "repeat the command; if that server's disk is full, make room there first, or repeat with \
                 --force"
            }
            Self::Overtaken { .. } | Self::Starting | Self::Lagging { .. } => "repeat the command",
            Self::Change(ChangeError::Voters(_)) => {
                "two of the three voters have to reach each other; if they are gone, --force makes \
                 this server active by hand, and from then on the role changes by hand alone"
            }
            Self::Change(error) => return error.hint(),
            Self::Denied(_) | Self::NoTerm | Self::Role(_) | Self::Sign(_) => return None,
        })
    }
}

/// How the role is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// With the present active server's agreement, once everything was fetched from it.
    Switchover,
    /// Without it: an operator says that it is down, or that what it alone holds may be missing.
    Forced,
}

/// How long a handover may keep transactions waiting. They are taken by one server or the other as
/// soon as it is decided; this is for when it breaks off in the middle.
const PAUSE: Duration = Duration::from_secs(5);

/// Makes this server the active one; `false` where it was already.
pub async fn take_over(
    server: &Server,
    how: How,
    by: &str,
    proposer: By,
) -> Result<bool, FailoverError> {
    let Server { keeper, peer, me, .. } = server;
    let before = keeper.belief().role().role_term;
    // A restored store does not know the highest role term: what it stored was stored under one.
    let floor = server.store.term_floor().await.map_err(RoleError::Store)?;
    let member = peer.member();
    let asked = match &member {
        Some(member) => Some((member, peer.exchange(member, keeper).await)),
        None => None,
    };
    let belief = keeper.belief();
    let forced = how == How::Forced;
    // The voters are gone, and an operator says to go on without them.
    let alone = forced
        && reign::by_voters(belief.document(), belief.group())
        && !server.claims()
        && matches!(belief.state(), State::Active | State::Starting);
    match belief.state() {
        State::Active | State::Starting if alone => {}
        // It may have become active just now, by a document that its peer kept for it.
        State::Active => return Ok(belief.role().role_term != before),
        State::Starting => return Err(FailoverError::Starting),
        State::Standby | State::SetAside => {}
    }
    let agreeing = match asked {
        Some((member, Ok(()))) => Some(member),
        Some((_, Err(_))) if forced => None,
        Some((member, Err(why))) => {
            return Err(FailoverError::Unreachable { peer: member.name.clone(), why });
        }
        None if !forced && belief.role().active != me.name => {
            return Err(FailoverError::Stranger(belief.role().active.clone()));
        }
        None => None,
    };

    // The exchange has brought in the peer's document where it was higher, and gateways show us
    // what they have seen, so our own is the highest that is known here.
    let present = belief.role().role_term;
    let mut claim = Claim {
        group: belief.group().to_owned(),
        to: belief.me().clone(),
        ordinal: me.ordinal,
        term: decide::next_term(me.ordinal, present.max(floor)).ok_or(FailoverError::NoTerm)?,
        by: proposer,
        at: clock::now(),
    };
    let handover = match agreeing {
        Some(member) if !forced && belief.state() == State::Standby => {
            Some((member, prepare(server, member, &belief, &claim).await?))
        }
        _ => None,
    };
    let because = if alone { Because::Restarted } else { Because::Vouched };
    let vouched = Command::Claim(claim.clone(), because);
    let (document, renamed) = if let Some((_, reign)) = &handover {
        (decide::decide(belief.document(), &Command::HandOver(reign.clone(), claim))?, None)
    } else {
        match decide::decide(belief.document(), &vouched) {
            Ok(document) => (document, None),
            Err(denied) if !forced => return Err(denied.into()),
            Err(_) => {
                // What it held is not what the group held: it goes on as another store, so that
                // nobody takes it for the one that was in sync.
                claim.to.store = Store::new_id();
                let name = claim.to.clone();
                (decide::decide(belief.document(), &Command::Force(claim))?, Some(name))
            }
        }
    };
    let done = agree(server, &belief, document, agreeing, forced, by, renamed).await;
    if done.is_err()
        && let Some((member, _)) = handover
    {
        // It ends by itself as well.
        let _ = pause(server, member, Duration::ZERO).await;
    }
    done.map(|()| true)
}

/// Has the active server take no more transactions and fetches the last of them.
async fn prepare(
    server: &Server,
    member: &Member,
    belief: &Belief,
    claim: &Claim,
) -> Result<Reign, FailoverError> {
    let unclear = |why| FailoverError::Unclear { peer: member.name.clone(), why };
    // Denied before anybody waits, where it would be denied.
    let named = belief.role().in_sync.iter().find(|store| store.server == member.name);
    if let Some(holder) = named {
        let (group, term) = (claim.group.clone(), belief.role().role_term);
        let reign = Reign { group, holder: holder.clone(), term };
        decide::decide(belief.document(), &Command::HandOver(reign, claim.clone()))?;
    }
    let paused = pause(server, member, PAUSE).await.map_err(|why| match why {
        // It answers and does not act: its store is not the one that the document names.
        PeerError::Refused(refusal) if refusal.code == RefusalCode::Unavailable => {
            FailoverError::PeerSetAside { peer: member.name.clone() }
        }
        PeerError::Link(_) | PeerError::Refused(_) | PeerError::Answer(_) | PeerError::Role(_) => {
            unclear(why)
        }
    })?;
    let Paused { role_term, holder, end } = paused;
    if !reached(server, end, PAUSE).await {
        let _ = pause(server, member, Duration::ZERO).await;
        return Err(FailoverError::Lagging { peer: member.name.clone() });
    }
    Ok(Reign { group: claim.group.clone(), holder, term: role_term })
}

async fn pause(server: &Server, member: &Member, length: Duration) -> Result<Paused, PeerError> {
    let at_most_ms = u32::try_from(length.as_millis()).unwrap_or(u32::MAX);
    let path = format!("/v1/groups/{}/pause", server.config.group);
    server.peer.ask(member, &path, &Pause { at_most_ms }).await
}

/// Has the document stored. Where the voters decide they do so first; else the peer stores it first, so
/// that it is standby before this server is active.
async fn agree(
    server: &Server,
    before: &Belief,
    document: RoleDocument,
    agreeing: Option<&Member>,
    forced: bool,
    by: &str,
    renamed: Option<StoreName>,
) -> Result<(), FailoverError> {
    let Server { keeper, me, .. } = server;
    if let Some(name) = renamed {
        // Before anybody else knows the name: a crash leaves a store that nothing names, which is
        // set aside and mended by the same command.
        let id = name.store.clone();
        server.store.rename(id).await.map_err(RoleError::Store)?;
        keeper.renamed(name).await;
    }
    let event = if forced { "role_forced" } else { "role_taken" };
    let GroupRole { active, role_term, .. } = before.role();
    let term = document.groups.get(before.group()).map_or(*role_term, |role| role.role_term);
    let detail = format!("role term {term}, from {active} under {role_term}");
    // The first entry of the reign's log: both servers keep how it began.
    let why = Audit::now(by, event, &me.name, &detail).shared();
    if !reign::by_voters(before.document(), before.group()) {
        return by_hand(server, document, agreeing, forced, why).await;
    }
    match server.change_role(before, document.clone(), why.clone()).await {
        Ok(true) => {}
        Ok(false) => return Err(overtaken(&keeper.belief())),
        Err(
            error @ (ChangeError::Voters(_) | ChangeError::NoThirdVoter | ChangeError::Role(_)),
        ) if forced => {
            tracing::error!(%error, "forced without the voters: the role changes by hand alone now");
            let document = decide::by_hand(document, before.group());
            return by_hand(server, document, agreeing, forced, why).await;
        }
        Err(error) => return Err(error.into()),
    }
    if let Some(member) = agreeing
        && let Err(error) = peer_shown(server, member).await
    {
        // It hears of it by the voters as well.
        tracing::info!(peer = member.name, %error, "the other server was not told directly");
    }
    Ok(())
}

async fn peer_shown(server: &Server, member: &Member) -> Result<(), PeerError> {
    server.peer.show(member, server.keeper.belief().signed()).await.map(drop)
}

/// Has the document stored by the peer, and then here.
async fn by_hand(
    server: &Server,
    document: RoleDocument,
    agreeing: Option<&Member>,
    forced: bool,
    why: Audit,
) -> Result<(), FailoverError> {
    let Server { keeper, peer, signer, .. } = server;
    let minted = signer.sign(&document)?;
    if let Some(member) = agreeing {
        match peer.show(member, &minted).await {
            Ok(theirs) if theirs == minted => {}
            Ok(theirs) => return Err(overtaken(&*keeper.offer(&theirs, &member.name).await?)),
            Err(why) if forced => {
                tracing::warn!(peer = member.name, %why, "forced without the peer's agreement");
            }
            Err(why) => return Err(FailoverError::Unclear { peer: member.name.clone(), why }),
        }
    }
    if keeper.install(minted, document, why).await? {
        return Ok(());
    }
    Err(overtaken(&keeper.belief()))
}

fn overtaken(belief: &Belief) -> FailoverError {
    let GroupRole { active, role_term, .. } = belief.role();
    FailoverError::Overtaken { active: active.clone(), term: *role_term }
}
