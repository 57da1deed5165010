//! The command line. stdout is data, stderr is messages; exit codes are in [`crate::exit`].
//!
//! Commands that read or change a running server talk to it over HTTPS with the operator's
//! certificate of the data directory; only `init`, `enrol`, `enrol-monitor`, `run`, `restore` and, where no server
//! runs, `backup` touch its files.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use postern_protocol::ControllerId;
use postern_protocol::pki::is_name;
use postern_protocol::role::{Mode, WhenFull};
use postern_protocol::uplink::RefusalCode;
use tracing_subscriber::EnvFilter;

use self::source::Source;
use crate::exit;
use crate::peer::{Client, PeerError};
use crate::serve::ServeError;
use crate::site::{self, ADMIN, AUTHORITY, Member, Site, SiteError};
use crate::store::StoreError;

mod archive;
mod asked;
mod audit;
mod backup;
mod export;
mod failover;
mod init;
mod journals;
mod late;
mod new_file;
mod output;
mod query;
mod reassign;
mod restore;
mod rules;
mod run;
mod source;
mod status;
mod witness;

/// How long a command waits for a server: a failover asks the other server in between.
const PATIENCE: Duration = Duration::from_secs(20);

/// Postern's server: one of the pair that keeps a site's transactions.
///
/// Exit codes: 0 done, 1 failed, 2 usage, 10 configuration, 11 data directory in use, 12 store
/// failed, 13 cannot listen, 14 server unreachable, 15 refused by the server.
#[derive(Parser)]
#[command(name = "postern-server", version, propagate_version = true)]
pub struct Cli {
    /// What is logged to stderr, such as `info` or `postern_server=debug` [default: the variable `RUST_LOG`, or `info`]
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a site with its first server, or with --join its second one or its witness
    Init(init::Init),
    /// Give a gateway its identity, as one file with a secret key
    Enrol(Enrol),
    /// Give a load balancer or a monitor its identity: a certificate that is good for asking about health alone
    EnrolMonitor(EnrolMonitor),
    /// Run the server
    Run(Run),
    /// Run the witness: the third voter, without a store
    Witness(Run),
    /// Found the voters' store anew, at one server, where all three voters lost their files
    FoundVoters(FoundVoters),
    /// Show both servers
    Status(Status),
    /// List transactions, by time, door, card and more
    Query(OfServer<query::Arguments>),
    /// Write transactions to a file, as CSV or JSON lines
    Export(OfServer<export::Arguments>),
    /// Report how late transactions came after they happened
    Late(OfServer<late::Arguments>),
    /// List the gateways' journals
    Journals(OfServer<journals::Arguments>),
    /// List the audit log: changes of the role, reassigned controllers, alarms
    Audit(OfServer<audit::Arguments>),
    /// Read a store's file, or a copy of one, without a server
    Archive(archive::Archive),
    /// Make a server the active one
    Failover(Failover),
    /// Hand the role over to a server that is in sync: nothing is missing afterwards
    Switchover(Switchover),
    /// Begin or end maintenance: until it ends the role does not change by itself
    Maintenance(Maintenance),
    /// Change how the group is run
    Rules(Rules),
    /// Give a controller to another gateway
    Reassign(Reassign),
    /// Copies of the store
    #[command(subcommand)]
    Backup(backup::Backup),
    /// Put a backup in the place of a lost store
    Restore(restore::Restore),
    /// Print what this server can be asked over HTTPS, as an OpenAPI document
    Openapi,
}

