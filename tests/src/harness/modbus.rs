//! Devices that speak Modbus: `tests/peers/modbus_devices.py`, which plays them with `pymodbus`, an implementation that is
//! not ours. It needs a Python with that; where there is none, what needs it is skipped.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

use postern_protocol::ControllerId;
use serde::Deserialize;

use super::cargo::workspace;
use super::skip::skip;
use super::{Error, Process, wait_until};
use crate::checker::{Exit, Swipe, parse_lines};

/// The Python to be asked, where it is not in the usual place.
const PYTHON: &str = "POSTERN_MODBUS_PYTHON";
/// That place, from the root of the workspace.
const VENV: &str = "target/modbus-venv/bin/python";
/// What its log is called.
const NAME: &str = "modbus-devices";

/// It opens a socket and a pseudo terminal, and loads pymodbus first.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// An order holds within this, on a loaded machine.
const ORDER_WITHIN: Duration = Duration::from_secs(20);

/// The first unit over TCP, and on the serial line.
const FIRST: [u8; 2] = [1, 101];
/// What the units are, in turn: `modbus_units.py` has it so.
const PROFILES: [&str; 3] = ["peer-latch", "peer-sequence", "peer-ring"];

/// What the devices are to do.
#[derive(Clone, Copy, Debug)]
pub struct ModbusPlan {
    /// Where chance begins.
    pub seed: u64,
    /// How many units of each kind there are on either line.
    pub each: u8,
    /// How many swipes there are at each unit.
    pub swipes: u32,
    /// How many in a second.
    pub rate: u32,
    /// How many of what counts there were before.
    pub before: u32,
}

/// Two lines, as the gateway is told of them.
#[derive(Clone, Debug)]
pub struct ModbusLines {
    tcp: SocketAddr,
    rtu: String,
    each: u8,
}

/// The devices, running.
#[derive(Debug)]
pub struct ModbusDevices {
    /// Where they are.
    pub lines: ModbusLines,
    process: Process,
    input: ChildStdin,
    ledger: PathBuf,
}

#[derive(Deserialize)]
struct Ready {
    tcp: u16,
    rtu: String,
}

impl ModbusLines {
    /// How long a unit may take to begin its answer.
    pub const REPLY_MS: u64 = 300;
    /// How much later than that an answer may come on the serial line, where nothing tells which request it is to.
    pub const LATE_MS: u64 = 900;

    /// All units.
    pub fn units(&self) -> Vec<u8> {
        self.units_from(FIRST[0]).chain(self.units_from(FIRST[1])).collect()
    }

    /// What the logs' names of the units on the serial line begin with.
    pub fn names_on_line(&self) -> Vec<String> {
        let name = |unit| ControllerId::modbus(Swipe::serial(unit)).to_string();
        self.units_from(FIRST[1]).map(name).collect()
    }

    fn units_from(&self, first: u8) -> impl Iterator<Item = u8> + use<> {
        first..first + 3 * self.each
    }

    /// As it is written.
    pub(super) fn configured(&self) -> String {
        let (reply, late) = (Self::REPLY_MS, Self::LATE_MS);
        let [over_tcp, on_line] = FIRST;
        let mut text = PROFILES_TEXT.to_owned();
        let tcp = format!("name = \"yard\"\ntcp = \"{}\"", self.tcp);
        let rtu = format!(
            "name = \"hall\"\nserial = \"{}\"\nbaud = 115200\nparity = \"none\"\nlate_ms = {late}",
            self.rtu
        );
        for (line, first) in [(tcp, over_tcp), (rtu, on_line)] {
            let _ = write!(text, "\n[[modbus]]\n{line}\nreply_ms = {reply}\n");
            for (unit, profile) in self.units_from(first).zip(PROFILES.into_iter().cycle()) {
                let serial = Swipe::serial(unit);
                let _ = write!(
                    text,
                    "[[modbus.unit]]\nunit = {unit}\nserial = {serial}\nprofile = \"{profile}\"\n\
                     poll_ms = 50\nquiet_poll_ms = 50\n"
                );
            }
        }
        text
    }
}

/// What `modbus_units.py` says of its registers.
const PROFILES_TEXT: &str = r#"
[profile.peer-latch]
model = "a latch of pymodbus"
restarted = { table = "coil", address = 1005 }
[[profile.peer-latch.readers]]
door = 1
direction = "in"
events = { latch = { flag = { table = "coil", address = 1004 }, clear = 0 } }
card = { table = "holding_register", address = 1000, count = 5, format = "raw" }

