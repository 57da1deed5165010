//! Simulated door controllers and readers that speak Modbus: everything that decides, nothing that waits.
//!
//! A device is what its [`Profile`](postern_protocol::modbus::profile::Profile) says. It has those registers and no
//! others, so that a host that asks for too much is refused, as real devices refuse it.
//!
//! - [`device`]: its registers, its power, and what hosts do to them.
//! - [`happening`]: what happens at its readers and doors.
//! - [`request`]: the one handler of requests, for every framing.
//! - [`fault`]: how it misbehaves.
//! - [`unit`]: the device, and how it misbehaves, together.
//! - [`rtu`], [`tcp`]: the two framings.
//!
//! Invariant: what a device shows is in the ledger before a host can read it, and so is what it lost.

pub mod device;
pub mod fault;
pub mod happening;
mod register;
pub mod request;
pub mod rtu;
pub mod tcp;
pub mod unit;

pub use device::{Device, Setup};
pub use fault::UnitFaults;
pub use happening::{HappeningError, Point, Shown};
pub use unit::{Reaction, Unit, UnitCounters};

#[cfg(test)]
mod tests;
