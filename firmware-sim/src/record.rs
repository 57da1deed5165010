//! The record bytes of an event: exactly what a client cuts from the reply to get-event.
//!
//! The ledger and the checker compare these bytes, so there is one function that makes them, and
//! it makes them by encoding the very reply.

use std::fmt::{self, Write as _};

use postern_protocol::uhppote::message::{record_bytes, response::GetEvent};
use postern_protocol::uhppote::{FRAME, Response, SOM};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How many bytes of a reply are the record: 8 to 27, index to reason.
pub const RECORD: usize = 20;

/// The bytes of a record. Text: 40 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Raw(pub [u8; RECORD]);

impl Raw {
    /// The bytes that the reply with this event holds.
    pub fn of(event: &GetEvent) -> Self {
        let frame = Response::GetEvent(*event).encode();
        let mut raw = [0; RECORD];
        raw.iter_mut().zip(record_bytes(&frame)).for_each(|(to, from)| *to = *from);
        Self(raw)
    }

    /// The event whose reply holds these bytes; `None` where no controller can have recorded them.
    pub fn event(&self, controller: u32) -> Option<GetEvent> {
        let mut frame = [0; FRAME];
        frame[0] = SOM;
        frame[1] = GetEvent::FUNCTION.0;
        frame[4..8].copy_from_slice(&controller.to_le_bytes());
        frame[8..28].copy_from_slice(&self.0);
        match Response::decode(&frame) {
            Ok(Response::GetEvent(event)) => Some(event),
            _ => None,
        }
    }
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A record holds a card number, which belongs into no log.
        f.write_str("Raw(..)")
    }
}

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(2 * RECORD);
        let _ = write!(text, "{self}");
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).map(Self).ok_or_else(|| de::Error::custom("expected 40 hexadecimal digits"))
    }
}

fn parse(text: &str) -> Option<[u8; RECORD]> {
    let mut digits = text.chars();
    let mut raw = [0; RECORD];
    for byte in &mut raw {
        let (high, low) = (digits.next()?.to_digit(16)?, digits.next()?.to_digit(16)?);
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    digits.next().is_none().then_some(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_frame_and_give_the_event_back() {
        let event = GetEvent {
            controller: 405_419_896,
            index: 0x0102_0304,
            event_type: 2,
            granted: true,
            door: 4,
            direction: 1,
            card: 8_165_536,
            timestamp: "2019-08-04 20:02:07".parse().unwrap(),
            reason: 6,
        };
        let raw = Raw::of(&event);
        assert_eq!(raw.0, Response::GetEvent(event).encode()[8..28]);
        assert_eq!(raw.to_string(), "0403020102010401a0987c002019080420020706");
        assert_eq!(raw.event(405_419_896), Some(event));
        let json = serde_json::to_string(&raw).unwrap();
        assert_eq!(serde_json::from_str::<Raw>(&json).unwrap(), raw);
    }

    #[test]
    fn bytes_that_are_no_record_give_no_event() {
        assert_eq!(Raw([0xff; RECORD]).event(1), None);
        for bad in ["", "00", &"0".repeat(41), &"g".repeat(40)] {
            assert!(serde_json::from_str::<Raw>(&format!("\"{bad}\"")).is_err());
        }
    }
}
