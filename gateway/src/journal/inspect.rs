//! Looking at a journal's file without a gateway and without writing to it.

use std::path::Path;
use std::sync::Arc;

use postern_protocol::transaction::DecodeError;
use postern_protocol::{Chain, JournalId, Seq, Transaction};
use serde::{Deserialize, Serialize};

use super::{JournalError, Reader, Ring, file, load};

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
    let load::Found { id, gateway, head, ring, held } = load::load(&database, path)?;
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

/// A verification under way. It goes on a step at a time, so that a daemon that is told to stop can
/// leave between two.
pub struct Verification {
    head: Chain,
    chain: Option<Chain>,
    report: Verified,
}

impl Verification {
    /// Of every entry from the oldest up to `head`.
    pub fn upto(head: Chain) -> Self {
        let report = Verified { first: Seq(0), last: Seq(0), entries: 0, newer: 0 };
        Self { head, chain: None, report }
    }

    /// What was verified so far.
    pub fn report(&self) -> &Verified {
        &self.report
    }

    /// Recomputes the chain over the next entries and decodes each; `false` where there are no more.
    /// Entries that the ring gives up meanwhile are passed over.
    pub fn step(&mut self, reader: &Reader) -> Result<bool, JournalError> {
        let from = self.chain.map_or(Seq(1), |chain| chain.seq.next());
        if from > self.head.seq {
            return Ok(false);
        }
        let Some(batch) = reader.batch(from, CHUNK, usize::MAX)? else {
            // There was an entry up to the head, and the last segment is never given up.
            return Err(JournalError::Corrupt { at: from });
        };
        let mut link = batch.before;
        if self.chain.is_some_and(|chain| chain.seq == link.seq && chain.hash != link.hash) {
            return Err(JournalError::Corrupt { at: link.seq.next() });
        }
        for (seq, entry) in batch.iter().take_while(|(seq, _)| *seq <= self.head.seq) {
            link = link.link(entry);
            match Transaction::decode(entry) {
                Ok(_) => {}
                Err(DecodeError::Newer { .. }) => self.report.newer += 1,
                Err(DecodeError::Malformed) => return Err(JournalError::Corrupt { at: seq }),
            }
            if self.report.entries == 0 {
                self.report.first = seq;
            }
            self.report.entries += 1;
            self.report.last = seq;
        }
        if link.seq == self.head.seq && link.hash != self.head.hash {
            return Err(JournalError::Corrupt { at: self.head.seq });
        }
        self.chain = Some(link);
        Ok(true)
    }
}
