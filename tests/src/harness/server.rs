//! `postern-server`: one of the pair, or their witness.
//!
//! - `audit`: how reigns began.
//! - `store`: what becomes of its disk.
//! - `health`: what it says to load balancers.
//! - `voter`: what becomes of its voter's file.

use std::fs::{self, File};
use std::io::BufReader;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use postern_protocol::RoleTerm;
use postern_protocol::role::StoreName;
use serde::Deserialize;
use serde_json::Value;

use super::namespace::command_at;
use super::{Binaries, Error, Namespace, Output, Process};
use crate::checker::{Exit, Journal, Row, StoreView, read_lines};

mod audit;
mod health;
mod store;
mod voter;

pub use audit::Began;
pub(super) use health::Asker;

/// Opening a store after a kill replays its log: well below this for what a test stores.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// A million transactions take half a minute to print.
const STORE_WITHIN: Duration = Duration::from_mins(3);

/// A server, running or not.
#[derive(Debug)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its data directory.
    pub dir: PathBuf,
    logs: PathBuf,
    process: Option<Process>,
    starts: u32,
    commands: std::cell::Cell<u32>,
    /// What its process is started by, where it has a disk of its own.
    inside: Vec<String>,
    /// Where it and its commands run, where that is not this machine's own network.
    host: Option<Namespace>,
    /// What it is started as: `run`, or `witness`.
    part: &'static str,
}

/// What a server says about its role.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RoleStatus {
    /// What it does, as a word of a closed list: `starting`, `active`, `standby`, `set_aside`.
    pub state: String,
    /// The id of its store.
    pub store: String,
    /// Who is active, as this server knows.
    pub active: String,
    /// Under which role term.
    pub role_term: RoleTerm,
    /// By whose hand it changes: `manual`, `confirmed`, `automatic`.
    pub mode: String,
    /// How many stores have to hold a transaction before its gateway may forget it.
    pub copies: u8,
    /// The stores that count.
    pub in_sync: Vec<StoreName>,
    /// Whether its disk has no room for what is to be stored.
    pub store_full: bool,
    /// Where its change log ends.
    pub log: LogEnd,
    /// How it follows the active server, where it is not that itself.
    pub following: Option<Following>,
    /// The voters as it sees them, where there is a witness.
    pub voters: Option<Voters>,
    /// Why it would take over by itself, and may not.
    pub barred: Option<String>,
}

/// The voters as a server sees them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Voters {
    /// What its own does, as a word of a closed list; `voting` where it takes part.
    pub standing: String,
    /// Who leads them.
    pub leader: Option<String>,
    /// Whether it holds its lease, where it is active.
    pub lease: Option<bool>,
    /// Voters of which two processes were seen.
    pub doubled: Vec<String>,
    /// The others.
    pub others: Vec<OtherVoter>,
}

/// Another voter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct OtherVoter {
    /// Its name.
    pub name: String,
    /// How it is seen, as a word of a closed list; `connected` where it is heard.
    pub sight: String,
}

/// How a server follows the active one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Following {
    /// What it is doing, as a word of a closed list; `copying` while it gets a full copy.
    pub phase: String,
    /// How far it has come; of a full copy, in bytes.
    pub position: u64,
    /// Of how much.
    pub of: u64,
    /// What went wrong last, until it goes well again.
    pub failure: Option<String>,
}

impl RoleStatus {
    /// Whether it gets a full copy.
    pub fn is_copying(&self) -> bool {
        self.following.as_ref().is_some_and(|following| following.phase == "copying")
    }

    /// Why it does not follow, in words; empty where it does.
    pub fn failure(&self) -> &str {
        let failure = self.following.as_ref().and_then(|following| following.failure.as_deref());
        failure.unwrap_or_default()
    }
}

/// Where a server's change log ends: what is equal on both is held by both.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LogEnd {
    /// The last entry.
    pub position: u64,
    /// The hash over all of them.
    pub chain: String,
}

#[derive(Deserialize)]
struct Journals {
    items: Vec<Journal>,
}

#[derive(Deserialize)]
struct Pair {
    servers: Vec<Seen>,
}

