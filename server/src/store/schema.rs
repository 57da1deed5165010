//! Tables, and opening the file: nothing is handed out before durability was checked.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use postern_protocol::role::StoreName;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use super::StoreError;

/// The format of the file, as `SQLite`'s `user_version`.
pub(super) const FORMAT: i64 = 1;

/// "PSTN", as `SQLite`'s `application_id`: tells the file from any other database.
pub(super) const APPLICATION: i64 = 0x5053_544e;

/// How long a write waits for another process that writes (`init --join` reads, nothing else does).
pub(super) const BUSY: Duration = Duration::from_secs(5);

/// Binary ids lie as blobs, times as milliseconds of UTC. Rows of `transactions` are never changed,
/// and deleted only where the change log is taken back, from its end: so their row ids count up
/// without gaps, and are the same on both servers.
const SCHEMA: &str = "
CREATE TABLE meta (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    store TEXT NOT NULL
) STRICT;
-- The change log: one row for each commit that changed what both servers hold.
CREATE TABLE log (
    position INTEGER PRIMARY KEY,
    role_term INTEGER NOT NULL,
    chain BLOB NOT NULL,
    change BLOB NOT NULL
) STRICT;
CREATE TABLE role (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    role_term INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    document TEXT NOT NULL,
    certificate BLOB NOT NULL,
    signature BLOB NOT NULL
) STRICT;
-- One row per journal: the watermark moves in the commit of the batch that moves it.
CREATE TABLE journals (
    journal BLOB PRIMARY KEY,
    gateway TEXT NOT NULL,
    stored INTEGER NOT NULL,
    chain BLOB NOT NULL,
    safe INTEGER NOT NULL,
    doubles INTEGER NOT NULL DEFAULT 0,
    conflicts INTEGER NOT NULL DEFAULT 0,
    unreadable INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE TABLE holes (
    id INTEGER PRIMARY KEY,
    journal BLOB NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    at INTEGER NOT NULL,
    filled INTEGER
) STRICT;
CREATE TABLE controllers (
    controller TEXT PRIMARY KEY,
    gateway TEXT NOT NULL
) STRICT, WITHOUT ROWID;
-- Under which epoch the entries of an epoch are stored; fixed by its first use.
CREATE TABLE aliases (
    controller TEXT NOT NULL,
    provisional BLOB NOT NULL,
    epoch BLOB NOT NULL,
    PRIMARY KEY (controller, provisional)
) STRICT, WITHOUT ROWID;
-- The epochs that records are held of, in the order in which they came to be known.
CREATE TABLE epochs (
    id INTEGER PRIMARY KEY,
    controller TEXT NOT NULL,
    epoch BLOB NOT NULL,
    UNIQUE (controller, epoch)
) STRICT;
CREATE TABLE transactions (
    id INTEGER PRIMARY KEY,
    controller TEXT,
    epoch BLOB,
    idx INTEGER,
    after INTEGER,
    journal BLOB NOT NULL,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    occurred INTEGER,
    time_source TEXT,
    time_trust TEXT,
    received INTEGER,
    stored_at INTEGER NOT NULL,
    live INTEGER NOT NULL,
    door INTEGER,
    direction TEXT,
    credential INTEGER,
    raw BLOB NOT NULL,
    digest BLOB NOT NULL,
    entry BLOB NOT NULL,
    role_term INTEGER NOT NULL,
    flags TEXT NOT NULL,
    -- Derived when it is read, and not stored but in the indexes: by what listings are sorted, and the
    -- kind's word without its particulars.
    at INTEGER NOT NULL AS (coalesce(occurred, received, stored_at)) VIRTUAL,
    word TEXT NOT NULL AS (CASE
        WHEN kind LIKE '{%' THEN substr(kind, 3, instr(substr(kind, 3), '\"') - 1)
        ELSE trim(kind, '\"')
    END) VIRTUAL
) STRICT;
CREATE UNIQUE INDEX by_record ON transactions (controller, epoch, idx) WHERE idx IS NOT NULL;
CREATE INDEX by_place ON transactions (controller, epoch, after) WHERE after IS NOT NULL;
CREATE UNIQUE INDEX by_entry ON transactions (journal, seq);
-- For listings (docs/query.md); each costs every insert. The row's id stands in each, last.
CREATE INDEX by_time ON transactions (at);
CREATE INDEX by_controller ON transactions (controller, at, door);
CREATE INDEX by_card ON transactions (credential, at) WHERE credential IS NOT NULL;
CREATE INDEX by_stored ON transactions (stored_at);
CREATE INDEX by_kind ON transactions (word, at)
    WHERE word NOT IN ('granted', 'denied', 'door_opened', 'door_closed', 'button');
-- `position` is that of the change log, and none for what concerns one server alone.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    position INTEGER,
    server TEXT NOT NULL,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    event TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX by_position ON audit (position) WHERE position IS NOT NULL;
CREATE INDEX by_event ON audit (event, subject, actor, at);
";

/// An open store: one connection.
pub struct Store {
    pub(super) connection: Connection,
    pub(super) name: StoreName,
    /// Until then no transactions are taken: the role is being handed over.
    pub(super) paused: Option<Instant>,
}

impl Store {
    /// Makes a new store with a new id; the file must not exist.
    pub fn create(path: &Path, server: &str) -> Result<Self, StoreError> {
        // SQLite would make it readable for others; its side files take its mode.
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        if file.is_err() {
            return Err(StoreError::NotAStore { path: path.to_owned() });
        }
        let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let failed = StoreError::sqlite("create the tables");
        let store = Self::new_id();
        let make = |connection: &mut Connection| {
            let transaction = connection.transaction()?;
            transaction.execute_batch(SCHEMA)?;
            transaction.execute("INSERT INTO meta (only, store) VALUES (1, ?)", [&store])?;
            transaction.pragma_update(None, "application_id", APPLICATION)?;
            transaction.pragma_update(None, "user_version", FORMAT)?;
            transaction.commit()
        };
        make(&mut connection).map_err(failed)?;
        Ok(Self { connection, name: StoreName { server: server.to_owned(), store }, paused: None })
    }

    /// Opens an existing store and checks that its commits are durable.
    pub fn open(path: &Path, server: &str) -> Result<Self, StoreError> {
        // SQLite would take an empty file for a new database, and write to it.
        if std::fs::metadata(path).map_or_else(
            |error| error.kind() == std::io::ErrorKind::NotFound,
            |file| file.len() == 0,
        ) {
            return Err(StoreError::NotAStore { path: path.to_owned() });
        }
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        Self::of(connection, path, server)
    }

    /// Checks that a connection leads to a store of this format.
    pub(super) fn of(
        connection: Connection,
        path: &Path,
        server: &str,
    ) -> Result<Self, StoreError> {
        let number =
            |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        let application = number("application_id").map_err(StoreError::sqlite("open the file"))?;
        if application != APPLICATION {
            return Err(StoreError::NotAStore { path: path.to_owned() });
        }
        let got = number("user_version").map_err(StoreError::sqlite("read the format"))?;
        if got != FORMAT {
            return Err(StoreError::Version { path: path.to_owned(), got, wanted: FORMAT });
        }
        let store: Option<String> = connection
            .query_row("SELECT store FROM meta", params![], |row| row.get(0))
            .optional()
            .map_err(StoreError::sqlite("read the store's id"))?;
        let Some(store) = store else {
            return Err(StoreError::NotAStore { path: path.to_owned() });
        };
        Ok(Self { connection, name: StoreName { server: server.to_owned(), store }, paused: None })
    }

    /// Takes no transactions until then; `None` ends that.
    pub fn pause(&mut self, until: Option<Instant>) {
        self.paused = until;
    }

    /// Whether no transactions are taken now.
    pub(super) fn is_paused(&self) -> bool {
        self.paused.is_some_and(|until| Instant::now() < until)
    }

    /// A new id for a store.
    pub fn new_id() -> String {
        uuid::Uuid::new_v4().to_string()
    }

    /// Gives the store another id.
    pub(super) fn rename(&mut self, id: &str) -> Result<(), StoreError> {
        self.connection
            .execute("UPDATE meta SET store = ?", [id])
            .map_err(StoreError::sqlite("rename the store"))?;
        id.clone_into(&mut self.name.store);
        Ok(())
    }

    /// The name that the role document knows it by.
    pub fn name(&self) -> StoreName {
        self.name.clone()
    }
}

/// Opens a connection, sets durability and reads back whether it is set.
pub(super) fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(path, flags).map_err(StoreError::sqlite("open the file"))?;
    let set = |connection: &Connection| {
        connection.busy_timeout(BUSY)?;
        let mode: String =
            connection.query_row("PRAGMA journal_mode = WAL", params![], |row| row.get(0))?;
        connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")?;
        Ok((mode, synchronous(connection)?))
    };
    let (mode, level) = set(&connection).map_err(StoreError::sqlite("set durability"))?;
    if mode != "wal" {
        return Err(StoreError::NotDurable { setting: "journal_mode", got: mode, wanted: "wal" });
    }
    if level != FULL {
        let got = level.to_string();
        return Err(StoreError::NotDurable { setting: "synchronous", got, wanted: "2 (FULL)" });
    }
    connection
        .execute_batch(&format!(
            "PRAGMA cache_size = -{CACHE_KIB}; PRAGMA wal_autocheckpoint = {MOVED_EVERY};"
        ))
        .map_err(StoreError::sqlite("set how much is kept in memory"))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// How much of the file a connection keeps in memory: with the 2 MiB that are usual, each batch reads and
/// writes pages of all the indexes anew.
const CACHE_KIB: u32 = 64 * 1_024;

/// After how many pages of the write-ahead log a commit moves them to the file. A page that is changed by
/// many batches is then moved once.
pub(super) const MOVED_EVERY: i64 = 4_000;

/// `synchronous=FULL`: the log is synced at each commit.
pub(super) const FULL: i64 = 2;

/// The level that a connection really has.
pub(super) fn synchronous(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "synchronous", |row| row.get(0))
}
