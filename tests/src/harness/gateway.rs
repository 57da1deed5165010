//! `postern`: the gateway.

use std::cell::Cell;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_protocol::pki::Bundle;
use postern_protocol::{ControllerId, EpochId, Index, JournalId, RoleTerm, Seq};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::namespace::command_at;
use super::{Binaries, Configuration, Error, Namespace, Output, Process};
use crate::checker::{Exit, Position};

/// It checks its whole journal when it opens it: 0.12 s for a million records.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// `postern status --json`.
#[derive(Clone, Debug, Deserialize)]
pub struct GatewayStatus {
    /// Its journal.
    pub journal: JournalStatus,
    /// Its servers.
    pub uplink: UplinkStatus,
    /// What is not as it should be.
    pub health: Vec<Health>,
}

/// The journal.
#[derive(Clone, Debug, Deserialize)]
pub struct JournalStatus {
    /// Its id.
    pub id: JournalId,
    /// The newest entry.
    pub head: Seq,
    /// The oldest entry that is still there.
    pub oldest: Seq,
    /// The newest entry that may be forgotten.
    pub safe: Seq,
    /// How many entries may not be forgotten.
    pub unsafe_entries: u64,
    /// Why nothing is read from controllers, as a word of a closed list.
    pub full: Option<String>,
    /// Entries of a damaged journal that wait until their controller was read again.
    pub held: u64,
}

impl GatewayStatus {
    /// Whether it has this problem.
    pub fn has(&self, code: &str) -> bool {
        self.health.iter().any(|problem| problem.code == code)
    }

    /// This problem of this controller.
    pub fn problem(&self, code: &str, controller: ControllerId) -> Option<&Health> {
        let subject = Some(controller.to_string());
        self.health.iter().find(|problem| problem.code == code && problem.subject == subject)
    }
}

/// The way to the servers.
#[derive(Clone, Debug, Deserialize)]
pub struct UplinkStatus {
    /// What it is doing, as a word of a closed list; `sending` while a batch is on its way.
    pub state: String,
    /// Who is active, as the gateway knows.
    #[serde(default)]
    pub active: Option<String>,
    /// Under which role term.
    #[serde(default)]
    pub role_term: Option<RoleTerm>,
    /// The active server's watermark.
    #[serde(default)]
    pub stored: Option<Seq>,
    /// How many entries the active server lacks.
    #[serde(default)]
    pub backlog: Option<u64>,
    /// Each server.
    pub servers: Vec<LinkStatus>,
}

/// The way to one server.
#[derive(Clone, Debug, Deserialize)]
pub struct LinkStatus {
    /// Which.
    pub name: String,
    /// How the link is, as a word of a closed list.
    pub link: String,
    /// The same for people.
    #[serde(default)]
    pub message: Option<String>,
}

/// A health problem.
#[derive(Clone, Debug, Deserialize)]
pub struct Health {
    /// Its stable code.
    pub code: String,
    /// About which server or controller.
    #[serde(default)]
    pub subject: Option<String>,
    /// For people.
    #[serde(default)]
    pub message: String,
}

#[derive(Deserialize)]
struct Controllers {
    controllers: Vec<ControllerStatus>,
}

/// `postern controllers --json`, one of them.
#[derive(Clone, Debug, Deserialize)]
pub struct ControllerStatus {
    /// Which.
    pub controller: ControllerId,
    /// How it is, as a word of a closed list.
    pub state: String,
    /// Which life of its log is read, in the gateway's words.
    #[serde(default)]
    pub epoch: Option<EpochId>,
    /// Up to where it was read.
    #[serde(default)]
    pub cursor: Option<Index>,
    /// How its clock stands, where that is known.
    #[serde(default)]
    pub clock: Option<ClockStatus>,
    /// Which firmware it says it runs.
    #[serde(default)]
    pub firmware: Option<String>,
    /// What passed over its wire, counted by kind.
    pub line: LineCounters,
}

/// How a controller's clock stands.
#[derive(Clone, Debug, Deserialize)]
pub struct ClockStatus {
    /// How far it is off, in seconds; positive is fast, `None` never set.
    pub skew_s: Option<i64>,
    /// What that means, as a word of a closed list.
    pub state: String,
}

