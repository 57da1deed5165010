use super::*;
use crate::id::{ControllerId, EpochId, Index};
use proptest::prelude::*;
use std::format;
use std::vec::Vec;

fn swipe() -> Transaction {
    Transaction {
        origin: Origin::Controller {
            controller: ControllerId::uhppote(405_419_896),
            epoch: EpochId([0x11; 16]),
            index: Index(37),
        },
        kind: Kind::Granted,
        occurred: Occurred {
            at: Some(Timestamp(1_660_000_000_000)),
            source: TimeSource::Controller,
            trust: TimeTrust::Exact,
        },
        received: Timestamp(1_660_000_000_500),
        door: Some(Door(4)),
        direction: Some(Direction::In),
        credential: Some(Credential(8_165_536)),
        raw: RawRecord::new(&[0xab; 20]).unwrap(),
    }
}

fn encoded(transaction: &Transaction) -> Vec<u8> {
    transaction.encode(&mut [0; MAX_ENTRY]).unwrap().to_vec()
}

/// Golden bytes of version 1: do not change this test.
#[test]
fn version_1_stays_readable() {
    let golden = concat!(
        "01",                               // version
        "00",                               // origin: controller
        "01f8eea8c101",                     // uhppote, serial
        "11111111111111111111111111111111", // epoch
        "25",                               // index
        "00",                               // kind: granted
        "0180e0aefbcf60",                   // occurred at
        "00",                               // by the controller's clock
        "00",                               // exact
        "e8e7aefbcf60",                     // received
        "0104",                             // door
        "0100",                             // in
        "01a0b1f203",                       // credential
        "14abababababababababababababababababababab"
    );
    assert_eq!(format!("{}", Hex(&encoded(&swipe()))), golden);
    assert_eq!(Transaction::decode(&encoded(&swipe())), Ok(swipe()));
}

fn card_read() -> Transaction {
    Transaction {
        origin: Origin::Controller {
            controller: ControllerId::modbus_reader(80_001, 2),
            epoch: EpochId([0x11; 16]),
            index: Index(37),
        },
        kind: Kind::CardRead { may_repeat: true },
        occurred: Occurred::seen(Timestamp(1_660_000_000_000), Some(250)),
        ..swipe()
    }
}

/// Golden bytes of version 2: do not change this test.
#[test]
fn version_2_stays_readable() {
    let golden = concat!(
        "02",                               // version
        "00",                               // origin: controller
        "0381f1848020",                     // modbus, reader and serial
        "11111111111111111111111111111111", // epoch
        "25",                               // index
        "1201",                             // kind: card read, may repeat
        "0180e0aefbcf60",                   // occurred at
        "01",                               // by the gateway's clock
        "04fa01",                           // within 250 ms
        "e8e7aefbcf60",                     // received
        "0104",                             // door
        "0100",                             // in
        "01a0b1f203",                       // credential
        "14abababababababababababababababababababab"
    );
    assert_eq!(format!("{}", Hex(&encoded(&card_read()))), golden);
    assert_eq!(Transaction::decode(&encoded(&card_read())), Ok(card_read()));
}

/// An entry is compared by its bytes: there is one way to write it, which the oldest reader understands.
#[test]
fn a_transaction_has_one_encoding() {
    for (transaction, other) in [(swipe(), 2), (card_read(), 1)] {
        let mut bytes = encoded(&transaction);
        bytes[0] = other;
        assert_eq!(Transaction::decode(&bytes), Err(DecodeError::Malformed));
    }
}

#[test]
fn how_far_a_time_is_trusted_is_a_word() {
    for (trust, text) in [
        (TimeTrust::Exact, "exact"),
        (TimeTrust::Ambiguous, "ambiguous"),
        (TimeTrust::Skipped, "skipped"),
        (TimeTrust::Absent, "absent"),
        (TimeTrust::Within { ms: 250 }, "within_250_ms"),
        (TimeTrust::Before, "before"),
    ] {
        assert_eq!(serde_json::to_string(&trust).unwrap(), format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<TimeTrust>(&format!("\"{text}\"")).unwrap(), trust);
    }
    for text in ["", "Exact", "within_ms", "within__ms", "within_+1_ms", "within_4294967296_ms"] {
        assert!(text.parse::<TimeTrust>().is_err(), "{text}");
    }
}

#[test]
fn a_newer_version_is_told_from_garbage() {
    let mut bytes = encoded(&swipe());
    bytes[0] = version::CURRENT + 1;
    assert_eq!(Transaction::decode(&bytes), Err(DecodeError::Newer { version: 3 }));
    bytes[0] = 0;
    assert_eq!(Transaction::decode(&bytes), Err(DecodeError::Malformed));
    assert_eq!(Transaction::decode(&[]), Err(DecodeError::Malformed));
}

#[test]
fn trailing_bytes_are_refused() {
    let mut bytes = encoded(&swipe());
    bytes.push(0);
    assert_eq!(Transaction::decode(&bytes), Err(DecodeError::Malformed));
}

#[test]
fn the_widest_transaction_fits() {
    let widest = Transaction {
        origin: Origin::Gateway {
            controller: ControllerId { serial: u64::MAX, ..ControllerId::uhppote(0) },
            epoch: EpochId([0xff; 16]),
            after: Index(u64::MAX),
        },
        kind: Kind::Gap(Gap {
            first: Index(u64::MAX),
            last: Some(Index(u64::MAX)),
            reason: GapReason::EpochEnded,
            continuity: Continuity::Unproven,
        }),
        occurred: Occurred::noted(Timestamp(i64::MIN)),
        received: Timestamp(i64::MIN),
        door: Some(Door(255)),
        direction: Some(Direction::Out),
        credential: Some(Credential(u64::MAX)),
        raw: RawRecord::new(&[0xff; MAX_RAW]).unwrap(),
    };
    assert!(encoded(&widest).len() <= 196, "{}", encoded(&widest).len());
    assert_eq!(Transaction::decode(&encoded(&widest)), Ok(widest));
}

#[test]
fn json_is_for_people_and_reads_back() {
    let text = serde_json::to_string(&swipe()).unwrap();
    assert!(text.contains("\"uhppote-405419896\""), "{text}");
    assert!(text.contains("\"kind\":\"granted\""), "{text}");
    assert_eq!(serde_json::from_str::<Transaction>(&text).unwrap(), swipe());
}

#[test]
fn no_card_number_reaches_a_debug_text() {
    let text = format!("{:?} {}", swipe(), Credential(8_165_536));
    assert!(!text.contains("8165536") && !text.contains("abab"), "{text}");
    assert!(text.contains("*36"), "{text}");
}

#[test]
fn the_compared_bytes_leave_out_when_it_was_received() {
    let later = Transaction { received: Timestamp(0), ..swipe() };
    assert_eq!(later.record_digest(), swipe().record_digest());
    let other = Transaction { raw: RawRecord::new(&[0xac; 20]).unwrap(), ..swipe() };
    assert_ne!(other.record_digest(), swipe().record_digest());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(transaction) = Transaction::decode(&bytes) {
            prop_assert!(transaction.encode(&mut [0; MAX_ENTRY]).is_ok());
        }
    }

    #[test]
    fn a_flipped_byte_never_panics(at in 0usize..80, to in any::<u8>()) {
        let mut bytes = encoded(&swipe());
        if let Some(byte) = bytes.get_mut(at) {
            *byte = to;
        }
        let _ = Transaction::decode(&bytes);
    }
}
