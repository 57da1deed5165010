//! Puts a backup in the place of a store that is lost.
//!
//! What comes out is another store than the one that was backed up: it has an id of its own, which
//! no role document names as in sync, so this server will not act by itself however the document in
//! the backup reads. It asks its peer first, as at every start, and then is standby or set aside; an
//! operator makes it active (`failover --force`) or leaves the other one active. The role terms that
//! it mints go on far above those that it knows, since it cannot know those of after the backup.
//!
//! A directory needs everything but the store for this: configuration, authority, keys.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_protocol::RoleTerm;
use rustls_pki_types::UnixTime;
use serde::Serialize;

use super::{BackupError, Verified, file, verify};
use crate::clock;
use crate::site::{Lock, STORE, Site};
use crate::store::backup::{Depth, Unsound};
use crate::store::snapshot::{beside, forget};
use crate::store::{Audit, Store};

/// What is to be done.
pub struct Order<'a> {
    /// The backup.
    pub from: &'a Path,
    /// The data directory.
    pub dir: &'a Path,
    /// Whether a store that is there is kept under another name; else it is an error.
    pub set_aside: bool,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// The server that has the store now.
    pub server: String,
    /// The store's new id.
    pub store: String,
    /// The role term that the backup stood under.
    pub role_term: RoleTerm,
    /// The backup.
    pub backup: Verified,
    /// Where the former store lies.
    pub set_aside: Option<PathBuf>,
}

/// Restores; whole or not at all.
pub fn restore(order: &Order<'_>) -> Result<Restored, BackupError> {
    let Order { from, dir, set_aside } = *order;
    let site = Site::open(dir)?;
    let _lock = Lock::take(dir)?;
    let store = site.store_path();
    let occupied = ["", "-wal"].iter().any(|side| {
        let (path, lone) = (beside(&store, side), *side == "-wal");
        // An empty log is what is left of a store that was closed and removed.
        fs::metadata(path).is_ok_and(|file| !lone || file.len() > 0)
    });
    if occupied && !set_aside {
        return Err(BackupError::Occupied { path: dir.to_owned() });
    }
    let backup = verify(from, Depth::Rows)?;
    belongs(&site, from, &backup)?;

    let copy = beside(&store, ".restoring");
    forget(&copy);
    let made = place(&site, from, &backup, &copy);
    let id = match made {
        Ok(id) => id,
        Err(error) => {
            forget(&copy);
            return Err(error);
        }
    };
    let aside = move_aside(dir, &store)?;
    file::rename(&copy, &store)?;
    let (server, role_term) = (site.config.name.clone(), backup.role_term);
    Ok(Restored { server, store: id, role_term, backup, set_aside: aside })
}

/// Refuses a backup of another site, whatever it calls itself, and of another group.
fn belongs(site: &Site, from: &Path, backup: &Verified) -> Result<(), BackupError> {
    let foreign = |what, theirs: &str, ours: &str| BackupError::Foreign {
        path: from.to_owned(),
        what,
        theirs: theirs.to_owned(),
        ours: ours.to_owned(),
    };
    let (config, document) = (&site.config, &backup.document);
    if document.site != config.site {
        return Err(foreign("site", &document.site, &config.site));
    }
    let Some(role) = document.groups.get(&config.group) else {
        let theirs: Vec<&str> = document.groups.keys().map(String::as_str).collect();
        return Err(foreign("group", &theirs.join(", "), &config.group));
    };
    // The signer's certificate may have ended since; it counts that it held when it signed.
    let then = Duration::from_millis(role.since.0.max(0).unsigned_abs());
    let genuine = [site.floor.now(), UnixTime::since_unix_epoch(then)]
        .into_iter()
        .any(|at| backup.role.verify(&site.authority, &config.site, at).is_ok());
    if genuine {
        return Ok(());
    }
    Err(foreign("authority", "another one signed its role document", "the one in this directory"))
}

/// Copies the backup beside the store's place and makes it a store of its own.
fn place(site: &Site, from: &Path, backup: &Verified, copy: &Path) -> Result<String, BackupError> {
    file::copy(from, copy)?;
    // What is read back is what was verified, whoever changed the backup meanwhile.
    let (_, digest) = file::digest(copy)?;
    let got = super::sidecar::hex(&digest);
    if got != backup.file_sha256 {
        let why = "it changed while it was read".to_owned();
        return Err(BackupError::Unsound { path: from.to_owned(), why: Unsound::Damaged(why) });
    }
    let made = backup.sidecar.as_ref().map_or("unknown time", |sidecar| sidecar.at.as_str());
    let detail = format!(
        "from {} of {made}, a copy of store {} under role term {} with {} transactions",
        from.display(),
        backup.store,
        backup.role_term,
        backup.rows.transactions
    );
    let now = clock::now();
    let why = Audit::at(now, "operator", "restore", &site.config.name, &detail);
    Ok(Store::adopt(copy, &site.config.name, now, &why)?)
}

/// Gives a store that is there another name. Its log goes with it: beside another store it would be
/// taken for that one's.
fn move_aside(dir: &Path, store: &Path) -> Result<Option<PathBuf>, BackupError> {
    let at = jiff::Timestamp::from_millisecond(clock::now().0).unwrap_or_default();
    let name = format!("store.replaced-{}.sqlite", at.strftime("%Y%m%dT%H%M%S.%3fZ"));
    let target = dir.join(name);
    let mut moved = None;
    for side in ["", "-wal"] {
        let (from, to) = (beside(store, side), beside(&target, side));
        if from.exists() {
            fs::rename(&from, &to).map_err(BackupError::io("set aside", &from))?;
            moved.get_or_insert(to);
        }
    }
    // An index of the log, made anew whenever it is missing.
    let index = beside(store, "-shm");
    if index.exists() {
        fs::remove_file(&index).map_err(BackupError::io("remove", &index))?;
    }
    file::sync_directory(dir)?;
    debug_assert_eq!(store.file_name().and_then(|name| name.to_str()), Some(STORE));
    Ok(moved)
}
