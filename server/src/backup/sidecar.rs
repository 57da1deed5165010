//! What lies beside a backup: a small JSON file that says what is in it and how to check that.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use postern_protocol::{RoleTerm, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{BackupError, file};
use crate::store::backup::Rows;
use crate::store::snapshot::beside;

/// The sidecar's schema.
pub const SCHEMA: &str = "postern-server.backup.v1";

/// The longest sidecar: a few hundred bytes.
const MAX_SIDECAR: u64 = 64 * 1024;

/// Whose store it is a copy of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = BackupOf)]
pub struct Who {
    /// The site.
    pub site: String,
    /// The failover group.
    pub group: String,
    /// The server.
    pub server: String,
}

/// What a sidecar says. Fields are only ever added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = BackupSidecar)]
pub struct Sidecar {
    /// [`SCHEMA`].
    pub schema: String,
    /// The name of the backup beside which it lies.
    pub file: String,
    /// When it was begun, RFC 3339 UTC.
    pub at: String,
    /// Whose store it is.
    #[serde(flatten)]
    pub who: Who,
    /// The id of the store.
    pub store: String,
    /// The version that made it.
    pub version: String,
    /// The role term that the store stood under.
    pub role_term: RoleTerm,
    /// The active server by the store's role document.
    pub active: String,
    /// The size of the file.
    pub bytes: u64,
    /// How many rows it has.
    pub rows: Rows,
    /// SHA-256 over all transactions (`docs/operations.md` says how), hexadecimal.
    pub content_sha256: String,
    /// SHA-256 of the file, hexadecimal.
    pub file_sha256: String,
}

impl Sidecar {
    /// When it was begun.
    pub fn at(&self) -> Option<Timestamp> {
        let at: jiff::Timestamp = self.at.parse().ok()?;
        Some(Timestamp(at.as_millisecond()))
    }

    /// The sidecar of a backup, where there is one.
    pub fn of(backup: &Path) -> Result<Option<Self>, BackupError> {
        let path = sidecar_path(backup);
        if let Err(error) = fs::metadata(&path)
            && error.kind() == io::ErrorKind::NotFound
        {
            return Ok(None);
        }
        Self::read(&path).map(Some)
    }

    /// Reads a sidecar.
    pub fn read(path: &Path) -> Result<Self, BackupError> {
        let unusable = |why: String| BackupError::Sidecar { path: path.to_owned(), why };
        let mut text = String::new();
        fs::File::open(path)
            .and_then(|file| file.take(MAX_SIDECAR + 1).read_to_string(&mut text))
            .map_err(|error| unusable(error.to_string()))?;
        if u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_SIDECAR {
            return Err(unusable(format!("longer than {MAX_SIDECAR} bytes")));
        }
        let sidecar: Self =
            serde_json::from_str(&text).map_err(|error| unusable(error.to_string()))?;
        if sidecar.schema != SCHEMA {
            return Err(unusable(format!("its schema is {:?}, not {SCHEMA:?}", sidecar.schema)));
        }
        if sidecar.at().is_none() {
            return Err(unusable(format!("{:?} is no time", sidecar.at)));
        }
        Ok(sidecar)
    }

    /// Writes it beside where the backup will be, whole or not at all.
    pub(super) fn write(&self, backup: &Path) -> Result<(), BackupError> {
        let path = sidecar_path(backup);
        let temporary = beside(&path, ".unverified");
        let _ = fs::remove_file(&temporary);
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|error| BackupError::Sidecar { path: path.clone(), why: error.to_string() })?;
        text.push('\n');
        let written = file::create(&temporary).and_then(|mut out| {
            out.write_all(text.as_bytes())
                .and_then(|()| out.sync_all())
                .map_err(BackupError::io("write", &temporary))?;
            file::rename(&temporary, &path)
        });
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}

/// Where a backup's sidecar lies.
pub fn sidecar_path(backup: &Path) -> PathBuf {
    beside(backup, ".json")
}

/// As two digits a byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
