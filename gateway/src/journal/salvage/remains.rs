//! What can be read of a file that cannot be opened any more, for people: as a salvage finds it, but
//! nothing is made of it. Called by the command line alone.

use std::path::Path;
use std::vec;

use postern_protocol::{Chain, JournalId, Seq};

use super::{Piece, choose, find, pick};
use crate::journal::carve::Places;
use crate::journal::format::{Marks, Record};
use crate::journal::segment::MAX_VALUE;
use crate::journal::{JournalError, file};

/// See the module. An iterator over the entries of one segment after the other, in order, each once.
pub struct Remains {
    /// The journal's id, where that can be read.
    pub id: Option<JournalId>,
    /// The last entry that was ever committed, as far as that can be read.
    pub head: Seq,
    pieces: vec::IntoIter<Piece>,
    places: Places,
}

/// Looks for what verifies in the file; it is read from end to end and never written.
pub fn remains(path: &Path) -> Result<Remains, JournalError> {
    let (id, found) = choose(find(path)?);
    let mut places = Places::open(path).map_err(file::io(path))?;
    let Marks { head, oldest, .. } = found.marks();
    let pieces = &found.pieces;
    let mut chosen = Vec::new();
    let (mut next, mut chain) = (oldest.max(Seq(1)), None::<Chain>);
    for group in pieces.chunk_by(|a, b| a.first == b.first) {
        let behind = pieces.get(pieces.partition_point(|piece| piece.first < next)..);
        let piece = pick(group, next, chain, behind.unwrap_or_default(), &mut places);
        let Some(piece) = piece else { continue };
        let Some(Record::Segment(segment)) = places.at(piece.offset, MAX_VALUE) else { continue };
        let end = segment.end();
        (next, chain) = (end.seq.next(), Some(end));
        chosen.push(piece);
    }
    Ok(Remains { id, head: head.max(next.previous()), pieces: chosen.into_iter(), places })
}

impl Iterator for Remains {
    type Item = Vec<(Seq, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let piece = self.pieces.next()?;
            // A medium that no longer gives what it gave a moment ago: one hole more.
            let Some(Record::Segment(segment)) = self.places.at(piece.offset, MAX_VALUE) else {
                continue;
            };
            let entries = segment.entries().map(<[u8]>::to_vec);
            return Some((segment.first.0..).map(Seq).zip(entries).collect());
        }
    }
}
