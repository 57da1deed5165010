//! A new journal from what verifies in a damaged file.
//!
//! The damaged file is set aside with the time in its name, never changed or deleted. What was found
//! in it goes into a new journal under a new id, numbered from 1: servers tell what they hold
//! already by its identity. Where entries that were not safe are missing, order decides:
//! - a controller whose entries go on behind the hole where they stopped before it lost nothing there;
//! - any other has its cursor put back to before the hole, so that it is read again from there. Its
//!   entries from behind the hole are *held*: the collector appends them where the controller has
//!   overwritten its own, and drops them where it still has them.
//!
//! Cursors are never taken from the file, only from the entries that were salvaged: a cursor that
//! covers an entry which is gone would hide it. A controller without entries is read from its
//! oldest record, as by a journal that never met it.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use postern_protocol::role::SignedRole;
use postern_protocol::uplink::MAX_SEQ;
use postern_protocol::{
    Chain, ControllerId, EpochId, Index, JournalId, Kind, Origin, RoleTerm, Seq, Transaction,
};
use serde::{Deserialize, Serialize};

use super::carve::{Places, carve};
use super::format::{Cursor, EpochRecord, Marks, Raw, Record};
use super::options::Options;
use super::rewrite::{Rest, Rewriter};
use super::segment::MAX_VALUE;
use super::{JournalError, file};

mod remains;

pub use remains::{Remains, remains};

/// How many holes are named in a report; the rest is counted.
const NAMED: usize = 32;

/// What became of a damaged journal, in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Salvaged {
    /// Always `postern.journal.salvage.v1`.
    pub schema: String,
    /// What was wrong.
    pub reason: String,
    /// Where the damaged file is now.
    pub aside: PathBuf,
    /// Its journal id, where that could be read.
    pub was: Option<JournalId>,
    /// The id of the new journal.
    pub journal: JournalId,
    /// Entries that are in the new journal.
    pub entries: u64,
    /// Entries that wait until their controller was read again.
    pub held: u64,
    /// Entries that are missing and were not safe on the servers, as far as that is known: they are
    /// read again from the controllers, and what those have overwritten becomes a gap.
    pub missing: u64,
    /// The first of these ranges, in the numbers of the old journal.
    pub holes: Vec<(Seq, Seq)>,
    /// Entries that are missing and that the servers hold.
    pub missing_safe: u64,
    /// Controllers that are read again from before what is missing.
    pub read_again: Vec<ControllerId>,
}

/// A segment that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Piece {
    first: Seq,
    before: [u8; 32],
    count: u32,
    offset: u64,
}

impl Piece {
    fn last(&self) -> Seq {
        Seq(self.first.0.saturating_add(u64::from(self.count)).saturating_sub(1))
    }
}

/// Everything that was found of one journal. A file may hold records of others: what a controller put
/// into its own records, which knows no journal's id, or what lay on the medium before.
#[derive(Default)]
struct Found {
    gateway: Option<String>,
    pieces: Vec<Piece>,
    marks: Option<Marks>,
    epochs: BTreeMap<EpochId, EpochRecord>,
    role: Option<(RoleTerm, SignedRole)>,
    /// Where held entries lie in the file.
    held: BTreeMap<(ControllerId, u64), u64>,
    released: BTreeMap<ControllerId, u64>,
}

/// What was found of each journal.
type Finds = BTreeMap<JournalId, Found>;

/// Reads the file from end to end.
fn find(path: &Path) -> Result<Finds, JournalError> {
    let mut finds = Finds::new();
    carve(path, |offset, journal, record| {
        finds.entry(journal).or_default().take(offset, record);
        ControlFlow::Continue(())
    })
    .map_err(file::io(path))?;
    Ok(finds)
}

/// The journal that the file is: the one that most of its segments are of.
fn choose(mut finds: Finds) -> (Option<JournalId>, Found) {
    let most = finds.iter().max_by_key(|(_, found)| (found.pieces.len(), found.gateway.is_some()));
    let id = most.map(|(id, _)| *id);
    let mut found = id.and_then(|id| finds.remove(&id)).unwrap_or_default();
    found.pieces.sort_unstable();
    found.pieces.dedup_by_key(|piece| (piece.first, piece.before, piece.count));
    (id, found)
}

