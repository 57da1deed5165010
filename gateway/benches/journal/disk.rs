//! The disk and the machine: where the data lies, what was written to it, what it is.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::Outcome;

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

/// What was written so far, counted in three places.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    /// Bytes that this process handed to write calls (`wchar`): what it wrote, whatever became of it.
    pub(crate) handed: u64,
    /// Bytes of page cache that this process made dirty (`write_bytes`): whole pages, once for each
    /// time between two syncs. Where the cache keeps a file in larger units than a page,
    /// the whole unit is counted although only the changed blocks are written.
    pub(crate) dirtied: u64,
    /// Bytes that the block device was given by the whole machine, the file system's own journal
    /// included; `None` where there is no such device.
    pub(crate) device: Option<u64>,
}

/// What was written until now, seen from the files in `directory`.
pub(crate) fn written(directory: &Path) -> Outcome<Written> {
    let io = fs::read_to_string("/proc/self/io")?;
    let value = |name: &str| -> Outcome<u64> {
        let line = io.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        Ok(line.ok_or("a counter is missing in /proc/self/io")?.trim().parse()?)
    };
    Ok(Written {
        handed: value("wchar")?,
        dirtied: value("write_bytes")?,
        device: device_written(directory)?,
    })
}

fn device_written(directory: &Path) -> Outcome<Option<u64>> {
    let device = fs::metadata(directory)?.dev();
    let (major, minor) = (((device >> 8) & 0xfff).to_string(), (device & 0xff).to_string());
    let statistics = fs::read_to_string("/proc/diskstats").unwrap_or_default();
    Ok(statistics.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let ours =
            fields.first() == Some(&major.as_str()) && fields.get(1) == Some(&minor.as_str());
        // Sectors of 512 bytes, whatever the device's own are.
        ours.then(|| fields.get(9)?.parse::<u64>().ok())?.map(|sectors| sectors * 512)
    }))
}

/// The highest resident size of this process so far, in KiB.
pub(crate) fn peak_resident_kib() -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB"));
    Ok(kib.ok_or("VmHWM is missing in /proc/self/status")?.trim().parse()?)
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
