//! The journal: the gateway's durable ring of transactions.
//!
//! Constraints first:
//! - Nobody is told that a transaction is kept before the fsync of the commit that holds it
//!   (invariant 1). Callers await [`Journal::append`]; it resolves after the commit.
//! - A controller's cursor moves in the same redb transaction as what it covers (invariant 2).
//! - Only entries at or below `safe` are ever reused (invariant 3). A full journal refuses, and the
//!   controllers hold their own logs meanwhile.
//! - After one failed write or sync the journal is dead for this process: every later call answers
//!   [`JournalError::Dead`], and the daemon exits to be restarted.
//!
//! In here: `format` (bytes), `store` (redb, synchronous, the only writer), `writer` (the thread
//! that groups commits), `reader` (batches, copied out), `fork` (a new identity for a journal whose
//! past was contradicted). Drivers, collectors and the uplink know this module; it knows none.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use postern_protocol::role::SignedRole;
use postern_protocol::{Chain, ControllerId, JournalId, RoleTerm, Seq, Transaction};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

mod error;
mod fork;
mod format;
mod reader;
mod store;
mod writer;

pub use error::JournalError;
pub use fork::fork;
pub use format::{Cursor, EpochRecord};
pub use reader::{JournalBatch, Reader};
pub use store::Options;

use store::Store;

/// Appends that may wait for the writer: one for each of the most controllers on a gateway, twice.
/// Beyond that, collectors wait, and the controllers hold their own copies.
const QUEUE: usize = 512;

/// The name of the journal's file in the data directory.
pub const FILE: &str = "journal.redb";

/// What is known of the journal without reading it.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalState {
    /// Its id.
    pub id: JournalId,
    /// The last entry and the chain hash there.
    pub head: Chain,
    /// The oldest entry that is still held; head + 1 where there is none.
    pub oldest: Seq,
    /// The highest entry that may be reused.
    pub safe: Seq,
    /// Why it is dead, if it is.
    pub dead: Option<String>,
}

impl JournalState {
    /// How many entries may not be reused yet.
    pub fn unsafe_entries(&self) -> u64 {
        self.head.seq.0 - self.safe.0.min(self.head.seq.0)
    }
}

/// What a collector wants kept: transactions of one controller and where its cursor then stands.
#[derive(Clone, Debug)]
pub struct Append {
    /// Whose.
    pub controller: ControllerId,
    /// In the order of the log.
    pub transactions: Vec<Transaction>,
    /// The cursor that covers them.
    pub cursor: Cursor,
    /// An epoch that begins with them.
    pub opens: Option<EpochRecord>,
}

/// One change of the journal; several share a commit.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Append(Append),
    /// `safe` rises to here.
    Safe(Seq),
    /// A higher role document was seen.
    Role(RoleTerm, SignedRole),
    /// A provisional epoch turned out to be this; notes about it are appended.
    Resolve(EpochRecord, Vec<Transaction>),
}

/// What a writer answers: the head after the commit that holds the change.
type Answer = Result<Chain, JournalError>;

struct Request {
    change: Change,
    answer: oneshot::Sender<Answer>,
}

/// A handle on the journal. Clones share it.
#[derive(Clone)]
pub struct Journal {
    requests: mpsc::Sender<Request>,
    state: watch::Receiver<JournalState>,
    reader: Reader,
    capacity: u64,
    closed: CancellationToken,
}

impl Journal {
    /// Opens the journal of `options`, or makes it, and starts its writer thread.
    ///
    /// Refuses a journal of another gateway, of a newer format, or one that another process holds.
    /// Every open checks the integrity of the whole file (0.12 s for a million records).
    pub fn open(options: &Options) -> Result<Self, JournalError> {
        Ok(Self::start(Store::open(options)?, options.capacity, writer::Order::CommitThenAnswer))
    }

    fn start(store: Store, capacity: u64, order: writer::Order) -> Self {
        let (requests, inbox) = mpsc::channel(QUEUE);
        let (publish, state) = watch::channel(store.state().clone());
        let reader = Reader::new(Arc::clone(store.database()));
        let closed = CancellationToken::new();
        writer::spawn(store, inbox, publish, order, closed.clone());
        Self { requests, state, reader, capacity, closed }
    }

    /// Resolves when the transactions and the cursor that covers them are durable, and not before.
    pub async fn append(&self, append: Append) -> Answer {
        self.change(Change::Append(append)).await
    }

    /// Raises `safe`. It never falls; a lower value changes nothing.
    pub async fn raise_safe(&self, safe: Seq) -> Answer {
        self.change(Change::Safe(safe)).await
    }

    /// Remembers a role document, before anybody obeys it; `false` where a higher one is remembered
    /// already. Equal terms are the same document: it may be verified and obeyed again.
    pub async fn remember_role(
        &self,
        term: RoleTerm,
        role: SignedRole,
    ) -> Result<bool, JournalError> {
        match self.change(Change::Role(term, role)).await {
            Ok(_) => Ok(true),
            Err(JournalError::LowerRole { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Resolves when everything that was asked before is durable or refused.
    pub async fn barrier(&self) -> Answer {
        self.change(Change::Safe(Seq(0))).await
    }

    /// Notes what a provisional epoch turned out to be, before anything of it is sent.
    pub async fn resolve(&self, epoch: EpochRecord, notes: Vec<Transaction>) -> Answer {
        self.change(Change::Resolve(epoch, notes)).await
    }

    async fn change(&self, change: Change) -> Answer {
        let (answer, answered) = oneshot::channel();
        let dead = || JournalError::Dead { reason: self.dead_reason() };
        self.requests.send(Request { change, answer }).await.map_err(|_| dead())?;
        answered.await.map_err(|_| dead())?
    }

    fn dead_reason(&self) -> String {
        self.state.borrow().dead.clone().unwrap_or_else(|| "the writer has stopped".to_owned())
    }

    /// The state now, and a way to wait for the next.
    pub fn state(&self) -> watch::Receiver<JournalState> {
        self.state.clone()
    }

    /// Resolves when the writer has let go of the file, which it does after the last handle is gone.
    pub fn closed(&self) -> impl Future<Output = ()> + use<> {
        let closed = self.closed.clone();
        async move { closed.cancelled().await }
    }

    /// How many entries it may hold that are not safe.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Reads, without ever blocking the writer.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }
}

/// Where the journal lies in a data directory.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

#[cfg(test)]
mod tests;
