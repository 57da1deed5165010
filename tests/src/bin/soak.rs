//! The longer runs: the scenarios of `cargo test` with more repetitions. Each prints its verdict
//! line last and ends with 0 or 1.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum as _};
use postern_tests::harness::{Board, Error, Finished};
use postern_tests::scenario::{
    self, Changed, Changes, Crowd, Damaged, Fault, Kills, Outage, Rebuild,
};
use postern_tests::simulation::{self, Flaw};

/// Repeats a fault at random moments under traffic, and judges the run.
#[derive(Parser)]
#[command(name = "soak", version)]
struct Options {
    #[command(subcommand)]
    run: Run,
}

#[derive(Subcommand)]
enum Run {
    /// Kill the gateway (SIGKILL) and start it again.
    GatewayKills(GatewayKills),
    /// Kill the active server (SIGKILL); its peer takes over, or it comes back itself.
    ServerKills(Repeat),
    /// Let the active server fail in every way, again and again; the other one takes over by itself.
    Failovers(Failovers),
    /// Take away what automatic failover stands on, one after the other: gateways, voters, their files, disks and
    /// clocks. Some need root.
    Outages(Outages),
    /// Cut the ways between the two servers and the witness, each direction by itself, in every combination. Needs root.
    Partitions(Partitions),
    /// Change the active server under load: handed over, or forced after its death.
    RoleChanges(RoleChanges),
    /// Rebuild the standby by a full copy under load, which is broken off twice.
    Rebuild(Rebuilding),
    /// Many boards on bad lines, logs that begin anew and overflow, other hosts, and a gateway that
    /// is killed.
    Many(Many),
    /// Kill the gateway (SIGKILL) while it reads devices of somebody else that speak Modbus, which misbehave. Needs a
    /// Python with pymodbus.
    Modbus(Modbus),
    /// Damage the gateway's journal while it is down: bits, pages, its end.
    JournalRot(Rot),
    /// Flip bits in what the gateway's last commits wrote, after a kill.
    JournalStepsBack(Repeat),
    /// Kill a process that does nothing but write a journal, as fast as it can.
    JournalKills(Repeat),
    /// Poll many stations on a line that flips, loses and invents bytes, in simulated time.
    LineNoise(Noisy),
    /// Every fault in any order around two servers, a witness and gateways, in simulated time.
    FailoverSimulation(Simulated),
    /// What `journal-kills` kills.
    #[command(hide = true)]
    JournalWriter {
        /// The journal.
        path: PathBuf,
    },
}

/// For how long the active server may store nothing while its peer is rebuilt.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How many bytes a second a copy gets that is to be broken off in the middle.
const SLOW_COPY: u64 = 8 << 20;

