//! The simulator's binary; everything is in the library.

use std::process::ExitCode;

use clap::Parser;
use postern_sim::cli::{self, Cli};

fn main() -> ExitCode {
    cli::main(Cli::parse())
}
