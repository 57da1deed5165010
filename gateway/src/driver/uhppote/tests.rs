use super::*;
use postern_protocol::uhppote::field::DateTime;

const SERIAL: u32 = 405_419_896;

fn event(index: u32, event_type: u8) -> Frame {
    Response::GetEvent(response::GetEvent {
        controller: SERIAL,
        index,
        event_type,
        granted: event_type == 1,
        door: 1,
        direction: 1,
        card: 8_165_538,
        timestamp: "2026-11-01 12:00:00".parse::<DateTime>().unwrap(),
        reason: 1,
    })
    .encode()
}

fn asked(index: u32, bytes: &[u8]) -> (bool, LineCounters) {
    let mut counters = LineCounters::default();
    (accept(&mut counters, SERIAL, index, bytes).is_some(), counters)
}

#[test]
fn a_record_answers_only_the_index_that_it_carries() {
    assert!(asked(7, &event(7, 1)).0);
    let (accepted, counters) = asked(8, &event(7, 1));
    assert!(!accepted);
    assert_eq!(counters.unexpected, 1);
    assert!(asked(OLDEST, &event(7, 1)).0);
    assert!(asked(NEWEST, &event(7, 1)).0);
}

#[test]
fn sentinels_answer_any_index() {
    for sentinel in [event(0, TYPE_NONE), event(0, TYPE_OVERWRITTEN)] {
        assert!(asked(7, &sentinel).0);
    }
    assert!(!asked(7, &event(0, 1)).0, "index 0 with a real type is no sentinel");
}

#[test]
fn every_kind_of_bad_frame_is_refused_and_counted() {
    type Counter = fn(&LineCounters) -> u64;
    let mut start = event(7, 1);
    start[0] = 0x18;
    let mut late_event = event(7, 1);
    late_event[0] = 0x19;
    let mut foreign = event(7, 1);
    foreign[4] ^= 1;
    let mut boolean = event(7, 1);
    boolean[13] = 2;
    let mut bcd = event(7, 1);
    bcd[21] = 0xaa;
    let mut function = event(7, 1);
    function[1] = 0xb4;
    let cases: [(&str, Vec<u8>, Counter); 9] = [
        ("short", event(7, 1)[..63].to_vec(), |c| c.bad_length),
        ("long", [&event(7, 1)[..], &[0]].concat(), |c| c.bad_length),
        ("empty", Vec::new(), |c| c.bad_length),
        ("first byte", start.to_vec(), |c| c.bad_start),
        ("first byte of an event", late_event.to_vec(), |c| c.bad_start),
        ("foreign serial number", foreign.to_vec(), |c| c.foreign),
        ("boolean", boolean.to_vec(), |c| c.bad_field),
        ("BCD", bcd.to_vec(), |c| c.bad_field),
        ("other function", function.to_vec(), |c| c.unexpected),
    ];
    for (name, bytes, counter) in cases {
        let (accepted, counters) = asked(7, &bytes);
        assert!(!accepted, "{name}");
        assert_eq!(counter(&counters), 1, "{name}");
    }
}
