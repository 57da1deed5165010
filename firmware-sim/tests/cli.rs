//! The binary as people and programs use it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use postern_sim::ledger::Line;
use serde_json::Value;

const SIM: &str = env!("CARGO_BIN_EXE_postern-sim");

const BOARD: &str = "ledger = \"ledger.jsonl\"\n[[controller]]\nserial = 405419896\n";

const LINE: &str = "ledger = \"ledger.jsonl\"\n[[line]]\nname = \"hall\"\npty = \"hall.tty\"\n\
    [[line.station]]\naddress = 9\nserial = 70001\nplaintext = true\npreload = 3\n";

const UNITS: &str = "ledger = \"ledger.jsonl\"\n\
    [[line]]\nname = \"gate\"\nprotocol = \"modbus\"\ntcp = \"127.0.0.1:0\"\n\
    [[line.unit]]\nunit = 7\nserial = 70107\nprofile = \"relay-board\"\n\
    [[line.unit]]\nunit = 9\nserial = 70109\nprofile = \"rfideas-tcp\"\n\
    [[line]]\nname = \"hall\"\nprotocol = \"modbus\"\npty = \"hall.tty\"\n\
    [[line.unit]]\nunit = 1\nserial = 70201\nprofile = \"inveo-rfid\"\n";

/// A running simulator; killed where a test leaves it.
struct Sim {
    child: Child,
    ready: Value,
    api: String,
}

impl Sim {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let api = ready["api"].as_str().unwrap().to_owned();
        Self { child, ready, api }
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        Command::new(SIM).args(arguments).args(["--api", &self.api]).output().unwrap()
    }

    /// Waits for the end: exit code and what it said on stderr.
    fn end(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code(), said)
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_config(dir: &Path, text: &str) -> std::path::PathBuf {
    let path = dir.join("sim.toml");
    std::fs::write(&path, text).unwrap();
    path
}

fn run(dir: &Path, text: &str) -> Command {
    let mut command = Command::new(SIM);
    command.args(["run", "--json", "-c"]).arg(write_config(dir, text));
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn it_says_when_and_where_it_is_ready_and_stops_cleanly_on_signals() {
    for signal in ["-TERM", "-INT"] {
        let dir = tempfile::tempdir().unwrap();
        let sim = Sim::start(run(dir.path(), BOARD));
        assert_eq!(sim.ready["schema"], "postern-sim.ready.v1");
        assert_eq!(sim.ready["controllers"][0]["serial"], 405_419_896);
        let address = sim.ready["controllers"][0]["address"].as_str().unwrap();
        assert!(std::net::TcpStream::connect(address).is_ok());
        assert_eq!(sim.ready["ledger"], dir.path().join("ledger.jsonl").to_str().unwrap());
        sim.signal(signal);
        assert_eq!(sim.end().0, Some(0), "{signal}");
    }
}

#[test]
fn it_says_where_broadcasts_reach_it() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::start(run(dir.path(), &format!("discovery = \"127.255.255.255:0\"\n{BOARD}")));
    let discovery = sim.ready["discovery"].as_str().unwrap().to_owned();
    assert!(discovery.starts_with("127.255.255.255:") && !discovery.ends_with(":0"), "{discovery}");
    let status: Value = serde_json::from_slice(&sim.ask(&["status", "--json"]).stdout).unwrap();
    assert_eq!(status["discovery"], discovery);
}

