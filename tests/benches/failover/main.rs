//! How long it takes until another one serves, after the one that served was killed:
//! `cargo bench -p postern-tests --bench failover`.
//!
//! Each system is a cluster of three processes on loopback with its data on this machine's disk, and as its
//! package configures it where nothing is said below. What is killed is killed with SIGKILL, and is started
//! again before the next time. Nothing is asserted: `-- --quick` gives the same keys from fewer samples.
//!
//! - [`nats`]: a stream of NATS `JetStream` with three replicas, whose leader is killed: until a publication is
//!   acknowledged again.
//! - [`etcd`]: a key with a lease of five seconds, whose holder is killed: until the key is gone for a watcher.
//!
//! A system is a file with a [`System`]; [`report`] makes one table and one file of all. Where a system is not
//! installed a line on stderr that begins with `SKIPPED` says so, and its keys are `null`; with
//! `POSTERN_REQUIRE=1` that is an error.
//!
//! Run it on an idle machine.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::io::{self, Write};
use std::process::ExitCode;

use common::Outcome;
use common::disk::{self, Directory};

#[expect(dead_code, reason = "the gateway's benchmarks use all of it")]
#[path = "../../../gateway/benches/common/mod.rs"]
mod common;
mod etcd;
mod member;
mod nats;
mod report;

/// What every system works with.
struct Bench {
    quick: bool,
    directory: Directory,
}

/// A system in the comparison.
struct System {
    /// Its key in the file, for the median in seconds.
    key: &'static str,
    /// Its name and what is killed.
    name: &'static str,
    /// Until when the time is taken.
    until: &'static str,
    /// Seconds, one for each time; `None` where it is not installed.
    measure: fn(&Bench) -> Outcome<Option<Vec<f64>>>,
}

const SYSTEMS: [System; 2] = [nats::SYSTEM, etcd::SYSTEM];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let result = match (arguments.next().as_deref(), arguments.next(), arguments.next()) {
        // This program is the process that holds a lease and is killed, as well.
        (Some(etcd::HOLD), Some(address), Some(lease)) => etcd::hold(&address, &lease),
        _ => run(std::env::args().any(|argument| argument == "--quick")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr().lock(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(quick: bool) -> Outcome<()> {
    let target = disk::target()?;
    let directory = Directory::create(target.join("bench-data-failover"))?;
    let machine = disk::machine(directory.path())?;
    let bench = Bench { quick, directory };
    let mut measured = Vec::new();
    for system in SYSTEMS {
        writeln!(io::stderr().lock(), "measuring: {}", system.name)?;
        let samples =
            (system.measure)(&bench).map_err(|error| format!("{}: {error}", system.name))?;
        measured.push((system, samples));
    }
    let path = target.join("bench/failover.json");
    report::print(&machine, &measured, &mut io::stdout().lock())?;
    report::write(&machine, &measured, &path)?;
    writeln!(io::stderr().lock(), "written to {}", path.display())?;
    Ok(())
}
