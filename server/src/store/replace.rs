//! The store's file replaced by a full copy of another server's, while the process goes on.
//!
//! Invariants: what makes the copy this server's own is in it, durably, before it takes the store's
//! place: a new id, which nothing names as in sync, and the role document that this store stood
//! under; the old file is set aside under one name, so that what could not be merged can be looked
//! at. Nothing of the old one lies in a log any more when it is moved. A crash leaves the old store or
//! the new one.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use postern_protocol::RoleTerm;
use postern_protocol::role::StoreName;
use rusqlite::{Connection, OpenFlags};

use super::change::AuditLine;
use super::log::insert_audit;
use super::sequence::to_sql;
use super::snapshot::{beside, recognise};
use super::{Audit, Shared, Store, StoreError, StoreHandle, role::stored_term};

/// The end of the old file's name.
const ASIDE: &str = ".replaced";

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// The copy is the store now, under this name.
    Done(StoreName),
    /// The store stands under another role term.
    Fenced,
    /// Somebody reads the old file, whose log can therefore not be moved into it.
    Busy,
}

impl StoreHandle {
    /// Puts the copy in the place of this store, if that stands under the role term still. Returns
    /// its name.
    pub async fn replace(
        &self,
        copy: PathBuf,
        acting: RoleTerm,
        server: String,
        why: String,
    ) -> Result<Replaced, StoreError> {
        let shared = self.0.clone();
        let done =
            tokio::task::spawn_blocking(move || replace(&shared, &copy, acting, &server, &why));
        done.await.unwrap_or(Err(StoreError::Dead))
    }
}

fn replace(
    shared: &Shared,
    copy: &Path,
    acting: RoleTerm,
    server: &str,
    why: &str,
) -> Result<Replaced, StoreError> {
    let mut writer = shared.writer.lock().unwrap_or_else(PoisonError::into_inner);
    let mut reader = shared.reader.lock().unwrap_or_else(PoisonError::into_inner);
    if stored_term(&writer.connection)? != Some(acting) {
        return Ok(Replaced::Fenced);
    }
    if *shared.copies.lock().unwrap_or_else(PoisonError::into_inner) > 0 {
        return Ok(Replaced::Busy);
    }
    let busy: i64 = writer
        .connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .map_err(StoreError::sqlite("move the log"))?;
    if busy != 0 {
        return Ok(Replaced::Busy);
    }
    make_own(&writer, copy, server, why)?;
    let path = PathBuf::from(writer.connection.path().unwrap_or_default());
    let done = swap(&mut writer, &mut reader, copy, &path, server);
    if let Err(error) = &done {
        // The connections are gone, whatever is in their place.
        tracing::error!(%error, "the store could not be replaced; stopping");
        shared.dead.cancel();
    }
    done?;
    shared.know_as(writer.name());
    shared.forget_room();
    shared.heads.send_replace(writer.head()?);
    Ok(Replaced::Done(writer.name()))
}

/// Gives the copy what is this server's own.
fn make_own(store: &Store, copy: &Path, server: &str, why: &str) -> Result<(), StoreError> {
    let failed = || StoreError::sqlite("make the copy this server's own");
    let mut connection = Connection::open_with_flags(copy, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .map_err(StoreError::sqlite("open the copy"))?;
    recognise(&connection, copy)?;
    connection
        .execute_batch("PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL;")
        .map_err(failed())?;
    let (role, version) = store
        .role()?
        .ok_or_else(|| StoreError::Value { what: "role", got: "nothing".to_owned() })?;
    let floor = store.term_floor()?;
    let transaction = connection.transaction().map_err(failed())?;
    transaction
        .execute("UPDATE meta SET store = ?", [Store::new_id()])
        // What concerned the other server alone.
        .and_then(|_| transaction.execute("DELETE FROM audit WHERE position IS NULL", []))
        .and_then(|_| transaction.execute_batch("DROP TABLE IF EXISTS restores"))
        .map_err(failed())?;
    super::role::put(&transaction, version, &role)?;
    if floor > RoleTerm(0) {
        super::backup::keep_floor(&transaction, to_sql(floor.0)?)?;
    }
    for line in own_lines(&store.connection)? {
        insert_audit(&transaction, &line, None)?;
    }
    Audit::now(server, "store_rebuilt", server, why).insert(&transaction, server)?;
    transaction.commit().map_err(failed())?;
    connection.close().map_err(|(_, source)| failed()(source))
}

/// The lines of the audit log that concern this server alone.
fn own_lines(connection: &Connection) -> Result<Vec<AuditLine>, StoreError> {
    let failed = || StoreError::sqlite("read the audit log");
    let mut select = connection
        .prepare(
            "SELECT server, at, actor, event, subject, detail FROM audit
             WHERE position IS NULL ORDER BY id",
        )
        .map_err(failed())?;
    select
        .query_map([], |row| {
            Ok(AuditLine {
                server: row.get(0)?,
                at: postern_protocol::Timestamp(row.get(1)?),
                actor: row.get(2)?,
                event: row.get(3)?,
                subject: row.get(4)?,
                detail: row.get(5)?,
            })
        })
        .map_err(failed())?
        .collect::<Result<_, _>>()
        .map_err(failed())
}

/// Closes the old file, moves the new one into its place, opens it.
fn swap(
    writer: &mut Store,
    reader: &mut Store,
    copy: &Path,
    path: &Path,
    server: &str,
) -> Result<(), StoreError> {
    let io = |doing: &'static str| {
        move |error: std::io::Error| StoreError::Value { what: doing, got: error.to_string() }
    };
    for store in [&mut *reader, &mut *writer] {
        let nothing =
            Connection::open_in_memory().map_err(StoreError::sqlite("close the old store"))?;
        // The last one to close moves the log into the file.
        std::mem::replace(&mut store.connection, nothing)
            .close()
            .map_err(|(_, source)| StoreError::sqlite("close the old store")(source))?;
    }
    let aside = beside(path, ASIDE);
    let _ = std::fs::remove_file(&aside);
    // Where there are no hard links the old file is gone; what it alone held was merged.
    if let Err(error) = std::fs::hard_link(path, &aside) {
        tracing::warn!(%error, "the old store's file is not kept");
    }
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(beside(path, suffix));
    }
    std::fs::rename(copy, path).map_err(io("the new store's place"))?;
    if let Some(dir) = path.parent() {
        std::fs::File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(io("the data directory"))?;
    }
    *writer = Store::open(path, server)?;
    *reader = Store::open(path, server)?;
    Ok(())
}
