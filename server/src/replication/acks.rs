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

/// A store that asks and asks and has not come further for this long, although there is more to be
/// had, does not count as one that follows: its disk is full, or it cannot apply what it gets.
pub(super) const STUCK: Duration = Duration::from_secs(10);

/// A store that lags by this much creeps: it comes further, and more slowly than the site. Where
/// gateways run full for it, it does not count any more than one that is not there.
const CREEPS: Duration = Duration::from_secs(30);

/// A store is counted again once it lags by less.
const FRESH: Duration = Duration::from_secs(5);

/// How often it is noted where the log ended.
const NOTED: Duration = Duration::from_secs(1);

/// A store's confirmations are waited for once it is this near to the log's end, so that gateways
/// can go on forgetting while it fetches what came in a day. One page of small entries.
const NEAR: Position = 4_096;

/// The most marks that are kept of a journal. What is left out makes `safe` lower for a while.
const MAX_MARKS: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub struct Acks {
    term: RoleTerm,
    /// When it was first looked at, soon after the reign began.
    began: Option<Instant>,
    stores: BTreeMap<StoreName, Ack>,
    /// Where the log ended, and when that was seen.
    heads: VecDeque<(Instant, Position)>,
    marks: BTreeMap<JournalId, VecDeque<Stored>>,
}

/// What another store has said.
#[derive(Clone, Copy, Debug)]
struct Ack {
    confirmed: Position,
    seen: Instant,
    /// When it was last found to have come further, or to have everything.
    moved: Instant,
    /// How far it had come then.
    looked: Position,
    /// Where the log ended when its confirmations began to be waited for. As long as this stands,
    /// nothing is safe that the store has not confirmed.
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
    /// What is known in a reign; what an earlier one knew is of another log. `None` for whoever
    /// still works for an earlier one.
    pub fn of_reign(&mut self, term: RoleTerm) -> Option<&mut Self> {
        if term > self.term {
            *self = Self { term, ..Self::default() };
        }
        (term == self.term).then_some(self)
    }

    /// A store asked for what follows a position: it holds everything up to there. Another store of
    /// the same server is one that it no longer has.
    pub fn confirm(&mut self, store: &StoreName, position: Position, now: Instant) {
        self.stores.retain(|held, _| held.server != store.server || held == store);
        let ack = self.stores.entry(store.clone()).or_insert(Ack {
            confirmed: position,
            seen: now,
            moved: now,
            looked: position,
            since: None,
            fell: false,
        });
        ack.seen = now;
        // It is waited for as before: what it no longer holds is not safe.
        ack.fell |= position < ack.confirmed;
        ack.confirmed = position;
    }

    /// Begins to wait for a store's confirmations, with the log ending at `head`. No entry may come
    /// to the log between the two: what was told to be safe until now lies at or below `head`.
    pub fn count(&mut self, store: &StoreName, head: Position) {
        if let Some(ack) = self.stores.get_mut(store)
            && (ack.since.is_none() || ack.fell)
        {
            (ack.since, ack.fell) = (Some(head), false);
        }
    }

    /// Whether a store was found to hold less than it had confirmed, and is not counted anew since.
    pub fn fell(&self, store: &StoreName) -> bool {
        self.stores.get(store).is_some_and(|ack| ack.fell)
    }

    /// Looks who moves, with the log ending at `head`, and no longer waits for stores that do not.
    pub fn look(&mut self, head: Position, now: Instant) {
        self.began.get_or_insert(now);
        let age = |at: Instant| now.saturating_duration_since(at);
        if self.heads.back().is_none_or(|(at, _)| age(*at) >= NOTED) {
            self.heads.push_back((now, head));
        }
        // One that is old enough stays: by it a store is seen to creep.
        while self.heads.get(1).is_some_and(|(at, _)| age(*at) >= CREEPS) {
            self.heads.pop_front();
        }
        for ack in self.stores.values_mut() {
            if ack.confirmed >= head || ack.confirmed != ack.looked {
                (ack.moved, ack.looked) = (now, ack.confirmed);
            }
            if !ack.moves(now) || ack.lag(&self.heads, now) >= CREEPS {
                ack.since = None;
            }
        }
    }

