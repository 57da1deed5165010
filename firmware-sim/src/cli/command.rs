//! The commands that talk to a running simulator, and what each of them asks of its control API.

use std::net::SocketAddr;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::api::message::{ClockInput, DoorPointInput, LineFaults, ReplaceInput, RightClock};
use crate::config::check_line_name;
use crate::fault::Faults;
use crate::line::Noise;
use crate::link::{LogAfter, StationFaults};
use crate::modbus::{Point, UnitFaults};
use crate::trap::Then;

use super::unit::UnitOptions;

/// A request to the control API.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) to: To,
    pub(super) path: String,
    /// `None`: it only reads.
    pub(super) body: Option<Value>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Ask {
    /// Show all controllers, or one with its settings
    Status {
        #[command(flatten)]
        to: To,
        /// The controller; all where it is left out
        serial: Option<u32>,
    },
    /// Swipe a card at a door, or at a reader of a Modbus unit
    Swipe {
        #[command(flatten)]
        at: At,
        /// The card's number
        #[arg(long)]
        card: u64,
        /// 1 to 4; at a Modbus unit a door with a reader
        #[arg(long, required_unless_present = "reader")]
        door: Option<u8>,
        /// The reader of a Modbus unit, from 1
        #[arg(long, conflicts_with_all = ["door", "direction"])]
        reader: Option<u8>,
        /// Which way
        #[arg(long, value_enum, default_value_t = Way::In)]
        direction: Way,
    },
    /// Open a door by force
    Force {
        #[command(flatten)]
        at: At,
        /// 1 to 4
        #[arg(long)]
        door: u8,
    },
    /// Hold a door open too long
    Hold {
        #[command(flatten)]
        at: At,
        /// 1 to 4
        #[arg(long)]
        door: u8,
    },
    /// Press the button beside a door
    Button {
        #[command(flatten)]
        at: At,
        /// 1 to 4
        #[arg(long)]
        door: u8,
    },
    /// Restore a controller's defaults: its log begins again at index 1
    Reset {
        #[command(flatten)]
        at: At,
    },
    /// Open a door of a Modbus unit
    Open {
        #[command(flatten)]
        at: At,
        /// Which door
        #[arg(long)]
        door: u8,
    },
    /// Close a door of a Modbus unit
    Close {
        #[command(flatten)]
        at: At,
        /// Which door
        #[arg(long)]
        door: u8,
    },
    /// Press the button beside a door of a Modbus unit, and keep it pressed
    Press {
        #[command(flatten)]
        at: At,
        /// Which door
        #[arg(long)]
        door: u8,
    },
    /// Let go of the button beside a door of a Modbus unit
    LetGo {
        #[command(flatten)]
        at: At,
        /// Which door
        #[arg(long)]
        door: u8,
    },
    /// Let a Modbus unit switch the relay of a door on by itself
    Release {
        #[command(flatten)]
        at: At,
        /// Which door
        #[arg(long)]
        door: u8,
    },
    /// Let a Modbus unit switch the relay of a door off by itself
    Lock {
        #[command(flatten)]
        at: At,
        /// Which door
        #[arg(long)]
        door: u8,
    },
    /// Make a Modbus unit misbehave; without options it behaves again
    UnitFaults {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        faults: UnitOptions,
    },
    /// Switch a controller off and on
    #[command(visible_alias = "restart")]
    PowerCycle {
        #[command(flatten)]
        at: At,
    },
    /// Cut the power of a controller on a line, and lose its log or keep it
    PowerCut {
        #[command(flatten)]
        at: At,
        /// What that leaves of its log
        #[arg(long, value_enum)]
        log: Remains,
    },
    /// Show a line and what passed over it
    Line {
        #[command(flatten)]
        on: On,
    },
    /// Make a line and controllers on it misbehave; without options all behave again
    LineFaults {
        #[command(flatten)]
        on: On,
        /// A controller that misbehaves, by its serial number; may be repeated
        #[arg(long, value_name = "SERIAL")]
        station: Vec<u32>,
        #[command(flatten)]
        noise: NoiseOptions,
        #[command(flatten)]
        faults: StationOptions,
    },
    /// Make a controller misbehave; without options it behaves again
    Faults {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        faults: FaultOptions,
    },
    /// Let something happen just before an index is read, once
    Trap {
        #[command(flatten)]
        at: At,
        /// The index, as a host asks for it
        #[arg(long, required_unless_present = "clear")]
        index: Option<u32>,
        /// So many swipes happen
        #[arg(long, value_name = "SWIPES", required_unless_present_any = ["reset", "clear"])]
        generate: Option<u32>,
        /// The log is emptied
        #[arg(long, conflicts_with = "generate")]
        reset: bool,
        /// Take the trap away
        #[arg(long, conflicts_with_all = ["index", "generate", "reset"])]
        clear: bool,
    },
    /// Put another board in a controller's place, under the same serial number
    Replace {
        #[command(flatten)]
        at: At,
        /// How many swipes happened at the other board
        #[arg(long, default_value_t = 0)]
        preload: u32,
        /// Its clock is right; otherwise nobody has set it
        #[arg(long)]
        clock_right: bool,
    },
    /// Move the cursor that hosts share on a controller, as a competing host does
    EventIndex {
        #[command(flatten)]
        at: At,
        /// To this index
        #[arg(long)]
        index: u32,
    },
    /// Make a controller's clock wrong
    Clock {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        clock: ClockOptions,
    },
    /// Let many people swipe as fast as they can
    Generate {
        #[command(flatten)]
        at: At,
        /// How many
        #[arg(long)]
        count: u32,
    },
    /// Set how many people swipe
    People {
        #[command(flatten)]
        to: To,
        /// Swipes a second over all controllers; 0 stops them
        #[arg(long)]
        rate: f64,
    },
}

