//! A device: its registers, its power, and what hosts do to them. Pure.
//!
//! What a host writes can be a happening: it takes a card, or switches a relay.
//!
//! Of a device nothing survives a restart but what is not in it: a door that is open stays open.

use jiff::Timestamp;
use postern_protocol::ControllerId;
use postern_protocol::modbus::profile::{Events, Flag, Place, Problem, Profile, Reader};
use postern_protocol::modbus::register::Table;
use postern_protocol::transaction::Credential;

use super::happening::{Point, Shown};
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

/// A device.
#[derive(Clone, Debug)]
pub struct Device {
    pub(super) setup: Setup,
    pub(super) registers: Registers,
    /// The life that it is in; before its first power, the one that comes.
    life: u64,
    next_life: u64,
    /// Of each reader.
    pub(super) readers: Vec<Kept>,
    shown: u64,
    lost: u64,
}

/// What a reader has besides its registers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kept {
    /// The number of its newest, where it counts.
    pub(super) number: u64,
    /// The card that its registers show.
    pub(super) card: Option<(Credential, Raw)>,
}

impl Device {
    /// A device without power; [`Device::power_on`] comes next.
    ///
    /// # Errors
    /// All that is wrong with its profile.
    pub fn new(setup: Setup) -> Result<Self, Vec<Problem>> {
        setup.profile.check()?;
        let mut registers = Registers::default();
        let add = |registers: &mut Registers, flag: Flag| {
            registers.add(flag.block().extent(), is_switch(flag.table));
        };
        if let Some(flag) = setup.profile.restarted {
            add(&mut registers, flag);
        }
        for reader in &setup.profile.readers {
            match reader.events {
                Events::Latch { flag, .. } => add(&mut registers, flag),
                Events::Sequence { counter } | Events::Ring { counter, .. } => {
                    registers.add(counter.block().extent(), false);
                }
            }
            if let Some(bits) = reader.card.bits {
                registers.add(bits.block().extent(), false);
            }
            if let (None, Some(card)) = (reader.ring(), reader.card.block()) {
                registers.add(card.extent(), false);
            }
        }
        for door in &setup.profile.doors {
            for point in [door.contact, door.button].into_iter().flatten() {
                registers.add(point.block().extent(), false);
            }
            if let Some(relay) = door.relay {
                add(&mut registers, relay);
            }
        }
        // Where the profile says that a device has more than it names.
        registers.bridge(setup.profile.gap);
        for ring in setup.profile.readers.iter().filter_map(Reader::ring) {
            registers.add(ring.extent(), false);
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

    /// The state of a door's point; `None` where there is none.
    pub fn state(&self, door: u8, point: Point) -> Option<bool> {
        let points = self.setup.profile.doors.iter().find(|points| points.door == door)?;
        point.of(points).map(|flag| self.says(flag))
    }

    pub(super) fn line(&self, source: Source, what: What, now: Timestamp) -> ModbusLine {
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

    pub(super) fn keep(
        &mut self,
        lines: &[ModbusLine],
        truth: &mut dyn Truth,
    ) -> Result<(), LedgerError> {
        for line in lines {
            truth.keep(&Line::Modbus(*line))?;
            self.shown += u64::from(line.what == What::CardRead);
            self.lost += u64::from(line.what == What::CardLost);
        }
        Ok(())
    }

    pub(super) fn says(&self, flag: Flag) -> bool {
        (self.registers.get(flag.table, flag.address) != 0) == flag.when
    }

    pub(super) fn say(&mut self, flag: Flag, yes: bool) {
        self.registers.set(flag.table, flag.address, u16::from(yes == flag.when));
    }
}

/// Whether hosts can write there at all.
const fn is_switch(table: Table) -> bool {
    matches!(table, Table::Coil | Table::HoldingRegister)
}

pub(super) const fn counts(events: &Events) -> bool {
    match events {
        Events::Latch { .. } => false,
        Events::Sequence { counter: Place { .. } } | Events::Ring { .. } => true,
    }
}

pub(super) const fn latch(reader: &Reader) -> Option<Flag> {
    match reader.events {
        Events::Latch { flag, .. } => Some(flag),
        Events::Sequence { .. } | Events::Ring { .. } => None,
    }
}
