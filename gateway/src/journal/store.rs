//! The only writer of the redb file: one commit per group of changes, trimming in the same commit.

use std::path::Path;
use std::sync::Arc;

use postern_protocol::{JournalId, Seq};
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata};

use super::backend::Traffic;
use super::format::{
    HELD, LOG, Marks, RESERVE, Record, STATE, Segment, key, seal, seal_role, unseal,
};
use super::hasher::Hasher;
use super::load::{Found, judge, load};
use super::options::Options;
use super::ring::{Capacity, Full, Place, Ring};
use super::segment::Builder;
use super::{Change, Encoded, JournalError, JournalState, file, migrate};

/// Below this much free space on the file system collectors are held back: a full group and what
/// redb writes around it take under a tenth of it.
const MIN_FREE: u64 = 8 * 1024 * 1024;

/// From here on they go on.
const ENOUGH_FREE: u64 = 12 * 1024 * 1024;

/// How many segments are given up at once, where any has to be: fewer pages are written than with one
/// for every commit.
const TRIM_AT_ONCE: usize = 16;

/// Asks how many bytes are free below the journal; `None` where that is not known.
pub(crate) type FreeSpace = Box<dyn Fn() -> Option<u64> + Send>;

/// The open file and what is known of it.
pub(crate) struct Store {
    database: Arc<Database>,
    state: JournalState,
    traffic: Arc<Traffic>,
    hasher: Hasher,
    free: FreeSpace,
    reserve: usize,
    reserved: bool,
}

/// What became of each change of a group.
pub(crate) struct Committed {
    pub(crate) outcomes: Vec<Result<(), JournalError>>,
}

impl Store {
    /// Opens the journal, makes it where there is none, migrates an older format. The whole file is
    /// checked: redb's pages first, then every segment by its own checksum.
    pub(crate) fn open(options: &Options) -> Result<Self, JournalError> {
        let path = &options.path;
        if !path.try_exists().map_err(file::io(path))? {
            file::create(options, JournalId(uuid::Uuid::now_v7().into_bytes()), |_| Ok(()))?;
        }
        let traffic = Arc::new(Traffic::default());
        let judge = |database: &Database| judge(load(database, path)?, options);
        let opened = match file::open(path, &traffic, judge) {
            Err(JournalError::OlderFormat { format: migrate::FORMAT_1, .. }) => {
                migrate::from_format_1(options)?;
                file::open(path, &traffic, judge)
            }
            opened => opened,
        };
        let (database, found) = opened?;
        let directory = path.parent().unwrap_or(Path::new(".")).to_owned();
        let free = move || {
            let stat = rustix::fs::statvfs(&directory).ok()?;
            Some(stat.f_bavail.saturating_mul(stat.f_frsize))
        };
        Self::new(database, &found, options, traffic, Box::new(free))
    }

    #[cfg(test)]
    pub(crate) fn on(
        backend: impl redb::StorageBackend,
        options: &Options,
        id: JournalId,
    ) -> Result<Self, JournalError> {
        let database =
            file::builder().set_check_integrity_on_open(true).create_with_backend(backend)?;
        if database.begin_read()?.list_tables()?.count() == 0 {
            file::initialise(&database, options, id)?;
        }
        let found = judge(load(&database, &options.path)?, options)?;
        Self::new(database, &found, options, Arc::default(), Box::new(|| None))
    }

    #[cfg(test)]
    pub(crate) fn set_free_space(&mut self, free: FreeSpace) {
        self.free = free;
    }

    fn new(
        database: Database,
        found: &Found,
        options: &Options,
        traffic: Arc<Traffic>,
        free: FreeSpace,
    ) -> Result<Self, JournalError> {
        let reserved = match database.begin_read()?.open_table(RESERVE) {
            Ok(table) => !table.is_empty()?,
            Err(redb::TableError::TableDoesNotExist(_)) => false,
            Err(error) => return Err(error.into()),
        };
        let Found { id, head, held, ring, .. } = *found;
        let state = JournalState { id, head, ring, held, dead: None };
        let database = Arc::new(database);
        let (reserve, hasher) = (options.reserve, Hasher::default());
        Ok(Self { database, state, traffic, hasher, free, reserve, reserved })
    }

    pub(crate) fn state(&self) -> &JournalState {
        &self.state
    }

