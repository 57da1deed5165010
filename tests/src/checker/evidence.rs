//! What the checker is given. Plain data: the harness collects it, tests make it up.

use std::collections::BTreeMap;
use std::io::BufRead;

use postern_protocol::transaction::{Credential, Direction, Door, Gap, RawRecord};
use postern_protocol::{ControllerId, Digest, EpochId, Index, JournalId, Kind, RoleTerm, Seq};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Everything that is known about a run.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The ledgers of all simulators, each in its own order.
    pub ledger: Vec<LedgerLine>,
    /// What the server that is active at the end holds.
    pub active: StoreView,
    /// What the other server holds, where there is one.
    pub standby: Option<StoreView>,
    /// Whether the servers replicate, so that both must hold the same.
    pub replicated: bool,
    /// What was promised before each kill, and what was left of it after.
    pub kills: Vec<Kill>,
    /// Who was seen to be active, in the order of observation.
    pub reigns: Vec<ReignSeen>,
    /// How every process ended.
    pub exits: Vec<Exit>,
    /// What was timed.
    pub times: Vec<Timing>,
    /// How controllers that name the lives of their logs named them; perhaps not all.
    pub epochs: BTreeMap<(ControllerId, u64), EpochId>,
    /// Which gaps the scenario makes unavoidable.
    pub gaps: GapAllowance,
}

/// A line of a simulator's ledger. Other fields of it are no business of the checker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LedgerLine {
    /// A controller recorded an event.
    Recorded {
        /// Whose.
        controller: ControllerId,
        /// Which life of its log, from 0.
        life: u64,
        /// Its index there.
        index: Index,
        /// Its bytes.
        raw: RawRecord,
        /// When the ledger was written, RFC 3339 UTC.
        #[serde(default)]
        at: Option<String>,
    },
    /// A controller's log was emptied: this life begins.
    Restarted {
        /// Whose.
        controller: ControllerId,
        /// Which life begins.
        life: u64,
        /// The word for it.
        event: String,
    },
}

/// What a server holds.
#[derive(Clone, Debug, Default)]
pub struct StoreView {
    /// The server's name.
    pub server: String,
    /// Its transactions in its own order.
    pub rows: Vec<Row>,
    /// The journals it knows.
    pub journals: Vec<Journal>,
}

/// A transaction in a server's store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its place in the store.
    pub rowid: i64,
    /// About whose log it is.
    pub controller: ControllerId,
    /// Which life of that log, in the gateway's words.
    pub epoch: EpochId,
    /// The controller's number of it; `None` for what the gateway noted.
    pub index: Option<Index>,
    /// Behind which index it stands, for what the gateway noted.
    #[serde(default)]
    pub after: Option<Index>,
    /// Through which journal it came.
    pub journal: JournalId,
    /// Its position there.
    pub seq: Seq,
    /// What it was.
    pub kind: Kind,
    /// When it happened, by the controller's clock, RFC 3339 UTC.
    #[serde(default)]
    pub occurred: Option<String>,
    /// Whose clock gave that, as a word of a closed list.
    #[serde(default)]
    pub time_source: Option<String>,
    /// How far that is to be trusted, as a word of a closed list.
    #[serde(default)]
    pub time_trust: Option<String>,
    /// When the gateway had it, by its own clock, RFC 3339 UTC.
    #[serde(default)]
    pub received: Option<String>,
    /// When the server had it durably, by its own clock, RFC 3339 UTC.
    #[serde(default)]
    pub stored_at: Option<String>,
    /// At which door.
    #[serde(default)]
    pub door: Option<Door>,
    /// Which way.
    #[serde(default)]
    pub direction: Option<Direction>,
    /// Whose card.
    #[serde(default)]
    pub credential: Option<Credential>,
    /// The controller's bytes.
    pub raw: RawRecord,
    /// The digest that the server keeps beside them.
    #[serde(default)]
    pub digest: Option<Digest>,
    /// Under which role term it was stored.
    pub role_term: RoleTerm,
    /// What the server noticed about it.
    #[serde(default)]
    pub flags: Vec<String>,
}

/// A journal as a server knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// Its id.
    pub journal: JournalId,
    /// The highest `seq` that the server has.
    pub stored: Seq,
    /// How many entries brought what it held already.
    #[serde(default)]
    pub doubles: u64,
    /// Ranges that never came.
    #[serde(default)]
    pub holes: Vec<Hole>,
}

