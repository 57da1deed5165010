//! A batch in one commit: who may send it, whether it continues what is held, and each entry once.
//!
//! The rules, in this order: the fence by role term; the batch itself; ownership of journal and
//! controllers; the chain; aliases; entries. Whatever is refused leaves nothing behind but an
//! alarm. `docs/uplink.md` says the same for those who write receivers or senders.

use std::collections::BTreeSet;

use postern_protocol::uplink::{Batch, BatchError, MAX_BATCH, Told, Watermark};
use postern_protocol::{Chain, ControllerId, JournalId, RoleTerm, Seq, Timestamp};

use super::change::{HoleChange, JournalChange, Mark, Position};
use super::log::{Write, commit_logged};
use super::{Audit, Store, StoreError, role::stored_term};

mod entry;
mod epoch;
mod line;
mod row;

use entry::is_taken;
pub(super) use entry::{Arrival, Decoded, Insertion, insert};
pub(super) use epoch::Epochs;
pub(super) use line::{insert_line, lines, lines_of};
pub(super) use row::{journal_mark, know_journal, put_hole, put_journal, put_owner};

#[cfg(test)]
pub(super) use entry::{NOTE_HELD, conflict_epoch, is_live};

use row::{beginning, is_held, own_controller};

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
    /// What may be forgotten by the gateway.
    pub safe: Safe,
    /// The last reign that began by force: what was said to be safe before it may be missing.
    pub forced: Option<RoleTerm>,
    /// By this server's clock.
    pub now: Timestamp,
}

/// How far a gateway may forget its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Safe {
    /// As far as this store holds it: there is no other that has to.
    Stored,
    /// As far as the other store was known to hold it, before this batch.
    Known(Seq),
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
    /// Where the change log ends with it.
    pub position: Position,
}

/// Why a batch was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The store stands under another role term than the request was accepted under.
    #[error("the role changed while the batch was on its way")]
    Fenced,
    /// The role is being handed over.
    #[error("the role is being handed over to another server")]
    Paused,
    /// The gateway was told that more is safe than is held here: this store is not what it was.
    #[error("this server holds the journal up to {}, and the gateway was told that {told} is safe", .held.stored)]
    Behind {
        /// What is held.
        held: Watermark,
        /// What was said to be safe.
        told: Seq,
    },
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
    before: Option<Mark>,
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
        if self.is_paused() {
            return Ok(Err(Refused::Paused));
        }
        let (before, after) = match delivery.batch.check() {
            Ok(chains) => chains,
            Err(error) => return Ok(Err(Refused::Batch(error))),
        };
        if delivery.batch.epochs.len() > MAX_ALIASES {
            return Ok(Err(Refused::TooManyAliases));
        }
        let server = self.name.server.clone();
        let done = commit_logged(&mut self.connection, &server, delivery.acting, |write| {
            apply(write, delivery, before, after)
        })?;
        let done = done.map(|((watermark, outcome), head)| {
            (watermark, Outcome { position: head.position, ..outcome })
        });
        if let Err(refused) = &done
            && let Some((event, subject)) = refused.alarm(delivery)
        {
            let actor = &delivery.gateway;
            self.alarm(
                delivery.acting,
                &Audit::at(delivery.now, actor, event, &subject, &refused.to_string()),
            )?;
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
            Self::Behind { .. } => Some(("behind_safe", delivery.journal.to_string())),
            Self::Fenced
            | Self::Paused
            | Self::Batch(_)
            | Self::TooManyAliases
            | Self::OutOfSequence(_) => None,
        }
    }
}

