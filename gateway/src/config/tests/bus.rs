//! The buses of the link protocol.

use super::*;
use crate::driver::line::{LineSettings, Parity, StopBits};

const BUSES: &str = r#"bundle = "gateway.json"
data_dir = "data"

[[bus]]
name = "hall"
serial = "/dev/ttyUSB0"
[[bus.station]]
address = 1
serial = 70001
[[bus.station]]
address = 126
serial = 70002

[[bus]]
name = "yard"
tcp = "10.0.0.9:4000"
[[bus.station]]
address = 1
serial = 70003
"#;

#[test]
fn buses_are_read_with_their_defaults() {
    let config = load(BUSES).unwrap();
    let [hall, yard] = config.buses.as_slice() else { panic!("{:?}", config.buses) };
    let (path, parity) = (PathBuf::from("/dev/ttyUSB0"), Parity::None);
    assert_eq!(
        hall.line,
        LineSettings::Serial {
            path,
            baud: 115_200,
            parity,
            stop_bits: StopBits::One,
            rs485: false
        }
    );
    assert_eq!(yard.line, LineSettings::Tcp { address: "10.0.0.9:4000".parse().unwrap() });
    assert_eq!((hall.reply, yard.reply), (Duration::from_millis(20), Duration::from_millis(250)));
    assert_eq!((hall.line.transport(), yard.line.transport()), ("serial", "tcp"));
    assert_eq!(
        [&hall.line, &yard.line].map(ToString::to_string),
        ["/dev/ttyUSB0", "10.0.0.9:4000"]
    );
    let [first, second] = hall.stations.as_slice() else { panic!("{:?}", hall.stations) };
    assert_eq!((first.address, second.address), (1, 126));
    assert_eq!(first.controller().to_string(), "link-70001");
    assert_eq!(first.zone_name, "UTC");
    assert_eq!(
        (first.poll, first.quiet_poll),
        (Duration::from_millis(250), Duration::from_millis(500))
    );
    assert!(!first.plaintext, "never by default");
    assert!(!first.clock.set);
    assert_eq!(config.controller_count(), 3);
    let outline = Outline::check(Path::new("postern.toml"), BUSES).unwrap();
    assert_eq!(outline.buses.len(), 2);
}

#[test]
fn what_is_set_is_taken_over() {
    let text = BUSES
        .replacen(
            "[[bus.station]]",
            "baud = 9600\nparity = \"even\"\nrs485 = true\nreply_ms = 5\n[[bus.station]]",
            1,
        )
        .replacen(
            "70001",
            "70001\nzone = \"Europe/Berlin\"\npoll_ms = 1000\nplaintext = true\nset_clock = true",
            1,
        );
    let config = load(&text).unwrap();
    let hall = &config.buses[0];
    let (path, parity) = (PathBuf::from("/dev/ttyUSB0"), Parity::Even);
    assert_eq!(
        hall.line,
        LineSettings::Serial { path, baud: 9_600, parity, stop_bits: StopBits::One, rs485: true }
    );
    assert_eq!(hall.reply, Duration::from_millis(5));
    let station = &hall.stations[0];
    assert_eq!(
        (&*station.zone_name, station.plaintext, station.clock.set),
        ("Europe/Berlin", true, true)
    );
    assert_eq!(station.quiet_poll, Duration::from_secs(1), "never more often than when busy");
    let clock = config.buses[0].stations[1].clock;
    assert!(!clock.set);
    let all = text.replacen("[[bus]]", "[clock]\nset = true\n[[bus]]", 1);
    assert!(load(&all).unwrap().buses[0].stations[1].clock.set, "as [clock] says");
}

