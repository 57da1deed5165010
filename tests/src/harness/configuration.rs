//! The gateway's configuration file, as scenarios write it.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::{ModbusLines, Wired};

/// How a controller is talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A connection for each request.
    Tcp,
}

/// A controller in the file.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// Its serial number.
    pub serial: u32,
    /// Where it is.
    pub address: SocketAddr,
    /// How it is talked to.
    pub transport: Transport,
    /// How often it is looked at while something happens.
    pub poll_ms: u64,
    /// How often while nothing does.
    pub quiet_poll_ms: u64,
    /// How long an answer may take.
    pub timeout_ms: u64,
    /// How many requests may be under way at once.
    pub in_flight: u32,
}

impl Line {
    /// One with times that suit tests: short against what they wait for, long against what a loaded
    /// machine of two cores takes.
    pub fn new(serial: u32, address: SocketAddr, transport: Transport) -> Self {
        let (poll_ms, quiet_poll_ms, timeout_ms) = (250, 500, 1_000);
        Self { serial, address, transport, poll_ms, quiet_poll_ms, timeout_ms, in_flight: 1 }
    }
}

/// The file.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// How many transactions the journal can hold.
    pub capacity_entries: u64,
    /// Where boards push their events to.
    pub listen: Option<SocketAddr>,
    /// What is done about the controllers' clocks, where it is said.
    pub clocks: Option<Clocks>,
    /// The controllers.
    pub controllers: Vec<Line>,
    /// The lines with controllers of the link protocol.
    pub buses: Vec<Wired>,
    /// The lines whose units speak Modbus, where there are any.
    pub modbus: Option<ModbusLines>,
}

/// What is done about the controllers' clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// Whether they may be set.
    pub set: bool,
    /// How far they may be off, in seconds.
    pub limit_s: u64,
}

impl Configuration {
    /// As it is written.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "bundle = \"gateway.bundle.json\"\ndata_dir = \"data\"\n\n\
             [journal]\ncapacity_entries = {}\n",
            self.capacity_entries
        );
        if let Some(listen) = self.listen {
            let _ = write!(text, "\n[uhppote]\nlisten = \"{listen}\"\n");
        }
        if let Some(Clocks { set, limit_s }) = self.clocks {
            let _ = write!(text, "\n[clock]\nset = {set}\nlimit_s = {limit_s}\n");
        }
        for line in &self.controllers {
            let Line { serial, address, transport, poll_ms, quiet_poll_ms, timeout_ms, in_flight } =
                line;
            let transport = match transport {
                Transport::Udp => "udp",
                Transport::Tcp => "tcp",
            };
            let _ = write!(
                text,
                "\n[[controller]]\nserial = {serial}\naddress = \"{address}\"\n\
                 transport = \"{transport}\"\nzone = \"Europe/Berlin\"\npoll_ms = {poll_ms}\n\
                 quiet_poll_ms = {quiet_poll_ms}\ntimeout_ms = {timeout_ms}\n\
                 in_flight = {in_flight}\n"
            );
        }
        for bus in &self.buses {
            text.push_str(&bus.configured());
        }
        if let Some(lines) = &self.modbus {
            text.push_str(&lines.configured());
        }
        text
    }
}
