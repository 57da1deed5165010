//! A new identity for a journal whose past a server contradicts.
//!
//! A journal that was rolled back, restored or cloned must not go on under its old id: the server
//! would take new entries for old ones. So everything that it still holds is written once more into
//! a new journal under a new id, numbered from 1; cursors and epochs stay, so the controllers are
//! read on from there and servers tell doubles by their identity. The old file is set aside with
//! the time in its name, never deleted.

use std::fs;
use std::path::PathBuf;

use postern_protocol::role::SignedRole;
use postern_protocol::{Chain, JournalId, Seq};
use redb::Database;

use super::format::{CURSORS, EPOCHS, META, SEGMENTS, Segment, encode, meta};
use super::store::{self, Options, Store};
use super::{JournalError, Reader};

/// How many entries are copied at a time.
const CHUNK: usize = 1_024;

/// Writes the new journal and returns where the old one was set aside. The journal must not be open.
pub fn fork(options: &Options, stamp: &str) -> Result<PathBuf, JournalError> {
    let old = Store::open(options)?;
    let reader = Reader::new(old.database().clone());
    let id = JournalId(uuid::Uuid::now_v7().into_bytes());
    let aside = options.path.with_extension(format!("forked-{stamp}.redb"));
    let new = Options { path: options.path.with_extension("fork.redb"), ..options.clone() };
    store::create(&new, id, |database| copy(&reader, database, id))?;
    drop(reader);
    drop(old);
    let io = |path: &PathBuf| {
        let path = path.clone();
        move |source| JournalError::Io { path, source }
    };
    // A second name for the old file, then an atomic replacement: at no moment is there no journal.
    fs::hard_link(&options.path, &aside).map_err(io(&aside))?;
    fs::rename(&new.path, &options.path).map_err(io(&options.path))?;
    store::sync_directory(&options.path)?;
    Ok(aside)
}

fn copy(reader: &Reader, to: &Database, id: JournalId) -> Result<(), JournalError> {
    let mut chain = Chain::genesis(id);
    let mut from = Seq(1);
    while let Some(batch) = reader.batch(from, CHUNK)? {
        let start = chain;
        for entry in &batch.entries {
            chain = chain.link(entry);
        }
        from = Seq(batch.before.seq.0 + batch.entries.len() as u64 + 1);
        let segment = Segment {
            first: start.seq.next(),
            before: start.hash,
            after: chain.hash,
            entries: batch.entries.iter().map(Vec::as_slice).collect(),
        };
        let transaction = to.begin_write()?;
        transaction.open_table(SEGMENTS)?.insert(segment.first.0, encode(&segment)?.as_slice())?;
        transaction
            .open_table(META)?
            .insert(meta::HEAD, encode(&(chain.seq, chain.hash))?.as_slice())?;
        transaction.commit()?;
    }
    let transaction = to.begin_write()?;
    for (controller, cursor) in reader.cursors()? {
        let controller = controller.to_string();
        transaction
            .open_table(CURSORS)?
            .insert(controller.as_str(), encode(&cursor)?.as_slice())?;
    }
    for epoch in reader.epochs()? {
        transaction
            .open_table(EPOCHS)?
            .insert(epoch.epoch.0.as_slice(), encode(&epoch)?.as_slice())?;
    }
    if let Some((term, role)) = reader.role()? {
        let mut table = transaction.open_table(META)?;
        table.insert(meta::ROLE, role_text(&role)?.as_slice())?;
        table.insert(meta::ROLE_TERM, encode(&term)?.as_slice())?;
    }
    transaction.commit()?;
    Ok(())
}

fn role_text(role: &SignedRole) -> Result<Vec<u8>, JournalError> {
    serde_json::to_vec(role)
        .map_err(|error| JournalError::Dead { reason: format!("cannot encode: {error}") })
}
