//! A gateway as its servers know it: a journal that it forgets only where it was told to, and the
//! truth about everything that it ever wrote down.

use postern_protocol::role::RoleDocument;
use postern_protocol::transaction::{Continuity, Gap, GapReason, RawRecord, ResetCause, version};
use postern_protocol::uplink::{EpochAlias, Told, Watermark};
use postern_protocol::{ControllerId, EpochId, Index, JournalId, Kind, Seq, Transaction};

use crate::store::testing::{Journal, bytes, note_of, record_of};

/// What there is to write down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Record,
    Note,
    Gap,
    Restart,
    Conflict,
    Unreadable,
}

/// By what something that was written down is found in a store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// The controller's own bytes.
    Raw(Vec<u8>),
    /// The entry.
    Bytes(Vec<u8>),
    /// The entry, which nobody can read: each journal's is one of its own.
    Unread(Vec<u8>),
}

/// Something that was written down.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) key: Key,
    /// Where it ever stood.
    pub(super) places: Vec<(JournalId, Seq)>,
    /// It was in a journal that was put back, and was not written down again.
    pub(super) optional: bool,
}

pub(super) struct Gateway {
    pub(super) name: String,
    number: u8,
    journals: u8,
    controller: ControllerId,
    epoch: EpochId,
    epochs: u8,
    index: u64,
    /// Makes everything that is written down something of its own.
    serial: u32,
    pub(super) journal: Journal,
    /// What stands at each place of the journal.
    held: Vec<usize>,
    pub(super) items: Vec<Item>,
    pub(super) told: Option<Told>,
    /// The highest role document that it was shown.
    pub(super) document: RoleDocument,
}

impl Gateway {
    pub(super) fn new(number: u8, document: RoleDocument) -> Self {
        let name = format!("gateway{number}");
        Self {
            number,
            journals: 1,
            controller: ControllerId::uhppote(405_000_000 + u32::from(number)),
            epoch: EpochId([number * 16 + 1; 16]),
            epochs: 1,
            index: 0,
            serial: 0,
            journal: Journal::new(Self::journal_id(number, 1), &name),
            held: Vec::new(),
            items: Vec::new(),
            told: None,
            document,
            name,
        }
    }

    fn journal_id(number: u8, journals: u8) -> JournalId {
        let mut id = [number + 1; 16];
        id[15] = journals;
        JournalId(id)
    }

    pub(super) fn write(&mut self, entry: Entry) {
        self.serial += 1;
        let serial = i64::from(self.serial);
        let (controller, epoch, index) = (self.controller, self.epoch, self.index);
        match entry {
            Entry::Record => {
                self.index += 1;
                self.record(self.index);
            }
            Entry::Conflict if index > 1 => self.record(index / 2 + 1),
            Entry::Note | Entry::Conflict => {
                let set = Kind::ClockSet { step_s: serial };
                self.noted(&note_of(controller, epoch, set, index, serial));
            }
            Entry::Gap => {
                let (first, last) = (Index(index + 1), Some(Index(index + 3)));
                self.index += 3;
                let (reason, continuity) = (GapReason::Overwritten, Continuity::Proven);
                let gap = Kind::Gap(Gap { first, last, reason, continuity });
                self.noted(&note_of(controller, epoch, gap, index, serial));
            }
            Entry::Restart => {
                self.epochs += 1;
                (self.epoch, self.index) = (EpochId([self.number * 16 + self.epochs; 16]), 0);
                let cause = ResetCause::LogRestarted { predecessor: epoch };
                let restart = Kind::ControllerReset(cause);
                self.noted(&note_of(controller, self.epoch, restart, 0, serial));
            }
            Entry::Unreadable => {
                let mut bytes = vec![version::CURRENT + 1, self.number];
                bytes.extend(self.serial.to_be_bytes());
                self.append(Key::Unread(bytes.clone()), bytes);
            }
        }
    }

