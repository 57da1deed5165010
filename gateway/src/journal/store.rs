//! The redb file: opening, one commit per group of changes, trimming in the same commit.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use postern_protocol::transaction::MAX_ENTRY;
use postern_protocol::{Chain, ControllerId, JournalId, RoleTerm, Seq, Transaction};
use redb::{Builder, Database, DatabaseError, ReadableDatabase, ReadableTable};

use super::format::{
    CURSORS, Cursor, EPOCHS, EpochRecord, FORMAT, META, SEGMENTS, Segment, decode, encode, meta,
};
use super::{Change, JournalError, JournalState};

/// redb's page cache: reading is sequential, so a small one serves; the whole gateway is to stay
/// below 64 MiB.
const CACHE: usize = 8 * 1024 * 1024;

/// Where and whose the journal is.
#[derive(Clone, Debug)]
pub struct Options {
    /// The file.
    pub path: PathBuf,
    /// The gateway's name, bound into the journal when it is made.
    pub gateway: String,
    /// How many entries that are not safe it may hold.
    pub capacity: u64,
}

/// The open file and what is known of it.
pub(crate) struct Store {
    database: Arc<Database>,
    state: JournalState,
    capacity: u64,
}

/// What became of each change of a group.
pub(crate) struct Committed {
    pub(crate) outcomes: Vec<Result<(), JournalError>>,
}

impl Store {
    pub(crate) fn open(options: &Options) -> Result<Self, JournalError> {
        let path = &options.path;
        if !path.exists() {
            create(options, JournalId(uuid::Uuid::now_v7().into_bytes()), |_| Ok(()))?;
        }
        let database = builder().open(path).map_err(|error| open_error(path, error))?;
        Self::load(database, options)
    }

    #[cfg(test)]
    pub(crate) fn on(
        backend: impl redb::StorageBackend,
        options: &Options,
        id: JournalId,
    ) -> Result<Self, JournalError> {
        let database = builder().create_with_backend(backend)?;
        if tables_missing(&database)? {
            initialise(&database, &options.gateway, id)?;
        }
        Self::load(database, options)
    }

    fn load(database: Database, options: &Options) -> Result<Self, JournalError> {
        let damaged = |reason: String| JournalError::Damaged { path: options.path.clone(), reason };
        let transaction = database.begin_read()?;
        let table = transaction
            .open_table(META)
            .map_err(|_| damaged("it is a redb file, but not a journal".to_owned()))?;
        let value =
            |name: &str| table.get(name)?.ok_or_else(|| damaged(format!("`{name}` is missing")));
        let format = decode::<u32>(value(meta::FORMAT)?.value()).map_err(damaged)?;
        if format > FORMAT {
            let path = options.path.clone();
            return Err(JournalError::NewerFormat { path, format, supported: FORMAT });
        }
        let owner = decode::<String>(value(meta::GATEWAY)?.value()).map_err(damaged)?;
        if owner != options.gateway {
            let (path, gateway) = (options.path.clone(), options.gateway.clone());
            return Err(JournalError::Foreign { path, owner, gateway });
        }
        let id = decode::<JournalId>(value(meta::JOURNAL)?.value()).map_err(damaged)?;
        let (seq, hash) = decode(value(meta::HEAD)?.value()).map_err(damaged)?;
        let safe = decode::<Seq>(value(meta::SAFE)?.value()).map_err(damaged)?;
        let oldest = transaction
            .open_table(SEGMENTS)?
            .range::<u64>(..)?
            .next()
            .transpose()?
            .map_or(seq, |(key, _)| Seq(key.value()).previous())
            .next();
        drop(table);
        drop(transaction);
        let state = JournalState { id, head: Chain { seq, hash }, oldest, safe, dead: None };
        Ok(Self { database: Arc::new(database), state, capacity: options.capacity })
    }

    pub(crate) fn state(&self) -> &JournalState {
        &self.state
    }

