//! The device behind a station: its log, its clock, and what hosts set in it. Pure.
//!
//! What survives a power cut: the log (unless it is lost with it), the clock, the role term, and
//! generations that are in effect. Of what survives, a simulator that is started again restores the
//! log alone, from the ledger.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use postern_protocol::link::event::{Event, MAX_EVENT, Stamp};
use postern_protocol::link::log::{EventLog, Slot};
use postern_protocol::link::message::{DoorState, Flags, Identity, MAX_DOORS, Refusal, Table};
use postern_protocol::link::station::{Condition, Device};
use postern_protocol::{ControllerId, Timestamp as Moment};

use super::{Setup, draws, epoch_of};
use crate::clock::Clock;
use crate::controller::{DOORS, Recorded};
use crate::ledger::{EventLine, Kind, LedgerError, Line, Truth};
use crate::random::Random;
use crate::record::Raw;

/// What it says it is.
const MODEL: &str = "postern-sim";

/// The firmware that it says it runs.
const FIRMWARE: &str = env!("CARGO_PKG_VERSION");

/// The most bytes of a generation of a table; above it its memory is full.
pub const MAX_TABLE: usize = 1 << 20;

/// Keeps the draws of handshakes apart from all others of a seed.
const STREAM: u64 = 1 << 46;

/// A generation of a table. What its pages mean is between server and controller; nobody has said
/// it yet, so that they are kept and have no effect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Generation {
    /// Its number; 0 for none.
    pub number: u32,
    /// Its pages.
    pub pages: Vec<Vec<u8>>,
}

/// The device. What can record an event needs the truth; see [`Attended`].
#[derive(Clone, Debug)]
pub struct LinkDevice {
    pub(super) setup: Setup,
    pub(super) log: EventLog<Vec<Slot>>,
    pub(super) life: u64,
    pub(super) recorded: u64,
    pub(super) doors: [DoorState; DOORS as usize],
    pub(super) cards: BTreeSet<u32>,
    clock: Clock,
    settings: Generation,
    card_pages: Generation,
    staged: Option<(Table, Generation)>,
    role_term: u64,
    random: Random,
}

impl LinkDevice {
    /// A device that was just taken out of its box.
    pub fn new(setup: Setup) -> Self {
        let slots = vec![Slot::EMPTY; setup.capacity.max(1)];
        Self {
            log: EventLog::new(slots, epoch_of(setup.seed, setup.serial, 0)),
            life: 0,
            recorded: 0,
            doors: [DoorState::default(); DOORS as usize],
            cards: setup.cards.iter().copied().collect(),
            clock: Clock::new(TimeZone::UTC),
            settings: Generation::default(),
            card_pages: Generation::default(),
            staged: None,
            role_term: 0,
            random: draws(setup.seed, STREAM, setup.serial),
            setup,
        }
    }

    /// Its identity in ledgers.
    pub fn id(&self) -> ControllerId {
        ControllerId::link(self.setup.serial)
    }

    /// Its log.
    pub fn log(&self) -> &EventLog<Vec<Slot>> {
        &self.log
    }

    /// Which life of its log this is.
    pub fn life(&self) -> u64 {
        self.life
    }

    /// How many events it recorded in all lives.
    pub fn recorded(&self) -> u64 {
        self.recorded
    }

    /// Whether it records that doors open and close.
    pub fn records_special_events(&self) -> bool {
        self.setup.record_special_events
    }

    /// How many cards it knows.
    pub fn cards(&self) -> usize {
        self.cards.len()
    }

    /// Which doors are open.
    pub fn open_doors(&self) -> [bool; DOORS as usize] {
        self.doors.map(|door| door.0 & DoorState::OPEN != 0)
    }

    /// Its clock, which shows UTC.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Its clock, to make it wrong.
    pub fn clock_mut(&mut self) -> &mut Clock {
        &mut self.clock
    }

    /// The generation of a table that is in effect.
    pub fn generation(&self, table: Table) -> &Generation {
        match table {
            Table::Settings => &self.settings,
            Table::Cards => &self.card_pages,
        }
    }

    /// The highest role term that it obeyed; 0 for none.
    pub fn role_term(&self) -> u64 {
        self.role_term
    }

    /// What its clock reads; unset, where that is outside of what the wire can say.
    pub fn stamp(&self, now: Timestamp) -> Stamp {
        let utc = self.clock.civil(now).and_then(|civil| civil.to_zoned(TimeZone::UTC).ok());
        utc.and_then(|utc| Stamp::of(Moment(utc.timestamp().as_millisecond())))
            .unwrap_or(Stamp::UNSET)
    }

    /// Its memory is lost, but for what survives a power cut.
    pub(super) fn lose_power(&mut self) {
        self.staged = None;
        self.doors = [DoorState::default(); DOORS as usize];
        self.forget_counters();
    }

    /// What hosts have set is gone.
    pub(super) fn forget_settings(&mut self) {
        self.settings = Generation::default();
        self.card_pages = Generation::default();
        self.role_term = 0;
    }

