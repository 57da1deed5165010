//! A copy of the store that this process writes: the writer leaves the log to it meanwhile.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard, PoisonError};

use super::super::schema::MOVED_EVERY;
use super::{Progress, Snapshot, SnapshotError, take};
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