#[derive(clap::Args)]
struct Outages {
    /// How often each.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Which, in turn; every one where none is named.
    #[arg(long, value_delimiter = ',')]
    faults: Vec<Outage>,
    /// On how many sites at once.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    lanes: u8,
    /// Where chance begins.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(clap::Args)]
struct Partitions {
    /// How many of the 64 combinations of the six one-way links: all, or as many drawn at random.
    #[arg(long, default_value_t = scenario::SETS, value_parser = clap::value_parser!(u8).range(1..=64))]
    count: u8,
    /// On how many sites at once.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=16))]
    lanes: u8,
    /// The same seed draws the same combinations in the same order.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(clap::Args)]
struct Failovers {
    #[command(flatten)]
    repeat: Repeat,
    /// How it fails, in turn; every way where none is named.
    #[arg(long, value_delimiter = ',')]
    faults: Vec<Fault>,
    /// How many swipes happen, 300 a second, before a frozen server goes on that was replaced.
    #[arg(long, default_value_t = 3_000)]
    frozen: u64,
}

#[derive(clap::Args)]
struct RoleChanges {
    /// How often.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    count: u32,
    /// How many swipes at least, over all boards.
    #[arg(long, default_value_t = 100_000)]
    swipes: u32,
    /// How many of them in a second.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// How many boards.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=400))]
    controllers: u32,
    /// The same seed makes the same changes after about the same numbers of swipes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(clap::Args)]
struct Rebuilding {
    /// How many swipes are stored before.
    #[arg(long, default_value_t = 300_000)]
    stored: u32,
    /// How many happen in a second meanwhile.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// How many boards.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=400))]
    controllers: u32,
    /// Where chance begins.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(clap::Args)]
struct Many {
    /// How many boards; every second one is talked to over TCP.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=400))]
    controllers: u32,
    /// How many swipes at least, over all boards.
    #[arg(long, default_value_t = 1_000_000)]
    swipes: u32,
    /// How many of them in a second.
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// How often the gateway is killed.
    #[arg(long, default_value_t = 20)]
    kills: u32,
    /// Where chance begins.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(clap::Args)]
struct Modbus {
    /// How often the gateway is killed.
    #[arg(long, default_value_t = 30)]
    kills: u32,
    /// How often no server can be reached until the gateway's journal is full.
    #[arg(long, default_value_t = 4)]
    fills: u32,
    /// How many swipes there are at each unit.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    swipes: u32,
    /// How many in a second at each.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    rate: u32,
    /// How many units of each kind there are on either line.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=30))]
    each: u8,
    /// Where chance begins.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(clap::Args)]
struct Noisy {
    /// How many stations.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u8).range(1..=126))]
    stations: u8,
    /// How many events, over all of them.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// Where chance begins.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(clap::Args)]
struct Simulated {
    /// How many runs of two minutes of faults.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first one's seed; the others' follow it.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Make this mistake, to see which seeds find it.
    #[arg(long)]
    flaw: Option<Flaw>,
}

#[derive(clap::Args)]
struct GatewayKills {
    #[command(flatten)]
    repeat: Repeat,
    /// How many controllers hang on a serial line, besides the boards.
    #[arg(long, value_name = "STATIONS", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=32))]
    line: u8,
}

#[derive(clap::Args)]
struct Rot {
    #[command(flatten)]
    repeat: Repeat,
    /// The controllers hold everything that ever happened, so nothing may be missing in the end.
    #[arg(long)]
    roomy: bool,
}

#[derive(clap::Args)]
struct Repeat {
    /// How often.
    #[arg(long, default_value_t = 10)]
    count: u32,
    /// The same seed kills after the same numbers of transactions.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let mut progress = |line: String| {
        // Nobody needs progress so much that its loss would end a run.
        let _ = writeln!(anstream::stderr(), "{line}");
    };
    match judged(&options.run, &mut progress) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            progress(format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs it; whether all is well.
fn judged(run: &Run, progress: &mut dyn FnMut(String)) -> Result<bool, Box<dyn std::error::Error>> {
    match run {
        Run::JournalWriter { path } => scenario::write_for_ever(path).map(|never| match never {}),
        Run::JournalKills(run) => {
            let me = std::env::current_exe()
                .map_err(|source| Error::Start { process: "the writer".to_owned(), source })?;
            Ok(verdict(&scenario::journal_kills(&me, run.count, run.seed, progress)?))
        }
        Run::Partitions(run) => Ok(parted(run)?),
        Run::Modbus(run) => Ok(polled(run, progress)?),
        Run::Outages(run) => Ok(outages(run)),
        Run::LineNoise(Noisy { stations, events, seed }) => {
            let run = scenario::line_noise(*stations, *events, *seed, progress)?;
            progress(run.to_string());
            progress(run.verdict.conditions().to_string());
            let _ = writeln!(anstream::stdout(), "{}", run.verdict.line());
            Ok(run.verdict.is_ok())
        }
        Run::FailoverSimulation(run) => Ok(simulated(run, progress)),
        Run::GatewayKills(_)
        | Run::ServerKills(_)
        | Run::Failovers(_)
        | Run::RoleChanges(_)
        | Run::Rebuild(_)
        | Run::Many(_)
        | Run::JournalRot(_)
        | Run::JournalStepsBack(_) => Ok(report(&finish(run, progress)?)?),
    }
}

/// Runs what ends with a site that is judged.
fn finish(run: &Run, progress: &mut dyn FnMut(String)) -> Result<Finished, Error> {
    match run {
        Run::GatewayKills(GatewayKills { repeat, line }) => {
            scenario::gateway_kills(repeat.count, repeat.seed, *line, progress)
        }
        Run::ServerKills(run) => scenario::server_kills(run.count, run.seed, progress),
        Run::Failovers(run) => {
            let count = usize::try_from(run.repeat.count).unwrap_or(usize::MAX);
            let all = if run.faults.is_empty() { &Fault::ALL[..] } else { &run.faults };
            let faults: Vec<Fault> = all.iter().copied().cycle().take(count).collect();
            scenario::failovers(&faults, run.frozen, run.repeat.seed, progress)
        }
        Run::RoleChanges(RoleChanges { count, swipes, rate, controllers, seed }) => {
            let changes = Changes {
                count: *count,
                swipes: *swipes,
                rate: *rate,
                boards: *controllers,
                seed: *seed,
            };
            scenario::role_changes(changes, progress).map(changed)
        }
        Run::Rebuild(Rebuilding { stored, rate, controllers, seed }) => {
            let rebuild = Rebuild {
                stored: *stored,
                rate: *rate,
                boards: *controllers,
                slow: SLOW_COPY,
                bound: Some(LONGEST_PAUSE),
                seed: *seed,
            };
            scenario::rebuild(rebuild, progress).map(|run| {
                let _ = writeln!(anstream::stdout(), "{run}");
                run.finished
            })
        }
        Run::Many(Many { controllers, swipes, rate, kills, seed }) => {
            let crowd = Crowd {
                controllers: *controllers,
                swipes: *swipes,
                rate: *rate,
                kills: *kills,
                seed: *seed,
            };
            scenario::many(crowd, progress).map(|run| {
                let _ = writeln!(anstream::stdout(), "{run}");
                run.finished
            })
        }
        Run::JournalRot(Rot { repeat, roomy }) => {
            let board = if *roomy { Board::roomy } else { Board::small };
            scenario::journal_rot(repeat.count, repeat.seed, board, progress).map(figures)
        }
        Run::JournalStepsBack(run) => {
            scenario::journal_steps_back(run.count, run.seed, progress).map(figures)
        }
        Run::JournalWriter { .. }
        | Run::JournalKills(_)
        | Run::Partitions(_)
        | Run::Outages(_)
        | Run::Modbus(_)
        | Run::LineNoise(_)
        | Run::FailoverSimulation(_) => unreachable!("these are judged by themselves"),
    }
}

/// Cuts the voters off from each other in many ways.
fn parted(Partitions { count, lanes, seed }: &Partitions) -> Result<bool, Error> {
    let sets = scenario::some_sets(*count, *seed);
    let said = |line: String| {
        let _ = writeln!(anstream::stderr(), "{line}");
    };
    // Where there is none a line on stderr has said why.
    let runs = scenario::partitions(&sets, usize::from(*lanes), *seed, &said)?.unwrap_or_default();
    let mut all_well = true;
    for run in &runs {
        all_well &= report(run)?;
    }
    Ok(all_well)
}

/// Reads devices that speak Modbus, and is killed.
fn polled(run: &Modbus, progress: &mut dyn FnMut(String)) -> Result<bool, Error> {
    let Modbus { kills, fills, swipes, rate, each, seed } = *run;
    let run = scenario::Modbus { kills, fills, swipes, rate, each, seed };
    // Where there is none a line on stderr has said why.
    let Some(run) = scenario::modbus(run, progress)? else { return Ok(true) };
    run.lines().for_each(&mut *progress);
    progress(run.finished.verdict.conditions().to_string());
    if run.is_ok() {
        run.finished.remove()?;
    } else {
        progress(format!("kept: {}", run.finished.dir.display()));
    }
    let _ = writeln!(anstream::stdout(), "{run}");
    Ok(run.is_ok())
}

/// Each on a site of its own: what one leaves is nothing to the next.
fn outages(Outages { count, faults, lanes, seed }: &Outages) -> bool {
    let all = if faults.is_empty() { Outage::value_variants() } else { faults };
    let seeds = (*seed..).zip(0..*count).map(|(seed, _)| seed);
    let all = seeds.flat_map(|seed| all.iter().map(move |what| (*what, seed))).collect();
    // What is said of one is not torn apart by another.
    let all_well = Mutex::new(true);
    scenario::outages(all, usize::from(*lanes), &|(what, seed), took, run| {
        let mut all_well = all_well.lock().unwrap_or_else(PoisonError::into_inner);
        let said = |line: String| {
            let _ = writeln!(anstream::stderr(), "{what}, seed {seed}: {line}");
        };
        said(format!("over after {} s", took.as_secs()));
        match run.and_then(|run| run.as_ref().map(report).transpose()) {
            // Where there is none a line on stderr has said why.
            Ok(judged) => *all_well &= judged.unwrap_or(true),
            Err(error) => {
                *all_well = false;
                said(format!("error: {error}"));
            }
        }
    });
    all_well.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Prints what was wrong of which seed, and how often what happened in all of them.
fn simulated(run: &Simulated, progress: &mut dyn FnMut(String)) -> bool {
    let (mut wrong, mut slowest, mut seen) = (0_u64, 0, BTreeMap::<&str, u64>::new());
    let seeds: Vec<u64> = (run.seed..).zip(0..run.seeds).map(|(seed, _)| seed).collect();
    let each = seeds.len().div_ceil(thread::available_parallelism().map_or(1, usize::from)).max(1);
    // Each seed is a world of its own, so as many run at once as there are processors.
    let reports = thread::scope(|scope| {
        let runs: Vec<_> = seeds
            .chunks(each)
            .map(|seeds| {
                let all = || seeds.iter().map(|seed| simulation::run(*seed, run.flaw)).collect();
                scope.spawn(all)
            })
            .collect();
        let joined = runs.into_iter().map(|run| match run.join() {
            Ok(reports) => reports,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect::<Vec<Vec<simulation::Report>>>()
    });
    for report in reports.into_iter().flatten() {
        if report.wrong.is_some() {
            wrong += 1;
            progress(report.to_string());
        }
        slowest = report.settled_ms.max(slowest);
        for (what, times) in report.seen {
            *seen.entry(what).or_default() += times;
        }
    }
    for (what, times) in seen {
        progress(format!("{what}: {times}"));
    }
    let line = format!("seeds={} wrong={wrong} slowest_settled_ms={slowest}", run.seeds);
    let _ = writeln!(anstream::stdout(), "{line}");
    wrong == 0
}

/// Prints what was found after all the kills.
fn verdict(kills: &Kills) -> bool {
    for finding in &kills.findings {
        let _ = writeln!(anstream::stderr(), "{finding}");
    }
    let _ = writeln!(anstream::stdout(), "{kills}");
    kills.findings.is_empty()
}

/// Prints what each change of the role cost.
fn changed(run: Changed) -> Finished {
    let mut stdout = anstream::stdout().lock();
    for line in run.lines() {
        let _ = writeln!(stdout, "{line}");
    }
    let _ = writeln!(stdout, "{run}");
    run.finished
}

/// Prints what became of the journal each time.
fn figures(run: Damaged) -> Finished {
    let _ = writeln!(anstream::stdout(), "{run}");
    run.finished
}

fn report(finished: &Finished) -> Result<bool, Error> {
    let verdict = &finished.verdict;
    let mut stdout = anstream::stdout().lock();
    let _ = write!(anstream::stderr(), "{}", verdict.conditions());
    let _ = writeln!(stdout, "{}", verdict.line());
    if verdict.is_ok() {
        finished.remove()?;
    } else {
        let _ = writeln!(anstream::stderr(), "kept: {}", finished.dir.display());
    }
    Ok(verdict.is_ok())
}
