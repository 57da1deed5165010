//! What people see: tables with a header and a summary line, or a line for each value.

use std::fmt::{self, Write as _};

use serde_json::Value;

use crate::api::message::{
    AnyStatus, LinePlug, LineProtocol, LineReply, Ready, ShownReply, StatusReply,
};
use crate::ledger::Source;

/// What `run` says when every board answers.
pub(super) fn ready(ready: &Ready) -> String {
    build(|text| {
        writeln!(text, "{:<12}  ADDRESS (UDP AND TCP)", "SERIAL")?;
        for controller in &ready.controllers {
            writeln!(text, "{:<12}  {}", controller.serial, controller.address)?;
        }
        for line in &ready.lines {
            for station in &line.stations {
                let (name, address) = (&line.name, station.address);
                let what = match line.protocol {
                    LineProtocol::Link => "station",
                    LineProtocol::ModbusRtu | LineProtocol::ModbusTcp => "unit",
                };
                writeln!(text, "{:<12}  {what} {address} of line {name}", station.serial)?;
            }
        }
        for line in &ready.lines {
            writeln!(text, "line {}: {}", line.name, plug(&line.plug))?;
        }
        let on_lines: usize = ready.lines.iter().map(|line| line.stations.len()).sum();
        let count = ready.controllers.len() + on_lines;
        let (api, ledger) = (ready.api, &ready.ledger);
        write!(text, "{count} controllers ready; control API on {api}; ")?;
        if let Some(discovery) = ready.discovery {
            write!(text, "discovery on {discovery}; ")?;
        }
        writeln!(text, "ledger {ledger}")
    })
}

/// Any reply of the control API.
pub(super) fn reply(reply: &Value) -> String {
    if let Ok(reply) = serde_json::from_value::<StatusReply>(reply.clone()) {
        return build(|text| status(text, &reply));
    }
    if let Ok(reply) = serde_json::from_value::<LineReply>(reply.clone()) {
        return build(|text| line(text, &reply));
    }
    if let Ok(reply) = serde_json::from_value::<ShownReply>(reply.clone()) {
        return build(|text| shown(text, &reply));
    }
    if let Some(happened) = reply.get("events").and_then(Value::as_array) {
        return build(|text| events(text, happened));
    }
    build(|text| {
        let values = reply.as_object().into_iter().flatten();
        for (name, value) in values.filter(|(name, _)| *name != "schema") {
            match value.as_str() {
                Some(value) => writeln!(text, "{name:<22}  {value}")?,
                None => writeln!(text, "{name:<22}  {value}")?,
            }
        }
        Ok(())
    })
}

fn status(text: &mut String, status: &StatusReply) -> fmt::Result {
    writeln!(
        text,
        "{:<12} {:<21} {:>4} {:>10} {:>10} {:>7} {:>9} {:>9}",
        "SERIAL", "ADDRESS", "LIFE", "OLDEST", "NEWEST", "STORED", "RECEIVED", "PUSHED"
    )?;
    for controller in &status.controllers {
        let board = match controller {
            AnyStatus::Board(board) => board,
            AnyStatus::Modbus(unit) => {
                writeln!(
                    text,
                    "{:<12} {:<21} {:>4} {:>10} {:>10} {:>7} {:>9} {:>9}",
                    unit.serial,
                    format!("{} {}", unit.line, unit.unit),
                    unit.life,
                    "-",
                    unit.numbers.iter().max().unwrap_or(&0),
                    "-",
                    unit.counters.requests,
                    "-"
                )?;
                continue;
            }
            AnyStatus::Link(link) => {
                writeln!(
                    text,
                    "{:<12} {:<21} {:>4} {:>10} {:>10} {:>7} {:>9} {:>9}",
                    link.serial,
                    format!("{} {}", link.line, link.station),
                    link.life,
                    link.oldest,
                    link.newest,
                    link.stored,
                    link.requests,
                    "-"
                )?;
                continue;
            }
        };
        writeln!(
            text,
            "{:<12} {:<21} {:>4} {:>10} {:>10} {:>7} {:>9} {:>9}",
            board.serial,
            board.address,
            board.life,
            board.oldest,
            board.newest,
            board.stored,
            board.counters.frames_received,
            board.counters.pushes
        )?;
    }
    writeln!(
        text,
        "{} controllers; {} swipes a second, {} so far; {} lines in {}",
        status.controllers.len(),
        status.people.rate,
        status.people.swipes,
        status.ledger.lines,
        status.ledger.path
    )
}

fn plug(plug: &LinePlug) -> String {
    match plug {
        LinePlug::Pty(path) => path.display().to_string(),
        LinePlug::Tcp(address) => address.to_string(),
    }
}

fn line(text: &mut String, line: &LineReply) -> fmt::Result {
    writeln!(
        text,
        "{:<12} {:>7} {:>10} {:>8} {:>7} {:>7} {:>10} {:>8}",
        "SERIAL", "STATION", "BYTES", "REPLIES", "REFUSED", "MISSED", "POWER CUTS", "BABBLES"
    )?;
    for station in &line.stations {
        writeln!(
            text,
            "{:<12} {:>7} {:>10} {:>8} {:>7} {:>7} {:>10} {:>8}",
            station.serial,
            station.address,
            station.bytes,
            station.replies,
            station.refused,
            station.missed,
            station.power_cuts,
            station.babbles
        )?;
    }
    let counters = &line.counters;
    writeln!(
        text,
        "{} stations at {}, {} baud: {} bytes to them, {} from them, busy for {} ms; \
         {} collided, {} bit errors, {} lost, {} inserted, {} not taken",
        line.stations.len(),
        plug(&line.plug),
        line.baud,
        counters.host_bytes,
        counters.heard_by_host,
        counters.busy_ms,
        counters.collided,
        counters.bit_errors,
        counters.lost,
        counters.inserted,
        counters.overrun
    )
}

fn events(text: &mut String, events: &[Value]) -> fmt::Result {
    for event in events {
        let kind = event.get("kind").and_then(Value::as_str).unwrap_or("?");
        let index = event.get("index").and_then(Value::as_u64).unwrap_or(0);
        writeln!(text, "{index:>10}  {kind}")?;
    }
    writeln!(text, "{} events recorded", events.len())
}

fn shown(text: &mut String, reply: &ShownReply) -> fmt::Result {
    for line in &reply.shown {
        let source = match line.source {
            Source::Device => "device".to_owned(),
            Source::Reader(number) => format!("reader {number}"),
            Source::Door(number) => format!("door {number}"),
        };
        let number = line.number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        writeln!(text, "{number:>10}  {source:<10}  {}", line.what.name())?;
    }
    writeln!(text, "{} lines in the ledger", reply.shown.len())
}

/// Writing to a string cannot fail.
fn build(write: impl FnOnce(&mut String) -> fmt::Result) -> String {
    let mut text = String::new();
    let _ = write(&mut text);
    text
}
