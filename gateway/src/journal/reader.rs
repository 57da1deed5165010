//! Reading: batches are copied out and the redb transaction is dropped before anything is awaited,
//! since an open one pins every page that the ring reuses.

use std::collections::BTreeMap;
use std::sync::Arc;

use postern_protocol::role::SignedRole;
use postern_protocol::{Chain, ControllerId, RoleTerm, Seq};
use redb::{Database, ReadableDatabase};

use super::format::{Cursor, EpochRecord, META, SEGMENTS, Segment, decode, meta};
use super::{JournalError, store};

/// Consecutive entries, copied out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalBatch {
    /// The chain before the first of them.
    pub before: Chain,
    /// Their bytes.
    pub entries: Vec<Vec<u8>>,
}

impl JournalBatch {
    /// The entries with their positions.
    pub fn iter(&self) -> impl Iterator<Item = (Seq, &[u8])> {
        (self.before.seq.0 + 1..).map(Seq).zip(self.entries.iter().map(Vec::as_slice))
    }
}

/// A reader of the journal. Clones are cheap; reading blocks for a disk read at most.
#[derive(Clone)]
pub struct Reader {
    database: Arc<Database>,
}

impl Reader {
    pub(crate) fn new(database: Arc<Database>) -> Self {
        Self { database }
    }

    /// Up to `count` entries from `from` on, or from the oldest where `from` is gone already. Every
    /// segment is verified against its chain first.
    pub fn batch(&self, from: Seq, count: usize) -> Result<Option<JournalBatch>, JournalError> {
        let table = self.database.begin_read()?.open_table(SEGMENTS)?;
        let start = table.range(..=from.0)?.next_back().transpose()?.map_or(0, |row| row.0.value());
        let mut out: Option<JournalBatch> = None;
        for row in table.range(start..)? {
            let (key, value) = row?;
            let segment = Segment::decode(key.value(), value.value())?;
            let mut chain = Chain { seq: segment.first.previous(), hash: segment.before };
            for entry in &segment.entries {
                let before = chain;
                chain = chain.link(entry);
                if chain.seq < from {
                    continue;
                }
                let batch = out.get_or_insert_with(|| JournalBatch { before, entries: Vec::new() });
                if batch.entries.len() == count {
                    return Ok(out);
                }
                batch.entries.push((*entry).to_vec());
            }
        }
        Ok(out)
    }

    /// The chain at `seq`, where the entry there or the one after it is still held.
    pub fn chain_at(&self, seq: Seq) -> Result<Option<Chain>, JournalError> {
        let after = self.batch(seq.next(), 1)?.map(|batch| batch.before);
        if let Some(chain) = after.filter(|chain| chain.seq == seq) {
            return Ok(Some(chain));
        }
        let at = self.batch(seq, 1)?.filter(|batch| batch.before.seq.next() == seq);
        Ok(at.and_then(|batch| Some(batch.before.link(batch.entries.first()?))))
    }

    /// Every cursor.
    pub fn cursors(&self) -> Result<BTreeMap<ControllerId, Cursor>, JournalError> {
        store::cursors(&self.database)
    }

    /// Every epoch.
    pub fn epochs(&self) -> Result<Vec<EpochRecord>, JournalError> {
        store::epochs(&self.database)
    }

    /// The highest role document that was remembered, with its term.
    pub fn role(&self) -> Result<Option<(RoleTerm, SignedRole)>, JournalError> {
        let table = self.database.begin_read()?.open_table(META)?;
        let (Some(term), Some(role)) = (table.get(meta::ROLE_TERM)?, table.get(meta::ROLE)?) else {
            return Ok(None);
        };
        let unreadable = || store::unreadable("role document");
        let term = decode(term.value()).map_err(|_| unreadable())?;
        let role = serde_json::from_slice(role.value()).map_err(|_| unreadable())?;
        Ok(Some((term, role)))
    }
}
