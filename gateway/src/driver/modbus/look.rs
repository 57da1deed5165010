//! What one look at a device read.

use postern_protocol::modbus::profile::{Flag, Place};
use postern_protocol::modbus::register::Block;

/// What stood in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Values {
    /// Of a table of bits.
    Bits(Vec<bool>),
    /// Of a table of words.
    Words(Vec<u16>),
}

/// What was read, block by block. Empty before anything was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look(Vec<(Block, Values)>);

impl Look {
    /// This stood in a block; as many values as the block has.
    pub(crate) fn put(&mut self, block: Block, values: Values) {
        self.0.push((block, values));
    }

    /// Whether a flag says yes; `None` where it was not read.
    pub(crate) fn flag(&self, flag: Flag) -> Option<bool> {
        let (values, at) = self.find(flag.block())?;
        let is_set = match values {
            Values::Bits(bits) => *bits.get(at)?,
            Values::Words(words) => *words.get(at)? != 0,
        };
        Some(is_set == flag.when)
    }

    /// What a register holds; `None` where it was not read, or is none.
    pub(crate) fn word(&self, place: Place) -> Option<u16> {
        self.words(place.block())?.first().copied()
    }

    /// What registers hold.
    pub(crate) fn words(&self, block: Block) -> Option<&[u16]> {
        match self.find(block)? {
            (Values::Words(words), at) => words.get(at..at + usize::from(block.count())),
            (Values::Bits(_), _) => None,
        }
    }

    fn find(&self, wanted: Block) -> Option<(&Values, usize)> {
        self.0.iter().find_map(|(block, values)| Some((values, block.offset(wanted)?)))
    }
}

#[cfg(test)]
mod tests {
    use postern_protocol::modbus::register::Table;

    use super::*;

    #[test]
    fn what_was_read_is_found_where_it_is_and_nothing_else() {
        let block = |table, address, count| Block::new(table, address, count).unwrap();
        let mut look = Look::default();
        look.put(block(Table::Coil, 1_001, 4), Values::Bits(vec![true, false, false, true]));
        look.put(block(Table::HoldingRegister, 10, 3), Values::Words(vec![7, 0, 9]));
        let flag = |table, address, when| Flag { table, address, when };
        assert_eq!(look.flag(flag(Table::Coil, 1_001, true)), Some(true));
        assert_eq!(look.flag(flag(Table::Coil, 1_002, false)), Some(true));
        assert_eq!(look.flag(flag(Table::Coil, 1_005, true)), None);
        assert_eq!(look.flag(flag(Table::HoldingRegister, 11, true)), Some(false));
        let place = |table, address| Place { table, address };
        assert_eq!(look.word(place(Table::HoldingRegister, 12)), Some(9));
        assert_eq!(look.word(place(Table::InputRegister, 12)), None);
        assert_eq!(look.word(place(Table::Coil, 1_001)), None);
        assert_eq!(look.words(block(Table::HoldingRegister, 11, 2)), Some(&[0, 9][..]));
        assert_eq!(look.words(block(Table::HoldingRegister, 11, 3)), None);
    }
}
