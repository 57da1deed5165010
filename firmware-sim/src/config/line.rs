//! The lines of a configuration, and the controllers on them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_protocol::link::MAX_ADDRESS;
use postern_protocol::link::noise::Psk;
use serde::Deserialize;
use toml::Spanned;

use super::modbus::{Framing, Profiles, UnitConfig, UnitReader, UnitTable};
use super::{CARDS, Defaults, check_capacity, check_preload};
use crate::line::{LineSettings, Noise};
use crate::link::{Security, Setup};
use crate::random::Random;

/// The speed of a serial line that says none.
const BAUD: u32 = 115_200;

/// How long a controller takes to answer where nothing else is said.
const REPLY_US: u64 = 1_000;

/// The longest that it may take; slower ones misbehave.
const MAX_REPLY_US: u64 = 1_000_000;

/// How many events a link controller's log holds where nothing else is said.
const LINK_CAPACITY: usize = 4_096;

/// Keeps the draws of lines apart from all others of a seed, and from each other.
const STREAM: u64 = 1 << 47;

/// The longest name of a line.
const MAX_NAME: usize = 64;

/// A line, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LineTable {
    name: Spanned<String>,
    #[serde(default)]
    protocol: LineProtocol,
    framing: Option<Spanned<Framing>>,
    pty: Option<Spanned<PathBuf>>,
    tcp: Option<SocketAddr>,
    baud: Option<Spanned<u32>>,
    #[serde(default)]
    echo: bool,
    reply_us: Option<Spanned<u64>>,
    noise: Option<Spanned<Noise>>,
    #[serde(default)]
    station: Vec<Spanned<StationTable>>,
    #[serde(default)]
    unit: Vec<Spanned<UnitTable>>,
}

/// What is spoken on a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum LineProtocol {
    #[default]
    Link,
    Modbus,
}

impl LineTable {
    /// How many controllers are on it.
    pub(super) fn stations(&self) -> usize {
        self.station.len() + self.unit.len()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StationTable {
    address: Spanned<u8>,
    serial: Spanned<u32>,
    key: Option<Key>,
    plaintext: Option<bool>,
    capacity: Option<usize>,
    preload: Option<u32>,
    record_special_events: Option<bool>,
    cards: Option<Vec<u32>>,
}

/// A key of 32 bytes, as 64 hexadecimal digits.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Key(Psk);

impl TryFrom<String> for Key {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse_key(&text).map(|bytes| Self(Psk::new(bytes))).ok_or_else(|| {
            format!("a key of {} characters; expected 64 hexadecimal digits", text.chars().count())
        })
    }
}

fn parse_key(text: &str) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    let mut digits = text.chars().map(|digit| digit.to_digit(16));
    for byte in &mut key {
        let (high, low) = (digits.next()??, digits.next()??);
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    digits.next().is_none().then_some(key)
}

/// Where a host plugs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plug {
    /// A serial device; this becomes a link to it.
    Pty(PathBuf),
    /// The TCP port of a serial device server; port 0: anywhere free.
    Tcp(SocketAddr),
}

/// One line.
#[derive(Debug)]
pub struct LineConfig {
    /// Its name, unique in a simulator.
    pub name: String,
    /// Where a host plugs in.
    pub plug: Plug,
    /// What it is like; its seed is its own.
    pub settings: LineSettings,
    /// How long its controllers take to answer.
    pub reply_after: Duration,
    /// The controllers on it.
    pub members: Members,
}

/// Who is on a line. Nobody else is: two protocols on one line disturb each other.
#[derive(Debug)]
pub enum Members {
    /// Controllers of the link protocol.
    Link(Vec<StationConfig>),
    /// Modbus units.
    Modbus {
        /// How they are talked to.
        framing: Framing,
        /// They.
        units: Vec<UnitConfig>,
    },
}

impl LineConfig {
    /// The controllers of the link protocol on it.
    pub fn stations(&self) -> &[StationConfig] {
        match &self.members {
            Members::Link(stations) => stations,
            Members::Modbus { .. } => &[],
        }
    }

    /// The Modbus units on it.
    pub fn units(&self) -> &[UnitConfig] {
        match &self.members {
            Members::Link(_) => &[],
            Members::Modbus { units, .. } => units,
        }
    }
}

/// One controller on a line.
#[derive(Debug)]
pub struct StationConfig {
    /// What it is.
    pub setup: Setup,
    /// How many swipes happened before anyone could ask.
    pub preload: u32,
}

