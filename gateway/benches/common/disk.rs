//! The disk and the machine: where the data lies and what it lies on.

use std::fs;
use std::path::{Path, PathBuf};

use super::Outcome;

/// A directory that is removed with all that is in it.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// A new and empty one; what a killed run left is removed.
    pub(crate) fn create(path: PathBuf) -> Outcome<Self> {
        if path.try_exists()? {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// A new and empty one in it.
    pub(crate) fn inner(&self, name: &str) -> Outcome<Self> {
        Self::create(self.0.join(name))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// cargo's target directory, of which this program lies in `release/deps`. On the disk that
/// is measured: a temporary directory may be in memory.
pub(crate) fn target() -> Outcome<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(3).ok_or("this program is not in a target directory")?;
    Ok(target.to_owned())
}

/// What the figures depend on.
pub(crate) fn machine(directory: &Path) -> Outcome<Vec<(&'static str, String)>> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown").to_owned()
    };
    let processors = std::thread::available_parallelism()?;
    let kernel = read("/proc/sys/kernel/osrelease").trim().to_owned();
    let load = read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned();
    Ok(vec![
        ("date", jiff::Timestamp::now().to_string()),
        ("cpu", format!("{} x {}", processors, field("model name"))),
        ("kernel", kernel),
        ("filesystem", file_system(directory)),
        ("load_at_start", load),
    ])
}

fn file_system(directory: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mount = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (device, at, kind) = (fields.next()?, fields.next()?, fields.next()?);
        let options = fields.next()?;
        directory.starts_with(at).then(|| (at.len(), format!("{kind} on {device} ({options})")))
    });
    mount.max().map_or_else(|| "unknown".to_owned(), |(_, text)| text)
}
