//! The command line `postern`. stdout is data, stderr is messages; every reading command has `--json`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError};
use crate::control::client::ControlError;
use crate::control::{Request, client};
use crate::daemon::DaemonError;
use crate::exit;
use crate::journal::JournalError;
use crate::keys::KeyError;

mod bus;
mod confirm;
mod controllers;
mod edit;
mod init;
mod journal;
mod new_file;
mod profile;
mod run;
mod show;

/// Shown below the help.
const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 usage, 10 configuration, 11 journal in use, \
12 journal failed, 13 cannot listen, 14 gateway not running, 15 controller does not answer or refuses, 16 what was compared differs.";

/// Site gateway for access control: reads door controllers, loses nothing, delivers once.
#[derive(Parser)]
#[command(name = "postern", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a configuration to begin with, in which every key is explained.
    Init(#[command(flatten)] init::Arguments),
    /// Run the gateway in the foreground until SIGTERM or Ctrl-C.
    Run {
        #[command(flatten)]
        common: Common,
        /// What to log, such as `info` or `postern_gateway=debug`.
        #[arg(long, env = "POSTERN_LOG", default_value = "info")]
        log: String,
    },
    /// Show journal, uplink, servers and health of the running gateway.
    Status(#[command(flatten)] Common),
    /// Show each controller: how it stands, where its log was read to, what its line is like. With a
    /// subcommand: find boards, take them over, look at one, set one up.
    Controllers {
        #[command(flatten)]
        above: Above,
        #[command(subcommand)]
        command: Option<controllers::Command>,
    },
    /// Look at the serial lines and connections of the link protocol: what is configured, what was
    /// counted, what is said, who answers.
    Bus {
        #[command(subcommand)]
        command: bus::Command,
    },
    /// Look at what devices that speak Modbus are described by: what a profile means, and what a device
    /// holds that has it.
    Profile {
        #[command(subcommand)]
        command: profile::Command,
    },
    /// Show the last transactions of the journal; with --json one object a line.
    Tail {
        #[command(flatten)]
        common: Common,
        /// How many.
        #[arg(short = 'n', long, default_value_t = 20)]
        last: u64,
        /// Stay, and show what comes.
        #[arg(short, long)]
        follow: bool,
        /// Show card numbers in full, and the raw records that hold them.
        #[arg(long)]
        show_cards: bool,
    },
    /// Look into the journal, export it, verify it, salvage it.
    Journal {
        #[command(subcommand)]
        command: journal::Command,
    },
    /// Work with the configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Check the configuration and the bundle that it names; start nothing.
    Check(#[command(flatten)] Common),
}

#[derive(Args, Clone)]
struct Common {
    /// The configuration.
    #[arg(short, long, value_name = "FILE", default_value = "postern.toml")]
    config: PathBuf,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// The same for a command with others below it: `postern controllers -c FILE show SERIAL` means what it
/// says. Those below have their own, into which this one's value goes where it was given.
#[derive(Args, Clone)]
struct Above {
    /// The configuration.
    #[arg(short, long, value_name = "FILE", default_value = "postern.toml", global = true)]
    config: PathBuf,
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    json: bool,
}

/// What ended a command, with the exit code that belongs to it.
struct Failure {
    code: u8,
    message: String,
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self { code: exit::CONFIG, message: error.to_string() }
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        let code = match error {
            ControlError::NotRunning { .. } => exit::NOT_RUNNING,
            ControlError::Journal { .. } => exit::JOURNAL,
            ControlError::Broken { .. } => exit::FAILURE,
        };
        Self { code, message: error.to_string() }
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self { code: exit::FAILURE, message: chain(&error) }
    }
}

impl From<DaemonError> for Failure {
    fn from(error: DaemonError) -> Self {
        let code = match &error {
            DaemonError::Journal(JournalError::InUse { .. }) => exit::IN_USE,
            DaemonError::Journal(_) => exit::JOURNAL,
            DaemonError::Bundle(_) => exit::CONFIG,
            DaemonError::Listen { .. } => exit::LISTEN,
            DaemonError::Io { .. } => exit::FAILURE,
        };
        Self { code, message: chain(&error) }
    }
}

/// An error with its causes, and the hint at the end.
fn chain(error: &dyn std::error::Error) -> String {
    let whole = error.to_string();
    let (what, hint) =
        whole.split_once("\nhint: ").map_or((&*whole, None), |(what, hint)| (what, Some(hint)));
    let mut message = what.to_owned();
    let mut cause = error.source();
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    hint.map_or(message.clone(), |hint| format!("{message}\nhint: {hint}"))
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self { code: exit::FAILURE, message: error.to_string() }
    }
}

/// Runs the command line and returns the exit code.
pub fn main(arguments: impl Iterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe is no reason to complain.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(exit::USAGE);
        }
    };
    match dispatch(&cli.command) {
        Ok(()) => exit::OK,
        Err(failure) => {
            let _ = writeln!(anstream::stderr(), "error: {}", failure.message);
            failure.code
        }
    }
}

