//! Builds the programs under test, so that a scenario never runs what an earlier source made.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde::Deserialize;

use super::Error;

/// The crates of the programs under test, and this one: its dependencies have every feature that some test asks for, so that
/// what `cargo test` has built is not built once more with fewer.
const PACKAGES: [&str; 4] = ["postern-gateway", "postern-server", "postern-sim", "postern-tests"];

const PROGRAMS: [&str; 3] = ["postern", "postern-server", "postern-sim"];

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

/// Where the programs under test are.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// The gateway.
    pub gateway: PathBuf,
    /// A server.
    pub server: PathBuf,
    /// The simulated controllers.
    pub simulator: PathBuf,
}

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

impl Binaries {
    /// Builds them, once per process. Works inside `cargo test` and `cargo run`: cargo holds no
    /// lock while what it built runs.
    pub fn get() -> Result<&'static Self, Error> {
        static BUILT: OnceLock<Result<Binaries, (String, String)>> = OnceLock::new();
        BUILT.get_or_init(build).as_ref().map_err(|(what, command)| Error::Build {
            what: what.clone(),
            command: command.clone(),
        })
    }
}

/// The root of the workspace.
pub(super) fn workspace() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

fn build() -> Result<Binaries, (String, String)> {
    // Like for like: a long run is started with --release for the sake of what it runs.
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--message-format=json-render-diagnostics"]);
    command.args(["--profile", profile]);
    let packages = PACKAGES.map(|package| ["-p", package]);
    let programs = PROGRAMS.map(|program| ["--bin", program]);
    let selected = [packages.as_flattened(), programs.as_flattened()].concat();
    command.args(&selected);
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
    let shown = format!("cargo build --profile {profile} {}", selected.join(" "));
    // What it is busy with, and its errors, are for whoever waits.
    command.current_dir(workspace()).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().map_err(|error| (error.to_string(), shown.clone()))?;
    if !output.status.success() {
        return Err((format!("cargo ended with {}", output.status), shown));
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
    let mut take = |name: &str| {
        let missing = || (format!("cargo built no program {name}"), shown.clone());
        built.remove(name).ok_or_else(missing)
    };
    let [gateway, server, simulator] = PROGRAMS.map(&mut take);
    Ok(Binaries { gateway: gateway?, server: server?, simulator: simulator? })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn built(packages: &[&str], edges: &str) -> BTreeSet<String> {
        let mut command = Command::new(env!("CARGO"));
        command.args(["tree", "--offline", "--prefix", "none", "--format", "{p} [{f}]"]);
        let output = command
            .args(["--edges", edges])
            .args(packages)
            .current_dir(workspace())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8_lossy(&output.stdout);
        lines.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect()
    }

    /// Otherwise half of the workspace is compiled once more while the first scenario waits.
    #[test]
    fn a_build_of_the_programs_has_the_features_that_the_tests_are_built_with() {
        let packages = PACKAGES.map(|package| ["-p", package]);
        let programs = built(packages.as_flattened(), "normal,build");
        let tests = built(&["--workspace"], "normal,build,dev");
        assert!(programs.len() > 100);
        assert_eq!(programs.difference(&tests).collect::<Vec<_>>(), Vec::<&String>::new());
    }
}
