//! A device and how it misbehaves, together: what a framing asks. Pure.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::device::Device;
use super::fault::{Manners, UnitFaults};
use super::request::{Exception, is_exception};
use crate::ledger::{LedgerError, Truth};

/// The unit number that means everybody; nobody answers to it.
pub const BROADCAST: u8 = 0;

/// What a unit says to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Nothing.
    Silence,
    /// The end of the connection, where there is one; nothing where there is none.
    HangUp {
        /// So late.
        late: Duration,
    },
    /// These bytes, in their framing.
    Bytes {
        /// All of them.
        bytes: Vec<u8>,
        /// So late.
        late: Duration,
    },
}

/// What passed since the simulator's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitCounters {
    /// Requests for this unit that it heard, and broadcasts.
    pub requests: u64,
    /// Of these: broadcasts.
    pub broadcasts: u64,
    /// Answers that were exceptions.
    pub refused: u64,
    /// Answers of any kind.
    pub answers: u64,
}

/// A unit.
#[derive(Clone, Debug)]
pub struct Unit {
    device: Device,
    manners: Manners,
    counters: UnitCounters,
}

impl Unit {
    /// A device that behaves.
    pub fn new(device: Device) -> Self {
        let setup = device.setup();
        let manners = Manners::new(setup.seed, setup.serial);
        Self { device, manners, counters: UnitCounters::default() }
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The device, for what happens to it.
    pub fn device_mut(&mut self) -> &mut Device {
        &mut self.device
    }

    /// How it misbehaves; `requests` are those that are left.
    pub fn faults(&self) -> UnitFaults {
        self.manners.faults()
    }

    /// It misbehaves like this from now on.
    pub fn set_faults(&mut self, faults: UnitFaults) {
        self.manners.set(faults);
    }

    /// What passed.
    pub fn counters(&self) -> UnitCounters {
        self.counters
    }

    /// A request to this unit, or to everybody. `frame` makes bytes for the wire of a unit number and an answer.
    pub fn on_request(
        &mut self,
        unit: u8,
        request: &[u8],
        frame: impl FnOnce(u8, &[u8]) -> Vec<u8>,
        now: Timestamp,
        truth: &mut dyn Truth,
    ) -> Result<Reaction, LedgerError> {
        let drawn = self.manners.draw();
        if drawn.deaf {
            return Ok(Reaction::Silence);
        }
        self.counters.requests += 1;
        let is_broadcast = unit == BROADCAST;
        self.counters.broadcasts += u64::from(is_broadcast);
        let answer = match (drawn.exception, request.first()) {
            (Some(code), Some(function)) => Some(Exception(code).answer(*function)),
            (Some(_) | None, _) => self.device.answer(request, now, truth)?,
        };
        let Some(answer) = answer.filter(|_| !is_broadcast && !drawn.silent) else {
            return Ok(Reaction::Silence);
        };
        if drawn.hang_up {
            return Ok(Reaction::HangUp { late: drawn.late });
        }
        self.counters.answers += 1;
        self.counters.refused += u64::from(is_exception(&answer));
        let answer = self.manners.spoil(answer, drawn);
        let mut bytes = frame(if drawn.wrong_unit { other_than(unit) } else { unit }, &answer);
        if drawn.garbage {
            bytes = self.manners.garbage(bytes.len());
        }
        if drawn.zero {
            bytes.insert(0, 0);
        }
        Ok(Reaction::Bytes { bytes, late: drawn.late })
    }
}

/// A unit number that is far from this one: hardly anybody has it. A unit that has would hear an answer with its own
/// number as a request, as it does on a real line, and say something to that.
pub fn other_than(unit: u8) -> u8 {
    let other = (u16::from(unit) + 122) % 247 + 1;
    u8::try_from(other).unwrap_or(u8::MAX)
}
