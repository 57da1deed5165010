//! The ring's arithmetic: what is held, what may be reused, when it is full. Pure.
//!
//! Two limits at once, entries and bytes; whichever is reached first. Only what is at or below
//! `safe` is ever given up (invariant 3).

use postern_protocol::Seq;
use serde::Serialize;

use super::JournalError;

/// How much the journal may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Capacity {
    /// Entries.
    pub entries: u64,
    /// Bytes of segments; the file is larger by what redb needs around them.
    pub bytes: u64,
}

impl Capacity {
    fn plus(self, other: Self) -> Self {
        Self {
            entries: self.entries.saturating_add(other.entries),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

/// How many entries the smallest journal holds. No append may ask for more at once: it would be refused for ever.
pub const SMALLEST: u64 = 1_000;

/// From here on, in percent of the capacity taken by what is not safe, there is a warning.
pub const FILLING_PERCENT: u64 = 80;

/// A full journal takes appends again when what is not safe is below this, in percent: it does not
/// swing to and fro with every batch that is delivered.
pub const RESUME_PERCENT: u64 = 90;

/// Room above the capacity for what must never be refused: the notes of a settled epoch, without
/// which a full journal could not be emptied.
pub(crate) const NOTES: Capacity = Capacity { entries: 1_024, bytes: 256 * 1024 };

/// A place in the journal: an entry, and the bytes of all segments up to there since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The last entry before it.
    pub seq: Seq,
    /// The bytes before it.
    pub bytes: u64,
}

/// Why appends are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Full {
    /// As many entries as it may hold are not safe.
    Entries,
    /// As many bytes as it may hold are not safe.
    Bytes,
    /// The file system has no room.
    Disk,
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    /// The limits.
    pub capacity: Capacity,
    /// Before the oldest entry that is held.
    pub oldest: Place,
    /// Behind the last entry that may be reused; its bytes are those before the first segment that
    /// may not.
    pub safe: Place,
    /// Behind the last entry.
    pub head: Place,
    /// Why appends are refused, if they are.
    pub full: Option<Full>,
    /// What the largest of the refused appends asks for.
    pub refused: Capacity,
}

impl Ring {
    /// Entries and bytes that are held.
    pub fn held(&self) -> Capacity {
        between(self.oldest, self.head)
    }

    /// Entries and bytes that may not be reused yet.
    pub fn unsafe_part(&self) -> Capacity {
        between(self.safe, self.head)
    }

    /// How much of the capacity may not be reused, in percent of whichever limit is nearer.
    pub fn percent(&self) -> u64 {
        let taken = self.unsafe_part();
        let percent = |taken: u64, of: u64| taken.saturating_mul(100) / of.max(1);
        percent(taken.entries, self.capacity.entries).max(percent(taken.bytes, self.capacity.bytes))
    }

    /// Whether `more` may be appended behind what shares its commit. A refusal lasts until enough
    /// was delivered.
    pub(crate) fn admit(&mut self, shared: Capacity, more: Capacity) -> Result<(), JournalError> {
        let full = self.full.or_else(|| self.lacks_room_for(shared.plus(more)));
        if full.is_some() {
            self.refused.entries = self.refused.entries.max(more.entries);
            self.refused.bytes = self.refused.bytes.max(more.bytes);
        }
        self.full = full;
        full.map_or(Ok(()), |reason| {
            let Capacity { entries: unsafe_entries, .. } = self.unsafe_part();
            Err(JournalError::Full { reason, unsafe_entries, capacity: self.capacity })
        })
    }

    fn lacks_room_for(&self, more: Capacity) -> Option<Full> {
        let (taken, limit) = (self.unsafe_part().plus(more), self.capacity);
        if taken.entries > limit.entries {
            Some(Full::Entries)
        } else if taken.bytes > limit.bytes {
            Some(Full::Bytes)
        } else {
            None
        }
    }

    /// Ends a refusal once there is room enough, for whoever was refused as well.
    pub(crate) fn relax(&mut self, disk_has_room: bool) {
        let over = match self.full {
            None => return,
            Some(Full::Disk) => disk_has_room,
            Some(Full::Entries | Full::Bytes) => {
                self.percent() < RESUME_PERCENT && self.lacks_room_for(self.refused).is_none()
            }
        };
        if over {
            (self.full, self.refused) = (None, Capacity::default());
        }
    }

    /// Whether more is held than may be: delivered history has to make room.
    pub(crate) fn overflows(&self) -> bool {
        let held = self.held();
        held.entries > self.capacity.entries || held.bytes > self.capacity.bytes
    }

    /// Whether what is not safe fits the capacity at all, the room for notes counted in.
    pub(crate) fn fits(&self) -> bool {
        let (taken, limit) = (self.unsafe_part(), self.capacity);
        taken.entries <= limit.entries.saturating_add(NOTES.entries)
            && taken.bytes <= limit.bytes.saturating_add(NOTES.bytes)
    }
}

fn between(from: Place, to: Place) -> Capacity {
    Capacity {
        entries: to.seq.0.saturating_sub(from.seq.0),
        bytes: to.bytes.saturating_sub(from.bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(safe: u64, head: u64) -> Ring {
        let at = |seq| Place { seq: Seq(seq), bytes: seq * 10 };
        Ring {
            capacity: Capacity { entries: 100, bytes: 10_000 },
            oldest: at(0),
            safe: at(safe),
            head: at(head),
            full: None,
            refused: Capacity::default(),
        }
    }

    fn room(entries: u64, bytes: u64) -> Capacity {
        Capacity { entries, bytes }
    }

    #[test]
    fn a_full_ring_stays_full_until_a_tenth_is_free() {
        let mut ring = ring(0, 100);
        assert!(ring.admit(room(0, 0), room(1, 10)).is_err());
        for (safe, full) in [(1, true), (10, true), (11, false)] {
            ring.safe = Place { seq: Seq(safe), bytes: safe * 10 };
            ring.relax(true);
            assert_eq!(ring.full.is_some(), full, "safe at {safe}");
        }
        assert!(ring.admit(room(0, 0), room(11, 110)).is_ok());
    }

    #[test]
    fn whoever_was_refused_finds_room_when_the_refusal_ends() {
        let mut ring = ring(0, 85);
        assert!(ring.admit(room(0, 0), room(20, 0)).is_err());
        ring.relax(true);
        assert!(ring.full.is_some(), "85 of 100 are below nine tenths, but 20 do not fit");
        ring.safe.seq = Seq(5);
        ring.relax(true);
        assert!(ring.admit(room(0, 0), room(20, 0)).is_ok());
    }

    #[test]
    fn whichever_limit_is_nearer_counts() {
        let mut narrow = Ring { capacity: Capacity { entries: 100, bytes: 400 }, ..ring(0, 30) };
        assert_eq!(narrow.percent(), 75);
        let refused = narrow.admit(room(0, 0), room(1, 101));
        assert!(matches!(refused, Err(JournalError::Full { reason: Full::Bytes, .. })));
        assert_eq!(ring(0, 85).percent(), 85);
    }

    #[test]
    fn entries_that_share_a_commit_are_counted_together() {
        let mut ring = ring(0, 90);
        assert!(ring.admit(room(5, 0), room(5, 0)).is_ok());
        assert!(ring.admit(room(10, 0), room(1, 0)).is_err());
    }
}
