//! `postern controllers clock`: what a board's clock says, and the setting of it. Set it is by the
//! running gateway alone, because a step of the clock is a record in the journal.

use std::path::PathBuf;

use postern_protocol::uhppote::field::DateTime;
use postern_protocol::{ControllerId, Protocol, Timestamp};
use serde_json::{Value, json};

use super::super::confirm::confirm;
use super::super::{Common, Failure, print, show};
use super::board::{Board, Line, Session, Zone, ask, serial};
use super::say;
use crate::collector::{MAX_STEP_S, NotSet, Order};
use crate::config::Config;
use crate::control::client::ControlError;
use crate::control::{Request, client};
use crate::driver::Reading;
use crate::driver::uhppote::zone;
use crate::{clock, exit};

mod link;

#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("change").args(["set", "dry_run"]).multiple(true)))]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(in crate::cli) struct Arguments {
    /// The serial number, as it stands on the board; or a controller of the link protocol, such as
    /// link-70001.
    #[arg(value_name = "SERIAL", value_parser = controller)]
    controller: ControllerId,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    line: Line,
    /// Set it to the gateway's time, through the running gateway.
    #[arg(long, conflicts_with = "address")]
    set: bool,
    /// Show what --set would do; change nothing. Fails where --set would.
    #[arg(long, conflicts_with = "address")]
    dry_run: bool,
    /// Do not ask.
    #[arg(long, requires = "set")]
    yes: bool,
    /// Also where the step is over an hour: schedules open and lock doors by this clock.
    #[arg(long, requires = "change")]
    any_step: bool,
    /// Also where nothing says that the gateway's own clock is right.
    #[arg(long, requires = "change")]
    trust_gateway_clock: bool,
}

fn controller(text: &str) -> Result<ControllerId, String> {
    match text.parse() {
        Ok(controller @ ControllerId { protocol: Protocol::Link, .. }) => Ok(controller),
        Ok(controller @ ControllerId { protocol: Protocol::Modbus, .. }) => Err(format!(
            "{controller} speaks Modbus, and has no clock: the gateway's own tells when something was seen there"
        )),
        Ok(ControllerId { protocol: Protocol::Uhppote, .. }) | Err(_) => {
            serial(text).map(ControllerId::uhppote)
        }
    }
}

/// Who is asked what a clock says.
enum Source {
    /// The board itself.
    Board(Box<Session>),
    /// The running gateway: nobody else may talk on a bus that it has.
    Gateway(PathBuf, ControllerId),
}

impl Source {
    fn open(arguments: &Arguments, data_dir: Option<&PathBuf>) -> Result<Self, Failure> {
        let Arguments { controller, common, line, .. } = arguments;
        match (u32::try_from(controller.serial), controller.protocol, data_dir) {
            (_, Protocol::Link, Some(data_dir)) => Ok(Self::Gateway(data_dir.clone(), *controller)),
            (Ok(serial), Protocol::Uhppote, _) => {
                let board = Board { serial, common: common.clone(), line: line.clone() };
                Ok(Self::Board(Box::new(Session::open(&board)?)))
            }
            (_, Protocol::Uhppote | Protocol::Modbus, _) | (_, Protocol::Link, None) => {
                Err(link::not_direct(*controller))
            }
        }
    }

    fn report(&self) -> Result<Value, Failure> {
        const SCHEMA: &str = "postern.controller.clock.v1";
        match self {
            Self::Board(session) => Ok(session.report(SCHEMA)),
            Self::Gateway(data_dir, controller) => link::report(data_dir, *controller, SCHEMA),
        }
    }

