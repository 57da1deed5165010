//! Lines with Modbus units, and profiles.

use super::*;
use crate::config::Framing;

const PROFILE: &str = "[profile.own]\nmodel = \"m\"\n[[profile.own.doors]]\ndoor = 1\n\
    contact = { table = \"coil\", address = 3 }\n";

fn line(rest: &str, unit: &str) -> String {
    format!(
        "ledger = \"x\"\n[[line]]\nname = \"hall\"\nprotocol = \"modbus\"\n{rest}\n[[line.unit]]\n{unit}\n"
    )
}

const TCP: &str = "tcp = \"127.0.0.1:0\"";
const UNIT: &str = "unit = 1\nserial = 70001\nprofile = \"inveo-rfid\"";

#[test]
fn a_line_of_units_has_the_framing_of_its_plug() {
    for (plug, framing, baud, reply_us) in [
        ("pty = \"hall.tty\"", Framing::Rtu, 115_200, 1_000),
        (
            "pty = \"hall.tty\"\nframing = \"rtu\"\nbaud = 9600\nreply_us = 7",
            Framing::Rtu,
            9_600,
            7,
        ),
        (TCP, Framing::Tcp, 0, 0),
        ("tcp = \"127.0.0.1:0\"\nframing = \"rtu\"", Framing::Rtu, 0, 1_000),
    ] {
        let config = parse(&line(plug, UNIT)).unwrap();
        let [line] = &config.lines[..] else { panic!("{:?}", config.lines) };
        let Members::Modbus { framing: found, units } = &line.members else { panic!("{line:?}") };
        assert_eq!((*found, line.settings.baud), (framing, baud), "{plug}");
        assert_eq!(line.reply_after.as_micros(), reply_us, "{plug}");
        let setup = &units[0].setup;
        assert_eq!((setup.unit, setup.serial, setup.cards.len()), (1, 70_001, 24));
        assert_eq!(setup.profile.model, "Inveo RFID");
        assert!(line.stations().is_empty() && line.units().len() == 1);
    }
}

#[test]
fn a_unit_has_a_profile_of_the_file_and_cards_of_its_own() {
    let own = "unit = 255\nserial = 1\nprofile = \"own\"\ncards = [4]";
    let config = parse(&format!("{}{PROFILE}", line(TCP, own))).unwrap();
    let unit = &config.lines[0].units()[0].setup;
    assert_eq!((unit.unit, &unit.cards[..], &unit.profile.model[..]), (255, &[4][..], "m"));
}

#[test]
fn every_mistake_of_a_unit_is_shown_with_its_line_and_a_caret() {
    let station = "[[line.station]]\naddress = 1\nserial = 9\nplaintext = true\n";
    let pty = "pty = \"hall.tty\"";
    for (text, at, what) in [
        (
            line(pty, "unit = 0\nserial = 1\nprofile = \"inveo-rfid\""),
            7,
            "unit 0; expected 1 to 247",
        ),
        (line(pty, "unit = 248\nserial = 1\nprofile = \"inveo-rfid\""), 7, "1 to 247"),
        (line(TCP, "unit = 0\nserial = 1\nprofile = \"inveo-rfid\""), 7, "1 to 255"),
        (line(pty, "unit = 1\nserial = 0\nprofile = \"inveo-rfid\""), 8, "0 is no serial number"),
        (
            line(pty, "unit = 1\nserial = 1\nprofile = \"inveo\""),
            9,
            "there are inveo-rfid, relay-board, rfideas-tcp",
        ),
        (line(pty, "unit = 1\nserial = 1"), 6, "missing field `profile`"),
        (
            line(pty, UNIT) + "[[line.unit]]\nunit = 1\nserial = 2\nprofile = \"relay-board\"\n",
            11,
            "a unit 1 already",
        ),
        (line(pty, UNIT) + "[[controller]]\nserial = 70001\n", 8, "controller 70001 already"),
        (line(pty, UNIT) + station, 2, "expected [[line.unit]]"),
        (line(pty, UNIT).replace("protocol = \"modbus\"\n", ""), 2, "has `protocol = \"modbus\"`"),
        (
            line(pty, UNIT).replace("\"modbus\"", "\"modbus-tcp\""),
            4,
            "unknown variant `modbus-tcp`",
        ),
        (
            "ledger = \"x\"\n[[line]]\nname = \"hall\"\nprotocol = \"modbus\"\npty = \"a\"\n"
                .to_owned(),
            2,
            "at least one [[line.unit]]",
        ),
        (line(&format!("{pty}\nframing = \"tcp\""), UNIT), 6, "a serial device has framing rtu"),
        (line(&format!("{TCP}\nbaud = 9600"), UNIT), 6, "this is for serial lines"),
        (
            line(&format!("{TCP}\n[line.noise]\ndrop_rate = 0.5"), UNIT),
            6,
            "this is for serial lines",
        ),
        (
            format!(
                "ledger = \"x\"\n[[line]]\nname = \"hall\"\nframing = \"rtu\"\n{pty}\n{station}"
            ),
            4,
            "framing is for `protocol",
        ),
        (
            line(pty, UNIT) + &PROFILE.replace("own", "relay-board"),
            10,
            "the profile relay-board is built in",
        ),
        (
            line(pty, UNIT) + &PROFILE.replace("door = 1", "door = 0"),
            10,
            "profile own: door 0: doors count from 1",
        ),
        (line(pty, UNIT) + &PROFILE.replace("coil", "relay"), 14, "unknown variant `relay`"),
        (line(pty, UNIT) + &PROFILE.replace("3 }", "70000 }"), 14, "expected u16"),
    ] {
        let error = parse(&text).unwrap_err();
        assert!(error.starts_with(&format!("dir/sim.toml:{at}: ")), "{error}\n{text}");
        assert!(error.contains(what), "{error}");
        assert!(error.contains('^'), "{error}");
    }
}
