use super::*;

fn found(serial: u32, from: &str, own: &str, mac: u8) -> Found {
    Found {
        serial,
        from: from.parse().unwrap(),
        own: own.parse().unwrap(),
        mac: [0, 0x66, 0x19, 0, 0, mac],
        firmware: Version { major: 8, minor: 92 },
        date: Date::UNSET,
    }
}

fn configured(serial: u32, address: &str) -> BTreeMap<u32, Controller> {
    let controller = format!(
        "bundle = \"b\"\ndata_dir = \"d\"\n[[controller]]\nserial = {serial}\naddress = \"{address}\"\nzone = \"UTC\"\n"
    );
    let path = std::path::Path::new("postern.toml");
    crate::config::Outline::check(path, &controller).unwrap().controllers
}

fn berlin() -> Zone {
    zone("Europe/Berlin").unwrap()
}

#[test]
fn a_board_is_new_or_configured_or_configured_elsewhere() {
    let found = [
        found(1, "192.0.2.1:60000", "192.0.2.1", 1),
        found(2, "192.0.2.2:60000", "192.0.2.2", 2),
        found(3, "192.0.2.3:60000", "192.0.2.3", 3),
    ];
    let mut known = configured(2, "192.0.2.2:60000");
    known.extend(configured(3, "192.0.2.9:60000"));
    let judged = judge(&found.into(), &known);
    let states: Vec<Known> = judged.iter().map(|each| each.known).collect();
    let elsewhere = Known::Elsewhere("192.0.2.9:60000".parse().unwrap());
    assert_eq!(states, [Known::New, Known::Configured, elsewhere]);
    assert_eq!(judged[2].problems, ["the configuration has it at 192.0.2.9:60000"]);

    let sections = sections(&judged, &berlin());
    assert_eq!(sections.iter().map(|each| each.serial).collect::<Vec<_>>(), [1]);
}

#[test]
fn two_boards_with_one_serial_number_are_named_and_neither_is_written() {
    let pair =
        [found(1, "192.0.2.1:60000", "192.0.2.1", 1), found(1, "192.0.2.2:60000", "192.0.2.2", 2)];
    let judged = judge(&pair.into(), &BTreeMap::new());
    assert_eq!(
        judged[0].problems,
        ["another board with this serial number answers from 192.0.2.2:60000"]
    );
    assert_eq!(judged[1].problems.len(), 1);
    assert!(sections(&judged, &berlin()).is_empty());
}

#[test]
fn a_board_that_is_heard_from_two_addresses_is_called_one_board() {
    let same = [
        found(1, "192.0.2.1:60000", "192.0.2.1", 1),
        found(1, "198.51.100.1:60000", "192.0.2.1", 1),
    ];
    let judged = judge(&same.into(), &BTreeMap::new());
    assert_eq!(judged[0].problems, ["the same board also answers from 198.51.100.1:60000"]);
    assert_eq!(judged[1].problems[1], "it says that its own address is 192.0.2.1");
}

#[test]
fn the_ports_that_cannot_work_are_refused_with_the_reason() {
    assert!(from("192.0.2.1:60000").unwrap_err().contains("own broadcasts"));
    assert_eq!(from("192.0.2.1").unwrap().port(), 0);
    assert!(from("eth0").unwrap_err().contains("IPv4 address"));
    assert_eq!(to("192.0.2.255").unwrap().port(), PORT);
    assert!(to("192.0.2.255:0").is_err() && to("::1").is_err());
}

#[test]
fn what_is_written_names_where_it_answered_from_and_its_zone() {
    let judged = judge(&[found(7, "192.0.2.1:60000", "10.0.0.1", 1)].into(), &BTreeMap::new());
    let text = sections(&judged, &berlin())[0].toml();
    assert!(text.contains("serial = 7\naddress = \"192.0.2.1:60000\"\n"), "{text}");
    assert!(text.contains("zone = \"Europe/Berlin\"") && text.contains("v8.92"), "{text}");
}