/// What is wrong on the wire.
#[derive(Clone, Copy, Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct FaultOptions {
    /// Hear nothing
    #[arg(long)]
    deaf: bool,
    /// Send no pushed events
    #[arg(long)]
    mute_push: bool,
    /// Reply over UDP from another port
    #[arg(long)]
    elsewhere: bool,
    /// Reply so late
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// Lose requests with this probability
    #[arg(long, default_value_t = 0.0)]
    lose: f64,
    /// Lose replies with this probability
    #[arg(long, default_value_t = 0.0)]
    drop: f64,
    /// Reset TCP connections instead of replying with this probability
    #[arg(long, default_value_t = 0.0)]
    reset: f64,
    /// Send replies twice with this probability
    #[arg(long, default_value_t = 0.0)]
    duplicate: f64,
    /// Keep replies back until just before the next one with this probability
    #[arg(long, default_value_t = 0.0)]
    stale: f64,
    /// Keep replies back until just after the next one with this probability
    #[arg(long, default_value_t = 0.0)]
    reorder: f64,
    /// Let another board's reply come before this board's with this probability
    #[arg(long, default_value_t = 0.0)]
    foreign: f64,
    /// Flip bits of replies with this probability
    #[arg(long, default_value_t = 0.0)]
    corrupt: f64,
    /// Answer for the record with this index as if there were none; 0: every record is there
    #[arg(long, default_value_t = 0, value_name = "INDEX")]
    deny: u32,
    /// Lose pushed events with this probability
    #[arg(long, default_value_t = 0.0)]
    drop_push: f64,
    /// Push events twice with this probability
    #[arg(long, default_value_t = 0.0)]
    duplicate_push: f64,
}

impl From<FaultOptions> for Faults {
    fn from(options: FaultOptions) -> Self {
        let FaultOptions {
            deaf,
            mute_push,
            elsewhere,
            delay_ms,
            lose,
            drop,
            reset,
            duplicate,
            stale,
            reorder,
            foreign,
            corrupt,
            deny,
            drop_push,
            duplicate_push,
        } = options;
        Self {
            deaf,
            mute_push,
            elsewhere,
            delay_ms,
            lose,
            drop,
            reset,
            duplicate,
            stale,
            reorder,
            foreign,
            corrupt,
            deny,
            drop_push,
            duplicate_push,
        }
    }
}

