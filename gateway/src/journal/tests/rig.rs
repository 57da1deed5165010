//! The one place in which the crash, fault and model tests touch the store: opening on a disk in
//! memory, committing, and copying out everything that a restarted gateway would see.

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use postern_protocol::role::SignedRole;
use postern_protocol::transaction::{Occurred, RawRecord};
use postern_protocol::{
    Chain, ControllerId, EpochId, Index, JournalId, Kind, Origin, RoleTerm, Seq, Timestamp,
    Transaction,
};

use super::backend::CutDisk;
use crate::journal::options::Options;
use crate::journal::store::Store;
use crate::journal::{Append, Capacity, Change, Cursor, EpochRecord, JournalError, Reader};

pub(super) const ID: JournalId = JournalId([9; 16]);

/// How many controllers a workload has.
pub(super) const CONTROLLERS: usize = 5;

/// A small one: the file is to grow for the entries' sake.
const RESERVE: usize = 16 * 1024;

pub(super) fn options(capacity: u64) -> Options {
    Options {
        path: PathBuf::from("memory"),
        gateway: "hall".to_owned(),
        capacity: Capacity { entries: capacity, bytes: 100_000_000 },
        syncs_per_second: None,
        reserve: RESERVE,
    }
}

pub(super) fn controller(number: usize) -> ControllerId {
    ControllerId::uhppote(u32::try_from(number).unwrap() + 1)
}

pub(super) fn transaction(controller: ControllerId, index: u64) -> Transaction {
    // Records of one to four times 16 bytes, no two alike.
    let mut raw = Vec::new();
    for part in 0..=index % 4 {
        raw.extend((controller.serial + part).to_be_bytes());
        raw.extend(index.to_be_bytes());
    }
    Transaction {
        origin: Origin::Controller { controller, epoch: epoch(controller), index: Index(index) },
        kind: Kind::Granted,
        occurred: Occurred::ABSENT,
        received: Timestamp(0),
        door: None,
        direction: None,
        credential: None,
        raw: RawRecord::new(&raw).unwrap(),
    }
}

fn epoch(controller: ControllerId) -> EpochId {
    EpochId(u128::from(controller.serial).to_be_bytes())
}

pub(super) fn cursor(controller: ControllerId, index: u64) -> Cursor {
    let anchor = transaction(controller, index).raw.digest();
    Cursor { epoch: epoch(controller), index: Index(index), anchor }
}

/// The next `count` records of a controller whose log was read up to `after`. The first opens its
/// epoch.
pub(super) fn append(controller: ControllerId, after: u64, count: u64) -> Append {
    let opens = (after == 0).then(|| epoch_record(controller, None));
    Append {
        controller,
        transactions: (after + 1..=after + count)
            .map(|index| transaction(controller, index))
            .collect(),
        cursor: cursor(controller, after + count),
        opens,
        drops_held: None,
    }
}

fn epoch_record(controller: ControllerId, known_as: Option<EpochId>) -> EpochRecord {
    EpochRecord { epoch: epoch(controller), controller, predecessor: None, known_as }
}

/// One change, as the tests speak of it.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Append(Append),
    Safe(u64),
    Role(u64),
    Resolve(EpochRecord, Vec<Transaction>),
}

impl Step {
    fn change(&self) -> Result<Change, JournalError> {
        match self {
            Self::Append(append) => Change::append(append.clone()),
            Self::Safe(safe) => Ok(Change::Safe(Seq(*safe))),
            Self::Role(term) => Ok(Change::Role(RoleTerm(*term), role(*term))),
            Self::Resolve(epoch, notes) => Change::resolve(*epoch, notes),
        }
    }
}

/// The epoch of a controller whose log was read up to `after` is known as another one, with a note.
pub(super) fn resolve(controller: ControllerId, after: u64, known_as: u64) -> Step {
    let known_as = EpochId(u128::from(known_as).to_be_bytes());
    let place = Origin::Gateway { controller, epoch: epoch(controller), after: Index(after) };
    let note = Transaction::noted(place, Kind::PowerOn, Timestamp(0));
    Step::Resolve(epoch_record(controller, Some(known_as)), vec![note])
}

