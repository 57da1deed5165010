//! What the pair of servers takes in, copies, finds and holds: `cargo bench -p postern-server --bench store`.
//!
//! One run measures, on one disk: the store alone beside bare `SQLite`; questions to a store of 10 million
//! transactions (`-- --quick` 1 million); a full copy of it from one server process to another; batches
//! posted by gateways over TLS to a pair of processes, and how long after an answer they are safe; a
//! thousand quiet gateways, and how long a thousand take to turn to another server. The gateways are in this
//! process, and share the processors with the servers.
//! What is compared with a goal is printed and written, never asserted. `-- --rows=N` for another store,
//! `-- --only=NAME` for one section.
#![allow(clippy::unwrap_used, missing_docs)]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::time::Duration;

use common::{Directory, say, target};
use report::Report;
use site::Pair;

mod busy;
#[path = "../common/mod.rs"]
mod common;
mod copy;
mod crowd;
mod lag;
mod load;
mod process;
mod question;
mod reference;
mod report;
#[path = "../../tests/common/mod.rs"]
mod site;
mod switch;
mod taken;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Extent {
    /// Transactions of the full store.
    rows: u64,
    /// Interleaved rounds of the store beside `SQLite`, and commits of each.
    rounds: usize,
    commits: usize,
    /// How long batches are posted.
    busy: Duration,
    /// How long the lag is looked at, at each load.
    lag: Duration,
    /// Times that each question is asked, with other values each time.
    questions: usize,
    /// How long the gateways are quiet.
    quiet: Duration,
    /// How often the role is handed over, with and without what spreads the gateways.
    switches: usize,
}

const FULL: Extent = Extent {
    rows: 10_000_000,
    rounds: 15,
    commits: 20,
    busy: Duration::from_secs(30),
    lag: Duration::from_secs(20),
    questions: 200,
    quiet: Duration::from_secs(30),
    switches: 5,
};
const QUICK: Extent = Extent {
    rows: 1_000_000,
    rounds: 5,
    commits: 10,
    busy: Duration::from_secs(10),
    lag: Duration::from_secs(8),
    questions: 100,
    quiet: Duration::from_secs(10),
    switches: 2,
};

/// What every section works with.
struct Bench {
    extent: Extent,
    directory: Directory,
    runtime: tokio::runtime::Runtime,
}

type Section = fn(&Bench, &mut Report);

const SECTIONS: [(&str, Section); 4] = [
    ("reference", reference::measure),
    ("full", full),
    ("fresh", fresh),
    ("switch", switch::measure),
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let given = |name: &str| arguments.iter().find_map(|argument| argument.strip_prefix(name));
    let mut extent = if quick { QUICK } else { FULL };
    if let Some(rows) = given("--rows=") {
        extent.rows = rows.parse().unwrap();
    }
    process::allow_many_files();
    let bench = Bench {
        extent,
        directory: Directory::create("bench-store"),
        runtime: tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap(),
    };
    let mut report = Report::begin();
    report.put("rows", extent.rows);
    for (name, section) in SECTIONS {
        if given("--only=").is_none_or(|only| only == name) {
            section(&bench, &mut report);
        }
    }
    report.print(&mut std::io::stdout().lock());
    report.write(&target().join("bench/store.json"));
}

/// A store with millions of transactions: questions, a copy, more of them.
fn full(bench: &Bench, report: &mut Report) {
    let site = Pair::first_alone_in(bench.directory.path());
    copy::fill(bench, &site, report);
    question::measure(bench, &site, report);
    let pair = copy::measure(bench, site, report);
    busy::measure(bench, &pair, report, "_filled");
}

/// A pair that has nothing yet: batches, how soon they are safe, quiet gateways.
fn fresh(bench: &Bench, report: &mut Report) {
    let site = Pair::first_alone_in(bench.directory.path());
    site.join();
    say("a new pair");
    let pair = process::Servers::start(bench, site);
    let limit = busy::measure(bench, &pair, report, "");
    lag::measure(bench, &pair, report, limit);
    drop(pair);
    crowd::measure(bench, report);
}