impl Found {
    fn take(&mut self, offset: u64, record: Record<'_>) {
        match record {
            Record::Segment(segment) if segment.is_whole() => self.pieces.push(Piece {
                first: segment.first,
                before: segment.before.0,
                count: segment.count,
                offset,
            }),
            Record::Identity(identity) => self.gateway = Some(identity.gateway),
            // Each only ever grows; of two that were found the higher one is the later.
            Record::Marks(marks) => {
                let known = self.marks.get_or_insert(marks);
                known.head = known.head.max(marks.head);
                known.safe = known.safe.max(marks.safe);
                known.oldest = known.oldest.max(marks.oldest);
            }
            Record::Epoch(epoch) => {
                let known = self.epochs.entry(epoch.epoch).or_insert(epoch);
                if known.known_as.is_none() {
                    *known = epoch;
                }
            }
            Record::Role(term, Raw(text)) => {
                let known = self.role.as_ref().map(|(known, _)| *known);
                if known.is_none_or(|known| known < term)
                    && let Ok(role) = serde_json::from_slice(text)
                {
                    self.role = Some((term, role));
                }
            }
            Record::Held(controller, order, _) => {
                self.held.insert((controller, order), offset);
            }
            // Those that were let go still lie in pages that are free.
            Record::Released(controller, upto) => {
                let known = self.released.entry(controller).or_default();
                *known = upto.max(*known);
            }
            Record::Segment(_) | Record::Cursor(..) => {}
        }
    }

    /// The watermarks, as far as they make sense beside the segments: what they would hide counts as
    /// there.
    fn marks(&self) -> Marks {
        let (first, last) =
            (self.pieces.first().map(|p| p.first), self.pieces.last().map(Piece::last));
        let known = self.marks.unwrap_or_default();
        let head = known.head.min(MAX_SEQ).max(last.unwrap_or_default());
        let safe = known.safe.min(head);
        let oldest = match first {
            Some(first) if known.oldest > safe.next() => first,
            _ => known.oldest.max(Seq(1)),
        };
        Marks { head, safe, oldest }
    }
}

/// Makes a new journal from what verifies, and sets the damaged one aside. The journal must not be
/// open. `reason` is what was found wrong with it.
pub fn salvage(options: &Options, reason: &str, stamp: &str) -> Result<Salvaged, JournalError> {
    let path = &options.path;
    let (was, found) = choose(find(path)?);
    if was.is_none() && file::holds_format_1(path)? {
        return Err(JournalError::DamagedFormat1 { path: path.clone(), reason: reason.to_owned() });
    }
    if let Some(owner) = &found.gateway
        && *owner != options.gateway
    {
        let (path, owner, gateway) = (path.clone(), owner.clone(), options.gateway.clone());
        return Err(JournalError::Foreign { path, owner, gateway });
    }
    let id = JournalId(uuid::Uuid::now_v7().into_bytes());
    let aside = file::aside(path, "damaged", stamp);
    let unknown = if found.marks.is_some() { "" } else { "; how much is missing is not known" };
    let new = Options { path: path.with_extension("salvage.redb"), ..options.clone() };
    let mut report = Salvaged {
        schema: "postern.journal.salvage.v1".to_owned(),
        reason: format!("{reason}{unknown}"),
        aside: aside.clone(),
        was,
        journal: id,
        entries: 0,
        held: 0,
        missing: 0,
        holes: Vec::new(),
        missing_safe: 0,
        read_again: Vec::new(),
    };
    file::create(&new, id, |database| {
        let writer = Rewriter::new(database, id, Chain::genesis(id));
        Refill { writer, report: &mut report, controllers: BTreeMap::new(), behind_hole: false }
            .run(found, path, options.capacity.entries)
    })?;
    file::replace(path, &new.path, &aside)?;
    // For `postern status` after a restart; the salvage itself is done and does not depend on it.
    let text = serde_json::to_vec_pretty(&report).unwrap_or_default();
    if let Err(error) = fs::write(aside.with_extension("json"), text) {
        tracing::warn!(%error, "the report of the salvage cannot be written");
    }
    Ok(report)
}

/// The reports of salvages whose damaged files still lie beside the journal at `path`, oldest first.
pub fn salvages(path: &Path) -> Vec<Salvaged> {
    let mut files: Vec<PathBuf> = asides(path)
        .into_iter()
        .map(|aside| aside.path.with_extension("json"))
        .filter(|file| file.exists())
        .collect();
    files.sort_unstable();
    files.iter().filter_map(|file| serde_json::from_slice(&fs::read(file).ok()?).ok()).collect()
}

/// A journal's file that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Aside {
    /// Where it is.
    pub path: PathBuf,
    /// Why: `damaged`, `forked` or `format1`.
    pub kind: &'static str,
    /// Its length.
    pub bytes: u64,
}