    fn now(&mut self) -> Result<Value, Failure> {
        match self {
            Self::Board(session) => now(session),
            Self::Gateway(data_dir, controller) => link::clock(data_dir, *controller),
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { common, line, controller, .. } = arguments;
    let is_link = controller.protocol == Protocol::Link;
    if is_link && line.is_given() {
        return Err(link::not_direct(*controller));
    }
    // Said before anybody is asked anything.
    let gateway = if arguments.set || arguments.dry_run || is_link {
        let data_dir = Config::load(&common.config)?.data_dir;
        let status = client::ask_one(&data_dir, &Request::Status)
            .map_err(|error| not_running(error, arguments.set || arguments.dry_run))?;
        Some((data_dir, status))
    } else {
        None
    };
    let mut source = Source::open(arguments, gateway.as_ref().map(|(data_dir, _)| data_dir))?;
    let before = source.now()?;
    let mut value = source.report()?;
    value["clock"] = before;
    let Some((data_dir, status)) = gateway.filter(|_| arguments.set || arguments.dry_run) else {
        return print(common.json, &value, text);
    };

    value["dry_run"] = json!(arguments.dry_run);
    let name = name(*controller);
    if arguments.dry_run {
        let controllers = client::ask_one(&data_dir, &Request::Controllers)?;
        let order =
            Order { any_step: arguments.any_step, trust_gateway: arguments.trust_gateway_clock };
        let verdict = verdict(*controller, &value["clock"], &status, &controllers, order);
        value["would_be_set"] = json!(verdict.is_ok());
        value["why_not"] = json!(verdict.as_ref().err());
        print(common.json, &value, text)?;
        return verdict.map_err(|why| Failure {
            code: exit::CONTROLLER,
            message: format!("the clock of {name} would not be set: {why}"),
        });
    }
    if line.trace_wire {
        say("the frame that sets the clock is the running gateway's and is not shown here");
    }
    say(&format!("clock of {name}: {}", sentence(&value["clock"])));
    confirm(arguments.yes, "Set it to the gateway's time?")?;
    let request = Request::SetClock {
        controller: *controller,
        any_step: arguments.any_step,
        trust_gateway: arguments.trust_gateway_clock,
    };
    let set = client::ask_one(&data_dir, &request).map_err(|error| refused(&name, error))?;
    value["set"] = json!({ "before_s": set["before_s"], "after_s": set["after_s"] });
    value["after"] = source.now()?;
    print(common.json, &value, text)
}

/// A controller as people wrote it: a board by the number that stands on it.
fn name(controller: ControllerId) -> String {
    match controller.protocol {
        Protocol::Uhppote => controller.serial.to_string(),
        Protocol::Link | Protocol::Modbus => controller.to_string(),
    }
}

/// What the running gateway would say to the order, by what it tells of itself and of the board.
fn verdict(
    controller: ControllerId,
    clock: &Value,
    status: &Value,
    controllers: &Value,
    order: Order,
) -> Result<(), String> {
    let id = json!(controller);
    let Some(board) = show::list(&controllers["controllers"]).find(|each| each["controller"] == id)
    else {
        return Err("the running gateway has no such controller\nhint: restart it to read its configuration".to_owned());
    };
    // One that was never set counts as standing at 1970.
    let is_large = clock["skew_s"].as_i64().is_none_or(|skew| skew.saturating_abs() > MAX_STEP_S);
    if is_large && !order.any_step {
        Err(NotSet::LargeStep.to_string())
    } else if status["clock"]["known"].is_null() && !order.trust_gateway {
        Err(NotSet::GatewayUnproven.to_string())
    } else if board["cursor"].is_null() {
        Err(NotSet::NothingRead.to_string())
    } else if !status["journal"]["full"].is_null() {
        Err(NotSet::JournalFull.to_string())
    } else {
        Ok(())
    }
}

/// No gateway, no clock is set.
fn not_running(error: ControlError, change: bool) -> Failure {
    let failure = Failure::from(error);
    let why = if change {
        "a clock is set by the running gateway, which notes the step in its journal"
    } else {
        "only the running gateway talks to a controller of the link protocol"
    };
    Failure { message: format!("{why}: {}", failure.message), ..failure }
}

/// Why the gateway did not set it, in its own words.
fn refused(name: &str, error: ControlError) -> Failure {
    match error {
        ControlError::Broken { reason, .. } => Failure {
            code: exit::CONTROLLER,
            message: format!("the clock of {name} was not set: {reason}"),
        },
        other @ (ControlError::NotRunning { .. } | ControlError::Journal { .. }) => other.into(),
    }
}

/// What the board's clock reads, and the gateway's time then.
pub(super) fn read(session: &mut Session) -> Result<(DateTime, Timestamp), Failure> {
    let begun = clock::utc();
    let reading = ask!(session, GetTime {})?.datetime;
    let ended = clock::utc();
    Ok((reading, Timestamp(begun.0.midpoint(ended.0))))
}

fn now(session: &mut Session) -> Result<Value, Failure> {
    let (reading, now) = read(session)?;
    Ok(report(reading, session.zone.as_ref(), now))
}

/// A reading as data. The skew is positive where the board is ahead; null where its zone is not known
/// or its clock was never set.
pub(super) fn report(wall: DateTime, zone: Option<&Zone>, now: Timestamp) -> Value {
    let reading = zone.map(|zone| zone::reading(wall, &zone.zone));
    let (at, is_ambiguous) = match reading {
        Some(Reading::At { at, or_at }) => {
            let nearest = or_at.filter(|or_at| or_at.0.abs_diff(now.0) < at.0.abs_diff(now.0));
            (Some(nearest.unwrap_or(at)), or_at.is_some())
        }
        Some(Reading::Unset) | None => (None, false),
    };
    json!({
        "wall": wall.is_set().then(|| wall.to_string()),
        "zone": zone.map(|zone| &zone.name),
        "utc": at.map(clock::text),
        "gateway_utc": clock::text(now),
        "skew_s": at.map(|at| skew_s(at, now)),
        "ambiguous": is_ambiguous,
    })
}

/// By how many seconds the board is ahead, to the nearest. It shows whole seconds, so on the average it
/// is half a second further; and it is set in whole seconds, so it cannot be nearer than one.
fn skew_s(at: Timestamp, now: Timestamp) -> i64 {
    let ms = at.0 + 500 - now.0;
    if ms.abs() < 1_000 { 0 } else { (ms.abs() + 499) / 1_000 * ms.signum() }
}

/// The same for people.
pub(super) fn sentence(clock: &Value) -> String {
    let t = |key: &str| show::text(&clock[key]);
    let skew = match clock["skew_s"].as_i64() {
        Some(0) => "right to the second".to_owned(),
        Some(skew) if skew > 0 => format!("{skew} s ahead"),
        Some(skew) => format!("{} s behind", skew.unsigned_abs()),
        None => "its zone is not known here: give --zone".to_owned(),
    };
    if clock["wall"].is_null() {
        return "never set".to_owned();
    }
    let zone = if clock["zone"].is_null() { String::new() } else { format!(" {}", t("zone")) };
    let twice = if clock["ambiguous"] == true { ", in the hour that comes twice" } else { "" };
    format!("{}{zone}, {skew}{twice}", t("wall"))
}

fn text(report: &Value) -> String {
    let clock = &report["clock"];
    let t = |key: &str| show::text(&clock[key]);
    let who = if report["bus"].is_null() { "board" } else { "station" };
    let mut out = format!(
        "{who:<10}{}\nin UTC    {}\ngateway   {}\n",
        sentence(clock),
        t("utc"),
        t("gateway_utc")
    );
    if report["dry_run"] == true {
        let not = if report["would_be_set"] == true { "" } else { "not " };
        out = format!("{out}\nwould {not}be set by the running gateway; nothing was changed\n");
    }
    if report["after"].is_object() {
        out = format!("{out}\nset; now  {}\n", sentence(&report["after"]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    fn berlin(wall: &str, now: &str) -> Value {
        let zone = super::super::board::zone("Europe/Berlin").unwrap();
        report(wall.parse().unwrap(), Some(&zone), at(now))
    }

    /// It promised what the gateway then refused.
    #[test]
    fn a_dry_run_decides_as_the_gateway_does() {
        let careful = Order { any_step: false, trust_gateway: false };
        let any = Order { any_step: true, ..careful };
        let trusting = Order { trust_gateway: true, ..careful };
        let controllers = |cursor: Value| json!({ "controllers": [{ "controller": "uhppote-7", "cursor": cursor }] });
        let status = |known: Value, full: Value| json!({ "clock": { "known": known }, "journal": { "full": full } });
        let said = |skew: Value, status: Value, controllers: Value, order| {
            verdict(
                ControllerId::uhppote(7),
                &json!({ "skew_s": skew }),
                &status,
                &controllers,
                order,
            )
            .err()
        };
        let good = || status(json!("kernel"), Value::Null);
        let read = || controllers(json!(3));
        let step = Some(NotSet::LargeStep.to_string());
        assert_eq!(said(json!(-3_600), good(), read(), careful), None, "summer time");
        assert_eq!(said(json!(MAX_STEP_S + 1), good(), read(), careful), step);
        assert_eq!(said(json!(-MAX_STEP_S - 1), good(), read(), careful), step);
        assert_eq!(said(Value::Null, good(), read(), careful), step, "never set");
        assert_eq!(said(Value::Null, good(), read(), any), None);
        let unproven = || status(Value::Null, Value::Null);
        let why = Some(NotSet::GatewayUnproven.to_string());
        assert_eq!(said(json!(90), unproven(), read(), careful), why);
        assert_eq!(said(json!(90), unproven(), read(), trusting), None);
        let full = status(json!("kernel"), json!("capacity"));
        assert_eq!(said(json!(90), full, read(), careful), Some(NotSet::JournalFull.to_string()));
        let nothing = Some(NotSet::NothingRead.to_string());
        assert_eq!(said(json!(90), good(), controllers(Value::Null), careful), nothing);
        let unknown = said(json!(90), good(), json!({ "controllers": [] }), careful).unwrap();
        assert!(unknown.contains("no such controller"), "{unknown}");
    }

    #[test]
    fn a_clock_is_named_by_a_serial_number_or_by_a_controller() {
        assert_eq!(controller("405419896"), Ok(ControllerId::uhppote(405_419_896)));
        assert_eq!(controller("uhppote-7"), Ok(ControllerId::uhppote(7)));
        assert_eq!(controller("link-70001"), Ok(ControllerId::link(70_001)));
        assert!(controller("modbus-80001").unwrap_err().contains("has no clock"));
        assert!(controller("hall").is_err() && controller("0").is_err());
    }

    #[test]
    fn the_skew_is_to_the_second_and_signed() {
        for (now, skew) in [
            ("2026-01-15T11:00:00.000Z", 0),
            ("2026-01-15T11:00:00.999Z", 0),
            ("2026-01-15T10:59:59.531Z", 0),
            ("2026-01-15T10:59:58.800Z", 2),
            ("2026-01-15T11:00:05.500Z", -5),
            ("2026-01-15T10:59:00.500Z", 60),
        ] {
            assert_eq!(berlin("2026-01-15 12:00:00", now)["skew_s"], skew, "{now}");
        }
    }

    #[test]
    fn in_the_hour_that_comes_twice_the_nearer_moment_counts() {
        let reading = berlin("2026-10-25 02:30:00", "2026-10-25T01:30:00.500Z");
        assert_eq!((&reading["skew_s"], &reading["ambiguous"]), (&json!(0), &json!(true)));
        assert!(sentence(&reading).ends_with("in the hour that comes twice"));
    }

    #[test]
    fn a_clock_that_was_never_set_and_one_of_an_unknown_zone_have_no_skew() {
        let unset = berlin("", "2026-01-15T11:00:00Z");
        assert_eq!(unset["skew_s"], Value::Null);
        assert_eq!(sentence(&unset), "never set");
        let nowhere =
            report("2026-01-15 12:00:00".parse().unwrap(), None, at("2026-01-15T11:00:00Z"));
        assert_eq!(nowhere["utc"], Value::Null);
        assert!(sentence(&nowhere).contains("--zone"));
    }
}