/// A range of a journal that a server never received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hole {
    /// The first missing `seq`.
    pub first: Seq,
    /// The last.
    pub last: Seq,
}

/// A process was killed without warning.
#[derive(Clone, Debug)]
pub struct Kill {
    /// Which, in words: `gateway, kill 3`.
    pub victim: String,
    /// What it had told others.
    pub told: Vec<Told>,
}

/// A place in a controller's log, in the gateway's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// In which life of the log.
    pub epoch: EpochId,
    /// Where.
    pub index: Index,
}

/// Something that a process told others, which they act upon, and what remained of it.
#[derive(Clone, Debug)]
pub enum Told {
    /// The gateway said that it has a controller's log up to here.
    Read {
        /// Whose log.
        controller: ControllerId,
        /// The highest position it said it had before the kill.
        told: Position,
        /// From where it went on afterwards.
        kept: Option<Position>,
    },
    /// A server said that it has a journal up to here.
    Stored {
        /// Which journal.
        journal: JournalId,
        /// The watermark that the gateway was given before the kill.
        told: Seq,
        /// The watermark in the server's store afterwards.
        kept: Seq,
    },
    /// The gateway forgot its journal up to here.
    Forgotten {
        /// Which journal.
        journal: JournalId,
        /// The highest `seq` that it no longer has.
        forgotten: Seq,
        /// The highest that a server has durably.
        stored: Seq,
    },
}

/// Somebody said who is active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReignSeen {
    /// Who said so; one process over its restarts is one observer.
    pub observer: String,
    /// Who is active.
    pub active: String,
    /// Under which role term.
    pub role_term: RoleTerm,
}

/// How a process ended.
#[derive(Clone, Debug, Default)]
pub struct Exit {
    /// Which: `gateway.2`.
    pub process: String,
    /// Its exit code, where it ended by itself.
    pub code: Option<i32>,
    /// The exit code that the scenario wants, where it ends by itself: 0 unless it provoked another.
    pub expected: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The last signal that the harness sent it.
    pub sent: Option<i32>,
    /// Lines of its log that tell of a panic.
    pub panics: Vec<String>,
    /// The most memory it had, in KiB, where that was seen.
    pub peak_memory_kib: Option<u64>,
}

/// Something that was timed.
#[derive(Clone, Debug)]
pub struct Timing {
    /// What.
    pub what: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// How long it may take.
    pub bound_ms: u64,
}

/// Which gaps a scenario makes unavoidable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum GapAllowance {
    /// None: whatever is missing behind a gap fails the run.
    #[default]
    None,
    /// Any, as long as each tells the truth.
    Any,
    /// Only what was really gone, of logs of these sizes: no gap covers what is stored, and none that
    /// ends before its life of the log does covers what that log held to the end.
    Proven(BTreeMap<ControllerId, LogSize>),
    /// Exactly these and no other.
    Exactly(Vec<ExpectedGap>),
}

/// How much a controller's log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSize {
    /// How many records.
    pub capacity: u64,
    /// How many of the oldest it drops at once when it is full.
    pub chunk: u64,
}

impl LogSize {
    /// How many of so many records of one life such a log has dropped.
    pub(super) fn dropped(self, recorded: u64) -> u64 {
        let chunk = self.chunk.max(1);
        recorded.saturating_sub(self.capacity).div_ceil(chunk) * chunk
    }
}

/// A gap that must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedGap {
    /// In whose log.
    pub controller: ControllerId,
    /// In which life of it.
    pub life: u64,
    /// What it claims, with its reason and continuity.
    pub gap: Gap,
}

/// Reads JSON lines; the error names the line.
pub fn parse_lines<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, String> {
    read_lines(text.as_bytes())
}

/// The same from a file, however long that is.
pub fn read_lines<T: DeserializeOwned>(lines: impl BufRead) -> Result<Vec<T>, String> {
    let mut items = Vec::new();
    for (number, line) in lines.lines().enumerate() {
        let failed = |error: String| format!("line {}: {error}", number + 1);
        let line = line.map_err(|error| failed(error.to_string()))?;
        if !line.trim().is_empty() {
            items.push(serde_json::from_str(&line).map_err(|error| failed(error.to_string()))?);
        }
    }
    Ok(items)
}
