//! A process that does nothing but write a journal, as fast as it can, and is killed again and again.
//!
//! [`write_for_ever`] is what runs in it: many appenders, a ring that is trimmed, and a line on stdout
//! for each append after it was acknowledged. [`journal_kills`] kills it and looks at the file: all that
//! was acknowledged is there, in order, with the chain as it was told.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use postern_gateway::journal::{
    self, Append, Capacity, Cursor, EpochRecord, Inspection, Journal, JournalError, Options,
    inspect,
};
use postern_protocol::transaction::RawRecord;
use postern_protocol::{
    Chain, ControllerId, Digest, EpochId, Index, Kind, Origin, Seq, Timestamp, Transaction,
};
use serde::{Deserialize, Serialize};

use crate::checker::{Exit, parse_lines};
use crate::harness::{Error, Process, wait_until};
use crate::random::Random;

/// Appenders at the same time: several share each commit.
const APPENDERS: u32 = 16;
/// The most transactions of an append.
const MAX_APPEND: u64 = 24;
/// Small, so that a run goes round it many times.
const CAPACITY: Capacity = Capacity { entries: 12_000, bytes: 4 * 1024 * 1024 };
/// How far `safe` stays behind: what lies behind it may not be given up.
const UNSAFE: u64 = 4_000;
/// The most acknowledgements before a kill.
const MAX_LINES: u64 = 2_000;
/// Acknowledgements come within this, on a loaded machine.
const WITHIN: Duration = Duration::from_secs(30);
/// Entries that are looked at together.
const BATCH: usize = 1_024;
/// How many findings are kept; more say nothing new.
const MAX_FINDINGS: usize = 10;

/// A line of the writer's.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// It opened the journal and found this.
    Opened { head: Seq, hash: Digest },
    /// This controller's log is kept up to here; the chain after the commit that holds it.
    Kept { serial: u32, index: Index, head: Seq, hash: Digest },
}

/// What all the kills showed.
#[derive(Debug, Default)]
pub struct Kills {
    /// How many there were.
    pub kills: u32,
    /// Transactions that were acknowledged.
    pub acknowledged: u64,
    /// Kills after which a commit was there that nobody had been told of.
    pub unacknowledged: u32,
    /// Kills before which nothing was acknowledged in that process.
    pub early: u32,
    /// The newest entry at the end.
    pub head: Seq,
    /// The oldest that was still held.
    pub oldest: Seq,
    /// What is wrong.
    pub findings: Vec<String>,
}

impl fmt::Display for Kills {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.findings.is_empty() { "ok" } else { "failed" };
        let Self { kills, acknowledged, unacknowledged, early, head, oldest, .. } = self;
        write!(
            f,
            "verdict: {word} kills={kills} acknowledged={acknowledged} \
             unacknowledged_but_durable={unacknowledged} before_the_first_acknowledgement={early} \
             head={head} oldest={oldest}"
        )
    }
}

/// Writes to the journal at `path` until it is killed, or cannot go on.
pub fn write_for_ever(path: &Path) -> Result<Infallible, Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let journal = Journal::open(&options(path))?;
        let head = journal.state().borrow().head;
        say(Line::Opened { head: head.seq, hash: head.hash })?;
        let cursors = journal.reader().cursors()?;
        let mut appenders = Vec::new();
        for serial in 1..=APPENDERS {
            let cursor = cursors.get(&ControllerId::uhppote(serial)).copied();
            appenders.push(tokio::spawn(append_for_ever(journal.clone(), serial, cursor)));
        }
        // They only end with a failure, and if one has failed they all do.
        for appender in appenders {
            appender.await??;
        }
        Err("nobody writes any more".into())
    })
}

async fn append_for_ever(
    journal: Journal,
    serial: u32,
    cursor: Option<Cursor>,
) -> Result<(), WriterError> {
    let (controller, epoch) = (ControllerId::uhppote(serial), epoch(serial));
    let mut random = Random::new(u64::from(serial) ^ journal.state().borrow().head.seq.0);
    let mut last = cursor.map_or(0, |cursor| cursor.index.0);
    loop {
        let first = last + 1;
        last += 1 + random.below(MAX_APPEND);
        let transactions: Vec<_> = (first..=last).map(|index| record(serial, index)).collect();
        let anchor = record(serial, last).record_digest();
        let cursor = Cursor { epoch, index: Index(last), anchor };
        let first_contact =
            EpochRecord { epoch, controller, predecessor: None, known_as: Some(epoch) };
        let opens = (first == 1).then_some(first_contact);
        let append = Append { controller, transactions, cursor, opens, drops_held: None };
        let head = journal.append(append).await?;
        say(Line::Kept { serial, index: Index(last), head: head.seq, hash: head.hash })?;
        // Only what was told is given up.
        journal.raise_safe(Seq(head.seq.0.saturating_sub(UNSAFE)));
    }
}

