//! Provisional epochs and what they were found to be.

use std::collections::BTreeMap;

use postern_protocol::uplink::EpochAlias;
use postern_protocol::{ControllerId, EpochId};
use rusqlite::{OptionalExtension as _, params};

use super::entry::Arrival;
use super::note;
use crate::store::StoreError;
use crate::store::log::Write;
use crate::store::sequence::id;

/// Under which epoch the entries of each epoch are stored. Fixed by its first use, so that one
/// log's records can never come to lie under two.
pub(in crate::store) struct Epochs<'a> {
    write: &'a Write<'a>,
    known: BTreeMap<(ControllerId, EpochId), EpochId>,
}

impl<'a> Epochs<'a> {
    /// None said yet.
    pub(in crate::store) fn new(write: &'a Write<'_>) -> Self {
        Self { write, known: BTreeMap::new() }
    }

    /// Takes the batch's aliases. Where one contradicts what is fixed, that stays, and a person is
    /// told: a gateway whose journal was put back may say so in good faith, and to refuse its batch
    /// would hold up all that comes behind it for ever.
    pub(in crate::store) fn declare(
        write: &'a Write<'_>,
        arrival: &Arrival<'_>,
        aliases: &[EpochAlias],
    ) -> Result<Self, StoreError> {
        let mut epochs = Self::new(write);
        for alias in aliases {
            let EpochAlias { controller, provisional, epoch } = *alias;
            let stored = epochs.resolve_or(controller, provisional, epoch)?;
            if stored != epoch {
                let detail = format!(
                    "epoch {provisional} of {controller} was said to be {epoch}; it stays {stored}"
                );
                note(write, arrival, "alias_contradicted", &detail)?;
            }
        }
        Ok(epochs)
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
            .write
            .sql
            .prepare_cached("SELECT epoch FROM aliases WHERE controller = ? AND provisional = ?")
            .and_then(|mut statement| {
                statement
                    .query_row(params![controller.to_string(), epoch.0], |row| row.get(0))
                    .optional()
            })
            .map_err(StoreError::sqlite("read the epoch"))?;
        bytes.map(|bytes| id("epoch", &bytes).map(EpochId)).transpose()
    }

    /// The same, where one that is not yet used is to be `otherwise`.
    pub(in crate::store) fn resolve_or(
        &mut self,
        controller: ControllerId,
        epoch: EpochId,
        otherwise: EpochId,
    ) -> Result<EpochId, StoreError> {
        let stored = if let Some(stored) = self.peek(controller, epoch)? {
            stored
        } else {
            self.write
                .sql
                .prepare_cached("INSERT INTO aliases VALUES (?, ?, ?)")
                .and_then(|mut statement| {
                    statement.execute(params![controller.to_string(), epoch.0, otherwise.0])
                })
                .map_err(StoreError::sqlite("add the epoch"))?;
            let alias = EpochAlias { controller, provisional: epoch, epoch: otherwise };
            self.write.note(|change| change.aliases.push(alias));
            otherwise
        };
        self.known.insert((controller, epoch), stored);
        Ok(stored)
    }
}
