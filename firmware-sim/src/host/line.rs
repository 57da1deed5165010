//! A line of the site: what the control API can see and do of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::station::LinkStation;
use super::unit::{ModbusUnit, RtuStation};
use super::{HostError, lock};
use crate::config::{LineConfig, Plug};
use crate::line::{
    Counters, Line, LineHandle, LineSettings, Misbehaviour, Noise, Place, Reply, Talker,
};
use crate::link::StationFaults;

/// A controller on a line, by what it speaks.
#[derive(Clone, Debug)]
pub enum OnLine {
    /// Our link protocol.
    Link(Arc<LinkStation>),
    /// Modbus RTU.
    Modbus(Arc<ModbusUnit>),
}

impl OnLine {
    /// Its serial number.
    pub fn serial(&self) -> u32 {
        match self {
            Self::Link(station) => station.serial(),
            Self::Modbus(unit) => unit.serial(),
        }
    }

    /// Its address on the line.
    pub fn address(&self) -> u8 {
        match self {
            Self::Link(station) => station.address(),
            Self::Modbus(unit) => unit.unit(),
        }
    }
}

/// What talks on a line, by what it speaks.
#[derive(Debug)]
pub(super) enum Voice {
    Link(Arc<LinkStation>),
    Modbus(RtuStation),
}

impl Talker for Voice {
    fn on_bytes(&mut self, bytes: &[u8], now: Duration) -> Option<Reply> {
        match self {
            Self::Link(station) => station.on_bytes(bytes, now),
            Self::Modbus(station) => station.on_bytes(bytes, now),
        }
    }

    fn silence(&self) -> Option<Duration> {
        match self {
            Self::Link(station) => station.silence(),
            Self::Modbus(station) => station.silence(),
        }
    }

    fn on_silence(&mut self, now: Duration) -> Option<Reply> {
        match self {
            Self::Link(station) => station.on_silence(now),
            Self::Modbus(station) => station.on_silence(now),
        }
    }

    fn on_power_cut(&mut self, now: Duration) {
        match self {
            Self::Link(station) => station.on_power_cut(now),
            Self::Modbus(station) => station.on_power_cut(now),
        }
    }
}

/// A line, and the controllers on it in the order of the configuration.
#[derive(Debug)]
pub struct SiteLine {
    name: String,
    place: Place,
    settings: LineSettings,
    reply_after: Duration,
    handle: LineHandle<Voice>,
    stations: Vec<OnLine>,
    disturbance: Mutex<Disturbance>,
}

/// What is wrong with a line and with its stations, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Disturbance {
    /// What disturbs the line.
    pub noise: Noise,
    /// How each station misbehaves.
    pub stations: Vec<StationFaults>,
}

impl Disturbance {
    fn check(&self) -> Result<(), String> {
        self.noise.check()?;
        self.stations.iter().try_for_each(StationFaults::check)
    }
}

impl SiteLine {
    /// Starts a line whose controllers are ready. The line runs as long as what comes with it.
    pub(super) fn start(
        config: &LineConfig,
        stations: Vec<OnLine>,
    ) -> Result<(Self, Line<Voice>), HostError> {
        let settings = &config.settings;
        let voice = |station: &OnLine| match station {
            OnLine::Link(station) => Voice::Link(Arc::clone(station)),
            OnLine::Modbus(unit) => {
                Voice::Modbus(RtuStation::new(Arc::clone(unit), settings.character()))
            }
        };
        let voices = stations.iter().map(voice).collect();
        let line = match &config.plug {
            Plug::Pty(link) => Line::on_pty(settings, voices, Some(link)),
            Plug::Tcp(address) => Line::on_tcp(settings, voices, *address),
        };
        let line = line.map_err(|source| HostError::Line { name: config.name.clone(), source })?;
        let healthy = vec![StationFaults::default(); stations.len()];
        let this = Self {
            name: config.name.clone(),
            place: line.place().clone(),
            settings: config.settings,
            reply_after: config.reply_after,
            handle: line.handle(),
            stations,
            disturbance: Mutex::new(Disturbance {
                noise: config.settings.noise,
                stations: healthy,
            }),
        };
        Ok((this, line))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where a host plugs in.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What it was made with.
    pub fn settings(&self) -> &LineSettings {
        &self.settings
    }

    /// How long its controllers take to answer.
    pub fn reply_after(&self) -> Duration {
        self.reply_after
    }

    /// The controllers on it.
    pub fn stations(&self) -> &[OnLine] {
        &self.stations
    }

    /// What passed, the stations in their order.
    pub fn counters(&self) -> Counters {
        self.handle.counters()
    }

    /// What is wrong with it at present.
    pub fn disturbance(&self) -> Disturbance {
        lock(&self.disturbance).clone()
    }

    /// This is wrong with it from now on: all of it, or, where something makes no sense, nothing,
    /// and what makes none is said. There is an entry for each station.
    pub fn disturb(&self, disturbance: Disturbance) -> Result<(), String> {
        disturbance.check()?;
        let mut present = lock(&self.disturbance);
        let tell = |error: crate::line::LineError| error.to_string();
        self.handle.set_noise(&disturbance.noise).map_err(tell)?;
        for (at, (station, faults)) in self.stations.iter().zip(&disturbance.stations).enumerate() {
            self.handle.set_misbehaviour(at, Misbehaviour::from(*faults)).map_err(tell)?;
            match station {
                OnLine::Link(station) => station.set_cut_log(faults.cut_log),
                // It has no log.
                OnLine::Modbus(_) => {}
            }
        }
        *present = disturbance;
        Ok(())
    }
}
