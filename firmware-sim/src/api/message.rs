//! The JSON of the control API. Replies carry a `schema`; they only ever gain fields.

mod unit;

use std::collections::BTreeMap;
use std::net::{SocketAddr, SocketAddrV4};
use std::path::PathBuf;

use postern_protocol::{ControllerId, EpochId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::controller::{DOORS, Recorded};
use crate::fault::Faults;
use crate::host::board::Counters;
use crate::line::Noise;
use crate::link::{LogAfter, StationFaults};
use crate::trap::{Then, Trap};

pub use unit::{DoorPointInput, ShownReply, UnitDoor, UnitFaultsReply, UnitStatus};

macro_rules! schema {
    ($($type:ident = $name:literal),* $(,)?) => {$(
        impl $type {
            /// What `schema` says.
            pub const SCHEMA: &str = $name;
        }
    )*};
}

schema! {
    StatusReply = "postern-sim.status.v1",
    ControllerReply = "postern-sim.controller.v1",
    EventsReply = "postern-sim.events.v1",
    ResetReply = "postern-sim.reset.v1",
    FaultsReply = "postern-sim.faults.v1",
    ClockReply = "postern-sim.clock.v1",
    GeneratedReply = "postern-sim.generated.v1",
    PeopleReply = "postern-sim.people.v1",
    TrapReply = "postern-sim.trap.v1",
    ReplacedReply = "postern-sim.replaced.v1",
    EventIndexReply = "postern-sim.event-index.v1",
    LineReply = "postern-sim.line.v1",
    ShownReply = "postern-sim.shown.v1",
    UnitFaultsReply = "postern-sim.unit-faults.v1",
    LineFaultsReply = "postern-sim.line-faults.v1",
    Ready = "postern-sim.ready.v1",
}

/// No fields.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// A swipe.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwipeInput {
    /// The card's number; 32 bits, but at Modbus units.
    pub card: u64,
    /// 1 to 4; at a Modbus unit a door with a reader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub door: Option<u8>,
    /// Which reader of a Modbus unit, from 1; the door's, where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reader: Option<u8>,
    /// In, where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
}

/// Which way someone goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Inwards.
    In,
    /// Outwards.
    Out,
}

/// Something at a door.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoorInput {
    /// 1 to 4.
    pub door: u8,
}

/// How a clock goes wrong; each field changes that alone, and there is one at least.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClockInput {
    /// So many seconds fast at this moment; negative is slow, 0 is right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset_s: Option<i64>,
    /// Never set; false makes it right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unset: Option<bool>,
    /// So many millionths too fast from now on; negative is too slow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift_ppm: Option<i64>,
    /// False: it goes on in the offset from UTC that its zone has now. True: it follows its zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summer_time: Option<bool>,
}

/// A trap to be armed: both fields; or to be taken away: none.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrapInput {
    /// Which index, as a host asks for it.
    pub index: Option<u32>,
    /// What happens then.
    pub then: Option<Then>,
}

/// Another board in the place of this one.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplaceInput {
    /// How many swipes happened at it before anyone asked it.
    pub preload: u32,
    /// What its clock shows; nobody has set it, where this is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<RightClock>,
}

/// The word for a clock that was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RightClock {
    /// It is right.
    Right,
}

/// Where a competing host moves the cursor that hosts share on the board.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventIndexInput {
    /// To this index.
    pub index: u32,
}

/// Swipes at once.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerateInput {
    /// How many.
    pub count: u32,
}

/// A power cut.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerCutInput {
    /// What it leaves of the log.
    pub log: LogAfter,
}

/// How a line and the controllers on it misbehave from now on: all of it, so that what is left out
/// is healthy.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LineFaults {
    /// What disturbs the line.
    pub noise: Noise,
    /// How its controllers misbehave, by their serial numbers.
    pub stations: BTreeMap<u32, StationFaults>,
}

/// How busy the site is to be.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeopleInput {
    /// Swipes a second over all controllers.
    pub rate: f64,
}

/// `GET /status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are what their types say")]
pub struct StatusReply {
    pub schema: String,
    pub people: PeopleStatus,
    pub ledger: LedgerStatus,
    /// Where a broadcast reaches every board.
    #[serde(default)]
    pub discovery: Option<SocketAddr>,
    pub controllers: Vec<AnyStatus>,
}

/// The people.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct PeopleStatus {
    /// Swipes a second.
    pub rate: f64,
    /// Swipes since the start.
    pub swipes: u64,
}

