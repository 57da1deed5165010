//! What a controller of the link says, in Postern's words.

use std::borrow::Cow;

use postern_protocol::link::event::{Event, Stamp};
use postern_protocol::link::gateway::Failure;
use postern_protocol::transaction::{Credential, Occurred, RawRecord, TimeSource, TimeTrust};
use postern_protocol::{Digest, EpochId, Index, Kind};

use crate::driver::{DriverError, Reading, Record};

/// An event as a record. Its evidence is the index, 8 bytes, least significant first, and the event's own
/// bytes: two swipes of one card within a second are two records.
///
/// `None` where the bytes are too many to be an event.
pub fn record(index: Index, bytes: &[u8]) -> Option<Record> {
    let raw = RawRecord::new(&[&index.0.to_le_bytes(), bytes].concat())?;
    let Some(event) = Event::decode(bytes) else {
        // Kept as it is; the first byte is all that may be known of it.
        let code = bytes.first().copied().map_or(0, u32::from);
        return Some(Record {
            index,
            kind: Kind::Other { code },
            occurred: Occurred::ABSENT,
            or_at: None,
            door: None,
            direction: None,
            credential: None,
            raw,
        });
    };
    Some(Record {
        index,
        kind: event.kind(),
        occurred: occurred(event.at),
        or_at: None,
        door: event.place.door(),
        direction: event.place.direction(),
        credential: (event.card != 0).then_some(Credential(event.card)),
        raw,
    })
}

fn occurred(at: Stamp) -> Occurred {
    match at.moment() {
        Some(at) => {
            Occurred { at: Some(at), source: TimeSource::Controller, trust: TimeTrust::Exact }
        }
        None => Occurred::ABSENT,
    }
}

/// What a life of a controller's log is called outside of its link: bound to the controller, so that none
/// can name a life of another's log, by a bad source of randomness or on purpose. `returns` says how often it
/// went back under that name, which it should not.
pub fn epoch(serial: u32, named: EpochId, returns: u8) -> EpochId {
    let returns = [returns];
    let returns = if returns == [0] { &[][..] } else { &returns[..] };
    let parts = [&serial.to_le_bytes()[..], &named.0, returns];
    let Digest(digest) = Digest::of("postern link epoch", &parts);
    // The first half of 32 bytes.
    EpochId(digest.first_chunk().copied().unwrap_or_default())
}

/// What a clock reads.
pub(super) fn reading(clock: Stamp) -> Reading {
    clock.moment().map_or(Reading::Unset, |at| Reading::At { at, or_at: None })
}

/// A text from the wire: without what a terminal would obey.
pub(super) fn printable(text: &str) -> Cow<'static, str> {
    let text = text.chars().map(|letter| if letter.is_control() { '?' } else { letter });
    Cow::Owned(text.collect())
}

/// Why a controller could not be talked to. Another life of its log is no failure of a driver.
pub(super) fn error(failure: Failure) -> DriverError {
    match failure {
        Failure::Silent | Failure::Unknown => DriverError::TimedOut,
        Failure::Broken => DriverError::Damaged,
        Failure::Serial { found } => DriverError::OtherController { found },
        Failure::Key => DriverError::WrongKey,
        Failure::Security { is_keyed: true } => DriverError::Keyed,
        Failure::Security { is_keyed: false } => DriverError::Unkeyed,
        Failure::Version => DriverError::Version,
        Failure::Refused(_) | Failure::TooLong { .. } => DriverError::Refused,
        Failure::NoSession | Failure::Nonsense | Failure::Life { .. } => DriverError::Nonsense,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_protocol::Timestamp;
    use postern_protocol::link::event::{Code, MAX_EVENT, Place, Reason};
    use postern_protocol::transaction::{DenyReason, Door};

    #[test]
    fn an_event_becomes_a_record_with_its_index_in_the_evidence() {
        let event = Event {
            at: Stamp(1),
            code: Code::DENIED,
            reason: Reason::of(DenyReason::Schedule),
            place: Place::new(Some(Door(3)), None),
            card: 77,
        };
        let mut buffer = [0; MAX_EVENT];
        let bytes = event.encode(&mut buffer);
        let record = record(Index(0x0102), bytes).unwrap();
        assert_eq!(record.raw.as_slice(), [&[2, 1, 0, 0, 0, 0, 0, 0], bytes].concat());
        assert_eq!(record.kind, Kind::Denied(DenyReason::Schedule));
        assert_eq!(record.occurred.at, Some(Timestamp(946_684_801_000)));
        assert_eq!((record.door, record.credential), (Some(Door(3)), Some(Credential(77))));
    }

    #[test]
    fn what_is_no_event_is_kept_as_its_bytes() {
        let record = record(Index(9), &[200, 1]).unwrap();
        assert_eq!(record.kind, Kind::Other { code: 200 });
        assert_eq!(record.raw.as_slice().len(), 10);
        assert_eq!(record.occurred, Occurred::ABSENT);
        assert_eq!(printable("a\u{1b}[2J\nb"), "a?[2J?b");
    }

    /// The definition in `docs/protocol.md`: do not change this test.
    #[test]
    fn lives_of_two_logs_never_have_one_name() {
        let named = EpochId([1; 16]);
        assert_eq!(epoch(70_001, named, 0).to_string(), "664fc517506604d130fe5bd125caada7");
        assert_ne!(epoch(70_001, named, 0), epoch(70_002, named, 0));
        assert_ne!(epoch(70_001, named, 0), epoch(70_001, named, 1));
        assert_ne!(epoch(70_001, named, 0), epoch(70_001, EpochId([2; 16]), 0));
    }

    #[test]
    fn a_clock_that_was_never_set_gives_no_time() {
        assert_eq!(reading(Stamp::UNSET), Reading::Unset);
        assert_eq!(occurred(Stamp::UNSET), Occurred::ABSENT);
    }
}