impl ControllerStatus {
    /// Up to where it was read, where it was at all.
    pub fn position(&self) -> Option<Position> {
        Some(Position { epoch: self.epoch?, index: self.cursor? })
    }
}

/// The counters of a controller's wire; those of them that scenarios look at.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct LineCounters {
    /// Requests sent, repeats included.
    pub requests: u64,
    /// Answers that were used.
    pub replies: u64,
    /// Requests that nobody answered in time.
    pub timeouts: u64,
    /// Failures of the socket.
    pub line_errors: u64,
    /// Frames of another length.
    pub bad_length: u64,
    /// Frames with another first byte.
    pub bad_start: u64,
    /// Frames of a foreign serial number.
    pub foreign: u64,
    /// Answers to another request.
    pub unexpected: u64,
    /// Events that it pushed.
    pub pushes: u64,
    /// Frames that were damaged on a line.
    pub broken: u64,
    /// Requests on a line that were sent again as they were.
    pub repeats: u64,
}

impl LineCounters {
    /// Adds what another process, or another controller's line, counted.
    pub fn add(&mut self, other: Self) {
        let Self {
            requests,
            replies,
            timeouts,
            line_errors,
            bad_length,
            bad_start,
            foreign,
            unexpected,
            pushes,
            broken,
            repeats,
        } = other;
        self.requests += requests;
        self.replies += replies;
        self.timeouts += timeouts;
        self.line_errors += line_errors;
        self.bad_length += bad_length;
        self.bad_start += bad_start;
        self.foreign += foreign;
        self.unexpected += unexpected;
        self.pushes += pushes;
        self.broken += broken;
        self.repeats += repeats;
    }
}

/// A gateway, running or not.
#[derive(Debug)]
pub struct Gateway {
    /// Its directory.
    pub dir: PathBuf,
    logs: PathBuf,
    process: Option<Process>,
    starts: u32,
    commands: Cell<u32>,
    /// Where it and its commands run, where that is not this machine's own network.
    host: Option<Namespace>,
}

