//! `postern profile show`: one look at a device.

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use postern_protocol::ControllerId;
use postern_protocol::modbus::profile::{DoorPoints, Events, Flag, Profile, Reader};
use postern_protocol::modbus::register::Block;
use postern_protocol::transaction::Credential;
use serde_json::{Value, json};

use super::super::bus::line::{self, parity};
use super::super::{Common, Failure, print, show};
use super::{Named, find, outline};
use crate::config::ModbusUnit;
use crate::driver::line::{LineSettings, Parity, StopBits};
use crate::driver::modbus::{Framing, Look, Values, Wire, WireSettings, usual_gap};
use crate::driver::{DriverError, LineCounters};
use crate::exit;

#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// A unit of the configuration, such as modbus-80001; or a profile, and beside it where the device is.
    #[arg(value_name = "UNIT|PROFILE|FILE.toml")]
    what: String,
    /// The device of a serial line.
    #[arg(long, value_name = "PATH", conflicts_with = "tcp", requires = "unit")]
    serial: Option<PathBuf>,
    /// Where the device listens, or a gateway before it.
    #[arg(long, value_name = "IP:PORT", requires = "unit")]
    tcp: Option<SocketAddr>,
    /// The unit's address on the line.
    #[arg(long, value_name = "N")]
    unit: Option<u8>,
    /// Bits a second [default: 19200].
    #[arg(long, value_name = "N", requires = "serial", value_parser = clap::value_parser!(u32).range(300..=4_000_000))]
    baud: Option<u32>,
    /// The parity bit [default: even].
    #[arg(long, requires = "serial", value_name = "none|even|odd", value_parser = parity(), hide_possible_values = true)]
    parity: Option<Parity>,
    /// The stop bits [default: 1].
    #[arg(long, requires = "serial", value_name = "1|2", value_parser = clap::value_parser!(u8).range(1..=2))]
    stop_bits: Option<u8>,
    /// How frames stand on the connection [default: tcp].
    #[arg(long, requires = "tcp", value_name = "rtu|tcp", value_parser = framing(), hide_possible_values = true)]
    framing: Option<Framing>,
    /// How long it may take to begin its answer, in milliseconds.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(5..=10_000))]
    reply_ms: u64,
    /// Show card numbers in full, and the registers that hold them.
    #[arg(long)]
    show_cards: bool,
}

fn framing() -> impl TypedValueParser<Value = Framing> {
    PossibleValuesParser::new(["rtu", "tcp"]).map(|word| match &*word {
        "rtu" => Framing::Rtu,
        _ => Framing::Tcp,
    })
}

/// Who is asked, over what, by which profile.
struct Target {
    named: Named,
    unit: u8,
    wire: WireSettings,
}

impl Arguments {
    fn target(&self) -> Result<Target, Failure> {
        let outline = outline(&self.common.config)?;
        let usage = |message: String| Failure { code: exit::USAGE, message };
        let target = match (self.what.parse::<ControllerId>(), self.unit, self.line()) {
            (Ok(wanted), _, None) => {
                let lines = outline.iter().flat_map(|outline| &outline.modbus);
                let mut units =
                    lines.flat_map(|line| line.units.iter().map(move |unit| (line, unit)));
                let is_it = |(_, each): &(_, &ModbusUnit)| {
                    each.unit.logs().any(|(_, controller)| controller == wanted)
                };
                let Some((line, each)) = units.find(is_it) else {
                    return Err(Failure {
                        code: exit::CONFIG,
                        message: format!(
                            "{wanted} is no unit in {}\nhint: write it there first, or name a profile and where the device is: `postern profile show inveo-rfid --serial /dev/ttyUSB0 --unit 1`",
                            self.common.config.display()
                        ),
                    });
                };
                let profile = Profile::clone(&each.unit.profile);
                let named =
                    Named { name: each.profile_name.clone(), from: "configuration", profile };
                Target { named, unit: each.unit.address, wire: line.wire.clone() }
            }
            (_, Some(unit), Some((line, framing))) => {
                let reply = Duration::from_millis(self.reply_ms);
                let gap = usual_gap(&line);
                let wire = WireSettings { line, framing, reply, gap, late: reply };
                Target { named: find(&self.what, &self.common.config)?, unit, wire }
            }
            (_, _, Some(_)) => {
                return Err(usage(
                    "which unit?\nhint: add --unit N, its address on the line".to_owned(),
                ));
            }
            (Err(_), _, None) => {
                return Err(usage(format!(
                    "where is the device?\nhint: `postern profile show {0} --serial /dev/ttyUSB0 --unit 1`, or `--tcp IP:502 --unit 1`; or name a unit of the configuration, such as modbus-80001; `postern profile check {0}` asks nobody",
                    self.what
                )));
            }
        };
        if let Some(outline) = &outline {
            line::refuse_taken(outline, &target.wire.line)?;
        }
        Ok(target)
    }

