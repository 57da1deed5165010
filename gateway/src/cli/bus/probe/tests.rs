use std::path::Path;

use postern_protocol::link::message::Present;

use super::*;
use crate::config::Outline;

fn bus() -> Bus {
    let station =
        |address: u8| format!("[[bus.station]]\naddress = {address}\nserial = 7000{address}\n");
    let config = format!(
        "bundle = \"b\"\ndata_dir = \"data\"\n[[bus]]\nname = \"hall\"\nserial = \"/dev/ttyUSB0\"\n{}{}{}{}{}plaintext = true\n",
        station(1),
        station(2),
        station(3),
        station(4),
        station(6),
    );
    Outline::check(Path::new("postern.toml"), &config).unwrap().buses.remove(0)
}

fn answer(serial: u32, is_keyed: bool) -> Answer {
    let present = Present { min: 1, max: 1, serial, wire: 256, is_keyed };
    Answer { present, after: Duration::from_micros(8_250) }
}

fn outcome(answers: &[Answer]) -> Outcome {
    Outcome { answers: answers.to_vec(), is_broken: false }
}

fn found() -> Vec<(u8, Outcome)> {
    vec![
        (1, outcome(&[answer(70_001, true)])),
        (2, outcome(&[])),
        (3, outcome(&[answer(70_009, true)])),
        (4, outcome(&[answer(70_004, false)])),
        (5, outcome(&[answer(70_002, true)])),
        (6, outcome(&[answer(70_006, true)])),
        (7, outcome(&[answer(70_010, true), answer(70_011, true)])),
        (8, Outcome { answers: Vec::new(), is_broken: true }),
        (9, outcome(&[])),
    ]
}

#[test]
fn each_address_is_judged_by_what_should_be_there() {
    let bus = bus();
    let report = report(Some(&bus), &bus.line, bus.reply, &found());
    let verdicts: Vec<&str> = show::list(&report["stations"])
        .map(|station| station["verdict"].as_str().unwrap())
        .collect();
    let wanted = [
        "as_configured",
        "missing",
        "other_serial",
        "has_no_key",
        "unexpected",
        "has_a_key",
        "doubled",
        "doubled",
        "broken",
    ];
    assert_eq!(verdicts, wanted);
    assert_eq!(
        (&report["asked"], &report["answered"], &report["differences"]),
        (&json!(9), &json!(6), &json!(7))
    );
    let text = text(&report);
    assert!(
        text.starts_with(
            " ADDR  CONTROLLER  VERSION  FRAMES  KEY  ANSWER  VERDICT\n \
              1     link-70001  1        256     yes  8.2 ms  as configured\n \
              2     -           -        -       -    -       missing\n"
        ),
        "{text}"
    );
    for sentence in [
        "\naddress 2: link-70002 is configured, and nobody answers\n",
        "\naddress 3: link-70003 is configured, and link-70009 answers\n",
        "\naddress 5: link-70002 is configured at address 2\n",
        "\naddress 7: link-70010 and link-70011 have the same address\n",
        "\naddresses 1-9 of /dev/ttyUSB0: 9 asked, 6 answered, 7 not as configured\n",
    ] {
        assert!(text.contains(sentence), "{sentence}{text}");
    }
    assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    let failure = verdict(&report).unwrap_err();
    assert_eq!(failure.code, exit::DIFFERENT);
    assert!(failure.message.starts_with("7 addresses are not as"), "{}", failure.message);
}

#[test]
fn without_a_bus_nothing_is_compared_and_silence_has_its_exit_code() {
    let line = bus().line;
    let reply = Duration::from_millis(20);
    let heard = report(None, &line, reply, &found());
    assert_eq!((&heard["differences"], &heard["bus"]), (&json!(0), &Value::Null));
    assert_eq!(heard["stations"][0]["verdict"], "present");
    assert_eq!(heard["stations"].as_array().unwrap().len(), 8);
    assert!(verdict(&heard).is_ok());
    let silent = report(None, &line, reply, &[(1, Outcome::default())]);
    assert_eq!(verdict(&silent).unwrap_err().code, exit::CONTROLLER);
}

#[test]
fn a_version_that_we_do_not_speak_is_said() {
    let mut answer = answer(70_001, true);
    (answer.present.min, answer.present.max) = (2, 3);
    let bus = bus();
    let report = report(Some(&bus), &bus.line, bus.reply, &[(1, outcome(&[answer]))]);
    assert_eq!(report["stations"][0]["verdict"], "other_version");
    assert!(text(&report).contains("  2-3  "));
}

#[test]
fn addresses_are_a_range_or_one() {
    let range = |text| addresses(text).map(|Addresses(range)| range);
    assert_eq!(range("1-126"), Ok(1..=126));
    assert_eq!(range("7"), Ok(7..=7));
    for wrong in ["0-5", "5-127", "9-3", "-", "all"] {
        assert!(range(wrong).unwrap_err().contains("FIRST-LAST"), "{wrong}");
    }
}

/// Two who ask at once hear neither answer.
#[test]
fn a_line_that_a_running_gateway_has_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let config = "bundle = \"b\"\ndata_dir = \".\"\n[[bus]]\nname = \"hall\"\ntcp = \"192.0.2.7:4001\"\n\
         [[bus.station]]\naddress = 1\nserial = 7\n";
    let outline = Outline::check(&directory.path().join("postern.toml"), config).unwrap();
    let line = outline.buses[0].line.clone();
    assert!(line::refuse_taken(&outline, &line).is_ok());
    let path = crate::control::socket(&outline.data_dir);
    let _listener = std::os::unix::net::UnixListener::bind(path).unwrap();
    let failure = line::refuse_taken(&outline, &line).unwrap_err();
    assert_eq!(failure.code, exit::IN_USE);
    assert!(failure.message.contains("\nhint: `postern bus stats hall`"), "{}", failure.message);
    let other = LineSettings::Tcp { address: "192.0.2.7:4002".parse().unwrap() };
    assert!(line::refuse_taken(&outline, &other).is_ok());
}
