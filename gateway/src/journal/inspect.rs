//! Looking at a journal's file without a gateway and without writing to it.

use std::path::Path;
use std::sync::Arc;

use postern_protocol::{Chain, JournalId, Seq};
use serde::{Deserialize, Serialize};

use super::{JournalError, Reader, Ring, file, store};

/// How many entries are verified at a time.
const CHUNK: usize = 1_024;

/// A journal's file, open for reading.
pub struct Inspection {
    /// Its id.
    pub id: JournalId,
    /// Whose it is.
    pub gateway: String,
    /// The last entry and the chain hash there.
    pub head: Chain,
    /// What is held and what may be reused; without a capacity.
    pub ring: Ring,
    /// Entries that wait until their controller was read again.
    pub held: u64,
    /// Reads it.
    pub reader: Reader,
}

/// Opens a journal's file for reading. Its whole content is checked; nothing is ever written to it,
/// also where redb has to repair it first after a crash. Refused while a gateway has it.
pub fn inspect(path: &Path) -> Result<Inspection, JournalError> {
    let database = Arc::new(file::open_view(path)?);
    let store::Found { id, gateway, head, ring, held } = store::load(&database, path)?;
    let reader = Reader::new(database);
    Ok(Inspection { id, gateway, head, ring, held, reader })
}

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// The first entry that was verified.
    pub first: Seq,
    /// The last one.
    pub last: Seq,
    /// How many.
    pub entries: u64,
    /// Entries of a newer version of Postern, whose content this one cannot check.
    pub newer: u64,
}

/// Recomputes the chain over every entry from the oldest up to `head`, and decodes each. Entries that
/// the ring gives up meanwhile are passed over. `progress` is told the last entry that was verified.
pub fn verify(
    reader: &Reader,
    head: Chain,
    mut progress: impl FnMut(Seq),
) -> Result<Verified, JournalError> {
    let mut from = Seq(1);
    let mut chain: Option<Chain> = None;
    let mut report = Verified { first: Seq(0), last: Seq(0), entries: 0, newer: 0 };
    while from <= head.seq
        && let Some(batch) = reader.batch(from, CHUNK, usize::MAX)?
    {
        let mut link = batch.before;
        if chain.is_some_and(|chain| chain.seq == link.seq && chain.hash != link.hash) {
            return Err(JournalError::Corrupt { at: link.seq.next() });
        }
        for (seq, entry) in batch.iter().take_while(|(seq, _)| *seq <= head.seq) {
            link = link.link(entry);
            match postern_protocol::Transaction::decode(entry) {
                Ok(_) => {}
                Err(postern_protocol::transaction::DecodeError::Newer { .. }) => report.newer += 1,
                Err(_) => return Err(JournalError::Corrupt { at: seq }),
            }
            if report.entries == 0 {
                report.first = seq;
            }
            report.entries += 1;
            report.last = seq;
        }
        if link.seq == head.seq && link.hash != head.hash {
            return Err(JournalError::Corrupt { at: head.seq });
        }
        (from, chain) = (link.seq.next(), Some(link));
        progress(link.seq);
    }
    Ok(report)
}
