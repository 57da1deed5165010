//! What a voter keeps on its disk: `voter.redb` in its data directory (`docs/storage.md`, "The voter's file").
//!
//! Every write is one transaction and durable before it is answered. After one that failed the handle is
//! dead: nothing more is answered from it, Raft stops, and the file is opened and checked anew. All of this blocks;
//! [`VoterFile::off`] brings it away from the runtime's workers.

mod backend;
mod place;

use std::ops::{Bound, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::error::FileError;
use super::standing::Memory;
use super::state::State;
use super::types::{Entry, LogId, NodeId, Position, Vote};

/// The file's name in the voter's data directory.
const NAME: &str = "voter.redb";

/// The format that is written and read.
const FORMAT: u32 = 1;

const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
const LOG: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("log");

/// The keys of [`META`].
mod key {
    pub(super) const FORMAT: &str = "format";
    pub(super) const IDENTITY: &str = "identity";
    pub(super) const VOTE: &str = "vote";
    pub(super) const PURGED: &str = "purged";
    pub(super) const STATE: &str = "state";
    pub(super) const REMEMBERED: &str = "remembered";
}

/// Entries are handed out up to so many bytes of them at once, and at least one: they are to fit a message.
const MAX_READ: usize = 128 * 1024;

/// Whose file it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// Its node id. A node id is never given twice: who lost its file gets another one.
    pub node: NodeId,
    /// The voter's name.
    pub name: String,
    /// Whether it is to found the group of voters, once all are as empty as it is.
    pub founding: bool,
}

/// A voter's file, opened. Clones are handles on the same one.
#[derive(Clone, Debug)]
pub struct VoterFile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    identity: Identity,
    // Taken when it is closed, which releases the lock on the file however many handles there are.
    database: RwLock<Option<Database>>,
    // The vote and the last entry, as they are on the disk.
    end: Mutex<End>,
    failure: watch::Sender<Option<String>>,
    #[cfg(test)]
    full: Arc<AtomicBool>,
}

#[derive(Clone, Copy, Debug, Default)]
struct End {
    vote: Option<Vote>,
    purged: Option<LogId>,
    last: Option<LogId>,
}

impl VoterFile {
    /// Makes the file of the voter that is to found the group, in the data directory `dir`.
    pub fn found(dir: &Path, node: u64, name: &str) -> Result<(), FileError> {
        Self::create(dir, &Identity { node, name: name.to_owned(), founding: true })
    }

    /// Makes the file of a voter that never promised anything.
    pub(super) fn create(dir: &Path, identity: &Identity) -> Result<(), FileError> {
        place::create(&dir.join(NAME), |database| {
            let transaction = database.begin_write()?;
            {
                let mut meta = transaction.open_table(META)?;
                meta.insert(key::FORMAT, encode(&FORMAT)?.as_slice())?;
                meta.insert(key::IDENTITY, encode(identity)?.as_slice())?;
                transaction.open_table(LOG)?;
            }
            transaction.commit()?;
            Ok(())
        })
    }

    /// Opens the file in the data directory `dir`, every page of which is checked; `None` where there is none.
    /// No other process can have it open then.
    pub fn open(dir: &Path) -> Result<Option<Self>, FileError> {
        let path = dir.join(NAME);
        let full = Arc::new(AtomicBool::new(false));
        let Some(database) = place::open(&path, &full)? else { return Ok(None) };
        let damaged = |reason: &str| place::damaged(&path, reason);
        let (identity, end) = {
            let transaction = database.begin_read()?;
            let meta = match transaction.open_table(META) {
                Ok(meta) => meta,
                Err(redb::TableError::TableDoesNotExist(_)) => {
                    return Err(damaged("it is no voter's file"));
                }
                Err(error) => return Err(error.into()),
            };
            let got: u32 = get(&meta, key::FORMAT)?.ok_or_else(|| damaged("it has no format"))?;
            if got != FORMAT {
                return Err(FileError::Format { path, got, wanted: FORMAT });
            }
            let identity =
                get(&meta, key::IDENTITY)?.ok_or_else(|| damaged("it does not say whose it is"))?;
            let purged = get(&meta, key::PURGED)?;
            let log = transaction.open_table(LOG)?;
            let last = log.last()?;
            let last = last.map(|(_, value)| decode::<Entry>(value.value())).transpose()?;
            let last = last.map(|entry| entry.log_id).max(purged);
            (identity, End { vote: get(&meta, key::VOTE)?, purged, last })
        };
        let (failure, _) = watch::channel(None);
        Ok(Some(Self(Arc::new(Inner {
            path,
            identity,
            database: RwLock::new(Some(database)),
            end: Mutex::new(end),
            failure,
            #[cfg(test)]
            full,
        }))))
    }

