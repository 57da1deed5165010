//! Reading: batches are copied out and the redb transaction is dropped before anything is awaited,
//! since an open one pins every page that the ring reuses. Every segment is verified first, so no
//! wrong byte leaves the journal as right.

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use postern_protocol::role::SignedRole;
use postern_protocol::{Chain, ControllerId, RoleTerm, Seq, Transaction};
use redb::{Database, ReadableDatabase, ReadableTable};

use super::format::{Cursor, EpochRecord, HELD, LOG, Raw, Record, STATE, Segment, key, unseal};
use super::segment::Entries;
use super::{JournalError, store};

/// Consecutive entries, copied out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalBatch {
    /// The chain before the first of them.
    pub before: Chain,
    count: usize,
    run: Vec<u8>,
}

impl JournalBatch {
    /// The entries of a segment from `from` on, as many as may be.
    fn begin(segment: &Segment<'_>, from: Seq, count: usize, bytes: usize) -> Self {
        let mut entries = segment.entries();
        let mut before = segment.start();
        while before.seq.next() < from {
            let Some(entry) = entries.next() else { break };
            before = before.link(entry);
        }
        let run = entries.rest;
        let (mut taken, mut length) = (0, 0);
        while taken < count.max(1) && (taken == 0 || length < bytes) && entries.next().is_some() {
            taken += 1;
            length = run.len() - entries.rest.len();
        }
        Self { before, count: taken, run: run.get(..length).unwrap_or_default().to_vec() }
    }

    /// How many.
    #[expect(clippy::len_without_is_empty, reason = "there is no empty batch")]
    pub fn len(&self) -> usize {
        self.count
    }

    /// The entries with their positions.
    pub fn iter(&self) -> impl Iterator<Item = (Seq, &[u8])> {
        (self.before.seq.0 + 1..).map(Seq).zip(Entries { rest: &self.run })
    }

