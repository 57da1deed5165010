mod modbus;

use super::*;

const MINIMAL: &str = "ledger = \"ledger.jsonl\"\n[[controller]]\nserial = 405419896\n";

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(Path::new("dir/sim.toml"), text).map_err(|error| error.to_string())
}

#[test]
fn a_minimal_file_gives_real_boards() {
    let config = parse(MINIMAL).unwrap();
    assert_eq!(config.ledger, Path::new("dir/ledger.jsonl"));
    assert_eq!((config.api.to_string(), config.discovery), ("127.0.0.1:0".to_owned(), None));
    let [board] = &config.boards[..] else { panic!("{:?}", config.boards) };
    assert_eq!((board.setup.capacity, board.setup.chunk), (200_000, 2_048));
    assert_eq!(board.setup.firmware.to_string(), "v8.92");
    assert_eq!(board.setup.first_index, 1);
    assert_eq!(board.setup.cards.len(), 24);
    assert_eq!(board.address.to_string(), "127.0.0.1:0");
}

#[test]
fn a_board_overrides_the_defaults() {
    let config = parse(
        r#"
        seed = 7
        ledger = "/tmp/x.jsonl"
        api = "127.0.0.1:4000"
        [people]
        rate = 40.0
        [defaults]
        capacity = 64
        chunk = 16
        zone = "Europe/Berlin"
        [[controller]]
        serial = 1
        address = "127.0.0.1:40001"
        [[controller]]
        serial = 2
        capacity = 128
        zone = "America/New_York"
        firmware = "6.62"
        first_index = 4294967000
        preload = 10
        record_special_events = true
        cards = [1, 2]
        mac = "00:12:23:34:45:56"
        "#,
    )
    .unwrap();
    let [one, two] = &config.boards[..] else { panic!() };
    assert_eq!((one.setup.capacity, one.setup.chunk, one.preload), (64, 16, 0));
    assert_eq!(one.setup.zone.iana_name(), Some("Europe/Berlin"));
    assert_eq!((two.setup.capacity, two.setup.chunk, two.preload), (128, 16, 10));
    assert_eq!(two.setup.zone.iana_name(), Some("America/New_York"));
    assert_eq!(two.setup.firmware.to_string(), "v6.62");
    assert_eq!(two.setup.mac.to_string(), "00:12:23:34:45:56");
    assert_eq!((two.setup.first_index, &two.setup.cards[..]), (4_294_967_000, &[1, 2][..]));
    assert!(two.setup.record_special_events);
    assert!((config.rate - 40.0).abs() < f64::EPSILON);
}

