//! One event as a controller records it (`docs/protocol.md` §5).
//!
//! The bytes of an event are what the controller's log holds, what travels and what is kept as evidence:
//! nobody ever encodes an event anew. A reader that does not know a code, or finds bytes behind the fields
//! it knows, keeps them all and says [`Kind::Other`] at worst.

use serde::{Deserialize, Serialize};

use crate::transaction::{AlarmKind, DenyReason, Direction, Door, Timestamp};
use crate::transaction::{Kind, ResetCause};

/// The longest event: what a page's run can say.
pub const MAX_EVENT: usize = 31;

/// 2000-01-01T00:00:00Z, from which a controller counts seconds, in seconds since 1970.
pub const EPOCH_S: i64 = 946_684_800;

/// What a controller's clock reads: whole seconds of UTC since 2000, or 0 where it was never set. Enough
/// until 2136.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stamp(#[serde(with = "postcard::fixint::le")] pub u32);

impl Stamp {
    /// A clock that was never set.
    pub const UNSET: Self = Self(0);

    /// The moment, unless the clock was never set.
    pub fn moment(self) -> Option<Timestamp> {
        (self != Self::UNSET).then(|| Timestamp((EPOCH_S + i64::from(self.0)) * 1_000))
    }

    /// The second of this moment; `None` before 2000-01-01T00:00:01Z and after 2136.
    pub fn of(moment: Timestamp) -> Option<Self> {
        let seconds = moment.0.div_euclid(1_000).checked_sub(EPOCH_S)?;
        u32::try_from(seconds).ok().map(Self).filter(|stamp| *stamp != Self::UNSET)
    }
}

/// Where: the door in the low six bits, 0 for none; the direction in the high two: 0 none, 1 in, 2 out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Place(pub u8);

impl Place {
    /// The highest door.
    pub const MAX_DOOR: u8 = 0x3f;

    /// At this door, this way. A door above [`Place::MAX_DOOR`] is none.
    pub fn new(door: Option<Door>, direction: Option<Direction>) -> Self {
        let door = door.map_or(0, |door| door.0);
        let way = match direction {
            None => 0,
            Some(Direction::In) => 1,
            Some(Direction::Out) => 2,
        };
        Self(if door > Self::MAX_DOOR { way << 6 } else { way << 6 | door })
    }

    /// At which door.
    pub fn door(self) -> Option<Door> {
        let door = self.0 & Self::MAX_DOOR;
        (door != 0).then_some(Door(door))
    }

    /// Which way.
    pub fn direction(self) -> Option<Direction> {
        match self.0 >> 6 {
            1 => Some(Direction::In),
            2 => Some(Direction::Out),
            _ => None,
        }
    }
}

/// What it was. Wire format: numbers are only ever added, none gets a second meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Code(pub u8);

