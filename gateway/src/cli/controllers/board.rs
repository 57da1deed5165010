//! One board that a command talks to: found in the configuration or named with `--address`, asked who
//! it is before anything else, so that a wrong serial number or address has a name.

use std::net::SocketAddr;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::tz::TimeZone;
use postern_protocol::uhppote::message::request::GetController;
use postern_protocol::uhppote::{PORT, Request, Response};
use postern_protocol::{ControllerId, Protocol};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::super::{Common, Failure};
use super::trace;
use crate::config::{Outline, TIMEOUT_MS};
use crate::driver::uhppote::client::Client;
use crate::driver::uhppote::{Settings, Target, Transport, Uhppote};
use crate::driver::{Driver, DriverError, Identity};
use crate::exit;

/// How long a board has for an answer, where the configuration does not say.
const TIMEOUT: Duration = Duration::from_millis(2_500);

#[derive(clap::Args)]
pub(in crate::cli) struct Board {
    /// The serial number, as it stands on the board.
    #[arg(value_name = "SERIAL", value_parser = serial)]
    pub(super) serial: u32,
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    pub(super) line: Line,
}

#[cfg(test)]
impl Board {
    pub(in crate::cli) fn common_for_tests(&self) -> (std::path::PathBuf, bool) {
        (self.common.config.clone(), self.common.json)
    }
}

/// How a board is reached.
#[derive(clap::Args, Clone)]
pub(in crate::cli) struct Line {
    /// Where the board is, whatever the configuration says.
    #[arg(long, value_name = "IP:PORT", value_parser = address)]
    address: Option<SocketAddr>,
    /// Over what to talk to it, udp unless given; with --address only, else the configuration says it.
    #[arg(long, requires = "address", value_name = "udp|tcp", value_parser = transport(), hide_possible_values = true)]
    transport: Option<Transport>,
    /// The zone that its clock is set to, such as Europe/Berlin; with --address only, else the
    /// configuration says it.
    #[arg(long, requires = "address", value_parser = zone)]
    zone: Option<Zone>,
    /// How long an answer may take, in milliseconds [default: as the configuration says, else 2500].
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(TIMEOUT_MS))]
    timeout_ms: Option<u64>,
    /// Show every frame on stderr, card numbers included.
    #[arg(long)]
    pub(super) trace_wire: bool,
}

impl Line {
    /// Whether anything was said of how the board is reached.
    pub(super) fn is_given(&self) -> bool {
        self.address.is_some() || self.timeout_ms.is_some() || self.trace_wire
    }

    /// Where the configuration alone says how a board is reached.
    pub(super) fn configured(&self) -> Self {
        Self { address: None, transport: None, zone: None, ..self.clone() }
    }
}

/// A zone and its name.
#[derive(Clone, Debug)]
pub(super) struct Zone {
    pub(super) name: String,
    pub(super) zone: TimeZone,
}

/// `405419896`, or `uhppote-405419896` as the other commands print it.
pub(in crate::cli) fn serial(text: &str) -> Result<u32, String> {
    if let Ok(ControllerId { protocol: Protocol::Link, .. }) = text.parse() {
        return Err(format!(
            "{text} is a controller of the link protocol, and this command talks to UHPPOTE boards\nhint: only the running gateway talks to it: `postern controllers` shows how it stands, --json everything that is known of it; `clock` works for both"
        ));
    }
    if let Ok(ControllerId { protocol: Protocol::Modbus, .. }) = text.parse() {
        return Err(format!(
            "{text} speaks Modbus, and this command talks to UHPPOTE boards\nhint: `postern controllers` shows how it stands, `postern profile show` what its registers hold"
        ));
    }
    let number = text.strip_prefix("uhppote-").unwrap_or(text);
    match number.parse() {
        Ok(0) | Err(_) => {
            Err("a serial number is written as it stands on the board, such as 405419896"
                .to_owned())
        }
        Ok(serial) => Ok(serial),
    }
}

/// `192.168.1.100:60000`, or without the port that boards use.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let whole = || format!("{text}:{PORT}");
    match text.parse::<SocketAddr>().or_else(|_| whole().parse()) {
        Ok(address) if address.port() != 0 && !address.ip().is_unspecified() => Ok(address),
        _ => Err(format!("write IP:PORT, such as 192.168.1.100:{PORT}")),
    }
}

pub(super) fn zone(name: &str) -> Result<Zone, String> {
    match TimeZone::get(name) {
        Ok(zone) => Ok(Zone { name: name.to_owned(), zone }),
        Err(_) => {
            Err("there is no such time zone; use an IANA name such as Europe/Berlin".to_owned())
        }
    }
}

fn transport() -> impl TypedValueParser<Value = Transport> {
    PossibleValuesParser::new(["udp", "tcp"])
        .map(|word| if word == "tcp" { Transport::Tcp } else { Transport::Udp })
}

