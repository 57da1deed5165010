//! The table of functions: every request and response with the place and type of each field.
//!
//! Types, both directions of the codec and the names in diagnostics are made from this one table,
//! so that they cannot disagree. The macro also proves at compile time that every field lies
//! within the frame.

use core::fmt;
use core::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::field::{Date, DateTime, Field, HourMinute, Mac, Magic, Pin, ShortDate, Time, Version};
use super::frame::{FRAME, Frame, FrameError, Function, SOM, SOM_EVENT_V6_62, peek};

macro_rules! message {
    ($name:ident, $code:literal, $label:literal, { $($field:ident: $type:ty = $offset:literal),* $(,)? }) => {
        #[doc = concat!("`", $label, "`; fields in the order of the frame.")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(missing_docs, reason = "field names are the documentation of this wire format")]
        pub struct $name {
            pub controller: u32,
            $(pub $field: $type,)*
        }

        impl $name {
            /// The function code.
            pub const FUNCTION: Function = Function($code);

            const WITHIN_FRAME: () = {
                $(assert!($offset >= 8 && $offset + <$type as Field>::SIZE <= FRAME);)*
            };

            pub(super) fn read(frame: &Frame, controller: u32) -> Result<Self, FrameError> {
                let () = Self::WITHIN_FRAME;
                let _ = frame;
                Ok(Self {
                    controller,
                    $($field: <$type>::read(frame, $offset).map_err(|error| FrameError::Field {
                        function: Self::FUNCTION,
                        name: stringify!($field),
                        error,
                    })?,)*
                })
            }

            pub(super) fn frame(self) -> Frame {
                let mut frame = [0; FRAME];
                SOM.write(&mut frame, 0);
                Self::FUNCTION.0.write(&mut frame, 1);
                self.controller.write(&mut frame, 4);
                $(self.$field.write(&mut frame, $offset);)*
                frame
            }
        }
    };
}

macro_rules! direction {
    ($(#[$doc:meta])* $enum:ident in $module:ident: $($name:ident $code:literal $label:literal $fields:tt)*) => {
        /// One type for each message of this direction.
        pub mod $module {
            #[allow(clippy::wildcard_imports, reason = "the table's own vocabulary")]
            use super::*;

            $(message!($name, $code, $label, $fields);)*
        }

        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        #[allow(missing_docs, reason = "named after the functions")]
        pub enum $enum {
            $($name($module::$name),)*
        }

        impl $enum {
            /// The function code.
            pub fn function(&self) -> Function {
                match self { $(Self::$name(_) => $module::$name::FUNCTION,)* }
            }

            /// The serial number that the message is to, or from.
            pub fn controller(&self) -> u32 {
                match self { $(Self::$name(message) => message.controller,)* }
            }

            /// The frame.
            pub fn encode(&self) -> Frame {
                match self { $(Self::$name(message) => message.frame(),)* }
            }

            /// Reads any message of this direction. Never panics, whatever the bytes.
            pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
                let (frame, function, controller) = peek(bytes)?;
                match function.0 {
                    $($code => $module::$name::read(frame, controller).map(Self::$name),)*
                    _ => Err(FrameError::UnknownFunction { got: function }),
                }
            }
        }
    };
}

/// Splits the table by direction.
macro_rules! functions {
    ($($name:ident = $code:literal $label:literal {
        request $request:tt
        $(response $response:tt)?
    })*) => {
        direction! {
            /// What a host asks of a controller.
            Request in request: $($name $code $label $request)*
        }

        functions!(@responses [] $($name $code $label [$($response)?])*);

        /// The name of a function of the table.
        pub fn name_of(function: Function) -> Option<&'static str> {
            match function.0 { $($code => Some($label),)* _ => None }
        }

        /// Every function code of the table.
        pub const FUNCTIONS: &[Function] = &[$(Function($code)),*];
    };
    (@responses [$($done:tt)*] $name:ident $code:literal $label:literal [] $($rest:tt)*) => {
        functions!(@responses [$($done)*] $($rest)*);
    };
    (@responses [$($done:tt)*] $name:ident $code:literal $label:literal [$fields:tt] $($rest:tt)*) => {
        functions!(@responses [$($done)* $name $code $label $fields] $($rest)*);
    };
    (@responses [$($done:tt)*]) => {
        direction! {
            /// What a controller answers.
            Response in response: $($done)*
        }
    };
}

