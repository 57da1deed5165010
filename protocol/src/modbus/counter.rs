//! Events that a device counts: with a register of 16 bits beside the newest event, or in a ring of registers.
//!
//! The counter is all that shows how many events there were between two looks. It wraps, so it is read as the next
//! number above the one that is known whose lowest bits it shows. A device that has restarted begins anew: a counter that
//! went back by more than a wrap explains is taken for that, and for nothing lost.

use core::fmt;

use super::register::{Block, BlockError, Extent, Table};
use crate::Index;

/// What a counter of 16 bits says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Nothing new.
    Same,
    /// The newest event is this one: one after the last known, or more where some were lost.
    Newest(Index),
    /// It does not go on from there: the device has begun anew.
    Restarted,
}

/// A counter that shows less than before has wrapped if that makes as many events as this or fewer; else the device has
/// begun anew. Readers have a few thousand events a day.
pub const MOST_BEYOND_WRAP: u16 = 4_096;

/// What a counter says that shows the lowest 16 bits of the newest event's number, where `known` was the newest. One that
/// shows less has wrapped if that makes `most` events or fewer.
pub const fn count(known: Index, shown: u16, most: u16) -> Count {
    let (before, step) = (low(known), shown.wrapping_sub(low(known)));
    if step == 0 {
        return Count::Same;
    }
    match known.0.checked_add(step as u64) {
        Some(newest) if shown > before || step <= most => Count::Newest(Index(newest)),
        Some(_) | None => Count::Restarted,
    }
}

const fn low(index: Index) -> u16 {
    let [.., high, low] = index.0.to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// A ring of records in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    table: Table,
    first: u16,
    records: u16,
    words: u16,
}

/// Why there is no such ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingError {
    /// It has no place for two records: the newest is overwritten while it is read.
    TooSmall,
    /// A record cannot be read at once, or the ring goes beyond the table.
    Block(BlockError),
    /// Its counter of 16 bits does not come back to the same place: 65,536 is no multiple of its records.
    Uneven,
    /// It is of bits.
    Bits,
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSmall => f.write_str("a ring has two records at least"),
            Self::Block(error) => write!(f, "a record, or the last of them: {error}"),
            Self::Uneven => f.write_str(
                "65536 has to be a multiple of its records, or nobody knows where the next one is once the counter wraps",
            ),
            Self::Bits => f.write_str("records are in registers, not in bits"),
        }
    }
}

impl core::error::Error for RingError {}

impl Ring {
    /// So many records of so many words each, from `first` on. The counter of the newest record's number begins at 1,
    /// and record 1 is in the first place.
    ///
    /// # Errors
    /// Where no device can have it so.
    pub const fn new(
        table: Table,
        first: u16,
        records: u16,
        words: u16,
    ) -> Result<Self, RingError> {
        if table.is_bits() {
            return Err(RingError::Bits);
        }
        if records < 2 {
            return Err(RingError::TooSmall);
        }
        if 65_536 % records as u32 != 0 {
            return Err(RingError::Uneven);
        }
        if let Err(error) = Block::new(table, first, words) {
            return Err(RingError::Block(error));
        }
        let end = first as u32 + records as u32 * words as u32;
        if end > 65_536 {
            return Err(RingError::Block(BlockError::BeyondEnd));
        }
        Ok(Self { table, first, records, words })
    }

    /// How many records it holds.
    pub const fn records(self) -> u16 {
        self.records
    }

    /// All of its registers.
    pub const fn extent(self) -> Extent {
        // It was seen to be within the table, which may be all of it.
        let last = self.first as u32 + self.records as u32 * self.words as u32 - 1;
        let [.., high, low] = last.to_be_bytes();
        Extent { table: self.table, first: self.first, last: u16::from_be_bytes([high, low]) }
    }

    /// The oldest record that is there for certain while `newest` is: one less than the ring holds, since the next
    /// event overwrites the oldest while it is read.
    pub const fn oldest(self, newest: Index) -> Index {
        let kept = self.records as u64 - 1;
        Index(if newest.0 > kept { newest.0 - kept + 1 } else { 1 })
    }

    /// Where a record is; `None` of number 0, which is before the first.
    pub const fn place(self, index: Index) -> Option<Block> {
        let Some(before) = index.0.checked_sub(1) else { return None };
        // Less than the records, which are 16 bits.
        let [.., high, low] = (before % self.records as u64).to_be_bytes();
        let place = u16::from_be_bytes([high, low]);
        match Block::new(self.table, self.first + place * self.words, self.words) {
            Ok(block) => Some(block),
            Err(_) => None,
        }
    }

