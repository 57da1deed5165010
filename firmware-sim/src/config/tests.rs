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