    fn line(&self) -> Option<(LineSettings, Framing)> {
        if let Some(path) = &self.serial {
            let two = self.stop_bits == Some(2);
            let line = LineSettings::Serial {
                path: path.clone(),
                baud: self.baud.unwrap_or(19_200),
                parity: self.parity.unwrap_or(Parity::Even),
                stop_bits: if two { StopBits::Two } else { StopBits::One },
                rs485: false,
            };
            return Some((line, Framing::Rtu));
        }
        let line = LineSettings::Tcp { address: self.tcp? };
        Some((line, self.framing.unwrap_or(Framing::Tcp)))
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let target = arguments.target()?;
    super::explain::report(&target.named)?;
    let (requests, counters) = super::super::bus::runtime()?.block_on(read(&target));
    let report = report(&target, &requests, counters, arguments.show_cards);
    print(arguments.common.json, &report, text)?;
    verdict(&target, &requests)
}

/// One request, and what came of it.
type Asked = (Block, Result<Values, DriverError>);

/// Asks for everything that the profile names; what a device refuses is no reason not to ask for the rest. Where nobody
/// answers it is.
async fn read(target: &Target) -> (Vec<Asked>, LineCounters) {
    let (mut wire, mut counters) = (Wire::new(target.wire.clone()), LineCounters::default());
    let plan = target.named.profile.check().map(|plan| plan.requests).unwrap_or_default();
    let mut asked = Vec::new();
    for block in plan {
        let answer = wire.read(target.unit, block, &mut counters).await;
        let goes_on = matches!(answer, Ok(_) | Err(DriverError::Exception { .. }));
        asked.push((block, answer));
        if !goes_on {
            break;
        }
    }
    (asked, counters)
}

fn verdict(target: &Target, asked: &[Asked]) -> Result<(), Failure> {
    let Some((block, error)) =
        asked.iter().find_map(|(block, answer)| Some((block, answer.as_ref().err()?)))
    else {
        return Ok(());
    };
    let (unit, line) = (target.unit, &target.wire.line);
    let hint = match error {
        DriverError::TimedOut => "look at power, at the two wires (swapped?), at the termination, at baud, parity and stop bits, and at the unit's address; --reply-ms for a device that is slow".to_owned(),
        DriverError::Line(kind) => return Err(line::failed(line, &io::Error::from(*kind))),
        DriverError::Exception { .. } => "correct the profile; addresses count from 0 here, and manuals often from 1 or from 40001".to_owned(),
        DriverError::Nonsense | DriverError::Damaged => {
            "is that its address, and is it the only one with it? Are baud and parity right?".to_owned()
        }
        // Nobody is asked for anything else here.
        DriverError::OtherController { .. }
        | DriverError::Elsewhere { .. }
        | DriverError::Refused
        | DriverError::WrongKey
        | DriverError::NoKey
        | DriverError::Keyed
        | DriverError::Unkeyed
        | DriverError::Version
        | DriverError::Latch => String::new(),
    };
    Err(Failure {
        code: exit::CONTROLLER,
        message: format!("unit {unit} on {line}, {block}: {error}\nhint: {hint}"),
    })
}

fn report(target: &Target, asked: &[Asked], counters: LineCounters, show_cards: bool) -> Value {
    let profile = &target.named.profile;
    let mut look = Look::default();
    for (block, answer) in asked {
        if let Ok(values) = answer {
            look.put(*block, values.clone());
        }
    }
    let holds_card = |block: &Block| {
        // In a ring a card's address counts from the beginning of a record: all of it holds cards.
        let card = |reader: &Reader| match reader.ring() {
            Some(ring) => Some(ring.extent()),
            None => reader.card.block().map(Block::extent),
        };
        let mut cards = profile.readers.iter().filter_map(card);
        cards.any(|card| card.overlaps(block.extent()))
    };
    let requests: Vec<Value> = asked
        .iter()
        .map(|(block, answer)| {
            let is_hidden = holds_card(block) && !show_cards;
            json!({
                "registers": block.to_string(),
                "values": match answer {
                    Ok(_) if is_hidden => Value::Null,
                    Ok(Values::Bits(bits)) => json!(bits.iter().map(|bit| u8::from(*bit)).collect::<Vec<_>>()),
                    Ok(Values::Words(words)) => json!(words),
                    Err(_) => Value::Null,
                },
                "hidden": is_hidden && answer.is_ok(),
                "error": answer.as_ref().err().map(ToString::to_string),
            })
        })
        .collect();
    let readers = (1..)
        .zip(&profile.readers)
        .map(|(number, reader): (u8, _)| of_reader(number, reader, &look, show_cards));
    json!({
        "schema": "postern.profile.show.v1",
        "profile": target.named.name,
        "model": profile.model,
        "address": target.wire.line.to_string(),
        "unit": target.unit,
        "requests": requests,
        "restarted": profile.restarted.and_then(|flag| look.flag(flag)),
        "readers": readers.collect::<Vec<_>>(),
        "doors": profile.doors.iter().map(|door| of_door(door, &look)).collect::<Vec<_>>(),
        "line": counters,
    })
}

fn of_reader(number: u8, reader: &Reader, look: &Look, show_cards: bool) -> Value {
    let word = |place| look.word(place);
    let (flag, counter) = match reader.events {
        Events::Latch { flag, .. } => (look.flag(flag), None),
        Events::Sequence { counter } | Events::Ring { counter, .. } => (None, word(counter)),
    };
    // A ring's cards are in its records, which are not read here.
    let in_ring = matches!(reader.events, Events::Ring { .. });
    let words = reader.card.block().filter(|_| !in_ring).and_then(|block| look.words(block));
    let card = words.map(|words| reader.card.layout().read(words, reader.card.bits.and_then(word)));
    let shown =
        |card: &Credential| if show_cards { json!(card.0) } else { json!(card.to_string()) };
    json!({
        "reader": number,
        "door": reader.door,
        "flag": flag,
        "counter": counter,
        "card": card.as_ref().and_then(|card| card.as_ref().ok()).map(shown),
        "no_card": card.and_then(Result::err).map(|error| error.to_string()),
    })
}

fn of_door(door: &DoorPoints, look: &Look) -> Value {
    let flag = |flag: Option<Flag>| flag.and_then(|flag| look.flag(flag));
    json!({
        "door": door.door,
        "open": flag(door.contact),
        "may_be_opened": flag(door.relay),
        "button": flag(door.button),
    })
}

fn text(report: &Value) -> String {
    let t = |value: &Value| show::text(value);
    let mut out = format!(
        "{} as {} ({}), unit {}\n\n",
        t(&report["address"]),
        t(&report["profile"]),
        t(&report["model"]),
        t(&report["unit"])
    );
    let rows = show::list(&report["requests"]).map(|request| {
        let values = match (&request["error"], &request["values"]) {
            (Value::String(error), _) => error.clone(),
            (_, Value::Array(values)) => {
                values.iter().map(show::text).collect::<Vec<_>>().join(" ")
            }
            _ => "(hold a card; --show-cards)".to_owned(),
        };
        vec![t(&request["registers"]), values]
    });
    out += &show::table(&["REGISTERS", "VALUES"], rows);
    out.push('\n');
    // Writing to a string cannot fail.
    for reader in show::list(&report["readers"]) {
        let mut said = Vec::new();
        if let Some(flag) = reader["flag"].as_bool() {
            said.push(if flag { "a new card" } else { "no new card" }.to_owned());
        }
        if !reader["counter"].is_null() {
            said.push(format!("counter {}", t(&reader["counter"])));
        }
        match (&reader["card"], &reader["no_card"]) {
            (Value::Null, Value::String(why)) => said.push(format!("no card: {why}")),
            (Value::Null, _) => {}
            (card, _) => said.push(format!("card {}", t(card))),
        }
        if said.is_empty() {
            said.push("not read".to_owned());
        }
        let _ = writeln!(
            out,
            "reader {}  door {}: {}",
            t(&reader["reader"]),
            t(&reader["door"]),
            said.join(", ")
        );
    }
    for door in show::list(&report["doors"]) {
        let mut said = Vec::new();
        for (key, yes, no) in [
            ("open", "open", "closed"),
            ("may_be_opened", "released", "locked"),
            ("button", "button pressed", "button not pressed"),
        ] {
            if let Some(value) = door[key].as_bool() {
                said.push(if value { yes } else { no });
            }
        }
        if said.is_empty() {
            said.push("not read");
        }
        let _ = writeln!(out, "door {}    {}", t(&door["door"]), said.join(", "));
    }
    if let Some(restarted) = report["restarted"].as_bool() {
        let _ = writeln!(
            out,
            "restart   {}",
            if restarted { "it says that it has restarted" } else { "no" }
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression: a ring that a request for its neighbours bridges was shown with every card in it.
    #[test]
    fn no_card_of_a_ring_is_shown_unasked() {
        let text = r#"
model = "bridged"
gap = 40
[[readers]]
door = 1
events = { ring = { counter = { table = "input_register", address = 100 }, table = "input_register", first = 101, records = 16, words = 2 } }
card = { address = 0, count = 2, format = "raw" }
[[doors]]
door = 1
contact = { table = "input_register", address = 133 }
"#;
        let profile: Profile = toml::from_str(text).unwrap();
        let plan = profile.check().unwrap();
        let words = |block: &Block| Values::Words(vec![0xbeef; usize::from(block.count())]);
        let asked: Vec<Asked> =
            plan.requests.iter().map(|block| (*block, Ok(words(block)))).collect();
        let line = LineSettings::Tcp { address: "127.0.0.1:1".parse().unwrap() };
        let (framing, gap) = (Framing::Tcp, Duration::ZERO);
        let wire = WireSettings { line, framing, reply: gap, gap, late: gap };
        let named = Named { name: "x".to_owned(), from: "file", profile };
        let target = Target { named, unit: 1, wire };
        let told =
            |show_cards| report(&target, &asked, LineCounters::default(), show_cards).to_string();
        assert!(!told(false).contains("48879,48879"), "{}", told(false));
        assert!(told(true).contains("48879,48879"));
    }
}
