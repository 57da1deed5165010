//! `postern-sim`: boards, their misbehaviour, and the ledger that is the truth of a run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::BufReader;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_gateway::driver::link::epoch_of;
use postern_protocol::{ControllerId, EpochId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::namespace::{command_at, run_at};
use super::{Binaries, Error, Namespace, Process, Wired, http};
use crate::checker::{Exit, LedgerLine, read_lines};

/// It opens a few sockets; preloading a million records takes some seconds more.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A board as it is configured.
#[derive(Clone, Debug)]
pub struct Board {
    /// Its serial number.
    pub serial: u32,
    /// How many records its log holds.
    pub capacity: u32,
    /// How many it drops at once when it is full.
    pub chunk: u32,
    /// How many swipes happened before anyone could connect.
    pub preload: u32,
    /// The index of the very first record.
    pub first_index: u32,
    /// The firmware that it says it runs.
    pub firmware: &'static str,
}

impl Board {
    /// A board whose log is as small as a test wants it.
    pub fn small(serial: u32) -> Self {
        Self { capacity: 96, chunk: 32, ..Self::roomy(serial) }
    }

    /// A board with room for everything that happens in a test.
    pub fn roomy(serial: u32) -> Self {
        let firmware = "8.92";
        Self { serial, capacity: 100_000, chunk: 2_048, preload: 0, first_index: 1, firmware }
    }
}

/// What a simulator says about itself.
#[derive(Clone, Debug, Deserialize)]
pub struct SimulatorStatus {
    /// Every controller: the boards, then those on lines.
    pub controllers: Vec<BoardStatus>,
}

/// What it says about a controller.
#[derive(Clone, Debug, Deserialize)]
pub struct BoardStatus {
    /// Which.
    pub controller: ControllerId,
    /// Its serial number.
    pub serial: u32,
    /// Which life of its log this is.
    pub life: u64,
    /// The name of that life outside of the link, where the controller names it.
    #[serde(default)]
    pub epoch: Option<EpochId>,
    /// The oldest index in its log; 0 when it is empty.
    #[serde(default)]
    pub oldest: u64,
    /// The newest; 0 when it is empty.
    #[serde(default)]
    pub newest: u64,
    /// How many events it ever recorded, over all lives.
    pub generated: u64,
    /// The cursor that all hosts share.
    #[serde(default)]
    pub event_index: u64,
    /// What its clock shows; empty when it was never set.
    #[serde(default)]
    pub clock: String,
    /// Events that it pushed.
    #[serde(default)]
    pub pushes: u64,
    /// Events that it had to push and did not.
    #[serde(default)]
    pub pushes_lost: u64,
    /// The highest index that a host said to have durably, since power on.
    #[serde(default)]
    pub committed: u64,
    /// How many events were overwritten that no host had said to have, since power on.
    #[serde(default)]
    pub overwritten: u64,
}

#[derive(Deserialize)]
struct Ready {
    api: SocketAddr,
    controllers: Vec<ReadyBoard>,
    ledger: PathBuf,
}

#[derive(Deserialize)]
struct ReadyBoard {
    serial: u32,
    address: SocketAddr,
}

/// A running simulator. It is outside the faults: no scenario kills it.
#[derive(Debug)]
pub struct Simulator {
    process: Process,
    dir: PathBuf,
    logs: PathBuf,
    starts: u32,
    api: SocketAddr,
    ledger: PathBuf,
    /// Where each board listens, UDP and TCP alike.
    pub addresses: BTreeMap<u32, SocketAddr>,
    /// Where it runs, where that is not this machine's own network.
    host: Option<Namespace>,
}

impl Simulator {
    /// Starts one in `dir`, at a host where one is given. `keys` has one for each station of a line that has any.
    pub fn start(
        dir: &Path,
        logs: &Path,
        host: Option<&Namespace>,
        seed: u64,
        boards: &[Board],
        lines: &[Wired],
        keys: &BTreeMap<u32, String>,
    ) -> Result<Self, Error> {
        let mut text = format!("seed = {seed}\nledger = \"ledger.jsonl\"\n");
        for board in boards {
            let Board { serial, capacity, chunk, preload, first_index, firmware } = board;
            let _ = write!(
                text,
                "\n[[controller]]\nserial = {serial}\ncapacity = {capacity}\nchunk = {chunk}\n\
                 preload = {preload}\nfirst_index = {first_index}\nfirmware = \"{firmware}\"\n\
                 zone = \"Europe/Berlin\"\n"
            );
        }
        for line in lines {
            text.push_str(&line.simulated(keys));
        }
        fs::create_dir_all(dir).map_err(Error::file("create", dir))?;
        let config = dir.join("sim.toml");
        fs::write(&config, text).map_err(Error::file("write", &config))?;
        Self::launch(dir, logs, host, 1)
    }

    fn launch(
        dir: &Path,
        logs: &Path,
        host: Option<&Namespace>,
        number: u32,
    ) -> Result<Self, Error> {
        let mut command = command_at(host, &[], &Binaries::get()?.simulator);
        command.arg("run").arg("-c").arg(dir.join("sim.toml")).arg("--json");
        let mut process = Process::start(&mut command, &format!("simulator.{number}"), logs)?;
        let ready: Ready = process.ready("postern-sim.ready.v1", READY_WITHIN)?;
        let addresses =
            ready.controllers.iter().map(|board| (board.serial, board.address)).collect();
        Ok(Self {
            process,
            dir: dir.to_owned(),
            logs: logs.to_owned(),
            starts: number,
            api: ready.api,
            ledger: dir.join(ready.ledger),
            addresses,
            host: host.cloned(),
        })
    }

    /// Starts it again once it has ended, with the ledger that it left. Boards are at other addresses
    /// then, and lines where they were.
    pub fn restart(&mut self) -> Result<(), Error> {
        *self = Self::launch(&self.dir, &self.logs, self.host.as_ref(), self.starts + 1)?;
        Ok(())
    }

    /// How its boards are.
    pub fn status(&self) -> Result<SimulatorStatus, Error> {
        let status = self.request("GET", "/status", None)?;
        let mut status: SimulatorStatus = serde_json::from_value(status)
            .map_err(Error::unreadable("postern-sim: GET /status"))?;
        for board in &mut status.controllers {
            board.epoch = board.epoch.map(|named| epoch_of(board.serial, named, 0));
        }
        Ok(status)
    }

    /// How one board is.
    pub fn board(&self, serial: u32) -> Result<BoardStatus, Error> {
        let mut boards = self.status()?.controllers.into_iter();
        boards.find(|board| board.serial == serial).ok_or_else(|| Error::Answer {
            program: "postern-sim: GET /status".to_owned(),
            what: format!("it has no board {serial}"),
        })
    }

    /// How many events there ever were.
    pub fn generated(&self) -> Result<u64, Error> {
        Ok(self.status()?.controllers.iter().map(|board| board.generated).sum())
    }

    /// How many swipes a second there are from now on, over all boards.
    pub fn people(&self, rate: f64) -> Result<(), Error> {
        self.post("/people", &json!({ "rate": rate }))
    }

    /// So many swipes at a board, at once.
    pub fn generate(&self, serial: u32, count: u64) -> Result<(), Error> {
        self.post(&format!("/controllers/{serial}/generate"), &json!({ "count": count }))
    }

    /// Restores a board's defaults: its log is emptied and begins again at 1.
    pub fn reset(&self, serial: u32) -> Result<(), Error> {
        self.post(&format!("/controllers/{serial}/reset"), &json!({}))
    }

    /// How a board misbehaves from now on; `{}` heals it.
    pub fn faults(&self, serial: u32, faults: &Value) -> Result<(), Error> {
        self.post(&format!("/controllers/{serial}/faults"), faults)
    }

    /// Just before get-event of this index is answered, once: what `then` says, as the control API
    /// has it.
    pub fn trap(&self, serial: u32, index: u64, then: &Value) -> Result<(), Error> {
        let body = json!({ "index": index, "then": then });
        self.post(&format!("/controllers/{serial}/trap"), &body)
    }

    /// Puts another board under the same serial number in its place: with a log of its own, in which
    /// so many records stand already.
    pub fn replace(&self, serial: u32, preload: u32) -> Result<(), Error> {
        // Whoever puts up a board sets its clock; one that shows no time is another test.
        let body = json!({ "preload": preload, "clock": "right" });
        self.post(&format!("/controllers/{serial}/replace"), &body)
    }

    /// How a board's clock is wrong from now on, as the control API has it.
    pub fn clock(&self, serial: u32, clock: &Value) -> Result<(), Error> {
        self.post(&format!("/controllers/{serial}/clock"), clock)
    }

    /// Moves the cursor that all hosts of a board share.
    pub fn event_index(&self, serial: u32, index: u64) -> Result<(), Error> {
        self.post(&format!("/controllers/{serial}/event-index"), &json!({ "index": index }))
    }

    /// A line: its counters, and how each of its stations misbehaves.
    pub fn line(&self, name: &str) -> Result<Value, Error> {
        self.request("GET", &format!("/lines/{name}"), None)
    }

    /// How a line and its stations misbehave from now on; `{}` heals them.
    pub fn line_faults(&self, name: &str, faults: &Value) -> Result<(), Error> {
        self.post(&format!("/lines/{name}/faults"), faults)
    }

    /// The power of a station goes and comes back; its log is `kept` or `lost`.
    pub fn power_cut(&self, serial: u32, log: &str) -> Result<(), Error> {
        self.post(&format!("/controllers/{serial}/power-cut"), &json!({ "log": log }))
    }

    /// All that ever happened.
    pub fn ledger(&self) -> Result<Vec<LedgerLine>, Error> {
        let file = File::open(&self.ledger).map_err(Error::file("read", &self.ledger))?;
        read_lines(BufReader::new(file)).map_err(|what| Error::Answer {
            program: format!("the ledger {}", self.ledger.display()),
            what,
        })
    }

    /// Ends it.
    pub fn stop(&mut self) -> Result<Exit, Error> {
        self.process.terminate()
    }

    fn post(&self, path: &str, body: &Value) -> Result<(), Error> {
        self.request("POST", path, Some(body)).map(drop)
    }

    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Error> {
        run_at(self.host.as_ref(), || http::request(method, self.api, path, body))
    }
}
