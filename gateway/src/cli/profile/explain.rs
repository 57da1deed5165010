//! `postern profile check`: a profile in words.

use std::fmt::Write;
use std::time::Duration;

use postern_protocol::modbus::card::{Align, First, Format};
use postern_protocol::modbus::profile::{Card, DoorPoints, Events, Flag, Place, Reader, Source};
use postern_protocol::modbus::register::Block;
use serde_json::{Value, json};

use super::super::{Failure, show};
use super::Named;
use crate::driver::line::{LineSettings, Parity, StopBits};
use crate::exit;

/// Units on the line for which the time of a round is told, and its speed.
const UNITS: u32 = 30;
const BAUD: u32 = 19_200;

pub(super) fn report(named: &Named) -> Result<Value, Failure> {
    let Named { name, from, profile } = named;
    if let Err(problems) = profile.check() {
        let problems: Vec<_> = problems.iter().map(|each| format!("  {each}")).collect();
        return Err(Failure {
            code: exit::CONFIG,
            message: format!(
                "profile {name} is wrong:\n{}\nhint: docs/drivers/modbus.md has the reference, and an example for a new device",
                problems.join("\n")
            ),
        });
    }
    let logs: Vec<Value> = profile.sources().map(|source| log(named, source)).collect();
    let readers =
        (1..).zip(&profile.readers).map(|(number, reader): (u8, _)| of_reader(number, reader));
    let look = profile.sources().filter_map(|source| profile.look(source).ok());
    let requests: Vec<Block> = look.flat_map(|plan| plan.requests.into_iter()).collect();
    Ok(json!({
        "schema": "postern.profile.check.v1",
        "profile": name,
        "from": from,
        "model": profile.model,
        "logs": logs,
        "restarted": profile.restarted.map(flag),
        "readers": readers.collect::<Vec<_>>(),
        "doors": profile.doors.iter().map(of_door).collect::<Vec<_>>(),
        "look_requests": requests.len(),
        "look_ms_at_19200": millis(requests.iter().map(|block| time(*block)).sum()),
    }))
}