/// What was set aside beside the journal at `path`: damaged, forked and migrated files.
pub fn asides(path: &Path) -> Vec<Aside> {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let kinds = ["damaged", "forked", "format1"].map(|kind| (kind, format!("{stem}.{kind}-")));
    let files = path.parent().and_then(|directory| fs::read_dir(directory).ok());
    let mut found: Vec<Aside> = files
        .into_iter()
        .flatten()
        .filter_map(|file| {
            let (file, path) = (file.as_ref().ok()?, file.as_ref().ok()?.path());
            let name = path.file_name()?.to_str()?.to_owned();
            let redb = path.extension().is_some_and(|extension| extension == "redb");
            let (kind, _) =
                kinds.iter().find(|(_, prefix)| redb && name.starts_with(prefix.as_str()))?;
            Some(Aside { kind, bytes: file.metadata().ok()?.len(), path })
        })
        .collect();
    found.sort_unstable();
    found
}

/// What is known of a controller while its entries pass by.
#[derive(Default)]
struct Line {
    cursor: Option<Cursor>,
    /// The index that follows, where its entries have been without a hole.
    next: Option<(EpochId, Index)>,
    held: bool,
}

struct Refill<'a> {
    writer: Rewriter<'a>,
    report: &'a mut Salvaged,
    controllers: BTreeMap<ControllerId, Line>,
    /// Whether entries that were not safe are missing before the present one.
    behind_hole: bool,
}

impl Refill<'_> {
    fn run(mut self, found: Found, path: &Path, capacity: u64) -> Result<(), JournalError> {
        let mut places = Places::open(path).map_err(file::io(path))?;
        let Marks { head, safe, oldest } = found.marks();
        let mut next = oldest.max(Seq(1));
        // No more delivered history than the new journal may hold.
        let last = found.pieces.last().map_or(Seq(0), Piece::last);
        let spare = safe.min(Seq(last.0.saturating_sub(capacity)));
        for step in way(&found, next, &mut places) {
            // What the medium no longer gives is a hole before the next one.
            let Some(Record::Segment(segment)) = places.at(step.piece.offset, MAX_VALUE) else {
                continue;
            };
            if segment.first > next {
                self.hole(next, segment.first.previous(), safe);
            } else if step.contradicts && segment.last() > safe {
                // Cut off by a crash and written again, and one of the two is gone: all of it may be
                // there, or some not.
                self.behind_hole = true;
            }
            for (seq, entry) in (segment.first.0..).zip(segment.entries()) {
                if seq > spare.0 {
                    self.entry(entry)?;
                }
            }
            next = segment.last().next();
        }
        if head >= next {
            self.hole(next, head, safe);
        }
        for ((controller, order), offset) in &found.held {
            let gone = found.released.get(controller).is_some_and(|upto| order <= upto);
            if !gone && let Some(Record::Held(_, _, Raw(entry))) = places.at(*offset, MAX_VALUE) {
                self.hold(*controller, entry)?;
            }
        }
        let mut cursors = BTreeMap::new();
        for (controller, line) in &self.controllers {
            cursors.extend(line.cursor.map(|cursor| (*controller, cursor)));
            if line.held || self.behind_hole {
                self.report.read_again.push(*controller);
            }
        }
        let epochs = found.epochs.into_values().collect();
        let rest = Rest { cursors, epochs, role: found.role, safe: Seq(0) };
        self.writer.finish(Seq(1), &rest).map(|_| ())
    }

    fn hole(&mut self, first: Seq, last: Seq, safe: Seq) {
        let behind = last.0.saturating_add(1);
        let missing = behind.saturating_sub(first.0.max(safe.next().0));
        let on_servers = behind.saturating_sub(first.0).saturating_sub(missing);
        self.report.missing = self.report.missing.saturating_add(missing);
        self.report.missing_safe = self.report.missing_safe.saturating_add(on_servers);
        if missing > 0 {
            self.behind_hole = true;
            if self.report.holes.len() < NAMED {
                self.report.holes.push((first.max(safe.next()), last));
            }
        }
    }

    fn entry(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        // Written by a newer version: it is kept as it is, but says nothing about its controller.
        let Ok(transaction) = Transaction::decode(bytes) else {
            self.report.entries += 1;
            return self.writer.entry(bytes);
        };
        let line = self.controllers.entry(transaction.origin.controller()).or_default();
        // A note of a controller of which nothing stands before the hole, nor a record behind it, has
        // no place to wait for.
        let adrift = line.cursor.is_none() && matches!(transaction.origin, Origin::Gateway { .. });
        if self.behind_hole && !line.held && !adrift && !line.goes_on_with(&transaction) {
            line.held = true;
        }
        if line.held {
            return self.hold(transaction.origin.controller(), bytes);
        }
        line.pass(&transaction);
        self.report.entries += 1;
        self.writer.entry(bytes)
    }

    fn hold(&mut self, controller: ControllerId, bytes: &[u8]) -> Result<(), JournalError> {
        self.controllers.entry(controller).or_default().held = true;
        self.report.held += 1;
        self.writer.hold(controller, bytes)
    }
}

