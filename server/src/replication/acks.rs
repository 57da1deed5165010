//! What the active server knows of other stores, and what a gateway may therefore forget. Pure: time
//! is given.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use postern_protocol::role::{GroupRole, StoreName};
use postern_protocol::{JournalId, RoleTerm, Seq};

use crate::role::decide::Proof;
use crate::store::Safe;
use crate::store::change::Position;

/// A store that has not asked for this long is not there: it asks again within a long poll's time.
pub(super) const SILENT: Duration = Duration::from_secs(5);

/// The most marks that are kept of a journal. What is left out makes `safe` lower for a while.
const MAX_MARKS: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub struct Acks {
    term: RoleTerm,
    stores: BTreeMap<StoreName, Ack>,
    marks: BTreeMap<JournalId, VecDeque<Stored>>,
}

/// What another store has said.
#[derive(Clone, Copy, Debug)]
struct Ack {
    confirmed: Position,
    seen: Instant,
    /// Where the log ended when its confirmations began to be waited for.
    since: Option<Position>,
    /// Whether it was found to hold less than it had confirmed.
    fell: bool,
}

/// At which position of the log a journal was stored up to where.
#[derive(Clone, Copy, Debug)]
struct Stored {
    position: Position,
    seq: Seq,
}

impl Acks {
    /// What is known in a reign; what an earlier one knew is of another log.
    pub fn of_reign(&mut self, term: RoleTerm) -> &mut Self {
        if self.term != term {
            *self = Self { term, ..Self::default() };
        }
        self
    }

    /// A store asked for what follows a position: it holds everything up to there.
    pub fn confirm(&mut self, store: &StoreName, position: Position, now: Instant) {
        let fresh = Ack { confirmed: position, seen: now, since: None, fell: false };
        let ack = self.stores.entry(store.clone()).or_insert(fresh);
        ack.seen = now;
        if position < ack.confirmed {
            (ack.since, ack.fell) = (None, true);
        }
        ack.confirmed = position;
    }

    /// Begins to wait for a store's confirmations, with the log ending at `head`.
    pub fn count(&mut self, store: &StoreName, head: Position) {
        if let Some(ack) = self.stores.get_mut(store) {
            ack.since.get_or_insert(head);
            ack.fell = false;
        }
    }

    /// Whether a store was found to hold less than it had confirmed, and is not counted anew since.
    pub fn fell(&self, store: &StoreName) -> bool {
        self.stores.get(store).is_some_and(|ack| ack.fell)
    }

    /// No longer waits for stores that are not there.
    pub fn drop_silent(&mut self, now: Instant) {
        for ack in self.stores.values_mut() {
            if now.saturating_duration_since(ack.seen) >= SILENT {
                ack.since = None;
            }
        }
    }

    /// What shows that a store holds everything.
    pub fn proof(&self, store: &StoreName) -> Option<Proof> {
        let ack = self.stores.get(store)?;
        Some(Proof { confirmed: ack.confirmed, since: ack.since? })
    }

    /// How far a store has confirmed the log, and how long ago it was last there.
    pub fn of(&self, store: &StoreName, now: Instant) -> Option<(Position, Duration)> {
        let ack = self.stores.get(store)?;
        Some((ack.confirmed, now.saturating_duration_since(ack.seen)))
    }

    /// The store of a server that was last there, and how long ago that was.
    pub fn present(&self, server: &str, now: Instant) -> Option<(&StoreName, Duration)> {
        self.stores
            .iter()
            .filter(|(name, _)| name.server == server)
            .map(|(name, ack)| (name, now.saturating_duration_since(ack.seen)))
            .min_by_key(|(_, ago)| *ago)
    }

    /// Every store that was there, how far it has confirmed the log, and how long ago.
    pub fn followers(&self, now: Instant) -> Vec<(StoreName, Position, Duration)> {
        let follower = |(name, ack): (&StoreName, &Ack)| {
            (name.clone(), ack.confirmed, now.saturating_duration_since(ack.seen))
        };
        self.stores.iter().map(follower).collect()
    }

    /// The servers that were ever there.
    pub fn servers(&self) -> Vec<String> {
        let mut servers: Vec<String> =
            self.stores.keys().map(|store| store.server.clone()).collect();
        servers.dedup();
        servers
    }

    /// A journal is stored up to `seq` by the commit at `position`.
    pub fn mark(&mut self, journal: JournalId, position: Position, seq: Seq) {
        let floor = self.floor();
        let marks = self.marks.entry(journal).or_default();
        // What lies below the highest that is confirmed says nothing any more.
        while marks.get(1).is_some_and(|next| next.position <= floor) {
            marks.pop_front();
        }
        if marks.back().is_none_or(|last| last.position < position && last.seq <= seq) {
            if marks.len() == MAX_MARKS {
                marks.remove(MAX_MARKS / 2);
            }
            marks.push_back(Stored { position, seq });
        }
    }

    /// The lowest position that any store has confirmed.
    fn floor(&self) -> Position {
        self.stores.values().map(|ack| ack.confirmed).min().unwrap_or(0)
    }

    /// What may be forgotten of a journal by the role document: what every store that counts holds.
    pub fn safe(&self, role: &GroupRole, me: &StoreName, journal: JournalId) -> Safe {
        if role.in_sync.len() < usize::from(role.copies) {
            return Safe::Known(Seq(0));
        }
        let mut confirmed: Option<Position> = None;
        let waited_for = self.stores.iter().filter(|(_, ack)| ack.since.is_some());
        for store in
            role.in_sync.iter().filter(|store| *store != me).chain(waited_for.map(|(name, _)| name))
        {
            let held = self.stores.get(store).map_or(0, |ack| ack.confirmed);
            confirmed = Some(confirmed.map_or(held, |lowest| lowest.min(held)));
        }
        let Some(confirmed) = confirmed else { return Safe::Stored };
        let held = self.marks.get(&journal).and_then(|marks| {
            marks.iter().rev().find(|mark| mark.position <= confirmed).map(|mark| mark.seq)
        });
        Safe::Known(held.unwrap_or(Seq(0)))
    }
}