/// One of its logs: what it is called behind the unit's serial number, and what one look for it reads.
fn log(named: &Named, source: Source) -> Value {
    let (suffix, numbered_by) = match source {
        Source::Shown => (String::new(), "gateway"),
        Source::Reader(number) => (format!(".{number}"), "device"),
    };
    let plan = named.profile.look(source).map(|plan| plan.requests).unwrap_or_default();
    json!({
        "controller": format!("modbus-SERIAL{suffix}"),
        "numbered_by": numbered_by,
        "reads": plan.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

/// How long a request for a block and its answer take at the usual speed, gaps included.
fn time(block: Block) -> Duration {
    let stop_bits = StopBits::One;
    let line = LineSettings::Serial {
        path: std::path::PathBuf::new(),
        baud: BAUD,
        parity: Parity::Even,
        stop_bits,
        rs485: false,
    };
    let count = usize::from(block.count());
    let values = if block.table().is_bits() { count.div_ceil(8) } else { count * 2 };
    // Request, answer, and three and a half characters before each.
    line.time_of(8 + 5 + values + 7)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn flag(flag: Flag) -> Value {
    json!({ "at": flag.block().to_string(), "when": flag.when })
}

fn place(place: Place) -> String {
    place.block().to_string()
}

fn of_reader(number: u8, reader: &Reader) -> Value {
    let events = match reader.events {
        Events::Latch { flag: at, clear } => json!({ "latch": flag(at), "clear": clear }),
        Events::Sequence { counter } => json!({ "sequence": place(counter) }),
        Events::Ring { counter, records, words, .. } => json!({
            "ring": reader.ring().map(|ring| ring.extent().to_string()),
            "counter": place(counter),
            "records": records,
            "words": words,
        }),
    };
    json!({
        "reader": number,
        "door": reader.door,
        "direction": reader.direction,
        "events": events,
        "card": of_card(&reader.card, matches!(reader.events, Events::Ring { .. })),
    })
}

fn of_card(card: &Card, in_ring: bool) -> Value {
    let registers = match card.block() {
        Some(_) if in_ring => {
            let last = card.address.saturating_add(card.count).saturating_sub(1);
            format!("register {} to {last} of a record", card.address)
        }
        Some(block) => block.to_string(),
        None => String::new(),
    };
    let first = |first| match first {
        First::High => "high",
        First::Low => "low",
    };
    let format = match card.format {
        Format::Raw => "raw",
        Format::Wiegand26 => "wiegand26",
        Format::Wiegand34 => "wiegand34",
        Format::Wiegand37 => "wiegand37",
    };
    json!({
        "registers": registers,
        "format": format,
        "words": first(card.words),
        "bytes": first(card.bytes),
        "align": match card.align { Align::Right => "right", Align::Left => "left" },
        "bits": card.bits.map(place),
    })
}

fn of_door(door: &DoorPoints) -> Value {
    json!({
        "door": door.door,
        "contact": door.contact.map(flag),
        "relay": door.relay.map(flag),
        "button": door.button.map(flag),
        "debounce_ms": door.debounce_ms,
        "grant_ms": door.grant_ms,
        "held_ms": door.held_ms,
        "forced": door.rules().forced,
    })
}

/// The same for people.
pub(super) fn text(report: &Value) -> String {
    let t = |value: &Value| show::text(value);
    let from = t(&report["from"])
        .replace("built_in", "built in")
        .replace("configuration", "of the configuration");
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(out, "profile   {}: {} ({from})", t(&report["profile"]), t(&report["model"]));
    for log in show::list(&report["logs"]) {
        let numbered = match log["numbered_by"].as_str() {
            Some("device") => "its own numbers; what was lost between two looks is counted",
            _ => "no numbers of its own; what begins and ends between two looks is not seen",
        };
        let reads: Vec<_> = show::list(&log["reads"]).map(show::text).collect();
        let _ = writeln!(out, "\nlog       {}\n          {numbered}", t(&log["controller"]));
        let _ = writeln!(out, "  look    {}", reads.join("; "));
    }
    for reader in show::list(&report["readers"]) {
        let direction = match reader["direction"].as_str() {
            Some(direction) => format!(", going {direction}"),
            None => String::new(),
        };
        let _ = writeln!(
            out,
            "\nreader {}  door {}{direction}",
            t(&reader["reader"]),
            t(&reader["door"])
        );
        let _ = writeln!(out, "  events  {}", events(&reader["events"]));
        let _ = writeln!(out, "  card    {}", card(&reader["card"]));
    }
    for door in show::list(&report["doors"]) {
        let _ = writeln!(out, "\ndoor {}", t(&door["door"]));
        for (key, says) in [("contact", "open"), ("relay", "may be opened"), ("button", "pressed")]
        {
            if !door[key].is_null() {
                let _ = writeln!(out, "  {key:<7} {}", when(&door[key], says));
            }
        }
        let _ = writeln!(out, "  times   {}", times(door));
    }
    if !report["restarted"].is_null() {
        let _ = writeln!(out, "\nrestart   {}", when(&report["restarted"], "restarted"));
    }
    let number = |key: &str| report[key].as_u64().unwrap_or(0);
    let (requests, ms) = (number("look_requests"), number("look_ms_at_19200"));
    let requests = show::count(usize::try_from(requests).unwrap_or(0), "request");
    let round = u64::from(UNITS) * ms;
    let _ = writeln!(
        out,
        "\na look at all of it takes {requests} and {ms} ms of a line at {BAUD} baud; {UNITS} such units are looked at every {round} ms"
    );
    out
}

fn when(flag: &Value, says: &str) -> String {
    let is = if flag["when"] == true { "is not 0" } else { "is 0" };
    format!("{} {is}: {says}", show::text(&flag["at"]))
}

fn events(events: &Value) -> String {
    let t = |key: &str| show::text(&events[key]);
    if !events["latch"].is_null() {
        let flag = when(&events["latch"], "a card");
        format!("latch: {flag}; {} is written there once the record is durable", t("clear"))
    } else if events["sequence"].is_null() {
        format!(
            "ring: {} records of {} registers, {}; counted in {}",
            t("records"),
            t("words"),
            t("ring"),
            t("counter")
        )
    } else {
        format!("sequence: counted in {}", t("sequence"))
    }
}

fn card(card: &Value) -> String {
    let t = |key: &str| show::text(&card[key]);
    let mut out = format!(
        "{}, {}; {} word first, {} byte first, bits at the {}",
        t("registers"),
        t("format"),
        t("words"),
        t("bytes"),
        t("align")
    );
    if !card["bits"].is_null() {
        let _ = write!(out, "; as many bits as {} says", t("bits"));
    }
    out
}

fn times(door: &Value) -> String {
    let t = |key: &str| show::text(&door[key]);
    let forced = if door["forced"] == true {
        format!("forced unless opened within {} ms of relay or button", t("grant_ms"))
    } else {
        "never forced: no relay shows who was let in".to_owned()
    };
    let held = match door["held_ms"].as_u64() {
        Some(held) => format!("held after {held} ms"),
        None => "never held".to_owned(),
    };
    format!("a change counts after {} ms; {forced}; {held}", t("debounce_ms"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::built_in;

    #[test]
    fn what_is_built_in_is_explained() {
        for (name, profile) in built_in() {
            let named = Named { name: name.clone(), from: "built_in", profile };
            let report = report(&named).ok().unwrap();
            let text = text(&report);
            assert!(text.contains(&name) && text.contains("(built in)"), "{text}");
            assert!(report["look_ms_at_19200"].as_u64().unwrap() > 0);
            assert!(!text.contains("null") && !text.contains("\"-\""), "{text}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let (name, mut profile) = built_in().into_iter().next().unwrap();
        profile.readers[0].door = 0;
        profile.doors[0].door = 0;
        let failure = report(&Named { name, from: "file", profile }).err().unwrap();
        assert_eq!(failure.code, exit::CONFIG);
        let lines = failure.message.lines().filter(|line| line.contains("doors count from 1"));
        assert_eq!(lines.count(), 2, "{}", failure.message);
        assert!(failure.message.contains("\nhint: "));
    }
}