fn dispatch(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Init(arguments) => init::run(arguments),
        Command::Run { common, log } => run::run(&Config::load(&common.config)?, log, common.json),
        Command::Status(common) => {
            let status = client::ask_one(&data_dir(common)?, &Request::Status)?;
            print(common.json, &status, show::status)
        }
        Command::Controllers { command: Some(command), .. } => controllers::run(command),
        Command::Controllers { above: Above { config, json }, command: None } => {
            let data_dir = Config::load(config)?.data_dir;
            let controllers = client::ask_one(&data_dir, &Request::Controllers)?;
            print(*json, &controllers, show::controllers)
        }
        Command::Bus { command } => bus::run(command),
        Command::Profile { command } => profile::run(command),
        Command::Tail { common, last, follow, show_cards } => {
            let request = Request::Tail { last: *last, follow: *follow, show_cards: *show_cards };
            let result = client::ask(&data_dir(common)?, &request, |entry| {
                let mut out = anstream::stdout();
                if common.json {
                    writeln!(out, "{entry}")?;
                } else {
                    writeln!(out, "{}", show::entry(&entry))?;
                }
                out.flush()
            })?;
            quiet(result)
        }
        Command::Journal { command } => journal::run(command),
        Command::Config { command: ConfigCommand::Check(common) } => {
            let config = Config::load(&common.config)?;
            let report = serde_json::json!({
                "schema": "postern.config.v1",
                "ok": true,
                "site": config.bundle.site,
                "group": config.bundle.group,
                "gateway": config.bundle.gateway,
                "servers": config.bundle.servers,
                "data_dir": config.data_dir,
                "capacity_entries": config.capacity.entries,
                "capacity_bytes": config.capacity.bytes,
                "controllers": config.controller_count(),
            });
            print(common.json, &report, show::config)
        }
    }
}

fn data_dir(common: &Common) -> Result<PathBuf, Failure> {
    Ok(Config::load(&common.config)?.data_dir)
}

fn print(
    json: bool,
    value: &serde_json::Value,
    text: impl FnOnce(&serde_json::Value) -> String,
) -> Result<(), Failure> {
    let mut out = anstream::stdout();
    let result = if json { writeln!(out, "{value}") } else { write!(out, "{}", text(value)) };
    quiet(result)
}

/// A reader that went away (`| head`) is no failure.
fn quiet(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// The README's walk once named a file that nothing wrote; what is shown there at least parses.
    #[test]
    fn every_command_in_the_documentation_is_one() {
        let documents =
            [include_str!("../../../README.md"), include_str!("../../../docs/operations.md")];
        let mut seen = 0;
        for document in documents {
            let document = document.replace("\\\n", " ");
            for line in document.lines().filter(|line| line.starts_with("postern ")) {
                let command = line.split(['#', '>']).next().unwrap().trim_end_matches(" 2");
                let words = command.split_whitespace().map(OsString::from);
                let error = Cli::try_parse_from(words).err();
                assert!(error.is_none(), "{command}: {}", error.unwrap());
                seen += 1;
            }
        }
        assert!(seen > 10, "{seen} commands");
    }

    #[test]
    fn the_configuration_may_be_named_before_and_behind_the_subcommand() {
        for words in
            ["-c x.toml show 7 --json", "--json show 7 -c x.toml", "show 7 -c x.toml --json"]
        {
            let words = ["postern", "controllers"].into_iter().chain(words.split(' '));
            let cli = Cli::try_parse_from(words).ok().unwrap();
            let Command::Controllers { command: Some(command), .. } = cli.command else { panic!() };
            let controllers::Command::Show { board, .. } = command else { panic!() };
            assert_eq!(board.common_for_tests(), ("x.toml".into(), true));
        }
    }

    #[test]
    fn a_line_is_a_bus_or_a_device_or_an_address_and_never_two_of_them() {
        let parse = |words: &str| {
            let words = ["postern", "bus"].into_iter().chain(words.split(' '));
            Cli::try_parse_from(words).map(drop).map_err(|error| error.exit_code())
        };
        for words in [
            "list --json",
            "stats",
            "stats hall -c x.toml --json",
            "sniff hall --hex --count 5 --show-cards --json",
            "sniff --serial /dev/ttyUSB0 --baud 9600 --parity even --rs485",
            "sniff --tcp 192.0.2.7:4001",
            "probe hall --addresses 1-32 --reply-ms 100",
            "probe --serial /dev/ttyUSB0 --addresses 7 --json",
            "probe --tcp 192.0.2.7:4001",
        ] {
            assert_eq!(parse(words), Ok(()), "{words}");
        }
        for words in [
            "sniff",
            "probe",
            "sniff hall --serial /dev/ttyUSB0",
            "probe hall --tcp 192.0.2.7:4001",
            "probe --serial /dev/ttyUSB0 --tcp 192.0.2.7:4001",
            "probe --tcp 192.0.2.7:4001 --baud 9600",
            "probe hall --parity even",
            "probe hall --addresses 0-5",
            "probe hall --reply-ms 1",
            "sniff hall --count 0",
        ] {
            assert_eq!(parse(words), Err(2), "{words}");
        }
    }

    /// A command that runs by itself, whether it has others below it or not.
    #[test]
    fn every_command_that_can_be_run_has_json() {
        fn check(command: &clap::Command, seen: &mut Vec<String>) {
            if !command.is_subcommand_required_set() {
                // One that came down from above would be a dummy.
                let is_own = |argument: &clap::Arg| {
                    !argument.is_global_set() || command.get_name() == "controllers"
                };
                let mut json = command.get_arguments().filter(|argument| is_own(argument));
                let json = json.any(|argument| argument.get_id() == "json");
                assert!(json, "{} has no --json", command.get_name());
                seen.push(command.get_name().to_owned());
            }
            let below = command.get_subcommands().filter(|below| below.get_name() != "help");
            below.for_each(|below| check(below, seen));
        }
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        let mut seen = Vec::new();
        check(&command, &mut seen);
        for name in [
            "status",
            "controllers",
            "discover",
            "diff",
            "enrol",
            "keys",
            "info",
            "check",
            "stats",
            "sniff",
            "probe",
            "list",
            "show",
        ] {
            assert!(seen.iter().any(|seen| seen == name), "{name} was not looked at: {seen:?}");
        }
    }
}