/// A board that answered.
pub(super) struct Session {
    runtime: Runtime,
    client: Client,
    target: Target,
    /// Who it says it is.
    pub(super) identity: Identity,
    /// The zone of its clock, where that is known.
    pub(super) zone: Option<Zone>,
}

impl Session {
    /// Finds the board and asks it who it is.
    pub(super) fn open(board: &Board) -> Result<Self, Failure> {
        let (target, zone) = find(board)?;
        trace::start(board.line.trace_wire);
        let runtime = runtime()?;
        let identity = runtime.block_on(identify(target)).map_err(|error| failed(target, error))?;
        let client = Client::new(target);
        Ok(Self { runtime, client, target, identity, zone })
    }

    /// Asks it.
    pub(super) fn ask(&mut self, request: &Request) -> Result<Response, Failure> {
        self.try_ask(request).map_err(|error| failed(self.target, error))
    }

    /// The same, where silence is an answer of its kind.
    pub(super) fn try_ask(&mut self, request: &Request) -> Result<Response, DriverError> {
        self.runtime.block_on(self.client.ask(request)).map(|reply| reply.response)
    }

    pub(super) fn serial(&self) -> u32 {
        self.target.serial
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.target.address
    }

    pub(super) fn target(&self) -> Target {
        self.target
    }

    /// The fields with which every report of a board begins.
    pub(super) fn report(&self, schema: &str) -> Value {
        report(self.target, schema)
    }

    /// The board did not do what it was asked for.
    pub(super) fn refused(&self, what: &str) -> Failure {
        Failure {
            code: exit::CONTROLLER,
            message: format!(
                "controller {} refused {what}\nhint: `postern controllers show {0}` shows how it is",
                self.target.serial
            ),
        }
    }

    /// The board answered something that was not asked for.
    pub(super) fn nonsense(&self) -> Failure {
        failed(self.target, DriverError::Nonsense)
    }
}

/// Asks a board, and takes the fields of the answer.
macro_rules! ask {
    ($session:expr, $name:ident { $($field:ident: $value:expr),* $(,)? }) => {{
        use postern_protocol::uhppote::message::request::$name;
        use postern_protocol::uhppote::{Request, Response};
        let request = Request::$name($name { controller: $session.serial(), $($field: $value),* });
        match $session.ask(&request) {
            Ok(Response::$name(answer)) => Ok(answer),
            Ok(_) => Err($session.nonsense()),
            Err(failure) => Err(failure),
        }
    }};
}
pub(super) use ask;

pub(super) fn runtime() -> Result<Runtime, Failure> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// Asks a board who it is; where it does not say so, who is there instead.
pub(super) async fn identify(target: Target) -> Result<Identity, DriverError> {
    let settings = Settings { target, zone: TimeZone::UTC, in_flight: 1 };
    let result = Uhppote::new(settings).identify(0).await;
    if !matches!(result, Err(DriverError::Nonsense)) {
        return result;
    }
    // Over TCP a board hangs up on whoever means another one.
    let anybody = Request::GetController(GetController { controller: 0 });
    match Client::new(Target { serial: 0, ..target }).ask(&anybody).await {
        Ok(reply) if reply.response.controller() != target.serial => {
            Err(DriverError::OtherController { found: reply.response.controller() })
        }
        Ok(_) | Err(_) => result,
    }
}

pub(super) fn report(target: Target, schema: &str) -> Value {
    json!({
        "schema": schema,
        "controller": ControllerId::uhppote(target.serial),
        "serial": target.serial,
        "address": target.address,
        "transport": target.transport,
    })
}

/// How the board is reached.
pub(super) fn find(board: &Board) -> Result<(Target, Option<Zone>), Failure> {
    let Board { serial, common, line } = board;
    let given = line.timeout_ms.map(Duration::from_millis);
    if let Some(address) = line.address {
        let transport = line.transport.unwrap_or(Transport::Udp);
        let timeout = given.unwrap_or(TIMEOUT);
        return Ok((Target { serial: *serial, address, transport, timeout }, line.zone.clone()));
    }
    let text = Outline::read(&common.config).map_err(|error| {
        let failure = Failure::from(error);
        let hint = "or say where the board is with --address IP:PORT";
        Failure { message: format!("{}, {hint}", failure.message), ..failure }
    })?;
    let outline = Outline::check(&common.config, &text)?;
    let Some(controller) = outline.controllers.get(serial) else {
        let mut stations = outline.buses.iter().flat_map(|bus| &bus.stations);
        if let Some(station) = stations.find(|station| station.serial == *serial) {
            return Err(Failure {
                code: exit::CONFIG,
                message: format!(
                    "{serial} is {} in {}, a controller of the link protocol, and this command talks to UHPPOTE boards\nhint: only the running gateway talks to it: `postern controllers` shows how it stands",
                    station.controller(),
                    common.config.display()
                ),
            });
        }
        let known = some(&outline.controllers.keys().copied().collect::<Vec<_>>());
        return Err(Failure {
            code: exit::CONFIG,
            message: format!(
                "there is no controller {serial} in {}; there are: {known}\nhint: say where it is with --address IP:PORT, or `postern controllers discover` looks for it",
                common.config.display()
            ),
        });
    };
    let zone = Zone { name: controller.zone_name.clone(), zone: controller.zone.clone() };
    let target = Target {
        serial: *serial,
        address: controller.address,
        transport: controller.transport,
        timeout: given.unwrap_or(controller.timeout),
    };
    Ok((target, Some(zone)))
}

