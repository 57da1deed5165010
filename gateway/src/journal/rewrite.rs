//! A journal written anew from the entries of another: under a new identity (`fork`), in the present
//! format (`migrate`), from what is left of a damaged one (`salvage`).

use std::collections::BTreeMap;

use postern_protocol::role::SignedRole;
use postern_protocol::{Chain, ControllerId, JournalId, RoleTerm, Seq};
use redb::Database;

use super::JournalError;
use super::format::{
    Cursor, EpochRecord, HELD, LOG, Marks, Raw, Record, STATE, key, seal, seal_role,
};
use super::segment::Builder;

/// How many bytes share a commit while a journal is rewritten: few syncs, little memory.
const CHUNK: usize = 4 * 1024 * 1024;

/// See the module. Entries first, held ones at any time, then [`Rewriter::finish`].
pub(super) struct Rewriter<'a> {
    database: &'a Database,
    journal: JournalId,
    start: Chain,
    batch: Builder,
    held: Vec<(ControllerId, Vec<u8>)>,
    held_bytes: usize,
    order: u64,
}

/// What is not an entry.
#[derive(Default)]
pub(super) struct Rest {
    pub(super) cursors: BTreeMap<ControllerId, Cursor>,
    pub(super) epochs: Vec<EpochRecord>,
    pub(super) role: Option<(RoleTerm, SignedRole)>,
    pub(super) safe: Seq,
}

impl<'a> Rewriter<'a> {
    /// Into an empty journal, behind `start`.
    pub(super) fn new(database: &'a Database, journal: JournalId, start: Chain) -> Self {
        let batch = Builder::behind(journal, start, 0);
        Self { database, journal, start, batch, held: Vec::new(), held_bytes: 0, order: 0 }
    }

    /// The next entry.
    pub(super) fn entry(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        self.batch.push_entry(bytes)?;
        self.flush(CHUNK)
    }

    /// An entry that waits for its controller.
    pub(super) fn hold(
        &mut self,
        controller: ControllerId,
        bytes: &[u8],
    ) -> Result<(), JournalError> {
        self.held_bytes += bytes.len();
        self.held.push((controller, bytes.to_vec()));
        self.flush(CHUNK)
    }

    fn flush(&mut self, above: usize) -> Result<(), JournalError> {
        if self.batch.pending() + self.held_bytes < above {
            return Ok(());
        }
        let next = Builder::behind(self.journal, self.start, 0);
        let built = std::mem::replace(&mut self.batch, next).finish()?;
        let transaction = self.database.begin_write()?;
        {
            let mut log = transaction.open_table(LOG)?;
            for (first, value) in &built.segments {
                log.insert(first, value.as_slice())?;
            }
            let mut held = transaction.open_table(HELD)?;
            for (controller, entry) in self.held.drain(..) {
                let record = Record::Held(controller, self.order, Raw(&entry));
                let sealed = seal(self.journal, &record)?;
                held.insert((controller.to_string().as_str(), self.order), sealed.as_slice())?;
                self.order += 1;
            }
        }
        transaction.commit()?;
        self.held_bytes = 0;
        self.start = built.tail.link(built.start);
        self.batch = Builder::behind(self.journal, self.start, built.head.bytes);
        Ok(())
    }

    /// Everything else, and the end.
    pub(super) fn finish(mut self, oldest: Seq, rest: &Rest) -> Result<Chain, JournalError> {
        self.flush(0)?;
        let head = self.start;
        let transaction = self.database.begin_write()?;
        {
            let mut state = transaction.open_table(STATE)?;
            for (controller, cursor) in &rest.cursors {
                let sealed = seal(self.journal, &Record::Cursor(*controller, *cursor))?;
                state.insert(key::cursor(*controller).as_str(), sealed.as_slice())?;
            }
            for epoch in &rest.epochs {
                let sealed = seal(self.journal, &Record::Epoch(*epoch))?;
                state.insert(key::epoch(epoch.epoch).as_str(), sealed.as_slice())?;
            }
            if let Some((term, role)) = &rest.role {
                state.insert(key::ROLE, seal_role(self.journal, *term, role)?.as_slice())?;
            }
            let marks = Marks { head: head.seq, safe: rest.safe.min(head.seq), oldest };
            state.insert(key::MARKS, seal(self.journal, &Record::Marks(marks))?.as_slice())?;
        }
        transaction.commit()?;
        Ok(head)
    }
}