/// What is wrong, and where.
pub(super) type Wrong = (Range<usize>, String);

/// The lines of a file.
pub(super) struct Reader<'a> {
    pub(super) seed: u64,
    /// What paths are relative to.
    pub(super) dir: &'a Path,
    pub(super) defaults: &'a Defaults,
    pub(super) profiles: &'a Profiles,
    /// Of all controllers so far.
    pub(super) serials: &'a mut BTreeSet<u32>,
}

impl Reader<'_> {
    pub(super) fn read(
        &mut self,
        tables: Vec<Spanned<LineTable>>,
    ) -> Result<Vec<LineConfig>, Wrong> {
        let (mut names, mut plugs) = (BTreeSet::new(), BTreeSet::new());
        let mut lines = Vec::new();
        for table in tables {
            let place = table.span();
            let table = table.into_inner();
            check_line_name(table.name.get_ref()).map_err(|what| (table.name.span(), what))?;
            if !names.insert(table.name.get_ref().clone()) {
                let what = format!("there is a line {} already", table.name.get_ref());
                return Err((table.name.span(), what));
            }
            if let Some(pty) = &table.pty
                && !plugs.insert(pty.get_ref().clone())
            {
                let what = format!("another line is at {} already", pty.get_ref().display());
                return Err((pty.span(), what));
            }
            let number = u64::try_from(lines.len()).unwrap_or(u64::MAX);
            lines.push(self.line(number, &place, table)?);
        }
        Ok(lines)
    }

    fn line(
        &mut self,
        number: u64,
        place: &Range<usize>,
        table: LineTable,
    ) -> Result<LineConfig, Wrong> {
        let plug = match (&table.pty, table.tcp) {
            (Some(pty), None) => Plug::Pty(self.dir.join(pty.get_ref())),
            (None, Some(address)) => Plug::Tcp(address),
            (Some(_), Some(_)) | (None, None) => {
                let what = "a line has one plug: expected either `pty = \"PATH\"` or \
                            `tcp = \"ADDRESS:PORT\"`";
                return Err((place.clone(), what.to_owned()));
            }
        };
        let unsaid = match plug {
            Plug::Pty(_) => BAUD,
            Plug::Tcp(_) => 0,
        };
        let framing = framing_of(table.protocol, table.framing.as_ref(), &plug)?;
        let is_header = framing == Some(Framing::Tcp);
        if is_header {
            serial_alone(&table)?;
        }
        let (baud, place_of_baud) = said(table.baud, unsaid, place);
        if baud == 0 && matches!(plug, Plug::Pty(_)) {
            let what = "a serial line has a speed; 0 is for tcp only, where bytes take no time";
            return Err((place_of_baud, what.to_owned()));
        }
        let (noise, place_of_noise) = said(table.noise, Noise::default(), place);
        noise.check().map_err(|what| (place_of_noise, what))?;
        let seed = Random::new(self.seed, STREAM | number).draw();
        let settings =
            LineSettings { baud, noise, echo: table.echo, seed, ..LineSettings::default() };
        settings.check().map_err(|what| (place_of_baud, what))?;
        let (reply_us, place_of_reply) =
            said(table.reply_us, if is_header { 0 } else { REPLY_US }, place);
        if reply_us > MAX_REPLY_US {
            let what = format!("reply_us {reply_us}; expected at most {MAX_REPLY_US}");
            return Err((place_of_reply, what));
        }
        let members = self.members(framing, place, table.station, table.unit)?;
        Ok(LineConfig {
            name: table.name.into_inner(),
            plug,
            settings,
            reply_after: Duration::from_micros(reply_us),
            members,
        })
    }

    /// Who is on a line; without a framing it is one of the link protocol. Addresses are unique there, so that
    /// there are few hundred at most.
    fn members(
        &mut self,
        framing: Option<Framing>,
        place: &Range<usize>,
        stations: Vec<Spanned<StationTable>>,
        units: Vec<Spanned<UnitTable>>,
    ) -> Result<Members, Wrong> {
        let wrong = |what: &str| Err((place.clone(), what.to_owned()));
        let Some(framing) = framing else {
            if !units.is_empty() {
                return wrong("a line with [[line.unit]] has `protocol = \"modbus\"`");
            }
            if stations.is_empty() {
                return wrong("nobody is on this line; expected at least one [[line.station]]");
            }
            let mut addresses = BTreeSet::new();
            let station = |table| self.station(table, &mut addresses);
            return stations.into_iter().map(station).collect::<Result<_, _>>().map(Members::Link);
        };
        if !stations.is_empty() {
            return wrong("on a Modbus line there are units: expected [[line.unit]]");
        }
        if units.is_empty() {
            return wrong("nobody is on this line; expected at least one [[line.unit]]");
        }
        let Self { seed, defaults, profiles, .. } = *self;
        let units =
            UnitReader { seed, defaults, profiles, serials: self.serials }.read(framing, units)?;
        Ok(Members::Modbus { framing, units })
    }

    fn station(
        &mut self,
        table: Spanned<StationTable>,
        addresses: &mut BTreeSet<u8>,
    ) -> Result<StationConfig, Wrong> {
        let place = table.span();
        let table = table.into_inner();
        let address = *table.address.get_ref();
        if !(1..=MAX_ADDRESS).contains(&address) {
            let what = format!("address {address}; expected 1 to {MAX_ADDRESS}");
            return Err((table.address.span(), what));
        }
        if !addresses.insert(address) {
            let what = format!("this line has a station {address} already");
            return Err((table.address.span(), what));
        }
        let serial = *table.serial.get_ref();
        super::check_serial(serial, self.serials).map_err(|what| (table.serial.span(), what))?;
        let security = match (table.key, table.plaintext) {
            (Some(Key(key)), None | Some(false)) => Security::Key(key),
            (None, Some(true)) => Security::Plaintext,
            (Some(_), Some(true)) | (None, None | Some(false)) => {
                let what = "expected either `key = \"64 hexadecimal digits\"` or \
                            `plaintext = true`; there is no default key";
                return Err((place, what.to_owned()));
            }
        };
        let defaults = self.defaults;
        let special = table.record_special_events.or(defaults.record_special_events);
        let setup = Setup {
            seed: self.seed,
            serial,
            address,
            security,
            capacity: table.capacity.or(defaults.capacity).unwrap_or(LINK_CAPACITY),
            record_special_events: special.unwrap_or(false),
            cards: table
                .cards
                .or_else(|| defaults.cards.clone())
                .unwrap_or_else(|| CARDS.collect()),
        };
        let preload = table.preload.or(defaults.preload).unwrap_or(0);
        check_capacity(setup.capacity)
            .and_then(|()| check_preload(preload))
            .map_err(|what| (place, what))?;
        Ok(StationConfig { setup, preload })
    }
}

