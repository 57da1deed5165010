//! Lines, and what controllers on them alone have.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use jiff::Timestamp;
use postern_protocol::link::log::{EventLog, Slot};
use postern_protocol::link::message::Table;
use serde_json::{Value, json};

use super::error::ApiError;
use super::message::{
    AnyStatus, EventsReply, LineCounters, LineFaults, LineFaultsReply, LinePlug, LineProtocol,
    LineReply, LineStation, LinkStatus, PowerCutInput,
};
use super::{Answer, Found, Here, Input, events, find, unit};
use crate::controller::Recorded;
use crate::host::line::{Disturbance, OnLine, SiteLine};
use crate::host::station::LinkStation;
use crate::host::{Site, Stopped};
use crate::line::Place;
use crate::link::{LogAfter, StationFaults};

pub(super) async fn line(State(site): Here, Path(name): Path<String>) -> Answer<LineReply> {
    let line = find_line(&site, &name)?;
    let (counters, disturbance) = (line.counters(), line.disturbance());
    let stations = line.stations().iter().zip(&disturbance.stations).zip(counters.stations);
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Ok(Json(LineReply {
        schema: LineReply::SCHEMA.to_owned(),
        name: line.name().to_owned(),
        plug: plug_of(line),
        baud: line.settings().baud,
        echo: line.settings().echo,
        reply_us: u64::try_from(line.reply_after().as_micros()).unwrap_or(u64::MAX),
        noise: disturbance.noise,
        counters: LineCounters {
            host_bytes: counters.host_bytes,
            heard_by_host: counters.heard_by_host,
            overrun: counters.overrun,
            busy_ms: millis(counters.busy),
            collided: counters.collided,
            bit_errors: counters.noise.bit_errors,
            bursts: counters.noise.bursts,
            lost: counters.noise.lost,
            inserted: counters.noise.inserted,
        },
        stations: stations
            .map(|((station, faults), counters)| LineStation {
                serial: station.serial(),
                address: station.address(),
                faults: *faults,
                bytes: counters.bytes,
                replies: counters.replies,
                refused: counters.refused,
                missed: counters.missed,
                power_cuts: counters.power_cuts,
                babbles: counters.babbles,
            })
            .collect(),
    }))
}

pub(super) async fn faults(
    State(site): Here,
    Path(name): Path<String>,
    Input(input): Input<LineFaults>,
) -> Answer<LineFaultsReply> {
    let line = find_line(&site, &name)?;
    let mut wanted = input.stations;
    let stations: Vec<_> = line
        .stations()
        .iter()
        .map(|station| wanted.remove(&station.serial()).unwrap_or_default())
        .collect();
    if let Some(serial) = wanted.keys().next() {
        let what = format!("no controller {serial} is on the line {name}");
        return Err(ApiError::bad_value(what));
    }
    let all: BTreeMap<_, _> =
        line.stations().iter().map(OnLine::serial).zip(stations.clone()).collect();
    line.disturb(Disturbance { noise: input.noise, stations }).map_err(ApiError::bad_value)?;
    Ok(Json(LineFaultsReply {
        schema: LineFaultsReply::SCHEMA.to_owned(),
        line: name,
        faults: LineFaults { noise: input.noise, stations: all },
    }))
}

pub(super) async fn power_cut(
    State(site): Here,
    Path(serial): Path<String>,
    Input(input): Input<PowerCutInput>,
) -> Answer<EventsReply> {
    match find(&site, &serial)? {
        Found::Link(station) => events(cut_power(station, input.log)),
        Found::Unit(_) => Err(unit::is_unit()),
        Found::Board(_) => {
            let what = "this is a UHPPOTE board, whose log outlasts every power cut";
            let hint = "power-cycle switches it off and on, reset empties its log";
            Err(ApiError::other_kind(what, hint))
        }
    }
}

pub(super) fn cut_power(station: &LinkStation, log: LogAfter) -> Result<Vec<Recorded>, Stopped> {
    station.act(|controller, now, truth| controller.power_cut(log, now, truth))
}