    pub(crate) fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// Commits a group of changes durably, or nothing of it. A full ring refuses single appends and
    /// takes the rest; `Err` means that the store failed and the outcome is unknown.
    pub(crate) fn commit(&mut self, group: &[Change]) -> Result<Committed, JournalError> {
        let mut next = self.state.clone();
        let mut segment = NewSegment::after(next.head);
        let mut outcomes = Vec::with_capacity(group.len());
        let mut transaction = self.database.begin_write()?;
        // Two syncs a commit: a flipped bit in the last commit's pages is then reported at the next
        // open and never rolls an acknowledged commit back in silence (ADR-0002).
        transaction.set_two_phase_commit(true);
        {
            let mut meta_table = transaction.open_table(META)?;
            let mut cursors = transaction.open_table(CURSORS)?;
            let mut epochs = transaction.open_table(EPOCHS)?;
            for change in group {
                let notes: &[Transaction] = match change {
                    Change::Append(append) => &append.transactions,
                    Change::Resolve(_, notes) => notes,
                    Change::Safe(_) | Change::Role(..) => &[],
                };
                let unsafe_entries = segment.chain.seq.0.saturating_sub(next.safe.0);
                // Only collectors are held back: without its notes an epoch could never be sent,
                // and a full journal would never empty.
                if matches!(change, Change::Append(_))
                    && !notes.is_empty()
                    && unsafe_entries + notes.len() as u64 > self.capacity
                {
                    let capacity = self.capacity;
                    outcomes.push(Err(JournalError::Full { unsafe_entries, capacity }));
                    continue;
                }
                for note in notes {
                    segment.push(note)?;
                }
                match change {
                    Change::Append(append) => {
                        let controller = append.controller.to_string();
                        cursors.insert(controller.as_str(), &*encode(&append.cursor)?)?;
                        if let Some(epoch) = &append.opens {
                            epochs.insert(epoch.epoch.0.as_slice(), &*encode(epoch)?)?;
                        }
                    }
                    Change::Resolve(epoch, _) => {
                        epochs.insert(epoch.epoch.0.as_slice(), &*encode(epoch)?)?;
                    }
                    Change::Safe(safe) => {
                        // Never falls, and never above what there is.
                        next.safe = next.safe.max((*safe).min(self.state.head.seq));
                    }
                    Change::Role(term, role) => {
                        let known = remembered_term(&meta_table)?;
                        if let Some(known) = known.filter(|known| known > term) {
                            outcomes.push(Err(JournalError::LowerRole { got: *term, known }));
                            continue;
                        }
                        meta_table.insert(meta::ROLE_TERM, encode(term)?.as_slice())?;
                        let text = serde_json::to_vec(role).map_err(|error| {
                            JournalError::Dead { reason: format!("cannot encode: {error}") }
                        })?;
                        meta_table.insert(meta::ROLE, text.as_slice())?;
                    }
                }
                outcomes.push(Ok(()));
            }
            let mut segments = transaction.open_table(SEGMENTS)?;
            if let Some((key, bytes)) = segment.finish()? {
                segments.insert(key, bytes.as_slice())?;
            }
            next.head = segment.chain;
            // Reuse, oldest first and whole segments, in the same commit: only when room is needed.
            while next.head.seq.0 + 1 - next.oldest.0 > self.capacity {
                let Some((key, last)) = oldest_segment(&segments)? else { break };
                if last > next.safe {
                    break;
                }
                segments.remove(key)?;
                next.oldest = last.next();
            }
            let head = encode(&(next.head.seq, next.head.hash))?;
            meta_table.insert(meta::HEAD, head.as_slice())?;
            meta_table.insert(meta::SAFE, encode(&next.safe)?.as_slice())?;
        }
        transaction.commit()?;
        self.state = next;
        Ok(Committed { outcomes })
    }
}

/// The segment that a commit is about to write.
struct NewSegment {
    before: Chain,
    chain: Chain,
    entries: Vec<Vec<u8>>,
}

impl NewSegment {
    fn after(head: Chain) -> Self {
        Self { before: head, chain: head, entries: Vec::new() }
    }

    fn push(&mut self, transaction: &Transaction) -> Result<(), JournalError> {
        let mut buffer = [0; MAX_ENTRY];
        let bytes = transaction
            .encode(&mut buffer)
            .map_err(|error| JournalError::Dead { reason: error.to_string() })?;
        self.chain = self.chain.link(bytes);
        self.entries.push(bytes.to_vec());
        Ok(())
    }

    fn finish(&self) -> Result<Option<(u64, Vec<u8>)>, JournalError> {
        if self.entries.is_empty() {
            return Ok(None);
        }
        let segment = Segment {
            first: self.before.seq.next(),
            before: self.before.hash,
            after: self.chain.hash,
            entries: self.entries.iter().map(Vec::as_slice).collect(),
        };
        Ok(Some((segment.first.0, encode(&segment)?)))
    }
}