/// The ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LedgerStatus {
    /// Where it is.
    pub path: String,
    /// How many lines it has.
    pub lines: u64,
}

/// A controller, by what it speaks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AnyStatus {
    /// A UHPPOTE board.
    Board(Box<ControllerStatus>),
    /// A controller on a line.
    Link(Box<LinkStatus>),
    /// A Modbus unit.
    Modbus(Box<UnitStatus>),
}

/// A controller on a line. What has the name of a field of [`ControllerStatus`] is the same.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are what their types say")]
pub struct LinkStatus {
    pub serial: u32,
    pub controller: ControllerId,
    /// The name of its line.
    pub line: String,
    /// Its address there.
    pub station: u8,
    pub life: u64,
    /// The random name of that life.
    pub epoch: EpochId,
    pub oldest: u64,
    pub newest: u64,
    pub stored: usize,
    pub capacity: usize,
    pub generated: u64,
    /// The highest index that a host said to have durably, since power on.
    pub committed: u64,
    /// How many events were overwritten that no host had said to have, since power on.
    pub overwritten: u64,
    pub record_special_events: bool,
    pub cards: usize,
    pub open_doors: [bool; DOORS as usize],
    /// UTC.
    pub clock: String,
    pub faults: StationFaults,
    /// Requests that it carried out since power on.
    pub requests: u32,
    /// Requests that it heard again, and answered with the same bytes.
    pub repeats: u32,
    /// What it heard that was no frame.
    pub broken: u32,
    /// Frames for it that did not verify.
    pub unverified: u32,
    /// Sessions that were opened.
    pub sessions: u32,
}

/// A UHPPOTE board.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ControllerStatus {
    /// Its serial number.
    pub serial: u32,
    /// Its identity, as in the ledger.
    pub controller: ControllerId,
    /// Where it listens, UDP and TCP.
    pub address: SocketAddrV4,
    /// The port of that.
    pub port: u16,
    /// Which life of its log this is.
    pub life: u64,
    /// The oldest index in its log; 0: none.
    pub oldest: u32,
    /// The newest; 0: none.
    pub newest: u32,
    /// How many events its log holds.
    pub stored: usize,
    /// How many it can hold.
    pub capacity: usize,
    /// How many events it ever recorded: its event lines in the ledger.
    pub generated: u64,
    /// Whether it records door and button events.
    pub record_special_events: bool,
    /// The cursor that hosts share on the board.
    pub event_index: u32,
    /// How many cards it knows.
    pub cards: usize,
    /// Which doors are open.
    pub open_doors: [bool; DOORS as usize],
    /// What its clock shows; empty: never set.
    pub clock: String,
    /// How it misbehaves.
    pub faults: Faults,
    /// What waits for someone to read an index.
    #[serde(default)]
    pub trap: Option<Trap>,
    /// What passed over its sockets.
    #[serde(flatten)]
    pub counters: Counters,
}

/// `GET /controllers/{serial}`: its status and its settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are what their types say")]
pub struct ControllerReply {
    pub schema: String,
    #[serde(flatten)]
    pub status: AnyStatus,
    /// Named after the functions that set them.
    pub settings: Value,
}

/// What a happening recorded.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "the fields are what their types say")]
pub struct EventsReply {
    pub schema: String,
    pub events: Vec<Recorded>,
}

/// What a happening made, by what the controller speaks.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Happened {
    /// Events in its log.
    Events(EventsReply),
    /// What a Modbus unit showed.
    Shown(ShownReply),
}

/// A log was restarted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResetReply {
    /// The schema.
    pub schema: String,
    /// The life that began.
    pub life: u64,
}

/// How a controller misbehaves from now on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are what their types say")]
pub struct FaultsReply {
    pub schema: String,
    pub faults: Faults,
}

/// What a clock shows now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClockReply {
    /// The schema.
    pub schema: String,
    /// Empty: unset.
    pub clock: String,
}

/// What waits for someone to read an index.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are what their types say")]
pub struct TrapReply {
    pub schema: String,
    pub trap: Option<Trap>,
}

/// A board was replaced.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReplacedReply {
    /// The schema.
    pub schema: String,
    /// The life that began.
    pub life: u64,
    /// The oldest index in the new board's log; 0: none.
    pub oldest: u32,
    /// The newest; 0: none.
    pub newest: u32,
    /// What its clock shows; empty: never set.
    pub clock: String,
}

