//! The simulator's configuration: a TOML file. Every mistake is shown with its place in the file.

mod line;
mod modbus;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::ops::Range;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use postern_protocol::modbus::profile::Profile;
use postern_protocol::uhppote::field::{Mac, Version};
use serde::Deserialize;
use toml::Spanned;

use crate::controller::Setup;
pub(crate) use line::check_line_name;
pub use line::{LineConfig, Members, Plug, StationConfig};
use line::{LineTable, Reader};
use modbus::Profiles;
pub use modbus::{Framing, UnitConfig};

/// The most swipes a second that one simulator makes; above it the clock of a run would slip.
pub const MAX_RATE: f64 = 10_000.0;

/// The most controllers in one simulator: a board has two sockets, and 1,024 descriptors are a usual
/// limit.
pub const MAX_CONTROLLERS: usize = 400;

/// The most events that one request or one configuration line generates.
pub const MAX_GENERATE: u32 = 10_000_000;

/// The largest log: four times the index space of what a real board could fill in a year, and still
/// memory that a machine has.
const MAX_CAPACITY: usize = 4_000_000;

/// What real boards do.
const CAPACITY: usize = 200_000;
const CHUNK: usize = 2_048;
const FIRMWARE: Version = Version { major: 8, minor: 92 };

/// Cards of a board whose configuration names none.
const CARDS: Range<u32> = 8_165_501..8_165_525;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot read the configuration", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Something in it is wrong.
    #[error("{}:{line}: {message}", path.display())]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// What, with the place pointed at.
        message: String,
    },
}

/// The file, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    seed: u64,
    ledger: PathBuf,
    #[serde(default = "any_loopback_port")]
    api: Spanned<SocketAddr>,
    discovery: Option<SocketAddrV4>,
    #[serde(default)]
    people: People,
    #[serde(default)]
    defaults: Defaults,
    controller: Option<Spanned<Vec<Spanned<Board>>>>,
    #[serde(default)]
    line: Vec<Spanned<LineTable>>,
    #[serde(default)]
    profile: BTreeMap<String, Spanned<Profile>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct People {
    rate: Option<Spanned<f64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Defaults {
    capacity: Option<usize>,
    chunk: Option<usize>,
    zone: Option<Zone>,
    firmware: Option<Firmware>,
    preload: Option<u32>,
    record_special_events: Option<bool>,
    cards: Option<Vec<u32>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Board {
    serial: Spanned<u32>,
    #[serde(default = "any_local_port")]
    address: SocketAddrV4,
    capacity: Option<usize>,
    chunk: Option<usize>,
    zone: Option<Zone>,
    firmware: Option<Firmware>,
    first_index: Option<u32>,
    preload: Option<u32>,
    record_special_events: Option<bool>,
    cards: Option<Vec<u32>>,
    mac: Option<Mac>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Zone(TimeZone);

impl TryFrom<String> for Zone {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        TimeZone::get(&name)
            .map(Self)
            .map_err(|_| format!("no time zone `{name}`; expected a name such as Europe/Berlin"))
    }
}

/// A version that the wire can carry: two parts of two digits.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Firmware(Version);

impl TryFrom<String> for Firmware {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| format!("`{text}` is no version such as \"8.92\""))
    }
}

/// What the simulator is to do.
#[derive(Debug)]
pub struct Config {
    /// Where chance begins.
    pub seed: u64,
    /// The ground truth; a relative path is relative to the configuration file.
    pub ledger: PathBuf,
    /// Where the control API listens: a loopback address.
    pub api: SocketAddr,
    /// Where a broadcast reaches every board.
    pub discovery: Option<SocketAddrV4>,
    /// Swipes a second over all controllers.
    pub rate: f64,
    /// The boards.
    pub boards: Vec<BoardConfig>,
    /// The lines with the controllers on them.
    pub lines: Vec<LineConfig>,
}

/// One board.
#[derive(Debug)]
pub struct BoardConfig {
    /// What it is.
    pub setup: Setup,
    /// Where it listens, UDP and TCP; port 0: anywhere free.
    pub address: SocketAddrV4,
    /// How many swipes happened before anyone could connect.
    pub preload: u32,
}

