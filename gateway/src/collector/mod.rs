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

use postern_protocol::EpochId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::driver::{Doorbell, Driver};
use crate::journal::{Append, Cursor, EpochRecord, Journal, JournalError};
use held::{Circumstances, Plan};

mod held;
mod machine;
mod pull;

pub(crate) use held::release_all;
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
    let controller = driver.controller();
    let start = |cursor| {
        let mint = || EpochId(uuid::Uuid::new_v4().into_bytes());
        Machine::new(controller, cursor, settings, Box::new(mint))
    };
    let mut machine = start(cursor);
    let mut state = journal.state();
    loop {
        machine.set_room(state.borrow().ring.full.is_none());
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
            Action::AwaitRoom => {
                let room =
                    state.wait_for(|state| state.ring.full.is_none() || state.dead.is_some());
                // Cancel-safety: nothing is in flight while waiting for a level.
                let result = tokio::select! {
                    () = cancel.cancelled() => return,
                    result = room => result.map(|_| ()),
                };
                if result.is_err() {
                    return;
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
                let before = machine.report().cursor;
                let result = match commit(&journal, before, append, machine.at_the_end()).await {
                    Ok(Committed::AsItIs) => Ok(()),
                    Ok(Committed::Otherwise(cursor)) => {
                        machine = start(cursor);
                        continue;
                    }
                    Err(JournalError::Full { .. }) => Err(Refused::Full),
                    Err(error) => {
                        tracing::error!(%controller, %error, "collecting stops");
                        return;
                    }
                };
                machine.on_commit(result, now());
            }
        }
    }
}

enum Committed {
    AsItIs,
    /// Something else was appended instead; the controller is looked at again from here.
    Otherwise(Option<Cursor>),
}

/// Commits a pull; where entries of its controller are held, what belongs before it first.
async fn commit(
    journal: &Journal,
    before: Option<Cursor>,
    pull: Append,
    exhausted: bool,
) -> Result<Committed, JournalError> {
    if journal.state().borrow().held == 0 {
        return journal.append(pull).await.map(|_| Committed::AsItIs);
    }
    let controller = pull.controller;
    let rows = journal.reader().held(controller, None, held::CHUNK)?;
    let began =
        |epoch: &EpochRecord| epoch.epoch == pull.cursor.epoch && epoch.predecessor.is_none();
    let met_anew =
        pull.opens.as_ref().is_some_and(began) || journal.reader().epochs()?.iter().any(began);
    let of = Circumstances { met_anew, exhausted };
    match held::plan(&pull, of, &rows) {
        Plan::Commit { drops } => {
            let pull = Append { drops_held: drops, ..pull };
            journal.append(pull).await.map(|_| Committed::AsItIs)
        }
        Plan::Release { upto } => {
            held::release(journal, controller, before, upto).await.map(Committed::Otherwise)
        }
        Plan::CutAt(at) => {
            let part = held::cut_at(pull, at);
            let cursor = part.cursor;
            journal.append(part).await.map(|_| Committed::Otherwise(Some(cursor)))
        }
    }
}

fn now() -> Now {
    Now { monotonic: Instant::now(), utc: clock::utc() }
}

#[cfg(test)]
mod tests;
