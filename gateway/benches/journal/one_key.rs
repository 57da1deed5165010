//! redb as one would use it first: a key for each record, the cursor in the same transaction.

use std::path::Path;
use std::time::Duration;

use redb::{Builder, Database, TableDefinition};

use crate::Outcome;
use crate::load::Batch;
use crate::subject::{Kept, Subject, take_turns};

const ENTRIES: TableDefinition<u64, &[u8]> = TableDefinition::new("entries");
const CURSORS: TableDefinition<&str, u64> = TableDefinition::new("cursors");

/// As much as the journal gives redb.
const CACHE: usize = 8 * 1024 * 1024;

/// See the module.
pub(crate) struct OneKey {
    database: Database,
    next: u64,
}

impl OneKey {
    pub(crate) fn create(directory: &Path) -> Outcome<Self> {
        let database =
            Builder::new().set_cache_size(CACHE).create(directory.join("one-key.redb"))?;
        Ok(Self { database, next: 1 })
    }
}

impl Subject for OneKey {
    fn commit(&mut self, batch: Batch) -> Outcome<()> {
        let transaction = self.database.begin_write()?;
        {
            let mut entries = transaction.open_table(ENTRIES)?;
            for entry in batch.entries() {
                entries.insert(self.next, entry)?;
                self.next += 1;
            }
            transaction.open_table(CURSORS)?.insert("controller", self.next)?;
        }
        transaction.commit()?;
        Ok(())
    }

    fn concurrently(&mut self, appenders: u32, slice: Duration) -> Outcome<Kept> {
        take_turns(self, appenders, slice)
    }
}