/// One piece on the way through a journal.
#[derive(Clone, Copy, Debug)]
struct Step {
    piece: Piece,
    /// It begins no later than the one before it ended, and does not go on from there.
    contradicts: bool,
}

/// The pieces that make the journal up, from `next` on, in order: each behind the one whose chain it
/// carries on, where there is one.
fn way(found: &Found, mut next: Seq, places: &mut Places) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut chain = None::<Chain>;
    for group in found.pieces.chunk_by(|a, b| a.first == b.first) {
        let behind = found.pieces.partition_point(|piece| piece.first < next);
        let behind = found.pieces.get(behind..).unwrap_or_default();
        let Some(piece) = pick(group, next, chain, behind, places) else { continue };
        let Some(Record::Segment(segment)) = places.at(piece.offset, MAX_VALUE) else { continue };
        let contradicts =
            segment.first <= next && chain.is_some_and(|chain| chain != segment.start());
        let end = segment.end();
        (next, chain) = (end.seq.next(), Some(end));
        steps.push(Step { piece, contradicts });
    }
    steps
}

/// Which of the pieces that begin at the same entry is the way on from `next`, if one is. Several do
/// where a crash cut a commit off: its segment was then written again, with other entries.
fn pick(
    group: &[Piece],
    next: Seq,
    chain: Option<Chain>,
    behind: &[Piece],
    places: &mut Places,
) -> Option<Piece> {
    let new: Vec<Piece> = group.iter().filter(|piece| piece.last() >= next).copied().collect();
    let first = new.first()?.first;
    let linked = |piece: &&Piece| {
        chain.is_none_or(|chain| chain.seq.next() != first || chain.hash.0 == piece.before)
    };
    let begins_at_next = |piece: &Piece| {
        piece.first == next && chain.is_none_or(|chain| chain.hash.0 == piece.before)
    };
    if first < next && behind.iter().take_while(|p| p.first == next).any(begins_at_next) {
        return None;
    }
    let followed = |piece: &&Piece, places: &mut Places| {
        let Some(Record::Segment(segment)) = places.at(piece.offset, MAX_VALUE) else {
            return false;
        };
        let end = segment.end();
        let from = behind.partition_point(|piece| piece.first <= end.seq);
        let next = behind.get(from..).unwrap_or_default();
        next.iter()
            .take_while(|piece| piece.first == end.seq.next())
            .any(|piece| piece.before == end.hash.0)
    };
    let candidates: Vec<&Piece> = match new.iter().filter(linked).collect::<Vec<_>>() {
        none if none.is_empty() => new.iter().collect(),
        some => some,
    };
    let chosen = match candidates.as_slice() {
        [only] => Some(*only),
        several => several
            .iter()
            .find(|piece| followed(piece, places))
            .or_else(|| several.iter().max_by_key(|piece| piece.count))
            .copied(),
    };
    chosen.copied()
}

impl Line {
    /// Whether nothing of the controller can be missing between what passed and this.
    fn goes_on_with(&self, transaction: &Transaction) -> bool {
        let Some((epoch, next)) = self.next else { return false };
        match transaction.origin {
            Origin::Controller { epoch: e, index, .. } => (e, index) == (epoch, next),
            Origin::Gateway { epoch: e, after, .. } => (e, after) == (epoch, next.previous()),
        }
    }

    fn pass(&mut self, transaction: &Transaction) {
        match (transaction.origin, transaction.kind) {
            (Origin::Controller { epoch, index, .. }, _) => {
                let anchor = transaction.record_digest();
                self.cursor = Some(Cursor { epoch, index, anchor });
                self.next = Some((epoch, index.next()));
            }
            // Behind a gap the entries go on where it ends; behind the end of an epoch another begins.
            (Origin::Gateway { epoch, .. }, Kind::Gap(gap)) => {
                self.next = gap.last.map(|last| (epoch, last.next()));
            }
            (Origin::Gateway { .. }, _) => {}
        }
    }
}

#[cfg(test)]
mod tests;
