//! What happens at the doors of a board, and which events that records.
//!
//! Every function answers with the events that were recorded, which may be none: boards record door
//! and button events only after a host has asked for them (`record-special-events`).

use jiff::Timestamp;
use postern_protocol::uhppote::message::response;

use super::card::Access;
use super::setting::door_slot;
use super::{Controller, Recorded};
use crate::ledger::{Kind, LedgerError, Truth};

/// Event types of the wire.
const SWIPE: u8 = 1;
const DOOR: u8 = 2;
const ALARM: u8 = 3;

/// Reason codes of the wire.
const SWIPE_OK: u8 = 1;
const PC_CONTROL: u8 = 5;
const NO_PRIVILEGE: u8 = 6;
const DOOR_KEPT_SHUT: u8 = 11;
const OUT_OF_DATE: u8 = 15;
const BUTTON: u8 = 20;
const DOOR_OPENED: u8 = 23;
const DOOR_CLOSED: u8 = 24;
const POWER_ON: u8 = 28;
const HELD_OPEN: u8 = 37;
const FORCED_OPEN: u8 = 38;
const REMOTE_OPEN: u8 = 44;

/// What the wire says where a board has one reader at a door.
const IN: u8 = 1;

/// A card at a reader.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Swipe {
    /// The card's number.
    pub card: u32,
    /// The door, 1 to 4.
    pub door: u8,
    /// 1 in, 2 out.
    pub direction: u8,
}

/// A card number belongs into no log.
impl std::fmt::Debug for Swipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Swipe")
            .field("card", &"***")
            .field("door", &self.door)
            .finish_non_exhaustive()
    }
}

/// What one happening recorded.
pub type Events = Result<Vec<Recorded>, LedgerError>;

impl Controller {
    /// A card is swiped; where it is granted, the door opens and closes.
    pub fn swipe(&mut self, swipe: Swipe, now: Timestamp, truth: &mut dyn Truth) -> Events {
        let reason = if self.settings.is_kept_shut(swipe.door) {
            DOOR_KEPT_SHUT
        } else if self.settings.pc_control {
            PC_CONTROL
        } else {
            match self.cards.access(swipe.card, swipe.door, self.clock.read(now)) {
                Access::Granted => SWIPE_OK,
                Access::NoPrivilege => NO_PRIVILEGE,
                Access::OutOfDate => OUT_OF_DATE,
            }
        };
        let granted = reason == SWIPE_OK;
        let event = response::GetEvent {
            granted,
            direction: swipe.direction,
            card: swipe.card,
            ..self.at_door(swipe.door, SWIPE, reason)
        };
        let mut events = vec![self.record(Kind::Swipe, event, now, truth)?];
        if granted {
            self.pass(swipe.door, &mut events, now, truth)?;
        }
        Ok(events)
    }

    /// Someone presses the button beside a door.
    pub fn button(&mut self, door: u8, now: Timestamp, truth: &mut dyn Truth) -> Events {
        let mut events = Vec::new();
        if self.settings.record_special_events {
            let event = self.at_door(door, DOOR, BUTTON);
            events.push(self.record(Kind::Button, event, now, truth)?);
        }
        self.pass(door, &mut events, now, truth)?;
        Ok(events)
    }

    /// Someone opens a door by force. It stays open until the next who passes closes it.
    pub fn force(&mut self, door: u8, now: Timestamp, truth: &mut dyn Truth) -> Events {
        let event = response::GetEvent { granted: false, ..self.at_door(door, ALARM, FORCED_OPEN) };
        let mut events = vec![self.record(Kind::Forced, event, now, truth)?];
        self.set_open(door, true, &mut events, now, truth)?;
        Ok(events)
    }

    /// A door stands open too long. It stays open until the next who passes closes it.
    pub fn hold(&mut self, door: u8, now: Timestamp, truth: &mut dyn Truth) -> Events {
        let mut events = Vec::new();
        self.set_open(door, true, &mut events, now, truth)?;
        let event = response::GetEvent { granted: false, ..self.at_door(door, ALARM, HELD_OPEN) };
        events.push(self.record(Kind::Held, event, now, truth)?);
        Ok(events)
    }

    /// The board's power goes and comes back. Its log, its settings and its clock outlast that.
    pub fn power_cycle(&mut self, now: Timestamp, truth: &mut dyn Truth) -> Events {
        let event = response::GetEvent { direction: 0, ..self.at_door(0, DOOR, POWER_ON) };
        Ok(vec![self.record(Kind::PowerOn, event, now, truth)?])
    }

    /// A host opens a door.
    pub(super) fn remote_open(
        &mut self,
        door: u8,
        now: Timestamp,
        truth: &mut dyn Truth,
    ) -> Events {
        let event = self.at_door(door, DOOR, REMOTE_OPEN);
        let mut events = vec![self.record(Kind::RemoteOpen, event, now, truth)?];
        self.pass(door, &mut events, now, truth)?;
        Ok(events)
    }

    /// Someone goes through an unlocked door and it falls shut behind them.
    fn pass(
        &mut self,
        door: u8,
        events: &mut Vec<Recorded>,
        now: Timestamp,
        truth: &mut dyn Truth,
    ) -> Result<(), LedgerError> {
        self.set_open(door, true, events, now, truth)?;
        self.set_open(door, false, events, now, truth)
    }

    fn set_open(
        &mut self,
        door: u8,
        open: bool,
        events: &mut Vec<Recorded>,
        now: Timestamp,
        truth: &mut dyn Truth,
    ) -> Result<(), LedgerError> {
        let Some(state) = door_slot(door).and_then(|slot| self.open.get_mut(slot)) else {
            return Ok(());
        };
        if *state == open {
            return Ok(());
        }
        *state = open;
        if self.settings.record_special_events {
            let (kind, reason) = if open {
                (Kind::DoorOpened, DOOR_OPENED)
            } else {
                (Kind::DoorClosed, DOOR_CLOSED)
            };
            let event = self.at_door(door, DOOR, reason);
            events.push(self.record(kind, event, now, truth)?);
        }
        Ok(())
    }

    /// An event at a door; index and time are given when it is recorded.
    fn at_door(&self, door: u8, event_type: u8, reason: u8) -> response::GetEvent {
        response::GetEvent {
            door,
            direction: IN,
            granted: true,
            reason,
            ..self.sentinel(event_type)
        }
    }
}
