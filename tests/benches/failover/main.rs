//! How long it takes until another one serves, after the one that served has failed:
//! `cargo bench -p postern-tests --bench failover`.
//!
//! Each system is a cluster of three processes on loopback with its data on this machine's disk, and as its
//! package configures it where nothing is said below. What is killed is killed with SIGKILL, and is started
//! again before the next time.
//!
//! - [`ours`]: a site with a witness under traffic: the active server is killed, killed while it leads the
//!   voters, frozen, and hands over: until the other server has stored a transaction.
//! - [`nats`]: a stream of NATS `JetStream` with three replicas, whose leader is killed: until a publication is
//!   acknowledged again.
//! - [`etcd`]: a key with a lease of five seconds, whose holder is killed: until the key is gone for a watcher.
//! - [`quiet`]: how often our role changes in minutes in which no server fails, while everything is slow.
//! - [`far`]: our voters and the gateway in different data centres: 80 ms each way, and every hundredth piece is lost.
//!
//! Goals are printed beside the figures, and never asserted; but a run that the checker does not judge good is
//! an error. `-- --quick` gives the same keys from fewer samples, `-- --only=PART` measures one part: what was
//! not measured is `null`.
//!
//! A part adds to the [`Report`], which makes one table and one file of all. Where another system is not installed a
//! line on stderr that begins with `SKIPPED` says so, and its keys are `null`; with `POSTERN_REQUIRE=1` that is an
//! error.
//!
//! Run it on an idle machine.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::io::{self, Write};
use std::process::ExitCode;

use common::Outcome;
use common::disk::{self, Directory};
use report::{Line, Report};

#[expect(dead_code, reason = "the gateway's benchmarks use all of it")]
#[path = "../../../gateway/benches/common/mod.rs"]
mod common;
mod etcd;
mod far;
mod member;
mod nats;
mod ours;
mod quiet;
mod report;
mod run;

/// What every part works with.
struct Bench {
    quick: bool,
    directory: Directory,
}

/// A part of the benchmark.
struct Part {
    /// By what it is asked for alone.
    name: &'static str,
    measure: fn(&Bench, &mut Report) -> Outcome<()>,
}

const PARTS: [Part; 5] = [
    Part { name: "ours", measure: ours::measure },
    Part { name: "nats", measure: |bench, report| peer(&nats::SYSTEM, bench, report) },
    Part { name: "etcd", measure: |bench, report| peer(&etcd::SYSTEM, bench, report) },
    Part { name: "quiet", measure: quiet::measure },
    Part { name: "far", measure: far::measure },
];

/// Another system in the comparison.
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

fn peer(system: &System, bench: &Bench, report: &mut Report) -> Outcome<()> {
    let System { key, name, until, measure } = system;
    let samples = measure(bench)?;
    if let Some(samples) = &samples {
        report.spread(key, samples);
    }
    report.line(Line { what: name, until, samples: samples.unwrap_or_default() });
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        // This program is the process that holds a lease and is killed, as well.
        [etcd::HOLD, address, lease] => etcd::hold(address, lease),
        _ => chosen(&arguments).and_then(|(quick, parts)| run(quick, &parts)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr().lock(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether it is to be quick, and what is to be measured.
fn chosen(arguments: &[&str]) -> Outcome<(bool, Vec<Part>)> {
    let (mut quick, mut only) = (false, None);
    for argument in arguments {
        match (*argument, argument.strip_prefix("--only=")) {
            ("--quick", _) => quick = true,
            // By cargo.
            ("--bench", _) => {}
            (_, Some(name)) if PARTS.iter().any(|part| part.name == name) => {
                only = Some(name.to_owned());
            }
            _ => {
                let names = PARTS.map(|part| part.name).join(", ");
                let hint = format!("hint: --quick, and --only= with one of {names}");
                return Err(format!("{argument:?} means nothing here\n{hint}").into());
            }
        }
    }
    let wanted = |part: &Part| only.as_ref().is_none_or(|name| name == part.name);
    Ok((quick, PARTS.into_iter().filter(wanted).collect()))
}

fn run(quick: bool, parts: &[Part]) -> Outcome<()> {
    let target = disk::target()?;
    let directory = Directory::create(target.join("bench-data-failover"))?;
    let machine = disk::machine(directory.path())?;
    let bench = Bench { quick, directory };
    let mut report = Report::begin(machine);
    for Part { name, measure } in parts {
        writeln!(io::stderr().lock(), "measuring: {name}")?;
        measure(&bench, &mut report).map_err(|error| format!("{name}: {error}"))?;
    }
    let path = target.join("bench/failover.json");
    report.print(&mut io::stdout().lock())?;
    report.write(&path)?;
    writeln!(io::stderr().lock(), "written to {}", path.display())?;
    Ok(())
}

/// What is going on, for whoever waits.
fn note(what: &str) -> Outcome<()> {
    Ok(writeln!(io::stderr().lock(), "  {what}")?)
}
