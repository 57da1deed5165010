//! `postern controllers keys`: which controllers of the link protocol have a key.

use postern_protocol::ControllerId;
use serde_json::{Value, json};

use super::super::{Common, Failure, print, show};
use crate::config::{Bus, Outline, Station};
use crate::keys;

pub(super) fn run(common: &Common) -> Result<(), Failure> {
    let text = Outline::read(&common.config)?;
    let outline = Outline::check(&common.config, &text)?;
    print(common.json, &report(&outline), self::text)
}

fn report(outline: &Outline) -> Value {
    let row = |(bus, station): (&Bus, &Station)| row(outline, bus, station);
    let stations =
        outline.buses.iter().flat_map(|bus| bus.stations.iter().map(move |at| (bus, at)));
    let controllers: Vec<Value> = stations.map(row).collect();
    json!({ "schema": "postern.controllers.keys.v1", "controllers": controllers })
}

fn row(outline: &Outline, bus: &Bus, station: &Station) -> Value {
    let controller: ControllerId = station.controller();
    let loaded = keys::load(&outline.data_dir, controller);
    let state = match &loaded {
        _ if station.plaintext => "plaintext",
        Ok(Some(_)) => "present",
        Ok(None) => "absent",
        Err(_) => "unusable",
    };
    let key = loaded.as_ref().ok().and_then(Option::as_ref);
    json!({
        "controller": controller,
        "bus": bus.name,
        "station": station.address,
        "key": state,
        "fingerprint": key.map(keys::Key::fingerprint),
        "problem": loaded.as_ref().err().map(ToString::to_string),
    })
}

fn text(report: &Value) -> String {
    let keys = ["controller", "bus", "station", "key", "fingerprint"];
    let list = || show::list(&report["controllers"]);
    let rows = list().map(|row| keys.map(|key| show::text(&row[key])).to_vec());
    let table = show::table(&["CONTROLLER", "BUS", "STATION", "KEY", "FINGERPRINT"], rows);
    let with = |state: &str| list().filter(|row| row["key"] == state).count();
    let mut out = format!("{table}\n{}", show::count(list().count(), "controller"));
    for (state, words) in [
        ("absent", "without a key"),
        ("unusable", "with one that cannot be used"),
        ("plaintext", "talked to without one"),
    ] {
        let count = with(state);
        if count > 0 {
            out = format!("{out}, {count} {words}");
        }
    }
    out.push('\n');
    for problem in list().filter_map(|row| row["problem"].as_str()) {
        out = format!("{out}\n{problem}\n");
    }
    if with("absent") > 0 {
        out.push_str("\n`postern controllers enrol CONTROLLER` makes a key\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::keys::Key;

    #[test]
    fn each_station_is_listed_with_what_its_key_is_like() {
        let directory = tempfile::tempdir().unwrap();
        let station =
            |number: u32| format!("[[bus.station]]\naddress = {number}\nserial = {number}\n");
        let config = format!(
            "bundle = \"b\"\ndata_dir = \"data\"\n[[bus]]\nname = \"hall\"\nserial = \"/dev/ttyUSB0\"\n\
             {}{}{}{}plaintext = true\n",
            station(1),
            station(2),
            station(3),
            station(4)
        );
        let path = directory.path().join("postern.toml");
        let outline = Outline::check(&path, &config).unwrap();
        let key = Key::random().unwrap();
        let store =
            |serial| keys::store(&outline.data_dir, ControllerId::link(serial), &key, false);
        store(1).unwrap();
        let open = store(3).unwrap();
        fs::set_permissions(open, fs::Permissions::from_mode(0o644)).unwrap();
        let report = report(&outline);
        let all: Vec<&str> =
            show::list(&report["controllers"]).map(|row| row["key"].as_str().unwrap()).collect();
        assert_eq!(all, ["present", "absent", "unusable", "plaintext"]);
        let first = &report["controllers"][0];
        assert_eq!((&first["controller"], &first["bus"]), (&json!("link-1"), &json!("hall")));
        assert_eq!(first["fingerprint"], key.fingerprint());
        assert_eq!(report["controllers"][1]["fingerprint"], Value::Null);

        let text = text(&report);
        assert!(text.contains("4 controllers, 1 without a key, 1 with one"), "{text}");
        assert!(text.contains("chmod 600") && text.contains("enrol"), "{text}");
        let whole = format!("{report}{text}");
        let digits = key.digits();
        assert!(!whole.contains(std::str::from_utf8(&*digits).unwrap()), "a secret");
    }
}