#[derive(Args)]
struct Enrol {
    /// The gateway's name
    name: String,
    /// A server's data directory
    #[arg(long)]
    dir: PathBuf,
    /// The failover group [default: the server's]
    #[arg(long)]
    group: Option<String>,
    /// Where to write the bundle; the file must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Args)]
struct FoundVoters {
    /// A server's data directory; no server runs on it
    #[arg(long)]
    dir: PathBuf,
}

#[derive(Args)]
struct Run {
    /// The data directory
    #[arg(long)]
    dir: PathBuf,
    /// Say that it is ready as JSON
    #[arg(long)]
    json: bool,
}

/// Which server to read.
#[derive(Args)]
struct Reading {
    /// A server's data directory
    #[arg(long)]
    dir: PathBuf,
    /// Which server to ask [default: this directory's own]
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

/// A question to a server.
#[derive(Args)]
struct EnrolMonitor {
    /// The monitor's name
    name: String,
    /// A server's data directory
    #[arg(long)]
    dir: PathBuf,
    /// Where to write certificate and key, in PEM; the file must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Args)]
struct OfServer<A: Args> {
    /// A server's data directory
    #[arg(long)]
    dir: PathBuf,
    /// Which server to ask [default: this directory's own]
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    #[command(flatten)]
    arguments: A,
}

impl<A: Args> OfServer<A> {
    fn open(self) -> Result<(Source, A), Failed> {
        Ok((Source::server(&self.dir, self.server.as_deref())?, self.arguments))
    }
}

#[derive(Args)]
struct Status {
    #[command(flatten)]
    reading: Reading,
}

#[derive(Args)]
struct Switchover {
    /// A server's data directory
    #[arg(long)]
    dir: PathBuf,
    /// The server that is to become active
    #[arg(long, value_name = "SERVER")]
    to: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Write one JSON object with the state before and after
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Maintenance {
    /// Whether it begins or ends
    switch: Switch,
    /// A server's data directory
    #[arg(long)]
    dir: PathBuf,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Write one JSON object with the state before and after
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Args)]
struct Rules {
    /// A server's data directory
    #[arg(long)]
    dir: PathBuf,
    /// By whose hand the role changes: an operator's alone, by itself once an operator confirms it, or by itself
    #[arg(long, value_name = "HOW")]
    mode: Option<Hand>,
    /// The server that is to be active where there is a choice, or `none`
    #[arg(long, value_name = "NAME")]
    preferred: Option<String>,
    /// How long after a failover by itself there is no other; it doubles while they follow one another soon
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=rules::LONGEST))]
    dwell: Option<u64>,
    /// How long another server than the preferred one may be active before that is alarmed, or `off`
    #[arg(long, value_name = "SECONDS", value_parser = rules::seconds_or_off)]
    away_alarm: Option<rules::Alarm>,
    /// What happens when gateways run full while the standby is gone: the active server goes on alone, or gateways stop reading
    #[arg(long, value_name = "WHAT")]
    when_full: Option<Full>,
    /// How many servers are to hold a transaction before its gateway may forget it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=2))]
    copies: Option<u8>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Write one JSON object with the state before and after
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Hand {
    Manual,
    Confirmed,
    Automatic,
}

impl From<Hand> for Mode {
    fn from(hand: Hand) -> Self {
        match hand {
            Hand::Manual => Self::Manual,
            Hand::Confirmed => Self::Confirmed,
            Hand::Automatic => Self::Automatic,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Full {
    Lower,
    Hold,
}

impl From<Full> for WhenFull {
    fn from(full: Full) -> Self {
        match full {
            Full::Lower => Self::Lower,
            Full::Hold => Self::Hold,
        }
    }
}

#[derive(Args)]
struct Failover {
    /// A server's data directory
    #[arg(long)]
    dir: PathBuf,
    /// The server that is to become active
    #[arg(long, value_name = "SERVER")]
    to: String,
    /// Go on although the other server cannot be asked to stand down
    #[arg(long)]
    force: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Write one JSON object with the state before and after
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Reassign {
    /// The controller, such as uhppote-405419896
    controller: ControllerId,
    /// The gateway that it is to belong to
    #[arg(long, value_name = "GATEWAY", value_parser = gateway_name)]
    to: String,
    #[command(flatten)]
    reading: Reading,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

fn gateway_name(text: &str) -> Result<String, &'static str> {
    if is_name(text) { Ok(text.to_owned()) } else { Err("a name is 1 to 32 of a-z, 0-9 and -") }
}

/// Why a command failed, for a person.
#[derive(Debug)]
pub(crate) struct Failed {
    message: String,
    hint: Option<String>,
    code: u8,
}

impl Failed {
    fn new(code: u8, message: impl Into<String>, hint: Option<&str>) -> Self {
        Self { message: message.into(), hint: hint.map(str::to_owned), code }
    }

    /// What a server, or the way to it, said.
    fn at(member: &Member, error: PeerError) -> Self {
        let Member { name, address, .. } = member;
        let message = format!("server {name} at {address}: {error}");
        match error {
            PeerError::Refused(refusal) if refusal.code == RefusalCode::NotActive => {
                let hint = "ask the active server: --server NAME";
                Self::new(exit::DENIED, message, Some(hint))
            }
            PeerError::Refused(refusal) => Self { message, hint: refusal.hint, code: exit::DENIED },
            PeerError::Link(_) => {
                let hint = "is it running there? `postern-server run --dir DIR` starts it";
                Self::new(exit::UNREACHABLE, message, Some(hint))
            }
            PeerError::Answer(_) | PeerError::Role(_) => Self::new(exit::FAILED, message, None),
        }
    }
}

impl From<SiteError> for Failed {
    fn from(error: SiteError) -> Self {
        Self { message: error.to_string(), hint: error.hint(), code: error.exit_code() }
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self { message: error.to_string(), hint: error.hint(), code: error.exit_code() }
    }
}

impl From<ServeError> for Failed {
    fn from(error: ServeError) -> Self {
        Self { message: error.to_string(), hint: error.hint(), code: error.exit_code() }
    }
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            // Whoever read our output has enough of it.
            return Self { message: String::new(), hint: None, code: exit::OK };
        }
        Self::new(exit::FAILED, format!("cannot write to stdout: {error}"), None)
    }
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match log(cli.log.as_deref()).and_then(|()| dispatch(cli.command)) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(Failed { message, hint, code }) => {
            if !message.is_empty() {
                output::complain(&message, hint.as_deref());
            }
            ExitCode::from(code)
        }
    }
}

/// What is logged where nobody says otherwise. Raft counts each beat that a dead voter misses as an error; what
/// comes of it our own voter says.
const FILTER: &str = "info,openraft=off";

fn log(filter: Option<&str>) -> Result<(), Failed> {
    let filter = match filter {
        Some(filter) => EnvFilter::try_new(filter).map_err(|error| {
            let hint = "a level such as info, or levels by module such as postern_server=debug";
            Failed::new(exit::USAGE, format!("--log {filter}: {error}"), Some(hint))
        })?,
        None => EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(FILTER)),
    };
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colour)
        .with_writer(std::io::stderr)
        .init();
    Ok(())
}

