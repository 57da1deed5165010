//! The longer runs: the scenarios of `cargo test` with more repetitions. Each prints its verdict
//! line last and ends with 0 or 1.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use postern_tests::harness::{Error, Finished};
use postern_tests::scenario;

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
    GatewayKills(Repeat),
    /// Kill the active server (SIGKILL); its peer takes over, or it comes back itself.
    ServerKills(Repeat),
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
    let finished = match &options.run {
        Run::GatewayKills(run) => scenario::gateway_kills(run.count, run.seed, &mut progress),
        Run::ServerKills(run) => scenario::server_kills(run.count, run.seed, &mut progress),
    };
    match finished.and_then(|finished| report(&finished)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            progress(format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
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
