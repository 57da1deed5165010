//! The one function that changes a role document: pure, so that each of its rules is a test.
//!
//! Role terms without a shared coordination store: the member with ordinal *k* uses only the terms
//! *t* with (*t* − 1) mod [`MAX_MEMBERS`] = *k*. The first server (ordinal 0) has 1, 3, 5, …, the
//! second 2, 4, 6, …. So two failovers that were forced apart from each other can never mint one
//! role term with two holders, and the higher term wins when they meet.

use postern_protocol::role::{RoleDocument, StoreName};
use postern_protocol::{RoleTerm, Timestamp};

use crate::site::MAX_MEMBERS;

/// The highest role term: stores count in signed 64-bit integers.
pub const MAX_TERM: RoleTerm = RoleTerm(i64::MAX.cast_unsigned());

/// How many classes of role terms there are.
const CLASSES: u64 = MAX_MEMBERS as u64;

/// The first role term of a member.
pub const fn first_term(ordinal: u64) -> RoleTerm {
    RoleTerm(ordinal + 1)
}

/// Whether a member may mint this role term.
pub const fn owns_term(ordinal: u64, term: RoleTerm) -> bool {
    term.0 > 0 && (term.0 - 1) % CLASSES == ordinal
}

/// The member's lowest role term above `floor`; `None` where there are no more numbers.
pub fn next_term(ordinal: u64, floor: RoleTerm) -> Option<RoleTerm> {
    (1..=CLASSES)
        .filter_map(|step| floor.0.checked_add(step).map(RoleTerm))
        .find(|term| owns_term(ordinal, *term) && *term <= MAX_TERM)
}

/// A server's claim to the active role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// For which group.
    pub group: String,
    /// The claiming server with its store.
    pub to: StoreName,
    /// Its number among the members.
    pub ordinal: u64,
    /// Under which role term.
    pub term: RoleTerm,
    /// When, by its clock.
    pub at: Timestamp,
}

/// What is asked of the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The active server hands the role over, or is known to have it no more.
    HandOver(Claim),
    /// An operator takes the role for a server although the active one cannot be asked.
    Force(Claim),
}

/// Why a command does not fit the document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum Denied {
    #[error("the role document knows no group {group}")]
    NoGroup { group: String },
    #[error("server {server} is active already, under role term {term}")]
    AlreadyActive { server: String, term: RoleTerm },
    #[error("role term {got} is not above the present one ({present})")]
    TermNotAbove { got: RoleTerm, present: RoleTerm },
    #[error("role term {got} is not one that the member with ordinal {ordinal} may use")]
    TermNotOwn { got: RoleTerm, ordinal: u64 },
    #[error(
        "the role document names server {server} with store {named}, not its present {present}"
    )]
    StoreReplaced { server: String, named: String, present: String },
}

/// The document after the command, or why not.
pub fn decide(document: &RoleDocument, command: &Command) -> Result<RoleDocument, Denied> {
    let (Command::HandOver(claim) | Command::Force(claim)) = command;
    let Some(present) = document.groups.get(&claim.group) else {
        return Err(Denied::NoGroup { group: claim.group.clone() });
    };
    if present.active == claim.to.server {
        if present.in_sync.contains(&claim.to) {
            let server = present.active.clone();
            return Err(Denied::AlreadyActive { server, term: present.role_term });
        }
        // Its disk was replaced or restored: what it held is not known, so an operator has to say so.
        if let Command::HandOver(_) = command {
            let named = present.in_sync.iter().find(|store| store.server == claim.to.server);
            return Err(Denied::StoreReplaced {
                server: claim.to.server.clone(),
                named: named.map_or_else(|| "none".to_owned(), |store| store.store.clone()),
                present: claim.to.store.clone(),
            });
        }
    }
    if claim.term <= present.role_term {
        return Err(Denied::TermNotAbove { got: claim.term, present: present.role_term });
    }
    if !owns_term(claim.ordinal, claim.term) {
        return Err(Denied::TermNotOwn { got: claim.term, ordinal: claim.ordinal });
    }
    let mut next = document.clone();
    if let Some(role) = next.groups.get_mut(&claim.group) {
        role.active.clone_from(&claim.to.server);
        role.role_term = claim.term;
        role.in_sync = vec![claim.to.clone()];
        role.copies = 1;
        role.since = claim.at;
    }
    Ok(next)
}
