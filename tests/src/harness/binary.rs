//! Builds the programs under test, so that a scenario never runs what an earlier source made.

use std::path::PathBuf;
use std::sync::OnceLock;

use super::Error;
use super::cargo::{self, Failure};

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

impl Binaries {
    /// Builds them, once per process. Works inside `cargo test` and `cargo run`: cargo holds no
    /// lock while what it built runs.
    pub fn get() -> Result<&'static Self, Error> {
        static BUILT: OnceLock<Result<Binaries, Failure>> = OnceLock::new();
        BUILT.get_or_init(build).as_ref().map_err(|failure| {
            let Failure { what, command } = failure.clone();
            Error::Build { what, command }
        })
    }
}

fn build() -> Result<Binaries, Failure> {
    // Like for like: a long run is started with --release for the sake of what it runs.
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let [gateway, server, simulator] =
        cargo::build(profile, ["postern", "postern-server", "postern-sim"])?;
    Ok(Binaries { gateway, server, simulator })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::process::Command;

    use super::cargo::{PACKAGES, workspace};

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
