//! A batch in one commit: who may send it, whether it continues what is held, and each entry once.
//!
//! The rules, in this order: the fence by role term; the batch itself; ownership of journal and
//! controllers; the chain; aliases; entries. Whatever is refused leaves nothing behind but an
//! alarm. `docs/uplink.md` says the same for those who write receivers or senders.

use std::collections::BTreeSet;

use postern_protocol::uplink::{Batch, BatchError, MAX_BATCH, Watermark};
use postern_protocol::{Chain, ControllerId, JournalId, RoleTerm, Seq, Timestamp};
use rusqlite::{OptionalExtension as _, Transaction as Commit, params};

use super::sequence::{digest, from_sql, to_sql};
use super::{Audit, Store, StoreError, commit, owner::owner_of, role::stored_term};

mod entry;
mod epoch;

#[cfg(test)]
pub(super) use entry::{NOTE_HELD, conflict_epoch, is_live};

use entry::{Decoded, Insertion};
use epoch::Epochs;

/// The most aliases in a batch: each entry names one epoch, a restart its predecessor as well.
const MAX_ALIASES: usize = 2 * MAX_BATCH;

/// A batch as it arrived.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Of which journal.
    pub journal: JournalId,
    /// The gateway's name by its certificate.
    pub gateway: String,
    /// What it sent.
    pub batch: Batch,
    /// The role term that this server accepted it under.
    pub acting: RoleTerm,
    /// How many stores must hold a transaction before the gateway may forget it.
    pub copies: u8,
    /// By this server's clock.
    pub now: Timestamp,
}

/// What became of an accepted batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Transactions stored.
    pub stored: u64,
    /// Entries whose transaction was held already.
    pub doubles: u64,
    /// Entries that contradict what is held; kept under an epoch of their own.
    pub conflicts: u64,
    /// Entries that this version cannot read; kept as they are.
    pub unreadable: u64,
    /// Whether entries that the gateway no longer has were recorded as lost.
    pub hole: bool,
}

/// Why a batch was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The store stands under another role term than the request was accepted under.
    #[error("the role changed while the batch was on its way")]
    Fenced,
    /// It is not well-formed.
    #[error("{0}")]
    Batch(BatchError),
    /// More aliases than entries can need.
    #[error("batch with more than {MAX_ALIASES} epochs")]
    TooManyAliases,
    /// The journal is another gateway's.
    #[error("journal {journal} belongs to gateway {owner}")]
    ForeignJournal {
        /// Which.
        journal: JournalId,
        /// Whose.
        owner: String,
    },
    /// A controller is another gateway's.
    #[error("controller {controller} belongs to gateway {owner}")]
    ForeignController {
        /// Which.
        controller: ControllerId,
        /// Whose.
        owner: String,
    },
    /// The journal's past is not what is held here under its name.
    #[error("the journal's chain at {} is not the one that is held here", .0.stored)]
    Fork(Watermark),
    /// Entries are missing that the gateway still has.
    #[error("the batch begins above {} although the gateway still holds what is missing", .0.stored)]
    OutOfSequence(Watermark),
}

/// A journal's row.
struct Journal {
    stored: Seq,
    chain: Chain,
    safe: Seq,
}

impl Store {
    /// Applies a batch in one commit. Returns only once that is durable.
    pub fn apply(
        &mut self,
        delivery: &Delivery,
    ) -> Result<Result<(Watermark, Outcome), Refused>, StoreError> {
        let (before, after) = match delivery.batch.check() {
            Ok(chains) => chains,
            Err(error) => return Ok(Err(Refused::Batch(error))),
        };
        if delivery.batch.epochs.len() > MAX_ALIASES {
            return Ok(Err(Refused::TooManyAliases));
        }
        let done = commit(&mut self.connection, |transaction| {
            apply(transaction, delivery, before, after)
        })?;
        if let Err(refused) = &done
            && let Some((event, subject)) = refused.alarm(delivery)
        {
            let actor = &delivery.gateway;
            self.alarm(&Audit::at(delivery.now, actor, event, &subject, &refused.to_string()))?;
        }
        Ok(done)
    }
}

