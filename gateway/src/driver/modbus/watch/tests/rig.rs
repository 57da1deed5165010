//! A device with a latch, a door and a flag that says that it has restarted; and a journal.

use postern_protocol::Digest;
use postern_protocol::modbus::card::{Align, First, Format};
use postern_protocol::modbus::profile::Card;
use postern_protocol::modbus::register::Block;

use super::super::super::look::Values;
use super::*;

/// What becomes of what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Write {
    Done,
    /// It is done, and the answer is lost.
    Unanswered,
    /// It is lost.
    Lost,
    Refused,
}

#[derive(Debug, Default)]
pub(super) struct Device {
    pub(super) flag: bool,
    pub(super) card: u16,
    pub(super) restarted: bool,
    pub(super) open: bool,
}

impl Device {
    pub(super) fn show(&mut self, card: u16) {
        (self.flag, self.card) = (true, card);
    }

    pub(super) fn look(&self) -> Look {
        let mut look = Look::default();
        let block = |table, address, count| Block::new(table, address, count).unwrap();
        let flags = Values::Bits(vec![self.flag, self.restarted]);
        look.put(block(Table::Coil, 1_004, 2), flags);
        look.put(block(Table::DiscreteInput, 1, 1), Values::Bits(vec![self.open]));
        look
    }

    fn card(&self) -> Look {
        let mut look = Look::default();
        let block = Block::new(Table::HoldingRegister, 1_000, 2).unwrap();
        look.put(block, Values::Words(vec![0, self.card]));
        look
    }
}

pub(super) fn profile() -> Profile {
    let flag = |table, address| Flag { table, address, when: true };
    let card = Card {
        table: Table::HoldingRegister,
        address: 1_000,
        count: 2,
        bits: None,
        words: First::High,
        bytes: First::High,
        align: Align::Right,
        format: Format::Raw,
    };
    let events = Events::Latch { flag: flag(Table::Coil, 1_004), clear: 0 };
    let door = DoorPoints {
        door: 1,
        contact: Some(flag(Table::DiscreteInput, 1)),
        relay: None,
        button: None,
        debounce_ms: 0,
        grant_ms: 5_000,
        held_ms: None,
    };
    Profile {
        model: "a reader".to_owned(),
        gap: 0,
        restarted: Some(flag(Table::Coil, 1_005)),
        readers: vec![Reader { door: 1, direction: None, events, card }],
        doors: vec![door],
    }
}

pub(super) struct Rig {
    pub(super) watch: Watch,
    pub(super) profile: Profile,
    pub(super) device: Device,
    pub(super) epoch: EpochId,
    pub(super) committed: Option<(Index, Digest)>,
    pub(super) at_most: usize,
    pub(super) now_ms: u64,
    /// Between two looks.
    pub(super) pause_ms: u64,
    /// Whether cards cannot be read.
    pub(super) is_deaf: bool,
    /// Whether the latch was refused to be cleared.
    pub(super) refused: bool,
    /// What is known to be shown still: a card that comes again unseen is the same to everybody.
    pub(super) known: Option<u16>,
    /// A look found a card that was not known.
    pub(super) saw: Option<u16>,
}

impl Rig {
    pub(super) fn new() -> Self {
        let profile = profile();
        assert!(profile.check().is_ok());
        Self {
            watch: Watch::new(&profile, 1),
            profile,
            device: Device::default(),
            epoch: EpochId([1; 16]),
            committed: None,
            at_most: 100,
            now_ms: 0,
            pause_ms: 250,
            is_deaf: false,
            refused: false,
            known: None,
            saw: None,
        }
    }

    /// As the driver does it.
    pub(super) fn turn(&mut self, write: Write) -> Vec<Record> {
        self.turn_with(write, None)
    }

    /// A card comes between the clearing and the look.
    pub(super) fn turn_with(&mut self, write: Write, between: Option<u16>) -> Vec<Record> {
        self.watch.on_durable(Some(self.epoch), self.committed);
        self.now_ms += self.pause_ms;
        self.saw = None;
        if self.watch.is_idle() {
            if !self.clear(write) {
                return Vec::new();
            }
            if let Some(card) = between {
                self.device.show(card);
            }
            let utc = Timestamp(i64::try_from(self.now_ms).unwrap() + 5);
            let now = Now { ms: self.now_ms, took_ms: 5, utc };
            for latch in self.watch.on_look(&self.device.look(), now) {
                if self.is_deaf {
                    self.watch.on_silence();
                    return Vec::new();
                }
                let card = Some(self.device.card);
                self.saw = card.filter(|_| self.known != card);
                self.known = card;
                self.watch.on_card(latch, &self.device.card(), now);
            }
        }
        let from = self.committed.map_or(Index(1), |(index, _)| index.next());
        self.watch.hand_on(Some(self.epoch), from, self.at_most)
    }

    /// Whether it is looked at after that.
    fn clear(&mut self, write: Write) -> bool {
        for latch in self.watch.durable() {
            let cleared = self.watch.clear(latch, &self.device.card());
            let is_done = matches!(write, Write::Done | Write::Unanswered);
            // Either it is clear, or there is another card.
            if latch == 0 && (cleared.is_none() || is_done) {
                self.known = None;
            }
            let Some(clear) = cleared else { continue };
            match clear.flag.address {
                1_004 => self.device.flag &= !is_done,
                _ => self.device.restarted &= !is_done,
            }
            assert_eq!(clear.value, 0);
            match write {
                Write::Done => self.watch.on_cleared(latch),
                Write::Refused => self.refused |= self.watch.on_refused(latch),
                Write::Unanswered | Write::Lost => {
                    self.watch.on_silence();
                    return false;
                }
            }
        }
        true
    }

    /// The journal has these.
    pub(super) fn commit(&mut self, records: &[Record]) {
        if let Some(last) = records.last() {
            self.committed = Some((last.index, last.raw.digest()));
        }
    }
}
