//! What is asked of one log's unit.

use postern_protocol::modbus::register::{Block, Table};

use super::look::{Look, Values};
use super::wire::Wire;
use crate::driver::{DriverError, LineCounters};

/// One unit, as one of its logs is read.
pub(super) struct Talk {
    unit: u8,
    /// Whether the last request was answered.
    is_alive: bool,
    /// What was seen on the line meanwhile.
    pub(super) counters: LineCounters,
}

impl Talk {
    pub(super) fn to(unit: u8) -> Self {
        Self { unit, is_alive: false, counters: LineCounters::default() }
    }

    /// Reads a block. What was lost or spoiled on the line is asked for once more, of a unit that answered before.
    pub(super) async fn read(
        &mut self,
        wire: &mut Wire,
        block: Block,
    ) -> Result<Values, DriverError> {
        let was_alive = self.is_alive;
        let mut read = wire.read(self.unit, block, &mut self.counters).await;
        let is_lost = |error: &DriverError| {
            matches!(error, DriverError::TimedOut | DriverError::Damaged | DriverError::Nonsense)
        };
        if was_alive && read.as_ref().is_err_and(is_lost) {
            self.counters.repeats += 1;
            read = wire.read(self.unit, block, &mut self.counters).await;
        }
        self.is_alive = matches!(read, Ok(_) | Err(DriverError::Exception { .. }));
        read
    }

    /// Reads blocks, one after the other.
    pub(super) async fn look(
        &mut self,
        wire: &mut Wire,
        blocks: &[Block],
    ) -> Result<Look, DriverError> {
        let mut look = Look::default();
        for block in blocks {
            look.put(*block, self.read(wire, *block).await?);
        }
        Ok(look)
    }

    /// Writes a value. Never twice: nobody knows what the first did.
    pub(super) async fn write(
        &mut self,
        wire: &mut Wire,
        (table, address): (Table, u16),
        value: u16,
    ) -> Result<(), DriverError> {
        wire.write(self.unit, table, address, value, &mut self.counters).await
    }
}
