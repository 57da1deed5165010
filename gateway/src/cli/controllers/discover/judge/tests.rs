use super::*;

pub(in super::super) fn found(serial: u32, from: &str, own: &str, mac: u8) -> Found {
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

fn whats(judged: &Judged) -> Vec<&str> {
    judged.problems.iter().map(|problem| problem.what.as_str()).collect()
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
    assert_eq!(whats(&judged[2]), ["the configuration has it at 192.0.2.9:60000"]);
    let configured: Vec<Value> =
        judged.iter().map(|each| each.json()["configured_address"].clone()).collect();
    assert_eq!(configured, [Value::Null, json!("192.0.2.2:60000"), json!("192.0.2.9:60000")]);
}

#[test]
fn two_boards_with_one_serial_number_are_named_and_neither_is_written() {
    let pair =
        [found(1, "192.0.2.1:60000", "192.0.2.1", 1), found(1, "192.0.2.2:60000", "192.0.2.2", 2)];
    let judged = judge(&pair.into(), &BTreeMap::new());
    let what = "another board with this serial number answers from 192.0.2.2:60000";
    assert_eq!(whats(&judged[0]), [what]);
    assert_eq!(judged[1].problems.len(), 1);
    for each in &judged {
        assert_eq!(each.left_out, Some("several boards have this serial number"));
        assert_eq!(each.json()["left_out"], "several boards have this serial number");
        assert!(each.problems[0].hint.contains("take one off the network"));
    }
}

/// Copies of a board have its MAC address too.
#[test]
fn one_serial_number_and_one_mac_with_other_firmware_are_two_boards() {
    let one = found(1, "192.0.2.1:60000", "192.0.2.1", 1);
    let from = "192.0.2.2:60000".parse().unwrap();
    let firmware = Version { major: 6, minor: 62 };
    let date = "2022-08-23".parse().unwrap();
    for other in [Found { from, firmware, ..one }, Found { from, date, ..one }] {
        let judged = judge(&[one, other].into(), &BTreeMap::new());
        assert!(whats(&judged[0])[0].starts_with("another board"), "{judged:?}");
    }
}

#[test]
fn a_board_that_is_heard_from_two_addresses_is_called_one_board() {
    let same = [
        found(1, "192.0.2.1:60000", "192.0.2.1", 1),
        found(1, "198.51.100.1:60000", "192.0.2.1", 1),
    ];
    let judged = judge(&same.into(), &BTreeMap::new());
    assert_eq!(whats(&judged[0]), ["the same board also answers from 198.51.100.1:60000"]);
    assert_eq!(whats(&judged[1])[1], "it says that its own address is 192.0.2.1");
    assert_eq!(judged[0].left_out, Some("it answers from several addresses"));
}

/// The board was exchanged: the new one was appended beside the old at one address.
#[test]
fn another_board_at_the_address_of_a_silent_one_is_linked_to_it_and_not_written() {
    let known = configured(7, "192.0.2.1:60000");
    let found: BTreeSet<Found> = [found(8, "192.0.2.1:60000", "192.0.2.1", 1)].into();
    let judged = judge(&found, &known);
    assert_eq!(whats(&judged[0]), ["the configuration has serial 7 there"]);
    assert!(judged[0].problems[0].hint.contains("`serial = 8`"), "{judged:?}");
    assert!(judged[0].left_out.is_some());
    let silent = silent(&found, &known);
    assert_eq!((silent[0].serial, silent[0].instead), (7, Some(8)));
    assert!(silent[0].json()["hint"].as_str().unwrap().contains("8 answers there"));
}

#[test]
fn two_boards_behind_one_address_are_both_left_out() {
    let pair = [1, 2].map(|serial| found(serial, "192.0.2.1:60000", "192.0.2.1", 1));
    for each in judge(&pair.into(), &BTreeMap::new()) {
        assert!(whats(&each)[0].contains("answers from the same address"), "{each:?}");
        assert!(each.left_out.is_some());
    }
}

#[test]
fn firmware_that_was_never_tried_is_named() {
    let firmware = Version { major: 9, minor: 1 };
    let board = Found { firmware, ..found(1, "192.0.2.1:60000", "192.0.2.1", 1) };
    let judged = judge(&[board].into(), &BTreeMap::new());
    assert_eq!(whats(&judged[0]), ["firmware v9.01 was not tried with this program"]);
    assert_eq!(judged[0].json()["firmware_known"], false);
    assert_eq!(judged[0].left_out, None);
}
