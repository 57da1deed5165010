//! How near the journal comes to the disk: `cargo bench -p postern-gateway --bench journal`.
//!
//! One run measures, side by side on one disk and with the same entries: raw write and fdatasync
//! (the limit), the journal at its shipped defaults, redb with one key for each record, `SQLite` in
//! WAL mode with `synchronous=FULL`. Rounds are interleaved and every ratio is taken within a round,
//! so that a disk that slows down slows all of them. What is compared with a goal is printed and
//! written, never asserted: figures depend on the machine. `-- --quick` gives the same keys from
//! fewer samples.
//!
//! Run it on an idle machine: where another process keeps the processors busy, what is measured is
//! the time until the scheduler wakes whoever waits for the disk.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use common::Outcome;
use disk::Directory;
use report::Report;

mod backlog;
mod child;
mod commit;
#[path = "../common/mod.rs"]
mod common;
mod contender;
mod disk;
mod flash;
mod group;
mod limit;
mod load;
mod measure;
mod one_key;
mod ours;
mod report;
mod ring;
mod sqlite;
mod subject;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Extent {
    /// Interleaved rounds of everything that is compared.
    rounds: usize,
    /// Commits of each subject in a round.
    commits: usize,
    /// Transactions through the ring.
    ring_entries: u64,
    /// Kills with a full backlog.
    kills: usize,
    /// Seconds at the sustained rate.
    flash_seconds: u64,
}

const FULL: Extent =
    Extent { rounds: 21, commits: 40, ring_entries: 10_000_000, kills: 7, flash_seconds: 30 };
const QUICK: Extent =
    Extent { rounds: 7, commits: 25, ring_entries: 1_000_000, kills: 3, flash_seconds: 10 };

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((first, rest)) if first == child::ARGUMENT => child::run(rest),
        // cargo passes `--bench`.
        _ => run(if arguments.iter().any(|a| a == "--quick") { QUICK } else { FULL }),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr().lock(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(extent: Extent) -> Outcome<()> {
    let target = disk::target()?;
    let directory = Directory::create(target.join("bench-data"))?;
    let mut report =
        Report::begin("postern-bench-journal-1", &report::GOALS, disk::machine(directory.path())?);
    let sections: [(&str, Section); 5] = [
        ("one appender that waits", commit::measure),
        ("appenders in flight", group::measure),
        ("the ring", ring::measure),
        ("a backlog of a million, killed and drained", backlog::measure),
        ("20 transactions a second, flash profile", flash::measure),
    ];
    for (name, section) in sections {
        writeln!(io::stderr().lock(), "measuring: {name}")?;
        section(extent, &directory, &mut report)?;
    }
    let path: PathBuf = target.join("bench/journal.json");
    report.print(&mut io::stdout().lock())?;
    report.write(&path)?;
    writeln!(io::stderr().lock(), "written to {}", path.display())?;
    Ok(())
}

type Section = fn(Extent, &Directory, &mut Report) -> Outcome<()>;
