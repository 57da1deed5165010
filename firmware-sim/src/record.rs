//! The record bytes of an event: exactly what a gateway keeps of it as evidence.
//!
//! Of a UHPPOTE board that is what a client cuts from the reply to get-event; of a controller of the
//! link protocol its index as 8 bytes, least significant first, and the bytes of its log.
//!
//! The ledger and the checker compare these bytes, so there is one function for each protocol that
//! makes them; that of UHPPOTE makes them by encoding the very reply.

use std::fmt::{self, Write as _};

use postern_protocol::Index;
use postern_protocol::uhppote::message::{record_bytes, response::GetEvent};
use postern_protocol::uhppote::{FRAME, Response, SOM};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How many bytes of a reply are the record of a UHPPOTE board: 8 to 27, index to reason.
pub const RECORD: usize = 20;

/// The longest record of any protocol; what a gateway has room for.
pub const MAX_RAW: usize = 64;

/// How many bytes of a record of the link protocol are its index.
const INDEX: usize = 8;

/// The bytes of a record, at most [`MAX_RAW`]. Text: two hexadecimal digits for each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Raw {
    length: usize,
    /// Zero behind the length.
    bytes: [u8; MAX_RAW],
}

impl Raw {
    /// These bytes; `None` where they are more than [`MAX_RAW`].
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut raw = Self { length: bytes.len(), bytes: [0; MAX_RAW] };
        raw.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(raw)
    }

    /// The bytes that the reply with this event holds.
    pub fn of(event: &GetEvent) -> Self {
        let frame = Response::GetEvent(*event).encode();
        let mut raw = Self { length: RECORD, bytes: [0; MAX_RAW] };
        raw.bytes.iter_mut().zip(record_bytes(&frame)).for_each(|(to, from)| *to = *from);
        raw
    }

    /// The record of an event of the link protocol; `None` where it has more bytes than any there.
    pub fn of_link(index: Index, event: &[u8]) -> Option<Self> {
        let mut raw = Self { length: INDEX + event.len(), bytes: [0; MAX_RAW] };
        let (head, rest) = raw.bytes.split_at_mut(INDEX);
        head.copy_from_slice(&index.0.to_le_bytes());
        rest.get_mut(..event.len())?.copy_from_slice(event);
        Some(raw)
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }

    /// The event whose reply holds these bytes; `None` where no controller can have recorded them.
    pub fn event(&self, controller: u32) -> Option<GetEvent> {
        let record: &[u8; RECORD] = self.as_slice().try_into().ok()?;
        let mut frame = [0; FRAME];
        frame[0] = SOM;
        frame[1] = GetEvent::FUNCTION.0;
        frame[4..8].copy_from_slice(&controller.to_le_bytes());
        frame[8..28].copy_from_slice(record);
        match Response::decode(&frame) {
            Ok(Response::GetEvent(event)) => Some(event),
            _ => None,
        }
    }

    /// The index and the bytes of the event of the link protocol that this is the record of.
    pub fn link_event(&self) -> Option<(Index, &[u8])> {
        let (head, event) = self.as_slice().split_first_chunk::<INDEX>()?;
        Some((Index(u64::from_le_bytes(*head)), event))
    }
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
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
        let mut text = String::with_capacity(2 * self.length);
        let _ = write!(text, "{self}");
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| {
            de::Error::custom(format!("expected 2 to {} hexadecimal digits, in pairs", 2 * MAX_RAW))
        })
    }
}

fn parse(text: &str) -> Option<Raw> {
    let mut digits = text.chars();
    let mut raw = Raw { length: 0, bytes: [0; MAX_RAW] };
    while let Some(high) = digits.next() {
        let (high, low) = (high.to_digit(16)?, digits.next()?.to_digit(16)?);
        *raw.bytes.get_mut(raw.length)? = u8::try_from(high * 16 + low).ok()?;
        raw.length += 1;
    }
    (raw.length > 0).then_some(raw)
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
        assert_eq!(raw.as_slice(), &Response::GetEvent(event).encode()[8..28]);
        assert_eq!(raw.to_string(), "0403020102010401a0987c002019080420020706");
        assert_eq!(raw.event(405_419_896), Some(event));
        let json = serde_json::to_string(&raw).unwrap();
        assert_eq!(serde_json::from_str::<Raw>(&json).unwrap(), raw);
    }

    #[test]
    fn a_record_of_the_link_protocol_begins_with_its_index() {
        let raw = Raw::of_link(Index(0x0102), &[7, 8, 9]).unwrap();
        assert_eq!(raw.to_string(), "0201000000000000070809");
        assert_eq!(raw.link_event(), Some((Index(0x0102), &[7, 8, 9][..])));
        assert_eq!(serde_json::from_str::<Raw>(&format!("\"{raw}\"")).unwrap(), raw);
        assert_eq!(Raw::of_link(Index(1), &[0; MAX_RAW - INDEX + 1]), None);
        assert_eq!(raw.event(1), None, "it is none of a UHPPOTE board");
    }

    #[test]
    fn bytes_that_are_no_record_give_no_event() {
        assert_eq!(Raw::new(&[0xff; RECORD]).unwrap().event(1), None);
        assert_eq!(Raw::new(&[0; 7]).unwrap().link_event(), None);
        assert_eq!(Raw::new(&[0; MAX_RAW + 1]), None);
        for bad in ["", "0", &"0".repeat(41), &"g".repeat(40), &"0".repeat(130)] {
            assert!(serde_json::from_str::<Raw>(&format!("\"{bad}\"")).is_err());
        }
    }
}
