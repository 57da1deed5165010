//! `cargo demo`: see the library's `demo` for the story. The last line of stdout is the verdict.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use clap::Parser;
use postern_tests::demo::{self, Options, Progress};
use postern_tests::harness::{Error, Finished, Interrupt};
use serde_json::json;

fn main() -> ExitCode {
    let options = Options::parse();
    thread::spawn(raise_on_ctrl_c);
    let mut progress = Progress::new(options.json);
    match demo::run(&options, &mut progress) {
        Ok(finished) => report(&options, &finished),
        Err(error) => {
            let _ = writeln!(anstream::stderr(), "error: {error}");
            match progress.dir() {
                // Who stops it does not want to look into it.
                Some(dir) if matches!(error, Error::Interrupted) => remove(&options, dir),
                Some(dir) => kept(dir),
                None => {}
            }
            ExitCode::FAILURE
        }
    }
}

fn kept(dir: &Path) {
    let dir = dir.display();
    let _ = writeln!(anstream::stderr(), "kept: {dir} (each process's log is in {dir}/logs)");
}

fn remove(options: &Options, dir: &Path) {
    if options.keep.is_none()
        && let Err(error) = fs::remove_dir_all(dir)
    {
        let _ = writeln!(anstream::stderr(), "warning: cannot remove {}: {error}", dir.display());
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
            "line_stations": options.line_stations,
        })
        .to_string()
    } else {
        let _ = write!(anstream::stdout(), "{}", verdict.conditions());
        verdict.line()
    };
    // A reader that has gone away has seen enough; the exit code still says it.
    let _ = writeln!(anstream::stdout(), "{last}");
    if good {
        remove(options, &finished.dir);
        return ExitCode::SUCCESS;
    }
    for (condition, first) in verdict.first_findings() {
        let _ = writeln!(anstream::stderr(), "{condition:?} {first}");
    }
    kept(&finished.dir);
    ExitCode::FAILURE
}
