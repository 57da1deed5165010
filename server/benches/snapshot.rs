//! What a copy of the store costs, and what it costs the writer:
//! `cargo bench -p postern-server --bench snapshot`.
//!
//! One run fills a store (10 million transactions, about 5 GB; `-- --quick` 1 million), and measures
//! on one disk: a plain copy of the file with one sync, `VACUUM INTO` and ours with nobody writing;
//! then batches of 256 without pause, first alone and then while ours copies. What is compared with
//! a goal is printed and written, never asserted. `-- --rows=N` for another store, `--log-mib=N` holds
//! the copy until the log is so long: a short way to what follows a long copy.
#![allow(clippy::unwrap_used, missing_docs)]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::fs::{self, File};
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::swipe::Journal;
use common::{Directory, filled, founded, mebibytes, median, say, target};
use postern_server::store::StoreHandle;
use postern_server::store::snapshot::{self, Progress};
use rusqlite::Connection;
use serde_json::json;
use tokio_util::sync::CancellationToken;

mod common;

const BATCH: usize = 256;

/// The journal of whoever writes: not one of those that the store is filled with.
const WRITER: u32 = 100;

/// The rest of the writer's work, for comparison with what it is during a copy.
const ALONE: Duration = Duration::from_secs(20);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let given = arguments.iter().find_map(|argument| argument.strip_prefix("--rows="));
    let rows = given.map_or(if quick { 1_000_000 } else { 10_000_000 }, |n| n.parse().unwrap());
    let given = arguments.iter().find_map(|argument| argument.strip_prefix("--log-mib="));
    let held_until = given.map_or(0, |n| n.parse::<u64>().unwrap() << 20);
    let directory = Directory::create("bench-snapshot");
    let dir = directory.path();
    let path = dir.join("store.sqlite");
    say(&format!("filling a store with {rows} transactions"));
    drop(founded(&path));
    filled::fill(&path, rows);
    let bytes = fs::metadata(&path).unwrap().len();

    let (mut plain, mut ours) = (Vec::new(), Vec::new());
    for round in 0..3 {
        say(&format!("round {round}: a plain copy, and ours"));
        plain.push(timed(dir, |copy| {
            fs::copy(&path, copy).unwrap();
            File::open(copy).unwrap().sync_all().unwrap();
        }));
        ours.push(timed(dir, |copy| {
            snapshot::take(&path, copy, &mut go_on).unwrap();
        }));
    }
    say("VACUUM INTO");
    let vacuum = timed(dir, |copy| {
        let connection = Connection::open(&path).unwrap();
        connection.execute("VACUUM INTO ?", [copy.to_str().unwrap()]).unwrap();
        drop(connection);
        File::open(copy).unwrap().sync_all().unwrap();
    });

    say("batches without pause, alone");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let handle = {
        let _in = runtime.enter();
        StoreHandle::open(&path, "a", CancellationToken::new()).unwrap()
    };
    let feeder = Feeder::start(&runtime, &handle);
    std::thread::sleep(ALONE);
    let alone = feeder.lap();
    say("batches without pause, while a copy is made");
    let copy = dir.join("copy");
    let began = Instant::now();
    let (times, copying) = (feeder.times.clone(), Arc::new(Mutex::new(Lap::default())));
    let copied = copying.clone();
    let log = dir.join("store.sqlite-wal");
    let watch = move |Progress { done, total }: Progress| {
        if done == total {
            while fs::metadata(&log).unwrap().len() < held_until {
                std::thread::sleep(Duration::from_millis(10));
            }
            *copied.lock().unwrap() = std::mem::take(&mut times.lock().unwrap());
        }
        ControlFlow::Continue(())
    };
    let made = runtime.block_on(handle.snapshot(copy.clone(), watch)).unwrap();
    let took = began.elapsed();
    let (during, moving) = (copying.lock().unwrap().clone(), feeder.lap());
    std::thread::sleep(Duration::from_secs(5));
    let after = feeder.stop();
    let sound: String = Connection::open(&copy)
        .unwrap()
        .query_row("PRAGMA quick_check", [], |row| row.get(0))
        .unwrap();

    let mib = |time: Duration| mebibytes(bytes) / time.as_secs_f64();
    let (plain, ours) = (median(plain), median(ours));
    let figures = json!({
        "rows": rows,
        "bytes": bytes,
        "plain_copy_mib_s": mib(plain),
        "snapshot_mib_s": mib(ours),
        "snapshot_to_plain_copy": plain.as_secs_f64() / ours.as_secs_f64(),
        "vacuum_into_mib_s": mib(vacuum),
        "under_writes_mib_s": mib(took),
        "under_writes_to_plain_copy": plain.as_secs_f64() / took.as_secs_f64(),
        "under_writes_log_mib": mebibytes(made.log),
        "writer_alone_per_s": alone.rate(),
        "writer_alone_worst_ms": alone.worst_ms(),
        "writer_during_per_s": during.rate(),
        "writer_during_worst_ms": during.worst_ms(),
        "writer_while_log_is_moved_per_s": moving.rate(),
        "writer_while_log_is_moved_worst_ms": moving.worst_ms(),
        "writer_after_worst_ms": after.worst_ms(),
        "commits_during": during.commits,
        "quick_check": sound,
    });
    let out = target().join("bench/snapshot.json");
    fs::create_dir_all(out.parent().unwrap()).unwrap();
    fs::write(&out, figures.to_string()).unwrap();
    let mut stdout = std::io::stdout().lock();
    for (name, value) in figures.as_object().unwrap() {
        writeln!(stdout, "{name:<28} {value}").unwrap();
    }
    writeln!(stdout, "goals: snapshot_to_plain_copy at least 0.5, worst below 1000 ms").unwrap();
}

fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn timed(dir: &Path, copy: impl FnOnce(&Path)) -> Duration {
    let path = dir.join("timed");
    let began = Instant::now();
    copy(&path);
    let took = began.elapsed();
    fs::remove_file(path).unwrap();
    took
}

/// Somebody who delivers batches of 256 without pause.
struct Feeder {
    stop: Arc<AtomicBool>,
    times: Arc<Mutex<Lap>>,
    task: std::thread::JoinHandle<()>,
}

#[derive(Clone, Default)]
struct Lap {
    commits: u64,
    worst: Duration,
    spent: Duration,
}

impl Lap {
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    fn rate(&self) -> f64 {
        self.commits as f64 * BATCH as f64 / self.spent.as_secs_f64()
    }

    fn worst_ms(&self) -> f64 {
        self.worst.as_secs_f64() * 1e3
    }
}

impl Feeder {
    fn start(runtime: &tokio::runtime::Runtime, store: &StoreHandle) -> Self {
        let (stop, times) =
            (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Lap::default())));
        let (store, stopped, lap) = (store.clone(), stop.clone(), times.clone());
        let runtime = runtime.handle().clone();
        let task = std::thread::spawn(move || {
            let mut journal = Journal::new(WRITER);
            while !stopped.load(Ordering::Acquire) {
                let delivery = journal.delivery(BATCH);
                let began = Instant::now();
                runtime
                    .block_on(store.write(move |store| store.apply(&delivery)))
                    .unwrap()
                    .unwrap();
                let took = began.elapsed();
                let mut lap = lap.lock().unwrap();
                lap.commits += 1;
                lap.worst = lap.worst.max(took);
                lap.spent += took;
            }
        });
        Self { stop, times, task }
    }

    fn lap(&self) -> Lap {
        std::mem::take(&mut self.times.lock().unwrap())
    }

    fn stop(self) -> Lap {
        self.stop.store(true, Ordering::Release);
        self.task.join().unwrap();
        self.times.lock().unwrap().clone()
    }
}
