//! The buses of the link protocol: lines with up to 126 stations each, written and checked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use postern_protocol::ControllerId;
use serde::Deserialize;
use toml::Spanned;

use super::check::{Checker, POLL_MS};
use super::{ConfigError, not_one_board};
use crate::collector::ClockSettings;
use crate::driver::line::{LineSettings, Parity, StopBits};

/// A bus as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BusSection {
    name: Spanned<String>,
    serial: Option<Spanned<String>>,
    tcp: Option<Spanned<String>>,
    baud: Option<Spanned<u32>>,
    parity: Option<Spanned<Parity>>,
    rs485: Option<Spanned<bool>>,
    reply_ms: Option<Spanned<u64>>,
    #[serde(default)]
    station: Vec<StationSection>,
}

/// A station as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StationSection {
    address: Spanned<u64>,
    serial: Spanned<u32>,
    zone: Option<Spanned<String>>,
    poll_ms: Option<Spanned<u64>>,
    quiet_poll_ms: Option<Spanned<u64>>,
    #[serde(default)]
    plaintext: bool,
    set_clock: Option<bool>,
}

/// One bus.
#[derive(Clone, Debug)]
pub struct Bus {
    /// What people call it; unique.
    pub name: String,
    /// What it is, and where.
    pub line: LineSettings,
    /// How long a station may take to begin its answer.
    pub reply: Duration,
    /// Its stations, as they stand in the file; never none.
    pub stations: Vec<Station>,
}

/// One station of a bus: a controller.
#[derive(Clone, Debug)]
pub struct Station {
    /// Its address on the bus, from 1 to 126.
    pub address: u8,
    /// The controller's serial number.
    pub serial: u32,
    /// The IANA name of the zone it stands in, for people: it counts in UTC.
    pub zone_name: String,
    /// How often to look while something happens.
    pub poll: Duration,
    /// How often when nothing has happened for a while.
    pub quiet_poll: Duration,
    /// Whether it is talked to without a key.
    pub plaintext: bool,
    /// What is to be done about its clock.
    pub clock: ClockSettings,
}

impl Station {
    /// The controller that it is.
    pub fn controller(&self) -> ControllerId {
        ControllerId::link(self.serial)
    }
}

/// The addresses of stations: 0 is nobody's, and 127 and above are the protocol's own.
const ADDRESSES: RangeInclusive<u64> = 1..=126;

/// What serial adapters and controllers can both do.
const BAUDS: [u32; 8] = [9_600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800, 921_600];

/// Where the file says nothing.
pub(crate) const BAUD_DEFAULT: u32 = 115_200;

/// The shortest and longest time to the beginning of an answer, in milliseconds.
pub(crate) const REPLY_MS: RangeInclusive<u64> = 5..=5_000;

/// Where the file says nothing: firmware answers within a few milliseconds, and USB adapters hold a byte
/// back for up to 16.
pub(crate) const REPLY_SERIAL_DEFAULT_MS: u64 = 20;

/// Where the file says nothing: there may be a network with a radio link in between.
pub(crate) const REPLY_TCP_DEFAULT_MS: u64 = 250;

/// Where the file says nothing: a look is one short exchange, and nothing pushes.
const POLL_DEFAULT_MS: u64 = 250;

/// Where the file says nothing.
const QUIET_POLL_DEFAULT_MS: u64 = 500;

/// The longest name of a bus: it stands in tables and log lines.
const MAX_NAME: usize = 32;

/// Where the stations of all buses stand, by serial number.
pub(super) type Places = BTreeMap<u32, String>;

