//! The gateway's configuration: one TOML file. Errors name file, line and column, show the line with a
//! caret, and say what would be allowed; nothing is started with a wrong one.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use postern_protocol::pki::Bundle;
use postern_protocol::uhppote::PORT;
use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;

use crate::collector::ClockSettings;
use crate::driver::uhppote::Transport;
use crate::driver::uhppote::client::MAX_IN_FLIGHT;
use crate::journal::Capacity;

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    bundle: PathBuf,
    data_dir: PathBuf,
    #[serde(default)]
    journal: JournalSection,
    #[serde(default)]
    clock: ClockSection,
    #[serde(default)]
    uhppote: UhppoteSection,
    #[serde(default)]
    controller: Vec<ControllerSection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct JournalSection {
    capacity_entries: Spanned<u64>,
    capacity_mb: Spanned<u64>,
    profile: Profile,
    syncs_per_second: Option<Spanned<u32>>,
}

impl Default for JournalSection {
    fn default() -> Self {
        // 120 hours at 20 transactions a second are 8.6 million. A transaction takes 120 bytes where
        // many share a commit, 250 where each has its own.
        Self {
            capacity_entries: Spanned::new(0..0, 1_000_000),
            capacity_mb: Spanned::new(0..0, 512),
            profile: Profile::Disk,
            syncs_per_second: None,
        }
    }
}

/// What the journal lies on.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Profile {
    /// As many syncs as there is work for.
    Disk,
    /// Flash memory wears with every sync: at most four a second, while controllers hold their own.
    Flash,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ClockSection {
    set: bool,
    limit_s: Spanned<u64>,
}

