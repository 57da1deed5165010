//! Who is alive, and how sure others may be of it: the pure machines behind automatic failover.
//!
//! - [`timing`]: every period and time-out, in profiles that fit together.
//! - [`Lease`]: what the active server believes of its own lease; [`Ledger`]: what the voters' leader
//!   remembers of renewals.
//! - [`Watch`]: what one voter sees of another.
//! - [`judge`]: the leader's verdict on a claim that a server makes by itself.
//! - [`Guard`]: what one server has to do now: renew, claim, or go on without a lease.
//!
//! Nothing here reads a clock, knows a socket or waits: every input carries the time, and whoever owns
//! the sockets asks what is to be done and until when it may sleep.
//!
//! Invariants: a lease counts from *before* its renewal was sent, and silence from *after* the last
//! renewal was heard, so the holder stops believing first; a leader that is new has heard nothing, and
//! waits as long as any holder may still believe; nothing is fenced by any of this: role terms do that.

mod guard;
mod instant;
mod judge;
mod lease;
mod sight;
pub mod timing;

pub use guard::{ClaimAnswer, Guard, Order, RenewalAnswer, Standing};
pub use instant::BootInstant;
pub use judge::{Case, NeverBecause, NotYetBecause, Verdict, judge, second};
pub use lease::{Lease, Ledger, Silence};
pub use sight::{Sight, Watch};
pub use timing::Timing;