    pub(crate) fn database(&self) -> &Arc<Database> {
        &self.database
    }

    pub(crate) fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    /// Commits a group of changes durably, or nothing of it. A full ring refuses single appends and
    /// takes the rest; `Err` means that the store failed and the outcome is unknown.
    ///
    /// One sync: redb's one-phase commit, both of whose commit slots carry checksums (ADR-0005).
    pub(crate) fn commit(&mut self, group: &[Change]) -> Result<Committed, JournalError> {
        let mut next = self.state.clone();
        let transaction = self.database.begin_write()?;
        let mut batch = Builder::behind(next.id, next.head, next.ring.head.bytes);
        let mut outcomes = Vec::with_capacity(group.len());
        let built;
        {
            let mut log = transaction.open_table(LOG)?;
            let mut table = transaction.open_table(STATE)?;
            let safe = group.iter().filter_map(|change| match change {
                Change::Safe(safe) => Some(*safe),
                Change::Append(_) | Change::Role(..) | Change::Resolve(..) | Change::Barrier => {
                    None
                }
            });
            // Before the appends, which may need the room.
            raise_safe(&mut next.ring, &log, safe.max())?;
            self.look_at_disk(&mut next.ring);
            for change in group {
                if let Change::Append(append) = change
                    && let Err(full) = admit(&mut next.ring, &batch, append)
                {
                    outcomes.push(Err(full));
                    continue;
                }
                if let Change::Append(append) = change
                    && let Some(upto) = append.drops_held
                    && next.held > 0
                {
                    let name = append.controller.to_string();
                    let mut held = transaction.open_table(HELD)?;
                    held.retain_in((name.as_str(), 0)..=(name.as_str(), upto), |_, _| false)?;
                    next.held = held.len()?;
                    // A salvage finds them in pages that are long free.
                    let released = Record::Released(append.controller, upto);
                    let key = key::released(append.controller);
                    table.insert(key.as_str(), seal(next.id, &released)?.as_slice())?;
                }
                outcomes.push(apply(next.id, change, &mut table, &mut batch)?);
            }
            built = batch.finish()?;
            next.ring.head = built.head;
            // Before the insertion: to look at an old segment redb would write the new one out to
            // make room in its cache, and then once more.
            trim(&mut next.ring, &mut log)?;
            for (first, value) in &built.segments {
                log.insert(first, value.as_slice())?;
            }
            let marks = Record::Marks(marks(&next.ring));
            table.insert(key::MARKS, seal(next.id, &marks)?.as_slice())?;
        }
        let reserved = self.keep_reserve(&transaction, &next.ring)?;
        // The chain over what is written is computed while it is written.
        let linking = self.hasher.begin(built.start, built.tail);
        transaction.commit()?;
        next.head = self.hasher.end(linking)?;
        self.traffic.count_entries(next.head.seq.0.saturating_sub(self.state.head.seq.0));
        (self.state, self.reserved) = (next, reserved);
        Ok(Committed { outcomes })
    }

    /// Whether collectors that were held back by a full disk may go on.
    pub(crate) fn disk_has_room(&self) -> bool {
        (self.free)().is_none_or(|free| free >= ENOUGH_FREE)
    }

    /// A disk without room holds collectors back before it fails a write.
    fn look_at_disk(&self, ring: &mut Ring) {
        let free = (self.free)();
        ring.relax(free.is_none_or(|free| free >= ENOUGH_FREE));
        if free.is_some_and(|free| free < MIN_FREE) {
            ring.full = Some(Full::Disk);
        }
    }

    /// Gives the reserve up while the disk is full, and takes it again afterwards.
    fn keep_reserve(
        &self,
        transaction: &redb::WriteTransaction,
        ring: &Ring,
    ) -> Result<bool, JournalError> {
        let wanted = self.reserve > 0 && ring.full != Some(Full::Disk);
        if wanted != self.reserved {
            let mut table = transaction.open_table(RESERVE)?;
            if wanted {
                table.insert((), vec![0; self.reserve].as_slice())?;
            } else {
                table.remove(())?;
            }
        }
        Ok(wanted)
    }
}

/// What is written of the ring with every commit.
fn marks(ring: &Ring) -> Marks {
    Marks { head: ring.head.seq, safe: ring.safe.seq, oldest: ring.oldest.seq.next() }
}

