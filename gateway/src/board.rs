//! The board: what every task last said about itself, for the control socket and for health.
//!
//! Tasks write their own lines and read nobody's; nothing is decided from the board.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postern_protocol::{ControllerId, RoleTerm, Seq};
use serde::Serialize;
use tokio::time::Instant;

use crate::clock;
use crate::collector::{Observer, Report};
use crate::config::Bus;
use crate::driver::line::LineSettings;
use crate::driver::link::{Stats, Tap};
use crate::driver::{Doorbell, LineCounters};
use crate::journal::Salvaged;

/// How the link to a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// It answers.
    Ok,
    /// It does not.
    Failed {
        /// A stable word: `unreachable`, `not_tls`, `wrong_certificate`, `refused`, …
        code: &'static str,
        /// The same for people.
        message: String,
    },
}

/// A server, as `postern status` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct ServerLine {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub address: String,
    /// `ok`, `unknown`, or what is wrong.
    pub link: &'static str,
    /// What is wrong, for people.
    pub message: Option<String>,
}

/// The uplink, as `postern status` shows it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct UplinkLine {
    /// `no_active_server`, `asking`, `sending`, `waiting`, `idle`.
    pub state: &'static str,
    /// The active server.
    pub active: Option<String>,
    /// Under which role term.
    pub role_term: Option<RoleTerm>,
    /// What it has stored.
    pub stored: Option<Seq>,
    /// Role documents that were refused.
    pub bad_roles: u64,
}

/// How what is said between the gateway and a controller is kept from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// As the maker of the board has it; the gateway has no say in it.
    Board,
    /// By a key that the two share.
    Sealed,
    /// Not at all: it is configured so.
    Plaintext,
    /// It is to be, but the gateway has no key for it.
    NoKey,
}

/// Where on a bus a controller is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusPlace {
    /// The bus's name.
    pub bus: String,
    /// The station's address on it.
    pub station: u8,
}

/// A controller, as `postern controllers` shows it.
#[derive(Clone, Debug)]
pub struct ControllerLine {
    /// Where it is.
    pub address: String,
    /// Over what.
    pub transport: &'static str,
    /// Its zone.
    pub zone: String,
    /// Where on a bus, if several may share one.
    pub place: Option<BusPlace>,
    /// How the line to it is kept from others.
    pub security: Security,
    /// How it stands.
    pub report: Report,
    /// What was seen on its line.
    pub counters: LineCounters,
    /// How often it pushed an event.
    pub doorbell: Arc<Doorbell>,
    /// From where else events with its serial number came last, and when.
    pub strayed: Option<(SocketAddr, Instant)>,
}

/// A line with stations, as `postern bus` shows it.
#[derive(Clone, Debug)]
pub struct BusLine {
    /// Its name.
    pub name: String,
    /// `serial`, `tcp`.
    pub transport: &'static str,
    /// Its device or address.
    pub address: String,
    /// Bits a second, where it is a serial line.
    pub baud: Option<u32>,
    /// Its stations: address and controller.
    pub stations: Vec<(u8, ControllerId)>,
    /// What was seen on it.
    pub stats: Stats,
    /// Its frames, for who listens.
    pub tap: Tap,
}

impl BusLine {
    /// A line of the configuration.
    pub fn new(bus: &Bus, stats: Stats, tap: Tap) -> Self {
        let baud = match bus.line {
            LineSettings::Serial { baud, .. } => Some(baud),
            LineSettings::Tcp { .. } => None,
        };
        Self {
            name: bus.name.clone(),
            transport: bus.line.transport(),
            address: bus.line.to_string(),
            baud,
            stations: bus.stations.iter().map(|each| (each.address, each.controller())).collect(),
            stats,
            tap,
        }
    }
}

#[derive(Default)]
struct Lines {
    buses: Vec<BusLine>,
    servers: BTreeMap<String, (String, Option<Link>)>,
    uplink: UplinkLine,
    controllers: BTreeMap<ControllerId, ControllerLine>,
    salvaged: Option<Salvaged>,
}

/// See the module. Clones share it.
#[derive(Clone, Default)]
pub struct Board {
    lines: Arc<Mutex<Lines>>,
    /// Whether our own clock is known to be right: the uplink compares it with the servers'.
    pub clock: clock::OwnClock,
    /// Datagrams to the event port that were no event of a board of ours.
    pub refused_pushes: Arc<AtomicU64>,
}

impl Board {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        // A panic elsewhere leaves lines that are old, never lines that are half.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a server.
    pub fn add_server(&self, name: &str, address: &str) {
        self.lines().servers.insert(name.to_owned(), (address.to_owned(), None));
    }

