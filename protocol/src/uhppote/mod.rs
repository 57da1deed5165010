//! The wire of UHPPOTE UT0311-L0x controllers: 64-byte frames over UDP or TCP.
//!
//! - `answer`: which reply answers which request.
//! - `frame`: length, first byte, function, serial number: what can be said before the meaning.
//! - `field`: the field types: integers, BCD dates, addresses; each knows its width.
//! - [`message`]: ONE table of all functions, requests and responses, from which the types and both
//!   directions of the codec are made.
//! - [`reason`]: what a recorded event means in Postern's words.
//!
//! Facts: no checksum, no authentication, no request identifier. A late reply is told from the
//! present one by its fields alone, which is the caller's business.

mod answer;
pub mod field;
mod frame;
pub mod message;
pub mod reason;

pub use frame::{FRAME, Frame, FrameError, Function, SOM, SOM_EVENT_V6_62, peek};
pub use message::{Request, Response};

/// The UDP and TCP port that boards listen on.
pub const PORT: u16 = 60_000;

/// The index that asks `get-event` for the oldest record.
pub const OLDEST: u32 = 0;

/// The index that asks `get-event` for the newest record.
pub const NEWEST: u32 = u32::MAX;

/// The event type of the sentinel that stands for a record overwritten long ago.
pub const TYPE_OVERWRITTEN: u8 = 0xff;

/// The event type of the all-zero record past the newest.
pub const TYPE_NONE: u8 = 0;

#[cfg(test)]
mod tests;
