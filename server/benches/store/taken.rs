//! What a load takes: of processors and of the disk.

use std::fs;
use std::path::Path;
use std::time::Instant;

use rustix::fs::{major, minor, stat};

use super::common::float;
use super::process::{Servers, processor_time};
use super::report::Report;
use super::site::status;

/// What both servers and this program had taken at a moment.
pub(crate) struct Taken {
    at: Instant,
    cpu: [f64; 3],
    queued: [f64; 2],
    disk: Disk,
    position: u64,
}

impl Taken {
    pub(crate) async fn now(servers: &Servers) -> Self {
        let own = processor_time(&fs::read_to_string("/proc/self/stat").unwrap());
        Self {
            at: Instant::now(),
            cpu: [servers.a.cpu(), servers.b.cpu(), own],
            queued: [servers.a.queued(), servers.b.queued()],
            disk: Disk::of(&servers.site.a),
            position: status(&servers.site, "a").await.log.position,
        }
    }

    /// What was taken since, for so many transactions.
    pub(crate) async fn report(
        self,
        servers: &Servers,
        report: &mut Report,
        suffix: &str,
        transactions: u64,
    ) {
        let end = Self::now(servers).await;
        let time = (end.at - self.at).as_secs_f64();
        let mut put = |name: &str, value: f64| report.put(format!("ingest{suffix}_{name}"), value);
        let names = ["active", "standby", "gateways"];
        for ((name, before), after) in names.iter().zip(self.cpu).zip(end.cpu) {
            let used = after - before;
            put(&format!("{name}_cpu_percent"), used / time * 100.0);
            put(&format!("{name}_cpu_us_each"), used * 1e6 / float(transactions));
        }
        // Of threads that ended in between there is nothing left.
        for ((name, before), after) in names.iter().zip(self.queued).zip(end.queued) {
            let queued = (after - before).max(0.0) / time;
            put(&format!("{name}_waited_for_cpu_percent"), queued * 100.0);
        }
        put("commits_per_s", float(end.position - self.position) / time);
        let disk = end.disk.since(self.disk);
        put("disk_bytes_each", float(disk.bytes) / float(transactions));
        put("disk_writes_per_s", float(disk.writes) / time);
        put("disk_flushes_per_s", float(disk.flushes) / time);
        put("disk_busy_percent", float(disk.busy_ms) / time / 10.0);
    }
}

/// What the disk was given by the whole machine: a process's own count is of what it made dirty, of which
/// large pages count whole.
#[derive(Clone, Copy, Default)]
struct Disk {
    writes: u64,
    bytes: u64,
    busy_ms: u64,
    flushes: u64,
}

impl Disk {
    /// The one that a file lies on; zeros where the kernel does not count it.
    fn of(path: &Path) -> Self {
        let device = stat(path).unwrap().st_dev;
        let (major, minor) = (major(device).to_string(), minor(device).to_string());
        let text = fs::read_to_string("/proc/diskstats").unwrap_or_default();
        let line = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let found = line.into_iter().find(|fields| fields[..2] == [&major, &minor]);
        let Some(fields) = found else { return Self::default() };
        let number = |at: usize| fields.get(at).map_or(0, |field| field.parse().unwrap());
        // Documentation/admin-guide/iostats.rst; sectors are of 512 bytes.
        Self { writes: number(7), bytes: number(9) * 512, busy_ms: number(12), flushes: number(18) }
    }

    fn since(self, before: Self) -> Self {
        Self {
            writes: self.writes - before.writes,
            bytes: self.bytes - before.bytes,
            busy_ms: self.busy_ms - before.busy_ms,
            flushes: self.flushes - before.flushes,
        }
    }
}
