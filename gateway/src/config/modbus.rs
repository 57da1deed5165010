//! The lines whose units speak Modbus, and the profiles that say what each is, written and checked.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use postern_protocol::modbus::builtin::BUILT_IN;
use postern_protocol::modbus::profile::{MAX_DEBOUNCE_MS, MAX_GRANT_MS, MAX_HELD_MS, Profile};
use serde::Deserialize;
use toml::Spanned;

use super::bus::{Bus, Places, is_same};
use super::check::{Checker, POLL_MS};
use super::hint::nearest;
use super::{ConfigError, mark};
use crate::driver::line::{LineSettings, Parity, StopBits};
use crate::driver::modbus::{Framing, Unit, WireSettings, usual_gap};

/// A line as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LineSection {
    name: Spanned<String>,
    serial: Option<Spanned<String>>,
    tcp: Option<Spanned<String>>,
    baud: Option<Spanned<u32>>,
    parity: Option<Spanned<Parity>>,
    stop_bits: Option<Spanned<u8>>,
    rs485: Option<Spanned<bool>>,
    framing: Option<Spanned<FramingWord>>,
    reply_ms: Option<Spanned<u64>>,
    late_ms: Option<Spanned<u64>>,
    gap_ms: Option<Spanned<u64>>,
    #[serde(default)]
    unit: Vec<UnitSection>,
}

/// A unit as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UnitSection {
    unit: Spanned<u64>,
    serial: Spanned<u32>,
    profile: Spanned<String>,
    zone: Option<Spanned<String>>,
    poll_ms: Option<Spanned<u64>>,
    quiet_poll_ms: Option<Spanned<u64>>,
    debounce_ms: Option<Spanned<u64>>,
    grant_ms: Option<Spanned<u64>>,
    held_ms: Option<Spanned<u64>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FramingWord {
    Rtu,
    Tcp,
}

/// The profiles of the file, by name.
pub(super) type Profiles = BTreeMap<String, Spanned<Profile>>;

/// A line whose units speak Modbus.
#[derive(Clone, Debug)]
pub struct Modbus {
    /// What people call it; unique among all lines.
    pub name: String,
    /// What it is, where, and its times.
    pub wire: WireSettings,
    /// Its units, as they stand in the file; never none.
    pub units: Vec<ModbusUnit>,
}

/// One unit of a line.
#[derive(Clone, Debug)]
pub struct ModbusUnit {
    /// Its address, serial number and profile.
    pub unit: Unit,
    /// What its profile is called.
    pub profile_name: String,
    /// The IANA name of the zone it stands in, for people: the gateway counts in UTC.
    pub zone_name: String,
    /// How often to look while something happens.
    pub poll: Duration,
    /// How often when nothing has happened for a while.
    pub quiet_poll: Duration,
}

/// The addresses of units on a serial line; over TCP some devices want 0 or 255.
const RTU_UNITS: RangeInclusive<u64> = 1..=247;
const TCP_UNITS: RangeInclusive<u64> = 0..=255;

/// The highest serial number: nine digits.
const MAX_SERIAL: u32 = 999_999_999;

/// What Modbus devices can do.
const BAUDS: [u32; 10] =
    [1_200, 2_400, 4_800, 9_600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800];

/// What the specification has devices do unless they are told otherwise.
const BAUD: u32 = 19_200;

/// The shortest and longest time to the beginning of an answer, in milliseconds.
pub(crate) const REPLY_MS: RangeInclusive<u64> = 5..=10_000;

/// Where the file says nothing: slow devices take 100 ms, USB adapters hold bytes back for 16.
const REPLY_SERIAL_DEFAULT_MS: u64 = 200;

/// Where the file says nothing: behind the connection there may be a gateway with a serial line of its own.
const REPLY_TCP_DEFAULT_MS: u64 = 1_000;

const LATE_MS: RangeInclusive<u64> = 5..=10_000;

/// The shortest and longest rest of a line before a request, in milliseconds.
const GAP_MS: RangeInclusive<u64> = 0..=1_000;

