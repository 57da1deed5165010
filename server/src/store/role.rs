//! The role document in this server's own store.

use std::path::Path;

use postern_protocol::RoleTerm;
use postern_protocol::role::{RoleVersion, SignedRole};
use postern_protocol::uplink::Bytes;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use super::log::Write;
use super::sequence::{from_sql, to_sql};
use super::{Audit, Store, StoreError, commit, schema};

impl Store {
    /// The stored document with its version for this server's group.
    pub fn role(&self) -> Result<Option<(SignedRole, RoleVersion)>, StoreError> {
        role(&self.connection)
    }

    /// Reads the document of a store that a running server may have open.
    pub fn read_role(path: &Path) -> Result<Option<(SignedRole, RoleVersion)>, StoreError> {
        role(&schema::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?)
    }

    /// Stores the first document of a new store.
    pub fn found_role(
        &mut self,
        role: &SignedRole,
        version: RoleVersion,
        why: &Audit,
    ) -> Result<(), StoreError> {
        self.put_role(None, version, role, why).map(|_| ())
    }

    /// Stores a document if the present one's version is `expected`, and its own is above that.
    pub fn swap_role(
        &mut self,
        expected: RoleVersion,
        version: RoleVersion,
        role: &SignedRole,
        why: &Audit,
    ) -> Result<bool, StoreError> {
        Ok(version > expected && self.put_role(Some(expected), version, role, why)?)
    }

    fn put_role(
        &mut self,
        expected: Option<RoleVersion>,
        version: RoleVersion,
        role: &SignedRole,
        why: &Audit,
    ) -> Result<bool, StoreError> {
        let server = self.name.server.clone();
        let done = commit(&mut self.connection, |transaction| {
            if stored_version(transaction)? != expected {
                return Ok(Err(()));
            }
            put(transaction, version, role)?;
            if why.shared {
                // The first entry of a reign, or one within it.
                let write = Write::begin(transaction, &server)?;
                write.audit(why)?;
                write.finish(version.term)?;
            } else {
                why.insert(transaction, &server)?;
            }
            Ok(Ok(()))
        })?;
        if done.is_ok() && expected.is_some_and(|before| before.term != version.term) {
            // A pause was for the reign that is over.
            self.paused = None;
        }
        Ok(done.is_ok())
    }
}

/// Writes the document that a store stands under.
pub(super) fn put(
    connection: &Connection,
    version: RoleVersion,
    role: &SignedRole,
) -> Result<(), StoreError> {
    connection
        .execute(
            "INSERT OR REPLACE INTO role
                 (only, role_term, revision, document, certificate, signature)
             VALUES (1, ?, ?, ?, ?, ?)",
            params![
                to_sql(version.term.0)?,
                to_sql(version.revision)?,
                role.document,
                role.certificate.0,
                role.signature.0
            ],
        )
        .map_err(StoreError::sqlite("store the role document"))?;
    Ok(())
}

/// The role term that this store stands under: the fence against a deposed server's writes.
pub(super) fn stored_term(connection: &Connection) -> Result<Option<RoleTerm>, StoreError> {
    let term: Option<i64> = connection
        .prepare_cached("SELECT role_term FROM role")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)).optional())
        .map_err(StoreError::sqlite("read the role term"))?;
    term.map(|term| from_sql("role_term", term).map(RoleTerm)).transpose()
}

fn stored_version(connection: &Connection) -> Result<Option<RoleVersion>, StoreError> {
    let row: Option<(i64, i64)> = connection
        .query_row("SELECT role_term, revision FROM role", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
        .map_err(StoreError::sqlite("read the role's version"))?;
    row.map(|(term, revision)| version(term, revision)).transpose()
}

fn version(term: i64, revision: i64) -> Result<RoleVersion, StoreError> {
    let term = RoleTerm(from_sql("role_term", term)?);
    Ok(RoleVersion { term, revision: from_sql("revision", revision)? })
}

pub(super) fn role(
    connection: &Connection,
) -> Result<Option<(SignedRole, RoleVersion)>, StoreError> {
    let row = connection
        .query_row(
            "SELECT role_term, revision, document, certificate, signature FROM role",
            [],
            |row| {
                let (term, revision): (i64, i64) = (row.get(0)?, row.get(1)?);
                let document = row.get(2)?;
                let (certificate, signature) = (Bytes(row.get(3)?), Bytes(row.get(4)?));
                Ok((SignedRole { document, certificate, signature }, term, revision))
            },
        )
        .optional()
        .map_err(StoreError::sqlite("read the role document"))?;
    row.map(|(signed, term, revision)| Ok((signed, version(term, revision)?))).transpose()
}
