//! `postern bus list`: what the configuration says of each bus, and which stations have a key.

use std::fmt::Write;

use serde_json::{Value, json};

use super::super::{Common, Failure, print, show};
use super::{buses, outline};
use crate::config::{Bus, Modbus, ModbusUnit, Outline, Station};
use crate::driver::line::LineSettings;
use crate::driver::modbus::Framing;
use crate::keys;

pub(super) fn run(common: &Common) -> Result<(), Failure> {
    print(common.json, &report(&outline(&common.config)?), text)
}

fn report(outline: &Outline) -> Value {
    let buses: Vec<Value> = outline.buses.iter().map(|bus| of_bus(outline, bus)).collect();
    let modbus: Vec<Value> = outline.modbus.iter().map(of_modbus).collect();
    json!({ "schema": "postern.bus.list.v1", "buses": buses, "modbus": modbus })
}

/// A line whose units speak Modbus.
fn of_modbus(line: &Modbus) -> Value {
    let (baud, parity, rs485) = match &line.wire.line {
        LineSettings::Serial { baud, parity, rs485, .. } => {
            (Some(baud), Some(parity.name()), Some(rs485))
        }
        LineSettings::Tcp { .. } => (None, None, None),
    };
    let unit = |unit: &ModbusUnit| {
        json!({
            "unit": unit.unit.address,
            "controllers": unit.unit.logs().map(|(_, controller)| controller).collect::<Vec<_>>(),
            "profile": unit.profile_name,
            "model": unit.unit.profile.model,
        })
    };
    json!({
        "bus": line.name,
        "transport": line.wire.line.transport(),
        "address": line.wire.line.to_string(),
        "framing": match line.wire.framing { Framing::Rtu => "rtu", Framing::Tcp => "tcp" },
        "baud": baud,
        "parity": parity,
        "rs485": rs485,
        "reply_ms": u64::try_from(line.wire.reply.as_millis()).unwrap_or(u64::MAX),
        "units": line.units.iter().map(unit).collect::<Vec<_>>(),
    })
}

fn of_bus(outline: &Outline, bus: &Bus) -> Value {
    let (baud, parity, rs485) = match &bus.line {
        LineSettings::Serial { baud, parity, rs485, .. } => {
            (Some(baud), Some(parity.name()), Some(rs485))
        }
        LineSettings::Tcp { .. } => (None, None, None),
    };
    let stations: Vec<Value> =
        bus.stations.iter().map(|station| of_station(outline, station)).collect();
    json!({
        "bus": bus.name,
        "transport": bus.line.transport(),
        "address": bus.line.to_string(),
        "baud": baud,
        "parity": parity,
        "rs485": rs485,
        "reply_ms": u64::try_from(bus.reply.as_millis()).unwrap_or(u64::MAX),
        "stations": stations,
    })
}

fn of_station(outline: &Outline, station: &Station) -> Value {
    let controller = station.controller();
    let loaded = keys::load(&outline.data_dir, controller);
    let key = loaded.as_ref().ok().and_then(Option::as_ref);
    // By the words of `postern controllers`.
    let security = match key {
        _ if station.plaintext => "plaintext",
        Some(_) => "sealed",
        None => "no_key",
    };
    json!({
        "station": station.address,
        "controller": controller,
        "serial": station.serial,
        "security": security,
        "fingerprint": key.map(keys::Key::fingerprint),
        "problem": loaded.as_ref().err().map(ToString::to_string),
    })
}