/// Where a host plugs in.
pub(crate) fn plug_of(line: &SiteLine) -> LinePlug {
    match line.place() {
        Place::Device(path) => LinePlug::Pty(path.clone()),
        Place::Tcp(address) => LinePlug::Tcp(*address),
    }
}

/// What is spoken there.
pub(crate) fn protocol_of(line: &SiteLine) -> LineProtocol {
    match line.stations().first() {
        Some(OnLine::Modbus(_)) => LineProtocol::ModbusRtu,
        Some(OnLine::Link(_)) | None => LineProtocol::Link,
    }
}

/// The controllers on a line.
pub(super) fn statuses_of(line: &SiteLine) -> impl Iterator<Item = AnyStatus> {
    let faults = line.disturbance().stations;
    line.stations().iter().zip(faults).map(|(station, faults)| match station {
        OnLine::Link(station) => status_of(station, faults),
        OnLine::Modbus(unit) => unit::status_of(unit),
    })
}

/// A controller on a line.
pub(super) fn status_of_station(site: &Site, station: &Arc<LinkStation>) -> AnyStatus {
    let faults = site.lines().get(station.line()).and_then(|line| {
        let at = line.stations().iter().position(|each| each.serial() == station.serial())?;
        line.disturbance().stations.get(at).copied()
    });
    status_of(station, faults.unwrap_or_default())
}

/// The oldest and the newest index in its log; 0: none.
pub(super) fn ends_of(station: &LinkStation) -> (u64, u64) {
    station.look(|state| ends(state.controller.device().log()))
}

fn ends(log: &EventLog<Vec<Slot>>) -> (u64, u64) {
    (if log.stored() == 0 { 0 } else { log.oldest().0 }, log.newest().0)
}

fn status_of(station: &LinkStation, faults: StationFaults) -> AnyStatus {
    station.look(|state| {
        let device = state.controller.device();
        let (log, counters) = (device.log(), state.controller.counters());
        let (oldest, newest) = ends(log);
        AnyStatus::Link(Box::new(LinkStatus {
            serial: station.serial(),
            controller: device.id(),
            line: station.line().to_owned(),
            station: station.address(),
            life: device.life(),
            epoch: log.epoch(),
            oldest,
            newest,
            stored: log.stored(),
            capacity: log.capacity(),
            generated: device.recorded(),
            committed: log.committed().0,
            overwritten: log.overwritten(),
            record_special_events: device.records_special_events(),
            cards: device.cards(),
            open_doors: device.open_doors(),
            clock: device.clock().read(Timestamp::now()).to_string(),
            faults,
            requests: counters.requests,
            repeats: counters.repeats,
            broken: counters.broken,
            unverified: counters.unverified,
            sessions: counters.sessions,
        }))
    })
}

/// What hosts have set in it: the generations of its tables, and the role term.
pub(super) fn settings_of(station: &LinkStation) -> Value {
    station.look(|state| {
        let device = state.controller.device();
        let table = |table| {
            let generation = device.generation(table);
            let bytes: usize = generation.pages.iter().map(Vec::len).sum();
            json!({"generation": generation.number, "pages": generation.pages.len(), "bytes": bytes})
        };
        json!({
            "settings": table(Table::Settings),
            "cards": table(Table::Cards),
            "role_term": device.role_term(),
        })
    })
}

fn find_line<'a>(site: &'a Site, name: &str) -> Result<&'a SiteLine, ApiError> {
    if site.servers().contains_key(name) {
        let what = "this is a TCP port with Modbus units behind it, and no serial line";
        let hint = "GET /controllers/SERIAL counts what passed, POST /controllers/SERIAL/unit-faults makes a unit misbehave";
        return Err(ApiError::other_kind(what, hint));
    }
    site.lines().get(name).ok_or_else(|| ApiError::no_such_line(site.lines().keys()))
}
