use super::*;

mod bus;
mod modbus;

const GOOD: &str = r#"bundle = "gateway.json"
data_dir = "data"

[[controller]]
serial = 405419896
address = "127.0.0.1:60000"
zone = "Europe/Berlin"
"#;

fn load(text: &str) -> Result<Config, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("postern.toml");
    fs::write(&path, text).unwrap();
    let bundle = r#"{"site":"north","group":"main","gateway":"hall","servers":[],
        "authority":"","certificate":"","key":""}"#;
    fs::write(directory.path().join("gateway.json"), bundle).unwrap();
    Config::load(&path)
}

fn complaint(text: &str) -> String {
    load(text).unwrap_err().to_string()
}

#[test]
fn a_good_file_is_read_with_its_defaults() {
    let config = load(GOOD).unwrap();
    let controller = &config.controllers[&405_419_896];
    assert_eq!(controller.transport, Transport::Udp);
    assert_eq!(controller.poll, Duration::from_millis(500));
    assert_eq!(controller.quiet_poll, Duration::from_secs(2));
    assert_eq!(controller.in_flight, 1, "boards of this make answer one after the other");
    assert_eq!(config.capacity.entries, 1_000_000);
    assert_eq!(config.syncs_per_second, None);
    assert!(config.data_dir.is_absolute());
}

#[test]
fn every_mistake_names_its_line_and_what_is_allowed() {
    for (from, to, line, words) in [
        ("serial =", "serail =", ":5:1: ", "expected one of `serial`, `address`"),
        ("405419896", "\"x\"", ":5:10: ", "u32"),
        ("serial =", "serail =", ":5:1: ", "hint: is `serial` meant?"),
        ("405419896", "\"x\"", ":5:10: ", "hint: `postern init --dry-run`"),
        ("405419896", "0", ":5:10: ", "no serial number 0"),
        ("127.0.0.1:60000", "nowhere", ":6:11: ", "IP:PORT"),
        ("127.0.0.1:60000", "127.0.0.1:0", ":6:11: ", "60000"),
        ("127.0.0.1:60000", "255.255.255.255:60000", ":6:11: ", "a broadcast address"),
        ("127.0.0.1:60000", "127.255.255.255:60000", ":6:11: ", "a broadcast address"),
        ("127.0.0.1:60000", "224.0.0.1:60000", ":6:11: ", "a multicast address"),
        ("127.0.0.1:60000", "0.0.0.0:60000", ":6:11: ", "the board's own address"),
        ("\n[[", "[uhppote]\nlisten = \"127.0.0.1:0\"\n[[", ":4:10: ", "port 60001"),
        ("Europe/Berlin", "Mars/Base", ":7:8: ", "IANA"),
        ("zone =", "poll_ms = 1\nzone =", ":7:11: ", "from 50 to 60000 ms"),
        ("zone =", "transport = \"ip\"\nzone =", ":7:13: ", "expected `udp` or `tcp`"),
        ("zone =", "in_flight = 0\nzone =", ":7:13: ", "from 1 to 16"),
        ("zone =", "in_flight = 17\nzone =", ":7:13: ", "from 1 to 16"),
        ("[[", "[uhppote]\nlisten = \"127.0.0.1:60000\"\n[[", ":5:10: ", "boards' own"),
        ("data_dir", "[journal]\ncapacity_entries = 5\n[x]\ndata_dir", ":", "x"),
    ] {
        let text = complaint(&GOOD.replacen(from, to, 1));
        assert!(text.contains(line) && text.contains(words), "{from} -> {to}: {text}");
        assert!(text.contains('^'), "no caret: {text}");
    }
}

#[test]
fn two_controllers_with_one_serial_number_are_refused() {
    let (_, section) = GOOD.split_once("[[").unwrap();
    let text = complaint(&format!("{GOOD}\n[[{section}"));
    assert!(text.contains("second time") && text.contains(":10:10: "), "{text}");
}

#[test]
fn two_controllers_at_one_address_are_refused() {
    let (_, section) = GOOD.split_once("[[").unwrap();
    let text = complaint(&format!("{GOOD}\n[[{}", section.replace("405419896", "303986753")));
    assert!(
        text.contains("405419896 stands at 127.0.0.1:60000") && text.contains(":11:11: "),
        "{text}"
    );
    assert!(text.contains("hint: "), "{text}");
}