/// A competing host moved the cursor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventIndexReply {
    /// The schema.
    pub schema: String,
    /// Where it stands now.
    pub event_index: u32,
    /// Whether the board took it: it lies within the log and differs.
    pub changed: bool,
}

/// What was generated.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GeneratedReply {
    /// The schema.
    pub schema: String,
    /// How many swipes there were.
    pub swipes: u32,
    /// How many events that made.
    pub events: u64,
    /// The oldest index in the log now.
    pub oldest: u64,
    /// The newest.
    pub newest: u64,
}

/// How busy the site is now.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are what their types say")]
pub struct PeopleReply {
    pub schema: String,
    #[serde(flatten)]
    pub people: PeopleStatus,
}

/// Where a host plugs in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinePlug {
    /// A serial device.
    Pty(PathBuf),
    /// The TCP port of a serial device server.
    Tcp(SocketAddr),
}

/// `GET /lines/{name}`: what a line is, how it misbehaves and what passed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LineReply {
    /// The schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Where a host plugs in: `pty` or `tcp`.
    #[serde(flatten)]
    pub plug: LinePlug,
    /// Bits per second; 0: bytes take no time.
    pub baud: u32,
    /// Whether a host hears what it sends.
    pub echo: bool,
    /// How long controllers take to answer, in microseconds.
    pub reply_us: u64,
    /// What disturbs it.
    pub noise: Noise,
    /// What passed over it.
    pub counters: LineCounters,
    /// The controllers on it.
    pub stations: Vec<LineStation>,
}

/// What passed over a line.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct LineCounters {
    /// Bytes that the host sent.
    pub host_bytes: u64,
    /// Bytes that the host could take.
    pub heard_by_host: u64,
    /// Bytes lost because nobody took them.
    pub overrun: u64,
    /// How long anybody was sending, in milliseconds.
    pub busy_ms: u64,
    /// Bytes that were garbled because two were sending.
    pub collided: u64,
    /// Bits that noise flipped.
    pub bit_errors: u64,
    /// Bursts that began.
    pub bursts: u64,
    /// Bytes that noise made vanish.
    pub lost: u64,
    /// Bytes that nobody sent.
    pub inserted: u64,
}

/// A controller on a line, as the line sees it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct LineStation {
    /// Its serial number.
    pub serial: u32,
    /// Its address.
    pub address: u8,
    /// How it misbehaves.
    pub faults: StationFaults,
    /// Bytes that it sent.
    pub bytes: u64,
    /// Replies that it gave.
    pub replies: u64,
    /// Replies, or parts of them, that were over a limit.
    pub refused: u64,
    /// How often something was said that it did not hear, being deaf.
    pub missed: u64,
    /// How often its power was cut within a reply.
    pub power_cuts: u64,
    /// How often it babbled.
    pub babbles: u64,
}

/// How a line and the controllers on it misbehave from now on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LineFaultsReply {
    /// The schema.
    pub schema: String,
    /// The line.
    pub line: String,
    /// All of them, the healthy ones, too.
    #[serde(flatten)]
    pub faults: LineFaults,
}

/// What `run --json` says when every controller answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ready {
    /// The schema.
    pub schema: String,
    /// Where the control API listens.
    pub api: SocketAddr,
    /// Where a broadcast reaches every board.
    pub discovery: Option<SocketAddr>,
    /// The boards.
    pub controllers: Vec<ReadyController>,
    /// The lines.
    #[serde(default)]
    pub lines: Vec<ReadyLine>,
    /// The ledger's path.
    pub ledger: String,
}

/// A board that answers.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ReadyController {
    /// Its serial number.
    pub serial: u32,
    /// Where it listens, UDP and TCP.
    pub address: SocketAddrV4,
}

/// What is spoken on a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineProtocol {
    /// The link protocol.
    #[default]
    Link,
    /// Modbus, on a serial line.
    ModbusRtu,
    /// Modbus, on a network.
    ModbusTcp,
}

/// A line that a host can plug into.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReadyLine {
    /// Its name.
    pub name: String,
    /// What is spoken there.
    #[serde(default)]
    pub protocol: LineProtocol,
    /// Where: `pty` or `tcp`.
    #[serde(flatten)]
    pub plug: LinePlug,
    /// The controllers on it.
    pub stations: Vec<ReadyStation>,
}

/// A controller on a line that answers.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ReadyStation {
    /// Its serial number.
    pub serial: u32,
    /// Its address on the line.
    pub address: u8,
}
