//! The control API: HTTP with JSON on a loopback address, for tests and demonstrations.
//!
//! It needs no authentication, because it binds loopback only, guards no secret and refuses what a
//! web page in a browser on the same machine could send: a request with an `Origin`, or for a host
//! name that is not loopback (DNS rebinding).
//!
//! - [`message`]: the JSON of both directions.
//! - [`error`]: the one shape of every refusal.
//! - `misbehaviour`: how boards go wrong. What happens at their doors, and looking at them, is here.
//! - `line`: lines, and what controllers on them alone have.
//! - `unit`: what Modbus units alone have.

pub mod error;
mod line;
pub mod message;
mod misbehaviour;
mod unit;

pub(crate) use line::{plug_of, protocol_of};

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Request, State};
use axum::http::header;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::{MAX_GENERATE, check_rate};
use crate::controller::happening::Swipe;
use crate::controller::{DOORS, Recorded};
use crate::host::board::Board;
use crate::host::station::LinkStation;
use crate::host::unit::ModbusUnit;
use crate::host::{Site, Stopped};
use crate::link::LogAfter;
use error::ApiError;
use message::{
    AnyStatus, ControllerReply, ControllerStatus, Direction, DoorInput, EventsReply, GenerateInput,
    GeneratedReply, Happened, LedgerStatus, Nothing, PeopleInput, PeopleReply, PeopleStatus,
    StatusReply, SwipeInput,
};

/// The longest request body; the largest sensible one has a hundred bytes.
const MAX_BODY: usize = 16 * 1024;

type Answer<T> = Result<Json<T>, ApiError>;
type Here = State<Arc<Site>>;

/// Binds the API; anything but loopback is refused.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    if !address.ip().is_loopback() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the control API has no authentication and binds loopback only",
        ));
    }
    TcpListener::bind(address).await
}

/// Serves the API until it is told to stop and the requests in flight are answered.
pub async fn serve(
    listener: TcpListener,
    site: Arc<Site>,
    stop: CancellationToken,
) -> io::Result<()> {
    axum::serve(listener, router(site)).with_graceful_shutdown(stop.cancelled_owned()).await
}

fn router(site: Arc<Site>) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/people", post(people))
        .route("/controllers/{serial}", get(controller))
        .route("/controllers/{serial}/swipe", post(swipe))
        .route("/controllers/{serial}/force-door", post(force_door))
        .route("/controllers/{serial}/hold-door", post(hold_door))
        .route("/controllers/{serial}/button", post(button))
        .route("/controllers/{serial}/reset", post(misbehaviour::reset))
        .route("/controllers/{serial}/power-cycle", post(power_cycle))
        .route("/controllers/{serial}/faults", post(misbehaviour::faults))
        .route("/controllers/{serial}/clock", post(misbehaviour::clock))
        .route("/controllers/{serial}/trap", post(misbehaviour::trap).delete(misbehaviour::disarm))
        .route("/controllers/{serial}/replace", post(misbehaviour::replace))
        .route("/controllers/{serial}/event-index", post(misbehaviour::event_index))
        .route("/controllers/{serial}/generate", post(generate))
        .route("/controllers/{serial}/power-cut", post(line::power_cut))
        .route("/controllers/{serial}/door-point", post(unit::door_point))
        .route("/controllers/{serial}/unit-faults", post(unit::faults))
        .route("/lines/{name}", get(line::line))
        .route("/lines/{name}/faults", post(line::faults))
        .fallback(async || ApiError::not_found())
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(guard))
        .with_state(site)
}

/// Refuses what a web page could have sent.
async fn guard(request: Request, next: Next) -> Result<Response, ApiError> {
    let headers = request.headers();
    if headers.contains_key(header::ORIGIN) {
        return Err(ApiError::refused_origin());
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    if !is_loopback(host) {
        return Err(ApiError::refused_host());
    }
    Ok(next.run(request).await)
}

/// Whether a Host header names this machine's loopback and nothing that DNS could answer.
fn is_loopback(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// A JSON body, whatever its content type says; no body is an empty object.
struct Input<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Input<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
        let body = if bytes.is_empty() { b"{}" } else { &bytes[..] };
        serde_json::from_slice(body)
            .map(Self)
            .map_err(|error| ApiError::bad_request(error.to_string()))
    }
}

async fn status(State(site): Here) -> Json<StatusReply> {
    let (rate, swipes) = site.people().look();
    let (path, lines) = site.ledger();
    let boards = site.boards().values().map(|board| AnyStatus::Board(Box::new(status_of(board))));
    let on_lines = site.lines().values().flat_map(line::statuses_of);
    let behind_ports = site.servers().values().flat_map(|server| server.units().values());
    let units = behind_ports.map(|unit| unit::status_of(unit));
    let controllers = boards.chain(on_lines).chain(units).collect();
    Json(StatusReply {
        schema: StatusReply::SCHEMA.to_owned(),
        people: PeopleStatus { rate, swipes },
        ledger: LedgerStatus { path, lines },
        discovery: site.discovery(),
        controllers,
    })
}

