//! `postern-server`: see the library for what it does.

fn main() -> std::process::ExitCode {
    postern_server::cli::main()
}
