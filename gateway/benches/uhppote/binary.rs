//! Builds the simulator, so that a run never measures what an earlier source made.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Outcome;

/// Where the simulator's binary is.
#[derive(Clone, Debug)]
pub(crate) struct Simulator(PathBuf);

impl Simulator {
    /// Builds it in release. cargo holds no lock while what it built runs.
    pub(crate) fn build(target: &Path) -> Outcome<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .args(["build", "--release", "--quiet", "-p", "postern-sim", "--bin", "postern-sim"])
            .arg("--message-format=json-render-diagnostics")
            .arg("--target-dir")
            .arg(target)
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        // What it is busy with, and its errors, are for whoever waits.
        let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
        if !output.status.success() {
            return Err(
                format!("building the simulator: cargo ended with {}", output.status).into()
            );
        }
        let text = String::from_utf8(output.stdout)?;
        let built = text.lines().find_map(|line| {
            let message: Value = serde_json::from_str(line).ok()?;
            let name = message.pointer("/target/name")?.as_str()?;
            let path = message.get("executable")?.as_str()?;
            (name == "postern-sim").then(|| Self(path.into()))
        });
        built.ok_or_else(|| "cargo built no program postern-sim".into())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}
