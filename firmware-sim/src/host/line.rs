//! A line of the site: what the control API can see and do of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::keeper::Keeper;
use super::station::LinkStation;
use super::{HostError, lock};
use crate::config::{LineConfig, Plug};
use crate::line::{Counters, Line, LineHandle, LineSettings, Misbehaviour, Noise, Place};
use crate::link::{LinkController, StationFaults};
use crate::people::Crowd;

/// A line, and the controllers on it in the order of the configuration.
#[derive(Debug)]
pub struct SiteLine {
    name: String,
    place: Place,
    settings: LineSettings,
    reply_after: Duration,
    handle: LineHandle<Arc<LinkStation>>,
    stations: Vec<Arc<LinkStation>>,
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
        controllers: Vec<(LinkController, Crowd)>,
        keeper: &Arc<Keeper>,
    ) -> Result<(Self, Line<Arc<LinkStation>>), HostError> {
        let stations: Vec<_> = config
            .stations
            .iter()
            .zip(controllers)
            .map(|(station, (controller, crowd))| {
                let (name, after) = (&config.name, config.reply_after);
                let keeper = Arc::clone(keeper);
                let setup = &station.setup;
                Arc::new(LinkStation::new(setup, name, after, controller, crowd, keeper))
            })
            .collect();
        let line = match &config.plug {
            Plug::Pty(link) => Line::on_pty(&config.settings, stations.clone(), Some(link)),
            Plug::Tcp(address) => Line::on_tcp(&config.settings, stations.clone(), *address),
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
    pub fn stations(&self) -> &[Arc<LinkStation>] {
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
            station.set_cut_log(faults.cut_log);
        }
        *present = disturbance;
        Ok(())
    }
}