    /// The last of them.
    pub fn last(&self) -> Seq {
        Seq(self.before.seq.0 + self.count as u64)
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

    /// Up to `count` entries and about `bytes` bytes from `from` on, or from the oldest where `from`
    /// is gone already; at least one entry where there is one. `None`: there is nothing yet.
    pub fn batch(
        &self,
        from: Seq,
        count: usize,
        bytes: usize,
    ) -> Result<Option<JournalBatch>, JournalError> {
        guarded(|| self.read_batch(from, count, bytes))
    }

    fn read_batch(
        &self,
        from: Seq,
        count: usize,
        bytes: usize,
    ) -> Result<Option<JournalBatch>, JournalError> {
        let table = self.database.begin_read()?.open_table(LOG)?;
        let start = table.range(..=from.0)?.next_back().transpose()?.map_or(0, |row| row.0.value());
        let mut out: Option<JournalBatch> = None;
        for row in table.range(start..)? {
            let (key, value) = row?;
            let segment = Segment::read(key.value(), value.value())?;
            if segment.last() < from {
                continue;
            }
            let Some(batch) = &mut out else {
                let batch = JournalBatch::begin(&segment, from, count, bytes);
                let whole = batch.last() == segment.last();
                out = Some(batch);
                if whole {
                    continue;
                }
                break;
            };
            if segment.first != batch.last().next() {
                return Err(JournalError::Corrupt { at: batch.last().next() });
            }
            // Whole segments only: where a batch begins the chain is then known without hashing.
            let taken = segment.count as usize;
            if batch.count + taken > count || batch.run.len() + segment.entries.0.len() > bytes {
                break;
            }
            batch.count += taken;
            batch.run.extend_from_slice(segment.entries.0);
        }
        Ok(out)
    }

    /// The chain at `seq`, where the entry there or the one after it is still held.
    pub fn chain_at(&self, seq: Seq) -> Result<Option<Chain>, JournalError> {
        let after = self.batch(seq.next(), 1, 1)?.map(|batch| batch.before);
        if let Some(chain) = after.filter(|chain| chain.seq == seq) {
            return Ok(Some(chain));
        }
        let at = self.batch(seq, 1, 1)?.filter(|batch| batch.before.seq.next() == seq);
        let link = |batch: JournalBatch| batch.iter().next().map(|(_, e)| batch.before.link(e));
        Ok(at.and_then(link))
    }

    /// Every cursor.
    pub fn cursors(&self) -> Result<BTreeMap<ControllerId, Cursor>, JournalError> {
        let mut out = BTreeMap::new();
        self.each_of(key::CURSORS, |record| {
            if let Record::Cursor(controller, cursor) = record {
                out.insert(controller, cursor);
            }
        })?;
        Ok(out)
    }

    /// Every epoch.
    pub fn epochs(&self) -> Result<Vec<EpochRecord>, JournalError> {
        let mut out = Vec::new();
        self.each_of(key::EPOCHS, |record| {
            if let Record::Epoch(epoch) = record {
                out.push(epoch);
            }
        })?;
        Ok(out)
    }

    /// The highest role document that was remembered, with its term.
    pub fn role(&self) -> Result<Option<(RoleTerm, SignedRole)>, JournalError> {
        let mut out = None;
        self.each_of(key::ROLE, |record| {
            if let Record::Role(term, Raw(role)) = record {
                out = Some((term, role.to_vec()));
            }
        })?;
        let Some((term, role)) = out else { return Ok(None) };
        let role = serde_json::from_slice(&role);
        Ok(Some((term, role.map_err(|_| store::unreadable("role document"))?)))
    }

    /// Up to `count` held entries of a controller behind this one, in their order.
    pub fn held(
        &self,
        controller: ControllerId,
        behind: Option<u64>,
        count: usize,
    ) -> Result<Vec<(u64, Transaction)>, JournalError> {
        guarded(|| {
            let table = self.database.begin_read()?.open_table(HELD)?;
            let name = controller.to_string();
            let from = behind.map_or(0, |behind| behind.saturating_add(1));
            let rows = table.range((name.as_str(), from)..=(name.as_str(), u64::MAX))?;
            let mut out = Vec::new();
            for row in rows.take(count) {
                let (key, value) = row?;
                let Ok(Record::Held(_, _, Raw(entry))) = unseal(value.value()) else {
                    return Err(store::unreadable("held entry"));
                };
                let entry = Transaction::decode(entry);
                out.push((key.value().1, entry.map_err(|_| store::unreadable("held entry"))?));
            }
            Ok(out)
        })
    }

    /// The controllers that have held entries, and how many.
    pub fn held_controllers(&self) -> Result<BTreeMap<ControllerId, u64>, JournalError> {
        guarded(|| {
            let table = self.database.begin_read()?.open_table(HELD)?;
            let mut out = BTreeMap::new();
            for row in table.iter()? {
                let name = row?.0.value().0.parse().map_err(|_| store::unreadable("held entry"))?;
                *out.entry(name).or_insert(0) += 1;
            }
            Ok(out)
        })
    }

    /// Every held entry, in order.
    pub(super) fn each_held(
        &self,
        mut take: impl FnMut(ControllerId, &[u8]) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        guarded(|| {
            let table = self.database.begin_read()?.open_table(HELD)?;
            for row in table.iter()? {
                let (key, value) = row?;
                let unreadable = || store::unreadable("held entry");
                let Ok(Record::Held(_, _, Raw(entry))) = unseal(value.value()) else {
                    return Err(unreadable());
                };
                take(key.value().0.parse().map_err(|_| unreadable())?, entry)?;
            }
            Ok(())
        })
    }

    /// Every state record whose key begins so.
    fn each_of(&self, prefix: &str, mut take: impl FnMut(Record<'_>)) -> Result<(), JournalError> {
        guarded(|| {
            let table = self.database.begin_read()?.open_table(STATE)?;
            for row in table.range(prefix..)? {
                let (key, value) = row?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                take(unseal(value.value()).map_err(|_| store::unreadable(key.value()))?);
            }
            Ok(())
        })
    }
}

/// A page that rotted since the journal was opened makes redb panic: that is a damaged journal, not
/// the end of the process.
fn guarded<T>(read: impl FnOnce() -> Result<T, JournalError>) -> Result<T, JournalError> {
    panic::catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        Err(JournalError::Dead { reason: "a page of the journal makes no sense".to_owned() })
    })
}
