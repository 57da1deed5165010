//! A device: its registers, and what happens at its readers and doors. Pure.
//!
//! A happening is in the ledger first and then in the registers. What a host writes can be a happening, too: it
//! takes a card, or switches a relay.
//!
//! Of a device nothing survives a restart but what is not in it: a door that is open stays open.

use jiff::Timestamp;
use postern_protocol::modbus::counter::Ring;
use postern_protocol::modbus::profile::{
    DoorPoints, Events, Flag, Place, Problem, Profile, Reader,
};
use postern_protocol::modbus::register::{Block, Extent, Table};
use postern_protocol::transaction::Credential;
use postern_protocol::{ControllerId, Index};

use super::register::Registers;
use super::request::Exception;
use crate::ledger::{LedgerError, Line, ModbusLine, Source, Truth, What};
use crate::record::Raw;

/// What a device is.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where chance begins.
    pub seed: u64,
    /// Its serial number: no wire knows it, but ledger and control API do.
    pub serial: u32,
    /// Its unit number on its line, or behind its TCP port.
    pub unit: u8,
    /// Its registers.
    pub profile: Profile,
    /// The cards that people at this device have.
    pub cards: Vec<u32>,
}

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    const fn of(self, door: &DoorPoints) -> Option<Flag> {
        match self {
            Self::Contact => door.contact,
            Self::Relay => door.relay,
            Self::Button => door.button,
        }
    }

    /// What was told of one.
    fn told(what: What) -> Option<(Self, bool)> {
        let all = Self::ALL.into_iter().flat_map(|point| [(point, true), (point, false)]);
        all.into_iter().find(|(point, on)| point.what(*on) == what)
    }

    const fn what(self, on: bool) -> What {
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

/// A device.
#[derive(Clone, Debug)]
pub struct Device {
    setup: Setup,
    registers: Registers,
    /// The life that it is in; before its first power, the one that comes.
    life: u64,
    next_life: u64,
    /// Of each reader.
    readers: Vec<Kept>,
    shown: u64,
    lost: u64,
}

/// What a reader has besides its registers.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    /// The number of its newest, where it counts.
    number: u64,
    /// The card that its registers show.
    card: Option<(Credential, Raw)>,
}

impl Device {
    /// A device without power; [`Device::power_on`] comes next.
    ///
    /// # Errors
    /// All that is wrong with its profile.
    pub fn new(setup: Setup) -> Result<Self, Vec<Problem>> {
        let plan = setup.profile.check()?;
        let mut registers = Registers::default();
        // What is asked for at once exists whole, where the profile says that a device has more than it names.
        for request in &plan.requests {
            registers.add(request.extent(), false);
        }
        if let Some(flag) = setup.profile.restarted {
            registers.add(one(flag), is_switch(flag.table));
        }
        for reader in &setup.profile.readers {
            match reader.events {
                Events::Latch { flag, .. } => registers.add(one(flag), is_switch(flag.table)),
                Events::Sequence { .. } => {}
                Events::Ring { .. } => {
                    if let Some(ring) = ring_of(reader) {
                        registers.add(ring.extent(), false);
                    }
                }
            }
        }
        for relay in setup.profile.doors.iter().filter_map(|door| door.relay) {
            registers.add(one(relay), is_switch(relay.table));
        }
        let readers = vec![Kept::default(); setup.profile.readers.len()];
        let mut device =
            Self { setup, registers, life: 0, next_life: 0, readers, shown: 0, lost: 0 };
        device.begin(&[]);
        Ok(device)
    }

    /// Takes over a line of an earlier run: how many lives it had, and what its doors are like. Lines of other
    /// controllers are passed over.
    ///
    /// # Errors
    /// What is wrong with a line that does not go on from those before.
    pub fn resume(&mut self, line: &Line) -> Result<(), String> {
        match line {
            Line::Modbus(line) if line.controller == self.id() && line.what == What::Started => {
                if line.life != self.next_life {
                    return Err(format!("life {} where life {} begins", line.life, self.next_life));
                }
                self.next_life += 1;
            }
            Line::Modbus(ModbusLine { controller, source: Source::Door(door), what, .. })
                if *controller == self.id() =>
            {
                let points = self.setup.profile.doors.iter().find(|points| points.door == *door);
                if let (Some(points), Some((point, on))) = (points, Point::told(*what))
                    && let Some(flag) = point.of(points)
                {
                    self.say(flag, on);
                }
            }
            Line::Event(_) | Line::Restart(_) | Line::Modbus(_) => {}
        }
        Ok(())
    }

