//! Builds programs of the workspace as somebody at a shell would, from within what cargo itself runs: a scenario, or a
//! benchmark (`gateway/benches/uhppote` has this file too).

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

/// The crates of the programs under test, and the tests' own: its dependencies have every feature that some test asks for, so
/// that what `cargo test` or `cargo bench --workspace` has built is not built once more with fewer.
pub(crate) const PACKAGES: [&str; 4] =
    ["postern-gateway", "postern-server", "postern-sim", "postern-tests"];

/// What cargo tells the programs that it runs; where a name ends with `_`, all that begin with it.
const TOLD: [&str; 7] = [
    "CARGO_BIN_",
    "CARGO_CRATE_NAME",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_TARGET_TMPDIR",
    "OUT_DIR",
];

/// A line of cargo's `--message-format=json`.
#[derive(Deserialize)]
struct Message {
    reason: String,
    executable: Option<PathBuf>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// A build that failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// What happened.
    pub(crate) what: String,
    /// The command that somebody can repeat.
    pub(crate) command: String,
}

/// The root of the workspace.
pub(crate) fn workspace() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Builds these programs and says where they are, in the same order.
pub(crate) fn build<const N: usize>(
    profile: &str,
    programs: [&str; N],
) -> Result<[PathBuf; N], Failure> {
    let packages = PACKAGES.map(|package| ["-p", package]);
    let bins = programs.map(|program| ["--bin", program]);
    let selected = [packages.as_flattened(), bins.as_flattened()].concat();
    let shown = format!("cargo build --profile {profile} {}", selected.join(" "));
    let failure = |what: String| Failure { what, command: shown.clone() };

    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "--message-format=json-render-diagnostics"]);
    command.args(["--profile", profile]).args(&selected);
    // What cargo told this process of itself is nothing that a build may depend on; ring's does, and with
    // it everything that speaks TLS was built anew at each turn from `cargo test` to `cargo build`.
    for (name, _) in env::vars_os() {
        let told = name.to_str().is_some_and(|name| {
            TOLD.iter().any(|told| name == *told || told.ends_with('_') && name.starts_with(told))
        });
        if told {
            command.env_remove(name);
        }
    }
    // What it is busy with, and its errors, are for whoever waits.
    command.current_dir(workspace()).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().map_err(|error| failure(error.to_string()))?;
    if !output.status.success() {
        return Err(failure(format!("cargo ended with {}", output.status)));
    }

    let mut built = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<Message>(line) else { continue };
        if let (Some(executable), Some(target)) = (message.executable, message.target)
            && message.reason == "compiler-artifact"
        {
            built.insert(target.name, executable);
        }
    }
    let mut paths = programs.map(|_| PathBuf::new());
    for (path, name) in paths.iter_mut().zip(programs) {
        let missing = || failure(format!("cargo built no program {name}"));
        *path = built.remove(name).ok_or_else(missing)?;
    }
    Ok(paths)
}