fn apply(
    write: &Write<'_>,
    delivery: &Delivery,
    before: Chain,
    after: Chain,
) -> Result<Result<(Watermark, Outcome), Refused>, StoreError> {
    let Delivery { journal, gateway, batch, .. } = delivery;
    if stored_term(write.sql)? != Some(delivery.acting) {
        return Ok(Err(Refused::Fenced));
    }
    let entries: Vec<(Seq, Decoded<'_>)> =
        batch.entries.iter().map(|entry| (entry.seq, Decoded::of(&entry.bytes.0))).collect();

    let mut row = match own_journal(write, *journal, gateway)? {
        Ok(row) => row,
        Err(owner) => return Ok(Err(Refused::ForeignJournal { journal: *journal, owner })),
    };
    let controllers: BTreeSet<ControllerId> = entries
        .iter()
        .filter_map(|(_, decoded)| decoded.controller())
        .chain(batch.epochs.iter().map(|alias| alias.controller))
        .collect();
    for controller in controllers {
        if let Err(owner) = own_controller(write, controller, gateway)? {
            return Ok(Err(Refused::ForeignController { controller, owner }));
        }
    }

    let held = row.watermark(delivery.acting);
    if let Some(told) = lacking(batch.told, delivery.acting, delivery.forced, row.stored) {
        return Ok(Err(Refused::Behind { held, told }));
    }
    let mut outcome = Outcome::default();
    if after.seq < row.stored {
        return Ok(Ok((held, outcome)));
    }
    if before.seq <= row.stored {
        if chain_at(before, batch, row.stored) != row.chain {
            return Ok(Err(Refused::Fork(held)));
        }
    } else if before.seq.next() == batch.oldest {
        outcome.hole = !is_held(write.sql, *journal, row.stored.next(), before.seq)?;
    } else {
        return Ok(Err(Refused::OutOfSequence(held)));
    }

    let arrival = Arrival {
        journal: *journal,
        gateway,
        role_term: delivery.acting,
        stored_at: delivery.now,
        live: None,
    };
    let mut epochs = Epochs::declare(write, &arrival, &batch.epochs)?;
    // Nothing is refused from here on.
    if outcome.hole {
        record_hole(write, &arrival, row.stored.next(), before.seq)?;
    }
    for (seq, decoded) in entries.iter().filter(|(seq, _)| *seq > row.stored) {
        match insert(write, &arrival, *seq, decoded, &mut epochs)? {
            Insertion::Stored => outcome.stored += 1,
            // What a returning server brought before the gateway sent it is the same entry, no double.
            Insertion::Double if is_taken(write.sql, delivery.journal, *seq)? => {}
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
        note(write, &arrival, "unreadable", &detail)?;
    }

    row.stored = after.seq;
    row.chain = after;
    row.safe = row.safe.max(match delivery.safe {
        Safe::Stored => row.stored,
        Safe::Known(seq) => seq.min(row.stored),
    });
    row.save(write, &arrival, &outcome)?;
    Ok(Ok((row.watermark(delivery.acting), outcome)))
}

/// What a gateway was told to be safe and is not held, unless a reign began by force since. A role
/// term above the one that this server acts under is none that anybody can have told it under.
pub fn lacking(
    told: Option<Told>,
    acting: RoleTerm,
    forced: Option<RoleTerm>,
    stored: Seq,
) -> Option<Seq> {
    let Told { safe, role_term } = told?;
    let counts = role_term <= acting && forced.is_none_or(|forced| role_term >= forced);
    (counts && safe > stored).then_some(safe)
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
        write: &Write<'_>,
        arrival: &Arrival<'_>,
        outcome: &Outcome,
    ) -> Result<(), StoreError> {
        let Arrival { journal, gateway, .. } = *arrival;
        let Mark { doubles, conflicts, unreadable, .. } =
            self.before.unwrap_or_else(|| beginning(journal));
        let after = Mark {
            stored: self.stored,
            chain: self.chain.hash,
            safe: self.safe,
            doubles: doubles + outcome.doubles,
            conflicts: conflicts + outcome.conflicts,
            unreadable: unreadable + outcome.unreadable,
        };
        if self.before == Some(after) {
            return Ok(());
        }
        let change =
            JournalChange { journal, gateway: gateway.to_owned(), before: self.before, after };
        put_journal(write.sql, &change)?;
        write.note(|noted| noted.journals.push(change));
        Ok(())
    }
}

/// Where the journal stands; or whose it is. It comes to be known with its first batch.
fn own_journal(
    write: &Write<'_>,
    journal: JournalId,
    gateway: &str,
) -> Result<Result<Journal, String>, StoreError> {
    let Some((owner, mark)) = journal_mark(write.sql, journal)? else {
        let chain = Chain::genesis(journal);
        return Ok(Ok(Journal { before: None, stored: Seq(0), chain, safe: Seq(0) }));
    };
    if owner != gateway {
        return Ok(Err(owner));
    }
    let Mark { stored, safe, chain: hash, .. } = mark;
    Ok(Ok(Journal { before: Some(mark), stored, chain: Chain { seq: stored, hash }, safe }))
}

/// Records that entries are gone which no one here ever saw, in the commit that goes on behind them.
fn record_hole(
    write: &Write<'_>,
    arrival: &Arrival<'_>,
    first: Seq,
    last: Seq,
) -> Result<(), StoreError> {
    let (journal, at) = (arrival.journal, arrival.stored_at);
    let mut hole = HoleChange { id: 0, journal, first, last, at, filled: None };
    hole.id = put_hole(write.sql, &hole)?;
    write.note(|noted| noted.holes.push(hole));
    let detail =
        format!("the gateway no longer holds {first} to {last}, this server never had them");
    note(write, arrival, "journal_hole", &detail)
}

/// An alarm that belongs to the commit.
fn note(
    write: &Write<'_>,
    arrival: &Arrival<'_>,
    event: &'static str,
    detail: &str,
) -> Result<(), StoreError> {
    let Arrival { gateway, stored_at, .. } = *arrival;
    let journal = arrival.journal.to_string();
    tracing::warn!(event, gateway, journal, detail, "alarm");
    write.audit(&Audit::at(stored_at, gateway, event, &journal, detail))
}
