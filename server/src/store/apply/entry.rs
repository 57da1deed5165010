//! One entry of a batch: decoded, identified, and stored once.

use postern_protocol::transaction::{Occurred, ResetCause, TimeTrust};
use postern_protocol::uplink::MAX_SEQ;
use postern_protocol::{
    ControllerId, Digest, EpochId, Index, Kind, Origin, Seq, Timestamp, Transaction,
};
use rusqlite::{OptionalExtension as _, Transaction as Commit, params};
use serde::Serialize;

use super::{Delivery, Epochs, note};
use crate::store::StoreError;
use crate::store::sequence::digest;

/// A transaction is news for this long: time for a poll, a commit and a slow link, and short enough
/// that a gate opened for it opens for somebody who still stands there.
const LIVE_MS: u64 = 30_000;

/// Whether a note is held from another journal of the same gateway: byte for byte, or, where it says
/// what became of the log and not what was done at a moment, of the same kind at the same place.
pub(in crate::store) const NOTE_HELD: &str = "
    SELECT EXISTS (SELECT 1 FROM transactions AS held
    WHERE controller = ? AND epoch = ? AND after = ? AND (entry = ? OR kind = ?) AND journal <> ?
        AND (SELECT gateway FROM journals WHERE journal = held.journal) = ?)";

/// What an entry's bytes say.
pub(super) enum Decoded<'a> {
    /// A transaction.
    Readable(Box<Transaction>, &'a [u8]),
    /// Something this version cannot read, or cannot count; kept as it is, since the journal has
    /// to go on.
    Unreadable(&'a [u8]),
}

/// What became of an entry.
pub(super) enum Insertion {
    Stored,
    Double,
    Conflict,
    Unreadable,
}

impl<'a> Decoded<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        match Transaction::decode(bytes) {
            Ok(transaction) if countable(&transaction) => {
                Self::Readable(Box::new(transaction), bytes)
            }
            Ok(_) | Err(_) => Self::Unreadable(bytes),
        }
    }

    pub(super) fn controller(&self) -> Option<ControllerId> {
        match self {
            Self::Readable(transaction, _) => Some(transaction.origin.controller()),
            Self::Unreadable(_) => None,
        }
    }
}

/// Whether its numbers fit the store, so that they compare there as they do here.
fn countable(transaction: &Transaction) -> bool {
    match transaction.origin {
        Origin::Controller { index, .. } => index.0 <= MAX_SEQ.0,
        Origin::Gateway { after, .. } => after.0 <= MAX_SEQ.0,
    }
}

/// Stores one entry, unless its transaction is held already.
pub(super) fn insert(
    commit: &Commit<'_>,
    delivery: &Delivery,
    seq: Seq,
    decoded: &Decoded<'_>,
    epochs: &mut Epochs<'_>,
) -> Result<Insertion, StoreError> {
    let (transaction, bytes) = match decoded {
        Decoded::Readable(transaction, bytes) => (transaction.as_ref(), *bytes),
        Decoded::Unreadable(bytes) => {
            Row::unreadable(bytes).insert(commit, delivery, seq)?;
            return Ok(Insertion::Unreadable);
        }
    };
    let controller = transaction.origin.controller();
    let epoch = epochs.resolve(controller, transaction.origin.epoch())?;
    let mut row = Row::of(transaction, bytes, epoch, delivery.now);
    row.kind = text(&with_known_predecessor(transaction.kind, controller, epochs)?);
    let Some(index) = row.index else {
        if row.came_by_another_journal(commit, delivery)? {
            return Ok(Insertion::Double);
        }
        row.insert(commit, delivery, seq)?;
        return Ok(Insertion::Stored);
    };
    match held(commit, controller, epoch, index)? {
        Some(held) if held == row.digest => return Ok(Insertion::Double),
        Some(_) => {}
        None => {
            know_epoch(commit, controller, epoch)?;
            row.insert(commit, delivery, seq)?;
            return Ok(Insertion::Stored);
        }
    }
    // The same identity with other bytes: never dropped. The epoch it is kept under follows from
    // its content, so that the same contradiction sent again is a double.
    let own = conflict_epoch(epoch, row.digest);
    if held(commit, controller, own, index)? == Some(row.digest) {
        return Ok(Insertion::Double);
    }
    row.epoch = Some(own);
    row.flags = "conflict";
    row.insert(commit, delivery, seq)?;
    let detail = format!(
        "{controller} index {index} of epoch {epoch} came with other bytes; kept under epoch {own}"
    );
    note(commit, delivery, "conflict", &detail)?;
    Ok(Insertion::Conflict)
}