#[derive(Deserialize)]
struct Seen {
    status: Option<RoleStatus>,
}

impl Server {
    /// Makes the first server of a site.
    pub fn init(
        root: &Path,
        logs: &Path,
        site: &str,
        name: &str,
        address: SocketAddr,
    ) -> Result<Self, Error> {
        let server = Self::at(root, logs, name, address);
        server.command(
            &["init", "--site", site, "--group", "main", "--name", name],
            |command| {
                command.arg("--address").arg(address.to_string());
            },
        )?;
        Ok(server)
    }

    /// Makes the second server, which joins `first` by its directory.
    pub fn join(
        first: &Self,
        root: &Path,
        logs: &Path,
        name: &str,
        address: SocketAddr,
    ) -> Result<Self, Error> {
        let server = Self::at(root, logs, name, address);
        server.command(&["init", "--name", name], |command| {
            command.arg("--join").arg(&first.dir);
            listen_there(command, address);
        })?;
        Ok(server)
    }

    /// Makes the witness of a pair.
    pub fn witness(
        pair: [&Self; 2],
        root: &Path,
        logs: &Path,
        name: &str,
        address: SocketAddr,
    ) -> Result<Self, Error> {
        let witness = Self { part: "witness", ..Self::at(root, logs, name, address) };
        witness.command(&["init", "--witness", "--name", name], |command| {
            for server in pair {
                command.arg("--join").arg(&server.dir);
            }
            listen_there(command, address);
        })?;
        Ok(witness)
    }

    fn at(root: &Path, logs: &Path, name: &str, address: SocketAddr) -> Self {
        Self {
            name: name.to_owned(),
            address,
            dir: root.join(name),
            logs: logs.to_owned(),
            process: None,
            starts: 0,
            commands: std::cell::Cell::new(0),
            inside: Vec::new(),
            host: None,
            part: "run",
        }
    }

    /// Runs at this host from now on, where one is given, and its commands as well; it does not run yet.
    pub fn move_to_host(&mut self, host: Option<&Namespace>) {
        self.host = host.cloned();
    }

    /// Gives a gateway its certificate; returns its bundle.
    pub fn enrol(&self, gateway: &str, out: &Path) -> Result<(), Error> {
        self.command(&["enrol", gateway], |command| {
            command.arg("--out").arg(out);
        })
        .map(drop)
    }

    /// Starts it and waits until it is ready.
    pub fn start(&mut self) -> Result<(), Error> {
        let mut process = self.spawn()?;
        let schema = match self.part {
            "witness" => "postern-server.witness-ready.v1",
            _ => "postern-server.ready.v1",
        };
        process.ready::<Value>(schema, READY_WITHIN)?;
        self.process = Some(process);
        Ok(())
    }

    fn spawn(&mut self) -> Result<Process, Error> {
        self.starts += 1;
        let program = &Binaries::get()?.server;
        let mut command = command_at(self.host.as_ref(), &self.inside, program);
        command.arg(self.part).arg("--dir").arg(&self.dir).arg("--json");
        let name = format!("server-{}.{}", self.name, self.starts);
        Process::start(&mut command, &name, &self.logs)
    }