impl Config {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let mut config = Self::parse(path, &text)?;
        // Said when ready and in the status; whoever reads that has another working directory.
        config.ledger = std::path::absolute(&config.ledger).unwrap_or(config.ledger);
        for line in &mut config.lines {
            if let Plug::Pty(link) = &mut line.plug
                && let Ok(absolute) = std::path::absolute(&link)
            {
                *link = absolute;
            }
        }
        Ok(config)
    }

    /// Reads the text of a file; `path` is for messages and for what is relative to it.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text).map_err(|error| {
            let place = error.span().unwrap_or_default();
            let message = error.to_string();
            ConfigError::Wrong { path: path.to_owned(), line: line_of(text, &place), message }
        })?;
        let wrong = |place: Range<usize>, what: String| ConfigError::Wrong {
            path: path.to_owned(),
            line: line_of(text, &place),
            message: pointed_at(text, &place, &what),
        };

        if !file.api.get_ref().ip().is_loopback() {
            let what = "the control API has no authentication and binds loopback only; \
                        expected 127.0.0.1:PORT";
            return Err(wrong(file.api.span(), what.to_owned()));
        }
        let rate = file.people.rate.as_ref().map_or(0.0, |rate| *rate.get_ref());
        if let Err(what) = check_rate(rate) {
            return Err(wrong(file.people.rate.map_or(0..0, |rate| rate.span()), what));
        }
        let place_of_list = file.controller.as_ref().map_or(0..0, Spanned::span);
        let boards = file.controller.map_or_else(Vec::new, Spanned::into_inner);
        let stations: usize = file.line.iter().map(|line| line.get_ref().stations()).sum();
        let count = boards.len() + stations;
        if (boards.is_empty() && file.line.is_empty()) || count > MAX_CONTROLLERS {
            let what = format!(
                "{count} controllers; expected 1 to {MAX_CONTROLLERS}, as [[controller]] or on a \
                 [[line]]"
            );
            return Err(wrong(place_of_list, what));
        }
        let mut serials = BTreeSet::new();
        let mut configs = Vec::new();
        for board in boards {
            let place = board.get_ref().serial.span();
            let serial = *board.get_ref().serial.get_ref();
            check_serial(serial, &mut serials).map_err(|what| wrong(place, what))?;
            let place_of_board = board.span();
            let config = board.into_inner().with(&file.defaults);
            config.check().map_err(|what| wrong(place_of_board, what))?;
            configs.push(config);
        }
        let dir = path.parent().unwrap_or(Path::new(""));
        let defaults = &file.defaults;
        let profiles = Profiles::new(file.profile).map_err(|(place, what)| wrong(place, what))?;
        let (seed, profiles) = (file.seed, &profiles);
        let lines = Reader { seed, dir, defaults, profiles, serials: &mut serials }
            .read(file.line)
            .map_err(|(place, what)| wrong(place, what))?;
        let ledger = dir.join(file.ledger);
        Ok(Self {
            seed: file.seed,
            ledger,
            api: file.api.into_inner(),
            discovery: file.discovery,
            rate,
            boards: configs,
            lines,
        })
    }
}

/// What is wrong with a number of swipes a second.
pub fn check_rate(rate: f64) -> Result<(), String> {
    if (0.0..=MAX_RATE).contains(&rate) {
        Ok(())
    } else {
        Err(format!("a rate of {rate} swipes a second; expected 0 to {MAX_RATE}"))
    }
}

impl Board {
    fn with(self, defaults: &Defaults) -> BoardConfig {
        let serial = self.serial.into_inner();
        let [_, a, b, c] = serial.to_be_bytes();
        let zone = self.zone.or_else(|| defaults.zone.clone());
        let firmware = self.firmware.or(defaults.firmware);
        let special = self.record_special_events.or(defaults.record_special_events);
        let cards = self.cards.or_else(|| defaults.cards.clone());
        BoardConfig {
            setup: Setup {
                serial,
                address: *self.address.ip(),
                mac: self.mac.unwrap_or(Mac([0x00, 0x66, 0x19, a, b, c])),
                firmware: firmware.map_or(FIRMWARE, |firmware| firmware.0),
                zone: zone.map_or(TimeZone::UTC, |zone| zone.0),
                capacity: self.capacity.or(defaults.capacity).unwrap_or(CAPACITY),
                chunk: self.chunk.or(defaults.chunk).unwrap_or(CHUNK),
                first_index: self.first_index.unwrap_or(1),
                record_special_events: special.unwrap_or(false),
                cards: cards.unwrap_or_else(|| CARDS.collect()),
            },
            address: self.address,
            preload: self.preload.or(defaults.preload).unwrap_or(0),
        }
    }
}

impl BoardConfig {
    fn check(&self) -> Result<(), String> {
        let (capacity, chunk) = (self.setup.capacity, self.setup.chunk);
        check_capacity(capacity)?;
        if !(1..=capacity).contains(&chunk) {
            return Err(format!("chunk {chunk}; expected 1 to the capacity, {capacity}"));
        }
        if !(1..=crate::ring::LAST_INDEX).contains(&self.setup.first_index) {
            return Err(format!("first_index {}; no event has it", self.setup.first_index));
        }
        check_preload(self.preload)
    }
}

fn check_capacity(capacity: usize) -> Result<(), String> {
    if (1..=MAX_CAPACITY).contains(&capacity) {
        Ok(())
    } else {
        Err(format!("capacity {capacity}; expected 1 to {MAX_CAPACITY}"))
    }
}

fn check_preload(preload: u32) -> Result<(), String> {
    if preload <= MAX_GENERATE {
        Ok(())
    } else {
        Err(format!("preload {preload}; expected at most {MAX_GENERATE}"))
    }
}

/// Serial numbers are unique over boards and lines: the control API knows controllers by them.
fn check_serial(serial: u32, known: &mut BTreeSet<u32>) -> Result<(), String> {
    if serial == 0 {
        return Err("0 is no serial number".to_owned());
    }
    if known.insert(serial) {
        Ok(())
    } else {
        Err(format!("there is a controller {serial} already"))
    }
}

fn any_loopback_port() -> Spanned<SocketAddr> {
    Spanned::new(0..0, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
}

fn any_local_port() -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)
}

fn line_of(text: &str, place: &Range<usize>) -> usize {
    text.bytes().take(place.start).filter(|byte| *byte == b'\n').count() + 1
}

/// The same picture that TOML errors draw, for what only makes sense as a whole.
fn pointed_at(text: &str, place: &Range<usize>, what: &str) -> String {
    let line = line_of(text, place);
    let shown = text.lines().nth(line - 1).unwrap_or("");
    let begin = text.get(..place.start).and_then(|head| head.rfind('\n')).map_or(0, |at| at + 1);
    let column = place.start.saturating_sub(begin);
    let width = place.len().clamp(1, shown.len().saturating_sub(column).max(1));
    let margin = " ".repeat(line.to_string().len());
    format!(
        "{what}\n{margin} |\n{line} | {shown}\n{margin} | {}{}",
        " ".repeat(column),
        "^".repeat(width)
    )
}

#[cfg(test)]
mod tests;
