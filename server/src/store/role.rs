//! The role document in this server's own store.

use std::path::Path;

use postern_protocol::RoleTerm;
use postern_protocol::role::SignedRole;
use postern_protocol::uplink::Bytes;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use super::sequence::{from_sql, to_sql};
use super::{Audit, Store, StoreError, commit, schema};

impl Store {
    /// The stored document with its role term for this server's group.
    pub fn role(&self) -> Result<Option<(SignedRole, RoleTerm)>, StoreError> {
        role(&self.connection)
    }

    /// Reads the document of a store that a running server may have open.
    pub fn read_role(path: &Path) -> Result<Option<(SignedRole, RoleTerm)>, StoreError> {
        role(&schema::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?)
    }

    /// Stores the first document of a new store.
    pub fn found_role(
        &mut self,
        role: &SignedRole,
        term: RoleTerm,
        why: &Audit,
    ) -> Result<(), StoreError> {
        self.put_role(None, term, role, why).map(|_| ())
    }

    /// Stores a document if the present one's role term is `expected`.
    pub fn swap_role(
        &mut self,
        expected: RoleTerm,
        term: RoleTerm,
        role: &SignedRole,
        why: &Audit,
    ) -> Result<bool, StoreError> {
        self.put_role(Some(expected), term, role, why)
    }

    fn put_role(
        &mut self,
        expected: Option<RoleTerm>,
        term: RoleTerm,
        role: &SignedRole,
        why: &Audit,
    ) -> Result<bool, StoreError> {
        let done = commit(&mut self.connection, |transaction| {
            if stored_term(transaction)? != expected {
                return Ok(Err(()));
            }
            transaction
                .execute(
                    "INSERT OR REPLACE INTO role (only, role_term, document, certificate, signature)
                     VALUES (1, ?, ?, ?, ?)",
                    params![to_sql(term.0)?, role.document, role.certificate.0, role.signature.0],
                )
                .map_err(StoreError::sqlite("store the role document"))?;
            why.insert(transaction)?;
            Ok(Ok(()))
        })?;
        Ok(done.is_ok())
    }
}

/// The role term that this store stands under: the fence against a deposed server's writes.
pub(super) fn stored_term(connection: &Connection) -> Result<Option<RoleTerm>, StoreError> {
    let term: Option<i64> = connection
        .prepare_cached("SELECT role_term FROM role")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)).optional())
        .map_err(StoreError::sqlite("read the role term"))?;
    term.map(|term| from_sql("role_term", term).map(RoleTerm)).transpose()
}

pub(super) fn role(connection: &Connection) -> Result<Option<(SignedRole, RoleTerm)>, StoreError> {
    let row = connection
        .query_row("SELECT role_term, document, certificate, signature FROM role", [], |row| {
            let term: i64 = row.get(0)?;
            let document = row.get(1)?;
            let (certificate, signature) = (Bytes(row.get(2)?), Bytes(row.get(3)?));
            Ok((SignedRole { document, certificate, signature }, term))
        })
        .optional()
        .map_err(StoreError::sqlite("read the role document"))?;
    row.map(|(signed, term)| Ok((signed, RoleTerm(from_sql("role_term", term)?)))).transpose()
}