impl Gateway {
    /// One in `dir`; nothing is written yet.
    pub fn new(dir: &Path, logs: &Path) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(Error::file("create", dir))?;
        let (dir, logs) = (dir.to_owned(), logs.to_owned());
        Ok(Self { dir, logs, process: None, starts: 0, commands: Cell::new(0), host: None })
    }

    /// Runs at this host from now on, where one is given, and its commands as well; it does not run yet.
    pub fn move_to_host(&mut self, host: Option<&Namespace>) {
        self.host = host.cloned();
    }

    /// Where its bundle has to be.
    pub fn bundle(&self) -> PathBuf {
        self.dir.join("gateway.bundle.json")
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Its journal's file.
    pub fn journal(&self) -> PathBuf {
        self.data().join("journal.redb")
    }

    /// The journals beside its own that were set aside for this reason: `forked`, `damaged`.
    pub fn set_aside(&self, why: &str) -> Result<Vec<PathBuf>, Error> {
        let (data, start) = (self.data(), format!("journal.{why}-"));
        let files = fs::read_dir(&data).map_err(Error::file("list", &data))?;
        let is_aside = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&start) && name.ends_with(".redb")
        };
        Ok(files.filter_map(Result::ok).map(|file| file.path()).filter(is_aside).collect())
    }

    /// The same gateway once more, in another directory with its own logs: bundle, configuration and
    /// a copy of the journal as it is now.
    pub fn clone_into(&self, dir: &Path) -> Result<Self, Error> {
        let logs = dir.join("logs");
        fs::create_dir_all(&logs).map_err(Error::file("create", &logs))?;
        let twin = Self { host: self.host.clone(), ..Self::new(dir, &logs)? };
        fs::create_dir_all(twin.data()).map_err(Error::file("create", twin.data()))?;
        let files = [
            (self.bundle(), twin.bundle()),
            (self.config(), twin.config()),
            (self.journal(), twin.journal()),
        ];
        for (from, to) in files {
            fs::copy(&from, to).map_err(Error::file("copy", from))?;
        }
        Ok(twin)
    }

    /// Where its configuration is.
    pub fn config(&self) -> PathBuf {
        self.dir.join("postern.toml")
    }

    /// Has it reach the servers, in the order of its bundle, at these addresses instead of their
    /// own: through wires that the scenario can cut. Certificates name hosts, not ports.
    pub fn reach_servers_at(&self, addresses: &[SocketAddr]) -> Result<(), Error> {
        let path = self.bundle();
        let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        let unreadable = || Error::unreadable("postern-server enrol");
        let mut bundle: Bundle = serde_json::from_str(&text).map_err(unreadable())?;
        for (server, address) in bundle.servers.iter_mut().zip(addresses) {
            server.address = address.to_string();
        }
        let text = serde_json::to_string_pretty(&bundle).map_err(unreadable())?;
        // Writing into the file keeps its mode, which keeps others out.
        fs::write(&path, text).map_err(Error::file("write", &path))
    }

    /// Writes its configuration.
    pub fn configure(&self, configuration: &Configuration) -> Result<(), Error> {
        let text = configuration.text();
        fs::write(self.config(), text).map_err(Error::file("write", self.config()))
    }

    /// Starts it and waits until it is ready.
    pub fn start(&mut self) -> Result<(), Error> {
        let mut process = self.spawn()?;
        process.ready::<Value>("postern.ready.v1", READY_WITHIN)?;
        self.process = Some(process);
        Ok(())
    }

    /// Starts a process on its directory and leaves it to the caller: what should not start.
    pub fn spawn(&mut self) -> Result<Process, Error> {
        self.starts += 1;
        let mut command = command_at(self.host.as_ref(), &[], &Binaries::get()?.gateway);
        command.arg("run").arg("-c").arg(self.config()).arg("--json");
        Process::start(&mut command, &format!("gateway.{}", self.starts), &self.logs)
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<Exit, Error> {
        self.running()?.kill().inspect(|_| self.process = None)
    }

    /// SIGSTOP: it keeps its connections and does nothing.
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

    /// How it ended by itself, if it has, and what it wrote as messages.
    pub fn ended(&mut self) -> Result<Option<(Exit, String)>, Error> {
        let process = self.running()?;
        let Some(exit) = process.ended()? else { return Ok(None) };
        let messages = process.messages();
        self.process = None;
        Ok(Some((exit, messages)))
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    fn running(&mut self) -> Result<&mut Process, Error> {
        let stopped = || Error::Scenario("the gateway is not running".to_owned());
        self.process.as_mut().ok_or_else(stopped)
    }

    /// Makes a key for a controller on a line, which `postern` writes to a new file as well, and reads
    /// that file: what is to be installed in the controller.
    pub fn enrol(&self, controller: ControllerId, export: &Path) -> Result<String, Error> {
        let name = controller.to_string();
        let file = export.display().to_string();
        let arguments = ["controllers", "enrol", &name, "--export", &file, "--json"];
        self.command(&arguments)?.success("postern controllers enrol")?;
        let key = fs::read_to_string(export).map_err(Error::file("read", export))?;
        Ok(key.trim().to_owned())
    }

    /// How it is.
    pub fn status(&self) -> Result<GatewayStatus, Error> {
        self.json("status")
    }

    /// How its controllers are.
    pub fn controllers(&self) -> Result<Vec<ControllerStatus>, Error> {
        Ok(self.json::<Controllers>("controllers")?.controllers)
    }

    /// Any of its commands, to its end, whatever that is.
    pub fn command(&self, arguments: &[&str]) -> Result<Output, Error> {
        let mut command = command_at(self.host.as_ref(), &[], &Binaries::get()?.gateway);
        command.args(arguments).arg("-c").arg(self.config());
        let number = self.commands.get() + 1;
        self.commands.set(number);
        let name = format!("gateway-command.{number}");
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

    fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, Error> {
        let program = format!("postern {name}");
        let text = self.command(&[name, "--json"])?.success(&program)?;
        serde_json::from_str(&text).map_err(Error::unreadable(program))
    }
}
