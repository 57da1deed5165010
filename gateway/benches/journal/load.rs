//! What is appended: swipes as an UHPPOTE board records them, every field set, encoded as the
//! journal encodes them.

use postern_protocol::transaction::{
    Credential, Direction, Door, MAX_ENTRY, Occurred, RawRecord, TimeSource, TimeTrust,
};
use postern_protocol::{ControllerId, EpochId, Index, Kind, Origin, Timestamp, Transaction};

use crate::Outcome;

/// Midnight of some day, in milliseconds.
const DAY: i64 = 1_790_000_000_000;

/// A board records a swipe in the 20 bytes that follow the header of its answer.
const RECORD: usize = 20;

/// What a journal in service holds.
pub(crate) const RING: u64 = 50_000;

/// Entries of a commit while it is filled.
pub(crate) const FILL: usize = 1_024;

/// One controller's log.
#[derive(Debug)]
pub(crate) struct Load {
    controller: ControllerId,
    epoch: EpochId,
    next: u32,
}

/// Consecutive transactions, as transactions and as the bytes that are kept of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    pub(crate) transactions: Vec<Transaction>,
    pub(crate) bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Load {
    /// The log of the `number`-th controller.
    pub(crate) fn of(number: u32) -> Self {
        let mut epoch = [0x5A; 16];
        epoch[..4].copy_from_slice(&number.to_le_bytes());
        let controller = ControllerId::uhppote(405_419_000 + number);
        Self { controller, epoch: EpochId(epoch), next: 1 }
    }

    /// The next transactions of the log, and their encoding.
    pub(crate) fn batch(&mut self, count: usize) -> Outcome<Batch> {
        let mut batch = Batch { transactions: self.transactions(count)?, ..Batch::default() };
        let mut buffer = [0; MAX_ENTRY];
        for transaction in &batch.transactions {
            let entry = transaction.encode(&mut buffer).map_err(|error| error.to_string())?;
            batch.bytes.extend_from_slice(entry);
            batch.ends.push(batch.bytes.len());
        }
        Ok(batch)
    }

    /// The next transactions of the log.
    pub(crate) fn transactions(&mut self, count: usize) -> Outcome<Vec<Transaction>> {
        (0..count)
            .map(|_| self.transaction().ok_or_else(|| "a record is too long".into()))
            .collect()
    }

    fn transaction(&mut self) -> Option<Transaction> {
        let index = self.next;
        self.next += 1;
        let card = 6_000_000_u32.wrapping_add(index.wrapping_mul(2_654_435_761) % 4_000_000);
        let mut record = [0; RECORD];
        record[..4].copy_from_slice(&index.to_le_bytes());
        record[4..8].copy_from_slice(&[1, 1, 1, 1]);
        record[8..12].copy_from_slice(&card.to_le_bytes());
        record[12..19].copy_from_slice(&[0x20, 0x26, 0x11, 0x24, 0x08, 0x30, 0x15]);
        record[19] = 6;
        let at = Timestamp(DAY + i64::from(index) * 50);
        Some(Transaction {
            origin: Origin::Controller {
                controller: self.controller,
                epoch: self.epoch,
                index: Index(u64::from(index)),
            },
            kind: Kind::Granted,
            occurred: Occurred {
                at: Some(at),
                source: TimeSource::Controller,
                trust: TimeTrust::Exact,
            },
            received: Timestamp(at.0 + 431),
            door: Some(Door(1)),
            direction: Some(Direction::In),
            credential: Some(Credential(u64::from(card))),
            raw: RawRecord::new(&record)?,
        })
    }
}

impl Batch {
    /// Each entry's bytes.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).filter_map(|(begin, end)| self.bytes.get(begin..*end))
    }
}
