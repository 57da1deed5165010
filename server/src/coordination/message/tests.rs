//! Bytes that are read as messages.

use openraft::raft::AppendEntriesRequest;
use openraft::{Entry, EntryPayload, LeaderId, LogId};
use proptest::prelude::*;

use super::*;
use crate::coordination::Words;
use crate::role::conformance::{document, version};

fn append(document: SignedRole) -> Envelope {
    let word = || "x".repeat(2_000);
    let why = Words { at_ms: 1, actor: word(), event: word(), subject: word(), detail: word() };
    let command =
        Command::Raise { version: version(1, 0).into(), role: document, why: why.bounded() };
    let log_id = LogId::new(LeaderId::new(1, 1), 0);
    let body = Body::Append(AppendEntriesRequest {
        vote: Vote::new_committed(1, 1),
        prev_log_id: None,
        entries: vec![Entry { log_id, payload: EntryPayload::Normal(command) }],
        leader_commit: None,
    });
    Envelope { from: Some(1), to: Some(2), session: u128::MAX, body }
}

#[test]
fn the_longest_document_fits_a_message_with_room_to_spare() {
    let mark = "x".repeat(MAX_DOCUMENT - document(version(1, 0), "").document.len());
    let longest = document(version(1, 0), &mark);
    assert_eq!(longest.document.len(), MAX_DOCUMENT);
    let bytes = encode(&append(longest)).unwrap();
    // Its signature is as long as the document, which no real one is.
    assert!(bytes.len() < MAX_MESSAGE * 2 / 3, "{} bytes", bytes.len());
    let command = |role| {
        let version = version(1, 0).into();
        Command::Raise { version, role, why: Words::default() }
    };
    assert_eq!(command(document(version(1, 0), &mark)).check(), Ok(()));
    let longer = document(version(1, 0), &(mark.clone() + "x"));
    assert!(command(longer).check().is_err());
    let certificate = postern_protocol::uplink::Bytes(vec![1; MAX_COMMAND]);
    let longer = SignedRole { certificate, ..document(version(1, 0), "x") };
    assert!(command(longer).check().is_err());
    let read: Envelope = decode(&bytes).unwrap();
    assert!(matches!(read.body, Body::Append(request) if request.entries.len() == 1));
}

#[test]
fn a_term_is_heard_that_years_alone_can_have_come_to_and_none_that_nobody_can() {
    let at = |term| Position { term, voted_for: 1, ..Position::default() };
    let heard = |own, term| counted(own, &Vote::new(term, 2), None).is_ok();
    // A voter that was alone for ten years.
    assert!(heard(at(5), 10 * 366 * 24 * 3_600 * 1_000 / 400));
    assert!(heard(at(5), 0));
    assert!(heard(at(5), 5 + MAX_STEP - 1));
    assert!(!heard(at(5), 5 + MAX_STEP));
    for own in [at(MAX_COUNT - MAX_STEP), at(MAX_COUNT - 1), at(MAX_COUNT), at(MAX_COUNT + 9)] {
        assert!(heard(own, MAX_COUNT - 1));
        for beyond in [MAX_COUNT, MAX_COUNT + 1, u64::MAX] {
            assert!(!heard(own, beyond));
        }
    }
    // Of whatever a voter that has no term yet takes, the others can count on.
    assert!(heard(Position::default(), MAX_COUNT / 2 - 1));
    assert!(!heard(Position::default(), MAX_COUNT / 2));
}

#[test]
fn what_is_too_long_is_not_sent_and_what_follows_is_not_ignored() {
    assert_eq!(encode(&vec![7_u8; MAX_MESSAGE]), None);
    let mut bytes = encode(&append(document(version(1, 0), "x"))).unwrap();
    assert!(decode::<Envelope>(&bytes).is_ok());
    bytes.push(0);
    assert_eq!(decode::<Envelope>(&bytes).err(), Some(Refused::Malformed("something follows it")));
    bytes.pop();
    bytes[0] = VERSION + 1;
    let other = Refused::Malformed("it is of another version");
    assert_eq!(decode::<Envelope>(&bytes).err(), Some(other));
}

proptest! {
    #[test]
    fn no_bytes_do_more_than_be_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut versioned = vec![VERSION];
        versioned.extend(&bytes);
        for bytes in [&bytes, &versioned] {
            if let Ok(Envelope { body, .. }) = decode::<Envelope>(bytes) {
                let _ = body.check(Position::default());
            }
            let _ = decode::<Answer>(bytes);
            let _ = decode::<Told>(bytes);
        }
    }

    #[test]
    fn a_message_with_wrong_bytes_is_another_one_or_refused(
        wrong in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = encode(&append(document(version(1, 0), "x"))).unwrap();
        for (at, byte) in wrong {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(Envelope { body, .. }) = decode::<Envelope>(&bytes) {
            let _ = body.check(Position::default());
        }
    }
}
