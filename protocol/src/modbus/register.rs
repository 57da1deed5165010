//! Where something is in a device, and how what is wanted becomes few requests.

use core::fmt;

use serde::{Deserialize, Serialize};

/// How many requests one look at a unit takes at most.
pub const MAX_REQUESTS: usize = 32;

/// One of the four tables of a device. Addresses begin at 0 in each, as they are on the wire: what a manual calls
/// coil 1001 or register 40001 is often one less here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// Bits that can be written: relays, flags.
    Coil,
    /// Bits that cannot: contacts, buttons.
    DiscreteInput,
    /// Words of 16 bits that cannot be written.
    InputRegister,
    /// Words that can.
    HoldingRegister,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Coil, Self::DiscreteInput, Self::InputRegister, Self::HoldingRegister];

    /// The word for it, as it stands in a profile.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Coil => "coil",
            Self::DiscreteInput => "discrete_input",
            Self::InputRegister => "input_register",
            Self::HoldingRegister => "holding_register",
        }
    }

    /// Whether it holds bits, not words.
    pub const fn is_bits(self) -> bool {
        matches!(self, Self::Coil | Self::DiscreteInput)
    }

    /// How many one request may read, by the specification.
    pub const fn most(self) -> u16 {
        if self.is_bits() { 2_000 } else { 125 }
    }
}

/// Some of a table, in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Block {
    table: Table,
    address: u16,
    count: u16,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.extent().fmt(f)
    }
}

/// From one address to another, however far that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Of which table.
    pub table: Table,
    /// The first address.
    pub first: u16,
    /// The last one.
    pub last: u16,
}

impl Extent {
    /// Whether some addresses are in both.
    pub fn overlaps(self, other: Self) -> bool {
        self.table == other.table && self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, first, last } = self;
        let name = table.name();
        if first == last {
            write!(f, "{name} {first}")
        } else {
            write!(f, "{name} {first} to {last}")
        }
    }
}

/// Why there is no such block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockError {
    /// Nothing is in it.
    Empty,
    /// It goes beyond address 65,535.
    BeyondEnd,
    /// No request can read as much at once.
    TooLong {
        /// As much as one can.
        most: u16,
    },
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it holds nothing"),
            Self::BeyondEnd => f.write_str("it goes beyond address 65535"),
            Self::TooLong { most } => write!(f, "one request reads {most} at most"),
        }
    }
}

impl core::error::Error for BlockError {}

impl Block {
    /// So many from `address` on.
    ///
    /// # Errors
    /// Where there is no such block, or no one request reads it: what belongs together has to be read at once.
    pub const fn new(table: Table, address: u16, count: u16) -> Result<Self, BlockError> {
        if count == 0 {
            return Err(BlockError::Empty);
        }
        if count > table.most() {
            return Err(BlockError::TooLong { most: table.most() });
        }
        if address.checked_add(count - 1).is_none() {
            return Err(BlockError::BeyondEnd);
        }
        Ok(Self { table, address, count })
    }

    /// One.
    pub const fn one(table: Table, address: u16) -> Self {
        Self { table, address, count: 1 }
    }

    /// Of which table.
    pub const fn table(self) -> Table {
        self.table
    }

    /// The first address.
    pub const fn address(self) -> u16 {
        self.address
    }

    /// How many.
    pub const fn count(self) -> u16 {
        self.count
    }

    /// The last address.
    pub const fn last(self) -> u16 {
        self.address.saturating_add(self.count - 1)
    }

    /// Whether all of `other` is in it.
    pub const fn contains(self, other: Self) -> bool {
        self.table as u8 == other.table as u8
            && self.address <= other.address
            && other.last() <= self.last()
    }

    /// From where to where it is.
    pub const fn extent(self) -> Extent {
        Extent { table: self.table, first: self.address, last: self.last() }
    }

    /// Where the first of `inner` is in what was read of this one.
    pub const fn offset(self, inner: Self) -> Option<usize> {
        if self.contains(inner) { Some((inner.address - self.address) as usize) } else { None }
    }
}

/// More requests than [`MAX_REQUESTS`] would be needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a look at it takes more than {MAX_REQUESTS} requests")
    }
}

impl core::error::Error for TooMany {}

