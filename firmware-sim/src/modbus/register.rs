//! The four tables of a device, as sparse as real ones are. Pure.

use std::collections::BTreeMap;

use postern_protocol::modbus::register::{Extent, Table};

#[derive(Clone, Copy, Debug)]
struct Cell {
    /// 0 and 1 in the tables of bits.
    value: u16,
    is_writable: bool,
}

/// All registers that a device has. Addresses that are not here do not exist.
#[derive(Clone, Debug, Default)]
pub(super) struct Registers {
    cells: BTreeMap<(Table, u16), Cell>,
}

impl Registers {
    /// These exist and are 0. What is writable once stays so.
    pub(super) fn add(&mut self, extent: Extent, is_writable: bool) {
        for address in extent.first..=extent.last {
            let cell = self
                .cells
                .entry((extent.table, address))
                .or_insert(Cell { value: 0, is_writable: false });
            cell.is_writable |= is_writable;
        }
    }

    /// What lies between two that exist exists, where that is so many at most.
    pub(super) fn bridge(&mut self, gap: u16) {
        let present: Vec<(Table, u16)> = self.cells.keys().copied().collect();
        for neighbours in present.windows(2) {
            if let [(table, before), (other, after)] = neighbours
                && table == other
                && after - before > 1
                && after - before - 1 <= gap
            {
                let (first, last) = (before + 1, after - 1);
                self.add(Extent { table: *table, first, last }, false);
            }
        }
    }

    /// Everything is 0.
    pub(super) fn clear(&mut self) {
        self.cells.values_mut().for_each(|cell| cell.value = 0);
    }

    /// The value of one; 0 of one that is not there.
    pub(super) fn get(&self, table: Table, address: u16) -> u16 {
        self.cells.get(&(table, address)).map_or(0, |cell| cell.value)
    }

    /// The device itself changes one; nothing happens to one that is not there.
    pub(super) fn set(&mut self, table: Table, address: u16, value: u16) {
        if let Some(cell) = self.cells.get_mut(&(table, address)) {
            cell.value = value;
        }
    }

    /// So many from `address` on; `None` where one of them does not exist.
    pub(super) fn read(&self, table: Table, address: u16, count: u16) -> Option<Vec<u16>> {
        (0..count)
            .map(|place| {
                let address = address.checked_add(place)?;
                self.cells.get(&(table, address)).map(|cell| cell.value)
            })
            .collect()
    }

    /// Whether a host may write so many from `address` on.
    pub(super) fn are_writable(&self, table: Table, address: u16, count: usize) -> bool {
        (0..count).all(|place| {
            let address = u16::try_from(usize::from(address) + place).ok();
            let cell = address.and_then(|address| self.cells.get(&(table, address)));
            cell.is_some_and(|cell| cell.is_writable)
        })
    }
}
