//! The role: which server of the group is active, under which role term, and what this one may do.
//!
//! - [`decide`]: the one pure function that changes the role document.
//! - [`Belief`]: the pure machine of what this server believes and may therefore do.
//! - [`CoordinationStore`]: where the document is kept; [`Fixed`] keeps it in the server's own store,
//!   [`Voted`](crate::coordination::Voted) by the agreement of three.
//! - [`Keeper`]: the shell around these: verifies, stores, then acts, then tells.
//!
//! Invariants: a document is obeyed only if a server of this site signed it; role terms only rise;
//! a document is durable here before this server acts under it; two servers never believe that
//! they are active under one role term, since their terms are of disjoint classes.

mod belief;
#[cfg(test)]
pub(crate) mod conformance;
mod coordination;
pub mod decide;
mod keeper;
mod signer;

pub use belief::{Belief, Own, State, Verdict};
pub use coordination::{CoordinationError, CoordinationStore, Fixed};
pub use keeper::{Keeper, RoleError};
pub use signer::Signer;

#[cfg(test)]
mod tests;
