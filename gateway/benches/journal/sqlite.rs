//! `SQLite` as one would use it for this: WAL, `synchronous=FULL` (a sync for each commit), prepared
//! statements, the cursor in the same transaction, checkpoints as it makes them itself.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use crate::Outcome;
use crate::load::{Batch, FILL, Load, RING};
use crate::subject::{Kept, Subject, take_turns};

/// See the module.
#[derive(Debug)]
pub(crate) struct Sqlite {
    connection: Connection,
    next: i64,
    /// How many entries are kept; the oldest are deleted in the commit that needs their room.
    keeps: Option<i64>,
}

impl Sqlite {
    /// A table that grows with every commit.
    pub(crate) fn growing(directory: &Path) -> Outcome<Self> {
        Self::create(&directory.join("growing.sqlite"), None)
    }

    /// The same duty as the journal's in service: a ring, filled twice before it is measured.
    pub(crate) fn in_service(directory: &Path) -> Outcome<Self> {
        let mut ring =
            Self::create(&directory.join("in-service.sqlite"), Some(RING.cast_signed()))?;
        let mut load = Load::of(1);
        for _ in 0..2 * RING / FILL as u64 {
            ring.commit(load.batch(FILL)?)?;
        }
        Ok(ring)
    }

    fn create(path: &Path, keeps: Option<i64>) -> Outcome<Self> {
        let connection = Connection::open(path)?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             CREATE TABLE entries (seq INTEGER PRIMARY KEY, entry BLOB NOT NULL);
             CREATE TABLE cursors (controller TEXT PRIMARY KEY, position INTEGER NOT NULL);",
        )?;
        Ok(Self { connection, next: 1, keeps })
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
            if let Some(keeps) = self.keeps {
                transaction
                    .prepare_cached("DELETE FROM entries WHERE seq < ?1")?
                    .execute([self.next - keeps])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn concurrently(&mut self, appenders: u32, slice: Duration) -> Outcome<Kept> {
        take_turns(self, appenders, slice)
    }
}
