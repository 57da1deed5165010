//! What hosts can set in a board. Each setter answers what the board answers: whether it took it.
//!
//! The simulator keeps every setting, so that a test can see what arrived, and applies those that
//! change what it records or sends: door modes, PC control, special events, the listener.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

use postern_protocol::uhppote::field::{Date, HourMinute, Pin};
use postern_protocol::uhppote::message::{request, response};
use serde::Serialize;

use super::DOORS;

/// How many tasks a board keeps. No limit is documented; this bounds what a host can make us store.
const MAX_TASKS: usize = 256;

/// How a door is kept.
const NORMALLY_OPEN: u8 = 1;
const NORMALLY_CLOSED: u8 = 2;
const CONTROLLED: u8 = 3;

/// Time profiles have these numbers; 0 and 1 mean "never" and "always", 255 is reserved.
const PROFILES: std::ops::RangeInclusive<u8> = 2..=254;

/// A door's mode and how many seconds it stays unlocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Door {
    /// 1 normally open, 2 normally closed, 3 controlled.
    pub mode: u8,
    /// Seconds.
    pub delay: u8,
}

/// Where events are pushed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Listener {
    /// 0.0.0.0: nowhere.
    pub address: Ipv4Addr,
    /// 0: nowhere.
    pub port: u16,
    /// Seconds between repetitions of the newest event; 0: none.
    pub interval: u8,
}

/// All settings.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "named after the functions that set them")]
pub struct Settings {
    pub address: Ipv4Addr,
    pub netmask: Ipv4Addr,
    pub gateway: Ipv4Addr,
    pub listener: Listener,
    pub record_special_events: bool,
    pub doors: [Door; DOORS as usize],
    pub antipassback: u8,
    pub interlock: u8,
    pub pc_control: bool,
    pub keypads: [bool; DOORS as usize],
    pub passcodes: BTreeMap<u8, [Pin; 4]>,
    pub first_cards: BTreeMap<u8, request::SetFirstCard>,
    pub time_profiles: BTreeMap<u8, request::SetTimeProfile>,
    pub tasks: VecDeque<request::AddTask>,
    pub tasks_to_be_refreshed: VecDeque<request::AddTask>,
}

impl Settings {
    /// The settings of a new board.
    pub fn new(address: Ipv4Addr) -> Self {
        Self {
            address,
            netmask: Ipv4Addr::new(255, 255, 255, 0),
            gateway: Ipv4Addr::UNSPECIFIED,
            listener: Listener { address: Ipv4Addr::UNSPECIFIED, port: 0, interval: 0 },
            record_special_events: false,
            doors: [Door { mode: CONTROLLED, delay: 5 }; DOORS as usize],
            antipassback: 0,
            interlock: 0,
            pc_control: false,
            keypads: [false; DOORS as usize],
            passcodes: BTreeMap::new(),
            first_cards: BTreeMap::new(),
            time_profiles: BTreeMap::new(),
            tasks: VecDeque::new(),
            tasks_to_be_refreshed: VecDeque::new(),
        }
    }

    /// A door's settings; `None`: no such door.
    pub fn door(&self, door: u8) -> Option<Door> {
        self.doors.get(door_slot(door)?).copied()
    }

    /// Whether a door is to stay shut whatever card comes.
    pub fn is_kept_shut(&self, door: u8) -> bool {
        self.door(door).is_some_and(|door| door.mode == NORMALLY_CLOSED)
    }

    /// The relays of doors that stand unlocked: bit 0 is door 1.
    pub fn unlocked_relays(&self) -> u8 {
        (0..DOORS)
            .filter(|slot| self.door(slot + 1).is_some_and(|door| door.mode == NORMALLY_OPEN))
            .fold(0, |relays, slot| relays | 1 << slot)
    }

    pub(super) fn set_door(&mut self, request: request::SetDoor) -> Option<Door> {
        let door = self.doors.get_mut(door_slot(request.door)?)?;
        if (NORMALLY_OPEN..=CONTROLLED).contains(&request.mode) {
            *door = Door { mode: request.mode, delay: request.delay };
        }
        Some(*door)
    }

    pub(super) fn set_antipassback(&mut self, value: u8) -> bool {
        replace_if(value <= 4, &mut self.antipassback, value)
    }

    pub(super) fn set_interlock(&mut self, value: u8) -> bool {
        replace_if(matches!(value, 0..=4 | 8), &mut self.interlock, value)
    }

    pub(super) fn set_passcodes(&mut self, request: &request::SetDoorPasscodes) -> bool {
        let known = door_slot(request.door).is_some();
        if known {
            let codes =
                [request.passcode_1, request.passcode_2, request.passcode_3, request.passcode_4];
            self.passcodes.insert(request.door, codes);
        }
        known
    }

    pub(super) fn set_first_card(&mut self, request: &request::SetFirstCard) -> bool {
        let known = door_slot(request.door).is_some();
        if known {
            self.first_cards.insert(request.door, *request);
        }
        known
    }

    pub(super) fn set_time_profile(&mut self, request: &request::SetTimeProfile) -> bool {
        let possible = PROFILES.contains(&request.profile);
        if possible {
            self.time_profiles.insert(request.profile, *request);
        }
        possible
    }

    /// A profile; number 0 and nothing else where there is none.
    pub(super) fn time_profile(&self, controller: u32, profile: u8) -> response::GetTimeProfile {
        let none = HourMinute::default();
        let empty = request::SetTimeProfile {
            controller,
            profile: 0,
            start_date: Date::UNSET,
            end_date: Date::UNSET,
            monday: false,
            tuesday: false,
            wednesday: false,
            thursday: false,
            friday: false,
            saturday: false,
            sunday: false,
            segment_1_start: none,
            segment_1_end: none,
            segment_2_start: none,
            segment_2_end: none,
            segment_3_start: none,
            segment_3_end: none,
            linked_profile: 0,
        };
        let found = self.time_profiles.get(&profile).unwrap_or(&empty);
        response::GetTimeProfile {
            controller,
            profile: found.profile,
            start_date: found.start_date,
            end_date: found.end_date,
            monday: found.monday,
            tuesday: found.tuesday,
            wednesday: found.wednesday,
            thursday: found.thursday,
            friday: found.friday,
            saturday: found.saturday,
            sunday: found.sunday,
            segment_1_start: found.segment_1_start,
            segment_1_end: found.segment_1_end,
            segment_2_start: found.segment_2_start,
            segment_2_end: found.segment_2_end,
            segment_3_start: found.segment_3_start,
            segment_3_end: found.segment_3_end,
            linked_profile: found.linked_profile,
        }
    }

    /// Added tasks do nothing until the list is refreshed.
    pub(super) fn add_task(&mut self, request: &request::AddTask) -> bool {
        let room = self.tasks.len() + self.tasks_to_be_refreshed.len() < MAX_TASKS;
        let taken = room && door_slot(request.door).is_some();
        if taken {
            self.tasks_to_be_refreshed.push_back(*request);
        }
        taken
    }

    pub(super) fn refresh_tasks(&mut self) {
        self.tasks.append(&mut self.tasks_to_be_refreshed);
    }

    pub(super) fn clear_tasks(&mut self) {
        self.tasks.clear();
        self.tasks_to_be_refreshed.clear();
    }
}

/// The place of a door (1 to 4) in an array.
pub(super) fn door_slot(door: u8) -> Option<usize> {
    (1..=DOORS).contains(&door).then(|| usize::from(door) - 1)
}

fn replace_if<T>(possible: bool, to: &mut T, value: T) -> bool {
    if possible {
        *to = value;
    }
    possible
}