fn text(report: &Value) -> String {
    let (mut out, mut stations, mut without) = (String::new(), 0, 0);
    // Writing to a string cannot fail.
    for bus in show::list(&report["buses"]) {
        let _ = writeln!(out, "{}\n  {}\n", show::text(&bus["bus"]), line(bus));
        let rows = show::list(&bus["stations"]).map(|station| {
            stations += 1;
            without += usize::from(station["security"] == "no_key");
            vec![
                show::text(&station["station"]),
                show::text(&station["controller"]),
                show::text(&station["security"]).replace('_', " "),
                show::text(&station["fingerprint"]),
            ]
        });
        let table = show::table(&["STATION", "CONTROLLER", "SECURITY", "FINGERPRINT"], rows);
        let _ = writeln!(out, "{table}");
    }
    let mut units = 0;
    for bus in show::list(&report["modbus"]) {
        let framing = show::text(&bus["framing"]);
        let _ = writeln!(out, "{}\n  {}, Modbus {framing}\n", show::text(&bus["bus"]), line(bus));
        let rows = show::list(&bus["units"]).map(|unit| {
            units += 1;
            let logs: Vec<_> = show::list(&unit["controllers"]).map(show::text).collect();
            let t = |key: &str| show::text(&unit[key]);
            vec![t("unit"), logs.join(" "), t("profile"), t("model")]
        });
        let table = show::table(&["UNIT", "CONTROLLERS", "PROFILE", "MODEL"], rows);
        let _ = writeln!(out, "{table}");
    }
    let lines = ["buses", "modbus"].map(|kind| show::list(&report[kind]).count());
    let buses = buses(lines.into_iter().sum());
    let _ = write!(out, "{buses}, {}", show::count(stations, "station"));
    if units > 0 {
        let _ = write!(out, ", {}", show::count(units, "Modbus unit"));
    }
    if without > 0 {
        let _ = write!(out, ", {without} without a key");
    }
    out.push('\n');
    let stations = show::list(&report["buses"]).flat_map(|bus| show::list(&bus["stations"]));
    for problem in stations.filter_map(|station| station["problem"].as_str()) {
        let _ = write!(out, "\n{problem}\n");
    }
    if without > 0 {
        out.push_str("\n`postern controllers enrol CONTROLLER` makes a key\n");
    }
    out
}

/// What a line is, in words.
fn line(bus: &Value) -> String {
    let t = |key: &str| show::text(&bus[key]);
    let mut line = format!("{} {}", t("transport"), t("address"));
    if !bus["baud"].is_null() {
        let _ = write!(line, ", {} baud, parity {}", t("baud"), t("parity"));
    }
    if bus["rs485"] == true {
        line.push_str(", rs485");
    }
    let _ = write!(line, ", reply window {} ms", t("reply_ms"));
    line
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use postern_protocol::ControllerId;

    use super::*;
    use crate::keys::Key;

    #[test]
    fn buses_are_listed_with_their_lines_stations_and_keys() {
        let directory = tempfile::tempdir().unwrap();
        let config = "bundle = \"b\"\ndata_dir = \"data\"\n\
             [[bus]]\nname = \"hall\"\nserial = \"/dev/ttyUSB0\"\nbaud = 9600\nparity = \"even\"\nrs485 = true\n\
             [[bus.station]]\naddress = 1\nserial = 70001\n\
             [[bus.station]]\naddress = 2\nserial = 70002\n\
             [[bus]]\nname = \"yard\"\ntcp = \"192.0.2.7:4001\"\n\
             [[bus.station]]\naddress = 9\nserial = 70003\nplaintext = true\n";
        let outline = Outline::check(&directory.path().join("postern.toml"), config).unwrap();
        let key = Key::random().unwrap();
        keys::store(&outline.data_dir, ControllerId::link(70_001), &key, false).unwrap();
        let report = report(&outline);
        let fingerprint = key.fingerprint();
        let wanted = format!(
            "hall\n  serial /dev/ttyUSB0, 9600 baud, parity even, rs485, reply window 20 ms\n\n \
             STATION  CONTROLLER  SECURITY  FINGERPRINT\n \
             1        link-70001  sealed    {fingerprint}\n \
             2        link-70002  no key    -\n\n\
             yard\n  tcp 192.0.2.7:4001, reply window 250 ms\n\n \
             STATION  CONTROLLER  SECURITY   FINGERPRINT\n \
             9        link-70003  plaintext  -\n\n\
             2 buses, 3 stations, 1 without a key\n\n\
             `postern controllers enrol CONTROLLER` makes a key\n"
        );
        assert_eq!(text(&report), wanted);
        let hall = &report["buses"][0];
        assert_eq!((&hall["baud"], &hall["rs485"]), (&json!(9_600), &json!(true)));
        assert_eq!(report["buses"][1]["baud"], Value::Null);
        assert_eq!(hall["stations"][0]["fingerprint"], json!(fingerprint));
    }

    #[test]
    fn no_bus_is_no_error() {
        let config = "bundle = \"b\"\ndata_dir = \"data\"\n";
        let outline = Outline::check(Path::new("postern.toml"), config).unwrap();
        assert_eq!(text(&report(&outline)), "0 buses, 0 stations\n");
    }
}
