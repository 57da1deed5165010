//! Makes one backup: a copy, verified where it lies, then named.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use postern_protocol::Timestamp;

use super::{BackupError, SCHEMA, Sidecar, Who, file, sidecar_path, verify};
use crate::clock;
use crate::site::STORE;
use crate::store::backup::Depth;
use crate::store::snapshot::{self, Progress, SnapshotError, beside};

/// What a copy is called before it was verified.
const UNVERIFIED: &str = ".unverified";

/// What must stay free on the store's own disk when a copy passes over it.
const RESERVE: u64 = 256 << 20;

/// Where a backup is to lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The directory, which exists.
    pub dir: PathBuf,
    /// The file's name in it.
    pub name: String,
}

impl Place {
    /// In a directory of backups, under a name that says whose it is and of when.
    pub fn within(dir: &Path, who: &Who, now: Timestamp) -> Self {
        let at = jiff::Timestamp::from_millisecond(now.0).unwrap_or_default();
        let name = format!("{}{}.sqlite", prefix(who), at.strftime("%Y%m%dT%H%M%S.%3fZ"));
        Self { dir: dir.to_owned(), name }
    }

    /// At a path; `None` where it is none of a file.
    pub fn at(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_owned();
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        Some(Self { dir: dir.unwrap_or(Path::new(".")).to_owned(), name })
    }

    /// The whole path.
    pub fn path(&self) -> PathBuf {
        self.dir.join(&self.name)
    }
}

/// How the names of a server's backups begin.
fn prefix(Who { site, group, server }: &Who) -> String {
    format!("{site}-{group}-{server}-")
}

/// Copies the store of `data_dir` by `take` (`snapshot::take`, or a running store's own) to a verified
/// backup. `watch` ends it with `Break`.
pub fn make<T>(
    who: &Who,
    data_dir: &Path,
    place: &Place,
    take: T,
    watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Sidecar, BackupError>
where
    T: FnOnce(
        &Path,
        &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<snapshot::Snapshot, SnapshotError>,
{
    let (path, now) = (place.path(), clock::now());
    if !place.dir.is_dir() {
        return Err(BackupError::NoDirectory { path: place.dir.clone() });
    }
    for taken in [path.clone(), sidecar_path(&path)] {
        if taken.exists() {
            return Err(BackupError::Exists { path: taken });
        }
    }
    clean(&place.dir, &prefix(who));
    let store = data_dir.join(STORE);
    let size = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
    let needed = size(&store) + size(&beside(&store, "-wal"));
    file::room(&place.dir, needed)?;

    let unverified = Temporary(beside(&path, UNVERIFIED));
    unverified.remove();
    if file::together(data_dir, &place.dir)? {
        take(&unverified.0, watch)?;
    } else {
        // See the module's page: the store's own disk first.
        file::room(data_dir, needed + RESERVE)?;
        let staged = Temporary(data_dir.join(format!("backup{UNVERIFIED}")));
        staged.remove();
        take(&staged.0, watch)?;
        file::copy(&staged.0, &unverified.0)?;
    }
    let found = verify::inspect(&unverified.0, Depth::Rows)?;
    let active = found.document.groups.get(&who.group).map(|role| role.active.clone());
    let sidecar = Sidecar {
        schema: SCHEMA.to_owned(),
        file: place.name.clone(),
        at: clock::rfc3339(now).unwrap_or_default(),
        who: who.clone(),
        store: found.store,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        role_term: found.role_term,
        active: active.unwrap_or_default(),
        bytes: found.bytes,
        rows: found.rows,
        content_sha256: found.content_sha256,
        file_sha256: found.file_sha256,
    };
    sidecar.write(&path)?;
    if let Err(error) = file::rename(&unverified.0, &path) {
        let _ = fs::remove_file(sidecar_path(&path));
        return Err(error);
    }
    Ok(sidecar)
}

/// Removes what a server that was killed left of its own backups. One at a time makes backups of a
/// store, so nothing of this is being written.
fn clean(dir: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.starts_with(prefix) && name.contains(&format!(".sqlite{UNVERIFIED}")) {
            tracing::info!(name, "removing what is left of an unfinished backup");
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A file that is gone in the end, unless it has another name by then.
struct Temporary(PathBuf);

impl Temporary {
    fn remove(&self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.remove();
    }
}
