//! What was seen on a line, for `postern bus stats`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postern_protocol::link::gateway::{Counters, Peer};
use tokio::time::Instant;

use crate::driver::Station;

/// One station.
#[derive(Clone, Copy, Debug, Default)]
pub struct StationStats {
    /// What was counted.
    pub counters: Counters,
    /// How long the line was taken by it and for it.
    pub busy: Duration,
    /// How many bytes of events it is asked for at a time.
    pub room: u16,
    /// Whether there is a secured session.
    pub is_sealed: bool,
    /// Whether it answered the last question.
    pub is_alive: bool,
}

/// A line.
#[derive(Clone, Debug)]
pub struct BusStats {
    /// Since when it is counted.
    pub since: Instant,
    /// The stations, in the order of the configuration.
    pub stations: Vec<StationStats>,
}

impl BusStats {
    /// Which part of the time the line was in use, 0 to 1; 0 over TCP, where it cannot be told.
    pub fn utilisation(&self, now: Instant) -> f64 {
        let busy: Duration = self.stations.iter().map(|station| station.busy).sum();
        let all = now.saturating_duration_since(self.since).as_secs_f64();
        if all > 0.0 { (busy.as_secs_f64() / all).min(1.0) } else { 0.0 }
    }
}

/// The same, shared between the line's task and whoever asks.
#[derive(Clone, Debug)]
pub struct Stats(Arc<Mutex<BusStats>>);

impl Stats {
    /// A line with so many stations that nothing was seen of.
    pub fn new(stations: usize) -> Self {
        let stations = vec![StationStats::default(); stations];
        Self(Arc::new(Mutex::new(BusStats { since: Instant::now(), stations })))
    }

    fn lock(&self) -> MutexGuard<'_, BusStats> {
        // Numbers are old after a panic elsewhere, never half.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it stands.
    pub fn look(&self) -> BusStats {
        self.lock().clone()
    }

    pub(super) fn note(&self, station: Station, peer: &Peer, busy: Duration) {
        if let Some(line) = self.lock().stations.get_mut(station) {
            *line = StationStats {
                counters: peer.counters(),
                busy,
                room: peer.room(),
                is_sealed: peer.is_sealed(),
                is_alive: peer.is_alive(),
            };
        }
    }
}
