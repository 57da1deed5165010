//! What can be read of a file that cannot be opened any more, for people: as a salvage finds it, but
//! nothing is made of it. Called by the command line alone.

use std::path::Path;
use std::vec;

use postern_protocol::{JournalId, Seq};

use super::{Step, choose, find, way};
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
    steps: vec::IntoIter<Step>,
    places: Places,
}

/// Looks for what verifies in the file; it is read from end to end and never written.
pub fn remains(path: &Path) -> Result<Remains, JournalError> {
    let (id, found) = choose(find(path)?);
    let mut places = Places::open(path).map_err(file::io(path))?;
    let Marks { head, oldest, .. } = found.marks();
    let steps = way(&found, oldest.max(Seq(1)), &mut places);
    let last = steps.last().map_or(Seq(0), |step| step.piece.last());
    Ok(Remains { id, head: head.max(last), steps: steps.into_iter(), places })
}

impl Iterator for Remains {
    type Item = Vec<(Seq, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let step = self.steps.next()?;
            // A medium that no longer gives what it gave a moment ago: one hole more.
            let Some(Record::Segment(segment)) = self.places.at(step.piece.offset, MAX_VALUE)
            else {
                continue;
            };
            let entries = segment.entries().map(<[u8]>::to_vec);
            return Some((segment.first.0..).map(Seq).zip(entries).collect());
        }
    }
}