#[test]
fn the_commands_do_what_the_api_does() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::start(run(dir.path(), BOARD));
    let serial = "405419896";
    for (arguments, said) in [
        (&["swipe", serial, "--card", "1", "--door", "2", "--direction", "out"][..], "1  swipe\n"),
        (&["force", serial, "--door", "2"], "2  forced\n"),
        (&["hold", serial, "--door", "2"], "3  held\n"),
        (&["button", serial, "--door", "2"], "0 events recorded\n"),
        (&["power-cycle", serial], "4  power-on\n"),
        (&["generate", serial, "--count", "6"], "newest                  10\n"),
        (&["faults", serial, "--drop", "0.5", "--lose", "0.1", "--deaf"], "\"deaf\":true"),
        (&["clock", serial, "--offset-s", "-5"], "clock                   20"),
        (&["clock", serial, "--unset"], "clock                   \n"),
        (&["clock", serial, "--drift-ppm", "-50", "--summer-time", "false"], "clock "),
        (
            &["trap", serial, "--index", "9", "--generate", "3"],
            "{\"index\":9,\"then\":{\"generate\":3}}",
        ),
        (&["trap", serial, "--index", "9", "--reset"], "\"then\":\"reset\""),
        (&["trap", serial, "--clear"], "trap                    null\n"),
        (&["event-index", serial, "--index", "4"], "changed                 true\n"),
        (&["people", "--rate", "0"], "rate                    0.0\n"),
        (&["status"], "1 controllers; 0 swipes a second, 0 so far; 10 lines in "),
        (&["status", serial], "newest                  10\n"),
        (&["reset", serial], "life                    1\n"),
        (&["replace", serial, "--preload", "5", "--clock-right"], "newest                  5\n"),
        (&["replace", serial], "life                    3\n"),
    ] {
        let output = sim.ask(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        assert!(text(&output.stdout).contains(said), "{arguments:?}: {}", text(&output.stdout));
    }
    for arguments in [
        &["status"][..],
        &["status", serial],
        &["swipe", serial, "--card", "1", "--door", "2"],
        &["force", serial, "--door", "2"],
        &["hold", serial, "--door", "2"],
        &["button", serial, "--door", "2"],
        &["power-cycle", serial],
        &["generate", serial, "--count", "6"],
        &["faults", serial],
        &["clock", serial, "--unset"],
        &["trap", serial, "--clear"],
        &["replace", serial],
        &["event-index", serial, "--index", "0"],
        &["people", "--rate", "0"],
        &["reset", serial],
    ] {
        let json = sim.ask(&[arguments, &["--json"]].concat());
        let reply: Value = serde_json::from_slice(&json.stdout).unwrap();
        assert!(reply["schema"].as_str().unwrap().starts_with("postern-sim."), "{arguments:?}");
    }
}

#[test]
fn a_refusal_and_an_absent_simulator_have_their_own_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::start(run(dir.path(), BOARD));
    let output = sim.ask(&["button", "405419896", "--door", "9"]);
    assert_eq!(output.status.code(), Some(14));
    assert!(text(&output.stderr).contains("door is 9, not 1 to 4"));
    assert!(text(&output.stderr).contains("\nhint: "));
    let api = sim.api.clone();
    sim.signal("-TERM");
    sim.end();
    let output = Command::new(SIM).args(["status", "--api", &api]).output().unwrap();
    assert_eq!(output.status.code(), Some(13));
    assert!(text(&output.stderr).contains("no simulator answers"));
}

#[test]
fn a_wrong_configuration_is_shown_with_its_place_and_ends_with_10() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &format!("{BOARD}colour = 1\n")).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(10), ""));
    let said = text(&output.stderr);
    assert!(said.contains("sim.toml:4: ") && said.contains("4 | colour = 1\n  | ^^^^^^"), "{said}");
    assert!(said.contains("unknown field `colour`") && said.contains("\nhint: "), "{said}");

    let missing = Command::new(SIM).args(["run", "-c", "/nowhere/sim.toml"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(10));
    assert!(text(&missing.stderr).contains("/nowhere/sim.toml: cannot read"));
}

#[test]
fn a_taken_address_ends_with_12() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let output = run(dir.path(), &format!("{BOARD}address = \"{address}\"\n")).output().unwrap();
    assert_eq!(output.status.code(), Some(12));
    assert!(text(&output.stderr).contains(&format!("cannot listen on {address}")));
}

/// A file size limit stands for a full disk: the line that does not fit is cut, as on a disk.
#[test]
fn a_ledger_that_cannot_be_written_ends_the_run_with_11_and_loses_no_truth() {
    for (config, serial) in [(BOARD, "405419896"), (LINE, "70001")] {
        ledger_that_cannot_be_written(config, serial);
    }
}

