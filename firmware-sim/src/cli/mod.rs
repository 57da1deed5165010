//! The command line: `run` hosts the boards, every other command talks to a running simulator.
//!
//! stdout is data, stderr is messages. Exit codes are the `EXIT_…` constants. `command` has the
//! commands that talk to a simulator (`unit` the options of one of them), `text` is what people see instead of JSON.

mod command;
mod text;
mod unit;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::api;
use crate::api::message::{
    LinePlug, LineProtocol, Ready, ReadyController, ReadyLine, ReadyStation,
};
use crate::client::{self, ClientError};
use crate::config::{Config, ConfigError};
use crate::host::line::SiteLine;
use crate::host::modbus::ModbusServer;
use crate::host::{HostError, Running};
use crate::ledger::LedgerError;
use command::Ask;

/// Anything without a code of its own.
pub const EXIT_FAILED: u8 = 1;
/// The configuration cannot be used. (2 is clap's, for the command line itself.)
pub const EXIT_CONFIG: u8 = 10;
/// The ledger cannot be kept.
pub const EXIT_LEDGER: u8 = 11;
/// An address cannot be listened on.
pub const EXIT_BIND: u8 = 12;
/// No simulator answers.
pub const EXIT_UNREACHABLE: u8 = 13;
/// The simulator refused.
pub const EXIT_REFUSED: u8 = 14;

/// How long requests to the control API may take to end when the simulator stops.
const GRACE: Duration = Duration::from_secs(1);

/// Simulated door controllers.
#[derive(Debug, Parser)]
#[command(name = "postern-sim", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Host the controllers of a configuration until SIGTERM or SIGINT
    Run {
        /// The configuration file
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// Say when and where it is ready as one JSON line
        #[arg(long)]
        json: bool,
    },
    #[command(flatten)]
    Ask(Box<Ask>),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("cannot {what}")]
    Io {
        what: &'static str,
        #[source]
        source: io::Error,
    },
}

impl CliError {
    fn code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Host(HostError::Unit { .. }) => EXIT_CONFIG,
            Self::Host(HostError::Ledger(_)) => EXIT_LEDGER,
            Self::Host(HostError::Bind { .. } | HostError::Line { .. }) => EXIT_BIND,
            Self::Client(ClientError::Unreachable { .. }) => EXIT_UNREACHABLE,
            Self::Client(ClientError::Refused { .. }) => EXIT_REFUSED,
            Self::Io { .. } => EXIT_FAILED,
        }
    }

    fn hint(&self) -> &str {
        match self {
            Self::Config(ConfigError::Read { .. }) => "name the file with -c FILE",
            Self::Config(ConfigError::Wrong { .. }) => "correct the line and start again",
            Self::Host(HostError::Ledger(LedgerError::InUse { .. })) => {
                "stop the other simulator, or give this one a ledger of its own"
            }
            Self::Host(HostError::Ledger(_)) => {
                "make the ledger readable and writable and its disk not full, or name another"
            }
            Self::Host(HostError::Bind { .. }) => "port 0 takes any free port",
            Self::Host(HostError::Line { .. }) => {
                "give its pty a path that is free and can be written, or its tcp port 0, which is any free one"
            }
            Self::Host(HostError::Unit { .. }) => {
                "correct the unit, or its profile, in the configuration"
            }
            Self::Client(ClientError::Unreachable { .. }) => {
                "`postern-sim run` says the address of its API when it is ready"
            }
            Self::Client(ClientError::Refused { refusal, .. }) => &refusal.hint,
            Self::Io { .. } => "see the message of the system",
        }
    }
}

/// Runs a command line.
pub fn main(cli: Cli) -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    let result = tokio::runtime::Runtime::new()
        .map_err(|source| CliError::Io { what: "start the runtime", source })
        .and_then(|runtime| runtime.block_on(execute(cli.command)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Who closed the pipe has seen enough.
        Err(CliError::Io { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            let mut stderr = anstream::stderr().lock();
            let mut source: &dyn std::error::Error = &error;
            let _ = write!(stderr, "error: {error}");
            while let Some(next) = source.source() {
                let _ = write!(stderr, ": {next}");
                source = next;
            }
            let _ = writeln!(stderr, "\nhint: {}", error.hint());
            ExitCode::from(error.code())
        }
    }
}

async fn execute(command: Command) -> Result<(), CliError> {
    let request = match command {
        Command::Run { config, json } => return run(&config, json).await,
        Command::Ask(ask) => ask.request(),
    };
    let reply = client::call(request.to.api, &request.path, request.body).await?;
    let text = if request.to.json { format!("{reply}\n") } else { text::reply(&reply) };
    print(&text)
}

async fn run(path: &Path, as_json: bool) -> Result<(), CliError> {
    let io = |what| move |source| CliError::Io { what, source };
    // Before anything else, so that no signal is missed.
    let mut terminate = signal(SignalKind::terminate()).map_err(io("listen for SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(io("listen for SIGINT"))?;

    let config = Config::load(path)?;
    let bind_error = |source| HostError::Bind {
        what: "the control API".to_owned(),
        address: config.api.to_string(),
        source,
    };
    let listener = api::bind(config.api).await.map_err(bind_error)?;
    let address = listener.local_addr().map_err(bind_error)?;
    let running = Running::start(&config).await?;
    let stop = running.stopping().clone();
    let mut api = tokio::spawn(api::serve(listener, running.site().clone(), stop.clone()));

    let (ledger, _) = running.site().ledger();
    let controllers = running.site().boards().values();
    let lines = running.site().lines().values().map(ready_line);
    let ready = Ready {
        schema: Ready::SCHEMA.to_owned(),
        api: address,
        discovery: running.site().discovery(),
        controllers: controllers
            .map(|board| ReadyController { serial: board.serial(), address: board.address() })
            .collect(),
        lines: lines.chain(running.site().servers().values().map(|at| ready_server(at))).collect(),
        ledger,
    };
    let said = print(&if as_json { format!("{}\n", json!(ready)) } else { text::ready(&ready) });

    if said.is_ok() {
        // Cancel-safety: all three only wait.
        tokio::select! {
            () = stop.cancelled() => {}
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
        }
    }
    let stopped = running.stop().await;
    // The requests in flight hear of it; a client that keeps its connection open keeps nothing.
    if tokio::time::timeout(GRACE, &mut api).await.is_err() {
        api.abort();
    }
    stopped?;
    said
}

fn ready_line(line: &SiteLine) -> ReadyLine {
    let stations = line.stations().iter();
    ReadyLine {
        name: line.name().to_owned(),
        protocol: api::protocol_of(line),
        plug: api::plug_of(line),
        stations: stations
            .map(|station| ReadyStation { serial: station.serial(), address: station.address() })
            .collect(),
    }
}

fn ready_server(server: &ModbusServer) -> ReadyLine {
    let units = server.units().values();
    ReadyLine {
        name: server.name().to_owned(),
        protocol: LineProtocol::ModbusTcp,
        plug: LinePlug::Tcp(server.address()),
        stations: units
            .map(|unit| ReadyStation { serial: unit.serial(), address: unit.unit() })
            .collect(),
    }
}

fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = anstream::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|source| CliError::Io { what: "write to stdout", source })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_has_json() {
        let cli = Cli::command();
        cli.clone().debug_assert();
        for command in cli.get_subcommands() {
            let json = command.get_arguments().any(|argument| argument.get_id() == "json");
            assert!(json, "{}", command.get_name());
        }
    }
}
