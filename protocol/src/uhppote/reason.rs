//! What a recorded UHPPOTE event means in Postern's words: event type and reason code to [`Kind`].
//!
//! Boards know 45 reasons, of which some numbers are reserved. A code without a meaning here is
//! kept as [`Kind::Other`] with the raw record beside it; nothing is dropped for being unknown.

use super::message::response::GetEvent;
use crate::transaction::{AlarmKind, DenyReason, Direction, Door, Kind, ResetCause};

/// What the event was.
pub fn kind(event: &GetEvent) -> Kind {
    match event.reason {
        1 => Kind::Granted,
        5 => Kind::Denied(DenyReason::Host),
        6 => Kind::Denied(DenyReason::NoPrivilege),
        7 => Kind::Denied(DenyReason::WrongPin),
        8 => Kind::Denied(DenyReason::AntiPassback),
        9 => Kind::Denied(DenyReason::MoreCards),
        10 => Kind::Denied(DenyReason::FirstCard),
        11 => Kind::Denied(DenyReason::DoorLocked),
        12 => Kind::Denied(DenyReason::Interlock),
        13 => Kind::Denied(DenyReason::Schedule),
        15 => Kind::Denied(DenyReason::InvalidSchedule),
        18 => Kind::Denied(DenyReason::Unspecified),
        20 => Kind::Button,
        23 => Kind::DoorOpened,
        24 => Kind::DoorClosed,
        25 => Kind::SupervisorOpened,
        28 => Kind::PowerOn,
        29 => Kind::ControllerReset(ResetCause::Reported),
        31 => Kind::ButtonRefused(DenyReason::DoorLocked),
        32 => Kind::ButtonRefused(DenyReason::Offline),
        33 => Kind::ButtonRefused(DenyReason::Interlock),
        34 => Kind::ButtonRefused(DenyReason::Threat),
        37 => Kind::DoorHeld,
        38 => Kind::DoorForced,
        39 => Kind::Alarm(AlarmKind::Fire),
        40 => Kind::Alarm(AlarmKind::ForcedClose),
        41 => Kind::Alarm(AlarmKind::Theft),
        42 => Kind::Alarm(AlarmKind::Zone24h),
        43 => Kind::Alarm(AlarmKind::Emergency),
        44 | 45 => Kind::RemoteOpened,
        reason => Kind::Other { code: u32::from(event.event_type) << 8 | u32::from(reason) },
    }
}

/// The direction, where the board gave one.
pub fn direction(event: &GetEvent) -> Option<Direction> {
    match event.direction {
        1 => Some(Direction::In),
        2 => Some(Direction::Out),
        _ => None,
    }
}

/// The door, where the board gave one.
pub fn door(event: &GetEvent) -> Option<Door> {
    (1..=4).contains(&event.door).then_some(Door(event.door))
}