/// The epoch that a contradicting record is kept under.
pub(in crate::store) fn conflict_epoch(epoch: EpochId, record: Digest) -> EpochId {
    let Digest([head @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _]) =
        Digest::of("postern conflict", &[&epoch.0, &record.0]);
    EpochId(head)
}

/// The digest of the record that is held under an identity.
fn held(
    commit: &Commit<'_>,
    controller: ControllerId,
    epoch: EpochId,
    index: Index,
) -> Result<Option<Digest>, StoreError> {
    let bytes: Option<Vec<u8>> = commit
        .prepare_cached(
            "SELECT digest FROM transactions WHERE controller = ? AND epoch = ? AND idx = ?",
        )
        .and_then(|mut statement| {
            let key = params![controller.to_string(), epoch.0, index.0.cast_signed()];
            statement.query_row(key, |row| row.get(0)).optional()
        })
        .map_err(StoreError::sqlite("look for the record"))?;
    bytes.map(|bytes| digest("digest", &bytes)).transpose()
}

fn know_epoch(
    commit: &Commit<'_>,
    controller: ControllerId,
    epoch: EpochId,
) -> Result<(), StoreError> {
    commit
        .prepare_cached(
            "INSERT INTO epochs (controller, epoch) VALUES (?, ?) ON CONFLICT DO NOTHING",
        )
        .and_then(|mut statement| statement.execute(params![controller.to_string(), epoch.0]))
        .map_err(StoreError::sqlite("note the epoch"))?;
    Ok(())
}

/// A restart names the epoch before it; it is shown as it is stored here.
fn with_known_predecessor(
    kind: Kind,
    controller: ControllerId,
    epochs: &Epochs<'_>,
) -> Result<Kind, StoreError> {
    if let Kind::ControllerReset(ResetCause::LogRestarted { predecessor }) = kind {
        let predecessor = epochs.peek(controller, predecessor)?.unwrap_or(predecessor);
        return Ok(Kind::ControllerReset(ResetCause::LogRestarted { predecessor }));
    }
    Ok(kind)
}

/// Whether a transaction is news. The oldest of its times decides: a record that lay in a
/// controller's log over night was received just now, and is no news for all that.
pub(in crate::store) fn is_live(occurred: &Occurred, received: Timestamp, now: Timestamp) -> bool {
    let near = |at: Timestamp| at.0.abs_diff(now.0) <= LIVE_MS;
    let trusted = occurred.at.filter(|_| occurred.trust == TimeTrust::Exact);
    near(received) && trusted.is_none_or(near)
}

/// What is stored of an entry, apart from where and when.
struct Row<'a> {
    controller: Option<String>,
    epoch: Option<EpochId>,
    index: Option<Index>,
    after: Option<Index>,
    kind: String,
    occurred: Option<Occurred>,
    received: Option<Timestamp>,
    live: bool,
    door: Option<u8>,
    direction: Option<String>,
    credential: Option<u64>,
    raw: &'a [u8],
    digest: Digest,
    entry: &'a [u8],
    flags: &'static str,
    /// A gap or a restart: it is what it is whenever it was noted.
    tells_of_the_log: bool,
}

