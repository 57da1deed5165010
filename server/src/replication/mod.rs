//! The change log on its way from the active server to the other one.
//!
//! - [`wire`]: what the two say to each other.
//! - [`Acks`]: what the active server knows of the other store, and what is therefore safe. Pure.
//! - [`follow`]: the task of a standby: fetches, applies, and by asking for more confirms.
//! - [`tend`]: the task of an active server: counts stores in and out as `role::decide` allows.
//!
//! Invariants: a position is confirmed only by asking for what follows it, so only once it is
//! durable; nothing is safe that a counted store has not confirmed; what a returning server alone
//! holds is merged into the active one before it is taken back here.

mod acks;
mod copy;
mod follow;
pub mod outlook;
#[cfg(test)]
mod pair;
mod recover;
mod tend;
pub mod wire;

pub use acks::Acks;
pub use follow::{Phase, Progress, follow, reached};
pub use tend::{Change, FULL, Step, next, tend};
