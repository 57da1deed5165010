//! The collector: turns any driver into complete, ordered, once-only transactions in the journal.
//!
//! [`Machine`] decides and does no I/O; [`collect`] is the task that owns one driver, carries out
//! what the machine wants and tells it what came of it. One task per bus: a dead controller costs
//! the others nothing.
//!
//! What holds, and is tested: a failed read never moves a cursor; the cursor is committed with what
//! it covers; what was overwritten becomes one exact gap; a log that began anew becomes a new epoch
//! read from its oldest record; a full journal stops the reading and loses nothing.

use std::sync::Arc;
use std::time::Duration;

use postern_protocol::EpochId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::driver::{Doorbell, Driver};
use crate::journal::{Cursor, Journal, JournalError};

mod machine;
mod pull;

pub use machine::{Action, Machine, Mint, Now, Refused, Report, Settings, Stage};

/// Tells how a collector stands, after each step that changed it.
pub trait Observer: Send {
    /// Called with the machine's report and the driver's counters.
    fn observe(&mut self, report: Report, counters: crate::driver::LineCounters);
}

/// Collects from one controller until cancelled or until the journal is dead.
pub async fn collect<D: Driver>(
    mut driver: D,
    cursor: Option<Cursor>,
    settings: Settings,
    journal: Journal,
    doorbell: Arc<Doorbell>,
    mut observer: impl Observer,
    cancel: CancellationToken,
) {
    let mint = || EpochId(uuid::Uuid::new_v4().into_bytes());
    let mut machine = Machine::new(driver.controller(), cursor, settings, Box::new(mint));
    loop {
        let action = machine.action(now());
        observer.observe(machine.report(), driver.counters());
        match action {
            Action::Wait { until } => {
                // Cancel-safety: nothing is in flight while waiting; a permit of the doorbell that
                // arrives at the same time is kept for the next wait.
                tokio::select! {
                    () = cancel.cancelled() => return,
                    () = tokio::time::sleep_until(until) => {}
                    () = doorbell.rung.notified() => machine.on_wake(),
                }
            }
            Action::Read(index) => {
                // Cancel-safety: an abandoned read moved nothing.
                let result = tokio::select! {
                    () = cancel.cancelled() => return,
                    result = driver.read(index) => result,
                };
                machine.on_read(result, now());
            }
            Action::FindBounds => {
                // Cancel-safety: as above.
                let result = tokio::select! {
                    () = cancel.cancelled() => return,
                    result = driver.bounds() => result,
                };
                machine.on_bounds(result, now());
            }
            Action::Commit(append) => {
                // Awaited to its end: whether it was cancelled or not, the commit counts.
                let result = match journal.append(append).await {
                    Ok(_) => Ok(()),
                    Err(JournalError::Full { .. }) => Err(Refused::Full),
                    Err(_) => return,
                };
                machine.on_commit(result, now());
            }
        }
    }
}

fn now() -> Now {
    Now { monotonic: Instant::now(), utc: clock::utc() }
}

/// How long a collector waits when the journal is full, before it looks again.
const FULL_RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