/// What disturbs a line.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct NoiseOptions {
    /// Flip each bit with this probability
    #[arg(long, default_value_t = 0.0)]
    bit_error_rate: f64,
    /// Begin a burst in each byte with this probability
    #[arg(long, default_value_t = 0.0, requires = "burst_bits")]
    burst_rate: f64,
    /// So many bits long
    #[arg(long, default_value_t = 0)]
    burst_bits: u32,
    /// Insert a byte before each byte with this probability
    #[arg(long, default_value_t = 0.0)]
    insert_rate: f64,
    /// Lose each byte with this probability
    #[arg(long, default_value_t = 0.0)]
    drop_rate: f64,
}

impl From<NoiseOptions> for Noise {
    fn from(options: NoiseOptions) -> Self {
        let NoiseOptions { bit_error_rate, burst_rate, burst_bits, insert_rate, drop_rate } =
            options;
        Self { bit_error_rate, burst_rate, burst_bits, insert_rate, drop_rate }
    }
}

/// What is wrong with controllers on a line.
#[derive(Clone, Copy, Debug, Args)]
#[group(multiple = true, requires = "station")]
pub(super) struct StationOptions {
    /// Miss what is said with this probability
    #[arg(long)]
    deaf: Option<f64>,
    /// Do what is asked and say nothing with this probability
    #[arg(long)]
    dumb: Option<f64>,
    /// Answer late with this probability
    #[arg(long, requires = "slow_ms")]
    slow: Option<f64>,
    /// So late
    #[arg(long)]
    slow_ms: Option<u64>,
    /// Send the reply before this one with this probability
    #[arg(long)]
    stale: Option<f64>,
    /// Send replies twice with this probability
    #[arg(long)]
    duplicate: Option<f64>,
    /// Lose power within replies with this probability
    #[arg(long)]
    cut: Option<f64>,
    /// What that leaves of the log
    #[arg(long, value_enum, requires = "cut")]
    cut_log: Option<Remains>,
    /// Send random bytes about so often
    #[arg(long, requires = "babble_bytes")]
    babble_every_ms: Option<u64>,
    /// So many random bytes
    #[arg(long)]
    babble_bytes: Option<u32>,
}

impl From<StationOptions> for StationFaults {
    fn from(options: StationOptions) -> Self {
        let StationOptions {
            deaf,
            dumb,
            slow,
            slow_ms,
            stale,
            duplicate,
            cut,
            cut_log,
            babble_every_ms,
            babble_bytes,
        } = options;
        Self {
            deaf: deaf.unwrap_or_default(),
            dumb: dumb.unwrap_or_default(),
            slow: slow.unwrap_or_default(),
            slow_ms: slow_ms.unwrap_or_default(),
            stale: stale.unwrap_or_default(),
            duplicate: duplicate.unwrap_or_default(),
            cut: cut.unwrap_or_default(),
            cut_log: cut_log.map(LogAfter::from).unwrap_or_default(),
            babble_every_ms: babble_every_ms.unwrap_or_default(),
            babble_bytes: babble_bytes.unwrap_or_default(),
        }
    }
}

/// What is wrong with a clock.
#[derive(Clone, Copy, Debug, Args)]
#[group(required = true, multiple = true)]
pub(super) struct ClockOptions {
    /// So many seconds fast; negative is slow, 0 is right
    #[arg(long, allow_negative_numbers = true)]
    offset_s: Option<i64>,
    /// Never set
    #[arg(long, conflicts_with = "offset_s")]
    unset: bool,
    /// So many millionths too fast from now on; negative is too slow
    #[arg(long, allow_negative_numbers = true)]
    drift_ppm: Option<i64>,
    /// Whether it follows summer time
    #[arg(long, value_name = "BOOL")]
    summer_time: Option<bool>,
}

/// A running simulator.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct To {
    /// Where its control API listens
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) api: SocketAddr,
    /// Print the reply as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// A controller of a running simulator.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct At {
    /// Its serial number
    serial: u32,
    #[command(flatten)]
    to: To,
}

/// A line of a running simulator.
#[derive(Clone, Debug, Args)]
pub(super) struct On {
    /// Its name
    #[arg(value_parser = line_name)]
    name: String,
    #[command(flatten)]
    to: To,
}

