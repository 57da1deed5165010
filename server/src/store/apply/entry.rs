//! One entry of a batch: decoded, identified, and stored once.

use postern_protocol::transaction::{Occurred, ResetCause, TimeTrust};
use postern_protocol::uplink::MAX_SEQ;
use postern_protocol::{
    ControllerId, Digest, EpochId, Index, Kind, Origin, Seq, Timestamp, Transaction,
};
use postern_protocol::{JournalId, RoleTerm};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Serialize;

use super::{Epochs, journal_mark, know_journal, note};
use crate::store::StoreError;
use crate::store::change::{KnownEpoch, Line};
use crate::store::log::Write;
use crate::store::sequence::{digest, from_sql, to_sql};

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
pub(in crate::store) enum Decoded<'a> {
    /// A transaction.
    Readable(Box<Transaction>, &'a [u8]),
    /// Something this version cannot read, or cannot count; kept as it is, since the journal has
    /// to go on.
    Unreadable(&'a [u8]),
}

/// What became of an entry.
pub(in crate::store) enum Insertion {
    Stored,
    Double,
    Conflict,
    Unreadable,
}

impl<'a> Decoded<'a> {
    pub(in crate::store) fn of(bytes: &'a [u8]) -> Self {
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

/// How an entry came here.
#[derive(Clone, Copy)]
pub(in crate::store) struct Arrival<'a> {
    /// In which journal.
    pub(in crate::store) journal: JournalId,
    /// Whose.
    pub(in crate::store) gateway: &'a str,
    /// Under which role term it was first stored.
    pub(in crate::store) role_term: RoleTerm,
    /// When.
    pub(in crate::store) stored_at: Timestamp,
    /// Whether it was news then, where another server has judged that.
    pub(in crate::store) live: Option<bool>,
}

/// Stores one entry, unless its transaction is held already.
pub(in crate::store) fn insert(
    write: &Write<'_>,
    arrival: &Arrival<'_>,
    seq: Seq,
    decoded: &Decoded<'_>,
    epochs: &mut Epochs<'_>,
) -> Result<Insertion, StoreError> {
    let commit = write.sql;
    let (transaction, bytes) = match decoded {
        Decoded::Readable(transaction, bytes) => (transaction.as_ref(), *bytes),
        Decoded::Unreadable(bytes) => {
            return Row::unreadable(bytes).store(write, arrival, seq, Insertion::Unreadable);
        }
    };
    let controller = transaction.origin.controller();
    let epoch = epochs.resolve(controller, transaction.origin.epoch())?;
    let mut row = Row::of(transaction, bytes, epoch, arrival.stored_at);
    row.live = arrival.live.unwrap_or(row.live);
    row.kind = text(&with_known_predecessor(transaction.kind, controller, epochs)?);
    let Some(index) = row.index else {
        if row.came_by_another_journal(commit, arrival)? {
            return Ok(Insertion::Double);
        }
        return row.store(write, arrival, seq, Insertion::Stored);
    };
    match held(commit, controller, epoch, index)? {
        Some(held) if held == row.digest => return Ok(Insertion::Double),
        Some(_) => {}
        None => {
            know_epoch(write, controller, epoch)?;
            return row.store(write, arrival, seq, Insertion::Stored);
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
    let kept = row.store(write, arrival, seq, Insertion::Conflict)?;
    if let Insertion::Conflict = kept {
        let detail = format!(
            "{controller} index {index} of epoch {epoch} came with other bytes; kept under epoch {own}"
        );
        note(write, arrival, "conflict", &detail)?;
    }
    Ok(kept)
}

/// The epoch that a contradicting record is kept under.
pub(in crate::store) fn conflict_epoch(epoch: EpochId, record: Digest) -> EpochId {
    let Digest([head @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _]) =
        Digest::of("postern conflict", &[&epoch.0, &record.0]);
    EpochId(head)
}

/// The digest of the record that is held under an identity.
fn held(
    commit: &Connection,
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

/// Whether a place in a journal holds an entry.
pub(super) fn is_taken(
    commit: &Connection,
    journal: JournalId,
    seq: Seq,
) -> Result<bool, StoreError> {
    let place = params![journal.0, seq.0.cast_signed()];
    commit
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM transactions WHERE journal = ? AND seq = ?)")
        .and_then(|mut statement| statement.query_row(place, |row| row.get(0)))
        .map_err(StoreError::sqlite("look for a place in a journal"))
}

/// The entry that is held at a place in a journal.
fn at_place(commit: &Connection, line: &Line) -> Result<Option<Vec<u8>>, StoreError> {
    commit
        .prepare_cached("SELECT entry FROM transactions WHERE journal = ? AND seq = ?")
        .and_then(|mut statement| {
            let key = params![line.journal.0, line.seq.0.cast_signed()];
            statement.query_row(key, |row| row.get(0)).optional()
        })
        .map_err(StoreError::sqlite("read the entry"))
}

/// The name of the journal that an entry is kept under whose place is taken by another: it follows
/// from the entry, so that the same entry brought again is a double.
fn branch(line: &Line) -> JournalId {
    let Digest([head @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _]) =
        Digest::of("postern journal branch", &[&line.journal.0, &line.entry.0]);
    JournalId(head)
}

fn know_epoch(
    write: &Write<'_>,
    controller: ControllerId,
    epoch: EpochId,
) -> Result<(), StoreError> {
    let new = write
        .sql
        .prepare_cached(
            "INSERT INTO epochs (controller, epoch) VALUES (?, ?) ON CONFLICT DO NOTHING",
        )
        .and_then(|mut statement| statement.execute(params![controller.to_string(), epoch.0]))
        .map_err(StoreError::sqlite("note the epoch"))?;
    if new > 0 {
        let id = from_sql("id", write.sql.last_insert_rowid())?;
        write.note(|change| change.epochs.push(KnownEpoch { id, controller, epoch }));
    }
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
    let was_near = match (occurred.trust, occurred.at) {
        (TimeTrust::Exact, Some(at)) => near(at),
        (TimeTrust::Within { ms }, Some(at)) => {
            near(at) && near(Timestamp(at.0.saturating_sub(ms.into())))
        }
        // What is found at the first look may be of last night.
        (TimeTrust::Before, _) => false,
        (
            TimeTrust::Exact
            | TimeTrust::Within { .. }
            | TimeTrust::Ambiguous
            | TimeTrust::Skipped
            | TimeTrust::Absent,
            _,
        ) => true,
    };
    near(received) && was_near
}

/// What is stored of an entry, apart from where and when.
pub(super) struct Row<'a> {
    controller: Option<String>,
    pub(super) epoch: Option<EpochId>,
    index: Option<Index>,
    after: Option<Index>,
    pub(super) kind: String,
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
    pub(super) fn of(
        transaction: &'a Transaction,
        entry: &'a [u8],
        epoch: EpochId,
        now: Timestamp,
    ) -> Self {
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

    pub(super) fn unreadable(bytes: &'a [u8]) -> Self {
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
        commit: &Connection,
        arrival: &Arrival<'_>,
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
                    arrival.journal.0,
                    arrival.gateway,
                ];
                statement.query_row(key, |row| row.get(0))
            })
            .map_err(StoreError::sqlite("look for the note"))
    }

    /// Stores the row behind all others and notes it. A place in a journal that is taken already was
    /// filled from the other server: a double, if it was filled with the same bytes, and else kept
    /// under a journal's name of its own.
    fn store(
        &self,
        write: &Write<'_>,
        arrival: &Arrival<'_>,
        seq: Seq,
        done: Insertion,
    ) -> Result<Insertion, StoreError> {
        let mut line = Line {
            id: 0,
            journal: arrival.journal,
            seq,
            epoch: self.epoch,
            kind: self.kind.clone(),
            stored_at: arrival.stored_at,
            live: self.live,
            role_term: arrival.role_term,
            flags: self.flags.to_owned(),
            entry: postern_protocol::uplink::Bytes(self.entry.to_vec()),
        };
        if !self.insert(write.sql, &line)? {
            if at_place(write.sql, &line)? == Some(line.entry.0.clone()) {
                return Ok(Insertion::Double);
            }
            line.journal = branch(&line);
            if !self.insert(write.sql, &line)? {
                return Ok(Insertion::Double);
            }
        }
        line.id = from_sql("id", write.sql.last_insert_rowid())?;
        if line.journal != arrival.journal && journal_mark(write.sql, line.journal)?.is_none() {
            know_journal(write, line.journal, arrival.gateway)?;
        }
        write.note_line(&line);
        Ok(done)
    }

    /// Stores the row under the line's number, or, where that is 0, behind all others; `false` where
    /// its place in the journal is taken.
    pub(super) fn insert(&self, commit: &Connection, line: &Line) -> Result<bool, StoreError> {
        let occurred = self.occurred.as_ref();
        let id = (line.id > 0).then(|| to_sql(line.id)).transpose()?;
        let rows = commit
            .prepare_cached(
                "INSERT INTO transactions (id, controller, epoch, idx, after, journal, seq, kind,
                     occurred, time_source, time_trust, received, stored_at, live, door, direction,
                     credential, raw, digest, entry, role_term, flags)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT (journal, seq) DO NOTHING",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    id,
                    self.controller,
                    self.epoch.map(|epoch| epoch.0),
                    self.index.map(|index| index.0.cast_signed()),
                    self.after.map(|after| after.0.cast_signed()),
                    line.journal.0,
                    line.seq.0.cast_signed(),
                    self.kind,
                    occurred.and_then(|occurred| occurred.at).map(|at| at.0),
                    occurred.map(|occurred| word(&occurred.source)),
                    occurred.map(|occurred| word(&occurred.trust)),
                    self.received.map(|received| received.0),
                    line.stored_at.0,
                    line.live,
                    self.door,
                    self.direction,
                    // All 64 bits are the card's; it is never compared by size.
                    self.credential.map(u64::cast_signed),
                    self.raw,
                    self.digest.0,
                    self.entry,
                    line.role_term.0.cast_signed(),
                    line.flags,
                ])
            })
            .map_err(StoreError::sqlite("store the transaction"))?;
        Ok(rows > 0)
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
