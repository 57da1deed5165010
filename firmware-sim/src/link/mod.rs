//! A simulated controller of the link protocol: everything that decides, nothing that waits.
//!
//! The wire is not simulated but is the one of real firmware: [`postern_protocol::link::station`]
//! answers, and what is here is the device behind it.
//!
//! - [`device`]: its log, its clock, what hosts set in it.
//! - [`happening`]: what happens at its doors.
//! - [`fault`]: how it misbehaves on its line.
//! - [`controller`]: both together, and its power.
//! - `life`: where a log ends and another begins.
//!
//! Invariant: an event is in the ledger before it is in the log, so that what a host can read is in
//! the ledger, by construction.

pub mod controller;
pub mod device;
pub mod fault;
pub mod happening;
mod life;

use postern_protocol::EpochId;
use postern_protocol::link::noise::Psk;

use crate::random::Random;

pub use controller::{LinkController, LogAfter};
pub use device::LinkDevice;
pub use fault::StationFaults;
pub use life::epoch_of;

/// How a controller may be talked to.
#[derive(Clone, Debug)]
pub enum Security {
    /// In secured sessions only, with this key.
    Key(Psk),
    /// In clear.
    Plaintext,
}

/// What a controller is, as opposed to what hosts set in it.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where chance begins.
    pub seed: u64,
    /// Its serial number.
    pub serial: u32,
    /// Its address on its line, 1 to 126.
    pub address: u8,
    /// How it may be talked to.
    pub security: Security,
    /// How many events its log holds, at least 1.
    pub capacity: usize,
    /// Whether it records that doors open and close.
    pub record_special_events: bool,
    /// Cards that are allowed at every door.
    pub cards: Vec<u32>,
}

/// The draws of a seed for one use of one controller; `stream` is one of the constants beside it.
fn draws(seed: u64, stream: u64, serial: u32) -> Random {
    Random::new(seed, stream | u64::from(serial))
}

/// Sixteen bytes of chance.
fn epoch(random: &mut Random) -> EpochId {
    let mut bytes = [0; 16];
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&random.draw().to_le_bytes());
    }
    EpochId(bytes)
}

#[cfg(test)]
mod tests;
