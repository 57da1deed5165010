//! What a journal's file holds, read and verified as a whole: at every open, and for whoever only looks.

use std::path::Path;

use postern_protocol::{Chain, JournalId};
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata};

use super::format::{FORMAT, HELD, LOG, Record, STATE, Segment, key, unseal_of};
use super::options::Options;
use super::ring::{Capacity, Place, Ring};
use super::{JournalError, file};

/// Whether a journal is this gateway's, and fits its capacity.
pub(super) fn judge(mut found: Found, options: &Options) -> Result<Found, JournalError> {
    let path = options.path.clone();
    if found.gateway != options.gateway {
        let (owner, gateway) = (found.gateway, options.gateway.clone());
        return Err(JournalError::Foreign { path, owner, gateway });
    }
    found.ring.capacity = options.capacity;
    if !found.ring.fits() {
        let (held, capacity) = (found.ring.unsafe_part(), options.capacity);
        return Err(JournalError::TooSmall { path, held, capacity });
    }
    Ok(found)
}

/// What a journal's file holds.
pub(super) struct Found {
    pub(super) id: JournalId,
    pub(super) gateway: String,
    pub(super) head: Chain,
    /// Without a capacity: that is the configuration's.
    pub(super) ring: Ring,
    pub(super) held: u64,
}

/// Reads and verifies what a journal holds: every segment by its checksum, and that each goes on
/// where the one before it ends.
pub(super) fn load(database: &Database, path: &Path) -> Result<Found, JournalError> {
    let damaged = |what: &str| file::damaged(path, what);
    match file::format_of(database)? {
        None => return Err(JournalError::NoJournal { path: path.to_owned() }),
        Some(format) if format > FORMAT => {
            let (path, supported) = (path.to_owned(), FORMAT);
            return Err(JournalError::NewerFormat { path, format, supported });
        }
        Some(format) if format < FORMAT => {
            return Err(JournalError::OlderFormat { path: path.to_owned(), format });
        }
        Some(_) => {}
    }
    let transaction = database.begin_read()?;
    let state = transaction.open_table(STATE)?;
    let identity = state.get(key::IDENTITY)?.ok_or_else(|| damaged("its identity is missing"))?;
    let Ok((journal, Record::Identity(identity))) = unseal_of(identity.value()) else {
        return Err(damaged("its identity is unreadable"));
    };
    let marks = state.get(key::MARKS)?.ok_or_else(|| damaged("its watermarks are missing"))?;
    let Ok((of, Record::Marks(marks))) = unseal_of(marks.value()) else {
        return Err(damaged("its watermarks are unreadable"));
    };
    if of != journal {
        return Err(damaged("its watermarks are another journal's"));
    }
    let log = transaction.open_table(LOG)?;
    let (mut oldest, mut safe) = (None, None);
    let (mut head, mut end) = (Chain::genesis(journal), Place::default());
    for row in log.range::<u64>(..)? {
        let (first, value) = row?;
        let segment = Segment::read(first.value(), value.value())
            .map_err(|error| damaged(&error.to_string()))?;
        let ours = value.value().get(8..24) == Some(&journal.0);
        let start = Place { seq: segment.first.previous(), bytes: segment.place };
        if !ours || oldest.is_some() && start != end {
            return Err(damaged(&format!("there is a hole before entry {}", segment.first)));
        }
        oldest.get_or_insert(start);
        end = Place {
            seq: segment.last(),
            bytes: segment.place.saturating_add(value.value().len() as u64),
        };
        if safe.is_none() && end.seq > marks.safe {
            safe = Some(Place { seq: marks.safe, bytes: start.bytes });
        }
    }
    if let Some((first, value)) = log.last()? {
        head = Segment::read(first.value(), value.value())?.end();
    }
    if head.seq != marks.head {
        let message = format!("it ends at entry {}, but was committed to {}", head.seq, marks.head);
        return Err(damaged(&message));
    }
    let waiting = transaction.open_table(HELD)?.len()?;
    Ok(Found {
        id: journal,
        gateway: identity.gateway,
        head,
        ring: Ring {
            capacity: Capacity::default(),
            oldest: oldest.unwrap_or_default(),
            safe: safe.unwrap_or(Place { seq: marks.safe.min(end.seq), bytes: end.bytes }),
            head: end,
            full: None,
            refused: Capacity::default(),
        },
        held: waiting,
    })
}