impl Refused {
    /// The alarm's event and subject, where a person should look at it.
    fn alarm(&self, delivery: &Delivery) -> Option<(&'static str, String)> {
        match self {
            Self::ForeignJournal { journal, .. } => Some(("foreign_journal", journal.to_string())),
            Self::ForeignController { controller, .. } => {
                Some(("foreign_controller", controller.to_string()))
            }
            Self::Fork(_) => Some(("fork", delivery.journal.to_string())),
            Self::Fenced | Self::Batch(_) | Self::TooManyAliases | Self::OutOfSequence(_) => None,
        }
    }
}

fn apply(
    transaction: &Commit<'_>,
    delivery: &Delivery,
    before: Chain,
    after: Chain,
) -> Result<Result<(Watermark, Outcome), Refused>, StoreError> {
    let Delivery { journal, gateway, batch, .. } = delivery;
    if stored_term(transaction)? != Some(delivery.acting) {
        return Ok(Err(Refused::Fenced));
    }
    let entries: Vec<(Seq, Decoded<'_>)> =
        batch.entries.iter().map(|entry| (entry.seq, Decoded::of(&entry.bytes.0))).collect();

    let mut row = match own_journal(transaction, *journal, gateway)? {
        Ok(row) => row,
        Err(owner) => return Ok(Err(Refused::ForeignJournal { journal: *journal, owner })),
    };
    let controllers: BTreeSet<ControllerId> = entries
        .iter()
        .filter_map(|(_, decoded)| decoded.controller())
        .chain(batch.epochs.iter().map(|alias| alias.controller))
        .collect();
    for controller in controllers {
        if let Err(owner) = own_controller(transaction, controller, gateway)? {
            return Ok(Err(Refused::ForeignController { controller, owner }));
        }
    }

    let held = row.watermark(delivery.acting);
    let mut outcome = Outcome::default();
    if after.seq < row.stored {
        return Ok(Ok((held, outcome)));
    }
    if before.seq <= row.stored {
        if chain_at(before, batch, row.stored) != row.chain {
            return Ok(Err(Refused::Fork(held)));
        }
    } else if before.seq.next() == batch.oldest {
        outcome.hole = true;
    } else {
        return Ok(Err(Refused::OutOfSequence(held)));
    }

    let mut epochs = Epochs::declare(transaction, delivery)?;
    // Nothing is refused from here on.
    if outcome.hole {
        record_hole(transaction, delivery, row.stored.next(), before.seq)?;
    }
    for (seq, decoded) in entries.iter().filter(|(seq, _)| *seq > row.stored) {
        match entry::insert(transaction, delivery, *seq, decoded, &mut epochs)? {
            Insertion::Stored => outcome.stored += 1,
            Insertion::Double => outcome.doubles += 1,
            Insertion::Conflict => {
                outcome.stored += 1;
                outcome.conflicts += 1;
            }
            Insertion::Unreadable => {
                outcome.stored += 1;
                outcome.unreadable += 1;
            }
        }
    }
    if outcome.unreadable > 0 {
        let detail = format!("{} entries up to {}", outcome.unreadable, after.seq);
        note(transaction, delivery, "unreadable", &detail)?;
    }

    row.stored = after.seq;
    row.chain = after;
    if delivery.copies <= 1 {
        // No other store has to hold it: what is stored here may be forgotten there.
        row.safe = row.safe.max(row.stored);
    }
    row.save(transaction, *journal, &outcome)?;
    Ok(Ok((row.watermark(delivery.acting), outcome)))
}

/// The chain hash of the batch at `seq`, which lies between its beginning and its end.
fn chain_at(before: Chain, batch: &Batch, seq: Seq) -> Chain {
    batch
        .entries
        .iter()
        .take_while(|entry| entry.seq <= seq)
        .fold(before, |chain, entry| chain.link(&entry.bytes.0))
}

impl Journal {
    fn watermark(&self, role_term: RoleTerm) -> Watermark {
        Watermark { role_term, stored: self.stored, chain: self.chain.hash, safe: self.safe }
    }

    fn save(
        &self,
        transaction: &Commit<'_>,
        journal: JournalId,
        outcome: &Outcome,
    ) -> Result<(), StoreError> {
        transaction
            .prepare_cached(
                "UPDATE journals SET stored = ?, chain = ?, safe = ?, doubles = doubles + ?,
                 conflicts = conflicts + ?, unreadable = unreadable + ? WHERE journal = ?",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    self.stored.0.cast_signed(),
                    self.chain.hash.0,
                    self.safe.0.cast_signed(),
                    outcome.doubles.cast_signed(),
                    outcome.conflicts.cast_signed(),
                    outcome.unreadable.cast_signed(),
                    journal.0,
                ])
            })
            .map_err(StoreError::sqlite("move the watermark"))?;
        Ok(())
    }
}

