//! The card list of a board: numbered slots, of which deleted ones stay visible.
//!
//! Invariant: `slots` and `by_number` name the same cards.

use std::collections::{BTreeMap, BTreeSet};

use postern_protocol::uhppote::field::{Date, DateTime, Pin};
use postern_protocol::uhppote::message::{request, response};

/// How many cards a board keeps; the data sheet's number of users.
pub const MAX_CARDS: usize = 20_000;

/// What get-card-by-index answers as the number of a deleted card.
pub const DELETED: u32 = u32::MAX;

/// Numbers that boards use for something else.
const NO_CARDS: [u32; 3] = [0, 0x00ff_ffff, DELETED];

/// Whether a card opens a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It does.
    Granted,
    /// The board does not know it, or not for this door.
    NoPrivilege,
    /// Its first day is to come or its last day is over.
    OutOfDate,
}

/// The list.
#[derive(Clone, Debug, Default)]
pub struct CardList {
    slots: Vec<Option<response::GetCard>>,
    by_number: BTreeMap<u32, usize>,
    free: BTreeSet<usize>,
}

impl CardList {
    /// How many cards there are.
    pub fn count(&self) -> usize {
        self.by_number.len()
    }

    /// Adds or replaces a card. False: not a card number, or the list is full.
    pub fn put(&mut self, card: &request::PutCard) -> bool {
        if NO_CARDS.contains(&card.card) {
            return false;
        }
        let known = self.by_number.get(&card.card).copied();
        let Some(slot) = known.or_else(|| self.free.pop_first()).or_else(|| self.grow()) else {
            return false;
        };
        if let Some(entry) = self.slots.get_mut(slot) {
            *entry = Some(response::GetCard {
                controller: card.controller,
                card: card.card,
                start_date: card.start_date,
                end_date: card.end_date,
                door_1: card.door_1,
                door_2: card.door_2,
                door_3: card.door_3,
                door_4: card.door_4,
                pin: card.pin,
            });
            self.by_number.insert(card.card, slot);
        }
        true
    }

    /// Adds a card that is always allowed at every door.
    pub fn allow_everywhere(&mut self, card: u32) {
        self.put(&request::PutCard {
            controller: 0,
            card,
            start_date: Date { year: 2000, month: 1, day: 1 },
            end_date: Date { year: 2099, month: 12, day: 31 },
            door_1: 1,
            door_2: 1,
            door_3: 1,
            door_4: 1,
            pin: Pin(0),
        });
    }

    /// Removes a card. False: there was none.
    pub fn delete(&mut self, card: u32) -> bool {
        let Some(slot) = self.by_number.remove(&card) else { return false };
        if let Some(entry) = self.slots.get_mut(slot) {
            *entry = None;
            self.free.insert(slot);
        }
        true
    }

    /// The card with this number; card 0 where there is none.
    pub fn by_number(&self, controller: u32, card: u32) -> response::GetCard {
        let slot = self.by_number.get(&card).and_then(|slot| self.slots.get(*slot)).copied();
        slot.flatten()
            .map_or(no_card(controller, 0), |card| response::GetCard { controller, ..card })
    }

    /// The card in this slot, from 1: card 0 past the end, [`DELETED`] where one was deleted.
    pub fn by_index(&self, controller: u32, index: u32) -> response::GetCardByIndex {
        let slot = usize::try_from(index).ok().and_then(|index| index.checked_sub(1));
        let card = match slot.and_then(|slot| self.slots.get(slot)) {
            None => no_card(controller, 0),
            Some(None) => no_card(controller, DELETED),
            Some(Some(card)) => *card,
        };
        response::GetCardByIndex {
            controller,
            card: card.card,
            start_date: card.start_date,
            end_date: card.end_date,
            door_1: card.door_1,
            door_2: card.door_2,
            door_3: card.door_3,
            door_4: card.door_4,
            pin: card.pin,
        }
    }

    /// Whether a card opens a door (1 to 4). An unset clock knows no dates. A time profile counts
    /// as permission at any time: the simulator keeps profiles and does not apply them.
    pub fn access(&self, card: u32, door: u8, now: DateTime) -> Access {
        if !self.by_number.contains_key(&card) {
            return Access::NoPrivilege;
        }
        let card = self.by_number(0, card);
        let permission = match door {
            1 => card.door_1,
            2 => card.door_2,
            3 => card.door_3,
            4 => card.door_4,
            _ => 0,
        };
        if permission == 0 {
            Access::NoPrivilege
        } else if now.is_set() && !(card.start_date..=card.end_date).contains(&now.date) {
            Access::OutOfDate
        } else {
            Access::Granted
        }
    }

    fn grow(&mut self) -> Option<usize> {
        (self.slots.len() < MAX_CARDS).then(|| {
            self.slots.push(None);
            self.slots.len() - 1
        })
    }
}

fn no_card(controller: u32, card: u32) -> response::GetCard {
    response::GetCard {
        controller,
        card,
        start_date: Date::UNSET,
        end_date: Date::UNSET,
        door_1: 0,
        door_2: 0,
        door_3: 0,
        door_4: 0,
        pin: Pin(0),
    }
}