functions! {
    GetStatus = 0x20 "get-status" {
        request {}
        response {
            event_index: u32 = 8, event_type: u8 = 12, event_granted: bool = 13,
            event_door: u8 = 14, event_direction: u8 = 15, event_card: u32 = 16,
            event_timestamp: DateTime = 20, event_reason: u8 = 27,
            door_1_open: bool = 28, door_2_open: bool = 29,
            door_3_open: bool = 30, door_4_open: bool = 31,
            door_1_button: bool = 32, door_2_button: bool = 33,
            door_3_button: bool = 34, door_4_button: bool = 35,
            system_error: u8 = 36, system_time: Time = 37, sequence: u32 = 40,
            special_info: u8 = 48, relays: u8 = 49, inputs: u8 = 50, system_date: ShortDate = 51,
        }
    }
    SetTime = 0x30 "set-time" {
        request { datetime: DateTime = 8 }
        response { datetime: DateTime = 8 }
    }
    GetTime = 0x32 "get-time" {
        request {}
        response { datetime: DateTime = 8 }
    }
    OpenDoor = 0x40 "open-door" {
        request { door: u8 = 8 }
        response { ok: bool = 8 }
    }
    PutCard = 0x50 "put-card" {
        request {
            card: u32 = 8, start_date: Date = 12, end_date: Date = 16,
            door_1: u8 = 20, door_2: u8 = 21, door_3: u8 = 22, door_4: u8 = 23, pin: Pin = 24,
        }
        response { ok: bool = 8 }
    }
    DeleteCard = 0x52 "delete-card" {
        request { card: u32 = 8 }
        response { ok: bool = 8 }
    }
    DeleteCards = 0x54 "delete-cards" {
        request { magic: Magic = 8 }
        response { ok: bool = 8 }
    }
    GetCards = 0x58 "get-cards" {
        request {}
        response { cards: u32 = 8 }
    }
    GetCard = 0x5a "get-card-by-id" {
        request { card: u32 = 8 }
        response {
            card: u32 = 8, start_date: Date = 12, end_date: Date = 16,
            door_1: u8 = 20, door_2: u8 = 21, door_3: u8 = 22, door_4: u8 = 23, pin: Pin = 24,
        }
    }
    GetCardByIndex = 0x5c "get-card-by-index" {
        request { index: u32 = 8 }
        response {
            card: u32 = 8, start_date: Date = 12, end_date: Date = 16,
            door_1: u8 = 20, door_2: u8 = 21, door_3: u8 = 22, door_4: u8 = 23, pin: Pin = 24,
        }
    }
    SetDoor = 0x80 "set-door" {
        request { door: u8 = 8, mode: u8 = 9, delay: u8 = 10 }
        response { door: u8 = 8, mode: u8 = 9, delay: u8 = 10 }
    }
    GetDoor = 0x82 "get-door" {
        request { door: u8 = 8 }
        response { door: u8 = 8, mode: u8 = 9, delay: u8 = 10 }
    }
    SetAntipassback = 0x84 "set-antipassback" {
        request { antipassback: u8 = 8 }
        response { ok: bool = 8 }
    }
    GetAntipassback = 0x86 "get-antipassback" {
        request {}
        response { antipassback: u8 = 8 }
    }
    SetTimeProfile = 0x88 "set-time-profile" {
        request {
            profile: u8 = 8, start_date: Date = 9, end_date: Date = 13,
            monday: bool = 17, tuesday: bool = 18, wednesday: bool = 19, thursday: bool = 20,
            friday: bool = 21, saturday: bool = 22, sunday: bool = 23,
            segment_1_start: HourMinute = 24, segment_1_end: HourMinute = 26,
            segment_2_start: HourMinute = 28, segment_2_end: HourMinute = 30,
            segment_3_start: HourMinute = 32, segment_3_end: HourMinute = 34,
            linked_profile: u8 = 36,
        }
        response { ok: bool = 8 }
    }
    ClearTimeProfiles = 0x8a "clear-time-profiles" {
        request { magic: Magic = 8 }
        response { ok: bool = 8 }
    }
    SetDoorPasscodes = 0x8c "set-door-passcodes" {
        request {
            door: u8 = 8, passcode_1: Pin = 12, passcode_2: Pin = 16,
            passcode_3: Pin = 20, passcode_4: Pin = 24,
        }
        response { ok: bool = 8 }
    }
    RecordSpecialEvents = 0x8e "record-special-events" {
        request { enabled: bool = 8 }
        response { ok: bool = 8 }
    }
    SetListener = 0x90 "set-listener" {
        request { address: Ipv4Addr = 8, port: u16 = 12, interval: u8 = 14 }
        response { ok: bool = 8 }
    }
    GetListener = 0x92 "get-listener" {
        request {}
        response { address: Ipv4Addr = 8, port: u16 = 12, interval: u8 = 14 }
    }
    GetController = 0x94 "get-controller" {
        request {}
        response {
            address: Ipv4Addr = 8, netmask: Ipv4Addr = 12, gateway: Ipv4Addr = 16,
            mac: Mac = 20, version: Version = 26, date: Date = 28,
        }
    }
    SetAddress = 0x96 "set-address" {
        request { address: Ipv4Addr = 8, netmask: Ipv4Addr = 12, gateway: Ipv4Addr = 16, magic: Magic = 20 }
    }
    GetTimeProfile = 0x98 "get-time-profile" {
        request { profile: u8 = 8 }
        response {
            profile: u8 = 8, start_date: Date = 9, end_date: Date = 13,
            monday: bool = 17, tuesday: bool = 18, wednesday: bool = 19, thursday: bool = 20,
            friday: bool = 21, saturday: bool = 22, sunday: bool = 23,
            segment_1_start: HourMinute = 24, segment_1_end: HourMinute = 26,
            segment_2_start: HourMinute = 28, segment_2_end: HourMinute = 30,
            segment_3_start: HourMinute = 32, segment_3_end: HourMinute = 34,
            linked_profile: u8 = 36,
        }
    }
    SetPcControl = 0xa0 "set-pc-control" {
        request { magic: Magic = 8, enabled: bool = 12 }
        response { ok: bool = 8 }
    }
    SetInterlock = 0xa2 "set-interlock" {
        request { interlock: u8 = 8 }
        response { ok: bool = 8 }
    }
    ActivateKeypads = 0xa4 "activate-keypads" {
        request { reader_1: bool = 8, reader_2: bool = 9, reader_3: bool = 10, reader_4: bool = 11 }
        response { ok: bool = 8 }
    }
    ClearTaskList = 0xa6 "clear-task-list" {
        request { magic: Magic = 8 }
        response { ok: bool = 8 }
    }
    AddTask = 0xa8 "add-task" {
        request {
            start_date: Date = 8, end_date: Date = 12,
            monday: bool = 16, tuesday: bool = 17, wednesday: bool = 18, thursday: bool = 19,
            friday: bool = 20, saturday: bool = 21, sunday: bool = 22,
            start_time: HourMinute = 23, door: u8 = 25, task: u8 = 26, more_cards: u8 = 27,
        }
        response { ok: bool = 8 }
    }
    SetFirstCard = 0xaa "set-first-card" {
        request {
            door: u8 = 8, start_time: HourMinute = 9, active_mode: u8 = 11,
            end_time: HourMinute = 12, inactive_mode: u8 = 14,
            monday: bool = 15, tuesday: bool = 16, wednesday: bool = 17, thursday: bool = 18,
            friday: bool = 19, saturday: bool = 20, sunday: bool = 21,
        }
        response { ok: bool = 8 }
    }
    RefreshTaskList = 0xac "refresh-task-list" {
        request { magic: Magic = 8 }
        response { ok: bool = 8 }
    }
    GetEvent = 0xb0 "get-event" {
        request { index: u32 = 8 }
        response {
            index: u32 = 8, event_type: u8 = 12, granted: bool = 13, door: u8 = 14,
            direction: u8 = 15, card: u32 = 16, timestamp: DateTime = 20, reason: u8 = 27,
        }
    }
    SetEventIndex = 0xb2 "set-event-index" {
        request { index: u32 = 8, magic: Magic = 12 }
        response { ok: bool = 8 }
    }
    GetEventIndex = 0xb4 "get-event-index" {
        request {}
        response { index: u32 = 8 }
    }
    RestoreDefaults = 0xc8 "restore-default-parameters" {
        request { magic: Magic = 8 }
        response { ok: bool = 8 }
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match name_of(*self) {
            Some(name) => write!(f, "{name} ({:#04x})", self.0),
            None => write!(f, "function {:#04x}", self.0),
        }
    }
}

/// The part of a get-event reply that is the record itself, for evidence and comparison: index to
/// reason, as they stood in the frame. A status reply and a pushed event hold the same bytes.
pub fn record_bytes(frame: &Frame) -> &[u8] {
    frame.get(8..28).unwrap_or_default()
}

/// Encodes a status as the event that boards push; firmware 6.62 uses another first byte.
pub fn encode_event(status: response::GetStatus, v6_62: bool) -> Frame {
    let mut frame = status.frame();
    if v6_62 {
        SOM_EVENT_V6_62.write(&mut frame, 0);
    }
    frame
}

impl Response {
    /// Reads the reply to a request of `wanted`; another function is named, not decoded.
    pub fn decode_reply(bytes: &[u8], wanted: Function) -> Result<Self, FrameError> {
        let (_, got, _) = peek(bytes)?;
        if got != wanted {
            return Err(FrameError::OtherFunction { got, wanted });
        }
        if bytes.first() != Some(&SOM) {
            return Err(FrameError::StartOfMessage { got: SOM_EVENT_V6_62 });
        }
        Self::decode(bytes)
    }
}
