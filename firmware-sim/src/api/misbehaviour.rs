//! How boards go wrong: the log, the wire, the clock, the cursor, the board itself.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use jiff::Timestamp;
use postern_protocol::uhppote::field::DateTime;

use super::error::ApiError;
use super::message::{
    ClockInput, ClockReply, EventIndexInput, EventIndexReply, FaultsReply, Nothing, ReplaceInput,
    ReplacedReply, ResetReply, TrapInput, TrapReply,
};
use super::{Answer, Found, Here, Input, count_of, find, find_board, status_of, unit};
use crate::clock::{Clock, MAX_DRIFT_PPM};
use crate::fault::Faults;
use crate::host::Stopped;
use crate::host::board::Board;
use crate::trap::Trap;

/// Why a controller on a line has no trap.
const NO_TRAP: &str = "events of the link protocol are not asked for one by one";

pub(super) async fn reset(
    State(site): Here,
    Path(serial): Path<String>,
    Input(Nothing {}): Input<Nothing>,
) -> Answer<ResetReply> {
    let life = match find(&site, &serial)? {
        Found::Board(board) => board.act(|controller, now, truth| {
            controller.restore_defaults(now, truth)?;
            Ok(controller.life())
        })?,
        Found::Link(station) => station.act(|controller, now, truth| {
            controller.reset(now, truth)?;
            Ok(controller.device().life())
        })?,
        Found::Unit(_) => return Err(unit::is_unit()),
    };
    Ok(Json(ResetReply { schema: ResetReply::SCHEMA.to_owned(), life }))
}

pub(super) async fn faults(
    State(site): Here,
    Path(serial): Path<String>,
    Input(faults): Input<Faults>,
) -> Answer<FaultsReply> {
    let board =
        find_board(&site, &serial, "POST /lines/NAME/faults sets what its line does to it")?;
    faults.check().map_err(ApiError::bad_value)?;
    board.set_faults(faults);
    Ok(Json(FaultsReply { schema: FaultsReply::SCHEMA.to_owned(), faults }))
}

pub(super) async fn clock(
    State(site): Here,
    Path(serial): Path<String>,
    Input(input): Input<ClockInput>,
) -> Answer<ClockReply> {
    let found = find(&site, &serial)?;
    check_clock(input)?;
    let time = match found {
        Found::Board(board) => {
            board.act(|controller, now, _| Ok(adjust(controller.clock_mut(), input, now)))?
        }
        Found::Link(_) if input.summer_time.is_some() => {
            let what = "the clock of a controller on a line shows UTC and knows no summer time";
            return Err(ApiError::other_kind(what, "leave summer_time out"));
        }
        Found::Unit(_) => return Err(unit::is_unit()),
        Found::Link(station) => station.act(|controller, now, _| {
            Ok(adjust(controller.device_mut().clock_mut(), input, now))
        })?,
    };
    Ok(Json(ClockReply { schema: ClockReply::SCHEMA.to_owned(), clock: time.to_string() }))
}

/// Makes a clock wrong; answers with what it shows then.
fn adjust(clock: &mut Clock, input: ClockInput, now: Timestamp) -> DateTime {
    if let Some(follow) = input.summer_time {
        clock.follow_summer_time(follow, now);
    }
    if let Some(ppm) = input.drift_ppm {
        clock.drift(ppm, now);
    }
    match (input.offset_s, input.unset) {
        (Some(offset_s), _) => clock.shift(offset_s, now),
        (None, Some(true)) => clock.unset(),
        (None, Some(false)) => clock.shift(0, now),
        (None, None) => {}
    }
    clock.read(now)
}

fn check_clock(input: ClockInput) -> Result<(), ApiError> {
    let ClockInput { offset_s, unset, drift_ppm, summer_time } = input;
    if offset_s.is_none() && unset.is_none() && drift_ppm.is_none() && summer_time.is_none() {
        let what = "nothing to change: expected offset_s, unset, drift_ppm or summer_time";
        return Err(ApiError::bad_request(what));
    }
    if offset_s.is_some() && unset.is_some() {
        return Err(ApiError::bad_request("offset_s and unset exclude each other"));
    }
    match drift_ppm {
        Some(ppm) if !(-MAX_DRIFT_PPM..=MAX_DRIFT_PPM).contains(&ppm) => {
            let what = format!("drift_ppm is {ppm}, not -{MAX_DRIFT_PPM} to {MAX_DRIFT_PPM}");
            Err(ApiError::bad_value(what))
        }
        _ => Ok(()),
    }
}

pub(super) async fn trap(
    State(site): Here,
    Path(serial): Path<String>,
    Input(input): Input<TrapInput>,
) -> Answer<TrapReply> {
    let board = find_board(&site, &serial, NO_TRAP)?;
    let trap = match (input.index, input.then) {
        (Some(index), Some(then)) => Some(Trap { index, then }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            let what = "a trap has an index and what happens then; an empty body takes it away";
            return Err(ApiError::bad_request(what));
        }
    };
    if let Some(trap) = trap {
        trap.check().map_err(ApiError::bad_value)?;
    }
    Ok(set_trap(board, trap))
}

pub(super) async fn disarm(State(site): Here, Path(serial): Path<String>) -> Answer<TrapReply> {
    Ok(set_trap(find_board(&site, &serial, NO_TRAP)?, None))
}

fn set_trap(board: &Board, trap: Option<Trap>) -> Json<TrapReply> {
    board.set_trap(trap);
    Json(TrapReply { schema: TrapReply::SCHEMA.to_owned(), trap })
}

pub(super) async fn replace(
    State(site): Here,
    Path(serial): Path<String>,
    Input(input): Input<ReplaceInput>,
) -> Answer<ReplacedReply> {
    let hint = "reset, and then generate, is another log under its serial number";
    let board = Arc::clone(find_board(&site, &serial, hint)?);
    let preload = count_of("preload", input.preload)?;
    let right = input.clock.is_some();
    let (replaced, board) =
        tokio::task::spawn_blocking(move || (board.replace(right, preload), board))
            .await
            .map_err(|_| ApiError::from(Stopped))?;
    replaced?;
    let status = status_of(&board);
    Ok(Json(ReplacedReply {
        schema: ReplacedReply::SCHEMA.to_owned(),
        life: status.life,
        oldest: status.oldest,
        newest: status.newest,
        clock: status.clock,
    }))
}

pub(super) async fn event_index(
    State(site): Here,
    Path(serial): Path<String>,
    Input(input): Input<EventIndexInput>,
) -> Answer<EventIndexReply> {
    let board = find_board(&site, &serial, "a log of the link protocol has no cursor for hosts")?;
    let (changed, event_index) = board.act(|controller, _, _| {
        let changed = controller.set_event_index(input.index);
        Ok((changed, controller.event_index()))
    })?;
    let schema = EventIndexReply::SCHEMA.to_owned();
    Ok(Json(EventIndexReply { schema, event_index, changed }))
}
