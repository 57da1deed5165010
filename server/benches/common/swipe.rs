//! Journals of swipes: what gateways send, as batches and as the store gets them.

use postern_protocol::transaction::{
    Credential, DenyReason, Direction, Door, MAX_ENTRY, Occurred, RawRecord, TimeSource, TimeTrust,
};
use postern_protocol::uplink::{Batch, Bytes, Entry};
use postern_protocol::{
    Chain, ControllerId, EpochId, Index, JournalId, Kind, Origin, Seq, Timestamp, Transaction,
};
use postern_server::store::{Delivery, Safe};

use super::{NOW, TERM};

/// Controllers of a gateway, each with four doors.
pub(crate) const BOARDS: u32 = 10;

/// Cards in use.
pub(crate) const CARDS: u64 = 50_000;

/// The lowest of them.
pub(crate) const FIRST_CARD: u64 = 8_000_000;

/// The epoch of every controller's log.
pub(crate) const EPOCH: EpochId = EpochId([0xe1; 16]);

/// A controller of a gateway.
pub(crate) fn board(gateway: u32, number: u32) -> ControllerId {
    ControllerId::uhppote(100_000_000 + gateway * BOARDS + number)
}

/// A gateway's name.
pub(crate) fn gateway(number: u32) -> String {
    format!("gateway-{number}")
}

/// A gateway's journal.
pub(crate) fn journal(number: u32) -> JournalId {
    let mut id = [0x5a; 16];
    id[12..].copy_from_slice(&number.to_be_bytes());
    JournalId(id)
}

/// A gateway's journal at its end: each swipe is made when it is sent.
pub(crate) struct Journal {
    pub(crate) number: u32,
    chain: Chain,
}

impl Journal {
    pub(crate) fn new(number: u32) -> Self {
        Self { number, chain: Chain::genesis(journal(number)) }
    }

    /// The next entries; `readable` as a gateway sends them, with each transaction beside its bytes.
    pub(crate) fn batch(&mut self, size: usize, readable: bool) -> Batch {
        let before = self.chain;
        let mut entries = Vec::with_capacity(size);
        for _ in 0..size {
            let seq = self.chain.seq.next();
            let transaction = swipe(self.number, seq);
            let bytes = transaction.encode(&mut [0; MAX_ENTRY]).unwrap().to_vec();
            self.chain = self.chain.link(&bytes);
            let transaction = readable.then_some(transaction);
            entries.push(Entry { seq, bytes: Bytes(bytes), transaction });
        }
        Batch {
            role: None,
            oldest: Seq(1),
            told: None,
            full: 0,
            lasts_s: None,
            chain_before: before.hash,
            epochs: Vec::new(),
            entries,
        }
    }

    /// The same as the store gets it.
    pub(crate) fn delivery(&mut self, size: usize) -> Delivery {
        Delivery {
            journal: journal(self.number),
            gateway: gateway(self.number),
            batch: self.batch(size, false),
            acting: TERM,
            safe: Safe::Stored,
            forced: None,
            now: NOW,
        }
    }
}

/// Somebody with some card at some door, now and then in vain.
fn swipe(gateway: u32, seq: Seq) -> Transaction {
    let boards = u64::from(BOARDS);
    let number = u32::try_from(seq.0 % boards).unwrap_or_default();
    let dice = scatter(u64::from(gateway) << 40 | seq.0);
    let at = Timestamp(NOW.0 + i64::try_from(seq.0).unwrap_or_default());
    let kind =
        if dice.is_multiple_of(25) { Kind::Denied(DenyReason::Schedule) } else { Kind::Granted };
    Transaction {
        origin: Origin::Controller {
            controller: board(gateway, number),
            epoch: EPOCH,
            index: Index(seq.0 / boards + 1),
        },
        kind,
        occurred: Occurred {
            at: Some(at),
            source: TimeSource::Controller,
            trust: TimeTrust::Exact,
        },
        received: at,
        door: Some(Door(u8::try_from(dice % 4 + 1).unwrap_or_default())),
        direction: Some(Direction::In),
        credential: Some(Credential(FIRST_CARD + (dice >> 8) % CARDS)),
        raw: record(seq, dice),
    }
}

/// As long as a board's event.
fn record(seq: Seq, dice: u64) -> RawRecord {
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(&seq.0.to_le_bytes());
    bytes[8..16].copy_from_slice(&dice.to_le_bytes());
    RawRecord::new(&bytes).unwrap()
}

/// Spreads numbers that lie beside each other (splitmix64).
pub(crate) fn scatter(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
