//! What is said of a journal, the same through a running daemon and from a file: its state in
//! numbers, and its entries as JSON.

use postern_protocol::{JournalId, Seq, Timestamp, Transaction};
use serde_json::{Value, json};

use crate::clock;
use crate::journal::{FORMAT, JournalError, Reader, Ring, Traffic, Verified};

/// The present rate is taken from the last entries, so many at most.
const RATE_ENTRIES: u64 = 10_000;

/// How many of them are read at a time.
const BATCH: usize = 1_024;

const SECONDS_A_DAY: f64 = 86_400.0;

/// What is known of a journal.
pub struct Facts<'a> {
    /// Its id.
    pub id: JournalId,
    /// Whose it is.
    pub gateway: &'a str,
    /// What is held; with a capacity of 0 where that is not known.
    pub ring: Ring,
    /// Entries that wait for their controller.
    pub held: u64,
    /// Reads it.
    pub reader: &'a Reader,
    /// What the running daemon wrote.
    pub traffic: Option<&'a Traffic>,
}

/// The state of a journal in numbers. Read at `now`.
pub fn info(facts: &Facts<'_>, now: Timestamp) -> Result<Value, JournalError> {
    let Facts { id, gateway, ring, held, reader, traffic } = facts;
    let (kept, taken, room) = (ring.held(), ring.unsafe_part(), ring.capacity);
    let received = |from: Seq| -> Result<Option<Timestamp>, JournalError> {
        let batch = reader.batch(from, 1, 1)?;
        Ok(batch.and_then(|batch| {
            let (_, bytes) = batch.iter().next()?;
            Some(Transaction::decode(bytes).ok()?.received)
        }))
    };
    let head = ring.head.seq;
    let oldest = received(Seq(1))?;
    let newest = if kept.entries > 0 { received(head)? } else { None };
    // A gateway that is down receives nothing: its rate is that of the time when it ran.
    let until = if traffic.is_some() { now } else { newest.unwrap_or(now) };
    let rate = rate(facts, until)?;
    let per_second = rate.map(|(per_second, ..)| per_second).filter(|rate| *rate > 0.0);
    let bytes_each = float(kept.bytes) / float(kept.entries.max(1));
    let days =
        |free: u64, each: f64| per_second.map(|rate| float(free) / each / rate / SECONDS_A_DAY);
    let to_full = (room.entries > 0)
        .then(|| {
            let entries = days(room.entries.saturating_sub(taken.entries), 1.0)?;
            Some(entries.min(days(room.bytes.saturating_sub(taken.bytes), bytes_each)?))
        })
        .flatten();
    let written = traffic.filter(|traffic| traffic.entries() > 0);
    let per_transaction =
        written.map(|traffic| float(traffic.bytes_written()) / float(traffic.entries()));
    Ok(json!({
        "schema": "postern.journal.info.v1",
        "journal": id,
        "gateway": gateway,
        "format": FORMAT,
        "head": head,
        "oldest": ring.oldest.seq.next(),
        "safe": ring.safe.seq,
        "entries": kept.entries,
        "bytes": kept.bytes,
        "unsafe_entries": taken.entries,
        "unsafe_bytes": taken.bytes,
        "capacity_entries": (room.entries > 0).then_some(room.entries),
        "capacity_bytes": (room.entries > 0).then_some(room.bytes),
        "full_percent": (room.entries > 0).then(|| ring.percent()),
        "full": ring.full,
        "held": held,
        "oldest_received": oldest.map(clock::text),
        "newest_received": newest.map(clock::text),
        "rate_per_s": rate.map(|(per_second, ..)| per_second),
        "rate_entries": rate.map(|(_, entries, _)| entries),
        "rate_window_s": rate.map(|(.., window)| window),
        "rate_until": rate.map(|_| clock::text(until)),
        "days_to_full": to_full,
        "syncs": traffic.map(Traffic::syncs),
        "bytes_written": traffic.map(Traffic::bytes_written),
        "entries_written": traffic.map(Traffic::entries),
        "bytes_per_transaction": per_transaction,
    }))
}

/// Entries a second up to `until`, of how many, over how many seconds; `None` where there are none.
fn rate(facts: &Facts<'_>, until: Timestamp) -> Result<Option<(f64, u64, f64)>, JournalError> {
    let head = facts.ring.head.seq;
    let mut next = Seq(head.0.saturating_sub(RATE_ENTRIES) + 1);
    let (mut count, mut first) = (0, None);
    while next <= head
        && let Some(batch) = facts.reader.batch(next, BATCH, usize::MAX)?
    {
        for (_, bytes) in batch.iter() {
            let Ok(transaction) = Transaction::decode(bytes) else { continue };
            let at = transaction.received.0;
            first = Some(first.map_or(at, |first: i64| first.min(at)));
            count += 1;
        }
        next = batch.last().next();
    }
    Ok(first.map(|first| {
        // A clock that was put back must not make the rate endless.
        let window =
            float(u64::try_from(until.0.saturating_sub(first)).unwrap_or(0)).max(1_000.0) / 1_000.0;
        (float(count) / window, count, window)
    }))
}

/// What a verification found, or why it ended; without an id where the journal cannot be opened.
pub fn verified(id: Option<JournalId>, result: Result<&Verified, &JournalError>) -> Value {
    json!({
        "schema": "postern.journal.verify.v1",
        "journal": id,
        "ok": result.is_ok(),
        "verified": result.ok(),
        "problem": result.err().map(|error| {
            if let JournalError::Damaged { reason, .. } = error {
                reason.clone()
            } else {
                error.to_string()
            }
        }),
    })
}

#[expect(clippy::cast_precision_loss, reason = "estimates for people")]
fn float(number: u64) -> f64 {
    number as f64
}

/// An entry as JSON. The card number, and the raw record that holds it too, only where asked for.
pub fn entry(seq: Seq, bytes: &[u8], show_cards: bool) -> Value {
    let Ok(transaction) = Transaction::decode(bytes) else {
        return json!({ "schema": "postern.transaction.v1", "seq": seq, "unreadable": true });
    };
    let mut value = json!({ "schema": "postern.transaction.v1", "seq": seq });
    value["occurred"] = json!(transaction.occurred.at.map(clock::text));
    value["time_source"] = json!(transaction.occurred.source);
    value["time_trust"] = json!(transaction.occurred.trust);
    value["received"] = json!(clock::text(transaction.received));
    value["origin"] = json!(transaction.origin);
    value["controller"] = json!(transaction.origin.controller());
    value["kind"] = json!(transaction.kind);
    value["door"] = json!(transaction.door);
    value["direction"] = json!(transaction.direction);
    if show_cards {
        value["credential"] = json!(transaction.credential);
        value["raw"] = json!(transaction.raw);
    } else {
        value["credential"] = json!(transaction.credential.map(|card| card.to_string()));
    }
    value
}