/// How many serial numbers are listed: as many as somebody who mistyped one looks through.
const MAX_LISTED: usize = 10;

/// Some serial numbers, and how many there are besides.
fn some(serials: &[u32]) -> String {
    let listed: Vec<String> = serials.iter().take(MAX_LISTED).map(u32::to_string).collect();
    match serials.len() {
        0 => "none".to_owned(),
        all if all > MAX_LISTED => format!("{} and {} more", listed.join(", "), all - MAX_LISTED),
        _ => listed.join(", "),
    }
}

/// What went wrong on the way to a board, and what to do.
pub(super) fn failed(target: Target, error: DriverError) -> Failure {
    let Target { serial, address, transport, .. } = target;
    let over = transport.name();
    let message = match error {
        DriverError::TimedOut => format!(
            "controller {serial} does not answer at {address} over {over}\nhint: look at its power, its cable and the address; `postern controllers discover` lists the boards that answer"
        ),
        DriverError::Line(kind) => format!(
            "controller {serial} cannot be reached at {address} over {over}: {kind}\nhint: look at the address; boards listen on port {PORT}"
        ),
        DriverError::Nonsense => format!(
            "what answers at {address} over {over} makes no sense as controller {serial}\nhint: --trace-wire shows the frames; something else may listen there"
        ),
        DriverError::OtherController { found } => format!(
            "controller {found} answers at {address}, not {serial}\nhint: correct the serial number or the address; `postern controllers discover` lists both of each board"
        ),
        DriverError::Elsewhere { from } => format!(
            "the answers of controller {serial} come from {from}, not from {address}\nhint: use {from} as its address, or look for what stands between"
        ),
        DriverError::Refused => format!("controller {serial} at {address} refused"),
        // Boards have none.
        DriverError::WrongKey
        | DriverError::NoKey
        | DriverError::Keyed
        | DriverError::Unkeyed
        | DriverError::Version
        | DriverError::Exception { .. }
        | DriverError::Latch
        | DriverError::Damaged => format!("controller {serial} at {address}: {error}"),
    };
    Failure { code: exit::CONTROLLER, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_and_addresses_are_read_as_people_write_them() {
        assert_eq!(serial("405419896"), Ok(405_419_896));
        assert_eq!(serial("uhppote-405419896"), Ok(405_419_896));
        assert!(serial("0").is_err() && serial("hall").is_err());
        let link = serial("link-70001").unwrap_err();
        assert!(link.contains("link protocol") && link.contains("\nhint: "), "{link}");
        assert_eq!(address("192.0.2.7").unwrap().to_string(), "192.0.2.7:60000");
        assert_eq!(address("192.0.2.7:1").unwrap().to_string(), "192.0.2.7:1");
        for wrong in ["192.0.2.7:0", "192.0.2", "0.0.0.0:60000", "board.example:60000"] {
            assert!(address(wrong).unwrap_err().contains("IP:PORT"), "{wrong}");
        }
    }

    #[test]
    fn a_long_list_of_serial_numbers_is_cut_short() {
        assert_eq!(some(&[]), "none");
        assert_eq!(some(&[1, 2]), "1, 2");
        let many: Vec<u32> = (1..=200).collect();
        assert_eq!(some(&many), "1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 190 more");
    }

    #[test]
    fn every_error_of_the_line_says_what_to_do() {
        let address = "192.0.2.7:60000".parse().unwrap();
        let target = Target { serial: 7, address, transport: Transport::Udp, timeout: TIMEOUT };
        for error in [
            DriverError::TimedOut,
            DriverError::Line(std::io::ErrorKind::ConnectionRefused),
            DriverError::Nonsense,
            DriverError::OtherController { found: 8 },
            DriverError::Elsewhere { from: address },
        ] {
            let failure = failed(target, error);
            assert_eq!(failure.code, exit::CONTROLLER);
            assert!(failure.message.contains("\nhint: "), "{}", failure.message);
        }
    }
}