impl<'a> Row<'a> {
    fn of(transaction: &'a Transaction, entry: &'a [u8], epoch: EpochId, now: Timestamp) -> Self {
        let (index, after) = match transaction.origin {
            Origin::Controller { index, .. } => (Some(index), None),
            Origin::Gateway { after, .. } => (None, Some(after)),
        };
        Self {
            controller: Some(transaction.origin.controller().to_string()),
            epoch: Some(epoch),
            index,
            after,
            kind: String::new(),
            occurred: Some(transaction.occurred),
            received: Some(transaction.received),
            live: is_live(&transaction.occurred, transaction.received, now),
            door: transaction.door.map(|door| door.0),
            direction: transaction.direction.as_ref().map(word),
            credential: transaction.credential.map(|credential| credential.0),
            raw: transaction.raw.as_slice(),
            digest: transaction.record_digest(),
            entry,
            flags: "",
            tells_of_the_log: matches!(
                transaction.kind,
                Kind::Gap(_) | Kind::ControllerReset(ResetCause::LogRestarted { .. })
            ),
        }
    }

    fn unreadable(bytes: &'a [u8]) -> Self {
        Self {
            controller: None,
            epoch: None,
            index: None,
            after: None,
            kind: text("unreadable"),
            occurred: None,
            received: None,
            live: false,
            door: None,
            direction: None,
            credential: None,
            raw: bytes,
            digest: Digest::of("postern unreadable", &[bytes]),
            entry: bytes,
            flags: "unreadable",
            tells_of_the_log: false,
        }
    }

    /// Whether this note is held from another journal of the same gateway: a gateway whose journal
    /// was contradicted writes all of it into a new one, and meets a gap or a restart a second time
    /// where the journal was put back to before it. Within one journal equal notes are two, told
    /// apart by their `seq`.
    fn came_by_another_journal(
        &self,
        commit: &Commit<'_>,
        delivery: &Delivery,
    ) -> Result<bool, StoreError> {
        commit
            .prepare_cached(NOTE_HELD)
            .and_then(|mut statement| {
                let key = params![
                    self.controller,
                    self.epoch.map(|epoch| epoch.0),
                    self.after.map(|after| after.0.cast_signed()),
                    self.entry,
                    self.tells_of_the_log.then_some(&self.kind),
                    delivery.journal.0,
                    delivery.gateway,
                ];
                statement.query_row(key, |row| row.get(0))
            })
            .map_err(StoreError::sqlite("look for the note"))
    }

    fn insert(&self, commit: &Commit<'_>, delivery: &Delivery, seq: Seq) -> Result<(), StoreError> {
        let occurred = self.occurred.as_ref();
        commit
            .prepare_cached(
                "INSERT INTO transactions (controller, epoch, idx, after, journal, seq, kind,
                     occurred, time_source, time_trust, received, stored_at, live, door, direction,
                     credential, raw, digest, entry, role_term, flags)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    self.controller,
                    self.epoch.map(|epoch| epoch.0),
                    self.index.map(|index| index.0.cast_signed()),
                    self.after.map(|after| after.0.cast_signed()),
                    delivery.journal.0,
                    seq.0.cast_signed(),
                    self.kind,
                    occurred.and_then(|occurred| occurred.at).map(|at| at.0),
                    occurred.map(|occurred| word(&occurred.source)),
                    occurred.map(|occurred| word(&occurred.trust)),
                    self.received.map(|received| received.0),
                    delivery.now.0,
                    self.live,
                    self.door,
                    self.direction,
                    // All 64 bits are the card's; it is never compared by size.
                    self.credential.map(u64::cast_signed),
                    self.raw,
                    self.digest.0,
                    self.entry,
                    delivery.acting.0.cast_signed(),
                    self.flags,
                ])
            })
            .map_err(StoreError::sqlite("store the transaction"))?;
        Ok(())
    }
}

/// JSON of a value of ours; these have no way to fail.
fn text<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The JSON word of a value that serializes to one.
fn word<T: Serialize>(value: &T) -> String {
    text(value).trim_matches('"').to_owned()
}