/// The journal's row, made at its first use; or whose it is.
fn own_journal(
    transaction: &Commit<'_>,
    journal: JournalId,
    gateway: &str,
) -> Result<Result<Journal, String>, StoreError> {
    let failed = || StoreError::sqlite("read the journal");
    let mut select = transaction
        .prepare_cached("SELECT gateway, stored, chain, safe FROM journals WHERE journal = ?")
        .map_err(failed())?;
    let row: Option<(String, i64, Vec<u8>, i64)> = select
        .query_row([journal.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()
        .map_err(failed())?;
    let Some((owner, stored, chain, safe)) = row else {
        let chain = Chain::genesis(journal);
        transaction
            .execute(
                "INSERT INTO journals (journal, gateway, stored, chain, safe) VALUES (?, ?, 0, ?, 0)",
                params![journal.0, gateway, chain.hash.0],
            )
            .map_err(StoreError::sqlite("add the journal"))?;
        return Ok(Ok(Journal { stored: Seq(0), chain, safe: Seq(0) }));
    };
    if owner != gateway {
        return Ok(Err(owner));
    }
    let stored = Seq(from_sql("stored", stored)?);
    let chain = Chain { seq: stored, hash: digest("chain", &chain)? };
    Ok(Ok(Journal { stored, chain, safe: Seq(from_sql("safe", safe)?) }))
}

/// Makes the controller the gateway's at its first use; or says whose it is.
fn own_controller(
    transaction: &Commit<'_>,
    controller: ControllerId,
    gateway: &str,
) -> Result<Result<(), String>, StoreError> {
    match owner_of(transaction, controller)? {
        Some(owner) if owner != gateway => return Ok(Err(owner)),
        Some(_) => {}
        None => {
            transaction
                .execute(
                    "INSERT INTO controllers VALUES (?, ?)",
                    params![controller.to_string(), gateway],
                )
                .map_err(StoreError::sqlite("add the controller"))?;
        }
    }
    Ok(Ok(()))
}

/// Records that entries are gone which no one here ever saw, in the commit that goes on behind them.
fn record_hole(
    transaction: &Commit<'_>,
    delivery: &Delivery,
    first: Seq,
    last: Seq,
) -> Result<(), StoreError> {
    transaction
        .execute(
            "INSERT INTO holes (journal, first, last, at) VALUES (?, ?, ?, ?)",
            params![delivery.journal.0, to_sql(first.0)?, to_sql(last.0)?, delivery.now.0],
        )
        .map_err(StoreError::sqlite("record the hole"))?;
    let detail =
        format!("the gateway no longer holds {first} to {last}, this server never had them");
    note(transaction, delivery, "journal_hole", &detail)
}

/// An alarm that belongs to the commit.
fn note(
    transaction: &Commit<'_>,
    delivery: &Delivery,
    event: &'static str,
    detail: &str,
) -> Result<(), StoreError> {
    let journal = delivery.journal.to_string();
    tracing::warn!(event, gateway = delivery.gateway, journal, detail, "alarm");
    Audit::at(delivery.now, &delivery.gateway, event, &journal, detail).insert(transaction)
}
