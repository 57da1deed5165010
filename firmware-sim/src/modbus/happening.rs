//! What happens at the readers and doors of a device. Pure.
//!
//! A happening is in the ledger first and then in the registers. Every function answers with what is in the ledger
//! then, which is nothing where nothing changed.

use jiff::Timestamp;
use postern_protocol::Index;
use postern_protocol::modbus::profile::{DoorPoints, Events, Flag, Reader};
use postern_protocol::modbus::register::Block;
use postern_protocol::transaction::Credential;
use serde::{Deserialize, Serialize};

use super::device::{Device, Kept, counts, latch};
use crate::ledger::{LedgerError, ModbusLine, Source, Truth, What};
use crate::record::Raw;

/// Why something cannot happen at a device.
#[derive(Debug, thiserror::Error)]
pub enum HappeningError {
    /// No such reader.
    #[error("there is no reader {reader}; this device has {readers}, counted from 1")]
    NoReader {
        /// Which was asked for.
        reader: u8,
        /// How many there are.
        readers: usize,
    },
    /// No such door.
    #[error("there is no door {door} at this device")]
    NoDoor {
        /// Which was asked for.
        door: u8,
    },
    /// The door is not wired so.
    #[error("door {door} has no {} in the device's profile", point.name())]
    NoPoint {
        /// Which door.
        door: u8,
        /// What it lacks.
        point: Point,
    },
    /// The card's number.
    #[error("reader {reader} has no registers that could show this card's number")]
    Card {
        /// Which reader.
        reader: u8,
    },
    /// What cannot be recorded does not happen.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// What one happening showed, as it is in the ledger.
pub type Shown = Result<Vec<ModbusLine>, HappeningError>;

/// What a door has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Point {
    /// Says that it is open.
    Contact,
    /// Lets it be opened.
    Relay,
    /// The button to get out.
    Button,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Contact, Self::Relay, Self::Button];

    /// The word for it, as it stands in a profile.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Contact => "contact",
            Self::Relay => "relay",
            Self::Button => "button",
        }
    }

    pub(super) const fn of(self, door: &DoorPoints) -> Option<Flag> {
        match self {
            Self::Contact => door.contact,
            Self::Relay => door.relay,
            Self::Button => door.button,
        }
    }

    /// What was told of one.
    pub(super) fn told(what: What) -> Option<(Self, bool)> {
        let all = Self::ALL.into_iter().flat_map(|point| [(point, true), (point, false)]);
        all.into_iter().find(|(point, on)| point.what(*on) == what)
    }

    pub(super) const fn what(self, on: bool) -> What {
        match (self, on) {
            (Self::Contact, true) => What::Opened,
            (Self::Contact, false) => What::Closed,
            (Self::Relay, true) => What::Released,
            (Self::Relay, false) => What::Locked,
            (Self::Button, true) => What::Pressed,
            (Self::Button, false) => What::LetGo,
        }
    }
}

