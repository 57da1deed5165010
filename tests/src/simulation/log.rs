//! A server's store: one log of what it holds, with what it holds of each journal.

use std::collections::BTreeMap;

/// A transaction, and under which role term it came into this log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) gateway: usize,
    pub(super) seq: u64,
    pub(super) term: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    entries: Vec<Entry>,
    /// The chain after each entry.
    chain: Vec<u64>,
    stored: BTreeMap<usize, u64>,
}

impl Log {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The chain at a position; `None` beyond the end.
    pub(super) fn chain(&self, position: usize) -> Option<u64> {
        match position.checked_sub(1) {
            None => Some(0),
            Some(last) => self.chain.get(last).copied(),
        }
    }

    /// Up to where a journal is stored, without a hole.
    pub(super) fn stored(&self, gateway: usize) -> u64 {
        self.stored.get(&gateway).copied().unwrap_or(0)
    }

    /// What follows a position, a page of it.
    pub(super) fn after(&self, position: usize, most: usize) -> Vec<Entry> {
        self.entries.iter().skip(position).take(most).copied().collect()
    }

    /// Appends what is next of its journal; what is held already is left out.
    pub(super) fn append(&mut self, entry: Entry) {
        if entry.seq != self.stored(entry.gateway) + 1 {
            return;
        }
        let before = self.chain.last().copied().unwrap_or(0);
        let mut digest = Digest(before);
        for number in [index(entry.gateway), entry.seq, entry.term] {
            digest.add(number);
        }
        self.stored.insert(entry.gateway, entry.seq);
        self.entries.push(entry);
        self.chain.push(digest.0);
    }

    /// Up to where two logs are one.
    pub(super) fn common(&self, other: &Self) -> usize {
        let pairs = self.chain.iter().zip(&other.chain);
        pairs.take_while(|(one, other)| one == other).count()
    }

    /// Takes back what comes after a position.
    pub(super) fn truncate(&mut self, position: usize) {
        self.entries.truncate(position);
        self.chain.truncate(position);
        self.stored.clear();
        for entry in &self.entries {
            self.stored.insert(entry.gateway, entry.seq);
        }
    }
}

/// A number of something that is counted in memory.
pub(super) fn index(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// FNV-1a, for traces that are to be the same. No secret, no protection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digest(pub(super) u64);

impl Digest {
    pub(super) const START: Self = Self(0xcbf2_9ce4_8422_2325);

    pub(super) fn add(&mut self, number: u64) {
        for byte in number.to_le_bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