/// Where the file says nothing: a latch keeps one card only, so it is looked at as often in quiet times.
const POLL_DEFAULT_MS: u64 = 200;

/// The longest times of a door, in milliseconds.
const DEBOUNCE_MS: RangeInclusive<u64> = 0..=MAX_DEBOUNCE_MS;
const GRANT_MS: RangeInclusive<u64> = 100..=MAX_GRANT_MS;
const HELD_MS: RangeInclusive<u64> = 100..=MAX_HELD_MS;

impl Checker<'_> {
    /// Checks profiles, lines and units.
    pub(super) fn modbus(
        &self,
        sections: &[LineSection],
        profiles: &Profiles,
        buses: &[Bus],
    ) -> Result<Vec<Modbus>, ConfigError> {
        let profiles = self.profiles(profiles)?;
        let mut lines: Vec<Modbus> = Vec::with_capacity(sections.len());
        let mut places = Places::new();
        for section in sections {
            self.bus_name(&section.name)?;
            let name = section.name.get_ref();
            let mut names = buses.iter().map(|bus| &bus.name);
            let mut names_of_ours = lines.iter().map(|line| &line.name);
            if names.any(|other| other == name) || names_of_ours.any(|other| other == name) {
                let message = format!("line {name:?} stands here a second time");
                return Err(self.wrong(
                    &section.name,
                    &message,
                    "give each line a name of its own",
                ));
            }
            let wire = self.wire(section)?;
            let others = buses.iter().map(|bus| (&bus.name, &bus.line));
            let mut others = others.chain(lines.iter().map(|line| (&line.name, &line.wire.line)));
            if let Some((first, _)) = others.find(|(_, line)| is_same(line, &wire.line))
                && let Some(at) = section.serial.as_ref().or(section.tcp.as_ref())
            {
                let message = format!("line {first:?} is {} as well", wire.line);
                let hint = "two on one line would talk at the same time; move the units of one to the other";
                return Err(self.wrong(at, &message, hint));
            }
            let units = self.units(section, wire.framing, &profiles, &mut places)?;
            lines.push(Modbus { name: name.clone(), wire, units });
        }
        Ok(lines)
    }

    /// All profiles by name: those that are built in, and those of the file.
    fn profiles(&self, written: &Profiles) -> Result<BTreeMap<String, Profile>, ConfigError> {
        let mut profiles = built_in();
        for (name, profile) in written {
            if let Err(problems) = profile.get_ref().check() {
                let problems: Vec<_> = problems.iter().map(|each| format!("  {each}")).collect();
                let message = format!("profile {name:?} is wrong:\n{}", problems.join("\n"));
                let hint = "docs/drivers/modbus.md has the reference; `postern profile check` says what a profile means";
                return Err(self.at_name(profile, &message, hint));
            }
            if profiles.insert(name.clone(), profile.get_ref().clone()).is_some() {
                let message = format!("there is a profile {name:?} already");
                let hint =
                    "that one is built in: give yours another name, and name it at its units";
                return Err(self.at_name(profile, &message, hint));
            }
        }
        Ok(profiles)
    }

    /// A message about a table: the mark stands below its first line.
    fn at_name(&self, profile: &Spanned<Profile>, message: &str, hint: &str) -> ConfigError {
        let start = profile.span().start;
        let rest = self.text.get(start..).unwrap_or_default();
        let length = rest.lines().next().map_or(0, str::len);
        let span = Some(start..start + length);
        ConfigError::Wrong(mark(self.path, self.text, span, message, hint))
    }

    fn wire(&self, section: &LineSection) -> Result<WireSettings, ConfigError> {
        let (framing, line) = match (&section.serial, &section.tcp) {
            (None, None) => {
                let message = format!("line {:?} has no line", section.name.get_ref());
                let hint =
                    "write `serial = \"/dev/ttyUSB0\"` or `tcp = \"IP:502\"`, and one of the two";
                return Err(self.wrong(&section.name, &message, hint));
            }
            (Some(_), Some(tcp)) => {
                let message =
                    format!("line {:?} has a serial line already", section.name.get_ref());
                let hint =
                    "write `serial = \"/dev/ttyUSB0\"` or `tcp = \"IP:502\"`, and one of the two";
                return Err(self.wrong(tcp, &message, hint));
            }
            (Some(path), None) => {
                if let Some(framing) = &section.framing
                    && matches!(framing.get_ref(), FramingWord::Tcp)
                {
                    let hint = "take it out: a serial line is always \"rtu\"";
                    return Err(self.wrong(framing, "a serial line has no such frames", hint));
                }
                (Framing::Rtu, self.rtu_line(section, path)?)
            }
            (None, Some(address)) => {
                for (is_there, key) in [
                    (section.baud.as_ref().map(Spanned::span), "baud"),
                    (section.parity.as_ref().map(Spanned::span), "parity"),
                    (section.stop_bits.as_ref().map(Spanned::span), "stop_bits"),
                    (section.rs485.as_ref().map(Spanned::span), "rs485"),
                ] {
                    if let Some(span) = is_there {
                        return self.only_serial(&Spanned::new(span, ()), key);
                    }
                }
                let framing = section.framing.as_ref().map(|framing| *framing.get_ref());
                let framing = match framing {
                    Some(FramingWord::Rtu) => Framing::Rtu,
                    Some(FramingWord::Tcp) | None => Framing::Tcp,
                };
                (framing, self.tcp_address(address, "10.0.0.9:502")?)
            }
        };
        let default_ms = match &line {
            LineSettings::Serial { .. } => REPLY_SERIAL_DEFAULT_MS,
            LineSettings::Tcp { .. } => REPLY_TCP_DEFAULT_MS,
        };
        let reply = self.duration(section.reply_ms.as_ref(), default_ms, &REPLY_MS)?;
        let late = match &section.late_ms {
            Some(late) => self.duration(Some(late), 0, &LATE_MS)?,
            None => reply,
        };
        let gap = match &section.gap_ms {
            Some(gap) => self.duration(Some(gap), 0, &GAP_MS)?,
            None => usual_gap(&line),
        };
        Ok(WireSettings { line, framing, reply, gap, late })
    }

    fn rtu_line(
        &self,
        section: &LineSection,
        path: &Spanned<String>,
    ) -> Result<LineSettings, ConfigError> {
        let stop_bits = match &section.stop_bits {
            None => StopBits::One,
            Some(bits) => match bits.get_ref() {
                1 => StopBits::One,
                2 => StopBits::Two,
                other => {
                    let message = format!("a line has no {other} stop bits");
                    return Err(self.wrong(bits, &message, "1 or 2, as the devices have it"));
                }
            },
        };
        Ok(LineSettings::Serial {
            path: self.device(path)?,
            baud: self.baud(section.baud.as_ref(), &BAUDS, BAUD)?,
            // As the specification has it.
            parity: section.parity.as_ref().map_or(Parity::Even, |parity| *parity.get_ref()),
            stop_bits,
            rs485: section.rs485.as_ref().is_some_and(|rs485| *rs485.get_ref()),
        })
    }

    fn units(
        &self,
        section: &LineSection,
        framing: Framing,
        profiles: &BTreeMap<String, Profile>,
        places: &mut Places,
    ) -> Result<Vec<ModbusUnit>, ConfigError> {
        let line = section.name.get_ref();
        if section.unit.is_empty() {
            let message = format!("line {line:?} has no units");
            let hint = "write a [[modbus.unit]] below it for each device, or take the line out";
            return Err(self.wrong(&section.name, &message, hint));
        }
        let mut units: Vec<ModbusUnit> = Vec::with_capacity(section.unit.len());
        for each in &section.unit {
            let unit = self.unit(each, framing, profiles)?;
            let Unit { address, serial, .. } = unit.unit;
            if units.iter().any(|other| other.unit.address == address) {
                let message = format!("unit {address} stands on this line already");
                let hint = "a device is one unit with one profile; two devices with one address answer at the same time";
                return Err(self.wrong(&each.unit, &message, hint));
            }
            let place = format!("unit {address} of line {line:?}");
            if let Some(first) = places.insert(serial, place.clone()) {
                let message = format!("modbus-{serial} stands here, as {place}, and as {first}");
                let hint = "what two devices do could not be told apart: give each a serial number of its own";
                return Err(self.wrong(&each.serial, &message, hint));
            }
            units.push(unit);
        }
        Ok(units)
    }

    fn unit(
        &self,
        section: &UnitSection,
        framing: Framing,
        profiles: &BTreeMap<String, Profile>,
    ) -> Result<ModbusUnit, ConfigError> {
        let allowed = match framing {
            Framing::Rtu => RTU_UNITS,
            Framing::Tcp => TCP_UNITS,
        };
        let address = *section.unit.get_ref();
        let number = u8::try_from(address).ok().filter(|_| allowed.contains(&address));
        let Some(address) = number else {
            let message = format!("{address} is no address of a unit");
            let hint = format!("from {} to {}", allowed.start(), allowed.end());
            return Err(self.wrong(&section.unit, &message, &hint));
        };
        let serial = *section.serial.get_ref();
        if serial > MAX_SERIAL {
            let message = format!("{serial} is no serial number of a device here");
            let hint = format!("from 1 to {MAX_SERIAL}: it is a number of your choice");
            return Err(self.wrong(&section.serial, &message, &hint));
        }
        if serial == 0 {
            let hint = "give each device a number of its own, such as the one that stands on it: its transactions are stored under that for good";
            return Err(self.wrong(&section.serial, "a device has no serial number 0", hint));
        }
        let profile_name = section.profile.get_ref();
        let Some(profile) = profiles.get(profile_name) else {
            let message = format!("there is no profile {profile_name:?}");
            let names: Vec<&str> = profiles.keys().map(String::as_str).collect();
            let meant = nearest(profile_name, names.iter().copied())
                .map_or(String::new(), |word| format!("is {word:?} meant? "));
            let hint = format!(
                "{meant}there are {}; write your own as [profile.{profile_name}]",
                names.join(", ")
            );
            return Err(self.wrong(&section.profile, &message, &hint));
        };
        let profile = self.with_times(section, profile.clone())?;
        let zone_name = match &section.zone {
            Some(zone) => {
                self.zone(zone)?;
                zone.get_ref().clone()
            }
            None => "UTC".to_owned(),
        };
        let poll = self.duration(section.poll_ms.as_ref(), POLL_DEFAULT_MS, &POLL_MS)?;
        let quiet = section.quiet_poll_ms.as_ref();
        Ok(ModbusUnit {
            unit: Unit { address, serial, profile: Arc::new(profile) },
            profile_name: profile_name.clone(),
            zone_name,
            poll,
            quiet_poll: self.duration(quiet, POLL_DEFAULT_MS, &POLL_MS)?.max(poll),
        })
    }

    /// The times of its doors, where the unit says other ones than its profile.
    fn with_times(
        &self,
        section: &UnitSection,
        mut profile: Profile,
    ) -> Result<Profile, ConfigError> {
        let time = |value: &Option<Spanned<u64>>, allowed| {
            value.as_ref().map(|value| self.within("ms", value, allowed)).transpose()
        };
        let debounce = time(&section.debounce_ms, &DEBOUNCE_MS)?;
        let grant = time(&section.grant_ms, &GRANT_MS)?;
        let held = time(&section.held_ms, &HELD_MS)?;
        for door in &mut profile.doors {
            door.debounce_ms = debounce.unwrap_or(door.debounce_ms);
            door.grant_ms = grant.unwrap_or(door.grant_ms);
            door.held_ms = held.or(door.held_ms);
        }
        Ok(profile)
    }
}

/// The profiles that need not be written.
pub(crate) fn built_in() -> BTreeMap<String, Profile> {
    let parsed = BUILT_IN.iter().map(|(name, text)| {
        // Seen by a test to be what they are.
        toml::from_str(text).ok().map(|profile| ((*name).to_owned(), profile))
    });
    parsed.flatten().collect()
}
