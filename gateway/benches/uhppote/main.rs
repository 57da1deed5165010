//! How near collecting from UHPPOTE boards comes to the wire and the disk:
//! `cargo bench -p postern-gateway --bench uhppote`.
//!
//! One run measures, side by side against the same simulated boards: a bare loop that asks for one
//! event after the other (the limit of a protocol with one request in flight), the gateway's own
//! driver, collector and journal at their defaults, and the client of `PyPI`'s `uhppoted`. Rounds
//! are interleaved and every ratio is taken within a round. The gateway's event counts when it is
//! durable; the others keep nothing. The boards run in a process of their own, which this program
//! builds; they share the processors with whoever asks them. What is compared with a goal is printed
//! and written, never asserted: figures depend on the machine. `-- --quick` gives the same keys from
//! fewer samples.
//!
//! Run it on an idle machine.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::io::{self, Write};
use std::process::ExitCode;

use common::Outcome;
use common::disk::{self, Directory};
use common::report::Goal::{self, AtLeast, AtMost};
use common::report::Report;
use peer::Peer;

mod apart;
mod backfill;
mod bare;
mod binary;
#[path = "../../../tests/src/harness/cargo.rs"]
mod cargo;
#[path = "../common/mod.rs"]
mod common;
mod gateway;
mod idle;
mod parallel;
mod peer;
mod push;
mod simulator;
mod sync;

/// The goals, by key, and what the figure says.
const GOALS: [(&str, Goal, &str); 6] = [
    ("backfill_udp_vs_loop", AtLeast(0.8), "back-fill over UDP, of a bare loop"),
    ("backfill_tcp_vs_loop", AtLeast(0.8), "back-fill over TCP, of a bare loop"),
    ("backfill_200_vs_loops", AtLeast(0.8), "200 boards at once over UDP, of 200 bare loops"),
    ("parallel_200_vs_1", AtLeast(150.0), "200 boards that take 20 ms, times one of them"),
    ("idle_200_cpu_share", AtMost(0.01), "of one processor with 200 quiet boards"),
    ("push_to_durable_vs_fdatasync", AtMost(3.0), "push to durable, times a bare fdatasync"),
];

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Extent {
    /// Interleaved rounds of what is compared.
    rounds: usize,
    /// Events of the one board.
    events: u32,
    /// Of these, how many the Python client reads in a round: its rate is the same for any number.
    peer_events: u32,
    /// Rounds with 200 boards.
    parallel_rounds: usize,
    /// Events of each of the 200.
    events_each: u32,
    /// Looks at how busy the gateway is while nothing happens.
    idle_windows: usize,
    /// Pushes.
    pushes: usize,
}

const FULL: Extent = Extent {
    rounds: 7,
    events: 100_000,
    peer_events: 10_000,
    parallel_rounds: 5,
    events_each: 500,
    idle_windows: 5,
    pushes: 200,
};
const QUICK: Extent = Extent {
    rounds: 7,
    events: 20_000,
    peer_events: 4_000,
    parallel_rounds: 3,
    events_each: 150,
    idle_windows: 3,
    pushes: 60,
};

/// What every section works with.
struct Bench {
    extent: Extent,
    directory: Directory,
    simulator: binary::Simulator,
    /// `None` where it cannot be had.
    peer: Option<Peer>,
}

fn main() -> ExitCode {
    let quick = std::env::args().any(|argument| argument == "--quick");
    match run(if quick { QUICK } else { FULL }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr().lock(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(extent: Extent) -> Outcome<()> {
    let target = disk::target()?;
    let simulator = binary::Simulator::build()?;
    let peer = Peer::prepare(&target)?;
    let directory = Directory::create(target.join("bench-data-uhppote"))?;
    let machine = disk::machine(directory.path())?;
    let mut report = Report::begin("postern-bench-uhppote-1", &GOALS, machine);
    let bench = Bench { extent, directory, simulator, peer };
    let sections: [(&str, Section); 4] = [
        ("back-fill from one board", backfill::measure),
        ("200 boards at once", parallel::measure),
        ("200 quiet boards", idle::measure),
        ("from a push to the disk", push::measure),
    ];
    for (name, section) in sections {
        writeln!(io::stderr().lock(), "measuring: {name}")?;
        section(&bench, &mut report).map_err(|error| format!("{name}: {error}"))?;
    }
    let path = target.join("bench/uhppote.json");
    report.print(&mut io::stdout().lock())?;
    report.write(&path)?;
    writeln!(io::stderr().lock(), "written to {}", path.display())?;
    Ok(())
}

type Section = fn(&Bench, &mut Report) -> Outcome<()>;