fn dispatch(command: Command) -> Result<(), Failed> {
    match command {
        Command::Init(args) => init::init(&args),
        Command::Enrol(Enrol { name, dir, group, out }) => {
            let again = site::enrol(&dir, &name, group.as_deref(), &out)?;
            output::say(&format!("Wrote {} for gateway {name}.", out.display()))?;
            if again {
                output::say(&format!(
                    "{name} was enrolled here before: the earlier bundle stays valid and stands \
                     for the same gateway."
                ))?;
            }
            output::say("It holds a secret key: bring it to the gateway and delete it here.")
        }
        Command::EnrolMonitor(EnrolMonitor { name, dir, out }) => {
            site::enrol_monitor(&dir, &name, &out)?;
            output::say(&format!(
                "Wrote {} for monitor {name}: its certificate and its secret key.",
                out.display()
            ))?;
            let authority = dir.join(format!("{AUTHORITY}.crt"));
            output::say(&format!("The servers are known by {}.", authority.display()))
        }
        Command::Run(Run { dir, json }) => wait_for(run::run(&dir, json)),
        Command::FoundVoters(FoundVoters { dir }) => {
            site::found_voters(&dir)?;
            output::say(
                "Once all three voters run, this one founds their store, if the other two hold none either. The servers \
                 bring it the role document that their own stores hold.",
            )
        }
        Command::Witness(Run { dir, json }) => wait_for(witness::run(&dir, json)),
        Command::Status(Status { reading }) => wait_for(status::status(reading)),
        Command::Query(args) => ask(args.open()?, query::query),
        Command::Export(args) => ask(args.open()?, export::export),
        Command::Late(args) => ask(args.open()?, late::late),
        Command::Journals(args) => ask(args.open()?, journals::journals),
        Command::Audit(args) => ask(args.open()?, audit::audit),
        Command::Archive(args) => archive::archive(args),
        Command::Failover(args) => wait_for(failover::failover(args)),
        Command::Switchover(Switchover { dir, to, yes, json }) => {
            wait_for(failover::failover(Failover { dir, to, force: false, yes, json }))
        }
        Command::Maintenance(args) => wait_for(rules::maintenance(args)),
        Command::Rules(args) => wait_for(rules::rules(args)),
        Command::Reassign(args) => wait_for(reassign::reassign(args)),
        Command::Backup(backup::Backup::Create(args)) => wait_for(backup::create(args)),
        Command::Backup(backup::Backup::List(args)) => backup::list(args),
        Command::Backup(backup::Backup::Verify(args)) => backup::verify(&args),
        Command::Restore(args) => restore::run(&args),
        Command::Openapi => output::say(crate::api::document().trim_end()),
    }
}

