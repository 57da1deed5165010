//! The lines of a site and the TCP ports with units behind them, as they are started.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use postern_protocol::modbus::profile::Problem;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::HostError;
use super::keeper::Keeper;
use super::line::{OnLine, SiteLine, Voice};
use super::modbus::{self, ModbusServer};
use super::station::LinkStation;
use super::unit::ModbusUnit;
use crate::config::{Config, Framing, LineConfig, Members, Plug};
use crate::ledger::Ledger;
use crate::line::Line;
use crate::link::LinkController;
use crate::modbus::{Device, HappeningError};
use crate::people::Crowd;

/// The controllers of all lines, in their order, before anyone can ask them.
pub(super) struct Prepared {
    pub(super) stations: Vec<(LinkController, Crowd)>,
    pub(super) devices: Vec<Device>,
}

/// What runs then.
#[derive(Default)]
pub(super) struct Plugged {
    pub(super) stations: BTreeMap<u32, Arc<LinkStation>>,
    pub(super) units: BTreeMap<u32, Arc<ModbusUnit>>,
    pub(super) lines: BTreeMap<String, SiteLine>,
    pub(super) servers: BTreeMap<String, Arc<ModbusServer>>,
    pub(super) running: Vec<Line<Voice>>,
}

/// What all of them need.
pub(super) struct Site<'a> {
    pub(super) config: &'a Config,
    pub(super) keeper: &'a Arc<Keeper>,
    pub(super) tasks: &'a TaskTracker,
    pub(super) stop: &'a CancellationToken,
}

/// The Modbus devices of all lines, without power.
pub(super) fn devices(config: &Config) -> Result<Vec<Device>, HostError> {
    let units = config.lines.iter().flat_map(LineConfig::units);
    let device = |setup: &crate::modbus::Setup| {
        Device::new(setup.clone()).map_err(|problems| {
            let problems: Vec<_> = problems.iter().map(Problem::to_string).collect();
            HostError::Unit { serial: setup.serial, what: problems.join("; ") }
        })
    };
    units.map(|unit| device(&unit.setup)).collect()
}

/// They have their power.
pub(super) fn power_on(devices: &mut [Device], ledger: &mut Ledger) -> Result<(), HostError> {
    for device in devices {
        let serial = device.setup().serial;
        device.power_on(Timestamp::now(), ledger).map_err(|error| match error {
            HappeningError::Ledger(error) => HostError::Ledger(error),
            HappeningError::NoReader { .. }
            | HappeningError::NoDoor { .. }
            | HappeningError::NoPoint { .. }
            | HappeningError::Card { .. } => HostError::Unit { serial, what: error.to_string() },
        })?;
    }
    Ok(())
}

/// Starts all lines and ports.
pub(super) async fn plug_in(site: Site<'_>, prepared: Prepared) -> Result<Plugged, HostError> {
    let mut plugged = Plugged::default();
    let mut controllers = prepared.stations.into_iter();
    let mut devices = prepared.devices.into_iter();
    for line in &site.config.lines {
        let (name, after) = (&line.name, line.reply_after);
        match &line.members {
            Members::Link(stations) => {
                let mut here = Vec::new();
                for (station, (controller, crowd)) in stations.iter().zip(&mut controllers) {
                    let (setup, keeper) = (&station.setup, Arc::clone(site.keeper));
                    let station = LinkStation::new(setup, name, after, controller, crowd, keeper);
                    here.push(Arc::new(station));
                }
                let all = here.iter().map(|station| (station.serial(), Arc::clone(station)));
                plugged.stations.extend(all);
                plugged.start(line, here.into_iter().map(OnLine::Link).collect())?;
            }
            Members::Modbus { framing, units } => {
                let mut here = Vec::new();
                for (unit, device) in units.iter().zip(&mut devices) {
                    let crowd = Crowd::new(site.config.seed, u64::from(unit.setup.serial));
                    let keeper = Arc::clone(site.keeper);
                    here.push(Arc::new(ModbusUnit::new(name, after, device, crowd, keeper)));
                }
                plugged.units.extend(here.iter().map(|unit| (unit.serial(), Arc::clone(unit))));
                match (framing, &line.plug) {
                    (Framing::Tcp, Plug::Tcp(address)) => {
                        let server = listen(&site, name, *address, here).await;
                        let server = server.map_err(|source| HostError::Bind {
                            what: format!("line {name}"),
                            address: address.to_string(),
                            source,
                        })?;
                        plugged.servers.insert(name.clone(), server);
                    }
                    // The configuration was checked: on a serial device there is no other framing.
                    (Framing::Rtu | Framing::Tcp, Plug::Pty(_) | Plug::Tcp(_)) => {
                        plugged.start(line, here.into_iter().map(OnLine::Modbus).collect())?;
                    }
                }
            }
        }
    }
    Ok(plugged)
}

impl Plugged {
    fn start(&mut self, line: &LineConfig, stations: Vec<OnLine>) -> Result<(), HostError> {
        let (line, thread) = SiteLine::start(line, stations)?;
        self.lines.insert(line.name().to_owned(), line);
        self.running.push(thread);
        Ok(())
    }
}

async fn listen(
    site: &Site<'_>,
    name: &str,
    address: std::net::SocketAddr,
    units: Vec<Arc<ModbusUnit>>,
) -> io::Result<Arc<ModbusServer>> {
    let listener = TcpListener::bind(address).await?;
    let server = Arc::new(ModbusServer::new(name, &listener, units.into_iter())?);
    let (tasks, stop) = (site.tasks.clone(), site.stop.clone());
    site.tasks.spawn(modbus::serve(Arc::clone(&server), listener, tasks, stop));
    Ok(server)
}