pub(super) fn role(term: u64) -> SignedRole {
    let bytes = postern_protocol::uplink::Bytes::default();
    let document = format!("document of term {term}");
    SignedRole { document, certificate: bytes.clone(), signature: bytes }
}

/// Everything that a restarted gateway sees.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) head: Chain,
    pub(super) oldest: Seq,
    pub(super) safe: Seq,
    pub(super) cursors: BTreeMap<ControllerId, Cursor>,
    pub(super) epochs: BTreeMap<EpochId, EpochRecord>,
    pub(super) term: u64,
    /// From where the entries were read.
    pub(super) from: Seq,
    /// The chain before the first entry that was read, and the entries.
    pub(super) before: Chain,
    pub(super) entries: Vec<Vec<u8>>,
}

/// Consecutive entries and the chain before them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Batch {
    pub(super) before: Chain,
    pub(super) entries: Vec<Vec<u8>>,
}

/// A journal open on a disk in memory.
pub(super) struct Rig {
    store: Store,
    reader: Reader,
}

impl Rig {
    /// Opens, or makes the tables where there are none. A panic is told as a dead journal.
    pub(super) fn open(disk: &CutDisk, capacity: u64) -> Result<Self, JournalError> {
        Ok(Self::of(caught(|| Store::on(disk.clone(), &options(capacity), ID))?))
    }

    /// Opens or makes a journal in a directory, as the product does.
    pub(super) fn open_in(directory: &Path, capacity: u64) -> Result<Self, JournalError> {
        let options = Options { path: crate::journal::path(directory), ..options(capacity) };
        Ok(Self::of(Store::open(&options)?))
    }

    fn of(store: Store) -> Self {
        let reader = Reader::new(Arc::clone(store.database()));
        Self { store, reader }
    }

    /// Whether each change was taken; a full journal refuses.
    pub(super) fn commit(&mut self, steps: &[Step]) -> Result<Vec<bool>, JournalError> {
        let changes = steps.iter().map(Step::change).collect::<Result<Vec<_>, _>>()?;
        let committed = caught(|| self.store.commit(&changes))?;
        let taken = |outcome| match outcome {
            Ok(()) => true,
            Err(JournalError::Full { .. }) => false,
            Err(other) => panic!("refused: {other}"),
        };
        Ok(committed.outcomes.into_iter().map(taken).collect())
    }

    /// Whether the file system has room: without it the store gives up its reserve.
    pub(super) fn set_room(&mut self, room: bool) {
        self.store.set_free_space(Box::new(move || Some(if room { u64::MAX } else { 0 })));
    }

    pub(super) fn head(&self) -> Chain {
        self.store.state().head
    }

    pub(super) fn read(&self, from: u64, count: usize) -> Result<Option<Batch>, JournalError> {
        let batch = caught(|| self.reader.batch(Seq(from), count, usize::MAX))?;
        Ok(batch.map(|batch| {
            let entries = batch.iter().map(|(_, entry)| entry.to_vec()).collect();
            Batch { before: batch.before, entries }
        }))
    }

    pub(super) fn seen(&self) -> Result<Seen, JournalError> {
        self.seen_from(1)
    }

    /// The same with the entries from `from` on alone: most of the time goes into reading them.
    pub(super) fn seen_from(&self, from: u64) -> Result<Seen, JournalError> {
        let state = self.store.state().clone();
        let nothing = Batch { before: state.head, entries: Vec::new() };
        let Batch { before, entries } = self.read(from, usize::MAX)?.unwrap_or(nothing);
        caught(|| {
            Ok(Seen {
                from: Seq(from),
                head: state.head,
                oldest: state.oldest(),
                safe: state.safe(),
                cursors: self.reader.cursors()?,
                epochs: self.reader.epochs()?.into_iter().map(|one| (one.epoch, one)).collect(),
                term: self.reader.role()?.map_or(0, |(term, _)| term.0),
                before,
                entries,
            })
        })
    }

    /// For what needs the writer thread.
    pub(super) fn into_store(self) -> Store {
        self.store
    }
}

/// redb is known to panic on some damaged files; here that is a finding and not the end of the run.
fn caught<T>(work: impl FnOnce() -> Result<T, JournalError>) -> Result<T, JournalError> {
    panic::catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(JournalError::Dead { reason: "the store panicked".to_owned() }))
}