#[test]
fn a_file_that_is_there_but_cannot_be_read_is_not_to_be_written_anew() {
    let text = load(&GOOD.replacen("gateway.json", ".", 1)).unwrap_err().to_string();
    assert!(text.contains("hint: this is a directory") && !text.contains("enrol"), "{text}");
}

#[test]
fn a_missing_file_and_a_missing_bundle_say_what_to_do() {
    let error = Config::load(Path::new("/nonexistent/postern.toml")).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/postern.toml") && error.contains("hint:"), "{error}");
    let text = complaint(&GOOD.replacen("gateway.json", "other.json", 1));
    assert!(text.contains("other.json") && text.contains("enrol"), "{text}");
}

#[test]
fn the_example_is_good_as_it_stands_and_with_every_key_that_it_explains() {
    let example = include_str!("../../example.toml").replace("gateway.bundle.json", "gateway.json");
    let plain = load(&example).unwrap();
    assert!(plain.controllers.is_empty() && plain.listen.is_none() && plain.buses.is_empty());

    // A key is written `# key = value`, a table `# [name]`; prose begins with a capital letter.
    let is_of_a_key = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let is_code = |line: &&str| {
        let name = line.split([' ', '=']).next().unwrap_or_default();
        line.starts_with('[') || (line.contains(" = ") && name.chars().all(is_of_a_key))
    };
    let uncommented: Vec<&str> = example
        .lines()
        .map(|line| line.strip_prefix("# ").filter(is_code).unwrap_or(line))
        .collect();
    let whole = load(&uncommented.join("\n")).unwrap();
    assert_eq!(whole.controllers.len(), 1);
    assert!(whole.listen.is_some() && whole.syncs_per_second.is_some());
    assert_eq!(whole.buses.iter().map(|bus| bus.stations.len()).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(whole.modbus.iter().map(|line| line.units.len()).collect::<Vec<_>>(), [1, 1]);
    // The last has a log for its reader, and one for its door.
    assert_eq!(whole.controller_count(), 3 + 1 + 2);
}

/// The part of a file that belongs to one table, wherever it stands.
fn of_table(text: &str, table: &str) -> String {
    let mut here = String::new();
    let mut part = String::from("\n");
    for line in text.lines() {
        let heading = line.trim_start_matches("# ");
        if heading.starts_with('[') {
            heading.clone_into(&mut here);
        }
        if here == table {
            part = part + line + "\n";
        }
    }
    part
}

/// The parser itself names the keys that it knows when it meets one that it does not.
#[test]
fn the_example_explains_every_key_that_there_is() {
    let whole = include_str!("../../example.toml");
    for table in [
        "",
        "[journal]",
        "[clock]",
        "[uhppote]",
        "[[controller]]",
        "[[bus]]",
        "[[bus.station]]",
        "[[modbus]]",
        "[[modbus.unit]]",
        "[profile.gate-reader]",
        "[[profile.gate-reader.readers]]",
        "[[profile.gate-reader.doors]]",
    ] {
        // The keys of the file itself are its tables as well.
        let example = if table.is_empty() { whole.to_owned() } else { of_table(whole, table) };
        let above = match table {
            "[[bus.station]]" => "[[bus]]\nname = \"x\"\n",
            "[[modbus.unit]]" => "[[modbus]]\nname = \"x\"\n",
            _ => "",
        };
        let text = format!("{above}{table}\nsurely_unknown = 1");
        let error = toml::from_str::<File>(&text).unwrap_err();
        let (_, known) = error.message().split_once("expected").unwrap();
        let names: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{error}");
        for name in names {
            let below = format!("{}.{name}]]", table.trim_end_matches(']'));
            let is_there = [format!("\n# {name} = "), format!("\n{name} = ")]
                .iter()
                .any(|written| example.contains(written))
                || whole.contains(&format!("[{name}]"))
                || whole.contains(&below);
            assert!(is_there, "{table} {name} is not in the example");
        }
    }
}