impl Device {
    /// A card is swiped at a reader, counted from 1.
    pub fn swipe(
        &mut self,
        reader: u8,
        card: Credential,
        now: Timestamp,
        truth: &mut dyn Truth,
    ) -> Shown {
        let readers = self.setup.profile.readers.len();
        let at = usize::from(reader).wrapping_sub(1);
        let (Some(profile), Some(kept)) =
            (self.setup.profile.readers.get(at), self.readers.get(at).copied())
        else {
            return Err(HappeningError::NoReader { reader, readers });
        };
        let (events, place, layout) = (profile.events, profile.card, profile.card.layout());
        let width = layout.width(card);
        let registers = layout
            .write(card, place.bits.map(|_| width), place.count)
            .ok_or(HappeningError::Card { reader })?;
        let number = kept.number + 1;
        // In a ring the address counts from the record's begin.
        let record = profile.ring().and_then(|ring| ring.place(Index(number)));
        let whole = record.map_or_else(
            || registers.to_vec(),
            |record| {
                let before = usize::from(place.address);
                let mut whole = vec![0; usize::from(record.count())];
                whole.iter_mut().skip(before).zip(&registers).for_each(|(to, from)| *to = *from);
                whole
            },
        );
        let bits = place.bits.map(|_| width);
        let bytes: Vec<u8> =
            bits.iter().chain(&whole).flat_map(|register| register.to_be_bytes()).collect();
        let raw = Raw::new(&bytes).ok_or(HappeningError::Card { reader })?;

        let source = Source::Reader(reader);
        let mut lines = Vec::new();
        match (latch(profile), kept.card) {
            (Some(flag), Some((card, raw))) if self.says(flag) => lines.push(ModbusLine {
                card: Some(card),
                raw: Some(raw),
                ..self.line(source, What::CardLost, now)
            }),
            (Some(_) | None, Some(_) | None) => {}
        }
        lines.push(ModbusLine {
            number: counts(&events).then_some(number),
            card: Some(card),
            raw: Some(raw),
            ..self.line(source, What::CardRead, now)
        });
        self.keep(&lines, truth)?;

        if let Some(block) = record.or(place.block()) {
            self.fill(block, &whole);
        }
        if let Some(bits) = place.bits {
            self.registers.set(bits.table, bits.address, width);
        }
        match events {
            Events::Latch { flag, .. } => self.say(flag, true),
            Events::Sequence { counter } | Events::Ring { counter, .. } => {
                self.registers.set(counter.table, counter.address, low(number));
            }
        }
        if let Some(kept) = self.readers.get_mut(at) {
            *kept = Kept { number, card: Some((card, raw)) };
        }
        Ok(lines)
    }

    /// The contact of a door: somebody opens or closes it.
    pub fn open_door(
        &mut self,
        door: u8,
        open: bool,
        now: Timestamp,
        truth: &mut dyn Truth,
    ) -> Shown {
        self.turn(door, Point::Contact, open, now, truth)
    }

    /// The relay of a door: the device itself lets it be opened, or no longer.
    pub fn release(
        &mut self,
        door: u8,
        released: bool,
        now: Timestamp,
        truth: &mut dyn Truth,
    ) -> Shown {
        self.turn(door, Point::Relay, released, now, truth)
    }

    /// The button of a door: somebody presses it or lets it go.
    pub fn press(
        &mut self,
        door: u8,
        pressed: bool,
        now: Timestamp,
        truth: &mut dyn Truth,
    ) -> Shown {
        self.turn(door, Point::Button, pressed, now, truth)
    }

    /// One of a door's points changes. Nothing happens where it is so already.
    pub fn turn(
        &mut self,
        door: u8,
        point: Point,
        on: bool,
        now: Timestamp,
        truth: &mut dyn Truth,
    ) -> Shown {
        let points = self.setup.profile.doors.iter().find(|points| points.door == door);
        let points = points.ok_or(HappeningError::NoDoor { door })?;
        let flag = point.of(points).ok_or(HappeningError::NoPoint { door, point })?;
        if self.says(flag) == on {
            return Ok(Vec::new());
        }
        let line = self.line(Source::Door(door), point.what(on), now);
        self.keep(&[line], truth)?;
        self.say(flag, on);
        Ok(vec![line])
    }

    /// The reader at a door, counted from 1: the first that goes this way, or else the first.
    pub fn reader_at(&self, door: u8, is_fit: impl Fn(&Reader) -> bool) -> Option<u8> {
        let there = || (1..=u8::MAX).zip(&self.setup.profile.readers);
        let at_door = || there().filter(|(_, reader)| reader.door == door);
        let fit = at_door().find(|(_, reader)| is_fit(reader));
        fit.or_else(|| at_door().next()).map(|(number, _)| number)
    }

    fn fill(&mut self, block: Block, values: &[u16]) {
        for (address, value) in (block.address()..=block.last()).zip(values) {
            self.registers.set(block.table(), address, *value);
        }
    }
}

/// What a register of 16 bits shows of a number.
const fn low(number: u64) -> u16 {
    let [.., high, low] = number.to_be_bytes();
    u16::from_be_bytes([high, low])
}
