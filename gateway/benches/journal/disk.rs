//! The disk and what was written to it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::Outcome;
pub(crate) use crate::common::disk::{Directory, machine, target};

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
