//! `postern`: the site gateway and its command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(postern_gateway::cli::main(std::env::args_os()))
}