impl Default for ClockSection {
    fn default() -> Self {
        Self { set: false, limit_s: Spanned::new(0..0, 10) }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct UhppoteSection {
    listen: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ControllerSection {
    serial: Spanned<u32>,
    address: Spanned<String>,
    #[serde(default = "udp")]
    transport: Transport,
    zone: Spanned<String>,
    #[serde(default)]
    poll_ms: Option<Spanned<u64>>,
    #[serde(default)]
    quiet_poll_ms: Option<Spanned<u64>>,
    #[serde(default)]
    timeout_ms: Option<Spanned<u64>>,
    #[serde(default)]
    in_flight: Option<Spanned<u32>>,
    #[serde(default)]
    set_clock: Option<bool>,
}

fn udp() -> Transport {
    Transport::Udp
}

/// The configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who this gateway is and which servers there are.
    pub bundle: Bundle,
    /// Where journal and control socket lie.
    pub data_dir: PathBuf,
    /// How much the journal may hold.
    pub capacity: Capacity,
    /// The most syncs of the journal a second under sustained traffic.
    pub syncs_per_second: Option<NonZeroU32>,
    /// Where boards push their events to, if they do.
    pub listen: Option<SocketAddr>,
    /// The controllers, by serial number.
    pub controllers: BTreeMap<u32, Controller>,
}

/// One controller.
#[derive(Clone, Debug)]
pub struct Controller {
    /// Where it is.
    pub address: SocketAddr,
    /// Over what it is talked to.
    pub transport: Transport,
    /// The IANA name of its zone.
    pub zone_name: String,
    /// Its zone.
    pub zone: TimeZone,
    /// How often to look while something happens.
    pub poll: Duration,
    /// How often when nothing has happened for a while and nothing wakes us.
    pub quiet_poll: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How many requests may be in flight.
    pub in_flight: u32,
    /// What is to be done about its clock.
    pub clock: ClockSettings,
}

/// Why the configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file, or the bundle, cannot be read.
    #[error("cannot read {path}: {source}\nhint: {hint}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// Something in the file is wrong.
    #[error("{0}")]
    Wrong(String),
    /// The bundle is no bundle.
    #[error(
        "{path}: not a gateway bundle: {reason}\nhint: write one with `postern-server enrol` and point `bundle` at it"
    )]
    Bundle {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Shows a place of a file with a caret under it.
fn mark(path: &Path, text: &str, span: Option<Range<usize>>, message: &str, hint: &str) -> String {
    let hint = if hint.is_empty() { String::new() } else { format!("\nhint: {hint}") };
    let Some(span) = span.filter(|span| span.start <= text.len()) else {
        return format!("{}: {message}{hint}", path.display());
    };
    let before = text.get(..span.start).unwrap_or_default();
    let line_number = before.matches('\n').count() + 1;
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = text.get(line_start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    let width = span.end.saturating_sub(span.start).clamp(1, line.len().max(column) - column + 1);
    format!(
        "{}:{line_number}:{column}: {message}\n{line_number:>4} | {line}\n     | {}{}{hint}",
        path.display(),
        " ".repeat(column - 1),
        "^".repeat(width.max(1)),
    )
}

/// The smallest and largest journal, in MiB: below, a single group of appends would fill it; above, an
/// open takes longer than a failover may.
const CAPACITY_MB: std::ops::RangeInclusive<u64> = 2..=16_384;

/// The ceiling of the flash profile.
const FLASH_SYNCS_PER_SECOND: u32 = 4;

/// The shortest and longest poll interval, in milliseconds: faster only loads the boards, slower is
/// no longer live.
const POLL_MS: std::ops::RangeInclusive<u64> = 50..=60_000;

/// Where the file says nothing: soon enough that somebody at a door is seen while there.
const POLL_DEFAULT_MS: u64 = 500;

/// Where the file says nothing: what a lost push costs, while 200 quiet boards cost next to nothing.
const QUIET_POLL_DEFAULT_MS: u64 = 2_000;

/// Where the file says nothing, in milliseconds.
const TIMEOUT_DEFAULT_MS: u64 = 2_500;

/// How far a clock may be off, in seconds: boards count whole seconds, and beyond an hour nothing is
/// corrected without an operator.
const CLOCK_LIMIT_S: std::ops::RangeInclusive<u64> = 2..=3_600;

/// The shortest and longest time for an answer, in milliseconds.
pub const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 50..=30_000;

impl Config {
    /// Reads and checks the file, and the bundle that it names. Paths are relative to the file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = Outline::read(path)?;
        let (file, checked) = parse(path, &text)?;
        let base = path.parent().unwrap_or(Path::new(""));
        let bundle_path = base.join(&file.bundle);
        let hint = "write one with `postern-server enrol GATEWAY` and point `bundle` at it";
        let bundle = serde_json::from_str(&read(&bundle_path, hint)?).map_err(|error| {
            ConfigError::Bundle { path: bundle_path, reason: error.to_string() }
        })?;
        let Checked { capacity, syncs_per_second, listen, controllers } = checked;
        let data_dir = base.join(&file.data_dir);
        Ok(Self { bundle, data_dir, capacity, syncs_per_second, listen, controllers })
    }
}

/// What the file says by itself, without the bundle that it names: for what works with controllers
/// before the gateway is enrolled.
#[derive(Clone, Debug)]
pub struct Outline {
    /// Where boards push their events to, if they do.
    pub listen: Option<SocketAddr>,
    /// The controllers, by serial number.
    pub controllers: BTreeMap<u32, Controller>,
}

impl Outline {
    /// The text of a file.
    pub fn read(path: &Path) -> Result<String, ConfigError> {
        read(path, "name the configuration with -c FILE, or write one with `postern init`")
    }

    /// Checks a text; `path` is for messages.
    pub fn check(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let (_, Checked { listen, controllers, .. }) = parse(path, text)?;
        Ok(Self { listen, controllers })
    }
}

/// What an address is that cannot be one board's. The broadcast address of a network looks like any
/// other of its addresses to who does not know the mask; the loopback's is known.
pub(crate) fn not_one_board(ip: IpAddr) -> Option<&'static str> {
    let (is_broadcast, is_multicast) = match ip {
        IpAddr::V4(ip) => {
            (ip.is_broadcast() || ip.octets() == [127, 255, 255, 255], ip.is_multicast())
        }
        IpAddr::V6(ip) => (false, ip.is_multicast()),
    };
    match (ip.is_unspecified(), is_broadcast, is_multicast) {
        (true, _, _) => Some("no address of a board"),
        (_, true, _) => Some("a broadcast address"),
        (_, _, true) => Some("a multicast address"),
        _ => None,
    }
}

