//! Modbus units: what happens at them, how they misbehave, and looking at them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use postern_protocol::transaction::Direction as Way;
use serde_json::Value;

use super::error::ApiError;
use super::message::{
    AnyStatus, Direction, DoorPointInput, Happened, ShownReply, SwipeInput, UnitDoor,
    UnitFaultsReply, UnitStatus,
};
use super::{Answer, Found, Here, Input, find};
use crate::host::Site;
use crate::host::unit::{ModbusUnit, UnitError};
use crate::ledger::ModbusLine;
use crate::modbus::{Point, UnitFaults};

/// What a unit can do, for whoever asked for something else.
pub(super) const ABLE: &str = "a unit takes swipe, door-point, power-cycle, generate and unit-faults; its profile says what it has";

/// Why something is no business of a unit.
pub(super) fn is_unit() -> ApiError {
    ApiError::other_kind("this is a Modbus unit, which has no such thing", ABLE)
}

pub(super) async fn door_point(
    State(site): Here,
    Path(serial): Path<String>,
    Input(input): Input<DoorPointInput>,
) -> Answer<ShownReply> {
    let unit = find_unit(&site, &serial)?;
    Ok(Json(shown(unit.turn(input.door, input.point, input.on))?))
}

pub(super) async fn faults(
    State(site): Here,
    Path(serial): Path<String>,
    Input(faults): Input<UnitFaults>,
) -> Answer<UnitFaultsReply> {
    find_unit(&site, &serial)?.set_faults(faults).map_err(ApiError::bad_value)?;
    Ok(Json(UnitFaultsReply { schema: UnitFaultsReply::SCHEMA.to_owned(), faults }))
}

/// A swipe names a reader, or else the door at which the reader is.
pub(super) fn swipe(unit: &ModbusUnit, input: SwipeInput) -> Answer<Happened> {
    let reader = match (input.reader, input.door) {
        (Some(reader), _) => reader,
        (None, Some(door)) => {
            let way = match input.direction.unwrap_or(Direction::In) {
                Direction::In => Way::In,
                Direction::Out => Way::Out,
            };
            let device = |state: &crate::host::unit::State| {
                state
                    .unit
                    .device()
                    .reader_at(door, |reader| reader.direction.is_none_or(|goes| goes == way))
            };
            let found = unit.look(device);
            found.ok_or_else(|| ApiError::bad_value(format!("no reader is at door {door}")))?
        }
        (None, None) => return Err(ApiError::bad_request("missing field `reader` or `door`")),
    };
    Ok(Json(Happened::Shown(shown(unit.swipe(reader, input.card))?)))
}

pub(super) fn shown(lines: Result<Vec<ModbusLine>, UnitError>) -> Result<ShownReply, ApiError> {
    match lines {
        Ok(shown) => Ok(ShownReply { schema: ShownReply::SCHEMA.to_owned(), shown }),
        Err(UnitError::Refused(error)) => Err(ApiError::bad_value(error.to_string())),
        Err(UnitError::Stopped(stopped)) => Err(stopped.into()),
    }
}

pub(super) fn status_of(unit: &ModbusUnit) -> AnyStatus {
    unit.look(|state| {
        let device = state.unit.device();
        let doors = device.setup().profile.doors.iter().map(|door| UnitDoor {
            door: door.door,
            contact: device.state(door.door, Point::Contact),
            relay: device.state(door.door, Point::Relay),
            button: device.state(door.door, Point::Button),
        });
        AnyStatus::Modbus(Box::new(UnitStatus {
            serial: unit.serial(),
            controller: device.id(),
            line: unit.line().to_owned(),
            unit: unit.unit(),
            model: device.setup().profile.model.clone(),
            life: device.life(),
            shown: device.shown(),
            lost: device.lost(),
            numbers: device.numbers(),
            doors: doors.collect(),
            faults: state.unit.faults(),
            counters: state.unit.counters(),
        }))
    })
}

/// How many cards it showed, and the highest number of one of them.
pub(super) fn newest_of(unit: &ModbusUnit) -> u64 {
    unit.look(|state| state.unit.device().numbers().into_iter().max().unwrap_or(0))
}

/// Its profile.
pub(super) fn settings_of(unit: &ModbusUnit) -> Result<Value, ApiError> {
    unit.look(|state| serde_json::to_value(&state.unit.device().setup().profile))
        .map_err(|error| ApiError::bad_request(error.to_string()))
}

fn find_unit<'a>(site: &'a Site, serial: &str) -> Result<&'a Arc<ModbusUnit>, ApiError> {
    match find(site, serial)? {
        Found::Unit(unit) => Ok(unit),
        Found::Board(_) | Found::Link(_) => {
            let hint = "button, force-door and hold-door are for doors of other controllers, faults and /lines/NAME/faults for theirs";
            Err(ApiError::other_kind("only Modbus units can do that", hint))
        }
    }
}
