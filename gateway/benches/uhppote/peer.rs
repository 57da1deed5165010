//! Another client: the `uhppoted` package of `PyPI`, in a virtual environment of its own.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Outcome;
use crate::bare::Wire;
use crate::simulator::Board;

/// The version that is compared with.
const PACKAGE: &str = "uhppoted==0.9.1.1";

/// Set where nothing may be skipped.
const REQUIRE: &str = "POSTERN_REQUIRE";

/// A Python that has the package.
#[derive(Debug)]
pub(crate) struct Peer {
    python: PathBuf,
}

impl Peer {
    /// Makes the environment under cargo's target directory. `None`, with a line on stderr that begins
    /// with `SKIPPED`, where there is no Python, no `venv` or no package; an error where the
    /// environment says that nothing may be skipped.
    pub(crate) fn prepare(target: &Path) -> Outcome<Option<Self>> {
        let environment = target.join("peer-venv");
        let python = environment.join("bin/python");
        let install = || -> Outcome<()> {
            if !python.exists() {
                succeed(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
            }
            let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE];
            succeed(Command::new(&python).args(pip))
        };
        match install() {
            Ok(()) => Ok(Some(Self { python })),
            Err(error) if std::env::var_os(REQUIRE).is_some_and(|value| value == "1") => {
                Err(format!("{PACKAGE} cannot be compared with: {error}").into())
            }
            Err(error) => {
                writeln!(
                    io::stderr().lock(),
                    "SKIPPED: no comparison with {PACKAGE}, its keys are missing: {error}\n\
                     hint: apt-get install python3-venv, and let pip reach PyPI or a mirror"
                )?;
                Ok(None)
            }
        }
    }

    /// Lets it ask for the events 1 to `last`; how many a second.
    pub(crate) fn read(&self, board: Board, wire: Wire, last: u32) -> Outcome<f64> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers/bench_uhppoted.py");
        let output = Command::new(&self.python)
            .arg(script)
            .args(["--serial", &board.serial.to_string()])
            .args(["--address", &board.address.to_string()])
            .args(["--events", &last.to_string()])
            .args([
                "--protocol",
                match wire {
                    Wire::Udp => "udp",
                    Wire::Tcp => "tcp",
                },
            ])
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            return Err(format!("the Python client ended with {}", output.status).into());
        }
        let said: Value = serde_json::from_slice(&output.stdout)?;
        let rate = said.get("events_per_s").and_then(Value::as_f64);
        rate.ok_or_else(|| "the Python client named no rate".into())
    }
}

fn succeed(command: &mut Command) -> Outcome<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program} cannot be started: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or_default();
    Err(format!("{program} ended with {}: {last}", output.status).into())
}