/// Reads a file; `hint` is for one that is not there.
fn read(path: &Path, hint: &'static str) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|source| {
        let path = path.to_owned();
        let is = |kind| source.kind() == kind;
        let hint = if is(io::ErrorKind::PermissionDenied) {
            "it is there, but not for you: run this as the gateway's user, or let that user read the file"
        } else if is(io::ErrorKind::IsADirectory) {
            "this is a directory; name the file in it"
        } else if is(io::ErrorKind::InvalidData) {
            "this is no text; is it the right file?"
        } else {
            hint
        };
        ConfigError::Unreadable { path, source, hint }
    })
}

fn parse(path: &Path, text: &str) -> Result<(File, Checked), ConfigError> {
    let file: File = toml::from_str(text).map_err(|error| {
        let hint = hint::of(error.message());
        ConfigError::Wrong(mark(path, text, error.span(), error.message(), &hint))
    })?;
    let checked = Checker { path, text }.check(&file)?;
    Ok((file, checked))
}

struct Checker<'a> {
    path: &'a Path,
    text: &'a str,
}

struct Checked {
    capacity: Capacity,
    syncs_per_second: Option<NonZeroU32>,
    listen: Option<SocketAddr>,
    controllers: BTreeMap<u32, Controller>,
}

impl Checker<'_> {
    fn wrong<T>(&self, at: &Spanned<T>, message: &str, hint: &str) -> ConfigError {
        ConfigError::Wrong(mark(self.path, self.text, Some(at.span()), message, hint))
    }

    fn check(&self, file: &File) -> Result<Checked, ConfigError> {
        let (capacity, syncs_per_second) = self.journal(&file.journal)?;
        let listen = file.uhppote.listen.as_ref().map(|listen| self.listen(listen)).transpose()?;
        let clock = self.clock(&file.clock)?;
        let mut controllers = BTreeMap::new();
        let mut addresses = BTreeMap::new();
        for section in &file.controller {
            let serial = *section.serial.get_ref();
            if serial == 0 {
                let hint = "the serial number stands on the board";
                return Err(self.wrong(&section.serial, "a board has no serial number 0", hint));
            }
            if controllers.insert(serial, self.controller(section, clock)?).is_some() {
                let message = format!("controller {serial} stands here a second time");
                let hint = "two boards with one serial number cannot be told apart; keep one";
                return Err(self.wrong(&section.serial, &message, hint));
            }
            let address = self.address(&section.address)?;
            if let Some(first) = addresses.insert(address, serial) {
                let message = format!("controller {first} stands at {address} as well");
                let hint = "one board listens at one address: correct one of the two, or take it out; then `postern controllers discover` shows which answers there";
                return Err(self.wrong(&section.address, &message, hint));
            }
        }
        Ok(Checked { capacity, syncs_per_second, listen, controllers })
    }

    fn journal(
        &self,
        section: &JournalSection,
    ) -> Result<(Capacity, Option<NonZeroU32>), ConfigError> {
        let (entries, mb) = (&section.capacity_entries, &section.capacity_mb);
        if *entries.get_ref() < 1_000 {
            let message = "the journal's capacity is below 1000 entries";
            return Err(self.wrong(entries, message, "a million entries are 120 to 250 MB"));
        }
        if !CAPACITY_MB.contains(mb.get_ref()) {
            let message = format!("a capacity of {} MB is out of range", mb.get_ref());
            let hint = format!("from {} to {} MB", CAPACITY_MB.start(), CAPACITY_MB.end());
            return Err(self.wrong(mb, &message, &hint));
        }
        let syncs = match (&section.syncs_per_second, section.profile) {
            (Some(syncs), _) => Some(NonZeroU32::new(*syncs.get_ref()).ok_or_else(|| {
                let hint = "leave it out for no ceiling, or write 4 for flash memory";
                self.wrong(syncs, "with 0 syncs a second nothing would ever be kept", hint)
            })?),
            (None, Profile::Flash) => NonZeroU32::new(FLASH_SYNCS_PER_SECOND),
            (None, Profile::Disk) => None,
        };
        let bytes = mb.get_ref() * 1024 * 1024;
        Ok((Capacity { entries: *entries.get_ref(), bytes }, syncs))
    }

    fn listen(&self, text: &Spanned<String>) -> Result<SocketAddr, ConfigError> {
        let address = self.address(text)?;
        if address.port() == PORT {
            let message = format!("port {PORT} is the boards' own");
            let hint = "boards push events to 60001 by default, and take requests on 60000: a gateway \
                        that listens there reads requests as events";
            return Err(self.wrong(text, &message, hint));
        }
        if address.port() == 0 {
            let hint = "boards usually push to port 60001";
            return Err(self.wrong(text, "port 0 is none that a board could push to", hint));
        }
        Ok(address)
    }

    fn clock(&self, section: &ClockSection) -> Result<ClockSettings, ConfigError> {
        let limit = self.within("s", &section.limit_s, &CLOCK_LIMIT_S)?;
        Ok(ClockSettings { limit: Duration::from_secs(limit), set: section.set })
    }

    fn controller(
        &self,
        section: &ControllerSection,
        clock: ClockSettings,
    ) -> Result<Controller, ConfigError> {
        let address = self.address(&section.address)?;
        if address.port() == 0 {
            let hint = format!("boards listen on port {PORT}");
            return Err(self.wrong(&section.address, "port 0 is no port of a board", &hint));
        }
        if let Some(what) = not_one_board(address.ip()) {
            let message = format!("{} is {what}", address.ip());
            let hint = "write the board's own address; `postern controllers discover` finds it once this section is out";
            return Err(self.wrong(&section.address, &message, hint));
        }
        let zone_name = section.zone.get_ref();
        let zone = TimeZone::get(zone_name).map_err(|_| {
            let message = format!("there is no time zone {zone_name:?}");
            self.wrong(&section.zone, &message, "use an IANA name such as \"Europe/Berlin\"")
        })?;
        let poll = self.duration(section.poll_ms.as_ref(), POLL_DEFAULT_MS, &POLL_MS)?;
        let quiet = section.quiet_poll_ms.as_ref();
        let quiet_poll = self.duration(quiet, QUIET_POLL_DEFAULT_MS, &POLL_MS)?.max(poll);
        let in_flight = match &section.in_flight {
            None => 1,
            Some(value) => {
                let number = Spanned::new(value.span(), u64::from(*value.get_ref()));
                self.within("requests", &number, &(1..=u64::from(MAX_IN_FLIGHT)))?;
                *value.get_ref()
            }
        };
        Ok(Controller {
            address,
            transport: section.transport,
            zone_name: zone_name.clone(),
            zone,
            poll,
            quiet_poll,
            // What tools for these boards usually allow.
            timeout: self.duration(section.timeout_ms.as_ref(), TIMEOUT_DEFAULT_MS, &TIMEOUT_MS)?,
            in_flight,
            clock: ClockSettings { set: section.set_clock.unwrap_or(clock.set), ..clock },
        })
    }

    fn duration(
        &self,
        value: Option<&Spanned<u64>>,
        default_ms: u64,
        allowed: &std::ops::RangeInclusive<u64>,
    ) -> Result<Duration, ConfigError> {
        let Some(value) = value else { return Ok(Duration::from_millis(default_ms)) };
        self.within("ms", value, allowed).map(Duration::from_millis)
    }

    fn within(
        &self,
        unit: &str,
        value: &Spanned<u64>,
        allowed: &std::ops::RangeInclusive<u64>,
    ) -> Result<u64, ConfigError> {
        if !allowed.contains(value.get_ref()) {
            let message = format!("{} {unit} is out of range", value.get_ref());
            let hint = format!("from {} to {} {unit}", allowed.start(), allowed.end());
            return Err(self.wrong(value, &message, &hint));
        }
        Ok(*value.get_ref())
    }

    fn address(&self, text: &Spanned<String>) -> Result<SocketAddr, ConfigError> {
        text.get_ref().parse().map_err(|_| {
            let message = format!("{:?} is no address", text.get_ref());
            self.wrong(text, &message, "write IP:PORT, such as \"192.168.1.100:60000\"")
        })
    }
}

mod hint;

#[cfg(test)]
mod tests;
