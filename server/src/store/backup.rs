//! What a backup has to say for itself, and what becomes of it when it is restored: the queries on
//! a whole file that nobody writes. Called by `backup`, which knows directories and names.

use std::fs;
use std::path::Path;

use postern_protocol::role::SignedRole;
use postern_protocol::{RoleTerm, Timestamp};
use ring::digest::{Context, SHA256};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use super::error::Fault;
use super::sequence::{from_sql, to_sql};
use super::snapshot::{beside, recognise};
use super::{Audit, Store, StoreError, role};

/// How far a restored store's role terms go on above those that it knows: how often the role changed
/// since the backup was made is not known, but not a million times.
const LEAP: u64 = 1 << 20;

/// Rows of each table that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// Transactions.
    pub transactions: u64,
    /// Journals.
    pub journals: u64,
    /// Holes.
    pub holes: u64,
    /// Lines of the audit log.
    pub audit: u64,
}

/// How thoroughly a file is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Every page and row (`quick_check`).
    Rows,
    /// That every index holds what its table holds, as well (`integrity_check`).
    Indexes,
}

/// Why a file is no whole store.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum Unsound {
    #[error("it is shorter than it says: {got} of {wanted} bytes")]
    Truncated { got: u64, wanted: u64 },
    #[error("it is longer than it says: {got} instead of {wanted} bytes")]
    TooLong { got: u64, wanted: u64 },
    #[error("it is damaged: {0}")]
    Damaged(String),
    #[error("it has a log beside it, so it is a store that was not closed and no backup")]
    Log,
    #[error("its name cannot be used by SQLite")]
    Name,
    #[error("{0}")]
    Store(StoreError),
}

impl From<StoreError> for Unsound {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Failed { fault: Fault::Damaged | Fault::Foreign, source, .. } => {
                Self::Damaged(source.to_string())
            }
            StoreError::Value { .. } => Self::Damaged(error.to_string()),
            StoreError::Failed { .. }
            | StoreError::NotDurable { .. }
            | StoreError::NotAStore { .. }
            | StoreError::Version { .. }
            | StoreError::Missing { .. }
            | StoreError::Changed { .. }
            | StoreError::CutOff { .. }
            | StoreError::NoPages
            | StoreError::Dead => Self::Store(error),
        }
    }
}

/// A whole file, opened so that nothing is written beside it.
pub struct Whole(Connection);