#[test]
fn every_mistake_names_its_line_and_what_is_allowed() {
    let of_bus = |line: &str| format!("[[bus]]\n{line}\nname = \"hall\"");
    for (from, to, line, words) in [
        ("name = \"hall\"", "nam = \"hall\"", ":5:1: ", "is `name` meant?"),
        ("\"hall\"", "\"main hall\"", ":5:8: ", "letters, digits"),
        ("\"hall\"", "\"\"", ":5:8: ", "letters, digits"),
        ("\"yard\"", "\"hall\"", ":15:8: ", "second time"),
        ("serial = \"/dev", "#", ":5:8: ", "has no line"),
        (
            "serial = \"/dev/ttyUSB0\"",
            "serial = \"/dev/ttyUSB0\"\ntcp = \"10.0.0.8:4000\"",
            ":7:7: ",
            "serial line already",
        ),
        ("/dev/ttyUSB0", "COM3", ":6:10: ", "/dev/serial/by-id"),
        ("[[bus]]\nname = \"hall\"", &of_bus("baud = 115000"), ":5:8: ", "one of 9600, 19200"),
        (
            "[[bus]]\nname = \"hall\"",
            &of_bus("parity = \"mark\""),
            ":5:10: ",
            "`none`, `even`, `odd`",
        ),
        ("[[bus]]\nname = \"hall\"", &of_bus("reply_ms = 4"), ":5:12: ", "from 5 to 5000 ms"),
        ("10.0.0.9:4000", "gate.example", ":16:7: ", "IP:PORT"),
        ("10.0.0.9:4000", "10.0.0.9:0", ":16:7: ", "port 0"),
        ("10.0.0.9:4000", "0.0.0.0:4000", ":16:7: ", "hint: write where"),
        ("tcp =", "baud = 9600\ntcp =", ":16:8: ", "`baud` is a serial line's"),
        ("tcp =", "rs485 = false\ntcp =", ":16:9: ", "`rs485` is a serial line's"),
        ("tcp =", "parity = \"odd\"\ntcp =", ":16:10: ", "`parity` is a serial line's"),
        ("address = 1\n", "address = 0\n", ":8:11: ", "from 1 to 126"),
        ("address = 126", "address = 127", ":11:11: ", "from 1 to 126"),
        ("address = 126", "address = 300", ":11:11: ", "from 1 to 126"),
        ("address = 126", "address = 1", ":11:11: ", "controller link-70001 has address 1"),
        ("70001", "0", ":9:10: ", "no serial number 0"),
        ("70001", "-1", ":9:10: ", "u32"),
        ("70001", "70001\nzone = \"Mars/Base\"", ":10:8: ", "IANA"),
        ("70001", "70001\npoll_ms = 49", ":10:11: ", "from 50 to 60000 ms"),
        ("70001", "70001\nkey = \"x\"", ":10:1: ", "expected one of `address`, `serial`"),
    ] {
        let text = complaint(&BUSES.replacen(from, to, 1));
        assert!(text.contains(line) && text.contains(words), "{from} -> {to}: {text}");
        assert!(text.contains('^') && text.contains("\nhint: "), "{text}");
    }
}

#[test]
fn a_serial_number_that_stands_twice_is_refused_with_both_places() {
    for (from, to, again, first) in [
        (
            "70003",
            "70001",
            "station 1 of bus \"yard\" in line 19",
            "station 1 of bus \"hall\" in line 9",
        ),
        (
            "70002",
            "70001",
            "station 126 of bus \"hall\" in line 12",
            "station 1 of bus \"hall\" in line 9",
        ),
    ] {
        let text = complaint(&BUSES.replacen(from, to, 1));
        assert!(text.contains(again) && text.contains(first), "{text}");
    }
    // A board of another make has numbers of its own.
    let both = BUSES.to_owned() + GOOD.split_once("\n\n").unwrap().1;
    assert!(load(&both.replacen("70001", "405419896", 1)).is_ok());
}

#[test]
fn two_buses_on_one_line_are_refused() {
    let text = complaint(&BUSES.replacen(
        "tcp = \"10.0.0.9:4000\"",
        "serial = \"/dev/./ttyUSB0\"\nbaud = 9600",
        1,
    ));
    assert!(
        text.contains("bus \"hall\" is /dev/./ttyUSB0 as well") && text.contains(":16:10: "),
        "{text}"
    );
    let text =
        complaint(&BUSES.replacen("serial = \"/dev/ttyUSB0\"", "tcp = \"10.0.0.9:4000\"", 1));
    assert!(
        text.contains("bus \"hall\" is 10.0.0.9:4000 as well") && text.contains(":16:7: "),
        "{text}"
    );
}

#[test]
fn a_bus_without_stations_is_refused() {
    let (text, _) = BUSES.split_once("[[bus.station]]").unwrap();
    let text = complaint(text);
    assert!(text.contains("bus \"hall\" has no stations") && text.contains(":5:8: "), "{text}");
}
