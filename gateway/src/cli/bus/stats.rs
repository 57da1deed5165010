//! `postern bus stats`: what the running gateway counted on each line.

use std::fmt::Write;

use serde_json::{Value, json};

use super::super::{Common, Failure, print, show};
use super::{buses, data_dir, unknown};
use crate::control::{Request, client};

pub(super) fn run(common: &Common, bus: Option<&str>) -> Result<(), Failure> {
    let mut report = client::ask_one(&data_dir(common)?, &Request::Buses)?;
    if let Some(bus) = bus {
        keep(&mut report, bus)?;
    }
    print(common.json, &report, text)
}

/// Leaves one bus alone in the report.
fn keep(report: &mut Value, bus: &str) -> Result<(), Failure> {
    let Some(found) = show::list(&report["buses"]).find(|each| each["bus"] == bus).cloned() else {
        return Err(unknown(
            bus,
            show::list(&report["buses"]).map(|each| show::text(&each["bus"])),
        ));
    };
    report["buses"] = json!([found]);
    Ok(())
}

/// What is counted of a station, as it is named in JSON.
const COUNTED: [&str; 8] =
    ["requests", "replies", "timeouts", "repeats", "broken", "stale", "unverified", "refusals"];

fn text(report: &Value) -> String {
    let mut out = String::new();
    let (mut stations, mut offline) = (0, 0);
    // Writing to a string cannot fail.
    for bus in show::list(&report["buses"]) {
        let _ = writeln!(out, "{}", head(bus));
        let rows = show::list(&bus["stations"]).map(|station| {
            stations += 1;
            offline += usize::from(station["state"] == "offline");
            vec![
                show::text(&station["station"]),
                show::text(&station["controller"]),
                show::text(&station["state"]),
                if station["sealed"] == true { "yes" } else { "no" }.to_owned(),
                short(&station["sessions"]),
                show::text(&station["room"]),
                percent(&station["share_percent"]),
            ]
        });
        let headers = ["ADDR", "CONTROLLER", "STATE", "SEALED", "SESSIONS", "ROOM", "OF THE LINE"];
        let _ = writeln!(out, "{}", show::table(&headers, rows));
        let rows = show::list(&bus["stations"]).map(|station| {
            let counted = COUNTED.iter().map(|key| short(&station[*key]));
            std::iter::once(show::text(&station["station"])).chain(counted).collect()
        });
        let headers: Vec<String> =
            std::iter::once("addr").chain(COUNTED).map(str::to_uppercase).collect();
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let _ = writeln!(out, "{}", show::table(&headers, rows));
    }
    let buses = buses(show::list(&report["buses"]).count());
    let stations = show::count(stations, "station");
    let _ = writeln!(out, "{buses}, {stations}, {offline} offline");
    out
}

/// The lines above the tables of a bus.
fn head(bus: &Value) -> String {
    let t = |key: &str| show::text(&bus[key]);
    let baud = bus["baud"].as_u64().map_or_else(String::new, |baud| format!(" at {baud} baud"));
    // Over TCP it cannot be told.
    let used = match &bus["utilisation_percent"] {
        used if used.is_null() => String::new(),
        used => format!("{} of the time in use, ", percent(used)),
    };
    let (sent, received) = (short(&bus["bytes_sent"]), short(&bus["bytes_received"]));
    format!(
        "{}\n  {} {}{baud}, counted since {}\n  {used}{sent} bytes sent, {received} received\n",
        t("bus"),
        t("transport"),
        t("address"),
        t("since"),
    )
}

fn percent(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), |share| format!("{share:.1} %"))
}

/// A number in six characters at most: a table has room for no more.
fn short(value: &Value) -> String {
    const UNITS: [(u64, &str); 3] =
        [(1_000_000_000_000, "T"), (1_000_000_000, "G"), (1_000_000, "M")];
    let Some(number) = value.as_u64() else { return "-".to_owned() };
    let unit = UNITS.iter().find(|(unit, _)| number >= *unit);
    unit.map_or_else(
        || number.to_string(),
        |(unit, letter)| {
            let tenths = number / (unit / 10);
            format!("{}.{}{letter}", tenths / 10, tenths % 10)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Value {
        let station = |address: u8, state: &str, requests: u64| {
            json!({
                "station": address, "controller": format!("link-7000{address}"), "state": state,
                "security": "sealed", "sealed": state == "online", "room": 200,
                "share_percent": 6.25, "requests": requests, "replies": 123_456, "timeouts": 3,
                "repeats": 2, "broken": 1, "stale": 0, "unverified": 0, "refusals": 0,
                "sessions": 4, "bytes_sent": 1, "bytes_received": 1,
            })
        };
        let stations = [station(1, "online", 12_345_678), station(2, "offline", 999_999)];
        json!({
            "schema": "postern.bus.stats.v1",
            "now": "2026-11-28T02:00:00Z",
            "buses": [
                {
                    "bus": "hall", "transport": "serial", "address": "/dev/ttyUSB0", "baud": 115_200,
                    "since": "2026-11-28T01:00:00Z", "utilisation_percent": 12.34,
                    "bytes_sent": 4_000_000, "bytes_received": 5_000, "stations": stations,
                },
                {
                    "bus": "yard", "transport": "tcp", "address": "192.0.2.7:4001", "baud": null,
                    "since": "2026-11-28T01:00:00Z", "utilisation_percent": null,
                    "bytes_sent": 0, "bytes_received": 0, "stations": [],
                },
            ],
        })
    }

    #[test]
    fn the_text_fits_eighty_columns_and_ends_with_a_summary() {
        let text = text(&report());
        let wanted = "hall\n  serial /dev/ttyUSB0 at 115200 baud, counted since 2026-11-28T01:00:00Z\n  \
             12.3 % of the time in use, 4.0M bytes sent, 5000 received\n\n";
        assert!(text.starts_with(wanted), "{text}");
        assert!(text.contains("yard\n  tcp 192.0.2.7:4001, counted since"), "{text}");
        assert!(text.contains(" 1     12.3M     123456   3         2 "), "{text}");
        assert!(text.ends_with("\n2 buses, 2 stations, 1 offline\n"), "{text}");
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    }

    #[test]
    fn one_bus_alone_can_be_asked_for() {
        let mut report = report();
        keep(&mut report, "yard").ok().unwrap();
        assert_eq!(report["buses"].as_array().unwrap().len(), 1);
        let failure = keep(&mut report, "cellar").unwrap_err();
        assert!(failure.message.contains("it has: yard\nhint: "), "{}", failure.message);
    }

    #[test]
    fn numbers_are_cut_to_what_a_table_has_room_for() {
        for (number, text) in [
            (0u64, "0"),
            (999_999, "999999"),
            (1_000_000, "1.0M"),
            (999_999_999, "999.9M"),
            (1_250_000_000, "1.2G"),
            (999_999_999_999, "999.9G"),
        ] {
            assert_eq!(short(&json!(number)), text);
        }
    }
}
