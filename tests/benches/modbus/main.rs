//! What a line of Modbus units is polled at: `cargo bench -p postern-tests --bench modbus`.
//!
//! Thirty simulated units on a simulated RTU line behind a real pty, whose thread lets each byte take its time; the
//! gateway's own driver, collector and journal read them, in this process, as their configuration says. A unit begins
//! its answer 3.5 characters after a request, when the silence has told it that the request is whole, and takes no
//! time of its own. So what the line can carry in theory is known: for each request its 8 characters, those of its
//! answer, and the 3.5 characters of silence that the specification demands before each of the two frames.
//!
//! A look is all requests that a unit is asked at once. Looks are counted on the line, by the frames with which units
//! answered, and never by what the gateway says of itself. Beside the gateway stands a bare loop of the same client
//! library over the same kind of line, which leaves no silence at all; over TCP one that asks the same units the same
//! things. What is compared with a goal is printed and written, never asserted: `-- --quick` gives the same keys from
//! fewer samples.
//!
//! Run it on an idle machine.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use common::Outcome;
use common::disk::{self, Directory};
use common::report::Goal::{self, AtLeast};
use common::report::Report;

mod bare;
#[expect(dead_code, reason = "the gateway's benchmarks use all of it")]
#[path = "../../../gateway/benches/common/mod.rs"]
mod common;
mod dead;
mod field;
mod kind;
mod round;
mod site;
mod station;
mod swipe;
mod tcp;

/// The goals, by key, and what the figure says.
const GOALS: [(&str, Goal, &str); 1] = [(
    "poll_30_units_vs_theory",
    AtLeast(0.8),
    "looks a second at 30 units of two requests, of what the line can carry",
)];

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Extent {
    /// Sites that are begun anew for each row, and the windows in which looks are counted at each.
    rounds: usize,
    windows: usize,
    /// How long a window is.
    window: Duration,
    /// How many swipes there are at each site then.
    swipes: usize,
    /// For how long a site is watched when one of its units has fallen silent.
    dead_window: Duration,
    /// Windows of a bare loop and of a gateway over TCP, in turns.
    tcp_rounds: usize,
    tcp_window: Duration,
}

const FULL: Extent = Extent {
    rounds: 3,
    windows: 6,
    window: Duration::from_millis(2_500),
    swipes: 70,
    dead_window: Duration::from_secs(15),
    tcp_rounds: 10,
    tcp_window: Duration::from_secs(1),
};
const QUICK: Extent = Extent {
    rounds: 1,
    windows: 2,
    window: Duration::from_secs(2),
    swipes: 24,
    dead_window: Duration::from_secs(15),
    tcp_rounds: 4,
    tcp_window: Duration::from_millis(500),
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
    let directory = Directory::create(target.join("bench-data-modbus"))?;
    let machine = disk::machine(directory.path())?;
    let mut report = Report::begin("postern-bench-modbus-1", &GOALS, machine);
    let bench = Bench { extent, directory };
    let sections: [(&str, Section); 2] = [
        ("30 units on a line: looks, swipes, one that falls silent", round::measure),
        ("30 units behind a connection", tcp::measure),
    ];
    for (name, section) in sections {
        writeln!(io::stderr().lock(), "measuring: {name}")?;
        section(&bench, &mut report).map_err(|error| format!("{name}: {error}"))?;
    }
    let path = target.join("bench/modbus.json");
    report.print(&mut io::stdout().lock())?;
    report.write(&path)?;
    writeln!(io::stderr().lock(), "written to {}", path.display())?;
    Ok(())
}

type Section = fn(&Bench, &mut Report) -> Outcome<()>;