    /// Records an event: first the truth, then the log. `event` has no time yet.
    pub(super) fn record(
        &mut self,
        kind: Kind,
        event: Event,
        now: Timestamp,
        truth: &mut dyn Truth,
    ) -> Result<Recorded, LedgerError> {
        let index = self.log.newest().next();
        let mut buffer = [0; MAX_EVENT];
        let bytes = Event { at: self.stamp(now), ..event }.encode(&mut buffer);
        let raw = Raw::of_link(index, bytes).expect("invariant: MAX_EVENT fits into MAX_RAW");
        truth.keep(&Line::Event(EventLine {
            controller: self.id(),
            life: self.life,
            index: index.0,
            raw,
            kind,
            at: now,
        }))?;
        self.log.push(bytes).expect("invariant: an event has bytes, and the log has room for one");
        self.recorded += 1;
        Ok(Recorded { index: index.0, kind, raw })
    }
}

/// A device while something is asked of it: with the time, and with the truth, which what it does
/// may have to be told first.
pub(super) struct Attended<'a> {
    device: &'a mut LinkDevice,
    now: Timestamp,
    truth: &'a mut dyn Truth,
    failure: Option<LedgerError>,
}

impl<'a> Attended<'a> {
    pub(super) fn new(
        device: &'a mut LinkDevice,
        now: Timestamp,
        truth: &'a mut dyn Truth,
    ) -> Self {
        Self { device, now, truth, failure: None }
    }

    /// Whether the truth could be kept. Where it could not, nothing that was asked has happened, and
    /// the answer is not to be sent.
    pub(super) fn end(self) -> Result<(), LedgerError> {
        self.failure.map_or(Ok(()), Err)
    }
}

impl Device for Attended<'_> {
    type Slots = Vec<Slot>;

    fn log(&mut self) -> &mut EventLog<Vec<Slot>> {
        &mut self.device.log
    }

    fn identity(&self) -> Identity<'_> {
        Identity {
            serial: self.device.setup.serial,
            model: MODEL,
            firmware: FIRMWARE,
            doors: DOORS,
            capacity: u32::try_from(self.device.log.capacity()).unwrap_or(u32::MAX),
        }
    }

    fn condition(&self) -> Condition {
        let device = &self.device;
        let clock = device.stamp(self.now);
        Condition {
            clock,
            flags: Flags(if clock == Stamp::UNSET { Flags::CLOCK_UNSET } else { 0 }),
            settings: device.settings.number,
            cards: device.card_pages.number,
            role_term: device.role_term,
        }
    }

    fn doors(&self, states: &mut [DoorState; MAX_DOORS]) -> usize {
        states.iter_mut().zip(self.device.doors).for_each(|(to, from)| *to = from);
        self.device.doors.len()
    }

    fn set_clock(&mut self, at: Stamp, ms: u16) -> Result<(), Refusal> {
        let second = at.moment().ok_or(Refusal::Malformed)?;
        let moment = Timestamp::from_millisecond(second.0 + i64::from(ms));
        let moment = moment.map_err(|_| Refusal::Malformed)?;
        let civil = TimeZone::UTC.to_datetime(moment);
        self.device.clock.set_civil(Some(civil), self.now);
        Ok(())
    }

    fn keep_role_term(&mut self, role_term: u64) -> Result<(), Refusal> {
        self.device.role_term = role_term;
        Ok(())
    }

    fn open_door(&mut self, door: u8, _ms: u16) -> Result<(), Refusal> {
        if !(1..=DOORS).contains(&door) {
            return Err(Refusal::Door);
        }
        match self.device.remote_open(door, self.now, self.truth) {
            Ok(_) => Ok(()),
            Err(error) => {
                self.failure = Some(error);
                Err(Refusal::Memory)
            }
        }
    }

    fn stage(
        &mut self,
        table: Table,
        generation: u32,
        page: u16,
        bytes: &[u8],
    ) -> Result<(), Refusal> {
        let staged = &mut self.device.staged;
        if page == 0 {
            *staged = Some((table, Generation { number: generation, pages: Vec::new() }));
        }
        // A station hands pages in in their order, and all of one generation.
        let pages = match staged {
            Some((of, kept)) if *of == table && kept.number == generation => &mut kept.pages,
            _ => return Err(Refusal::Page { next: 0 }),
        };
        let kept: usize = pages.iter().map(Vec::len).sum();
        if kept + bytes.len() > MAX_TABLE {
            return Err(Refusal::Memory);
        }
        pages.push(bytes.to_vec());
        Ok(())
    }

    fn activate(&mut self, table: Table, generation: u32, pages: u16) -> Result<(), Refusal> {
        let whole = |(of, kept): &mut (Table, Generation)| {
            *of == table && kept.number == generation && kept.pages.len() == usize::from(pages)
        };
        let (_, kept) = self.device.staged.take_if(whole).ok_or(Refusal::Page { next: 0 })?;
        match table {
            Table::Settings => self.device.settings = kept,
            Table::Cards => self.device.card_pages = kept,
        }
        Ok(())
    }

    /// Of the seed, so that a run can be repeated, and therefore no secret.
    fn random(&mut self) -> [u8; 32] {
        let mut secret = [0; 32];
        for chunk in secret.chunks_mut(8) {
            chunk.copy_from_slice(&self.device.random.draw().to_le_bytes());
        }
        secret
    }
}