/// Whether a collector's append has room. Only collectors are held back: without its notes an epoch
/// could never be sent, and a full journal would never empty.
fn admit(ring: &mut Ring, batch: &Builder, append: &Encoded) -> Result<(), JournalError> {
    if append.entries.is_empty() {
        return Ok(());
    }
    let shared = Capacity {
        entries: batch.last().0.saturating_sub(ring.head.seq.0),
        bytes: batch.pending() as u64,
    };
    let (entries, bytes) = (append.entries.len() as u64, append.entries.size() as u64);
    ring.admit(shared, Capacity { entries, bytes })
}

/// Carries out one change; `Ok(Err(_))` where it is refused.
fn apply(
    id: JournalId,
    change: &Change,
    table: &mut redb::Table<'_, &'static str, &'static [u8]>,
    batch: &mut Builder,
) -> Result<Result<(), JournalError>, JournalError> {
    match change {
        Change::Append(append) => {
            batch.push(&append.entries)?;
            let cursor = seal(id, &Record::Cursor(append.controller, append.cursor))?;
            table.insert(key::cursor(append.controller).as_str(), cursor.as_slice())?;
            if let Some(epoch) = append.opens {
                let sealed = seal(id, &Record::Epoch(epoch))?;
                table.insert(key::epoch(epoch.epoch).as_str(), sealed.as_slice())?;
            }
        }
        Change::Resolve(epoch, notes) => {
            batch.push(notes)?;
            let sealed = seal(id, &Record::Epoch(*epoch))?;
            table.insert(key::epoch(epoch.epoch).as_str(), sealed.as_slice())?;
        }
        Change::Role(term, role) => {
            if let Some(value) = table.get(key::ROLE)? {
                let Ok(Record::Role(known, _)) = unseal(value.value()) else {
                    return Err(unreadable("role document"));
                };
                if known > *term {
                    return Ok(Err(JournalError::LowerRole { got: *term, known }));
                }
            }
            table.insert(key::ROLE, seal_role(id, *term, role)?.as_slice())?;
        }
        Change::Safe(_) | Change::Barrier => {}
    }
    Ok(Ok(()))
}

/// Raises `safe`: it never falls, and never goes above what there is.
fn raise_safe(
    ring: &mut Ring,
    log: &impl ReadableTable<u64, &'static [u8]>,
    safe: Option<Seq>,
) -> Result<(), JournalError> {
    let Some(seq) = safe.map(|safe| safe.min(ring.head.seq)).filter(|seq| *seq > ring.safe.seq)
    else {
        return Ok(());
    };
    let bytes = match log.range(..=seq.next().0)?.next_back().transpose()? {
        Some((first, value)) if seq < ring.head.seq => {
            Segment::read(first.value(), value.value())?.place
        }
        _ => ring.head.bytes,
    };
    ring.safe = Place { seq, bytes };
    Ok(())
}

/// Gives up delivered history, oldest first and in whole segments, where room is needed. The last
/// segment stays: the chain goes on from it.
fn trim(
    ring: &mut Ring,
    log: &mut redb::Table<'_, u64, &'static [u8]>,
) -> Result<(), JournalError> {
    let before = ring.oldest;
    if !ring.overflows() || ring.safe.seq <= before.seq {
        return Ok(());
    }
    // A little more than has to go, but never much of the history.
    let spare = ring.capacity.entries / 100;
    for (dropped, row) in log.range(before.seq.next().0..)?.skip(1).enumerate() {
        let (first, value) = row?;
        let seq = Seq(first.value()).previous();
        let enough = dropped >= TRIM_AT_ONCE || seq.0 - before.seq.0 > spare;
        if seq > ring.safe.seq || (enough && !ring.overflows()) {
            break;
        }
        let bytes = Segment::place_in(value.value()).ok_or_else(|| unreadable("segment"))?;
        ring.oldest = Place { seq, bytes };
    }
    if ring.oldest != before {
        log.retain_in(..=ring.oldest.seq.0, |_, _| false)?;
    }
    Ok(())
}

pub(super) fn unreadable(what: &str) -> JournalError {
    JournalError::Dead { reason: format!("unreadable {what} in the journal") }
}
