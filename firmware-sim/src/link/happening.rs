//! What happens at the doors of a controller, and which events that records.
//!
//! Every function answers with the events that were recorded. That doors open and close is recorded
//! only where the setup says so.

use jiff::Timestamp;
use postern_protocol::link::event::{Code, Event, Place, Reason, Stamp};
use postern_protocol::link::message::DoorState;
use postern_protocol::transaction::{DenyReason, Direction, Door};

use super::device::LinkDevice;
use crate::controller::Recorded;
use crate::controller::happening::{Events, Swipe};
use crate::ledger::{Kind, LedgerError, Truth};

/// A [`Swipe`] outwards.
const OUT: u8 = 2;

impl LinkDevice {
    /// A card is swiped; where it is granted, the door opens and closes.
    pub fn swipe(&mut self, swipe: Swipe, now: Timestamp, truth: &mut dyn Truth) -> Events {
        let granted = self.cards.contains(&swipe.card);
        let direction = if swipe.direction == OUT { Direction::Out } else { Direction::In };
        let event = Event {
            reason: if granted { Reason(0) } else { Reason::of(DenyReason::NoPrivilege) },
            place: Place::new(Some(Door(swipe.door)), Some(direction)),
            card: swipe.card.into(),
            ..at_door(swipe.door, if granted { Code::GRANTED } else { Code::DENIED })
        };
        let mut events = vec![self.record(Kind::Swipe, event, now, truth)?];
        if granted {
            self.pass(swipe.door, &mut events, now, truth)?;
        }
        Ok(events)
    }

    /// Someone presses the button beside a door.
    pub fn button(&mut self, door: u8, now: Timestamp, truth: &mut dyn Truth) -> Events {
        let event = at_door(door, Code::BUTTON);
        let mut events = vec![self.record(Kind::Button, event, now, truth)?];
        self.pass(door, &mut events, now, truth)?;
        Ok(events)
    }

    /// Someone opens a door by force. It stays open until the next who passes closes it.
    pub fn force(&mut self, door: u8, now: Timestamp, truth: &mut dyn Truth) -> Events {
        let event = at_door(door, Code::DOOR_FORCED);
        let mut events = vec![self.record(Kind::Forced, event, now, truth)?];
        self.set_door(door, DoorState::OPEN | DoorState::FORCED, &mut events, now, truth)?;
        Ok(events)
    }

    /// A door stands open too long. It stays open until the next who passes closes it.
    pub fn hold(&mut self, door: u8, now: Timestamp, truth: &mut dyn Truth) -> Events {
        let mut events = Vec::new();
        self.set_door(door, DoorState::OPEN | DoorState::HELD, &mut events, now, truth)?;
        events.push(self.record(Kind::Held, at_door(door, Code::DOOR_HELD), now, truth)?);
        Ok(events)
    }

    /// The power came back.
    pub(super) fn power_on(&mut self, now: Timestamp, truth: &mut dyn Truth) -> Events {
        let event = Event { place: Place::default(), ..at_door(0, Code::POWER_ON) };
        Ok(vec![self.record(Kind::PowerOn, event, now, truth)?])
    }

    /// A host opens a door.
    pub(super) fn remote_open(
        &mut self,
        door: u8,
        now: Timestamp,
        truth: &mut dyn Truth,
    ) -> Events {
        let event = at_door(door, Code::REMOTE_OPENED);
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
        self.set_door(door, DoorState::OPEN, events, now, truth)?;
        self.set_door(door, 0, events, now, truth)
    }

    /// The contact of a door changes; [`Device`](postern_protocol::link::station::Device) says who
    /// sees the state.
    fn set_door(
        &mut self,
        door: u8,
        state: u8,
        events: &mut Vec<Recorded>,
        now: Timestamp,
        truth: &mut dyn Truth,
    ) -> Result<(), LedgerError> {
        let slot = usize::from(door).checked_sub(1).and_then(|slot| self.doors.get_mut(slot));
        let Some(slot) = slot else { return Ok(()) };
        let before = std::mem::replace(slot, DoorState(state));
        let opens = state & DoorState::OPEN != 0;
        if self.setup.record_special_events && opens != (before.0 & DoorState::OPEN != 0) {
            let (kind, code) = if opens {
                (Kind::DoorOpened, Code::DOOR_OPENED)
            } else {
                (Kind::DoorClosed, Code::DOOR_CLOSED)
            };
            events.push(self.record(kind, at_door(door, code), now, truth)?);
        }
        Ok(())
    }
}

/// An event at a door; the time is given when it is recorded.
fn at_door(door: u8, code: Code) -> Event {
    let place = Place::new(Some(Door(door)), None);
    Event { at: Stamp::UNSET, code, reason: Reason(0), place, card: 0 }
}
