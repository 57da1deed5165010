//! Lines with controllers of the link protocol: what hangs on one, as the simulator and the gateway are
//! told of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use postern_protocol::ControllerId;

use crate::checker::LogSize;

/// What a line is plugged into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plug {
    /// A serial device.
    Pty,
    /// The TCP port of a serial device server.
    Tcp,
}

/// A line.
#[derive(Clone, Debug)]
pub struct Bus {
    /// Its name, for the simulator and the gateway alike.
    pub name: &'static str,
    /// What it is plugged into.
    pub plug: Plug,
    /// Whether a host hears what it sends.
    pub echo: bool,
    /// How long the gateway lets a station take to begin its answer.
    pub reply_ms: u64,
    /// Who is on it.
    pub stations: Vec<Station>,
}

/// A controller on a line.
#[derive(Clone, Copy, Debug)]
pub struct Station {
    /// Its address there.
    pub address: u8,
    /// Its serial number.
    pub serial: u32,
    /// How many events its log holds; it overwrites the oldest one by one.
    pub capacity: u32,
    /// How many swipes happened before anyone could ask.
    pub preload: u32,
    /// Whether it is talked to without a key.
    pub plaintext: bool,
    /// How often it is looked at while something happens.
    pub poll_ms: u64,
    /// How often while nothing does.
    pub quiet_poll_ms: u64,
}

impl Station {
    /// One with room for everything that happens in a test.
    pub fn roomy(address: u8, serial: u32) -> Self {
        let (poll_ms, quiet_poll_ms) = (100, 250);
        let (capacity, preload, plaintext) = (10_000, 0, false);
        Self { address, serial, capacity, preload, plaintext, poll_ms, quiet_poll_ms }
    }

    /// One with a log as small as a test wants it.
    pub fn small(address: u8, serial: u32) -> Self {
        Self { capacity: 96, ..Self::roomy(address, serial) }
    }

    /// The controller that it is.
    pub fn controller(&self) -> ControllerId {
        ControllerId::link(self.serial)
    }

    /// How much its log holds.
    pub fn log_size(&self) -> LogSize {
        LogSize { capacity: u64::from(self.capacity), chunk: 1 }
    }
}

impl Bus {
    /// One with so many stations, at addresses from 1 and with serial numbers from `first`, made by
    /// `station` from both.
    pub fn new(
        name: &'static str,
        plug: Plug,
        first: u32,
        stations: u8,
        station: impl Fn(u8, u32) -> Station,
    ) -> Self {
        let stations = (0..stations).map(|at| station(at + 1, first + u32::from(at))).collect();
        // Far above what a simulated station takes: a process that does not get its turn on a loaded
        // machine is no silent station.
        Self { name, plug, echo: false, reply_ms: 150, stations }
    }
}

/// A line in its place.
#[derive(Clone, Debug)]
pub struct Wired {
    /// The line.
    pub bus: Bus,
    /// The path of its device, or its address.
    pub at: String,
}

impl Wired {
    fn plug(&self) -> &'static str {
        match self.bus.plug {
            Plug::Pty => "pty",
            Plug::Tcp => "tcp",
        }
    }

    /// What the simulator is told. `keys` has one for each station that has any.
    pub(super) fn simulated(&self, keys: &BTreeMap<u32, String>) -> String {
        let Self { bus, at } = self;
        let mut text = format!(
            "\n[[line]]\nname = \"{}\"\n{} = \"{at}\"\necho = {}\n",
            bus.name,
            self.plug(),
            bus.echo
        );
        for Station { address, serial, capacity, preload, .. } in &bus.stations {
            let lock = match keys.get(serial) {
                Some(key) => format!("key = \"{key}\""),
                None => "plaintext = true".to_owned(),
            };
            let _ = write!(
                text,
                "[[line.station]]\naddress = {address}\nserial = {serial}\n{lock}\n\
                 capacity = {capacity}\npreload = {preload}\n"
            );
        }
        text
    }

    /// What the gateway is told.
    pub(super) fn configured(&self) -> String {
        let Self { bus: Bus { name, plug, reply_ms, stations, .. }, at } = self;
        let line = match plug {
            Plug::Pty => "serial",
            Plug::Tcp => "tcp",
        };
        let mut text =
            format!("\n[[bus]]\nname = \"{name}\"\n{line} = \"{at}\"\nreply_ms = {reply_ms}\n");
        for Station { address, serial, plaintext, poll_ms, quiet_poll_ms, .. } in stations {
            let _ = write!(
                text,
                "[[bus.station]]\naddress = {address}\nserial = {serial}\n\
                 zone = \"Europe/Berlin\"\npoll_ms = {poll_ms}\nquiet_poll_ms = {quiet_poll_ms}\n\
                 plaintext = {plaintext}\n"
            );
        }
        text
    }
}