[profile.peer-sequence]
model = "a counter of pymodbus"
gap = 1
[[profile.peer-sequence.readers]]
door = 1
direction = "in"
events = { sequence = { counter = { table = "input_register", address = 0 } } }
card = { table = "input_register", address = 3, count = 16, bits = { table = "input_register", address = 2 }, format = "raw" }

[profile.peer-ring]
model = "a ring of pymodbus"
[[profile.peer-ring.readers]]
door = 1
direction = "in"
events = { ring = { counter = { table = "holding_register", address = 0 }, table = "holding_register", first = 100, records = 64, words = 4 } }
card = { table = "holding_register", address = 0, count = 4, format = "raw" }
"#;

impl ModbusDevices {
    /// A Python that has pymodbus. `None`, with a line on stderr that begins with `SKIPPED`, where there is none; an
    /// error where the environment says that nothing may be skipped.
    pub fn python() -> Result<Option<PathBuf>, Error> {
        let python = env::var_os(PYTHON).map_or_else(|| workspace().join(VENV), PathBuf::from);
        let mut command = Command::new(&python);
        command.args(["-c", "import pymodbus.simulator.simcore, serial"]).stdin(Stdio::null());
        let why = match command.output() {
            Ok(output) if output.status.success() => return Ok(Some(python)),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                said.lines().last().unwrap_or_default().to_owned()
            }
            Err(error) => error.to_string(),
        };
        let what = format!("no devices that speak Modbus, with {}", python.display());
        let hint = format!(
            "python3 -m venv target/modbus-venv && \
             target/modbus-venv/bin/pip install 'pymodbus[serial]==3.16.1', or name another one by {PYTHON}"
        );
        skip(&what, &why, &hint)
    }

    /// Starts them, paused, with their ledger in `dir`.
    pub fn start(python: &Path, dir: &Path, logs: &Path, plan: ModbusPlan) -> Result<Self, Error> {
        let ModbusPlan { seed, each, swipes, rate, before } = plan;
        let ledger = dir.join("modbus-ledger.jsonl");
        let mut command = Command::new(python);
        command.arg(workspace().join("tests/peers/modbus_devices.py"));
        command.args(["--tcp", "0", "--rtu", "--paused", "--ledger"]).arg(&ledger);
        for (name, value) in [
            ("--seed", seed.to_string()),
            ("--each", each.to_string()),
            ("--swipes", swipes.to_string()),
            ("--rate", rate.to_string()),
            ("--counter", before.to_string()),
        ] {
            command.arg(name).arg(value);
        }
        // The sources' directory stays as it is.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        let (mut process, input) = Process::start_with_input(&mut command, NAME, logs)?;
        let Ready { tcp, rtu } =
            wait_until("the Modbus devices to be ready", READY_WITHIN, || {
                let ended = process.ended()?.is_some();
                let data = process.data();
                match data.lines().find_map(|line| line.strip_prefix("ready ")) {
                    Some(ready) => {
                        serde_json::from_str(ready).map(Some).map_err(Error::unreadable(NAME))
                    }
                    None if ended => Err(process.ended_error()),
                    None => Ok(None),
                }
            })?;
        let tcp = SocketAddr::from((Ipv4Addr::LOCALHOST, tcp));
        let lines = ModbusLines { tcp, rtu, each };
        Ok(Self { lines, process, input, ledger })
    }

    /// Gives an order, and returns once it holds.
    pub fn order(&mut self, order: &str) -> Result<(), Error> {
        let answer = format!("ok {order}");
        let answers =
            |process: &Process| process.data().lines().filter(|line| *line == answer).count();
        let before = answers(&self.process);
        writeln!(self.input, "{order}").map_err(Error::file("tell", NAME))?;
        wait_until(&format!("the Modbus devices to obey {order:?}"), ORDER_WITHIN, || {
            if self.process.ended()?.is_some() {
                return Err(self.process.ended_error());
            }
            Ok((answers(&self.process) > before).then_some(()))
        })
    }

    /// Whether all swipes were shown.
    pub fn is_done(&self) -> bool {
        self.process.data().lines().any(|line| line == "done")
    }

    /// The ledger so far. What is written in it was perhaps not read by anyone yet.
    pub fn swipes(&self) -> Result<Vec<Swipe>, Error> {
        let text = fs::read_to_string(&self.ledger).map_err(Error::file("read", &self.ledger))?;
        // The last line is perhaps not whole.
        let whole = text.rfind('\n').and_then(|end| text.get(..end)).unwrap_or_default();
        let failed = |what| Error::Answer { program: NAME.to_owned(), what };
        parse_lines(whole).map_err(failed)
    }

    /// Ends them.
    pub fn end(self) -> Result<Exit, Error> {
        let Self { mut process, input, .. } = self;
        drop(input);
        process.wait(ORDER_WITHIN)
    }
}