    fn record(&mut self, index: u64) {
        let mut raw = [self.number; 20];
        raw[..4].copy_from_slice(&self.serial.to_be_bytes());
        let record = record_of(self.controller, self.epoch, index, 0);
        let record = Transaction { raw: RawRecord::new(&raw).unwrap(), ..record };
        self.append(Key::Raw(raw.to_vec()), bytes(&record));
    }

    fn noted(&mut self, note: &Transaction) {
        let bytes = bytes(note);
        self.append(Key::Bytes(bytes.clone()), bytes);
    }

    fn append(&mut self, key: Key, entry: Vec<u8>) {
        self.items.push(Item { key, places: Vec::new(), optional: false });
        self.put(self.items.len() - 1, entry);
    }

    fn put(&mut self, item: usize, entry: Vec<u8>) {
        self.journal.push(entry);
        self.held.push(item);
        let place = (self.journal.id, Seq(self.journal.end()));
        self.items[item].places.push(place);
    }

    /// A watermark came; `false` where it contradicts the journal.
    pub(super) fn take(&mut self, watermark: &Watermark) -> bool {
        let Watermark { role_term, stored, chain, safe } = *watermark;
        if stored.0 > self.journal.end() || self.journal.chain(stored.0).hash != chain {
            return false;
        }
        if self.told.is_none_or(|told| told.safe <= safe) {
            self.told = Some(Told { safe, role_term });
        }
        true
    }

    /// Forgets what may be forgotten.
    pub(super) fn trim(&mut self) {
        let safe = self.told.map_or(0, |told| told.safe.0);
        self.journal.oldest = self.journal.oldest.max(safe + 1);
    }

    /// Writes all that it still holds into a new journal, a controller's records perhaps under a
    /// provisional epoch, as one that does not know its controllers.
    pub(super) fn fork(&mut self, provisional: bool) {
        let old = self.journal.clone();
        self.journals += 1;
        self.journal = Journal::new(Self::journal_id(self.number, self.journals), &self.name);
        self.journal.epochs.clone_from(&old.epochs);
        let known = self.epoch;
        let mut named = known;
        if provisional {
            named = EpochId([0x80 + self.number * 16 + self.journals; 16]);
            let alias =
                EpochAlias { controller: self.controller, provisional: named, epoch: known };
            self.journal.epochs.push(alias);
        }
        self.told = None;
        let held = std::mem::take(&mut self.held);
        for seq in old.oldest..=old.end() {
            let (entry, item) = (old.entry(seq), held[usize::try_from(seq - 1).unwrap()]);
            let entry = match (&self.items[item].key, Transaction::decode(entry)) {
                (Key::Raw(_), Ok(record)) if record.origin.epoch() == known => {
                    let postern_protocol::Origin::Controller { controller, index, .. } =
                        record.origin
                    else {
                        unreachable!("a record is its controller's");
                    };
                    let origin =
                        postern_protocol::Origin::Controller { controller, epoch: named, index };
                    bytes(&Transaction { origin, ..record })
                }
                _ => entry.to_vec(),
            };
            self.put(item, entry);
        }
    }

    /// The journal's file is put back to an earlier one, and the controllers' records are read again
    /// behind something else.
    pub(super) fn put_back(&mut self, by: u64) {
        let to = self.journal.end().saturating_sub(by).max(self.journal.oldest - 1);
        let lost = usize::try_from(to).unwrap();
        let entries = self.journal.entries.split_off(lost);
        let items = self.held.split_off(lost);
        self.journal.chains.truncate(lost + 1);
        if let Some(told) = &mut self.told {
            told.safe.0 = told.safe.0.min(to);
        }
        self.write(Entry::Note);
        for (entry, item) in entries.into_iter().zip(items) {
            if matches!(self.items[item].key, Key::Raw(_)) {
                self.put(item, entry);
            } else {
                self.items[item].optional = true;
            }
        }
    }

    /// Whether it still holds an item.
    pub(super) fn holds(&self, item: usize) -> bool {
        let oldest = usize::try_from(self.journal.oldest - 1).unwrap();
        self.held.iter().skip(oldest).any(|held| *held == item)
    }
}