fn remembered_term(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<Option<RoleTerm>, JournalError> {
    let Some(value) = table.get(meta::ROLE_TERM)? else { return Ok(None) };
    decode(value.value()).map(Some).map_err(|_| unreadable("role term"))
}

fn oldest_segment(
    segments: &impl ReadableTable<u64, &'static [u8]>,
) -> Result<Option<(u64, Seq)>, JournalError> {
    let Some((key, value)) = segments.first()? else { return Ok(None) };
    let last = Segment::decode(key.value(), value.value())?.last();
    Ok(Some((key.value(), last)))
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
    builder
}

fn open_error(path: &Path, error: DatabaseError) -> JournalError {
    let path = path.to_owned();
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others mean that it cannot be read")]
    match error {
        DatabaseError::DatabaseAlreadyOpen => JournalError::InUse { path },
        DatabaseError::Storage(redb::StorageError::Io(source))
            if source.kind() != std::io::ErrorKind::InvalidData =>
        {
            JournalError::Io { path, source }
        }
        other => JournalError::Damaged { path, reason: other.to_string() },
    }
}

/// Makes a journal under a temporary name and renames it when it is whole and synced: a power cut
/// during creation leaves either no journal or a good one.
pub(crate) fn create(
    options: &Options,
    id: JournalId,
    fill: impl FnOnce(&Database) -> Result<(), JournalError>,
) -> Result<(), JournalError> {
    let path = &options.path;
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| JournalError::Io { path, source }
    };
    let temporary = path.with_extension("redb.new");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(io(&temporary)(error));
        }
        _ => {}
    }
    // Card numbers are in it: for the gateway's own user alone.
    let mut private = fs::OpenOptions::new();
    private.write(true).create_new(true).mode(0o600);
    drop(private.open(&temporary).map_err(io(&temporary))?);
    let database = builder().create(&temporary).map_err(|error| open_error(&temporary, error))?;
    initialise(&database, &options.gateway, id)?;
    fill(&database)?;
    drop(database);
    File::open(&temporary).and_then(|file| file.sync_all()).map_err(io(&temporary))?;
    fs::rename(&temporary, path).map_err(io(path))?;
    sync_directory(path)
}

/// Makes a rename in the directory of `path` durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), JournalError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory)
        .and_then(|file| file.sync_all())
        .map_err(|source| JournalError::Io { path: directory.to_owned(), source })
}

fn initialise(database: &Database, gateway: &str, id: JournalId) -> Result<(), JournalError> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(META)?;
        table.insert(meta::FORMAT, encode(&FORMAT)?.as_slice())?;
        table.insert(meta::JOURNAL, encode(&id)?.as_slice())?;
        table.insert(meta::GATEWAY, encode(&gateway)?.as_slice())?;
        let genesis = Chain::genesis(id);
        table.insert(meta::HEAD, encode(&(genesis.seq, genesis.hash))?.as_slice())?;
        table.insert(meta::SAFE, encode(&Seq(0))?.as_slice())?;
        transaction.open_table(SEGMENTS)?;
        transaction.open_table(CURSORS)?;
        transaction.open_table(EPOCHS)?;
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
fn tables_missing(database: &Database) -> Result<bool, JournalError> {
    Ok(database.begin_read()?.list_tables()?.count() == 0)
}

/// What a restarted gateway finds: every cursor.
pub(crate) fn cursors(database: &Database) -> Result<BTreeMap<ControllerId, Cursor>, JournalError> {
    let table = database.begin_read()?.open_table(CURSORS)?;
    let mut out = BTreeMap::new();
    for row in table.range::<&str>(..)? {
        let (key, value) = row?;
        let controller = key.value().parse().map_err(|_| unreadable("cursor"))?;
        out.insert(controller, decode(value.value()).map_err(|_| unreadable("cursor"))?);
    }
    Ok(out)
}

/// Every epoch.
pub(crate) fn epochs(database: &Database) -> Result<Vec<EpochRecord>, JournalError> {
    let table = database.begin_read()?.open_table(EPOCHS)?;
    table
        .range::<&[u8]>(..)?
        .map(|row| decode(row?.1.value()).map_err(|_| unreadable("epoch")))
        .collect()
}

pub(crate) fn unreadable(what: &str) -> JournalError {
    JournalError::Dead { reason: format!("unreadable {what} in the journal") }
}
