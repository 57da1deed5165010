//! The change of the active server by an operator's hand, carried out by the server that is to
//! become active.
//!
//! The order is what makes it safe under a crash at any point: the present active server stores
//! the new document and is standby from then on; only then the new one stores it; only then it
//! acts. If the new one dies in between, nobody is active, and repeating the command mends that:
//! the new one finds the document at its peer and takes it. There is never a moment in which two
//! believe that they are active under one role term, and the higher term wins where they meet.

use postern_protocol::RoleTerm;
use postern_protocol::role::RoleDocument;

use crate::clock;
use crate::peer::{Peer, PeerError};
use crate::role::decide::{self, Claim, Command, Denied};
use crate::role::{CoordinationStore, Keeper, RoleError, Signer, State};
use crate::site::{Member, SiteError};
use crate::store::Audit;

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
    /// There are no higher role terms.
    #[error("there is no higher role term")]
    NoTerm,
    /// The document could not be stored.
    #[error("{0}")]
    Role(#[from] RoleError),
    /// The document could not be signed.
    #[error("{0}")]
    Sign(#[from] SiteError),
}

impl FailoverError {
    /// What to do next.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Unreachable { .. } | Self::Stranger(_) => {
                "mend the link, or, if that server is really gone, repeat with --force: what it \
                 alone holds is then missing here until the gateways send it again"
            }
            Self::Denied(Denied::StoreReplaced { .. }) => {
                "repeat with --force if this server is to go on without what its former store held"
            }
            Self::Unclear { .. } | Self::Overtaken { .. } | Self::Starting => "repeat the command",
            Self::Denied(_) | Self::NoTerm | Self::Role(_) | Self::Sign(_) => return None,
        })
    }
}

/// Makes this server the active one; `false` where it was already. The new role term lies above
/// `floor` as well: a restored store does not know the highest.
pub async fn take_over<C: CoordinationStore>(
    keeper: &Keeper<C>,
    peer: &Peer,
    signer: &Signer,
    me: &Member,
    floor: RoleTerm,
    force: bool,
    by: &str,
) -> Result<bool, FailoverError> {
    let before = keeper.belief().role().role_term;
    let member = peer.member();
    let asked = match &member {
        Some(member) => Some((member, peer.exchange(member, keeper).await)),
        None => None,
    };
    let belief = keeper.belief();
    match belief.state() {
        // It may have become active just now, by a document that its peer kept for it.
        State::Active => return Ok(belief.role().role_term != before),
        State::Starting => return Err(FailoverError::Starting),
        State::Standby | State::SetAside => {}
    }
    let agreeing = match asked {
        Some((member, Ok(()))) => Some(member),
        Some((_, Err(_))) if force => None,
        Some((member, Err(why))) => {
            return Err(FailoverError::Unreachable { peer: member.name.clone(), why });
        }
        None if !force && belief.role().active != me.name => {
            return Err(FailoverError::Stranger(belief.role().active.clone()));
        }
        None => None,
    };

    // The exchange has brought in the peer's document where it was higher, and gateways show us
    // what they have seen, so our own is the highest that is known here.
    let present = belief.role().role_term;
    let claim = Claim {
        group: belief.group().to_owned(),
        to: belief.me().clone(),
        ordinal: me.ordinal,
        term: decide::next_term(me.ordinal, present.max(floor)).ok_or(FailoverError::NoTerm)?,
        at: clock::now(),
    };
    let command = if force { Command::Force(claim) } else { Command::HandOver(claim) };
    let document = decide::decide(belief.document(), &command)?;
    let minted = signer.sign(&document)?;

    if let Some(member) = agreeing {
        match peer.show(member, &minted).await {
            Ok(theirs) if theirs == minted => {}
            Ok(theirs) => {
                let belief = keeper.offer(&theirs, &member.name).await?;
                return Err(overtaken(belief.document(), belief.group()));
            }
            Err(why) if force => {
                tracing::warn!(peer = member.name, %why, "forced without the peer's agreement");
            }
            Err(why) => return Err(FailoverError::Unclear { peer: member.name.clone(), why }),
        }
    }
    let event = if force { "role_forced" } else { "role_taken" };
    let detail = format!("from {} under role term {present}", belief.role().active);
    if keeper.install(minted, document, Audit::now(by, event, &me.name, &detail)).await? {
        Ok(true)
    } else {
        let belief = keeper.belief();
        Err(overtaken(belief.document(), belief.group()))
    }
}

fn overtaken(document: &RoleDocument, group: &str) -> FailoverError {
    document.groups.get(group).map_or(FailoverError::NoTerm, |role| FailoverError::Overtaken {
        active: role.active.clone(),
        term: role.role_term,
    })
}
