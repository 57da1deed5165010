//! One simulated board: everything that decides, nothing that waits.
//!
//! Pure: the host hands in requests and happenings together with the real time, and takes out
//! replies and pushes. The only effect is on the [`Truth`], which learns of every event before the
//! ring does; so an event that a client can read is in the ledger, by construction.
//!
//! - `answer`: the table of all functions.
//! - [`card`]: the card list with its slots.
//! - [`setting`]: what hosts can set.
//! - [`happening`]: what happens at the doors.
//! - `life`: where a log ends and another begins.

mod answer;
pub mod card;
pub mod happening;
mod life;
pub mod setting;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use postern_protocol::ControllerId;
use postern_protocol::uhppote::field::{DateTime, Mac, ShortDate, Version};
use postern_protocol::uhppote::message::{encode_event, response};
use postern_protocol::uhppote::{Frame, NEWEST, Request, Response, TYPE_NONE, TYPE_OVERWRITTEN};
use serde::Serialize;

use crate::clock::Clock;
use crate::ledger::{EventLine, Kind, LedgerError, Line, Truth};
use crate::record::Raw;
use crate::ring::{Read, Ring};
use card::CardList;
use setting::Settings;

/// How many doors a board has.
pub const DOORS: u8 = 4;

/// How many pushes wait for the host to send them. One happening makes three events at most; a
/// real board has no queue at all and loses what it cannot send.
const MAX_PUSHES: usize = 16;

/// The firmware that begins its pushed events with another byte.
const FIRMWARE_WITH_OTHER_START: Version = Version { major: 6, minor: 62 };

/// What a board is, as opposed to what hosts set in it.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The serial number that it answers to.
    pub serial: u32,
    /// The address that it says it has.
    pub address: Ipv4Addr,
    /// The MAC address that it says it has.
    pub mac: Mac,
    /// The firmware that it says it runs.
    pub firmware: Version,
    /// The zone of its wall clock.
    pub zone: TimeZone,
    /// How many events its log holds.
    pub capacity: usize,
    /// How many it drops at once when the log is full.
    pub chunk: usize,
    /// The index of the very first event.
    pub first_index: u32,
    /// Whether it records door and button events from the start.
    pub record_special_events: bool,
    /// Cards that are allowed at every door from the start.
    pub cards: Vec<u32>,
}

/// An event as it was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Recorded {
    /// Its index.
    pub index: u64,
    /// What it was.
    pub kind: Kind,
    /// Its record bytes.
    pub raw: Raw,
}

/// A datagram that the board wants to send of its own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Push {
    /// To the listener.
    pub to: SocketAddrV4,
    /// The event.
    pub frame: Frame,
}

/// A board.
#[derive(Clone, Debug)]
pub struct Controller {
    setup: Setup,
    clock: Clock,
    ring: Ring,
    life: u64,
    recorded: u64,
    settings: Settings,
    cards: CardList,
    open: [bool; DOORS as usize],
    /// The one cursor that all hosts share.
    event_index: u32,
    sequence: u32,
    seconds_since_push: u8,
    pushes: VecDeque<Push>,
}

impl Controller {
    /// A board that was just taken out of its box and got its first cards.
    pub fn new(setup: Setup) -> Self {
        let mut settings = Settings::new(setup.address);
        settings.record_special_events = setup.record_special_events;
        let mut cards = CardList::default();
        setup.cards.iter().for_each(|card| cards.allow_everywhere(*card));
        Self {
            clock: Clock::new(setup.zone.clone()),
            ring: Ring::new(setup.capacity, setup.chunk, setup.first_index),
            life: 0,
            recorded: 0,
            settings,
            cards,
            open: [false; DOORS as usize],
            event_index: 0,
            sequence: 0,
            seconds_since_push: 0,
            pushes: VecDeque::new(),
            setup,
        }
    }

    /// Whether a request is meant for this board: its serial number, or a search for boards.
    pub fn is_addressed_by(&self, request: &Request) -> bool {
        request.controller() == self.setup.serial
            || (request.controller() == 0 && matches!(request, Request::GetController(_)))
    }

    /// Answers a request. `None`: it is another board's, or one that has no reply.
    pub fn handle(
        &mut self,
        request: &Request,
        now: Timestamp,
        truth: &mut dyn Truth,
    ) -> Result<Option<Response>, LedgerError> {
        if !self.is_addressed_by(request) {
            return Ok(None);
        }
        self.answer(request, now, truth)
    }

    /// The next push, where there is one.
    pub fn poll_push(&mut self) -> Option<Push> {
        self.pushes.pop_front()
    }

