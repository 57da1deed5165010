//! What gateways say of their journals with each request: how full they are, and how long they last.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use super::Server;
use crate::replication::FULL;
use crate::replication::outlook::Filling;

/// How long it counts that a gateway said its journal is full: it says so with each request.
const FULL_COUNTS: Duration = Duration::from_secs(30);

/// How long what it said counts for how long the site can go on.
const PACE_COUNTS: Duration = Duration::from_hours(1);

/// Of how many gateways that is kept.
const MAX_FULL: usize = 4_096;

/// What a gateway said of its journal, and when.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    percent: u8,
    lasts_s: Option<u32>,
    at: Instant,
}

impl Said {
    fn counts(&self, now: Instant) -> bool {
        self.ago(now) < FULL_COUNTS
    }

    fn ago(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at)
    }

    fn filling(&self, gateway: &str, now: Instant) -> Filling {
        let ago = self.ago(now).as_secs();
        let lasts_s = self.lasts_s.map(|lasts| u64::from(lasts).saturating_sub(ago));
        Filling { gateway: gateway.to_owned(), percent: self.percent, lasts_s }
    }
}

impl Server {
    /// How full the fullest gateway's journal is, in percent; what was said long ago does not count.
    pub fn fullest(&self, now: Instant) -> u8 {
        let full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        full.values().filter(|said| said.counts(now)).map(|said| said.percent).max().unwrap_or(0)
    }

    /// What each gateway said last of its journal. One that has nothing to send says nothing for long.
    pub fn filling(&self, now: Instant) -> Vec<Filling> {
        let full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = full.iter().filter(|(_, said)| said.ago(now) < PACE_COUNTS);
        recent.map(|(gateway, said)| said.filling(gateway, now)).collect()
    }

    /// A gateway says how full its journal is.
    pub(super) fn note_full(&self, gateway: &str, percent: u8, lasts_s: Option<u32>) {
        let percent = percent.min(100);
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        // Names of gateways that are gone.
        if full.len() >= MAX_FULL {
            full.retain(|_, said| said.counts(now));
        }
        if full.len() >= MAX_FULL && !full.contains_key(gateway) {
            return;
        }
        full.insert(gateway.to_owned(), Said { percent, lasts_s, at: now });
        drop(full);
        if percent >= FULL {
            self.news.notify_one();
        }
    }
}
