//! The gateway's configuration file, as scenarios write it.

use std::fmt::Write as _;
use std::net::SocketAddr;

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
    /// How long an answer may take.
    pub timeout_ms: u64,
}

impl Line {
    /// One with times that suit tests: short against what they wait for, long against what a loaded
    /// machine of two cores takes.
    pub fn new(serial: u32, address: SocketAddr, transport: Transport) -> Self {
        Self { serial, address, transport, poll_ms: 250, timeout_ms: 1_000 }
    }
}

/// The file.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// How many transactions the journal can hold.
    pub capacity_entries: u64,
    /// Where boards push their events to.
    pub listen: Option<SocketAddr>,
    /// The controllers.
    pub controllers: Vec<Line>,
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
        for Line { serial, address, transport, poll_ms, timeout_ms } in &self.controllers {
            let transport = match transport {
                Transport::Udp => "udp",
                Transport::Tcp => "tcp",
            };
            let _ = write!(
                text,
                "\n[[controller]]\nserial = {serial}\naddress = \"{address}\"\n\
                 transport = \"{transport}\"\nzone = \"Europe/Berlin\"\npoll_ms = {poll_ms}\n\
                 timeout_ms = {timeout_ms}\n"
            );
        }
        text
    }
}