    /// It has its power, for the first time or again. The flag of its profile says that it has restarted.
    pub fn power_on(&mut self, now: Timestamp, truth: &mut dyn Truth) -> Shown {
        let stays = [Point::Contact, Point::Button];
        let states: Vec<(Flag, bool)> = stays
            .iter()
            .flat_map(|point| self.setup.profile.doors.iter().filter_map(|door| point.of(door)))
            .map(|flag| (flag, self.says(flag)))
            .collect();
        let started =
            ModbusLine { life: self.next_life, ..self.line(Source::Device, What::Started, now) };
        self.keep(&[started], truth)?;
        (self.life, self.next_life) = (self.next_life, self.next_life + 1);
        self.begin(&states);
        if let Some(restarted) = self.setup.profile.restarted {
            self.say(restarted, true);
        }
        Ok(vec![started])
    }

    /// Its registers are as after a start, but for these.
    fn begin(&mut self, states: &[(Flag, bool)]) {
        self.registers.clear();
        self.readers.fill(Kept::default());
        let profile = &self.setup.profile;
        let of_doors = Point::ALL
            .iter()
            .flat_map(|point| profile.doors.iter().filter_map(|door| point.of(door)));
        let of_readers = profile.readers.iter().filter_map(latch);
        let all: Vec<Flag> = of_doors.chain(of_readers).chain(profile.restarted).collect();
        // 0 says yes, where a profile says that.
        for flag in all {
            let state = states.iter().find(|(other, _)| *other == flag);
            self.say(flag, state.is_some_and(|(_, on)| *on));
        }
    }

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
        let bytes: Vec<u8> = registers.iter().flat_map(|word| word.to_be_bytes()).collect();
        let raw = Raw::new(&bytes).ok_or(HappeningError::Card { reader })?;
        let number = kept.number + 1;

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
        let ring = ring_of(profile);
        self.keep(&lines, truth)?;

