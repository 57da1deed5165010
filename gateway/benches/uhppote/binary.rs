//! Builds the simulator, so that a run never measures what an earlier source made.

use std::path::{Path, PathBuf};

use crate::{Outcome, cargo};

/// Where the simulator's binary is.
#[derive(Clone, Debug)]
pub(crate) struct Simulator(PathBuf);

impl Simulator {
    /// Builds it in release. cargo holds no lock while what it built runs.
    pub(crate) fn build() -> Outcome<Self> {
        let [simulator] = cargo::build("release", ["postern-sim"])
            .map_err(|failure| format!("{}: {}", failure.command, failure.what))?;
        Ok(Self(simulator))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}