/// How a line's units are talked to, where it has any: as its plug suggests, unless it says so itself.
fn framing_of(
    protocol: LineProtocol,
    said: Option<&Spanned<Framing>>,
    plug: &Plug,
) -> Result<Option<Framing>, Wrong> {
    match (protocol, said, plug) {
        (LineProtocol::Link, None, _) => Ok(None),
        (LineProtocol::Link, Some(said), _) => {
            Err((said.span(), "framing is for `protocol = \"modbus\"` only".to_owned()))
        }
        (LineProtocol::Modbus, Some(said), Plug::Pty(_)) if *said.get_ref() == Framing::Tcp => {
            Err((said.span(), "a serial device has framing rtu; tcp is for tcp only".to_owned()))
        }
        (LineProtocol::Modbus, Some(said), _) => Ok(Some(*said.get_ref())),
        (LineProtocol::Modbus, None, Plug::Pty(_)) => Ok(Some(Framing::Rtu)),
        (LineProtocol::Modbus, None, Plug::Tcp(_)) => Ok(Some(Framing::Tcp)),
    }
}

/// What a network does not have.
fn serial_alone(table: &LineTable) -> Result<(), Wrong> {
    let what = "this is for serial lines; behind Modbus TCP there is none (framing = \"rtu\" makes it one)";
    let baud = table.baud.as_ref().map(Spanned::span);
    match baud.or_else(|| table.noise.as_ref().map(Spanned::span)) {
        Some(place) => Err((place, what.to_owned())),
        None => Ok(()),
    }
}

/// A value with its place, or what stands for it where it is left out.
fn said<T>(value: Option<Spanned<T>>, unsaid: T, line: &Range<usize>) -> (T, Range<usize>) {
    match value {
        Some(value) => {
            let place = value.span();
            (value.into_inner(), place)
        }
        None => (unsaid, line.clone()),
    }
}

/// It stands in paths of the control API.
pub(crate) fn check_line_name(name: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_plain) {
        Ok(())
    } else {
        Err(format!("`{name}` is no name; expected 1 to {MAX_NAME} letters, digits, `-` and `_`"))
    }
}
