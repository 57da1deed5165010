//! The journal, by its public interface alone. Nothing else here names it.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use postern_gateway::journal::{
    Append, Capacity, Cursor, Journal, JournalError, Options, RESERVE_BYTES,
};
use postern_protocol::{Index, Origin, Seq, Transaction};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::Outcome;
use crate::load::{Batch, FILL, Load, RING};
use crate::subject::{Kept, Subject};

/// More than any run appends where nothing is ever delivered.
const ROOMY: u64 = 100_000_000;

/// How long a full ring may stay full: whoever should empty it has failed, and says why no more.
const PATIENCE: Duration = Duration::from_secs(30);

/// A journal and the runtime that its callers run in, as in the daemon.
pub(crate) struct Ours {
    path: PathBuf,
    journal: Journal,
    runtime: Runtime,
}

/// What the journal is set to; everything else is as shipped.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settings {
    /// The most entries it holds; roomy where not given.
    pub(crate) entries: Option<u64>,
    /// The flash profile: four syncs a second at most.
    pub(crate) flash: bool,
}

/// Commits' traffic so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traffic {
    pub(crate) syncs: u64,
    pub(crate) bytes: u64,
}

impl Ours {
    /// A new journal with room without end: its file grows with every commit.
    pub(crate) fn growing(directory: &Path) -> Outcome<Self> {
        Self::open(&directory.join("growing"), Settings::default())
    }

    /// A journal in service: its ring has been filled twice, so that it writes where it wrote before.
    pub(crate) fn in_service(directory: &Path) -> Outcome<Self> {
        let settings = Settings { entries: Some(RING), ..Settings::default() };
        let ours = Self::open(&directory.join("in-service"), settings)?;
        let mut load = Load::of(1);
        for _ in 0..2 * RING / FILL as u64 {
            ours.append(load.transactions(FILL)?)?;
        }
        Ok(ours)
    }

    /// Opens the journal in the directory, or makes it.
    pub(crate) fn open(directory: &Path, settings: Settings) -> Outcome<Self> {
        std::fs::create_dir_all(directory)?;
        let path = postern_gateway::journal::path(directory);
        let options = options(&path, settings);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        Ok(Self { path, journal: Journal::open(&options)?, runtime })
    }

    pub(crate) fn traffic(&self) -> Traffic {
        traffic(&self.journal)
    }

    pub(crate) fn file_size(&self) -> Outcome<u64> {
        Ok(std::fs::metadata(&self.path)?.len())
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Keeps the transactions; returns when they are durable.
    pub(crate) fn append(&self, transactions: Vec<Transaction>) -> Outcome<()> {
        self.runtime.block_on(append(&self.journal, transactions))
    }

    /// Keeps batches with two of them in flight, as a gateway with two busy controllers does: one is
    /// written while the other is made.
    pub(crate) fn append_two_at_a_time(&self, batches: Vec<Vec<Transaction>>) -> Outcome<()> {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        for (number, batch) in batches.into_iter().enumerate() {
            if number % 2 == 0 { one.push(batch) } else { other.push(batch) }
        }
        let tasks = [one, other].map(|batches| {
            let journal = self.journal.clone();
            self.runtime.spawn(async move {
                for batch in batches {
                    append(&journal, batch).await?;
                }
                Outcome::Ok(())
            })
        });
        for task in tasks {
            self.runtime.block_on(task)??;
        }
        Ok(())
    }

    /// A handle for a task of its own.
    pub(crate) fn handle(&self) -> Handle {
        Handle(self.journal.clone())
    }

    /// Ends the journal and waits until its file is let go.
    pub(crate) fn close(self) {
        let closed = self.journal.closed();
        drop(self.journal);
        self.runtime.block_on(closed);
    }
}

/// What a task does with the journal.
#[derive(Clone)]
pub(crate) struct Handle(Journal);

impl Handle {
    /// Keeps the transactions; resolves when they are durable. A full ring is waited for, as
    /// collectors do.
    pub(crate) async fn append(&self, transactions: Vec<Transaction>) -> Outcome<()> {
        let mut state = self.0.state();
        loop {
            state.mark_unchanged();
            match self.0.append(request(transactions.clone())?).await {
                Ok(_) => return Ok(()),
                Err(JournalError::Full { .. }) => timeout(PATIENCE, state.changed()).await??,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Up to `count` entries from `from` on, copied out as the uplink does; how many there were.
    pub(crate) fn read(&self, from: u64, count: usize) -> Outcome<u64> {
        let batch = self.0.reader().batch(Seq(from), count, usize::MAX)?;
        Ok(batch.map_or(0, |batch| batch.len() as u64))
    }

    /// Says that everything up to here is safe.
    pub(crate) fn raise_safe(&self, safe: u64) {
        self.0.raise_safe(Seq(safe));
    }

    /// The last entry.
    pub(crate) fn head(&self) -> u64 {
        self.0.state().borrow().head.seq.0
    }

    /// Resolves when the last entry is above `seq`.
    pub(crate) async fn above(&self, seq: u64) -> Outcome<()> {
        self.0.state().wait_for(|state| state.head.seq.0 > seq).await?;
        Ok(())
    }
}

fn options(path: &Path, settings: Settings) -> Options {
    Options {
        path: path.to_owned(),
        gateway: "bench".to_owned(),
        capacity: Capacity { entries: settings.entries.unwrap_or(ROOMY), bytes: u64::MAX },
        syncs_per_second: settings.flash.then_some(FLASH).flatten(),
        reserve: RESERVE_BYTES,
    }
}

/// The ceiling of the flash profile.
const FLASH: Option<NonZeroU32> = NonZeroU32::new(4);

fn traffic(journal: &Journal) -> Traffic {
    let traffic = journal.traffic();
    Traffic { syncs: traffic.syncs(), bytes: traffic.bytes_written() }
}

/// Everything is taken for delivered at once: a ring then never fills.
async fn append(journal: &Journal, transactions: Vec<Transaction>) -> Outcome<()> {
    let head = journal.append(request(transactions)?).await?;
    journal.raise_safe(head.seq);
    Ok(())
}

/// What a collector asks for: the transactions, and its cursor behind the last of them.
fn request(transactions: Vec<Transaction>) -> Outcome<Append> {
    let last = transactions.last().ok_or("nothing to append")?;
    let Origin::Controller { controller, epoch, index: Index(index) } = last.origin else {
        return Err("only controllers' records are appended here".into());
    };
    let cursor = Cursor { epoch, index: Index(index), anchor: last.raw.digest() };
    Ok(Append { controller, transactions, cursor, opens: None, drops_held: None })
}

impl Subject for Ours {
    fn commit(&mut self, batch: Batch) -> Outcome<()> {
        self.append(batch.transactions)
    }

    /// Tasks that each await their own append: what arrives during a sync shares the next.
    fn concurrently(&mut self, appenders: u32, slice: Duration) -> Outcome<Kept> {
        let begin = Instant::now();
        let tasks: Vec<_> = (1..=appenders)
            .map(|appender| {
                let journal = self.handle();
                self.runtime.spawn(async move {
                    let (mut load, mut kept) = (Load::of(appender), 0);
                    while begin.elapsed() < slice {
                        append(&journal.0, load.transactions(1)?).await?;
                        kept += 1;
                    }
                    Outcome::Ok(kept)
                })
            })
            .collect();
        let mut transactions = 0;
        for task in tasks {
            transactions += self.runtime.block_on(task)??;
        }
        Ok(Kept { transactions, time: begin.elapsed() })
    }
}
