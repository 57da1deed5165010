//! Readers and relay boards that speak Modbus, over RTU and TCP (`docs/drivers/modbus.md`): many units on a serial line or
//! behind one connection, each described by a profile of the configuration.
//!
//! What a unit's registers mean is decided by `postern_protocol::modbus`; what follows from what was seen, by pure modules
//! here; `wire` alone talks.
//!
//! | decides | acts | |
//! | --- | --- | --- |
//! | `count`, `sight` | `numbered` | a log that the device numbers, by a counter or in a ring |
//! | `watch`, `latch` | `shown` | what it shows without a number: latches, doors, restarts |
//! | `record`, `look` | `talk` | records and their bytes; what one look read, of one unit |
//! | | `wire` | the line, and one request at a time over it |
//!
//! A unit has a log for each reader that counts, and one for everything else it shows; each is a station of this driver.
//!
//! Invariant 1: a latch is cleared once its record is durable, at the next look. Invariant 4: what a counter says was lost
//! is a gap of exactly so many; what was read and could not be committed is handed on again, though the device has
//! forgotten it.

mod count;
mod latch;
mod look;
mod numbered;
mod record;
mod shown;
mod sight;
mod talk;
mod watch;
mod wire;

use std::sync::Arc;

use postern_protocol::modbus::profile::{Profile, Source};
use postern_protocol::transaction::Continuity;
use postern_protocol::{ControllerId, Timestamp};
use tokio::time::Instant;

use super::{
    Bounds, Driver, DriverError, Identity, LineCounters, Log, Page, Span, Station, Status,
};
pub(crate) use look::{Look, Values};
use numbered::Numbered;
use shown::Shown;
pub use wire::{Framing, WireSettings};
pub(crate) use wire::{Wire, usual_gap};

/// What a driver is to do.
pub struct Settings {
    /// The line.
    pub wire: WireSettings,
    /// Who is on it.
    pub units: Vec<Unit>,
}

/// One unit.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Its address on the line, 1 to 247.
    pub address: u8,
    /// The serial number that it was given in the configuration.
    pub serial: u32,
    /// What it is. Checked.
    pub profile: Arc<Profile>,
}

impl Unit {
    /// Its logs, in the order of the driver's stations, and what they are called.
    pub fn logs(&self) -> impl Iterator<Item = (Source, ControllerId)> + '_ {
        let name = |source| match source {
            Source::Shown => ControllerId::modbus(self.serial),
            Source::Reader(number) => ControllerId::modbus_reader(self.serial, number),
        };
        self.profile.sources().map(move |source| (source, name(source)))
    }
}

enum Of {
    Shown(Box<Shown>),
    Numbered(Box<Numbered>),
}

/// One log of a unit.
struct Place {
    model: String,
    of: Of,
}

impl Place {
    fn new(unit: &Unit, source: Source, run: u32) -> Option<Self> {
        let Unit { address, profile, .. } = unit;
        let of = match source {
            Source::Shown => Of::Shown(Box::new(Shown::new(*address, profile, run)?)),
            Source::Reader(number) => {
                Of::Numbered(Box::new(Numbered::new(*address, profile, number)?))
            }
        };
        Some(Self { model: profile.model.clone(), of })
    }

    fn on_silence(&mut self) {
        match &mut self.of {
            Of::Shown(shown) => shown.on_silence(),
            Of::Numbered(numbered) => numbered.on_silence(),
        }
    }
}

/// See the module.
pub struct Modbus {
    wire: Wire,
    places: Vec<Place>,
    began: Instant,
}

fn random() -> [u8; 16] {
    uuid::Uuid::new_v4().into_bytes()
}

fn ms(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Modbus {
    /// A line that nothing was asked over yet; it is opened with the first question.
    pub fn new(settings: Settings) -> Self {
        let run = random().first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        let Settings { wire, units } = settings;
        let places = units.iter().flat_map(|unit| unit.profile.sources().map(move |of| (unit, of)));
        Self {
            places: places.filter_map(|(unit, source)| Place::new(unit, source, run)).collect(),
            wire: Wire::taken_over(wire),
            began: Instant::now(),
        }
    }

    fn place(&mut self, station: Station) -> Result<(&mut Wire, &mut Place), DriverError> {
        // The collector asks of no station that it did not give us.
        let place = self.places.get_mut(station).ok_or(DriverError::Refused)?;
        Ok((&mut self.wire, place))
    }
}

impl Driver for Modbus {
    fn log(&self, station: Station) -> Log {
        match self.places.get(station).map(|place| &place.of) {
            Some(Of::Numbered(_)) => Log::Named { continuity: Continuity::Unproven },
            Some(Of::Shown(_)) | None => Log::Volatile,
        }
    }

    async fn identify(&mut self, station: Station) -> Result<Identity, DriverError> {
        let (wire, place) = self.place(station)?;
        match &mut place.of {
            Of::Shown(shown) => shown.greet(wire).await?,
            Of::Numbered(numbered) => numbered.greet(wire).await?,
        }
        // A device has no name of its own: it is what the configuration says.
        let model = place.model.clone().into();
        Ok(Identity { model, firmware: String::new(), is_known: true })
    }

    async fn status(&mut self, station: Station) -> Result<Status, DriverError> {
        // It has no clock, and shows no newest record but the one that is read anyway.
        self.place(station).map(|_| Status::default())
    }

    async fn bounds(&mut self, station: Station) -> Result<Option<Bounds>, DriverError> {
        let (wire, place) = self.place(station)?;
        let bounds = match &mut place.of {
            Of::Shown(_) => Ok(None),
            Of::Numbered(numbered) => numbered.bounds(wire).await,
        };
        if bounds.is_err() {
            place.on_silence();
        }
        bounds
    }

    async fn fetch(&mut self, station: Station, span: Span) -> Result<Page, DriverError> {
        let began = self.began;
        let (wire, place) = self.place(station)?;
        let page = match &mut place.of {
            Of::Shown(shown) => shown.fetch(wire, span, began).await,
            Of::Numbered(numbered) => numbered.fetch(wire, span, began).await,
        };
        if page.is_err() {
            place.on_silence();
        }
        page
    }

    async fn set_time(&mut self, _: Station, _: Timestamp) -> Result<(), DriverError> {
        Err(DriverError::Refused)
    }

    fn counters(&self, station: Station) -> LineCounters {
        match self.places.get(station).map(|place| &place.of) {
            Some(Of::Shown(shown)) => shown.counters(),
            Some(Of::Numbered(numbered)) => numbered.counters(),
            None => LineCounters::default(),
        }
    }
}

#[cfg(test)]
mod tests;
