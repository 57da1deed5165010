use super::field::{Date, DateTime, FieldError, HourMinute, Pin, Time};
use super::message::{FUNCTIONS, encode_event, request, response};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::format;
use std::string::String;
use std::vec::Vec;

#[derive(serde::Deserialize)]
struct Vector {
    name: String,
    direction: String,
    message: serde_json::Value,
    frame: String,
}

#[derive(serde::Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

fn vectors() -> Vec<Vector> {
    let text = include_str!("../../vectors/uhppote.json");
    serde_json::from_str::<Vectors>(text).unwrap().vectors
}

fn bytes(hex: &str) -> Frame {
    crate::text::parse_hex(hex).unwrap()
}

#[test]
fn every_vector_encodes_and_decodes_both_ways() {
    let mut seen = BTreeSet::new();
    for vector in vectors() {
        let frame = bytes(&vector.frame);
        let (encoded, decoded) = if vector.direction == "request" {
            let message: Request = serde_json::from_value(vector.message.clone()).unwrap();
            assert_eq!(Request::decode(&frame), Ok(message), "{}", vector.name);
            seen.insert(message.function());
            (message.encode(), serde_json::to_value(Request::decode(&frame).unwrap()).unwrap())
        } else {
            let message: Response = serde_json::from_value(vector.message.clone()).unwrap();
            assert_eq!(Response::decode(&frame), Ok(message), "{}", vector.name);
            (message.encode(), serde_json::to_value(Response::decode(&frame).unwrap()).unwrap())
        };
        assert_eq!(encoded, frame, "{}: bytes", vector.name);
        assert_eq!(decoded, vector.message, "{}: values", vector.name);
    }
    assert_eq!(vectors().len(), 69);
    assert_eq!(seen, FUNCTIONS.iter().copied().collect(), "a function without a vector");
    assert_eq!(FUNCTIONS.len(), 34);
    assert_eq!(request::GetStatus::FUNCTION, frame::GET_STATUS);
}

fn event() -> Frame {
    let vector = vectors().into_iter().find(|v| v.name == "get event response").unwrap();
    bytes(&vector.frame)
}

#[test]
fn another_length_is_refused() {
    assert_eq!(Response::decode(&[]), Err(FrameError::Length { got: 0 }));
    assert_eq!(Response::decode(&event()[..63]), Err(FrameError::Length { got: 63 }));
    assert_eq!(
        Response::decode(&[event(), event()].concat()),
        Err(FrameError::Length { got: 128 })
    );
}

#[test]
fn the_other_first_byte_is_for_pushed_events_alone() {
    let mut frame = event();
    frame[0] = SOM_EVENT_V6_62;
    assert_eq!(Response::decode(&frame), Err(FrameError::StartOfMessage { got: 0x19 }));
    frame[0] = 0x18;
    assert_eq!(Response::decode(&frame), Err(FrameError::StartOfMessage { got: 0x18 }));

    let vector = vectors().into_iter().find(|v| v.name == "get status response").unwrap();
    let Ok(Response::GetStatus(status)) = Response::decode(&bytes(&vector.frame)) else { panic!() };
    for v6_62 in [false, true] {
        let pushed = encode_event(status, v6_62);
        assert_eq!(Response::decode(&pushed), Ok(Response::GetStatus(status)));
        let reply = Response::decode_reply(&pushed, response::GetStatus::FUNCTION);
        assert_eq!(reply.is_ok(), !v6_62, "a pushed event of 6.62 is no reply");
    }
}

#[test]
fn a_reply_to_another_request_is_named() {
    let wanted = request::GetTime::FUNCTION;
    let error = Response::decode_reply(&event(), wanted).unwrap_err();
    assert_eq!(error, FrameError::OtherFunction { got: Function(0xb0), wanted });
    assert_eq!(format!("{error}"), "get-event (0xb0) instead of get-time (0x32)");
}

#[test]
fn bad_fields_are_named() {
    for (offset, byte, name, error) in [
        (13, 2, "granted", FieldError::Boolean),
        (20, 0x2a, "timestamp", FieldError::Bcd),
        (22, 0x13, "timestamp", FieldError::Calendar),
        (23, 0x32, "timestamp", FieldError::Calendar),
        (24, 0x24, "timestamp", FieldError::Calendar),
    ] {
        let mut frame = event();
        frame[offset] = byte;
        let function = Function(0xb0);
        assert_eq!(Response::decode(&frame), Err(FrameError::Field { function, name, error }));
    }
    let mut frame =
        Request::RestoreDefaults(request::RestoreDefaults { controller: 1, magic: field::Magic })
            .encode();
    frame[8] = 0;
    assert!(matches!(
        Request::decode(&frame),
        Err(FrameError::Field { error: FieldError::Magic, .. })
    ));
}

#[test]
fn an_unset_clock_is_a_value() {
    let mut frame = event();
    frame[20..27].fill(0);
    let Ok(Response::GetEvent(event)) = Response::decode(&frame) else { panic!() };
    assert_eq!(event.timestamp, DateTime::UNSET);
    assert!(!event.timestamp.is_set());
}

#[test]
fn the_calendar_knows_leap_years() {
    assert!(Date::new(2024, 2, 29).is_some());
    assert!(Date::new(2023, 2, 29).is_none());
    assert!(Date::new(1900, 2, 29).is_none());
    assert!(Date::new(2000, 2, 29).is_some());
    assert!(Date::new(2022, 4, 31).is_none());
    assert!(Time::new(24, 0, 0).is_none());
    assert!("24:00".parse::<HourMinute>().is_ok());
    assert!("24:01".parse::<HourMinute>().is_err());
}

#[test]
fn a_pin_is_not_shown() {
    assert_eq!(format!("{:?}", Pin(7531)), "***");
}

#[test]
fn sentinels_are_told_by_their_type() {
    let zero = Response::GetEvent(response::GetEvent {
        controller: 1,
        index: 0,
        event_type: TYPE_NONE,
        granted: false,
        door: 0,
        direction: 0,
        card: 0,
        timestamp: DateTime::UNSET,
        reason: 0,
    });
    assert_eq!(zero.encode()[8..], [0; 56]);
    assert_eq!(Response::decode(&zero.encode()), Ok(zero));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_what_decodes_encodes_to_the_same_fields(
        mut frame in proptest::collection::vec(any::<u8>(), 64),
        function in proptest::sample::select(FUNCTIONS),
        length in 60usize..70,
    ) {
        frame[0] = SOM;
        frame[1] = function.0;
        frame.resize(length, 0);
        if let Ok(message) = Request::decode(&frame) {
            prop_assert_eq!(Request::decode(&message.encode()), Ok(message));
        }
        if let Ok(message) = Response::decode(&frame) {
            prop_assert_eq!(Response::decode(&message.encode()), Ok(message));
        }
    }

    #[test]
    fn a_changed_byte_of_a_vector_never_panics(
        which in 0usize..69, at in 0usize..64, to in any::<u8>(),
    ) {
        let mut frame = bytes(&vectors()[which].frame);
        frame[at] = to;
        let _ = Request::decode(&frame);
        let _ = Response::decode(&frame);
    }
}
