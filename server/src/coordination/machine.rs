//! Raft's state machine: [`State`] in memory and in the voter's file. It is small, so that a snapshot is
//! simply its bytes, and the present state is always one.

use std::io::Cursor;
use std::sync::{Arc, Mutex, PoisonError};

use openraft::storage::RaftStateMachine;
use openraft::{
    AnyError, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StorageIOError,
};
use tokio::sync::watch;

use super::error::FileError;
use super::file::VoterFile;
use super::state::State;
use super::types::{
    Entry, LogId, NodeId, Reply, StorageError, StoredMembership, TypeConfig, VoterAddress,
};

/// The state machine of a voter.
#[derive(Clone)]
pub(super) struct Machine {
    file: VoterFile,
    state: Arc<Mutex<State>>,
    applied: watch::Sender<Arc<State>>,
}

fn writes(error: &FileError) -> StorageError {
    StorageIOError::write_state_machine(AnyError::new(error)).into()
}

impl Machine {
    /// The state machine over a file whose state was read; every state is told to `applied` once it is
    /// on the disk.
    pub(super) fn new(file: VoterFile, state: State, applied: watch::Sender<Arc<State>>) -> Self {
        applied.send_replace(Arc::new(state.clone()));
        Self { file, state: Arc::new(Mutex::new(state)), applied }
    }

    fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn replace(&self, state: State) -> Result<(), StorageError> {
        let written = state.clone();
        self.file
            .off(move |file| file.save_state(&written))
            .await
            .map_err(|error| writes(&error))?;
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state.clone();
        self.applied.send_replace(Arc::new(state));
        Ok(())
    }

    #[expect(clippy::result_large_err, reason = "openraft's own error")]
    fn snapshot(&self) -> Result<Snapshot<TypeConfig>, StorageError> {
        let state = self.state();
        let bytes = postcard::to_allocvec(&state)
            .map_err(|error| StorageIOError::read_state_machine(AnyError::new(&error)))?;
        Ok(Snapshot { meta: meta(&state), snapshot: Box::new(Cursor::new(bytes)) })
    }
}

/// What a snapshot of a state is called.
fn meta(state: &State) -> SnapshotMeta<NodeId, VoterAddress> {
    SnapshotMeta {
        last_log_id: state.applied,
        last_membership: state.membership.clone(),
        snapshot_id: state.applied.map_or_else(|| "empty".into(), |applied| applied.to_string()),
    }
}

/// The state that a snapshot holds; `None` where it is not what its name says.
pub(super) fn read_snapshot(
    named: &SnapshotMeta<NodeId, VoterAddress>,
    bytes: &[u8],
) -> Option<State> {
    let state: State = postcard::from_bytes(bytes).ok()?;
    (meta(&state) == *named).then_some(state)
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, StorageError> {
        self.snapshot()
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let state = self.state();
        Ok((state.applied, state.membership))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Reply>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut state = self.state();
        let replies = entries.into_iter().map(|entry| state.apply(entry)).collect();
        self.replace(state).await?;
        Ok(replies)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<NodeId, VoterAddress>,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let state = read_snapshot(meta, snapshot.get_ref()).ok_or_else(|| {
            let other = AnyError::error("the snapshot is not what its name says");
            StorageIOError::read_snapshot(Some(meta.signature()), other)
        })?;
        self.replace(state).await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, StorageError> {
        // Nothing was applied: there is none yet.
        if self.state().applied.is_none() {
            return Ok(None);
        }
        self.snapshot().map(Some)
    }
}
