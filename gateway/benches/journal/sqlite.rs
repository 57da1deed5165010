//! `SQLite` as one would use it for this: WAL, `synchronous=FULL` (a sync for each commit), prepared
//! statements, the cursor in the same transaction, checkpoints as it makes them itself.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use crate::Outcome;
use crate::load::Batch;
use crate::subject::{Kept, Subject, take_turns};

/// See the module.
#[derive(Debug)]
pub(crate) struct Sqlite {
    connection: Connection,
    next: i64,
}

impl Sqlite {
    pub(crate) fn create(directory: &Path) -> Outcome<Self> {
        let connection = Connection::open(directory.join("entries.sqlite"))?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             CREATE TABLE entries (seq INTEGER PRIMARY KEY, entry BLOB NOT NULL);
             CREATE TABLE cursors (controller TEXT PRIMARY KEY, position INTEGER NOT NULL);",
        )?;
        Ok(Self { connection, next: 1 })
    }
}

impl Subject for Sqlite {
    fn commit(&mut self, batch: Batch) -> Outcome<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut insert =
                transaction.prepare_cached("INSERT INTO entries (seq, entry) VALUES (?1, ?2)")?;
            for entry in batch.entries() {
                insert.execute((self.next, entry))?;
                self.next += 1;
            }
            transaction
                .prepare_cached("INSERT OR REPLACE INTO cursors VALUES ('controller', ?1)")?
                .execute([self.next])?;
        }
        transaction.commit()?;
        Ok(())
    }

    fn concurrently(&mut self, appenders: u32, slice: Duration) -> Outcome<Kept> {
        take_turns(self, appenders, slice)
    }
}
