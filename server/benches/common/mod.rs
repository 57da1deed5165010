//! What the benchmarks of the server share: where their data lies, what gateways send, a store that is
//! full already.
#![allow(dead_code, reason = "each of the programs uses its own part")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_protocol::Timestamp;
use postern_protocol::role::{RoleVersion, SignedRole};
use postern_protocol::uplink::Bytes;
use postern_protocol::{RoleTerm, Seq};
use postern_server::store::{Audit, Store};

pub(crate) mod filled;
pub(crate) mod swipe;

/// The server's clock, where it is given.
pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// A directory that is removed with all that is in it.
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// A new and empty one in cargo's target directory, which lies on a disk: a temporary directory may be
    /// in memory. What a killed run left is removed.
    pub(crate) fn create(name: &str) -> Self {
        let path = target().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A new and empty one in it.
    pub(crate) fn inner(&self, name: &str) -> Self {
        let path = self.0.join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// cargo's target directory, of which this program lies in `release/deps`.
pub(crate) fn target() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned()
}

/// Progress, for whoever waits.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// A new store that is active under the first role term.
pub(crate) fn founded(path: &Path) -> Store {
    let mut store = Store::create(path, "a").unwrap();
    let role = SignedRole {
        document: String::new(),
        certificate: Bytes(Vec::new()),
        signature: Bytes(Vec::new()),
    };
    let why = Audit::at(NOW, "operator", "init", "a", "bench");
    store.found_role(&role, RoleVersion::first(TERM), &why).unwrap();
    store
}

/// The role term of [`founded`].
pub(crate) const TERM: RoleTerm = RoleTerm(1);

/// The middle one.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// How far a `seq` lies behind another.
pub(crate) fn behind(last: Seq, first: Seq) -> u64 {
    last.0.saturating_sub(first.0)
}
