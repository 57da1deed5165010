//! The JSON of Modbus units.

use postern_protocol::ControllerId;
use serde::{Deserialize, Serialize};

use crate::ledger::ModbusLine;
use crate::modbus::{Point, UnitCounters, UnitFaults};

/// A point of a Modbus unit's door changes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoorPointInput {
    /// Which door.
    pub door: u8,
    /// What of it.
    pub point: Point,
    /// Open, released, pressed; or no longer.
    pub on: bool,
}

/// A Modbus unit, on a line or behind a TCP port.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are what their types say")]
pub struct UnitStatus {
    pub serial: u32,
    pub controller: ControllerId,
    /// The name of its line, or of its TCP port.
    pub line: String,
    /// Its unit number there.
    pub unit: u8,
    /// What its profile says that it is.
    pub model: String,
    /// How often it had restarted before.
    pub life: u64,
    /// How many cards its readers showed since the simulator's start.
    pub shown: u64,
    /// How many of them were overwritten before anybody had taken them, at readers with a flag.
    pub lost: u64,
    /// How many cards each reader showed in this life: its own number, where it counts.
    pub numbers: Vec<u64>,
    pub doors: Vec<UnitDoor>,
    /// What is left of them.
    pub faults: UnitFaults,
    #[serde(flatten)]
    pub counters: UnitCounters,
}

/// A door of a Modbus unit; what it does not have is left out.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct UnitDoor {
    /// Its number.
    pub door: u8,
    /// Whether it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<bool>,
    /// Whether it may be opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<bool>,
    /// Whether its button is pressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub button: Option<bool>,
}

/// What a Modbus unit showed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are what their types say")]
pub struct ShownReply {
    pub schema: String,
    /// As it is in the ledger.
    pub shown: Vec<ModbusLine>,
}

/// How a Modbus unit misbehaves from now on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are what their types say")]
pub struct UnitFaultsReply {
    pub schema: String,
    pub faults: UnitFaults,
}