    /// Gives the file in `dir` another name, which says why it is not used any more. It must not be open.
    pub(super) fn set_aside(dir: &Path, why: &str) -> Result<PathBuf, FileError> {
        place::set_aside(&dir.join(NAME), why)
    }

    /// Closes it for all handles: another one can open it then.
    pub(super) fn close(&self) {
        self.0.database.write().unwrap_or_else(PoisonError::into_inner).take();
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// Why it is dead, if it is.
    pub(super) fn failure(&self) -> watch::Receiver<Option<String>> {
        self.0.failure.subscribe()
    }

    /// From now on there is no room on the disk, or there is again.
    #[cfg(test)]
    pub(super) fn fill_disk(&self, full: bool) {
        self.0.full.store(full, std::sync::atomic::Ordering::SeqCst);
    }

    /// Does something with it where it may block.
    pub(super) async fn off<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, FileError> + Send + 'static,
    ) -> Result<T, FileError> {
        let file = self.clone();
        // Cancel-safety: what was begun is done to its end, whether anybody waits for it or not.
        tokio::task::spawn_blocking(move || work(&file)).await.unwrap_or(Err(FileError::Closed))
    }

    /// How far the voter has come, by what is on the disk.
    pub(super) fn position(&self) -> Position {
        let end = self.end();
        Position::new(end.vote.as_ref(), end.last.as_ref())
    }

    pub(super) fn vote(&self) -> Option<Vote> {
        self.end().vote
    }

    pub(super) fn purged(&self) -> Option<LogId> {
        self.end().purged
    }

    pub(super) fn last(&self) -> Option<LogId> {
        self.end().last
    }