macro_rules! codes {
    ($($number:literal $name:ident $doc:literal => $kind:expr;)*) => {
        impl Code {
            $(#[doc = $doc] pub const $name: Self = Self($number);)*

            /// Every code that has a name, with the name.
            pub const NAMED: &'static [(Self, &'static str)] = &[$((Self::$name, stringify!($name)),)*];

            fn kind(self, reason: Reason) -> Option<Kind> {
                let reason = reason.name();
                match self {
                    $(Self::$name => Some($kind(reason)),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    1 GRANTED "Somebody was let through." => |_| Kind::Granted;
    2 DENIED "Somebody was refused; the reason says why." => Kind::Denied;
    3 DOOR_OPENED "A door was opened." => |_| Kind::DoorOpened;
    4 DOOR_CLOSED "A door was closed." => |_| Kind::DoorClosed;
    5 DOOR_FORCED "A door was opened by force." => |_| Kind::DoorForced;
    6 DOOR_HELD "A door was held open too long." => |_| Kind::DoorHeld;
    7 BUTTON "A request-to-exit button let somebody out." => |_| Kind::Button;
    8 BUTTON_REFUSED "A request-to-exit button was pressed in vain." => Kind::ButtonRefused;
    9 REMOTE_OPENED "A door was opened by a command from afar." => |_| Kind::RemoteOpened;
    10 SUPERVISOR_OPENED "A door was opened with a supervisor's code." => |_| Kind::SupervisorOpened;
    11 TAMPER "The case or the wiring was tampered with." => |_| Kind::Tamper;
    12 POWER_ON "The controller was powered on." => |_| Kind::PowerOn;
    13 POWER_FAILED "The controller's power failed." => |_| Kind::PowerFailed;
    14 RESTARTED "The controller restarted; its log goes on." => |_| Kind::ControllerReset(ResetCause::Reported);
    16 FIRE "Fire." => |_| Kind::Alarm(AlarmKind::Fire);
    17 FORCED_CLOSE "A door was forced to close." => |_| Kind::Alarm(AlarmKind::ForcedClose);
    18 THEFT "Theft prevention." => |_| Kind::Alarm(AlarmKind::Theft);
    19 ZONE_24H "A zone that is watched day and night." => |_| Kind::Alarm(AlarmKind::Zone24h);
    20 EMERGENCY "Emergency call." => |_| Kind::Alarm(AlarmKind::Emergency);
    21 ALARM "An alarm that the controller does not name." => |_| Kind::Alarm(AlarmKind::Unspecified);
}

/// Why; 0 where there is nothing to say. Wire format, as [`Code`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reason(pub u8);

impl Reason {
    const NAMES: [DenyReason; 12] = [
        DenyReason::Host,
        DenyReason::NoPrivilege,
        DenyReason::WrongPin,
        DenyReason::AntiPassback,
        DenyReason::MoreCards,
        DenyReason::FirstCard,
        DenyReason::DoorLocked,
        DenyReason::Interlock,
        DenyReason::Schedule,
        DenyReason::InvalidSchedule,
        DenyReason::Offline,
        DenyReason::Threat,
    ];

    /// The number of a reason: 1 to 12 in the order of [`DenyReason`], 0 for none.
    pub fn of(name: DenyReason) -> Self {
        let at = Self::NAMES.iter().position(|each| *each == name);
        Self(at.and_then(|at| u8::try_from(at + 1).ok()).unwrap_or(0))
    }

    /// The reason of a number.
    pub fn name(self) -> DenyReason {
        let at = usize::from(self.0).checked_sub(1);
        at.and_then(|at| Self::NAMES.get(at)).copied().unwrap_or(DenyReason::Unspecified)
    }
}

/// An event: 8 bytes, and 1 to 9 more for the card number; a card of up to 34 bits makes it 12.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, by the controller's clock.
    pub at: Stamp,
    /// What.
    pub code: Code,
    /// Why.
    pub reason: Reason,
    /// At which door, which way.
    pub place: Place,
    /// Whose card; 0 for none.
    pub card: u64,
}

impl core::fmt::Debug for Event {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { at, code, reason, place, card } = self;
        let card = crate::transaction::Credential(*card);
        write!(f, "Event({}, {}/{}, {}, {card})", at.0, code.0, reason.0, place.0)
    }
}

impl Event {
    /// Encodes it; the part of `buffer` that was used.
    pub fn encode<'a>(&self, buffer: &'a mut [u8; MAX_EVENT]) -> &'a [u8] {
        // At most 17 bytes, so it always fits.
        postcard::to_slice(self, buffer).map_or(&[], |bytes| &*bytes)
    }

    /// Reads one; `None` where the fields are not there. Bytes behind them are a later version's.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::take_from_bytes(bytes).ok().map(|(event, _)| event)
    }

    /// What it was, in Postern's words.
    pub fn kind(&self) -> Kind {
        let code = u32::from(self.code.0) << 8 | u32::from(self.reason.0);
        self.code.kind(self.reason).unwrap_or(Kind::Other { code })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_event_has_twelve_bytes() {
        let event = Event {
            at: Stamp(0x3210_fedc),
            code: Code::DENIED,
            reason: Reason::of(DenyReason::Schedule),
            place: Place::new(Some(Door(3)), Some(Direction::Out)),
            card: (1 << 34) - 1,
        };
        let mut buffer = [0; MAX_EVENT];
        let bytes = event.encode(&mut buffer);
        assert_eq!(bytes, [0xdc, 0xfe, 0x10, 0x32, 2, 9, 0x83, 0xff, 0xff, 0xff, 0xff, 0x3f]);
        assert_eq!(Event::decode(bytes), Some(event));
        assert_eq!(event.kind(), Kind::Denied(DenyReason::Schedule));
        assert_eq!(
            (event.place.door(), event.place.direction()),
            (Some(Door(3)), Some(Direction::Out))
        );
    }

    #[test]
    fn every_code_and_reason_reads_back_and_unknown_ones_are_kept() {
        for code in 0..=u8::MAX {
            let event = Event {
                at: Stamp(1),
                code: Code(code),
                reason: Reason(0xc8),
                place: Place(0xc0),
                card: u64::MAX,
            };
            let mut buffer = [0; MAX_EVENT];
            assert_eq!(Event::decode(event.encode(&mut buffer)), Some(event));
            let named = Code::NAMED.iter().any(|(each, _)| each.0 == code);
            let other = Kind::Other { code: u32::from(code) << 8 | 0xc8 };
            assert_eq!(event.kind() == other, !named, "{code}");
            assert_eq!((event.place.door(), event.place.direction()), (None, None));
        }
        for number in 0..=12 {
            assert_eq!(Reason::of(Reason(number).name()).0, number);
        }
    }

    #[test]
    fn a_clock_counts_from_2000_and_knows_that_it_was_never_set() {
        assert_eq!(Stamp::UNSET.moment(), None);
        assert_eq!(Stamp(1).moment(), Some(Timestamp(946_684_801_000)));
        assert_eq!(Stamp::of(Timestamp(946_684_801_999)), Some(Stamp(1)));
        assert_eq!(Stamp::of(Timestamp(946_684_800_000)), None);
        assert_eq!(Stamp::of(Timestamp(-1)), None);
        assert_eq!(Stamp::of(Timestamp(i64::MAX)), None);
        assert_eq!(Stamp::of(Timestamp(i64::MIN)), None);
    }

    #[test]
    fn later_fields_are_ignored_and_missing_ones_refused() {
        let bytes = [1, 0, 0, 0, 1, 0, 1, 5, 99, 99];
        assert_eq!(Event::decode(&bytes).map(|event| event.card), Some(5));
        assert!((0..8).all(|length| Event::decode(&bytes[..length]).is_none()));
    }
}
