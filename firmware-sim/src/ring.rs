//! The event log of a board: a ring that drops a chunk of its oldest records when it is full.
//!
//! Pure; used by [`crate::controller`]. Facts it copies from real boards: about 200,000 records,
//! the 2,048 oldest are dropped at once when it is full, the index rises for ever, and an index is
//! answered with the record, with "overwritten" or with "no such event yet".
//!
//! Indices run from 1 to 0xfffffffe and then begin again at 1: 0 and 0xffffffff mean "oldest" and
//! "newest" to `get-event`, so no record can have them. What real boards do there nobody has
//! reported; this is the reading under which every record can be asked for.
//!
//! Invariants: stored records have consecutive indices; at most `capacity` are stored.

use std::collections::VecDeque;

use postern_protocol::uhppote::message::response::GetEvent;
use postern_protocol::uhppote::{NEWEST, OLDEST};

/// The highest index that a record can have.
pub const LAST_INDEX: u32 = NEWEST - 1;

/// What an index stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// A stored record.
    Record(GetEvent),
    /// Nothing yet: past the newest, or an empty log.
    Nothing,
    /// Recorded once, overwritten since.
    Overwritten,
}

/// The ring.
#[derive(Clone, Debug)]
pub struct Ring {
    capacity: usize,
    chunk: usize,
    next: u32,
    /// How many records before the oldest there ever were.
    dropped: u32,
    records: VecDeque<GetEvent>,
}

impl Ring {
    /// An empty ring. `capacity` and `chunk` of 0 count as 1, a chunk above the capacity as the
    /// capacity; a `first` that no record can have counts as 1.
    pub fn new(capacity: usize, chunk: usize, first: u32) -> Self {
        let capacity = capacity.max(1);
        let next = if (1..=LAST_INDEX).contains(&first) { first } else { 1 };
        let chunk = chunk.clamp(1, capacity);
        Self { capacity, chunk, next, dropped: next - 1, records: VecDeque::new() }
    }

    /// Empties it; the next record is number 1 again.
    pub fn restart(&mut self) {
        *self = Self::new(self.capacity, self.chunk, 1);
    }

    /// The index that the next record will have.
    pub fn next_index(&self) -> u32 {
        self.next
    }

    /// Appends a record under the next index, whatever index it came with.
    pub fn push(&mut self, mut event: GetEvent) {
        event.index = self.next;
        if self.records.len() >= self.capacity {
            self.records.drain(..self.chunk);
            let dropped = u32::try_from(self.chunk).unwrap_or(u32::MAX);
            self.dropped = self.dropped.saturating_add(dropped);
        }
        self.records.push_back(event);
        self.next = if self.next >= LAST_INDEX { 1 } else { self.next + 1 };
    }

    /// What `get-event` of this index finds.
    pub fn read(&self, index: u32) -> Read {
        let (Some(oldest), Some(newest)) = (self.records.front(), self.records.back()) else {
            return Read::Nothing;
        };
        match index {
            OLDEST => return Read::Record(*oldest),
            NEWEST => return Read::Record(*newest),
            _ => {}
        }
        let ahead = usize::try_from(steps(oldest.index, index)).unwrap_or(usize::MAX);
        if let Some(record) = self.records.get(ahead) {
            return Read::Record(*record);
        }
        // Half of the circle at most lies in the past; what is further back is the future.
        if steps(index, oldest.index) <= self.dropped.min(LAST_INDEX / 2) {
            Read::Overwritten
        } else {
            Read::Nothing
        }
    }

    /// The oldest stored record.
    pub fn oldest(&self) -> Option<&GetEvent> {
        self.records.front()
    }

    /// The newest record.
    pub fn newest(&self) -> Option<&GetEvent> {
        self.records.back()
    }

    /// How many records are stored.
    pub fn stored(&self) -> usize {
        self.records.len()
    }

    /// How many it can store.
    pub fn capacity(&self) -> usize {
        self.capacity
    }
}

/// How many steps forward it is from one index to another.
fn steps(from: u32, to: u32) -> u32 {
    if to >= from { to - from } else { LAST_INDEX - from + to }
}

#[cfg(test)]
mod tests;
