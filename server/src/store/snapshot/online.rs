//! A copy of the store that this process writes: the writer leaves the log to it meanwhile.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard, PoisonError};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::pages::Taken;
use super::{Progress, Snapshot, SnapshotError, send, take};
use crate::store::schema::MOVED_EVERY;
use crate::store::{Shared, Store, StoreError, StoreHandle};

impl StoreHandle {
    /// Copies the store to a new file, as [`take`] does, while transactions are stored.
    pub async fn snapshot<W>(
        &self,
        destination: PathBuf,
        mut watch: W,
    ) -> Result<Snapshot, SnapshotError>
    where
        W: FnMut(Progress) -> ControlFlow<()> + Send + 'static,
    {
        let store = self.clone();
        let copy =
            tokio::task::spawn_blocking(move || store.snapshot_here(&destination, &mut watch));
        copy.await.unwrap_or(Err(SnapshotError::Store(StoreError::Dead)))
    }

    /// The same on the calling thread, which it blocks.
    pub fn snapshot_here(
        &self,
        destination: &Path,
        watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Snapshot, SnapshotError> {
        let aside = Aside::begin(self.0.clone())?;
        take(&aside.source, destination, watch)
    }
}

/// Pages of a store that are on their way to somebody.
pub struct Sent {
    /// How many bytes there are in all.
    pub total: u64,
    /// The bytes in order. It ends early, with why, where they cannot all be had.
    pub portions: mpsc::Receiver<Result<Vec<u8>, SnapshotError>>,
}

/// How many portions may wait for whoever takes them.
const WAITING: usize = 4;

impl StoreHandle {
    /// Hands on every page of the store as one commit left it, while transactions are stored, as long as
    /// the log grows by no more than `limit` bytes. It ends when the portions are dropped; `turn` is
    /// dropped once nothing is left to be done.
    pub async fn send<T: Send + 'static>(
        &self,
        limit: u64,
        turn: T,
    ) -> Result<Sent, SnapshotError> {
        let store = self.clone();
        let (portions, mut taken) = mpsc::channel(WAITING);
        let (first, size) = oneshot::channel();
        tokio::task::spawn_blocking(move || {
            let mut first = Some(first);
            let mut sink = |portion: &[u8], progress: Progress| {
                if let Some(first) = first.take() {
                    let _ = first.send(progress.total);
                }
                Ok(match portions.try_reserve() {
                    Ok(place) => {
                        place.send(Ok(portion.to_vec()));
                        Taken::Yes
                    }
                    Err(TrySendError::Full(())) => Taken::NotYet,
                    Err(TrySendError::Closed(())) => Taken::Unwanted,
                })
            };
            let sent = Aside::begin(store.0)
                .map_err(SnapshotError::from)
                .and_then(|aside| send(&aside.source, limit, &mut sink));
            drop(turn);
            match sent {
                Ok(_) | Err(SnapshotError::Cancelled) => {}
                Err(error) => {
                    tracing::warn!(%error, "a copy of the store was given up");
                    let _ = portions.blocking_send(Err(error));
                }
            }
        });
        match size.await {
            Ok(total) => Ok(Sent { total, portions: taken }),
            // It failed before the first portion.
            Err(_) => Err(match taken.recv().await {
                Some(Err(error)) => error,
                Some(Ok(_)) | None => SnapshotError::Store(StoreError::Dead),
            }),
        }
    }
}

/// For as long as it lives, commits do not move the log.
struct Aside {
    shared: Arc<Shared>,
    source: PathBuf,
}

impl Aside {
    fn begin(shared: Arc<Shared>) -> Result<Self, StoreError> {
        let writer = writer(&shared);
        let source = Path::new(writer.connection.path().unwrap_or_default()).to_owned();
        *copies(&shared) += 1;
        let set = every(&writer, 0);
        drop(writer);
        let aside = Self { shared, source };
        set.map(|()| aside)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let writer = writer(&self.shared);
        let mut copies = copies(&self.shared);
        *copies -= 1;
        if *copies == 0
            && let Err(error) = every(&writer, MOVED_EVERY)
        {
            tracing::error!(%error, "the log is no longer moved by commits");
        }
    }
}

fn every(writer: &Store, pages: i64) -> Result<(), StoreError> {
    writer
        .connection
        .query_row(&format!("PRAGMA wal_autocheckpoint = {pages}"), [], |_| Ok(()))
        .map_err(StoreError::sqlite("set when the log is moved"))
}

/// Taken before `copies`, always.
fn writer(shared: &Shared) -> MutexGuard<'_, Store> {
    shared.writer.lock().unwrap_or_else(PoisonError::into_inner)
}

fn copies(shared: &Shared) -> MutexGuard<'_, u32> {
    shared.copies.lock().unwrap_or_else(PoisonError::into_inner)
}