/// The requests that read all that is wanted, in the order of tables and addresses. Each block that is wanted lies
/// in one of them whole, so it is of one moment. Neighbours share a request; `gap` addresses that nobody wants may
/// lie between them, where the device allows that they are read (many refuse addresses that they do not have).
///
/// # Errors
/// Where that takes too many requests.
pub fn plan(wanted: &[Block], gap: u16) -> Result<heapless::Vec<Block, MAX_REQUESTS>, TooMany> {
    let mut requests: heapless::Vec<Block, MAX_REQUESTS> = heapless::Vec::new();
    let mut last: Option<Block> = None;
    // Without an allocator: the next one in order is looked for each time. There are a few dozen.
    while let Some(next) = next_after(wanted, last) {
        last = Some(next);
        let joined = requests.last().and_then(|before| join(*before, next, gap));
        match (requests.last_mut(), joined) {
            (Some(before), Some(joined)) => *before = joined,
            _ => requests.push(next).map_err(|_| TooMany)?,
        }
    }
    Ok(requests)
}

fn next_after(wanted: &[Block], last: Option<Block>) -> Option<Block> {
    wanted.iter().copied().filter(|block| last.is_none_or(|last| *block > last)).min()
}

/// One request for both, where one may read them.
fn join(before: Block, next: Block, gap: u16) -> Option<Block> {
    if before.table != next.table {
        return None;
    }
    let between = u32::from(next.address).checked_sub(u32::from(before.last()) + 1);
    if between.is_some_and(|between| between > u32::from(gap)) {
        return None;
    }
    let last = before.last().max(next.last());
    let count = (last - before.address).checked_add(1)?;
    Block::new(before.table, before.address, count).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(table: Table, address: u16, count: u16) -> Block {
        Block::new(table, address, count).unwrap()
    }

    #[test]
    fn what_is_no_block_is_told_apart() {
        use Table::{Coil, HoldingRegister};
        for (table, address, count, expected) in [
            (Coil, 0, 0, Err(BlockError::Empty)),
            (Coil, 0, 2_000, Ok(1_999)),
            (Coil, 0, 2_001, Err(BlockError::TooLong { most: 2_000 })),
            (HoldingRegister, 0, 126, Err(BlockError::TooLong { most: 125 })),
            (HoldingRegister, 65_535, 1, Ok(65_535)),
            (HoldingRegister, 65_535, 2, Err(BlockError::BeyondEnd)),
            (HoldingRegister, 65_411, 125, Ok(65_535)),
        ] {
            let made = Block::new(table, address, count).map(Block::last);
            assert_eq!(made, expected, "{table:?} {address} {count}");
        }
    }

    /// The map of a reader with a latch: its flag and its inputs are neighbours, its card is in another table.
    #[test]
    fn neighbours_share_a_request() {
        use Table::{Coil, HoldingRegister};
        let wanted = [
            block(HoldingRegister, 1_000, 5),
            Block::one(Coil, 1_004),
            Block::one(Coil, 1_005),
            Block::one(Coil, 1_001),
            Block::one(Coil, 1_002),
        ];
        let card = block(HoldingRegister, 1_000, 5);
        let close = plan(&wanted, 0).unwrap();
        assert_eq!(close, [block(Coil, 1_001, 2), block(Coil, 1_004, 2), card]);
        assert_eq!(plan(&wanted, 1).unwrap(), [block(Coil, 1_001, 5), card]);
    }

    #[test]
    fn too_many_requests_are_refused_and_none_is_none() {
        let apart: std::vec::Vec<Block> =
            (0..33).map(|number| Block::one(Table::Coil, number * 2)).collect();
        assert_eq!(plan(&apart, 0), Err(TooMany));
        assert_eq!(plan(&apart[..32], 0).unwrap().len(), 32);
        assert_eq!(plan(&apart, 1).unwrap(), [block(Table::Coil, 0, 65)]);
        assert_eq!(plan(&[], 0).unwrap().len(), 0);
    }

    fn any_block() -> impl Strategy<Value = Block> {
        (prop::sample::select(&Table::ALL[..]), any::<u16>(), 1..130_u16, any::<bool>())
            .prop_filter_map("a block", |(table, address, count, low)| {
                let address = if low { address % 400 } else { address };
                Block::new(table, address, count).ok()
            })
    }

    proptest! {
        /// Whatever is wanted is read whole, by requests that a device may be asked for.
        #[test]
        fn each_block_lies_whole_in_one_request(
            wanted in prop::collection::vec(any_block(), 0..24),
            gap in 0..20_u16,
        ) {
            let requests = plan(&wanted, gap).unwrap();
            for block in &wanted {
                prop_assert!(requests.iter().any(|request| request.contains(*block)));
            }
            for request in &requests {
                prop_assert!(request.count() <= request.table().most());
                let inside = wanted.iter().filter(|block| request.contains(**block));
                prop_assert!(inside.count() > 0, "{request} is asked for in vain");
            }
            let mut sorted = requests.clone();
            sorted.sort();
            prop_assert_eq!(sorted, requests);
        }
    }
}