/// Asks a source, and looks afterwards whether the answer may be believed.
fn ask<A>(
    (source, arguments): (Source, A),
    command: impl AsyncFnOnce(&Source, A) -> Result<(), Failed>,
) -> Result<(), Failed> {
    wait_for(async {
        command(&source, arguments).await?;
        source.check()
    })
}

fn wait_for(run: impl Future<Output = Result<(), Failed>>) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(run),
        Err(error) => Err(Failed::new(exit::FAILED, format!("cannot start: {error}"), None)),
    }
}

/// A connection to a server as the operator.
struct Console {
    site: Site,
    client: Client,
}

impl Console {
    fn open(dir: &Path) -> Result<Self, Failed> {
        Self::patient(dir, PATIENCE)
    }

    /// With its own patience for an answer.
    fn patient(dir: &Path, patience: Duration) -> Result<Self, Failed> {
        let site = Site::open(dir)?;
        let client = Client::new(&site, ADMIN, patience)?;
        Ok(Self { site, client })
    }

    fn member(&self, name: Option<&str>) -> Result<Member, Failed> {
        let config = &self.site.config;
        let name = name.unwrap_or(&config.name);
        config.member(name).cloned().ok_or_else(|| {
            let known: Vec<&str> =
                config.members.iter().map(|member| member.name.as_str()).collect();
            let message = format!("site {} has no server {name:?}", config.site);
            Failed::new(exit::USAGE, message, Some(&format!("its servers: {}", known.join(", "))))
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// What writes to people only, and reads nothing; and what writes JSON in any case.
    const WITHOUT: [&str; 5] = ["init", "enrol", "enrol-monitor", "found-voters", "openapi"];

    fn every_leaf<'a>(command: &'a clap::Command, leaves: &mut Vec<&'a clap::Command>) {
        if command.get_subcommands().next().is_none() {
            leaves.push(command);
        }
        command.get_subcommands().for_each(|inner| every_leaf(inner, leaves));
    }

    #[test]
    fn every_reading_command_has_json() {
        let command = Cli::command();
        command.clone().debug_assert();
        let mut leaves = Vec::new();
        every_leaf(&command, &mut leaves);
        assert!(leaves.len() > 14, "{}", leaves.len());
        for leaf in leaves.iter().filter(|leaf| !WITHOUT.contains(&leaf.get_name())) {
            let json = leaf.get_arguments().any(|argument| argument.get_id() == "json");
            assert!(json, "{}", leaf.get_name());
        }
        let backup = command.find_subcommand("backup").unwrap();
        for found in backup.get_subcommands().chain(command.find_subcommand("restore")) {
            let name = found.get_name();
            assert!(found.get_arguments().any(|arg| arg.get_id() == "json"), "{name}");
        }
    }
}
