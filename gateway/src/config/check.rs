//! What the tables and keys of the file may say.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use jiff::tz::TimeZone;
use postern_protocol::uhppote::PORT;
use toml::Spanned;

use super::file::{ClockSection, ControllerSection, File, JournalSection, Profile};
use super::{Bus, ConfigError, Controller, Modbus, mark};
use crate::collector::ClockSettings;
use crate::driver::uhppote::client::MAX_IN_FLIGHT;
use crate::journal::{Capacity, SMALLEST};

/// The smallest and largest journal, in MiB: below, a single group of appends would fill it; above, an
/// open takes longer than a failover may.
const CAPACITY_MB: std::ops::RangeInclusive<u64> = 2..=16_384;

/// The ceiling of the flash profile.
const FLASH_SYNCS_PER_SECOND: u32 = 4;

/// The shortest and longest poll interval, in milliseconds: faster only loads the boards, slower is
/// no longer live.
pub(super) const POLL_MS: std::ops::RangeInclusive<u64> = 50..=60_000;

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

/// Checks a file; path and text are for messages.
pub(super) struct Checker<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

/// What a good file says.
pub(super) struct Checked {
    pub(super) capacity: Capacity,
    pub(super) syncs_per_second: Option<NonZeroU32>,
    pub(super) listen: Option<SocketAddr>,
    pub(super) controllers: BTreeMap<u32, Controller>,
    pub(super) buses: Vec<Bus>,
    pub(super) modbus: Vec<Modbus>,
}

impl Checker<'_> {
    pub(super) fn wrong<T>(&self, at: &Spanned<T>, message: &str, hint: &str) -> ConfigError {
        ConfigError::Wrong(mark(self.path, self.text, Some(at.span()), message, hint))
    }

    pub(super) fn check(&self, file: &File) -> Result<Checked, ConfigError> {
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
        let buses = self.buses(&file.bus, clock)?;
        let modbus = self.modbus(&file.modbus, &file.profile, &buses)?;
        Ok(Checked { capacity, syncs_per_second, listen, controllers, buses, modbus })
    }

    fn journal(
        &self,
        section: &JournalSection,
    ) -> Result<(Capacity, Option<NonZeroU32>), ConfigError> {
        let (entries, mb) = (&section.capacity_entries, &section.capacity_mb);
        if *entries.get_ref() < SMALLEST {
            let message = format!("the journal's capacity is below {SMALLEST} entries");
            return Err(self.wrong(entries, &message, "a million entries are 120 to 250 MB"));
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
        let zone = self.zone(&section.zone)?;
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
            zone_name: section.zone.get_ref().clone(),
            zone,
            poll,
            quiet_poll,
            // What tools for these boards usually allow.
            timeout: self.duration(section.timeout_ms.as_ref(), TIMEOUT_DEFAULT_MS, &TIMEOUT_MS)?,
            in_flight,
            clock: ClockSettings { set: section.set_clock.unwrap_or(clock.set), ..clock },
        })
    }

    pub(super) fn zone(&self, name: &Spanned<String>) -> Result<TimeZone, ConfigError> {
        TimeZone::get(name.get_ref()).map_err(|_| {
            let message = format!("there is no time zone {:?}", name.get_ref());
            self.wrong(name, &message, "use an IANA name such as \"Europe/Berlin\"")
        })
    }

    pub(super) fn duration(
        &self,
        value: Option<&Spanned<u64>>,
        default_ms: u64,
        allowed: &std::ops::RangeInclusive<u64>,
    ) -> Result<Duration, ConfigError> {
        let Some(value) = value else { return Ok(Duration::from_millis(default_ms)) };
        self.within("ms", value, allowed).map(Duration::from_millis)
    }

    pub(super) fn within(
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

    pub(super) fn address(&self, text: &Spanned<String>) -> Result<SocketAddr, ConfigError> {
        text.get_ref().parse().map_err(|_| {
            let message = format!("{:?} is no address", text.get_ref());
            self.wrong(text, &message, "write IP:PORT, such as \"192.168.1.100:60000\"")
        })
    }
}
