//! What a line's thread and the hands in it have together.

use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Talker;
use super::error::LineError;
use super::wire::Wire;

/// What a line's thread and its handles share.
#[derive(Debug)]
pub(super) struct Shared<T> {
    pub(super) state: Mutex<State<T>>,
    pub(super) began: Instant,
    pub(super) waker: OwnedFd,
    pub(super) stop: AtomicBool,
}

#[derive(Debug)]
pub(super) struct State<T> {
    pub(super) wire: Wire,
    pub(super) stations: Vec<T>,
    /// Bytes lost in front of a host that does not read, or of none.
    pub(super) dropped: u64,
}

impl<T: Talker> State<T> {
    pub(super) fn advance(&mut self, now: Duration) {
        self.wire.advance(now, &mut self.stations);
    }

    pub(super) fn no_station(&self, station: usize) -> LineError {
        LineError::NoStation { station, stations: self.stations.len() }
    }
}

impl<T> Shared<T> {
    /// A station that panicked takes its thread with it; what is left can still be looked at.
    pub(super) fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wake(&self) {
        // It fails only when the thread has very many wake-ups before it already.
        let _ = rustix::io::write(&self.waker, &1_u64.to_ne_bytes());
    }
}