async fn controller(State(site): Here, Path(serial): Path<String>) -> Answer<ControllerReply> {
    let (status, settings) = match find(&site, &serial)? {
        Found::Board(board) => {
            let settings = board
                .look(|state| serde_json::to_value(state.controller.settings()))
                .map_err(|error| ApiError::bad_request(error.to_string()))?;
            (AnyStatus::Board(Box::new(status_of(board))), settings)
        }
        Found::Link(station) => {
            (line::status_of_station(&site, station), line::settings_of(station))
        }
        Found::Unit(unit) => (unit::status_of(unit), unit::settings_of(unit)?),
    };
    Ok(Json(ControllerReply { schema: ControllerReply::SCHEMA.to_owned(), status, settings }))
}

async fn people(State(site): Here, Input(input): Input<PeopleInput>) -> Answer<PeopleReply> {
    check_rate(input.rate).map_err(ApiError::bad_value)?;
    site.people().set_rate(input.rate);
    let (rate, swipes) = site.people().look();
    Ok(Json(PeopleReply {
        schema: PeopleReply::SCHEMA.to_owned(),
        people: PeopleStatus { rate, swipes },
    }))
}

async fn swipe(
    State(site): Here,
    Path(serial): Path<String>,
    Input(input): Input<SwipeInput>,
) -> Answer<Happened> {
    let found = find(&site, &serial)?;
    if let Found::Unit(unit) = found {
        return unit::swipe(unit, input);
    }
    if input.reader.is_some() {
        return Err(ApiError::bad_request("reader is for Modbus units; expected `door`"));
    }
    let door = input.door.ok_or_else(|| ApiError::bad_request("missing field `door`"))?;
    let direction = match input.direction.unwrap_or(Direction::In) {
        Direction::In => 1,
        Direction::Out => 2,
    };
    let card =
        u32::try_from(input.card).map_err(|_| ApiError::bad_value("card has more than 32 bits"))?;
    let swipe = Swipe { card, door: door_of(door)?, direction };
    let recorded = events(match found {
        Found::Board(board) => board.act(|to, now, truth| to.swipe(swipe, now, truth)),
        Found::Link(station) => station.act(|to, now, truth| to.swipe(swipe, now, truth)),
        Found::Unit(_) => return Err(unit::is_unit()),
    })?;
    Ok(Json(Happened::Events(recorded.0)))
}

async fn force_door(
    State(site): Here,
    Path(serial): Path<String>,
    Input(input): Input<DoorInput>,
) -> Answer<EventsReply> {
    let (found, door) = (find(&site, &serial)?, door_of(input.door)?);
    events(match found {
        Found::Board(board) => board.act(|at, now, truth| at.force(door, now, truth)),
        Found::Link(station) => station.act(|at, now, truth| at.force(door, now, truth)),
        Found::Unit(_) => return Err(unit::is_unit()),
    })
}

async fn hold_door(
    State(site): Here,
    Path(serial): Path<String>,
    Input(input): Input<DoorInput>,
) -> Answer<EventsReply> {
    let (found, door) = (find(&site, &serial)?, door_of(input.door)?);
    events(match found {
        Found::Board(board) => board.act(|at, now, truth| at.hold(door, now, truth)),
        Found::Link(station) => station.act(|at, now, truth| at.hold(door, now, truth)),
        Found::Unit(_) => return Err(unit::is_unit()),
    })
}

async fn button(
    State(site): Here,
    Path(serial): Path<String>,
    Input(input): Input<DoorInput>,
) -> Answer<EventsReply> {
    let (found, door) = (find(&site, &serial)?, door_of(input.door)?);
    events(match found {
        Found::Board(board) => board.act(|at, now, truth| at.button(door, now, truth)),
        Found::Link(station) => station.act(|at, now, truth| at.button(door, now, truth)),
        Found::Unit(_) => return Err(unit::is_unit()),
    })
}

async fn power_cycle(
    State(site): Here,
    Path(serial): Path<String>,
    Input(Nothing {}): Input<Nothing>,
) -> Answer<Happened> {
    let recorded = events(match find(&site, &serial)? {
        Found::Board(board) => {
            board.act(|controller, now, truth| controller.power_cycle(now, truth))
        }
        Found::Link(station) => line::cut_power(station, LogAfter::Kept),
        Found::Unit(unit) => return Ok(Json(Happened::Shown(unit::shown(unit.restart())?))),
    })?;
    Ok(Json(Happened::Events(recorded.0)))
}

