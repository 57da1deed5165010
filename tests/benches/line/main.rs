//! What the controller link gets out of a serial line: `cargo bench -p postern-tests --bench line`.
//!
//! The stations are simulated controllers on a simulated line behind a real pty, whose thread lets each
//! byte take its time; the gateway's own driver, collector and journal read them, in this process, in
//! secured sessions with a key of each station's own. What is counted are events of twelve bytes (a card
//! number of 34 bits, time, door, direction, kind, reason) that are durable in the journal, and every byte
//! that passed on the line in both directions, handshakes included. Beside each rate stands what the line
//! would carry if each byte of it were an event's. How late the line itself is, without a gateway, is
//! measured in the same run. What is compared with a goal is printed and written, never asserted:
//! `-- --quick` gives the same keys from fewer samples.
//!
//! Run it on an idle machine.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::io::{self, Write};
use std::process::ExitCode;

use common::Outcome;
use common::disk::{self, Directory};
use common::report::Goal::{self, AtLeast, AtMost};
use common::report::Report;

mod codec;
#[expect(dead_code, reason = "the gateway's benchmarks use all of it")]
#[path = "../../../gateway/benches/common/mod.rs"]
mod common;
mod dead;
mod drain;
mod precision;
mod quiet;
mod site;
mod station;
mod swipe;

/// The goals, by key, and what the figure says.
const GOALS: [(&str, Goal, &str); 9] = [
    ("events_per_s_9600", AtLeast(40.0), "events a second from one station at 9,600 baud"),
    ("events_per_s_38400", AtLeast(160.0), "at 38,400"),
    ("events_per_s_115200", AtLeast(480.0), "at 115,200"),
    ("payload_share_9600", AtLeast(0.85), "events' own part of the bytes at 9,600"),
    ("payload_share_115200", AtLeast(0.85), "at 115,200"),
    ("noisy_vs_clean", AtLeast(0.6), "one bit in 10,000 wrong, of a line without errors"),
    ("poll_all_32_ms", AtMost(250.0), "ms in which each of 32 quiet stations is polled"),
    ("dead_station_cost", AtMost(0.02), "what one dead station of 32 takes from the others"),
    ("decode_ns_per_event", AtMost(1_000.0), "ns of both processors for an event"),
];

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Extent {
    /// Interleaved rounds of backlogs.
    rounds: usize,
    /// Events a round of one station at a speed; of four stations together.
    events_9600: u64,
    events_shared: u64,
    events_38400: u64,
    events_noisy: u64,
    events_115200: u64,
    /// Cycles of 32 quiet stations.
    cycles: usize,
    /// Rounds with and without a dead station, and events of each live one.
    dead_rounds: usize,
    events_each: u64,
    swipes: usize,
    /// Samples of pages that are encoded and decoded.
    pages: usize,
    /// Exchanges of a plain program.
    exchanges: usize,
}

const FULL: Extent = Extent {
    rounds: 2,
    events_9600: 2_400,
    events_shared: 2_800,
    events_38400: 3_200,
    events_noisy: 9_600,
    events_115200: 9_600,
    cycles: 160,
    dead_rounds: 3,
    events_each: 480,
    swipes: 100,
    pages: 60,
    exchanges: 800,
};
const QUICK: Extent = Extent {
    rounds: 1,
    events_9600: 1_200,
    events_shared: 1_600,
    events_38400: 2_400,
    events_noisy: 5_000,
    events_115200: 7_200,
    cycles: 48,
    dead_rounds: 3,
    events_each: 240,
    swipes: 32,
    pages: 20,
    exchanges: 300,
};

/// What every section works with.
struct Bench {
    extent: Extent,
    directory: Directory,
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
    let directory = Directory::create(target.join("bench-data-line"))?;
    let machine = disk::machine(directory.path())?;
    let mut report = Report::begin("postern-bench-line-1", &GOALS, machine);
    let bench = Bench { extent, directory };
    let sections: [(&str, Section); 6] = [
        ("the line itself", precision::measure),
        ("encoding and decoding", codec::measure),
        ("backlogs", drain::measure),
        ("32 quiet stations", quiet::measure),
        ("a dead station among 32", dead::measure),
        ("from a swipe to the disk", swipe::measure),
    ];
    for (name, section) in sections {
        writeln!(io::stderr().lock(), "measuring: {name}")?;
        section(&bench, &mut report).map_err(|error| format!("{name}: {error}"))?;
    }
    let path = target.join("bench/line.json");
    report.print(&mut io::stdout().lock())?;
    report.write(&path)?;
    writeln!(io::stderr().lock(), "written to {}", path.display())?;
    Ok(())
}

type Section = fn(&Bench, &mut Report) -> Outcome<()>;
