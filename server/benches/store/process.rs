//! Server processes, and what they take.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use postern_server::api::admin::Status;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Bench;
use super::common::float;
use super::site::{Pair, status};

/// How long anything may take that has to come.
const PATIENCE: Duration = Duration::from_mins(10);

/// As many descriptors as may be: for this program and for the servers that it starts.
pub(crate) fn allow_many_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

/// A server that is ready, and ends with this.
pub(crate) struct Process(Child);

impl Process {
    /// What it logs goes to a file beside its directory.
    pub(crate) fn start(dir: &Path) -> Self {
        let log = File::create(dir.with_extension("log")).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_postern-server"))
            .args(["run", "--json", "--dir"])
            .arg(dir)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        assert!(ready.contains("ready"), "the server did not start: see {}", dir.display());
        Self(child)
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.0.id())).unwrap()
    }

    /// Processor time so far, in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        processor_time(&self.read("stat"))
    }

    /// How long its threads were ready to run and no processor was free, as far as they live still; in
    /// seconds.
    pub(crate) fn queued(&self) -> f64 {
        let threads = fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap();
        let queued = |thread: fs::DirEntry| {
            // One that has ended meanwhile has no file.
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split(' ').nth(1)?.parse::<u64>().ok()
        };
        float(threads.flatten().filter_map(queued).sum()) / 1e9
    }

    /// Memory that it holds.
    pub(crate) fn resident_kib(&self) -> u64 {
        field(&self.read("status"), "VmRSS:")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Of `/proc/PID/stat`: fields 14 and 15, in hundredths of a second whatever the kernel counts in;
/// in seconds.
pub(crate) fn processor_time(stat: &str) -> f64 {
    let behind_name = stat.rsplit_once(") ").unwrap().1;
    let ticks: u64 =
        behind_name.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    float(ticks) / 100.0
}

/// A pair that runs, `a` being the active one.
pub(crate) struct Servers {
    pub(crate) a: Process,
    pub(crate) b: Process,
    pub(crate) site: Pair,
}

impl Servers {
    /// Starts both and waits until they are in sync.
    pub(crate) fn start(bench: &Bench, site: Pair) -> Self {
        let servers = Self { a: Process::start(&site.a), b: Process::start(&site.b), site };
        bench.runtime.block_on(servers.until(|active| active.copies == 2));
        servers
    }

    pub(crate) async fn until(&self, holds: impl Fn(&Status) -> bool) {
        let began = Instant::now();
        while !holds(&status(&self.site, "a").await) {
            assert!(began.elapsed() < PATIENCE, "the servers did not come so far");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
