//! The store: transactions, journals' watermarks, the role document and the audit log in `SQLite`.
//! What the rest of a server asks of it is [`TransactionStore`]; what only replication, copies and
//! backups need is asked of the embedded store itself.
//!
//! Invariants: write-ahead log with `synchronous=FULL`, checked at each open, so that a commit that
//! returned is durable; a batch commits whole or not at all, together with its journal's watermark
//! and under the role term that it was accepted under; one connection writes, one reads. After an
//! error that leaves the outcome unknown the store is dead: the process stops and a restart looks.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use postern_protocol::role::StoreName;
use rusqlite::Connection;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use change::Head;

mod apply;
mod archive;
mod audit;
pub mod backup;
pub mod change;
#[cfg(test)]
mod conformance;
mod contract;
mod embedded;
mod error;
mod item;
mod log;
mod merge;
mod owner;
pub mod query;
mod replace;
mod replica;
mod role;
mod schema;
mod sequence;
pub mod snapshot;
mod sound;
#[cfg(test)]
pub(crate) mod testing;

pub use apply::{Delivery, Outcome, Refused, Safe, lacking};
pub use archive::Archive;
pub use audit::Audit;
pub use contract::{Answer, Held, SafeNow, TransactionStore};
pub use error::{Fault, StoreError};
pub use log::NoPage;
pub use merge::{MAX_LINES, Merged, Returned, ReturnedJournal};
pub use owner::{Reassignment, Unowned};
pub use replace::Replaced;
pub use replica::NotApplied;
pub use schema::Store;

/// The store as tasks use it: every call runs on a thread that may block.
#[derive(Clone)]
pub struct StoreHandle(Arc<Shared>);

struct Shared {
    writer: Mutex<Store>,
    reader: Mutex<Store>,
    path: PathBuf,
    /// Asked for by tasks, who must not wait for a long read.
    name: Mutex<StoreName>,
    heads: watch::Sender<Head>,
    dead: CancellationToken,
    /// Copies that are being made (`snapshot`).
    copies: Mutex<u32>,
    /// When it was last said that there is no room.
    full: Mutex<Option<Instant>>,
}

/// How often it is said that there is no room.
const SAID_EVERY: Duration = Duration::from_mins(1);

impl StoreHandle {
    /// Opens a store; `dead` is cancelled when it fails for good.
    pub fn open(path: &Path, server: &str, dead: CancellationToken) -> Result<Self, StoreError> {
        let writer = Store::open(path, server)?;
        let reader = Store::open(path, server)?;
        // Known now, and not when a copy is needed.
        let has_pages: bool = writer
            .connection
            .query_row("SELECT sqlite_compileoption_used('ENABLE_DBPAGE_VTAB')", [], |row| {
                row.get(0)
            })
            .map_err(StoreError::sqlite("ask how SQLite was built"))?;
        if !has_pages {
            return Err(StoreError::NoPages);
        }
        let (name, (heads, _)) = (writer.name(), watch::channel(writer.head()?));
        let (writer, reader, copies) = (Mutex::new(writer), Mutex::new(reader), Mutex::new(0));
        let (full, name) = (Mutex::default(), Mutex::new(name));
        let path = path.to_owned();
        Ok(Self(Arc::new(Shared { writer, reader, path, name, heads, dead, copies, full })))
    }

    /// The name that the role document knows this store by.
    pub fn name(&self) -> StoreName {
        self.0.name.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long its file is.
    pub fn size(&self) -> std::io::Result<u64> {
        std::fs::metadata(&self.0.path).map(|file| file.len())
    }

    /// Gives the store another id: it is not what it was.
    pub async fn rename(&self, id: String) -> Result<(), StoreError> {
        let shared = self.0.clone();
        self.write(move |store| {
            store.rename(&id)?;
            shared.know_as(store.name());
            Ok(())
        })
        .await
    }

    /// Where the change log ends, and each time it grows.
    pub fn heads(&self) -> watch::Receiver<Head> {
        self.0.heads.subscribe()
    }

    /// Runs what changes the store. Changes are made one after the other.
    pub async fn write<T, F>(&self, run: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    {
        let shared = self.0.clone();
        let told = move |store: &mut Store| {
            let done = run(store);
            let head = store.head()?;
            let grown =
                shared.heads.send_if_modified(|known| std::mem::replace(known, head) != head);
            shared.note_room(grown, &done);
            done
        };
        self.run(|shared| &shared.writer, told).await
    }

    /// Whether the last that was to be stored found no room.
    pub fn is_full(&self) -> bool {
        self.0.full.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Whether it has not failed for good.
    pub fn works(&self) -> bool {
        !self.0.dead.is_cancelled()
    }

    /// Runs what only reads; a long read does not hold up the writer.
    pub async fn read<T, F>(&self, run: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    {
        self.run(|shared| &shared.reader, |store| run(store)).await
    }

    async fn run<T, F>(&self, which: fn(&Shared) -> &Mutex<Store>, run: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    {
        let shared = self.0.clone();
        let done = tokio::task::spawn_blocking(move || {
            if shared.dead.is_cancelled() {
                return Err(StoreError::Dead);
            }
            // A panic under the lock rolled its SQLite transaction back; the connection is whole.
            let mut store = which(&shared).lock().unwrap_or_else(PoisonError::into_inner);
            let result = run(&mut store);
            if let Err(error) = &result
                && error.is_fatal()
            {
                tracing::error!(%error, "the store failed; stopping");
                shared.dead.cancel();
            }
            result
        });
        done.await.unwrap_or(Err(StoreError::Dead))
    }
}

impl Shared {
    /// In the writer's turn.
    fn know_as(&self, name: StoreName) {
        *self.name.lock().unwrap_or_else(PoisonError::into_inner) = name;
    }

    /// The disk is another one, or was made room on.
    fn forget_room(&self) {
        *self.full.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Says that there is no room, and that there is some again.
    fn note_room<T>(&self, grown: bool, done: &Result<T, StoreError>) {
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        match done {
            Err(error) if error.is_full() => {
                let now = Instant::now();
                if full.is_none_or(|said| now.saturating_duration_since(said) >= SAID_EVERY) {
                    tracing::error!(%error, "nothing can be stored: make room, it goes on by itself");
                    *full = Some(now);
                }
            }
            Ok(_) if grown && full.is_some() => {
                tracing::warn!("there is room again: transactions are stored");
                *full = None;
            }
            Ok(_) | Err(_) => {}
        }
    }
}

/// Runs `change` in one transaction that is kept only if it returns `Ok(Ok(_))`.
fn commit<T, R>(
    connection: &mut Connection,
    change: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<Result<T, R>, StoreError>,
) -> Result<Result<T, R>, StoreError> {
    let transaction = connection
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .map_err(StoreError::sqlite("begin"))?;
    let value = match change(&transaction)? {
        Ok(value) => value,
        Err(refused) => return Ok(Err(refused)),
    };
    transaction.commit().map_err(StoreError::sqlite("commit"))?;
    Ok(Ok(value))
}

#[cfg(test)]
mod tests;