/// Why a writer cannot go on.
#[derive(Debug, thiserror::Error)]
enum WriterError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("stdout: {0}")]
    Stdout(#[from] std::io::Error),
}

/// One write for each line: what was written is there although the writer is killed.
fn say(line: Line) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(&line)?;
    text.push(b'\n');
    std::io::stdout().lock().write_all(&text)
}

fn options(path: &Path) -> Options {
    Options {
        path: path.to_owned(),
        gateway: "north/main/g1".to_owned(),
        capacity: CAPACITY,
        syncs_per_second: None,
        reserve: journal::RESERVE_BYTES,
    }
}

fn epoch(serial: u32) -> EpochId {
    let [a, b, c, d] = serial.to_be_bytes();
    EpochId([7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d])
}

/// The record of this index, always the same bytes.
fn record(serial: u32, index: u64) -> Transaction {
    let controller = ControllerId::uhppote(serial);
    let origin = Origin::Controller { controller, epoch: epoch(serial), index: Index(index) };
    let mut bytes = [0; 20];
    let (number, rest) = bytes.split_at_mut(8);
    number.copy_from_slice(&index.to_be_bytes());
    rest.fill(serial.to_be_bytes()[3]);
    let raw = RawRecord::new(&bytes).unwrap_or_default();
    Transaction { raw, ..Transaction::noted(origin, Kind::Granted, Timestamp(0)) }
}

/// What was acknowledged so far, over all processes.
#[derive(Default)]
struct Acknowledged {
    indices: BTreeMap<u32, Index>,
    head: Option<(Seq, Digest)>,
}

impl Acknowledged {
    fn total(&self) -> u64 {
        self.indices.values().map(|index| index.0).sum()
    }

    fn take(&mut self, line: Line) {
        let (Line::Opened { head, hash } | Line::Kept { head, hash, .. }) = line;
        if let Line::Kept { serial, index, .. } = line {
            self.indices.insert(serial, index);
        }
        if self.head.is_none_or(|(known, _)| known < head) {
            self.head = Some((head, hash));
        }
    }
}

/// Kills a writer `count` times and looks at the file after each. `soak` is the program that has the
/// writer in it.
pub fn journal_kills(
    soak: &Path,
    count: u32,
    seed: u64,
    progress: &mut dyn FnMut(String),
) -> Result<Kills, Error> {
    let mut random = Random::new(seed);
    let made = tempfile::Builder::new().prefix("postern-").tempdir();
    let dir = made.map_err(Error::file("create a directory in", std::env::temp_dir()))?;
    let path = dir.path().join(journal::FILE);
    let (mut all, mut kills) = (Acknowledged::default(), Kills::default());
    for number in 1..=count {
        let mut writer = Command::new(soak);
        writer.arg("journal-writer").arg(&path);
        let mut writer = Process::start(&mut writer, "writer", dir.path())?;
        // Some while the journal is made or opened, most in the middle of the work.
        let lines = if random.below(8) == 0 { random.below(2) } else { random.below(MAX_LINES) };
        wait_until("the writer to have written that much", WITHIN, || {
            if let Some(Exit { code, .. }) = writer.ended()? {
                let messages = writer.messages();
                return Err(Error::Scenario(format!("writer ended with {code:?}: {messages}")));
            }
            let said = writer.data().lines().count() as u64;
            Ok((said >= lines).then_some(()))
        })?;
        writer.kill()?;
        kills.kills += 1;
        let before = all.total();
        let told = told(&writer.data()).map_err(Error::Scenario)?;
        kills.early += u32::from(!told.iter().any(|line| matches!(line, Line::Kept { .. })));
        for line in told {
            all.take(line);
        }
        kills.acknowledged += all.total() - before;
        match examine(&path, &all) {
            Ok((head, oldest)) => {
                (kills.head, kills.oldest) = (head, oldest);
                let told = all.head.map_or(Seq(0), |(told, _)| told);
                kills.unacknowledged += u32::from(head > told);
            }
            Err(what) => kills.findings.push(format!("kill {number}: {what}")),
        }
        if kills.findings.len() >= MAX_FINDINGS {
            break;
        }
        if number % 20 == 0 {
            progress(format!("writer kill {number} of {count}, head {}", kills.head));
        }
    }
    if !kills.findings.is_empty() {
        let kept = dir.keep();
        kills.findings.push(format!("kept: {}", kept.display()));
    }
    Ok(kills)
}

/// What a writer told; a line that was cut off never was.
fn told(data: &str) -> Result<Vec<Line>, String> {
    let whole = data.rfind('\n').and_then(|end| data.get(..end)).unwrap_or_default();
    parse_lines(whole)
}