    fn end(&self) -> End {
        *self.0.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl VoterFile {
    pub(super) fn save_vote(&self, vote: Vote) -> Result<(), FileError> {
        self.put(key::VOTE, &vote)?;
        self.0.end.lock().unwrap_or_else(PoisonError::into_inner).vote = Some(vote);
        Ok(())
    }

    pub(super) fn state(&self) -> Result<State, FileError> {
        Ok(self.get(key::STATE)?.unwrap_or_default())
    }

    pub(super) fn save_state(&self, state: &State) -> Result<(), FileError> {
        self.put(key::STATE, state)
    }

    pub(super) fn remembered(&self) -> Result<Memory, FileError> {
        Ok(self.get(key::REMEMBERED)?.unwrap_or_default())
    }

    pub(super) fn remember(&self, memory: &Memory) -> Result<(), FileError> {
        self.put(key::REMEMBERED, memory)
    }

    /// The entries of a range, from its beginning, as many as go into a message.
    pub(super) fn entries(&self, range: impl RangeBounds<u64>) -> Result<Vec<Entry>, FileError> {
        self.read(|transaction| {
            let (mut entries, mut read) = (Vec::new(), 0);
            for found in transaction.open_table(LOG)?.range::<u64>(range)? {
                let (_, value) = found?;
                read += value.value().len();
                if read > MAX_READ && !entries.is_empty() {
                    break;
                }
                entries.push(decode(value.value())?);
            }
            Ok(entries)
        })
    }

    /// All entries of a range.
    pub(super) fn all_entries(
        &self,
        range: impl RangeBounds<u64>,
    ) -> Result<Vec<Entry>, FileError> {
        let (mut start, end) = (range.start_bound().cloned(), range.end_bound().cloned());
        let mut entries = Vec::new();
        loop {
            let more = self.entries((start, end))?;
            let Some(last) = more.last() else { return Ok(entries) };
            start = Bound::Excluded(last.log_id.index);
            entries.extend(more);
            // An excluded start that is the excluded end as well is no range.
            if end == start {
                return Ok(entries);
            }
        }
    }

    pub(super) fn append(&self, entries: &[Entry]) -> Result<(), FileError> {
        self.write(|transaction| {
            let mut log = transaction.open_table(LOG)?;
            for entry in entries {
                log.insert(entry.log_id.index, encode(entry)?.as_slice())?;
            }
            Ok(())
        })?;
        if let Some(last) = entries.last() {
            self.0.end.lock().unwrap_or_else(PoisonError::into_inner).last = Some(last.log_id);
        }
        Ok(())
    }

    /// Removes the entries from `index` on.
    pub(super) fn truncate(&self, index: u64) -> Result<(), FileError> {
        let last = self.write(|transaction| {
            let mut log = transaction.open_table(LOG)?;
            log.retain_in(index.., |_, _| false)?;
            let last = log.last()?;
            last.map(|(_, value)| decode::<Entry>(value.value())).transpose()
        })?;
        let mut end = self.0.end.lock().unwrap_or_else(PoisonError::into_inner);
        end.last = last.map(|entry| entry.log_id).max(end.purged);
        Ok(())
    }

    /// Removes the entries up to `upto`, which the state holds.
    pub(super) fn purge(&self, upto: LogId) -> Result<(), FileError> {
        self.write(|transaction| {
            transaction.open_table(LOG)?.retain_in(..=upto.index, |_, _| false)?;
            transaction.open_table(META)?.insert(key::PURGED, encode(&upto)?.as_slice())?;
            Ok(())
        })?;
        let mut end = self.0.end.lock().unwrap_or_else(PoisonError::into_inner);
        end.purged = Some(upto);
        end.last = end.last.max(Some(upto));
        Ok(())
    }

    fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, FileError> {
        self.read(|transaction| get(&transaction.open_table(META)?, key))
    }

    fn put(&self, key: &str, value: &impl Serialize) -> Result<(), FileError> {
        self.write(|transaction| {
            transaction.open_table(META)?.insert(key, encode(value)?.as_slice())?;
            Ok(())
        })
    }

    fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, FileError>,
    ) -> Result<T, FileError> {
        let database = self.0.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or(FileError::Closed)?;
        self.alive()?;
        work(&database.begin_read()?)
    }

    /// One transaction, durable when this returns. A failure is the end of this handle: what of it reached
    /// the disk is found out by opening the file anew.
    fn write<T>(
        &self,
        work: impl FnOnce(&redb::WriteTransaction) -> Result<T, FileError>,
    ) -> Result<T, FileError> {
        let database = self.0.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or(FileError::Closed)?;
        self.alive()?;
        let written = || {
            let transaction = database.begin_write()?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        written().inspect_err(|error: &FileError| {
            tracing::error!(path = %self.0.path.display(), %error, "the voter's file failed");
            self.0.failure.send_replace(Some(error.to_string()));
        })
    }

    fn alive(&self) -> Result<(), FileError> {
        match &*self.0.failure.borrow() {
            None => Ok(()),
            Some(reason) => Err(FileError::Dead(reason.clone())),
        }
    }
}

fn get<T: DeserializeOwned>(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
    key: &str,
) -> Result<Option<T>, FileError> {
    meta.get(key)?.map(|value| decode(value.value())).transpose()
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>, FileError> {
    postcard::to_allocvec(value).map_err(|error| corrupt(&error.to_string()))
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FileError> {
    postcard::from_bytes(bytes).map_err(|error| corrupt(&error.to_string()))
}

/// A value that no version of this program wrote, behind a checksum that is right.
fn corrupt(reason: &str) -> FileError {
    FileError::Store(Box::new(redb::Error::Corrupted(reason.to_owned())))
}

#[cfg(test)]
mod tests;