impl Whole {
    /// Opens a file that nobody writes.
    pub fn open(path: &Path) -> Result<Self, Unsound> {
        if fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0) {
            return Err(Unsound::Log);
        }
        let failed = StoreError::sqlite;
        let name = path.to_str().ok_or(Unsound::Name)?;
        // `immutable`: no locks, no log, no side files; a backup may lie where nothing can be written.
        let escaped = name.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(format!("file:{escaped}?immutable=1"), flags)
            .map_err(failed("open the file"))?;
        recognise(&connection, path)?;
        let number = |sql: &str| -> Result<u64, StoreError> {
            let got = connection.query_row(sql, [], |row| row.get(0));
            from_sql("a size", got.map_err(failed("read the size"))?)
        };
        // The header's own count: SQLite's takes the file's size where the two differ.
        let (pages, size) = (number("PRAGMA page_count")?, number("PRAGMA page_size")?);
        let header = header_pages(path).map_or(pages, u64::from);
        let (got, wanted) = (fs::metadata(path).map_or(0, |file| file.len()), header * size);
        if got < wanted {
            return Err(Unsound::Truncated { got, wanted });
        }
        if got > wanted {
            return Err(Unsound::TooLong { got, wanted });
        }
        Ok(Self(connection))
    }

    /// `SQLite`'s own check.
    pub fn check(&self, depth: Depth) -> Result<(), Unsound> {
        let sql = match depth {
            Depth::Rows => "PRAGMA quick_check(1)",
            Depth::Indexes => "PRAGMA integrity_check(1)",
        };
        let found: String = self
            .0
            .query_row(sql, [], |row| row.get(0))
            .map_err(StoreError::sqlite("check the file"))?;
        if found == "ok" { Ok(()) } else { Err(Unsound::Damaged(found.replace('\n', " "))) }
    }

    /// Counts rows, one by one: nothing is taken from what the file says of itself.
    pub fn rows(&self) -> Result<Rows, Unsound> {
        let count = |table: &str| -> Result<u64, StoreError> {
            let got =
                self.0.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0));
            from_sql("a count", got.map_err(StoreError::sqlite("count rows"))?)
        };
        Ok(Rows {
            transactions: count("transactions")?,
            journals: count("journals")?,
            holes: count("holes")?,
            audit: count("audit")?,
        })
    }

    /// The SHA-256 of all transactions in the order in which they were stored: for each the journal's
    /// 16 bytes, `seq` and the entry's length as 8 bytes, big-endian, the entry.
    pub fn digest(&self) -> Result<[u8; 32], Unsound> {
        let failed = || StoreError::sqlite("read the transactions");
        let mut select = self
            .0
            .prepare("SELECT journal, seq, entry FROM transactions ORDER BY id")
            .map_err(failed())?;
        let mut rows = select.query([]).map_err(failed())?;
        let mut context = Context::new(&SHA256);
        while let Some(row) = rows.next().map_err(failed())? {
            let read = || -> rusqlite::Result<_> {
                Ok((row.get_ref(0)?.as_blob()?, row.get::<_, i64>(1)?, row.get_ref(2)?.as_blob()?))
            };
            let (journal, seq, entry) = read().map_err(failed())?;
            context.update(journal);
            context.update(&seq.to_be_bytes());
            context.update(&u64::try_from(entry.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(entry);
        }
        Ok(context.finish().as_ref().try_into().unwrap_or_default())
    }

    /// The store's id.
    pub fn store(&self) -> Result<String, Unsound> {
        let id = self
            .0
            .query_row("SELECT store FROM meta", [], |row| row.get(0))
            .optional()
            .map_err(StoreError::sqlite("read the store's id"))?;
        id.ok_or_else(|| Unsound::Damaged("it has no id".to_owned()))
    }

    /// The role document in it.
    pub fn role(&self) -> Result<(SignedRole, RoleTerm), Unsound> {
        let role = role::role(&self.0)?.map(|(signed, version)| (signed, version.term));
        role.ok_or_else(|| Unsound::Damaged("it holds no role document".to_owned()))
    }
}

impl Store {
    /// Adds a line to the audit log.
    pub fn record_here(&mut self, line: &Audit) -> Result<(), StoreError> {
        line.insert(&self.connection, &self.name.server)
    }

    /// Makes the copy of another store a store of its own: with a new id, which no role document
    /// names, and role terms far above those that it knows. Returns the new id.
    pub fn adopt(
        copy: &Path,
        server: &str,
        now: Timestamp,
        why: &Audit,
    ) -> Result<String, StoreError> {
        let failed = || StoreError::sqlite("give the copy an id of its own");
        let mut connection = Connection::open_with_flags(copy, OpenFlags::SQLITE_OPEN_READ_WRITE)
            .map_err(failed())?;
        let _: String = connection
            .query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0))
            .map_err(failed())?;
        connection.execute_batch("PRAGMA synchronous = FULL").map_err(failed())?;
        let transaction = connection.transaction().map_err(failed())?;
        let before: String = transaction
            .query_row("SELECT store FROM meta", [], |row| row.get(0))
            .map_err(failed())?;
        let id = uuid::Uuid::new_v4().to_string();
        transaction.execute("UPDATE meta SET store = ?", [&id]).map_err(failed())?;
        make_restores(&transaction)?;
        let term = role::stored_term(&transaction)?.unwrap_or_default().0;
        // Restored again from the same file, it must not come to the same terms: time goes on. Should
        // the clock be wrong, the leap still stands.
        let seconds = u64::try_from(now.0 / 1_000).unwrap_or_default();
        let floor = seconds.max(term.saturating_add(LEAP));
        transaction
            .execute(
                "INSERT INTO restores (at, store, floor) VALUES (?, ?, ?)",
                params![now.0, before, to_sql(floor)?],
            )
            .map_err(failed())?;
        why.insert(&transaction, server)?;
        transaction.commit().map_err(failed())?;
        connection.close().map_err(|(_, source)| failed()(source))?;
        Ok(id)
    }

    /// What a role term minted here must lie above, besides the present one: this store was restored,
    /// and what it knows of role terms may be old.
    pub fn term_floor(&self) -> Result<RoleTerm, StoreError> {
        let failed = || StoreError::sqlite("read what was restored");
        let restored: bool = self
            .connection
            .query_row(
                "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'restores')",
                [],
                |row| row.get(0),
            )
            .map_err(failed())?;
        if !restored {
            return Ok(RoleTerm(0));
        }
        let floor: i64 = self
            .connection
            .query_row("SELECT coalesce(max(floor), 0) FROM restores", [], |row| row.get(0))
            .map_err(failed())?;
        from_sql("floor", floor).map(RoleTerm)
    }
}

/// Made where it is first needed, since most stores never need it.
fn make_restores(connection: &Connection) -> Result<(), StoreError> {
    connection
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS restores (
                id INTEGER PRIMARY KEY,
                at INTEGER NOT NULL,
                store TEXT NOT NULL,
                floor INTEGER NOT NULL
            ) STRICT",
        )
        .map_err(StoreError::sqlite("note what was restored"))
}

/// Has a copy of another store know what role terms of this server must lie above.
pub(super) fn keep_floor(connection: &Connection, floor: i64) -> Result<(), StoreError> {
    make_restores(connection)?;
    connection
        .execute("INSERT INTO restores (at, store, floor) VALUES (0, '', ?)", [floor])
        .map_err(StoreError::sqlite("note what was restored"))?;
    Ok(())
}

/// The number of pages that the header of a database names: 4 bytes, big-endian, at 28.
fn header_pages(path: &Path) -> std::io::Result<u32> {
    use std::io::Read as _;
    let mut head = [0; 32];
    fs::File::open(path)?.read_exact(&mut head)?;
    let [.., a, b, c, d] = head;
    Ok(u32::from_be_bytes([a, b, c, d]))
}