    /// To be called once a second: repeats the newest event to the listener at the interval that a
    /// host has set.
    pub fn on_second(&mut self, now: Timestamp) {
        let interval = self.settings.listener.interval;
        if interval == 0 {
            self.seconds_since_push = 0;
            return;
        }
        self.seconds_since_push = self.seconds_since_push.saturating_add(1);
        if self.seconds_since_push >= interval {
            self.push(now);
        }
    }

    /// Its clock, to make it wrong.
    pub fn clock_mut(&mut self) -> &mut Clock {
        &mut self.clock
    }

    /// Its identity in ledgers.
    pub fn id(&self) -> ControllerId {
        ControllerId::uhppote(self.setup.serial)
    }

    /// What its clock shows.
    pub fn time(&self, now: Timestamp) -> DateTime {
        self.clock.read(now)
    }

    /// Its log.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Which life of its log this is.
    pub fn life(&self) -> u64 {
        self.life
    }

    /// How many events it recorded in all lives.
    pub fn recorded(&self) -> u64 {
        self.recorded
    }

    /// What hosts have set.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Its cards.
    pub fn cards(&self) -> &CardList {
        &self.cards
    }

    /// Which doors are open.
    pub fn open_doors(&self) -> [bool; DOORS as usize] {
        self.open
    }

    /// The cursor that hosts share on the board.
    pub fn event_index(&self) -> u32 {
        self.event_index
    }

    /// Records an event: first the truth, then the ring, then the push.
    fn record(
        &mut self,
        kind: Kind,
        event: response::GetEvent,
        now: Timestamp,
        truth: &mut dyn Truth,
    ) -> Result<Recorded, LedgerError> {
        let index = self.ring.next_index();
        let event = response::GetEvent { index, timestamp: self.clock.read(now), ..event };
        let raw = Raw::of(&event);
        truth.keep(&Line::Event(EventLine {
            controller: self.id(),
            life: self.life,
            index: index.into(),
            raw,
            kind,
            at: now,
        }))?;
        self.ring.push(event);
        self.recorded += 1;
        self.push(now);
        Ok(Recorded { index: index.into(), kind, raw })
    }

    /// Queues the newest event for the listener, where there are both.
    fn push(&mut self, now: Timestamp) {
        self.seconds_since_push = 0;
        let listener = self.settings.listener;
        if listener.port == 0 || listener.address.is_unspecified() || self.ring.newest().is_none() {
            return;
        }
        self.sequence = self.sequence.wrapping_add(1);
        let status = response::GetStatus { sequence: self.sequence, ..self.status(now) };
        let frame = encode_event(status, self.setup.firmware == FIRMWARE_WITH_OTHER_START);
        if self.pushes.len() >= MAX_PUSHES {
            self.pushes.pop_front();
        }
        self.pushes
            .push_back(Push { to: SocketAddrV4::new(listener.address, listener.port), frame });
    }

    fn status(&self, now: Timestamp) -> response::GetStatus {
        let event = self.ring.newest().copied().unwrap_or(self.sentinel(TYPE_NONE));
        let [door_1_open, door_2_open, door_3_open, door_4_open] = self.open;
        let time = self.clock.read(now);
        response::GetStatus {
            controller: self.setup.serial,
            event_index: event.index,
            event_type: event.event_type,
            event_granted: event.granted,
            event_door: event.door,
            event_direction: event.direction,
            event_card: event.card,
            event_timestamp: event.timestamp,
            event_reason: event.reason,
            door_1_open,
            door_2_open,
            door_3_open,
            door_4_open,
            door_1_button: false,
            door_2_button: false,
            door_3_button: false,
            door_4_button: false,
            system_error: 0,
            system_time: time.time,
            sequence: 0,
            special_info: 0,
            relays: self.settings.unlocked_relays(),
            inputs: 0,
            system_date: ShortDate(time.date),
        }
    }

    fn event(&self, index: u32) -> response::GetEvent {
        match self.ring.read(index) {
            Read::Record(event) => event,
            Read::Nothing => self.sentinel(TYPE_NONE),
            Read::Overwritten => self.sentinel(TYPE_OVERWRITTEN),
        }
    }

    /// The record that stands for "no such event": all zero but for its type.
    fn sentinel(&self, event_type: u8) -> response::GetEvent {
        response::GetEvent {
            controller: self.setup.serial,
            index: 0,
            event_type,
            granted: false,
            door: 0,
            direction: 0,
            card: 0,
            timestamp: DateTime::UNSET,
            reason: 0,
        }
    }

    /// Moves the shared cursor. Boards answer whether that changed anything.
    pub fn set_event_index(&mut self, index: u32) -> bool {
        let recorded = index != NEWEST && self.ring.read(index) != Read::Nothing;
        let changed = (index == 0 || recorded) && index != self.event_index;
        if changed {
            self.event_index = index;
        }
        changed
    }
}

#[cfg(test)]
mod tests;
