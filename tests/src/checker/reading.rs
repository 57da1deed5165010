//! What a controller's bytes say, read by the checker itself: a record whose bytes are right can
//! still have been read wrong on its way.

use postern_protocol::link::event::Event;
use postern_protocol::transaction::{Credential, Direction, Door};
use postern_protocol::uhppote::message::response::GetEvent;
use postern_protocol::uhppote::{FRAME, Response, SOM, reason};
use postern_protocol::{Index, Kind, Protocol};

use super::evidence::Row;

/// Where the record lies in the reply to get-event.
const RECORD: std::ops::Range<usize> = 8..28;

/// What is told of a record besides its bytes.
#[derive(Debug, PartialEq, Eq)]
struct Reading {
    kind: Kind,
    door: Option<Door>,
    direction: Option<Direction>,
    credential: Option<Credential>,
}

/// Whether a row tells of its bytes what they say. Bytes that no driver can read are not told
/// rightly by anything.
pub(super) fn is_read_right(row: &Row) -> bool {
    let told = Reading {
        kind: row.kind,
        door: row.door,
        direction: row.direction,
        credential: row.credential,
    };
    let said = match row.controller.protocol {
        Protocol::Uhppote => of_board(row.raw.as_slice()),
        Protocol::Link => of_link(row.raw.as_slice(), row.index),
        // What its registers mean is for its profile to say, which is not evidence.
        Protocol::Modbus => return true,
    };
    said.is_some_and(|said| said == told)
}

/// The index, least significant byte first, and the bytes of the controller's log.
fn of_link(raw: &[u8], index: Option<Index>) -> Option<Reading> {
    let (number, event) = raw.split_first_chunk()?;
    if index != Some(Index(u64::from_le_bytes(*number))) {
        return None;
    }
    let event = Event::decode(event)?;
    Some(Reading {
        kind: event.kind(),
        door: event.place.door(),
        direction: event.place.direction(),
        credential: (event.card != 0).then_some(Credential(event.card)),
    })
}

fn of_board(raw: &[u8]) -> Option<Reading> {
    let mut frame = [0; FRAME];
    let [som, function, ..] = &mut frame;
    (*som, *function) = (SOM, GetEvent::FUNCTION.0);
    let place = frame.get_mut(RECORD)?;
    if raw.len() != place.len() {
        return None;
    }
    place.copy_from_slice(raw);
    let Ok(Response::GetEvent(event)) = Response::decode(&frame) else { return None };
    Some(Reading {
        kind: reason::kind(&event),
        door: reason::door(&event),
        direction: reason::direction(&event),
        // A record without a card has card number 0.
        credential: (event.card != 0).then(|| Credential(u64::from(event.card))),
    })
}