        // In a ring the address counts from the record's begin.
        let record = ring.and_then(|ring| ring.place(Index(number)));
        if let Some(record) = record {
            self.fill(record, &[]);
        }
        let (table, first) = record.map_or((place.table, place.address), |record| {
            (record.table(), record.address().saturating_add(place.address))
        });
        if let Ok(block) = Block::new(table, first, place.count) {
            self.fill(block, &registers);
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

    /// What a host reads.
    pub(super) fn read(
        &self,
        table: Table,
        address: u16,
        count: u16,
    ) -> Result<Vec<u16>, Exception> {
        self.registers.read(table, address, count).ok_or(Exception::ADDRESS)
    }

    /// What a host writes: all of it, or nothing.
    pub(super) fn write(
        &mut self,
        table: Table,
        address: u16,
        values: &[u16],
        now: Timestamp,
        truth: &mut dyn Truth,
    ) -> Result<Result<(), Exception>, LedgerError> {
        if !self.registers.are_writable(table, address, values.len()) {
            return Ok(Err(Exception::ADDRESS));
        }
        let new = |flag: Flag| {
            let offset = flag.address.checked_sub(address).filter(|_| flag.table == table)?;
            values.get(usize::from(offset)).map(|value| (*value != 0) == flag.when)
        };
        let mut lines = Vec::new();
        for (number, reader) in (1..=u8::MAX).zip(&self.setup.profile.readers) {
            if let Some(flag) = latch(reader)
                && self.says(flag)
                && new(flag) == Some(false)
            {
                let kept = self.readers.get(usize::from(number) - 1).and_then(|kept| kept.card);
                let source = Source::Reader(number);
                lines.push(ModbusLine {
                    card: kept.map(|(card, _)| card),
                    raw: kept.map(|(_, raw)| raw),
                    ..self.line(source, What::CardTaken, now)
                });
            }
        }
        for door in &self.setup.profile.doors {
            if let Some(relay) = door.relay
                && let Some(on) = new(relay)
                && self.says(relay) != on
            {
                lines.push(self.line(Source::Door(door.door), Point::Relay.what(on), now));
            }
        }
        self.keep(&lines, truth)?;
        for (address, value) in (address..=u16::MAX).zip(values) {
            self.registers.set(table, address, *value);
        }
        Ok(Ok(()))
    }

    /// Its identity in ledgers.
    pub fn id(&self) -> ControllerId {
        ControllerId::modbus(self.setup.serial)
    }

    /// The log that what happens there belongs to: a reader that counts has one of its own.
    pub fn log_of(&self, source: Source) -> ControllerId {
        match source {
            Source::Device | Source::Door(_) => self.id(),
            Source::Reader(number) => {
                let reader = usize::from(number).checked_sub(1);
                let reader = reader.and_then(|at| self.setup.profile.readers.get(at));
                match reader {
                    Some(reader) if counts(&reader.events) => {
                        ControllerId::modbus_reader(self.setup.serial, number)
                    }
                    Some(_) | None => self.id(),
                }
            }
        }
    }

    /// What it is.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// How often it had restarted before this life.
    pub fn life(&self) -> u64 {
        self.life
    }

    /// How many cards its readers showed since the simulator's start.
    pub fn shown(&self) -> u64 {
        self.shown
    }

    /// How many of them were overwritten before anybody had taken them; of readers with a flag alone.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// The numbers of the readers' newest cards, 0 for none; of a reader that does not count, how many it showed.
    pub fn numbers(&self) -> Vec<u64> {
        self.readers.iter().map(|kept| kept.number).collect()
    }

    /// The reader at a door, counted from 1: the first that goes this way, or else the first.
    pub fn reader_at(&self, door: u8, is_fit: impl Fn(&Reader) -> bool) -> Option<u8> {
        let there = || (1..=u8::MAX).zip(&self.setup.profile.readers);
        let at_door = || there().filter(|(_, reader)| reader.door == door);
        let fit = at_door().find(|(_, reader)| is_fit(reader));
        fit.or_else(|| at_door().next()).map(|(number, _)| number)
    }

    /// The state of a door's point; `None` where there is none.
    pub fn state(&self, door: u8, point: Point) -> Option<bool> {
        let points = self.setup.profile.doors.iter().find(|points| points.door == door)?;
        point.of(points).map(|flag| self.says(flag))
    }

    fn line(&self, source: Source, what: What, now: Timestamp) -> ModbusLine {
        ModbusLine {
            controller: self.log_of(source),
            life: self.life,
            source,
            what,
            number: None,
            card: None,
            raw: None,
            at: now,
        }
    }

    fn keep(&mut self, lines: &[ModbusLine], truth: &mut dyn Truth) -> Result<(), LedgerError> {
        for line in lines {
            truth.keep(&Line::Modbus(*line))?;
            self.shown += u64::from(line.what == What::CardRead);
            self.lost += u64::from(line.what == What::CardLost);
        }
        Ok(())
    }

    fn says(&self, flag: Flag) -> bool {
        (self.registers.get(flag.table, flag.address) != 0) == flag.when
    }

    fn say(&mut self, flag: Flag, yes: bool) {
        self.registers.set(flag.table, flag.address, u16::from(yes == flag.when));
    }

    /// What is beyond the values is 0.
    fn fill(&mut self, block: Block, values: &[u16]) {
        let values = values.iter().copied().chain(std::iter::repeat(0));
        for (address, value) in (block.address()..=block.last()).zip(values) {
            self.registers.set(block.table(), address, value);
        }
    }
}

fn one(flag: Flag) -> Extent {
    Block::one(flag.table, flag.address).extent()
}

/// Whether hosts can write there at all.
const fn is_switch(table: Table) -> bool {
    matches!(table, Table::Coil | Table::HoldingRegister)
}

const fn counts(events: &Events) -> bool {
    match events {
        Events::Latch { .. } => false,
        Events::Sequence { counter: Place { .. } } | Events::Ring { .. } => true,
    }
}

const fn latch(reader: &Reader) -> Option<Flag> {
    match reader.events {
        Events::Latch { flag, .. } => Some(flag),
        Events::Sequence { .. } | Events::Ring { .. } => None,
    }
}

fn ring_of(reader: &Reader) -> Option<Ring> {
    match reader.events {
        Events::Latch { .. } | Events::Sequence { .. } => None,
        // The profile was checked, so there is such a ring.
        Events::Ring { first, records, words, table, .. } => {
            Ring::new(table, first, records, words).ok()
        }
    }
}

/// What a register of 16 bits shows of a number.
const fn low(number: u64) -> u16 {
    let [.., high, low] = number.to_be_bytes();
    u16::from_be_bytes([high, low])
}
