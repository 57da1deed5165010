//! The gateway's configuration: one TOML file. Errors name file, line and column, show the line with a
//! caret, and say what would be allowed; nothing is started with a wrong one.
//!
//! - `file`: tables and keys as they are written.
//! - `check`: what they may say.
//! - `bus`: the buses of the link protocol, written and checked.
//! - `hint`: what to do about what the parser complains of.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use postern_protocol::modbus::profile::Profile;
use postern_protocol::pki::Bundle;
use thiserror::Error;

use crate::collector::ClockSettings;
use crate::driver::line::LineSettings;
use crate::driver::uhppote::Transport;
use crate::journal::Capacity;

mod bus;
mod check;
mod file;
mod hint;
mod modbus;

pub(crate) use bus::{BAUD_DEFAULT, REPLY_MS, REPLY_SERIAL_DEFAULT_MS, REPLY_TCP_DEFAULT_MS};
pub use bus::{Bus, Station};

pub use check::TIMEOUT_MS;
pub(crate) use check::not_one_board;
use check::{Checked, Checker};
use file::File;
pub(crate) use modbus::built_in;
pub use modbus::{Modbus, ModbusUnit};

/// The configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who this gateway is and which servers there are.
    pub bundle: Bundle,
    /// Where journal, keys and control socket lie.
    pub data_dir: PathBuf,
    /// How much the journal may hold.
    pub capacity: Capacity,
    /// The most syncs of the journal a second under sustained traffic.
    pub syncs_per_second: Option<NonZeroU32>,
    /// Where boards push their events to, if they do.
    pub listen: Option<SocketAddr>,
    /// The controllers, by serial number.
    pub controllers: BTreeMap<u32, Controller>,
    /// The buses of the link protocol, as they stand in the file.
    pub buses: Vec<Bus>,
    /// The lines whose units speak Modbus, as they stand in the file.
    pub modbus: Vec<Modbus>,
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
        let Checked { capacity, syncs_per_second, listen, controllers, buses, modbus } = checked;
        let data_dir = base.join(&file.data_dir);
        Ok(Self {
            bundle,
            data_dir,
            capacity,
            syncs_per_second,
            listen,
            controllers,
            buses,
            modbus,
        })
    }

    /// How many controllers there are, on whatever line.
    pub fn controller_count(&self) -> usize {
        let stations: usize = self.buses.iter().map(|bus| bus.stations.len()).sum();
        let units = self.modbus.iter().flat_map(|line| &line.units);
        let logs: usize = units.map(|unit| unit.unit.logs().count()).sum();
        self.controllers.len() + stations + logs
    }
}

/// What the file says by itself, without the bundle that it names: for what works with controllers
/// before the gateway is enrolled.
#[derive(Clone, Debug)]
pub struct Outline {
    /// Where journal, keys and control socket lie.
    pub data_dir: PathBuf,
    /// Where boards push their events to, if they do.
    pub listen: Option<SocketAddr>,
    /// The controllers, by serial number.
    pub controllers: BTreeMap<u32, Controller>,
    /// The buses of the link protocol, as they stand in the file.
    pub buses: Vec<Bus>,
    /// The lines whose units speak Modbus, as they stand in the file.
    pub modbus: Vec<Modbus>,
    /// The profiles of the file, by name.
    pub profiles: BTreeMap<String, Profile>,
}

impl Outline {
    /// All lines that are talked over, by name.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (&str, &LineSettings)> {
        let buses = self.buses.iter().map(|bus| (bus.name.as_str(), &bus.line));
        let modbus = self.modbus.iter().map(|line| (line.name.as_str(), &line.wire.line));
        buses.chain(modbus)
    }

    /// The text of a file.
    pub fn read(path: &Path) -> Result<String, ConfigError> {
        read(path, "name the configuration with -c FILE, or write one with `postern init`")
    }

    /// Checks a text; `path` is for messages.
    pub fn check(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let (file, Checked { listen, controllers, buses, modbus, .. }) = parse(path, text)?;
        let data_dir = path.parent().unwrap_or(Path::new("")).join(&file.data_dir);
        let written = file.profile.into_iter();
        let profiles = written.map(|(name, profile)| (name, profile.into_inner())).collect();
        Ok(Self { data_dir, listen, controllers, buses, modbus, profiles })
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

/// A file with nothing but a profile.
pub(crate) fn profile_of(path: &Path, text: &str) -> Result<Profile, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let hint = "a file with a profile has what stands below [profile.NAME] in a configuration; docs/drivers/modbus.md has the reference";
        ConfigError::Wrong(mark(path, text, error.span(), error.message(), hint))
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

#[cfg(test)]
mod tests;