#[test]
fn every_mistake_is_shown_with_its_line_and_a_caret() {
    for (text, line, what) in [
        ("ledger = \"x\"\ncolour = 1\n[[controller]]\nserial = 1\n", 2, "unknown field `colour`"),
        (&format!("{MINIMAL}address = \"here\"\n"), 4, "invalid IPv4 socket address"),
        (&format!("{MINIMAL}zone = \"Mars/Base\"\n"), 4, "no time zone `Mars/Base`"),
        (&format!("{MINIMAL}firmware = \"new\"\n"), 4, "no version"),
        (
            &format!("{MINIMAL}[[controller]]\nserial = 405419896\n"),
            5,
            "controller 405419896 already",
        ),
        (&format!("{MINIMAL}[[controller]]\nserial = 0\n"), 5, "0 is no serial number"),
        (&format!("{MINIMAL}capacity = 16\nchunk = 17\n"), 2, "chunk 17"),
        (&format!("{MINIMAL}first_index = 4294967295\n"), 2, "no event has it"),
        (&format!("api = \"0.0.0.0:80\"\n{MINIMAL}"), 1, "loopback only"),
        (&format!("discovery = \"everywhere\"\n{MINIMAL}"), 1, "invalid IPv4 socket address"),
        (&format!("people.rate = -1.0\n{MINIMAL}"), 1, "a rate of -1"),
        ("ledger = \"x\"\ncontroller = []\n", 2, "0 controllers"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.starts_with(&format!("dir/sim.toml:{line}: ")), "{error}");
        assert!(error.contains(what), "{error}");
        assert!(error.contains('^'), "{error}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load(Path::new("/nowhere/sim.toml")).unwrap_err();
    assert!(error.to_string().starts_with("/nowhere/sim.toml: "), "{error}");
}

#[test]
fn the_example_can_be_used() {
    let config = parse(include_str!("../../example.toml")).unwrap();
    let [real, small] = &config.boards[..] else { panic!() };
    assert_eq!((real.setup.capacity, small.setup.capacity, small.setup.chunk), (200_000, 64, 16));
    assert_eq!(real.setup.zone.iana_name(), Some("Europe/Berlin"));
    assert_eq!(config.discovery.map(|at| at.to_string()), Some("127.255.255.255:27600".to_owned()));
}

fn line(plug: &str, station: &str) -> String {
    format!("ledger = \"x\"\n[[line]]\nname = \"hall\"\n{plug}\n[[line.station]]\n{station}\n")
}

const PTY: &str = "pty = \"hall.tty\"";
const PLAIN: &str = "address = 1\nserial = 70001\nplaintext = true";

#[test]
fn a_line_needs_no_board_and_has_defaults() {
    let config = parse(&line(PTY, PLAIN)).unwrap();
    assert!(config.boards.is_empty());
    let [line] = &config.lines[..] else { panic!("{:?}", config.lines) };
    assert_eq!(line.plug, Plug::Pty("dir/hall.tty".into()));
    assert_eq!((line.settings.baud, line.settings.echo), (115_200, false));
    assert_eq!(
        (line.reply_after.as_micros(), line.settings.noise),
        (1_000, crate::line::Noise::default())
    );
    let [station] = line.stations() else { panic!("{:?}", line.stations()) };
    assert_eq!((station.setup.address, station.setup.serial), (1, 70_001));
    assert_eq!((station.setup.capacity, station.preload), (4_096, 0));
    assert_eq!(station.setup.cards.len(), 24);
    assert!(matches!(station.setup.security, crate::link::Security::Plaintext));
}

#[test]
fn a_line_can_be_a_device_server_and_noisy() {
    let key = "00112233445566778899aabbccddeeff".repeat(2);
    let text = format!(
        "{MINIMAL}[defaults]\ncapacity = 9_000\n[[line]]\nname = \"yard\"\ntcp = \"127.0.0.1:0\"\n\
         echo = true\nreply_us = 250\n[line.noise]\nbit_error_rate = 1e-5\n\
         [[line.station]]\naddress = 126\nserial = 1\nkey = \"{key}\"\n\
         [[line.station]]\naddress = 3\nserial = 2\nkey = \"{key}\"\ncapacity = 5\npreload = 7\ncards = [1]\n\
         [[line]]\nname = \"hall\"\ntcp = \"127.0.0.1:0\"\nbaud = 9600\n[[line.station]]\n{PLAIN}\n"
    );
    let config = parse(&text).unwrap();
    let [yard, hall] = &config.lines[..] else { panic!("{:?}", config.lines) };
    assert_eq!((yard.settings.baud, hall.settings.baud), (0, 9_600));
    assert_ne!(yard.settings.seed, hall.settings.seed);
    assert!(yard.settings.echo && yard.settings.noise.bit_error_rate > 0.0);
    let [one, two] = yard.stations() else { panic!() };
    assert_eq!((one.setup.capacity, two.setup.capacity, two.preload), (9_000, 5, 7));
    let crate::link::Security::Key(psk) = &one.setup.security else { panic!() };
    assert_eq!((psk.as_bytes()[1], psk.as_bytes()[31]), (0x11, 0xff));
    assert!(!format!("{config:?}").contains("17, 34"), "a key is in no message");
}

#[test]
fn every_mistake_of_a_line_is_shown_with_its_line_and_a_caret() {
    let second = "[[line.station]]\naddress = 1\nserial = 7\nplaintext = true\n";
    let tcp = "tcp = \"127.0.0.1:0\"";
    for (text, at, what) in [
        (line("", PLAIN), 2, "a line has one plug"),
        (line(&format!("{PTY}\n{tcp}"), PLAIN), 2, "a line has one plug"),
        (line("tcp = \"here\"", PLAIN), 4, "invalid socket address"),
        (line(&format!("{PTY}\nbaud = 0"), PLAIN), 5, "a serial line has a speed"),
        (line(&format!("{PTY}\nbaud = 10000001"), PLAIN), 5, "above 10000000"),
        (line(&format!("{PTY}\nreply_us = 1000001"), PLAIN), 5, "reply_us 1000001"),
        (line(&format!("{PTY}\nparity = 1"), PLAIN), 5, "unknown field `parity`"),
        (line(&format!("{PTY}\n[line.noise]\ndrop_rate = 2.0"), PLAIN), 5, "drop_rate is 2"),
        (line(&format!("{PTY}\n[line.noise]\ndrop = 0.1"), PLAIN), 6, "unknown field `drop`"),
        (line(PTY, "serial = 1"), 5, "missing field `address`"),
        (line(PTY, "address = 0\nserial = 1"), 6, "address 0; expected 1 to 126"),
        (line(PTY, "address = 127\nserial = 1"), 6, "address 127"),
        (line(PTY, "address = 1\nserial = 0"), 7, "0 is no serial number"),
        (line(PTY, "address = 1\nserial = 1"), 5, "there is no default key"),
        (line(PTY, "address = 1\nserial = 1\nplaintext = false"), 5, "there is no default key"),
        (line(PTY, &format!("{PLAIN}\nkey = \"{}\"", "00".repeat(32))), 5, "either `key"),
        (line(PTY, "address = 1\nserial = 1\nkey = \"00\""), 8, "a key of 2 characters"),
        (line(PTY, &format!("{PLAIN}\ncapacity = 0")), 5, "capacity 0"),
        (line(PTY, &format!("{PLAIN}\npreload = 10000001")), 5, "preload 10000001"),
        (line(PTY, PLAIN) + second, 10, "this line has a station 1 already"),
        (line(PTY, PLAIN) + "[[controller]]\nserial = 70001\n", 7, "controller 70001 already"),
        (line(PTY, PLAIN) + "[[line]]\nname = \"hall\"\n", 10, "there is a line hall already"),
        (line(PTY, PLAIN) + &format!("[[line]]\nname = \"b\"\n{PTY}\n"), 11, "hall.tty already"),
        (line(PTY, PLAIN) + "[[line]]\nname = \"a b\"\n", 10, "`a b` is no name"),
        (line(PTY, PLAIN) + "[[line]]\nname = \"b\"\npty = \"b\"\n", 9, "nobody is on this line"),
        ("ledger = \"x\"\n".to_owned(), 1, "0 controllers"),
    ] {
        let error = parse(&text).unwrap_err();
        assert!(error.starts_with(&format!("dir/sim.toml:{at}: ")), "{error}\n{text}");
        assert!(error.contains(what), "{error}");
        assert!(error.contains('^'), "{error}");
    }
}

#[test]
fn there_are_no_more_controllers_than_the_limit_on_boards_and_lines_together() {
    let board = |serial| format!("[[controller]]\nserial = {serial}\n");
    let mut text = line(PTY, PLAIN);
    text.extend((1..400).map(board));
    assert_eq!(parse(&text).unwrap().boards.len(), 399);
    text += &board(400);
    assert!(parse(&text).unwrap_err().contains("401 controllers"));
}
