//! A new identity for a journal whose past a server contradicts.
//!
//! A journal that was rolled back, restored or cloned must not go on under its old id: the server
//! would take new entries for old ones. So everything that it still holds is written once more into
//! a new journal under a new id, numbered from 1; cursors and epochs stay, so the controllers are
//! read on from there and servers tell doubles by their identity (but for what has no numbers of its own: that
//! begins anew). The old file is set aside with
//! the time in its name, never deleted.

use std::collections::BTreeSet;
use std::path::PathBuf;

use postern_protocol::{Chain, JournalId, Seq};

use super::options::Options;
use super::rewrite::{Rest, Rewriter};
use super::store::Store;
use super::{JournalError, Reader, file};

/// How many entries are copied at a time.
const CHUNK: usize = 1_024;

/// Writes the new journal and returns where the old one was set aside. The journal must not be open.
pub fn fork(options: &Options, stamp: &str) -> Result<PathBuf, JournalError> {
    let old = Store::open(options)?;
    let reader = Reader::new(old.database().clone());
    let id = JournalId(uuid::Uuid::now_v7().into_bytes());
    let aside = file::aside(&options.path, "forked", stamp);
    let new = Options { path: options.path.with_extension("fork.redb"), ..options.clone() };
    file::create(&new, id, |database| {
        let mut writer = Rewriter::new(database, id, Chain::genesis(id));
        // No more delivered history than the new journal may hold, where all of it counts as not safe.
        let state = old.state();
        let spare = state.head.seq.0.saturating_sub(options.capacity.entries);
        let mut from = state.safe().min(Seq(spare)).next();
        while let Some(batch) = reader.batch(from, CHUNK, usize::MAX)? {
            for (seq, entry) in batch.iter() {
                writer.entry(entry)?;
                from = seq.next();
            }
        }
        let mut held = BTreeSet::new();
        reader.each_held(|controller, entry| {
            held.insert(controller);
            writer.hold(controller, entry)
        })?;
        // Where nothing but this gateway numbers what was seen, another past may have given the next numbers already, to
        // other things: that goes on in an epoch of its own. What is held comes before it, behind the cursor.
        let mut cursors = reader.cursors()?;
        cursors
            .retain(|controller, _| controller.numbers_its_records() || held.contains(controller));
        let rest = Rest { cursors, epochs: reader.epochs()?, role: reader.role()?, safe: Seq(0) };
        writer.finish(Seq(1), &rest).map(|_| ())
    })?;
    drop(reader);
    drop(old);
    file::replace(&options.path, &new.path, &aside)?;
    Ok(aside)
}