async fn generate(
    State(site): Here,
    Path(serial): Path<String>,
    Input(input): Input<GenerateInput>,
) -> Answer<GeneratedReply> {
    let found = find(&site, &serial)?.owned();
    let count = count_of("count", input.count)?;
    let generated = tokio::task::spawn_blocking(move || match found {
        Found::Board(board) => board.generate(count).map(|events| {
            let status = status_of(&board);
            (events, status.oldest.into(), status.newest.into())
        }),
        Found::Link(station) => station.generate(count).map(|events| {
            let (oldest, newest) = line::ends_of(&station);
            (events, oldest, newest)
        }),
        Found::Unit(unit) => unit.generate(count).map(|shown| {
            let newest = unit::newest_of(&unit);
            (shown, newest.min(1), newest)
        }),
    });
    let (events, oldest, newest) = generated.await.map_err(|_| ApiError::from(Stopped))??;
    Ok(Json(GeneratedReply {
        schema: GeneratedReply::SCHEMA.to_owned(),
        swipes: count,
        events,
        oldest,
        newest,
    }))
}

/// A controller, by what it speaks.
enum Found<B, S, U> {
    Board(B),
    Link(S),
    Unit(U),
}

impl Found<&Arc<Board>, &Arc<LinkStation>, &Arc<ModbusUnit>> {
    fn owned(self) -> Found<Arc<Board>, Arc<LinkStation>, Arc<ModbusUnit>> {
        match self {
            Self::Board(board) => Found::Board(Arc::clone(board)),
            Self::Link(station) => Found::Link(Arc::clone(station)),
            Self::Unit(unit) => Found::Unit(Arc::clone(unit)),
        }
    }
}

type FoundIn<'a> = Found<&'a Arc<Board>, &'a Arc<LinkStation>, &'a Arc<ModbusUnit>>;

fn find<'a>(site: &'a Site, serial: &str) -> Result<FoundIn<'a>, ApiError> {
    let found = serial.parse().ok().and_then(|serial: u32| {
        let station = || site.stations().get(&serial).map(Found::Link);
        let unit = || site.units().get(&serial).map(Found::Unit);
        site.boards().get(&serial).map(Found::Board).or_else(station).or_else(unit)
    });
    found.ok_or_else(|| {
        let on_lines = site.stations().keys().chain(site.units().keys());
        ApiError::no_such_controller(site.boards().keys().chain(on_lines))
    })
}

/// A board; controllers on lines have no such thing, but what `hint` says.
fn find_board<'a>(site: &'a Site, serial: &str, hint: &str) -> Result<&'a Arc<Board>, ApiError> {
    match find(site, serial)? {
        Found::Board(board) => Ok(board),
        Found::Link(_) => {
            let what = "this is a controller on a line, and only UHPPOTE boards can do that";
            Err(ApiError::other_kind(what, hint))
        }
        Found::Unit(_) => Err(unit::is_unit()),
    }
}

/// How many swipes someone asks for.
fn count_of(field: &str, count: u32) -> Result<u32, ApiError> {
    if count <= MAX_GENERATE {
        Ok(count)
    } else {
        Err(ApiError::bad_value(format!("{field} is {count}, above {MAX_GENERATE}")))
    }
}

fn door_of(door: u8) -> Result<u8, ApiError> {
    if (1..=DOORS).contains(&door) {
        Ok(door)
    } else {
        Err(ApiError::bad_value(format!("door is {door}, not 1 to {DOORS}")))
    }
}

fn events(events: Result<Vec<Recorded>, Stopped>) -> Answer<EventsReply> {
    Ok(Json(EventsReply { schema: EventsReply::SCHEMA.to_owned(), events: events? }))
}

fn status_of(board: &Board) -> ControllerStatus {
    board.look(|state| {
        let controller = &state.controller;
        let ring = controller.ring();
        ControllerStatus {
            serial: board.serial(),
            controller: controller.id(),
            address: board.address(),
            port: board.address().port(),
            life: controller.life(),
            oldest: ring.oldest().map_or(0, |event| event.index),
            newest: ring.newest().map_or(0, |event| event.index),
            stored: ring.stored(),
            capacity: ring.capacity(),
            generated: controller.recorded(),
            record_special_events: controller.settings().record_special_events,
            event_index: controller.event_index(),
            cards: controller.cards().count(),
            open_doors: controller.open_doors(),
            clock: controller.time(Timestamp::now()).to_string(),
            faults: state.faults,
            trap: state.trap,
            counters: state.counters,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_loopback_names_are_this_machine() {
        for host in
            ["127.0.0.1:41234", "127.0.0.1", "localhost", "LOCALHOST:80", "[::1]:80", "[::1]"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:80",
            "10.0.0.1:80",
            "127.0.0.1.evil.example",
            "localhost.evil",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
