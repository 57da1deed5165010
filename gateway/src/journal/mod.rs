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
//! - What cannot be read is never passed on, and never keeps the gateway down: a damaged file is set
//!   aside, what verifies is salvaged into a new journal, and the controllers are read again.
//!
//! In here, from the disk upwards: `backend` (the file as redb sees it), `file` (making, opening,
//! setting aside), `format` and `segment` (bytes), `ring` (what is full, what may go; pure), `load` (a
//! whole file, read and verified), `store` (the commit; `hasher` computes the chain meanwhile), `pace`
//! (when to commit; pure), `writer` (the thread that groups commits), `reader` (batches, copied out),
//! `rewrite` (a journal from another's entries: `fork` under a new identity, `migrate` from an older
//! format, `salvage` from what `carve` finds in a damaged file), `inspect` (a look at a file without a
//! gateway). Drivers, collectors and the uplink know this module; it knows none. `docs/storage.md`
//! is its description.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use postern_protocol::role::SignedRole;
use postern_protocol::{Chain, ControllerId, JournalId, RoleTerm, Seq, Transaction};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

mod backend;
mod carve;
mod error;
mod file;
mod fork;
mod format;
mod hasher;
mod inspect;
mod load;
mod migrate;
mod options;
mod pace;
mod reader;
mod rewrite;
mod ring;
mod salvage;
mod segment;
mod store;
mod writer;

pub use backend::Traffic;
pub use error::JournalError;
pub use fork::fork;
pub use format::{Cursor, EpochRecord, FORMAT};
pub use inspect::{Inspection, Verification, Verified, inspect};
pub use options::{Options, RESERVE_BYTES};
pub use reader::{JournalBatch, Reader};
pub use ring::{Capacity, FILLING_PERCENT, Full, Place, RESUME_PERCENT, Ring, SMALLEST};
pub use salvage::{Aside, Remains, Salvaged, asides, remains, salvage, salvages};

use pace::Pace;
use segment::Run;
use store::Store;
use writer::{Told, Writer};

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
    /// What is held, what may be reused, whether it is full.
    pub ring: Ring,
    /// Entries behind a hole that wait until their controller was read again.
    pub held: u64,
    /// Why it is dead, if it is.
    pub dead: Option<String>,
}

impl JournalState {
    /// The oldest entry that is still there; head + 1 where there is none.
    pub fn oldest(&self) -> Seq {
        self.ring.oldest.seq.next()
    }

    /// The highest entry that may be reused.
    pub fn safe(&self) -> Seq {
        self.ring.safe.seq
    }

    /// How many entries may not be reused yet.
    pub fn unsafe_entries(&self) -> u64 {
        self.ring.unsafe_part().entries
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
    /// The held entries of this controller that are no longer needed, up to this one.
    pub drops_held: Option<u64>,
}

/// One change of the journal; several share a commit.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Append(Encoded),
    /// `safe` rises to here.
    Safe(Seq),
    /// A higher role document was seen.
    Role(RoleTerm, SignedRole),
    /// A provisional epoch turned out to be this; notes about it are appended.
    Resolve(EpochRecord, Run),
    /// Nothing: its answer says that everything before it was carried out.
    Barrier,
}

/// An [`Append`] whose transactions are bytes.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    controller: ControllerId,
    entries: Run,
    cursor: Cursor,
    opens: Option<EpochRecord>,
    drops_held: Option<u64>,
}

impl Change {
    pub(crate) fn append(append: Append) -> Result<Self, JournalError> {
        let Append { controller, transactions, cursor, opens, drops_held } = append;
        let entries = Run::of(&transactions)?;
        Ok(Self::Append(Encoded { controller, entries, cursor, opens, drops_held }))
    }

    pub(crate) fn resolve(epoch: EpochRecord, notes: &[Transaction]) -> Result<Self, JournalError> {
        Ok(Self::Resolve(epoch, Run::of(notes)?))
    }
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
    told: Arc<Told>,
    traffic: Arc<Traffic>,
    reader: Reader,
    closed: CancellationToken,
}

impl Journal {
    /// Opens the journal of `options`, or makes it, and starts its writer thread.
    ///
    /// Refuses a journal of another gateway, of a newer format, or one that another process holds.
    /// Every open checks the integrity of the whole file (`docs/performance.md` has the times).
    pub fn open(options: &Options) -> Result<Self, JournalError> {
        let pace = Pace::new(options.syncs_per_second);
        Self::start(Store::open(options)?, pace, writer::Order::CommitThenAnswer)
    }

    fn start(store: Store, pace: Pace, order: writer::Order) -> Result<Self, JournalError> {
        let (requests, inbox) = mpsc::channel(QUEUE);
        let (publish, state) = watch::channel(store.state().clone());
        let reader = Reader::new(Arc::clone(store.database()));
        let (told, traffic) = (Arc::new(Told::default()), Arc::clone(store.traffic()));
        let closed = CancellationToken::new();
        let lingers = std::thread::available_parallelism().is_ok_and(|count| count.get() > 1);
        let told_too = Arc::clone(&told);
        let writer = Writer { store, inbox, told: told_too, publish, pace, order, lingers };
        writer::spawn(writer, closed.clone()).map_err(|error| JournalError::Dead {
            reason: format!("the writer cannot be started: {error}"),
        })?;
        Ok(Self { requests, state, told, traffic, reader, closed })
    }

    /// Resolves when the transactions and the cursor that covers them are durable, and not before.
    pub async fn append(&self, append: Append) -> Answer {
        self.change(Change::append(append)?).await
    }

    /// Raises `safe`. It never falls; a lower value changes nothing. The state shows it when it is
    /// durable, which is with the next commit, or by itself when the journal has been quiet for a
    /// second: until then nothing more is reused.
    pub fn raise_safe(&self, safe: Seq) {
        self.told.raise(safe);
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
        self.change(Change::Barrier).await
    }

    /// Notes what a provisional epoch turned out to be, before anything of it is sent.
    pub async fn resolve(&self, epoch: EpochRecord, notes: &[Transaction]) -> Answer {
        self.change(Change::resolve(epoch, notes)?).await
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

    /// What was written since it was opened.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
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