/// Looks at the file that a killed writer left: its newest entry and its oldest, or the first thing
/// that is wrong with it.
fn examine(path: &Path, all: &Acknowledged) -> Result<(Seq, Seq), String> {
    let (told, hash) = all.head.unwrap_or_default();
    if !path.exists() {
        let nothing = told == Seq(0);
        return if nothing { Ok((Seq(0), Seq(0))) } else { Err("there is no journal".to_owned()) };
    }
    let failed = |error: JournalError| error.to_string();
    let found = inspect(path).map_err(failed)?;
    let (head, oldest) = (found.head.seq, found.ring.oldest.seq.next());
    if head < told {
        return Err(format!("it ends at {head}, acknowledged was {told}"));
    }
    let chain = found.reader.chain_at(told).map_err(failed)?;
    if all.head.is_some() && chain.map(|chain| chain.hash) != Some(hash) {
        return Err(format!("its chain at {told} is {chain:?}, told was {hash}"));
    }
    // `safe` was never told to be higher.
    if oldest.0 > told.0.saturating_sub(UNSAFE) + 1 {
        return Err(format!("its oldest entry is {oldest}, acknowledged was {told}"));
    }
    let logs = logs(&found)?;
    let cursors = found.reader.cursors().map_err(failed)?;
    for serial in 1..=APPENDERS {
        let cursor = cursors.get(&ControllerId::uhppote(serial)).map(|cursor| cursor.index);
        let told = all.indices.get(&serial).copied().unwrap_or_default();
        if cursor.unwrap_or_default() < told {
            return Err(format!("the cursor of {serial} is {cursor:?}, acknowledged was {told}"));
        }
        let last = logs.get(&serial).copied();
        if last.is_some_and(|last| Some(last) != cursor) {
            return Err(format!("the log of {serial} ends at {last:?}, its cursor is {cursor:?}"));
        }
    }
    Ok((head, oldest))
}

/// The last index of each controller, whose records have to be what they are, without a hole, and
/// chained up to the head.
fn logs(found: &Inspection) -> Result<BTreeMap<u32, Index>, String> {
    let mut logs: BTreeMap<u32, Index> = BTreeMap::new();
    let mut from = Seq(1);
    let mut chain: Option<Chain> = None;
    while let Some(batch) =
        found.reader.batch(from, BATCH, usize::MAX).map_err(|error| error.to_string())?
    {
        let mut link = batch.before;
        if chain.is_some_and(|chain| chain != link) {
            return Err(format!("the chain is broken behind {}", link.seq));
        }
        for (seq, bytes) in batch.iter() {
            link = link.link(bytes);
            let entry = Transaction::decode(bytes).map_err(|error| format!("{seq}: {error}"))?;
            let Origin::Controller { controller, index, .. } = entry.origin else {
                return Err(format!("entry {seq} is a note"));
            };
            let serial = u32::try_from(controller.serial).unwrap_or_default();
            let next = logs.get(&serial).map(|last| last.next());
            if next.is_some_and(|next| next != index) || entry != record(serial, index.0) {
                return Err(format!("entry {seq} is {index} of {serial}, next was {next:?}"));
            }
            logs.insert(serial, index);
        }
        (from, chain) = (link.seq.next(), Some(link));
    }
    match chain {
        Some(chain) if chain != found.head => Err("its chain does not end at its head".to_owned()),
        _ => Ok(logs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the runs stand on: a journal that lacks what was told is noticed.
    #[test]
    fn a_journal_that_lacks_what_was_acknowledged_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(journal::FILE);
        let nothing = Acknowledged::default();
        let hash = Digest::default();
        let mut told = Acknowledged::default();
        told.take(Line::Kept { serial: 1, index: Index(3), head: Seq(3), hash });
        assert_eq!(examine(&path, &nothing), Ok((Seq(0), Seq(0))));
        assert!(examine(&path, &told).unwrap_err().contains("no journal"));

        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let keep = |first: u64, last: u64| {
            runtime.block_on(async {
                let journal = Journal::open(&options(&path)).unwrap();
                let transactions: Vec<_> = (first..=last).map(|index| record(1, index)).collect();
                let anchor = record(1, last).record_digest();
                let (epoch, controller) = (epoch(1), ControllerId::uhppote(1));
                let cursor = Cursor { epoch, index: Index(last), anchor };
                let append =
                    Append { controller, transactions, cursor, opens: None, drops_held: None };
                let chain = journal.append(append).await.unwrap();
                let closed = journal.closed();
                drop(journal);
                closed.await;
                chain
            })
        };
        keep(1, 2);
        assert!(examine(&path, &told).unwrap_err().contains("it ends at 2"));
        let chain = keep(3, 3);
        assert!(examine(&path, &told).unwrap_err().contains("its chain at 3"));
        told.head = Some((chain.seq, chain.hash));
        assert_eq!(examine(&path, &told), Ok((Seq(3), Seq(1))));
        told.indices.insert(1, Index(4));
        assert!(examine(&path, &told).unwrap_err().contains("the cursor of 1"));
        keep(5, 5);
        assert!(examine(&path, &nothing).unwrap_err().contains("entry 4 is 5 of 1"));
    }
}
