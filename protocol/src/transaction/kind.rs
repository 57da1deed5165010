//! What a transaction was. The order of variants is wire format: add at the end, never in between.

// Named by what `ToSchema` derives.
#[cfg(feature = "schema")]
use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::id::{EpochId, Index};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Somebody was let through.
    Granted,
    /// Somebody was refused.
    Denied(DenyReason),
    /// A door was opened.
    DoorOpened,
    /// A door was closed.
    DoorClosed,
    /// A door was opened by force.
    DoorForced,
    /// A door was held open too long.
    DoorHeld,
    /// A request-to-exit button let somebody out.
    Button,
    /// A request-to-exit button was pressed in vain.
    ButtonRefused(DenyReason),
    /// A door was opened by a command from afar.
    RemoteOpened,
    /// A door was opened with a supervisor's code.
    SupervisorOpened,
    /// An alarm input.
    Alarm(AlarmKind),
    /// The controller's case or wiring was tampered with.
    Tamper,
    /// The controller was powered on.
    PowerOn,
    /// The controller's power failed.
    PowerFailed,
    /// A controller restarted, or its log began anew; in the latter case an epoch begins here.
    ControllerReset(ResetCause),
    /// The controller's clock was set, by so many seconds.
    ClockSet {
        /// New reading less old reading, in seconds.
        step_s: i64,
    },
    /// Records that were gone before anyone read them.
    Gap(Gap),
    /// The driver knows no name for this code of the controller; the raw record has all of it.
    Other {
        /// The controller's code.
        code: u32,
    },
    /// Somebody showed a card, and whoever read it does not say what came of that.
    CardRead {
        /// Whether it may be the same showing as the one before it of this card at this reader: the reader was not told
        /// in time that it had been kept.
        may_repeat: bool,
    },
}

impl Kind {
    /// The version of the encoding that has it.
    pub(super) const fn version(self) -> u8 {
        match self {
            Self::CardRead { .. } => 2,
            Self::Granted
            | Self::Denied(_)
            | Self::DoorOpened
            | Self::DoorClosed
            | Self::DoorForced
            | Self::DoorHeld
            | Self::Button
            | Self::ButtonRefused(_)
            | Self::RemoteOpened
            | Self::SupervisorOpened
            | Self::Alarm(_)
            | Self::Tamper
            | Self::PowerOn
            | Self::PowerFailed
            | Self::ControllerReset(_)
            | Self::ClockSet { .. }
            | Self::Gap(_)
            | Self::Other { .. } => 1,
        }
    }
}

/// Why somebody was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DenyReason {
    /// The host that decides for the controller refused.
    Host,
    /// No access right for this door.
    NoPrivilege,
    /// Wrong code.
    WrongPin,
    /// Anti-passback.
    AntiPassback,
    /// More cards are needed.
    MoreCards,
    /// The first card of the day has not been seen.
    FirstCard,
    /// The door is set to stay closed.
    DoorLocked,
    /// Another door is open.
    Interlock,
    /// Outside the allowed times.
    Schedule,
    /// The time profile is invalid.
    InvalidSchedule,
    /// The controller was off line.
    Offline,
    /// A threat level forbids it.
    Threat,
    /// Refused, and the controller does not say why.
    Unspecified,
}

/// Which alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AlarmKind {
    /// Fire.
    Fire,
    /// A door was forced to close.
    ForcedClose,
    /// Theft prevention.
    Theft,
    /// A zone that is watched day and night.
    Zone24h,
    /// Emergency call.
    Emergency,
    /// An alarm the controller does not name.
    Unspecified,
}

/// How a restart came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ResetCause {
    /// The controller recorded that it restarted; its log goes on.
    Reported,
    /// The gateway saw that the log began anew: the epoch named by the origin follows this one.
    LogRestarted {
        /// The epoch that ended.
        predecessor: EpochId,
    },
}

/// A range of indices that nobody read before it was gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Gap {
    /// The first lost index.
    pub first: Index,
    /// The last lost index; `None` where the log ended at an index that nobody knows.
    pub last: Option<Index>,
    /// Why they are gone.
    pub reason: GapReason,
    /// Whether what follows is known to be the same life of the log.
    pub continuity: Continuity,
}

impl Gap {
    /// How many records are missing; `None` where that cannot be known.
    pub fn count(&self) -> Option<u64> {
        self.last.map(|last| (last.0 + 1).saturating_sub(self.first.0))
    }
}

/// Why records are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// The controller overwrote them while the gateway was away or slow.
    Overwritten,
    /// The controller had overwritten them before the gateway first met it.
    BeforeFirstContact,
    /// The log was emptied or replaced; what it held past the last record read is not known.
    EpochEnded,
    /// The controller says again and again that it has no such record, though it holds older and newer ones.
    Unreadable,
}

/// Whether a gap's far side is known to belong to the same life of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Continuity {
    /// The record before it was read again and had not changed; or the controller names the lives of its log,
    /// and named the same one.
    Proven,
    /// That record was overwritten too, or never known.
    Unproven,
}
