//! The ledger of a site, shared by its boards; and what follows when it cannot be written.

use std::sync::Mutex;

use tokio_util::sync::CancellationToken;

use super::{Stopped, lock};
use crate::ledger::{Ledger, LedgerError, Line, Truth};

/// Keeps the truth for all boards of a site.
#[derive(Debug)]
pub(super) struct Keeper {
    ledger: Mutex<Ledger>,
    failure: Mutex<Option<LedgerError>>,
    stop: CancellationToken,
}

impl Keeper {
    pub(super) fn new(ledger: Ledger, stop: CancellationToken) -> Self {
        Self { ledger: Mutex::new(ledger), failure: Mutex::new(None), stop }
    }

    pub(super) fn ledger(&self) -> (String, u64) {
        let ledger = lock(&self.ledger);
        (ledger.path().display().to_string(), ledger.lines())
    }

    /// A simulator that cannot keep the truth is of no use: it stops, and says so once.
    pub(super) fn fail(&self, error: LedgerError) -> Stopped {
        let mut failure = lock(&self.failure);
        if failure.is_none() {
            tracing::error!(%error, "the ledger failed; stopping");
            *failure = Some(error);
        }
        self.stop.cancel();
        Stopped
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    pub(super) fn take_failure(&self) -> Option<LedgerError> {
        lock(&self.failure).take()
    }
}

impl Truth for &Keeper {
    fn keep(&mut self, line: &Line) -> Result<(), LedgerError> {
        lock(&self.ledger).keep(line)
    }
}