    /// Adds a line with stations.
    pub fn add_bus(&self, bus: BusLine) {
        self.lines().buses.push(bus);
    }

    /// The lines with stations, in the order of the configuration.
    pub fn buses(&self) -> Vec<BusLine> {
        self.lines().buses.clone()
    }

    /// Adds a controller.
    pub fn add_controller(&self, controller: ControllerId, line: ControllerLine) {
        self.lines().controllers.insert(controller, line);
    }

    /// How the link to a server is now; logged when it changes.
    pub fn set_link(&self, server: &str, link: Link) {
        let mut lines = self.lines();
        let Some((address, known)) = lines.servers.get_mut(server) else { return };
        if known.as_ref() == Some(&link) {
            return;
        }
        match &link {
            Link::Ok => tracing::info!(server, %address, "server answers"),
            Link::Failed { code, message } => {
                tracing::info!(server, %address, code, "server does not answer: {message}");
            }
        }
        *known = Some(link);
    }

    /// A role document was refused.
    pub fn count_bad_role(&self) {
        self.lines().uplink.bad_roles += 1;
    }

    /// How the uplink stands; what the active server had stored last stays until it says more.
    pub fn set_uplink(&self, line: UplinkLine) {
        let mut lines = self.lines();
        let known = lines.uplink.stored.filter(|_| lines.uplink.role_term == line.role_term);
        let (stored, bad_roles) = (line.stored.or(known), lines.uplink.bad_roles);
        lines.uplink = UplinkLine { stored, bad_roles, ..line };
    }

    /// The last salvage whose damaged file still lies beside the journal.
    pub fn set_salvaged(&self, salvaged: Option<Salvaged>) {
        self.lines().salvaged = salvaged;
    }

    /// See [`Board::set_salvaged`].
    pub fn salvaged(&self) -> Option<Salvaged> {
        self.lines().salvaged.clone()
    }

    /// An event with this controller's number came from another address.
    pub fn note_stray(&self, controller: ControllerId, from: SocketAddr, now: Instant) {
        if let Some(line) = self.lines().controllers.get_mut(&controller) {
            line.strayed = Some((from, now));
        }
    }

    /// The servers.
    pub fn servers(&self) -> Vec<ServerLine> {
        let line = |(name, (address, link)): (&String, &(String, Option<Link>))| {
            let (link, message) = match link {
                None => ("unknown", None),
                Some(Link::Ok) => ("ok", None),
                Some(Link::Failed { code, message }) => (*code, Some(message.clone())),
            };
            ServerLine { name: name.clone(), address: address.clone(), link, message }
        };
        self.lines().servers.iter().map(line).collect()
    }

    /// The uplink.
    pub fn uplink(&self) -> UplinkLine {
        self.lines().uplink.clone()
    }

    /// The controllers.
    pub fn controllers(&self) -> BTreeMap<ControllerId, ControllerLine> {
        self.lines().controllers.clone()
    }
}

/// Writes one controller's line.
pub struct ControllerObserver {
    /// Where.
    pub board: Board,
    /// Whose.
    pub controller: ControllerId,
}

impl Observer for ControllerObserver {
    fn observe(&mut self, report: Report, counters: LineCounters) {
        let mut lines = self.board.lines();
        let Some(line) = lines.controllers.get_mut(&self.controller) else { return };
        line.counters = counters;
        line.report = report;
    }
}

/// A controller in JSON.
pub fn controller_json(controller: ControllerId, line: &ControllerLine) -> serde_json::Value {
    let report = &line.report;
    let cursor = report.cursor;
    let identity = report.identity.as_ref();
    // Counted where they arrive: the driver does not see them.
    let counters = LineCounters { pushes: line.doorbell.count(), ..line.counters };
    let mut value = serde_json::json!({
        "controller": controller,
        "address": line.address,
        "transport": line.transport,
        "zone": line.zone,
        "security": line.security,
        "state": report.stage,
        "epoch": cursor.map(|cursor| cursor.epoch),
        "cursor": cursor.map(|cursor| cursor.index),
        "collected": report.collected,
        "gaps": report.gaps,
        "restarts": report.restarts,
        "contradictions": report.contradictions,
        "failure": report.failure.map(|failure| failure.to_string()),
        "last_contact": report.last_contact.map(clock::text),
        "model": identity.map(|identity| &identity.model),
        "firmware": identity.map(|identity| &identity.firmware),
        "clock": report.clock,
        "clock_sets": report.clock_sets,
        "line": counters,
    });
    if let Some(BusPlace { bus, station }) = &line.place {
        value["bus"] = serde_json::json!(bus);
        value["station"] = serde_json::json!(station);
    }
    value
}
