//! A run that is over and was judged.

use std::fs;
use std::path::PathBuf;

use super::Error;
use crate::checker::{Evidence, Verdict};

/// A run that is over.
#[derive(Debug)]
pub struct Finished {
    /// The judgement.
    pub verdict: Verdict,
    /// What it rests on.
    pub evidence: Evidence,
    /// Where everything is.
    pub dir: PathBuf,
    pub(super) is_temporary: bool,
}

impl Finished {
    /// Removes the directory, where it was a temporary one.
    pub fn remove(&self) -> Result<(), Error> {
        if self.is_temporary {
            fs::remove_dir_all(&self.dir).map_err(Error::file("remove", &self.dir))?;
        }
        Ok(())
    }

    /// For tests: the evidence of a good run.
    ///
    /// # Panics
    /// With the whole verdict where the run is not good; the directory is kept then.
    pub fn expect_ok(self) -> Evidence {
        let dir = self.dir.display();
        assert!(self.verdict.is_ok(), "{}\nlogs and stores are kept in {dir}", self.verdict);
        // Left behind it is of no use to anyone, but it is no reason to fail either.
        let _ = self.remove();
        self.evidence
    }
}
