//! Provisional epochs and what they were found to be.

use std::collections::BTreeMap;

use postern_protocol::uplink::Batch;
use postern_protocol::{ControllerId, EpochId};
use rusqlite::{OptionalExtension as _, Transaction as Commit, params};

use super::Refused;
use crate::store::StoreError;
use crate::store::sequence::id;

/// Under which epoch the entries of each epoch are stored. Fixed by its first use, so that one
/// log's records can never come to lie under two.
pub(super) struct Epochs<'a> {
    transaction: &'a Commit<'a>,
    known: BTreeMap<(ControllerId, EpochId), EpochId>,
}

impl<'a> Epochs<'a> {
    /// Takes the batch's aliases, unless one contradicts what is fixed.
    pub(super) fn declare(
        transaction: &'a Commit<'_>,
        batch: &Batch,
    ) -> Result<Result<Self, Refused>, StoreError> {
        let mut epochs = Self { transaction, known: BTreeMap::new() };
        for alias in &batch.epochs {
            let (controller, provisional) = (alias.controller, alias.provisional);
            let stored = epochs.resolve_or(controller, provisional, alias.epoch)?;
            if stored != alias.epoch {
                let claimed = alias.epoch;
                return Ok(Err(Refused::Alias { controller, provisional, claimed }));
            }
        }
        Ok(Ok(epochs))
    }

    /// The epoch that entries of this one are stored under.
    pub(super) fn resolve(
        &mut self,
        controller: ControllerId,
        epoch: EpochId,
    ) -> Result<EpochId, StoreError> {
        self.resolve_or(controller, epoch, epoch)
    }

    /// The epoch, where one is not yet used and so not yet fixed.
    pub(super) fn peek(
        &self,
        controller: ControllerId,
        epoch: EpochId,
    ) -> Result<Option<EpochId>, StoreError> {
        if let Some(known) = self.known.get(&(controller, epoch)) {
            return Ok(Some(*known));
        }
        let bytes: Option<Vec<u8>> = self
            .transaction
            .prepare_cached("SELECT epoch FROM aliases WHERE controller = ? AND provisional = ?")
            .and_then(|mut statement| {
                statement
                    .query_row(params![controller.to_string(), epoch.0], |row| row.get(0))
                    .optional()
            })
            .map_err(StoreError::sqlite("read the epoch"))?;
        bytes.map(|bytes| id("epoch", &bytes).map(EpochId)).transpose()
    }

    fn resolve_or(
        &mut self,
        controller: ControllerId,
        epoch: EpochId,
        otherwise: EpochId,
    ) -> Result<EpochId, StoreError> {
        let stored = if let Some(stored) = self.peek(controller, epoch)? {
            stored
        } else {
            self.transaction
                .prepare_cached("INSERT INTO aliases VALUES (?, ?, ?)")
                .and_then(|mut statement| {
                    statement.execute(params![controller.to_string(), epoch.0, otherwise.0])
                })
                .map_err(StoreError::sqlite("add the epoch"))?;
            otherwise
        };
        self.known.insert((controller, epoch), stored);
        Ok(stored)
    }
}