    /// The id of its process.
    pub fn id(&mut self) -> Result<u32, Error> {
        Ok(self.running()?.id())
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<Exit, Error> {
        self.running()?.kill().inspect(|_| self.process = None)
    }

    /// SIGSTOP: it keeps its connections and answers nobody.
    pub fn pause(&mut self) -> Result<(), Error> {
        self.running()?.pause()
    }

    /// SIGCONT.
    pub fn resume(&mut self) -> Result<(), Error> {
        self.running()?.resume()
    }

    /// SIGTERM.
    pub fn stop(&mut self) -> Result<Exit, Error> {
        self.running()?.terminate().inspect(|_| self.process = None)
    }

    fn running(&mut self) -> Result<&mut Process, Error> {
        let name = &self.name;
        self.process
            .as_mut()
            .ok_or_else(|| Error::Scenario(format!("server {name} is not running")))
    }

    /// Who is active, as this server knows.
    pub fn role(&self) -> Result<RoleStatus, Error> {
        let pair: Pair = self.json("status", &["--server", &self.name])?;
        let role = pair.servers.into_iter().find_map(|server| server.status);
        role.ok_or_else(|| self.unexpected("status", "it says nothing about itself".to_owned()))
    }

    /// Everything that it has stored, in its order. It has to run.
    pub fn store(&self) -> Result<StoreView, Error> {
        let mut command = command_at(self.host.as_ref(), &[], &Binaries::get()?.server);
        command.args(["query", "--all", "--jsonl"]).arg("--dir").arg(&self.dir);
        let name = format!("server-{}-store", self.name);
        let mut process = Process::start(&mut command, &name, &self.logs)?;
        if process.wait(STORE_WITHIN)?.code != Some(0) {
            return Err(process.ended_error());
        }
        let path = self.logs.join(format!("{name}.out"));
        let file = File::open(&path).map_err(Error::file("read", &path))?;
        let rows: Vec<Row> =
            read_lines(BufReader::new(file)).map_err(|what| self.unexpected("query", what))?;
        // The store itself is there to be looked at.
        fs::remove_file(&path).map_err(Error::file("remove", &path))?;
        Ok(StoreView { server: self.name.clone(), rows, journals: self.journals()? })
    }

    /// The journals that it knows.
    pub fn journals(&self) -> Result<Vec<Journal>, Error> {
        Ok(self.json::<Journals>("journals", &[])?.items)
    }

    /// Makes this server the active one.
    pub fn failover(&self, force: bool) -> Result<Output, Error> {
        let mut arguments = vec!["failover", "--to", &self.name, "--yes", "--json"];
        arguments.extend(force.then_some("--force"));
        self.output(&arguments, |_| {})
    }

    /// Changes how the group is run, by options of `postern-server rules`.
    pub fn rules(&self, options: &[&str]) -> Result<(), Error> {
        let arguments = [&["rules", "--yes", "--json"], options].concat();
        self.command(&arguments, |_| {}).map(drop)
    }

    /// Begins or ends maintenance.
    pub fn maintenance(&self, on: bool) -> Result<(), Error> {
        let switch = if on { "on" } else { "off" };
        self.command(&["maintenance", switch, "--yes", "--json"], |_| {}).map(drop)
    }

    fn json<T: serde::de::DeserializeOwned>(&self, name: &str, more: &[&str]) -> Result<T, Error> {
        let arguments: Vec<&str> = [name, "--json"].iter().chain(more).copied().collect();
        let text = self.command(&arguments, |_| {})?;
        let program = format!("postern-server {name} of {}", self.name);
        serde_json::from_str(&text).map_err(Error::unreadable(program))
    }

    fn unexpected(&self, command: &str, what: String) -> Error {
        Error::Answer { program: format!("postern-server {command} of {}", self.name), what }
    }

    fn command(
        &self,
        arguments: &[&str],
        more: impl FnOnce(&mut Command),
    ) -> Result<String, Error> {
        let program = format!("postern-server {} of {}", arguments.join(" "), self.name);
        self.output(arguments, more)?.success(&program)
    }

    fn output(&self, arguments: &[&str], more: impl FnOnce(&mut Command)) -> Result<Output, Error> {
        let mut command = command_at(self.host.as_ref(), &[], &Binaries::get()?.server);
        command.args(arguments).arg("--dir").arg(&self.dir);
        more(&mut command);
        let number = self.commands.get() + 1;
        self.commands.set(number);
        let name = format!("server-{}-command.{number}", self.name);
        let output = Process::run(&mut command, &name, &self.logs)?;
        // Whoever looks often would fill the directory; what went well is in the scenario's hands.
        if output.exit.code == Some(0) {
            for end in ["out", "err"] {
                let path = self.logs.join(format!("{name}.{end}"));
                fs::remove_file(&path).map_err(Error::file("remove", &path))?;
            }
        }
        Ok(output)
    }
}

/// On loopback alone: left to itself a server listens on every interface.
fn listen_there(command: &mut Command, address: SocketAddr) {
    let address = address.to_string();
    command.args(["--address", &address, "--listen", &address]);
}
