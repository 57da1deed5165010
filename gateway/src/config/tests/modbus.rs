//! The lines whose units speak Modbus, and their profiles.

use postern_protocol::modbus::builtin::BUILT_IN;
use postern_protocol::modbus::profile::Source;

use super::*;
use crate::config::built_in;
use crate::driver::line::{LineSettings, Parity, StopBits};
use crate::driver::modbus::Framing;

const LINES: &str = r#"bundle = "gateway.json"
data_dir = "data"

[[modbus]]
name = "cellar"
serial = "/dev/ttyUSB1"
[[modbus.unit]]
unit = 1
serial = 80001
profile = "inveo-rfid"
held_ms = 30000
[[modbus.unit]]
unit = 247
serial = 80002
profile = "mine"

[[modbus]]
name = "tower"
tcp = "10.0.0.10:502"
[[modbus.unit]]
unit = 255
serial = 80003
profile = "rfideas-tcp"

[profile.mine]
model = "Mine"
[[profile.mine.readers]]
door = 1
events = { latch = { flag = { table = "coil", address = 8 } } }
card = { address = 0, count = 2, format = "raw" }
[[profile.mine.readers]]
door = 2
events = { ring = { counter = { table = "input_register", address = 0 }, table = "input_register", first = 1, records = 16, words = 4 } }
card = { table = "input_register", address = 1, count = 2, format = "wiegand26" }
"#;

#[test]
fn what_is_built_in_is_good() {
    let profiles = built_in();
    assert_eq!(profiles.len(), BUILT_IN.len());
    for (name, profile) in profiles {
        assert!(profile.check().is_ok(), "{name}: {:?}", profile.check());
    }
}

#[test]
fn lines_are_read_with_their_defaults() {
    let config = load(LINES).unwrap();
    let [cellar, tower] = config.modbus.as_slice() else { panic!("{:?}", config.modbus) };
    let (path, parity) = (PathBuf::from("/dev/ttyUSB1"), Parity::Even);
    let stop_bits = StopBits::One;
    let line = LineSettings::Serial { path, baud: 19_200, parity, stop_bits, rs485: false };
    assert_eq!((&cellar.wire.line, cellar.wire.framing), (&line, Framing::Rtu));
    let ms = Duration::from_millis;
    assert_eq!((cellar.wire.reply, cellar.wire.late), (ms(200), ms(200)));
    // Three and a half characters of eleven bits.
    assert_eq!(cellar.wire.gap.as_micros(), 3_500 * 11 * 1_000 / 19_200);
    assert_eq!((tower.wire.framing, tower.wire.reply), (Framing::Tcp, ms(1_000)));
    let [reader, mine] = cellar.units.as_slice() else { panic!("{:?}", cellar.units) };
    assert_eq!(reader.unit.profile.doors[0].held_ms, Some(30_000), "as the unit says");
    assert_eq!((reader.poll, reader.quiet_poll), (ms(200), ms(200)));
    let logs: Vec<_> = mine.unit.logs().map(|(source, id)| (source, id.to_string())).collect();
    let expected = [(Source::Shown, "modbus-80002"), (Source::Reader(2), "modbus-80002.2")];
    assert_eq!(logs, expected.map(|(source, id)| (source, id.to_owned())));
    assert_eq!(config.controller_count(), 4);
}

#[test]
fn times_and_frames_are_taken_over() {
    let text = LINES.replace(
        "tcp = \"10.0.0.10:502\"",
        "tcp = \"10.0.0.10:4001\"\nframing = \"rtu\"\nreply_ms = 300\nlate_ms = 500\ngap_ms = 7",
    );
    let text = text.replace("unit = 255", "unit = 9");
    let wire = load(&text).unwrap().modbus[1].wire.clone();
    let ms = Duration::from_millis;
    assert_eq!((wire.framing, wire.reply), (Framing::Rtu, ms(300)));
    assert_eq!((wire.late, wire.gap), (ms(500), ms(7)));
    let fast = LINES.replacen("serial = \"/dev", "baud = 115200\nserial = \"/dev", 1);
    assert_eq!(load(&fast).unwrap().modbus[0].wire.gap, Duration::from_micros(1_750));
}

/// Each mistake is said where it stands, with what to do.
#[test]
fn mistakes_are_said_where_they_stand() {
    for (from, to, says) in [
        ("unit = 1\n", "unit = 248\n", "248 is no address of a unit"),
        ("unit = 1\n", "unit = 247\n", "unit 247 stands on this line already"),
        ("serial = 80002", "serial = 80001", "modbus-80001 stands here"),
        ("serial = 80001", "serial = 0", "no serial number 0"),
        ("serial = 80001", "serial = 1000000000", "from 1 to 999999999"),
        ("\"inveo-rfid\"", "\"inveo-rfit\"", "is \"inveo-rfid\" meant?"),
        ("held_ms = 30000", "held_ms = 5", "5 ms is out of range"),
        ("name = \"tower\"", "name = \"cellar\"", "stands here a second time"),
        (
            "tcp = \"10.0.0.10:502\"",
            "serial = \"/dev/ttyUSB1\"",
            "line \"cellar\" is /dev/ttyUSB1 as well",
        ),
        ("tcp = \"10.0.0.10:502\"", "", "line \"tower\" has no line"),
        ("tcp = \"10.0.0.10:502\"", "tcp = \"10.0.0.10\"", "is no address"),
        (
            "tcp = \"10.0.0.10:502\"",
            "tcp = \"10.0.0.10:502\"\nparity = \"odd\"",
            "`parity` is a serial line's",
        ),
        (
            "serial = \"/dev/ttyUSB1\"",
            "serial = \"/dev/ttyUSB1\"\nframing = \"tcp\"",
            "a serial line has no such frames",
        ),
        (
            "serial = \"/dev/ttyUSB1\"",
            "serial = \"/dev/ttyUSB1\"\nbaud = 19201",
            "19201 baud is no usual speed",
        ),
        ("serial = \"/dev/ttyUSB1\"", "serial = \"/dev/ttyUSB1\"\nstop_bits = 3", "no 3 stop bits"),
        ("records = 16", "records = 15", "65536 has to be a multiple"),
        ("count = 2, format = \"raw\"", "count = 25, format = \"raw\"", "1 to 24 registers"),
        (
            "[profile.mine]",
            "[profile.relay-board]\nmodel = \"x\"\n[[profile.relay-board.doors]]\ndoor = 1\nrelay = { table = \"coil\", address = 0 }\n[profile.mine]",
            "there is a profile \"relay-board\" already",
        ),
        (
            "flag = { table = \"coil\"",
            "flag = { table = \"discrete_input\"",
            "cannot be cleared there",
        ),
        ("format = \"raw\"", "format = \"raw\", colour = 1", "unknown field `colour`"),
    ] {
        assert!(LINES.contains(from), "{from}");
        let error = load(&LINES.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("hint: "), "{to}: {error}");
        assert!(error.contains("postern.toml:"), "{error}");
    }
    let both = LINES.replace("[[modbus]]\nname = \"tower\"", "[[bus]]\nname = \"hall\"\nserial = \"/dev/ttyUSB1\"\n[[bus.station]]\naddress = 1\nserial = 7\n[[modbus]]\nname = \"tower\"");
    let error = load(&both).unwrap_err().to_string();
    assert!(error.contains("line \"hall\" is /dev/ttyUSB1 as well"), "{error}");
}