impl Checker<'_> {
    /// Checks each bus by itself and against the others.
    pub(super) fn buses(
        &self,
        sections: &[BusSection],
        clock: ClockSettings,
    ) -> Result<Vec<Bus>, ConfigError> {
        let mut buses: Vec<Bus> = Vec::with_capacity(sections.len());
        let mut places = Places::new();
        for section in sections {
            self.bus_name(&section.name)?;
            let name = section.name.get_ref();
            if buses.iter().any(|bus| bus.name == *name) {
                let message = format!("bus {name:?} stands here a second time");
                return Err(self.wrong(&section.name, &message, "give each bus a name of its own"));
            }
            let line = self.line(section)?;
            if let Some(first) = buses.iter().find(|bus| is_same(&bus.line, &line))
                && let Some(at) = section.serial.as_ref().or(section.tcp.as_ref())
            {
                let message = format!("bus {:?} is {line} as well", first.name);
                let hint = "two buses on one line would talk at the same time; move the stations of one to the other";
                return Err(self.wrong(at, &message, hint));
            }
            let default_ms = match line {
                LineSettings::Serial { .. } => REPLY_SERIAL_DEFAULT_MS,
                LineSettings::Tcp { .. } => REPLY_TCP_DEFAULT_MS,
            };
            let reply = self.duration(section.reply_ms.as_ref(), default_ms, &REPLY_MS)?;
            let stations = self.stations(section, clock, &mut places)?;
            buses.push(Bus { name: name.clone(), line, reply, stations });
        }
        Ok(buses)
    }

    pub(super) fn bus_name(&self, name: &Spanned<String>) -> Result<(), ConfigError> {
        let is_plain = |each: char| each.is_ascii_alphanumeric() || "-_".contains(each);
        let text = name.get_ref();
        if text.is_empty() || text.len() > MAX_NAME || !text.chars().all(is_plain) {
            let message = format!("{text:?} cannot be the name of a bus");
            let hint =
                format!("letters, digits, - and _, at most {MAX_NAME} of them, such as \"hall\"");
            return Err(self.wrong(name, &message, &hint));
        }
        Ok(())
    }

    fn line(&self, section: &BusSection) -> Result<LineSettings, ConfigError> {
        let hint = "write `serial = \"/dev/ttyUSB0\"` or `tcp = \"IP:PORT\"`, and one of the two";
        match (&section.serial, &section.tcp) {
            (None, None) => {
                let message = format!("bus {:?} has no line", section.name.get_ref());
                Err(self.wrong(&section.name, &message, hint))
            }
            (Some(_), Some(tcp)) => {
                let message = format!("bus {:?} has a serial line already", section.name.get_ref());
                Err(self.wrong(tcp, &message, hint))
            }
            (Some(path), None) => self.serial_line(section, path),
            (None, Some(address)) => self.tcp_line(section, address),
        }
    }

    fn serial_line(
        &self,
        section: &BusSection,
        path: &Spanned<String>,
    ) -> Result<LineSettings, ConfigError> {
        Ok(LineSettings::Serial {
            path: self.device(path)?,
            baud: self.baud(section.baud.as_ref(), &BAUDS, BAUD_DEFAULT)?,
            parity: section.parity.as_ref().map_or(Parity::None, |parity| *parity.get_ref()),
            stop_bits: StopBits::One,
            rs485: section.rs485.as_ref().is_some_and(|rs485| *rs485.get_ref()),
        })
    }

    pub(super) fn device(&self, path: &Spanned<String>) -> Result<PathBuf, ConfigError> {
        let device = PathBuf::from(path.get_ref());
        if device.is_absolute() {
            return Ok(device);
        }
        let message = format!("{:?} is no path of a device", path.get_ref());
        let hint = "write it from the root, such as \"/dev/ttyUSB0\"; a name below /dev/serial/by-id stays with its adapter";
        Err(self.wrong(path, &message, hint))
    }

    pub(super) fn baud(
        &self,
        written: Option<&Spanned<u32>>,
        known: &[u32],
        default: u32,
    ) -> Result<u32, ConfigError> {
        match written {
            Some(baud) if !known.contains(baud.get_ref()) => {
                let message = format!("{} baud is no usual speed", baud.get_ref());
                let known: Vec<_> = known.iter().map(ToString::to_string).collect();
                let hint = format!("one of {}; all on a line have the same", known.join(", "));
                Err(self.wrong(baud, &message, &hint))
            }
            Some(baud) => Ok(*baud.get_ref()),
            None => Ok(default),
        }
    }

    fn tcp_line(
        &self,
        section: &BusSection,
        text: &Spanned<String>,
    ) -> Result<LineSettings, ConfigError> {
        let refuse = |at: Option<Result<(), ConfigError>>| at.unwrap_or(Ok(()));
        refuse(section.baud.as_ref().map(|at| self.only_serial(at, "baud")))?;
        refuse(section.parity.as_ref().map(|at| self.only_serial(at, "parity")))?;
        refuse(section.rs485.as_ref().map(|at| self.only_serial(at, "rs485")))?;
        self.tcp_address(text, "10.0.0.9:4000")
    }

    pub(super) fn tcp_address(
        &self,
        text: &Spanned<String>,
        example: &str,
    ) -> Result<LineSettings, ConfigError> {
        let address: SocketAddr = text.get_ref().parse().map_err(|_| {
            let message = format!("{:?} is no address", text.get_ref());
            self.wrong(text, &message, &format!("write IP:PORT, such as {example:?}"))
        })?;
        let what = match address.port() {
            0 => Some("port 0 is none that a controller could listen on".to_owned()),
            _ => not_one_board(address.ip()).map(|what| format!("{} is {what}", address.ip())),
        };
        match what {
            Some(message) => {
                let hint = "write where the controller, or the converter before it, listens";
                Err(self.wrong(text, &message, hint))
            }
            None => Ok(LineSettings::Tcp { address }),
        }
    }

    pub(super) fn only_serial<T, U>(&self, at: &Spanned<T>, key: &str) -> Result<U, ConfigError> {
        let message = format!("`{key}` is a serial line's, and this bus is over TCP");
        let hint =
            "take it out; a converter with a serial line behind it is set up by its own means";
        Err(self.wrong(at, &message, hint))
    }

    fn stations(
        &self,
        section: &BusSection,
        clock: ClockSettings,
        places: &mut Places,
    ) -> Result<Vec<Station>, ConfigError> {
        let bus = section.name.get_ref();
        if section.station.is_empty() {
            let message = format!("bus {bus:?} has no stations");
            let hint = "write a [[bus.station]] below it for each controller, or take the bus out";
            return Err(self.wrong(&section.name, &message, hint));
        }
        let mut stations: Vec<Station> = Vec::with_capacity(section.station.len());
        for each in &section.station {
            let station = self.station(each, clock)?;
            let Station { address, serial, .. } = station;
            if let Some(first) = stations.iter().find(|first| first.address == address) {
                let message = format!(
                    "controller {} has address {address} of this bus already",
                    first.controller()
                );
                let hint = "two stations with one address answer at the same time; give each its own, here and in the controller";
                return Err(self.wrong(&each.address, &message, hint));
            }
            let line = self.line_number(&each.serial);
            let place = format!("station {address} of bus {bus:?} in line {line}");
            if let Some(first) = places.get(&serial) {
                let message = format!(
                    "controller {} stands here, as {place}, and as {first}",
                    station.controller()
                );
                let hint = "two controllers with one serial number cannot be told apart; keep one of the two";
                return Err(self.wrong(&each.serial, &message, hint));
            }
            places.insert(serial, place);
            stations.push(station);
        }
        Ok(stations)
    }

    fn station(
        &self,
        section: &StationSection,
        clock: ClockSettings,
    ) -> Result<Station, ConfigError> {
        let address = *section.address.get_ref();
        let number = u8::try_from(address).ok().filter(|_| ADDRESSES.contains(&address));
        let Some(address) = number else {
            let message = format!("{address} is no address of a station");
            let hint = format!("from {} to {}", ADDRESSES.start(), ADDRESSES.end());
            return Err(self.wrong(&section.address, &message, &hint));
        };
        let serial = *section.serial.get_ref();
        if serial == 0 {
            let hint = "the serial number stands on the controller";
            return Err(self.wrong(&section.serial, "a controller has no serial number 0", hint));
        }
        let zone_name = match &section.zone {
            Some(zone) => {
                self.zone(zone)?;
                zone.get_ref().clone()
            }
            None => "UTC".to_owned(),
        };
        let poll = self.duration(section.poll_ms.as_ref(), POLL_DEFAULT_MS, &POLL_MS)?;
        let quiet = section.quiet_poll_ms.as_ref();
        Ok(Station {
            address,
            serial,
            zone_name,
            poll,
            quiet_poll: self.duration(quiet, QUIET_POLL_DEFAULT_MS, &POLL_MS)?.max(poll),
            plaintext: section.plaintext,
            clock: ClockSettings { set: section.set_clock.unwrap_or(clock.set), ..clock },
        })
    }

    /// In which line of the file something stands.
    fn line_number<T>(&self, at: &Spanned<T>) -> usize {
        let before = self.text.get(..at.span().start).unwrap_or_default();
        before.matches('\n').count() + 1
    }
}

/// Whether two buses would be one line, however each is set.
pub(super) fn is_same(one: &LineSettings, other: &LineSettings) -> bool {
    match (one, other) {
        (LineSettings::Serial { path, .. }, LineSettings::Serial { path: other, .. }) => {
            path == other
        }
        (LineSettings::Tcp { address }, LineSettings::Tcp { address: other }) => address == other,
        (LineSettings::Serial { .. }, LineSettings::Tcp { .. })
        | (LineSettings::Tcp { .. }, LineSettings::Serial { .. }) => false,
    }
}
