//! `cargo demo`: see the library's `demo` for the story. The last line of stdout is the verdict.

use std::io::Write as _;
use std::process::ExitCode;
use std::thread;

use clap::Parser;
use postern_tests::demo::{self, Options, Progress};
use postern_tests::harness::{Finished, Interrupt};
use serde_json::json;

fn main() -> ExitCode {
    let options = Options::parse();
    thread::spawn(raise_on_ctrl_c);
    let mut progress = Progress::new(options.json);
    match demo::run(&options, &mut progress) {
        Ok(finished) => report(&options, &finished),
        Err(error) => {
            let _ = writeln!(anstream::stderr(), "error: {error}");
            if let Some(dir) = progress.dir() {
                let _ = writeln!(anstream::stderr(), "kept: {} (logs are in logs/)", dir.display());
            }
            ExitCode::FAILURE
        }
    }
}

/// The first Ctrl-C ends every wait, so that all processes are ended on the ordinary way out.
fn raise_on_ctrl_c() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    if let Ok(runtime) = runtime
        && runtime.block_on(tokio::signal::ctrl_c()).is_ok()
    {
        Interrupt::raise();
    }
}

fn report(options: &Options, finished: &Finished) -> ExitCode {
    let verdict = &finished.verdict;
    let good = verdict.is_ok();
    let last = if options.json {
        let _ = write!(anstream::stderr(), "{}", verdict.conditions());
        json!({
            "schema": "postern.demo.v1",
            "verdict": if good { "ok" } else { "failed" },
            "line": verdict.line(),
            "counts": verdict.counts,
            "conditions": verdict.conditions,
            "seed": options.seed,
            "seconds": options.seconds,
            "controllers": options.controllers,
        })
        .to_string()
    } else {
        let _ = write!(anstream::stdout(), "{}", verdict.conditions());
        verdict.line()
    };
    // A reader that has gone away has seen enough; the exit code still says it.
    let _ = writeln!(anstream::stdout(), "{last}");
    if good {
        if let Err(error) = finished.remove() {
            let _ = writeln!(anstream::stderr(), "warning: {error}");
        }
        return ExitCode::SUCCESS;
    }
    for (condition, first) in verdict.first_findings() {
        let _ = writeln!(anstream::stderr(), "{condition:?} {first}");
    }
    let _ = writeln!(anstream::stderr(), "kept: {}", finished.dir.display());
    ExitCode::FAILURE
}
