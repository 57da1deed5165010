//! The collector: turns any driver into complete, ordered, once-only transactions in the journal.
//!
//! What holds, and is tested: a failed read never moves a cursor; the cursor is committed with what
//! it covers; what was overwritten becomes one exact gap; a log that began anew becomes a new epoch
//! read from its oldest record; a full journal stops the reading and loses nothing.
//!
//! - [`bus`](collect): the task that owns one driver and its controllers. One task per bus: a dead
//!   controller costs the other buses nothing.
//! - [`Machine`]: decides for one controller, and does no I/O.
//! - `turn`: whose turn it is on a line that several share.
//! - `pull`: what is read together and committed together.
//! - `commit`, `held`: what belongs before a pull after a salvage.
//! - `circle`: where a log lies relative to an index.
//! - `fold`: the hour that the end of summer time repeats.
//! - `clock`: how far a controller's clock is off, and whether it may be set.

mod bus;
mod circle;
mod clock;
mod commit;
mod fold;
mod held;
mod machine;
mod now;
mod pull;
mod turn;

pub use bus::{Line, Observer, Orderer, Orders, OwnClock, collect, orders};
pub(crate) use clock::MAX_STEP_S;
pub use clock::{ClockReport, ClockSettings, ClockState, Done, NotSet, Order, Outcome};
pub(crate) use held::release_all;
pub use machine::{Action, Machine, Mint, Refused, Report, Settings, Stage};
pub use now::Now;

#[cfg(test)]
mod tests;
