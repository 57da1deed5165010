//! Which backups lie in a directory, and which of them go.

use std::fs;
use std::path::{Path, PathBuf};

use postern_protocol::Timestamp;

use super::{BackupError, Sidecar, sidecar_path};

/// A backup with its sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Where it is.
    pub path: PathBuf,
    /// When it was begun.
    pub at: Timestamp,
    /// What its sidecar says.
    pub sidecar: Sidecar,
}

/// The backups in a directory, the oldest first: files of ours that have a sidecar. What cannot be
/// read is no backup.
pub fn list(dir: &Path) -> Result<Vec<Kept>, BackupError> {
    let mut kept = Vec::new();
    for entry in fs::read_dir(dir).map_err(BackupError::io("read", dir))? {
        let path = entry.map_err(BackupError::io("read", dir))?.path();
        if path.extension().is_none_or(|end| end != "json") {
            continue;
        }
        let Ok(sidecar) = Sidecar::read(&path) else { continue };
        let backup = dir.join(&sidecar.file);
        // A sidecar speaks of the file that it lies beside, and of no other.
        if sidecar_path(&backup) != path || !backup.is_file() {
            continue;
        }
        let Some(at) = sidecar.at() else { continue };
        kept.push(Kept { path: backup, at, sidecar });
    }
    kept.sort_by(|one, other| (one.at, &one.path).cmp(&(other.at, &other.path)));
    Ok(kept)
}

/// Removes the oldest backups of a store, so that `keep` are left, `newest` among them. Called once
/// that was verified. Returns what went.
///
/// Of that store alone: those of a former one, which was lost, restored or made anew, may be all that
/// is left of it, and an empty store must not push them out.
pub fn prune(dir: &Path, newest: &Sidecar, keep: usize) -> Result<Vec<PathBuf>, BackupError> {
    let mut own = list(dir)?;
    own.retain(|Kept { sidecar, .. }| sidecar.who == newest.who && sidecar.store == newest.store);
    let surplus = own.len().saturating_sub(keep);
    own.retain(|kept| kept.sidecar.file != newest.file);
    let mut gone = Vec::new();
    for Kept { path, .. } in own.into_iter().take(surplus) {
        // The sidecar last: as long as there is anything, it says whose it is.
        fs::remove_file(&path).map_err(BackupError::io("remove", &path))?;
        let sidecar = sidecar_path(&path);
        fs::remove_file(&sidecar).map_err(BackupError::io("remove", &sidecar))?;
        gone.push(path);
    }
    Ok(gone)
}