    /// As many records from `from` to `newest` as one request reads: how many, and where.
    pub const fn stretch(self, from: Index, newest: Index) -> Option<(u16, Block)> {
        let (Some(first), Some(more)) = (self.place(from), newest.0.checked_sub(from.0)) else {
            return None;
        };
        let until_end = self.records - (first.address() - self.first) / self.words;
        let fit = self.table.most() / self.words;
        let mut count = if until_end < fit { until_end } else { fit };
        if more < count as u64 {
            let [.., high, low] = (more + 1).to_be_bytes();
            count = u16::from_be_bytes([high, low]);
        }
        match Block::new(self.table, first.address(), count * self.words) {
            Ok(block) => Some((count, block)),
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_counter_wraps_and_a_device_begins_anew() {
        for (known, shown, expected) in [
            (0, 0, Count::Same),
            (0, 1, Count::Newest(Index(1))),
            (5, 9, Count::Newest(Index(9))),
            (65_535, 0, Count::Newest(Index(65_536))),
            (65_534, 2, Count::Newest(Index(65_538))),
            (200_000, 3_392, Count::Same),
            (200_000, 3_393, Count::Newest(Index(200_001))),
            (10, 65_535, Count::Newest(Index(65_535))),
            (65_535, 4_095, Count::Newest(Index(69_631))),
            (65_535, 4_096, Count::Restarted),
            (61_440, 0, Count::Newest(Index(65_536))),
            // A reader that had counted far was restarted: once thousands of events were lost that never were.
            (40_000, 0, Count::Restarted),
            (40_000, 1, Count::Restarted),
            (500, 1, Count::Restarted),
            (u64::MAX, 0, Count::Restarted),
        ] {
            let told = count(Index(known), shown, MOST_BEYOND_WRAP);
            assert_eq!(told, expected, "{known} {shown}");
        }
    }

    #[test]
    fn what_is_no_ring_is_told_apart() {
        use Table::{Coil, HoldingRegister, InputRegister};
        for (table, first, records, words, expected) in [
            (HoldingRegister, 0, 16, 6, None),
            (Coil, 0, 16, 6, Some(RingError::Bits)),
            (InputRegister, 0, 1, 6, Some(RingError::TooSmall)),
            (InputRegister, 0, 0, 6, Some(RingError::TooSmall)),
            (InputRegister, 0, 100, 6, Some(RingError::Uneven)),
            (InputRegister, 0, 16, 0, Some(RingError::Block(BlockError::Empty))),
            (InputRegister, 0, 16, 126, Some(RingError::Block(BlockError::TooLong { most: 125 }))),
            (InputRegister, 65_520, 16, 1, None),
            (InputRegister, 65_521, 16, 1, Some(RingError::Block(BlockError::BeyondEnd))),
        ] {
            let made = Ring::new(table, first, records, words).err();
            assert_eq!(made, expected, "{table:?} {first} {records} {words}");
        }
    }

    #[test]
    fn records_are_read_in_stretches_and_the_one_that_is_overwritten_next_is_not() {
        let ring = Ring::new(Table::HoldingRegister, 100, 32, 6).unwrap();
        let block = |address, count| Block::new(Table::HoldingRegister, address, count).unwrap();
        assert_eq!(ring.place(Index(0)), None);
        assert_eq!(ring.place(Index(1)), Some(block(100, 6)));
        assert_eq!(ring.place(Index(33)), Some(block(100, 6)));
        assert_eq!(ring.oldest(Index(0)), Index(1));
        assert_eq!(ring.oldest(Index(31)), Index(1));
        assert_eq!(ring.oldest(Index(32)), Index(2));
        // Twenty records are as much as one request reads; then up to the end; then from the beginning.
        assert_eq!(ring.stretch(Index(2), Index(40)), Some((20, block(106, 120))));
        assert_eq!(ring.stretch(Index(22), Index(40)), Some((11, block(226, 66))));
        assert_eq!(ring.stretch(Index(33), Index(40)), Some((8, block(100, 48))));
        assert_eq!(ring.stretch(Index(41), Index(40)), None);
    }

    proptest! {
        #[test]
        fn a_counter_is_followed_over_any_way(start in any::<u32>(), steps in prop::collection::vec(1..65_536_u64, 1..50)) {
            let mut known = Index(u64::from(start));
            for step in steps {
                // Far only where it does not wrap.
                let wraps = u64::from(low(known)) + step > 65_535;
                let step = if wraps { step % u64::from(MOST_BEYOND_WRAP) + 1 } else { step };
                let newest = Index(known.0 + step);
                let told = count(known, low(newest), MOST_BEYOND_WRAP);
                prop_assert_eq!(told, Count::Newest(newest));
                known = newest;
            }
        }

        /// Stretches from the oldest record on meet each record once, where it is.
        #[test]
        fn stretches_meet_each_record_once(power in 1..12_u32, words in 1..20_u16, newest in 0..1_000_000_u64) {
            let records = 1_u16 << power;
            let ring = Ring::new(Table::InputRegister, 7, records, words);
            prop_assume!(ring.is_ok());
            let (ring, newest) = (ring.unwrap(), Index(newest));
            let mut next = ring.oldest(newest);
            prop_assert!(newest.0 - next.0.min(newest.0) < u64::from(records));
            while next <= newest {
                let (count, block) = ring.stretch(next, newest).unwrap();
                prop_assert_eq!(block.count(), count * words);
                for place in 0..count {
                    let record = ring.place(Index(next.0 + u64::from(place))).unwrap();
                    prop_assert_eq!(block.offset(record), Some(usize::from(place * words)));
                }
                next = Index(next.0 + u64::from(count));
            }
            prop_assert_eq!(next, newest.next());
        }
    }
}
