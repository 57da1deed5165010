//! Is a file a whole store, and the one that its sidecar says?

use std::path::Path;

use postern_protocol::RoleTerm;
use postern_protocol::role::{RoleDocument, SignedRole};
use serde::Serialize;

use super::sidecar::hex;
use super::{BackupError, Sidecar, file};
use crate::store::backup::{Depth, Rows, Unsound, Whole};

/// What was found in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Its path as it was given.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// The id of the store.
    pub store: String,
    /// How many rows it has.
    pub rows: Rows,
    /// The role term that the store stood under.
    pub role_term: RoleTerm,
    /// SHA-256 over all transactions, hexadecimal.
    pub content_sha256: String,
    /// SHA-256 of the file, hexadecimal.
    pub file_sha256: String,
    /// Whether every index was compared with its table.
    pub indexes: bool,
    /// What lay beside it, with which it agrees; `None` where nothing did.
    pub sidecar: Option<Sidecar>,
    /// The role document in it.
    #[serde(skip)]
    pub role: SignedRole,
    /// The same, read.
    #[serde(skip)]
    pub document: RoleDocument,
}

/// Checks a file: that it is a whole store, and where a sidecar lies beside it, that it is what that
/// says, to the last bit.
pub fn verify(path: &Path, depth: Depth) -> Result<Verified, BackupError> {
    let sidecar = Sidecar::of(path)?;
    let found = inspect(path, depth)?;
    let Some(sidecar) = sidecar else { return Ok(found) };
    let differs = |what, got: &dyn ToString, wanted: &dyn ToString| {
        let (got, wanted) = (got.to_string(), wanted.to_string());
        if got == wanted {
            return Ok(());
        }
        Err(BackupError::Differs { path: path.to_owned(), what, got, wanted })
    };
    differs("its size", &found.bytes, &sidecar.bytes)?;
    differs("the store's id", &found.store, &sidecar.store)?;
    let (got, wanted) = (found.rows, sidecar.rows);
    differs("the number of transactions", &got.transactions, &wanted.transactions)?;
    differs("the number of journals", &got.journals, &wanted.journals)?;
    differs("the number of holes", &got.holes, &wanted.holes)?;
    differs("the number of audit lines", &got.audit, &wanted.audit)?;
    differs("the digest of its transactions", &found.content_sha256, &sidecar.content_sha256)?;
    differs("the digest of the file", &found.file_sha256, &sidecar.file_sha256)?;
    differs("the site", &found.document.site, &sidecar.who.site)?;
    if !found.document.groups.contains_key(&sidecar.who.group) {
        let known: Vec<&str> = found.document.groups.keys().map(String::as_str).collect();
        differs("the group", &known.join(", "), &sidecar.who.group)?;
    }
    Ok(Verified { sidecar: Some(sidecar), ..found })
}

/// Checks what can be checked of a file alone.
pub(super) fn inspect(path: &Path, depth: Depth) -> Result<Verified, BackupError> {
    let unsound = |why| BackupError::Unsound { path: path.to_owned(), why };
    // Whether it can be read at all is said by its own error.
    std::fs::File::open(path).map_err(BackupError::io("open", path))?;
    let whole = Whole::open(path).map_err(unsound)?;
    whole.check(depth).map_err(unsound)?;
    let (role, role_term) = whole.role().map_err(unsound)?;
    let document: RoleDocument = serde_json::from_str(&role.document)
        .map_err(|error| unsound(Unsound::Damaged(format!("its role document: {error}"))))?;
    let (rows, store) = (whole.rows().map_err(unsound)?, whole.store().map_err(unsound)?);
    let content_sha256 = hex(&whole.digest().map_err(unsound)?);
    let (bytes, digest) = file::digest(path)?;
    Ok(Verified {
        file: path.display().to_string(),
        bytes,
        store,
        rows,
        role_term,
        content_sha256,
        file_sha256: hex(&digest),
        indexes: depth == Depth::Indexes,
        sidecar: None,
        role,
        document,
    })
}