    /// Whether a store comes further, and too slowly.
    pub fn creeps(&self, store: &StoreName, now: Instant) -> bool {
        self.stores.get(store).is_some_and(|ack| ack.lag(&self.heads, now) >= CREEPS)
    }

    /// Whether a store is there and follows the log.
    pub fn moves(&self, store: &StoreName, now: Instant) -> bool {
        self.stores.get(store).is_some_and(|ack| ack.moves(now))
    }

    /// Whether a store does not follow, although there was time enough for it since the reign began.
    pub fn is_gone(&self, store: &StoreName, now: Instant) -> bool {
        let began = self.began.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        began >= SILENT && !self.moves(store, now)
    }

    /// Whether it is time to wait for a store's confirmations.
    pub fn is_to_be_counted(&self, store: &StoreName, head: Position, now: Instant) -> bool {
        self.stores.get(store).is_some_and(|ack| {
            (ack.since.is_none() || ack.fell)
                && head.saturating_sub(ack.confirmed) <= NEAR
                && ack.lag(&self.heads, now) < FRESH
        })
    }

    /// What shows that a store holds everything.
    pub fn proof(&self, store: &StoreName) -> Option<Proof> {
        let ack = self.stores.get(store).filter(|ack| !ack.fell)?;
        Some(Proof { confirmed: ack.confirmed, since: ack.since? })
    }

    /// How far a store has confirmed the log, and how long ago it was last there.
    pub fn of(&self, store: &StoreName, now: Instant) -> Option<(Position, Duration)> {
        let ack = self.stores.get(store)?;
        Some((ack.confirmed, now.saturating_duration_since(ack.seen)))
    }

    /// The store that a server was last there with, and how long ago that was.
    pub fn present(&self, server: &str, now: Instant) -> Option<(&StoreName, Duration)> {
        self.stores
            .iter()
            .find(|(name, _)| name.server == server)
            .map(|(name, ack)| (name, now.saturating_duration_since(ack.seen)))
    }

    /// Every store that was there, how far it has confirmed the log, and how long ago.
    pub fn followers(&self, now: Instant) -> Vec<(StoreName, Position, Duration)> {
        let follower = |(name, ack): (&StoreName, &Ack)| {
            (name.clone(), ack.confirmed, now.saturating_duration_since(ack.seen))
        };
        self.stores.iter().map(follower).collect()
    }

    /// The stores that were there, one of each server.
    pub fn stores(&self) -> impl Iterator<Item = &StoreName> {
        self.stores.keys()
    }

    /// A journal is stored up to `seq` by the commit at `position`.
    pub fn mark(&mut self, journal: JournalId, position: Position, seq: Seq) {
        if seq == Seq(0) {
            return;
        }
        let floor = self.floor();
        let marks = self.marks.entry(journal).or_default();
        // What lies below the highest that is confirmed says nothing any more.
        while marks.get(1).is_some_and(|next| next.position <= floor) {
            marks.pop_front();
        }
        if marks.back().is_none_or(|last| last.position < position && last.seq <= seq) {
            if marks.len() == MAX_MARKS {
                marks.remove(densest(marks));
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

impl Ack {
    fn moves(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.seen) < SILENT
            && now.saturating_duration_since(self.moved) < STUCK
    }

    /// How long ago the log ended behind what is confirmed.
    fn lag(&self, heads: &VecDeque<(Instant, Position)>, now: Instant) -> Duration {
        let missing = heads.iter().find(|(_, head)| *head > self.confirmed);
        missing.map_or(Duration::ZERO, |(at, _)| now.saturating_duration_since(*at))
    }
}

/// Which mark is missed least: the one whose neighbours are nearest to each other. So those that
/// stay lie evenly, and a store that is far behind is never more than a part of that ahead of `safe`.
fn densest(marks: &VecDeque<Stored>) -> usize {
    let span = |at: &usize| {
        let position = |at: usize| marks.get(at).map_or(0, |mark| mark.position);
        position(at + 1).saturating_sub(position(at - 1))
    };
    (1..marks.len().saturating_sub(1)).min_by_key(span).unwrap_or(0)
}

#[cfg(test)]
mod tests;