fn line_name(name: &str) -> Result<String, String> {
    check_line_name(name).map(|()| name.to_owned())
}

/// What is left of a log.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Remains {
    Kept,
    Lost,
}

impl From<Remains> for LogAfter {
    fn from(remains: Remains) -> Self {
        match remains {
            Remains::Kept => Self::Kept,
            Remains::Lost => Self::Lost,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Way {
    In,
    Out,
}

impl Ask {
    /// What it asks.
    pub(super) fn request(self) -> Request {
        match self {
            Self::Status { to, serial: None } => {
                Request { to, path: "/status".to_owned(), body: None }
            }
            Self::Status { to, serial: Some(serial) } => {
                Request { to, path: format!("/controllers/{serial}"), body: None }
            }
            Self::Swipe { at, card, reader: Some(reader), .. } => {
                at.post("swipe", json!({"card": card, "reader": reader}))
            }
            Self::Swipe { at, card, door, direction, reader: None } => {
                let direction = match direction {
                    Way::In => "in",
                    Way::Out => "out",
                };
                at.post("swipe", json!({"card": card, "door": door, "direction": direction}))
            }
            Self::Open { at, door } => at.turn(door, Point::Contact, true),
            Self::Close { at, door } => at.turn(door, Point::Contact, false),
            Self::Press { at, door } => at.turn(door, Point::Button, true),
            Self::LetGo { at, door } => at.turn(door, Point::Button, false),
            Self::Release { at, door } => at.turn(door, Point::Relay, true),
            Self::Lock { at, door } => at.turn(door, Point::Relay, false),
            Self::UnitFaults { at, faults } => {
                at.post("unit-faults", json!(UnitFaults::from(faults)))
            }
            Self::Force { at, door } => at.post("force-door", json!({"door": door})),
            Self::Hold { at, door } => at.post("hold-door", json!({"door": door})),
            Self::Button { at, door } => at.post("button", json!({"door": door})),
            Self::Reset { at } => at.post("reset", json!({})),
            Self::PowerCycle { at } => at.post("power-cycle", json!({})),
            Self::PowerCut { at, log } => at.post("power-cut", json!({"log": LogAfter::from(log)})),
            Self::Line { on: On { name, to } } => {
                Request { to, path: format!("/lines/{name}"), body: None }
            }
            Self::LineFaults { on: On { name, to }, station, noise, faults } => {
                let faults = StationFaults::from(faults);
                let stations = station.into_iter().map(|serial| (serial, faults)).collect();
                let body = json!(LineFaults { noise: noise.into(), stations });
                Request { to, path: format!("/lines/{name}/faults"), body: Some(body) }
            }
            Self::Faults { at, faults } => at.post("faults", json!(Faults::from(faults))),
            Self::Trap { at, index, generate, .. } => {
                let then = generate.map_or(Then::Reset, Then::Generate);
                let trap = index.map(|index| json!({"index": index, "then": then}));
                at.post("trap", trap.unwrap_or_else(|| json!({})))
            }
            Self::Replace { at, preload, clock_right } => {
                let clock = clock_right.then_some(RightClock::Right);
                at.post("replace", json!(ReplaceInput { preload, clock }))
            }
            Self::EventIndex { at, index } => at.post("event-index", json!({"index": index})),
            Self::Clock { at, clock } => {
                let ClockOptions { offset_s, unset, drift_ppm, summer_time } = clock;
                let unset = unset.then_some(true);
                at.post("clock", json!(ClockInput { offset_s, unset, drift_ppm, summer_time }))
            }
            Self::Generate { at, count } => at.post("generate", json!({"count": count})),
            Self::People { to, rate } => {
                Request { to, path: "/people".to_owned(), body: Some(json!({"rate": rate})) }
            }
        }
    }
}

impl At {
    fn turn(self, door: u8, point: Point, on: bool) -> Request {
        self.post("door-point", json!(DoorPointInput { door, point, on }))
    }

    fn post(self, what: &str, body: Value) -> Request {
        let path = format!("/controllers/{}/{what}", self.serial);
        Request { to: self.to, path, body: Some(body) }
    }
}