fn ledger_that_cannot_be_written(configuration: &str, serial: &str) {
    let dir = tempfile::tempdir().unwrap();
    let config = write_config(dir.path(), configuration);
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\" run --json -c \"$1\"", SIM]);
    shell.arg(&config);
    let sim = Sim::start(shell);
    let output = sim.ask(&["generate", serial, "--count", "1000"]);
    assert_eq!(output.status.code(), Some(14), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("the simulator is stopping"));
    let (code, said) = sim.end();
    assert_eq!(code, Some(11), "{said}");
    assert!(said.contains("ledger.jsonl: cannot write to it"), "{said}");

    // With room again, the unfinished line is cut off and the log goes on behind the last whole one.
    let written = std::fs::read_to_string(dir.path().join("ledger.jsonl")).unwrap();
    let whole = written.matches('\n').count();
    assert!(whole > 10 && !written.ends_with('\n'));
    let sim = Sim::start(run(dir.path(), configuration));
    let output = sim.ask(&["power-cycle", serial, "--json"]);
    let reply: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(reply["events"][0]["index"], whole + 1);
    let written = std::fs::read_to_string(dir.path().join("ledger.jsonl")).unwrap();
    let lines: Vec<Line> =
        written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), whole + 1);
}

#[test]
fn lines_are_said_when_ready_and_have_commands() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::start(run(dir.path(), LINE));
    let line = &sim.ready["lines"][0];
    assert_eq!((&line["name"], &line["stations"][0]["serial"]), (&"hall".into(), &70_001.into()));
    assert_eq!(line["stations"][0]["address"], 9);
    let pty = Path::new(line["pty"].as_str().unwrap()).to_owned();
    assert_eq!(pty, dir.path().join("hall.tty"));
    assert!(std::fs::read_link(&pty).unwrap().starts_with("/dev/pts"));
    assert_eq!(sim.ready["controllers"], Value::Array(Vec::new()));

    let json = |arguments: &[&str]| {
        let output = sim.ask(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let set = json(&[
        "line-faults",
        "hall",
        "--bit-error-rate",
        "0.001",
        "--station",
        "70001",
        "--cut",
        "0.5",
        "--cut-log",
        "lost",
        "--slow",
        "1",
        "--slow-ms",
        "20",
    ]);
    assert_eq!(set["schema"], "postern-sim.line-faults.v1");
    let faults = &set["stations"]["70001"];
    assert_eq!((&faults["cut_log"], &faults["slow_ms"]), (&"lost".into(), &20.into()));
    let line = json(&["line", "hall"]);
    assert_eq!((&line["stations"][0]["faults"], &line["noise"]), (faults, &set["noise"]));
    assert_eq!(json(&["line-faults", "hall"])["stations"]["70001"]["cut"], 0.0);
    assert_eq!(json(&["power-cut", "70001", "--log", "kept"])["events"][0]["index"], 4);
    assert_eq!(json(&["power-cut", "70001", "--log", "lost"])["events"][0]["index"], 1);

    let output = sim.ask(&["status"]);
    assert!(text(&output.stdout).contains("70001        hall 9"), "{}", text(&output.stdout));
    let output = sim.ask(&["line", "hall"]);
    assert!(text(&output.stdout).contains("1 stations at /"), "{}", text(&output.stdout));
    let output = sim.ask(&["line", "attic"]);
    assert_eq!(output.status.code(), Some(14));
    assert!(text(&output.stderr).contains("hint: there are hall"), "{}", text(&output.stderr));
    for bad in [&["line", "a/b"][..], &["line-faults", "hall", "--deaf", "1"]] {
        assert_eq!(sim.ask(bad).status.code(), Some(2), "{bad:?}");
    }
    sim.signal("-TERM");
    assert_eq!(sim.end().0, Some(0));
    assert!(std::fs::symlink_metadata(pty).is_err(), "the link went with it");
}

#[test]
fn modbus_units_are_said_when_ready_and_have_commands() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::start(run(dir.path(), UNITS));
    let [hall, gate] = [&sim.ready["lines"][0], &sim.ready["lines"][1]];
    assert_eq!(
        (&hall["protocol"], &gate["protocol"]),
        (&"modbus-rtu".into(), &"modbus-tcp".into())
    );
    assert_eq!(hall["pty"], dir.path().join("hall.tty").to_str().unwrap());
    assert!(std::net::TcpStream::connect(gate["tcp"].as_str().unwrap()).is_ok());
    assert_eq!(gate["stations"][1], serde_json::json!({"serial": 70109, "address": 9}));
    let (board, reader, latch) = ("70107", "70109", "70201");
    for (arguments, said) in [
        (
            &["swipe", reader, "--card", "18446744073709551615", "--door", "1"][..],
            "1  reader 1    card-read\n",
        ),
        (&["swipe", reader, "--card", "5", "--reader", "1"], "2  reader 1    card-read\n"),
        (
            &["swipe", latch, "--card", "5", "--door", "1"],
            "-  reader 1    card-read\n1 lines in the ledger\n",
        ),
        (&["swipe", latch, "--card", "6", "--door", "1"], "-  reader 1    card-lost\n"),
        (&["open", board, "--door", "2"], "-  door 2      opened\n"),
        (&["open", board, "--door", "2"], "0 lines in the ledger\n"),
        (&["close", board, "--door", "2"], "-  door 2      closed\n"),
        (&["press", board, "--door", "4"], "-  door 4      pressed\n"),
        (&["let-go", board, "--door", "4"], "-  door 4      let-go\n"),
        (&["release", board, "--door", "1"], "-  door 1      released\n"),
        (&["lock", board, "--door", "1"], "-  door 1      locked\n"),
        (&["restart", latch], "-  device      started\n"),
        (&["power-cycle", latch], "-  device      started\n"),
        (&["generate", reader, "--count", "8"], "newest                  10\n"),
        (&["unit-faults", board, "--exception", "1", "--requests", "3"], "\"requests\":3"),
        (&["status"], "70109        gate 9                   0          -         10"),
        (&["status", latch], "life                    2\n"),
        (&["line", "hall"], "1 stations at /"),
    ] {
        let output = sim.ask(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        assert!(text(&output.stdout).contains(said), "{arguments:?}: {}", text(&output.stdout));
    }
    for arguments in [&["swipe", reader, "--card", "5", "--door", "1"][..], &["unit-faults", board]]
    {
        let json = sim.ask(&[arguments, &["--json"]].concat());
        let reply: Value = serde_json::from_slice(&json.stdout).unwrap();
        assert!(reply["schema"].as_str().unwrap().starts_with("postern-sim."), "{arguments:?}");
    }
    for (arguments, code, said) in [
        (&["button", board, "--door", "1"][..], 14, "this is a Modbus unit"),
        (&["open", board, "--door", "9"], 14, "there is no door 9"),
        (&["press", reader, "--door", "1"], 14, "there is no door 1"),
        (&["swipe", board, "--card", "1", "--reader", "1"], 14, "there is no reader 1"),
        (&["swipe", board, "--card", "1", "--door", "1"], 14, "no reader is at door 1"),
        (&["unit-faults", board, "--short", "2"], 14, "short is 2"),
        (&["line", "gate"], 14, "no serial line"),
        (&["swipe", board, "--card", "1"], 2, "--door"),
        (&["swipe", board, "--card", "1", "--door", "1", "--reader", "1"], 2, "--reader"),
        (&["unit-faults", board, "--late", "1"], 2, "--late-ms"),
    ] {
        let output = sim.ask(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(text(&output.stderr).contains(said), "{arguments:?}: {}", text(&output.stderr));
    }
    sim.signal("-TERM");
    assert_eq!(sim.end().0, Some(0));
}

#[test]
fn what_a_unit_cannot_record_ends_the_run_with_11_and_does_not_happen() {
    let dir = tempfile::tempdir().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\" run --json -c \"$1\"", SIM]);
    shell.arg(write_config(dir.path(), UNITS));
    let sim = Sim::start(shell);
    let output = sim.ask(&["generate", "70109", "--count", "1000"]);
    assert_eq!(output.status.code(), Some(14), "{}", text(&output.stderr));
    let (code, said) = sim.end();
    assert_eq!(code, Some(11), "{said}");
    let sim = Sim::start(run(dir.path(), UNITS));
    let status: Value =
        serde_json::from_slice(&sim.ask(&["status", "70109", "--json"]).stdout).unwrap();
    assert_eq!((&status["life"], &status["numbers"][0]), (&1.into(), &0.into()));
}

#[test]
fn a_line_that_cannot_be_had_is_said_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("hall.tty"), "a file of somebody").unwrap();
    let output = run(dir.path(), LINE).output().unwrap();
    assert_eq!(output.status.code(), Some(12));
    let said = text(&output.stderr);
    assert!(said.contains("error: line hall: cannot link ") && said.contains("hint: "), "{said}");
}
