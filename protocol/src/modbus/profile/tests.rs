use alloc::string::ToString;
use alloc::vec;

use serde_json::{Value, json};

use super::*;

fn profile(value: Value) -> Profile {
    serde_json::from_value(value).unwrap()
}

/// A reader that keeps one card and a flag, with a contact, a button and a lock: as an Inveo RFID has them.
fn latch() -> Value {
    json!({
        "model": "a reader with a latch",
        "restarted": {"table": "coil", "address": 1_005},
        "readers": [{
            "door": 1,
            "events": {"latch": {"flag": {"table": "coil", "address": 1_004}}},
            "card": {"address": 1_000, "count": 5, "format": "raw"},
        }],
        "doors": [{
            "door": 1,
            "contact": {"table": "discrete_input", "address": 1_001, "when": false},
            "button": {"table": "discrete_input", "address": 1_002},
            "relay": {"table": "coil", "address": 1_000},
        }],
    })
}

/// A reader that counts, as an rf IDEAS does.
fn sequence() -> Value {
    json!({
        "model": "a reader with a sequence number",
        "gap": 1,
        "readers": [{
            "door": 1,
            "events": {"sequence": {"counter": {"table": "input_register", "address": 0}}},
            "card": {
                "table": "input_register", "address": 3, "count": 16, "format": "wiegand26",
                "bits": {"table": "input_register", "address": 2},
            },
        }],
    })
}

fn ring() -> Value {
    json!({
        "model": "a controller with a ring",
        "readers": [{
            "door": 1,
            "events": {"ring": {
                "counter": {"table": "holding_register", "address": 0},
                "table": "holding_register", "first": 100, "records": 32, "words": 6,
            }},
            "card": {"address": 2, "count": 4, "format": "raw"},
        }],
    })
}

fn problems(value: Value) -> Vec<String> {
    let problems = profile(value).check().unwrap_err();
    problems.iter().map(Problem::to_string).collect()
}

#[test]
fn one_look_takes_few_requests() {
    let block = |table, address, count| Block::new(table, address, count).unwrap();
    let asked = |value| profile(value).check().unwrap().requests.to_vec();
    assert_eq!(
        asked(latch()),
        [
            block(Table::Coil, 1_000, 1),
            block(Table::Coil, 1_004, 2),
            block(Table::DiscreteInput, 1_001, 2),
            block(Table::HoldingRegister, 1_000, 5),
        ]
    );
    // The register between them means something else, and may be read: counter and card are of one moment.
    assert_eq!(asked(sequence()), [block(Table::InputRegister, 0, 19)]);
    assert_eq!(asked(ring()), [block(Table::HoldingRegister, 0, 1)]);
}

#[test]
fn what_is_wrong_is_said_where_it_is() {
    let changed = |mut value: Value, path: &str, new: Value| {
        *value.pointer_mut(path).unwrap() = new;
        value
    };
    let (latch_of, card) = ("/readers/0/events/latch", "/readers/0/card");
    let flag = |table: &str| json!({"flag": {"table": table, "address": 1_004}});
    for (value, expected) in [
        (json!({"model": "nothing"}), "the profile: it has neither readers nor doors"),
        (changed(latch(), "/readers/0/door", json!(0)), "reader 1: doors count from 1"),
        (
            changed(latch(), "/doors/0", json!({"door": 1})),
            "door 1: it has no contact, no relay and no button",
        ),
        (
            changed(latch(), latch_of, flag("discrete_input")),
            "reader 1: its flag cannot be cleared there: it has to be a coil or a holding_register",
        ),
        (
            changed(
                latch(),
                latch_of,
                json!({"flag": {"table": "coil", "address": 1_004}, "clear": 1}),
            ),
            "reader 1: what is written to clear its flag is what says that there is a card",
        ),
        (
            changed(
                latch(),
                latch_of,
                json!({"flag": {"table": "coil", "address": 1_004}, "clear": 2}),
            ),
            "reader 1: what clears a coil is 0 or 1",
        ),
        (
            changed(latch(), "/restarted/address", json!(1_004)),
            "reader 1: coil 1004 and coil 1004 mean the same",
        ),
        (
            changed(sequence(), &[card, "/address"].concat(), json!(2)),
            "reader 1: input_register 2 and input_register 2 to 17 mean the same",
        ),
        (
            changed(sequence(), &[card, "/count"].concat(), json!(25)),
            "reader 1: a card has 1 to 24 registers",
        ),
        (
            changed(latch(), &[card, "/address"].concat(), json!(65_533)),
            "reader 1: the card's registers: it goes beyond address 65535",
        ),
        (
            changed(ring(), &[card, "/address"].concat(), json!(3)),
            "reader 1: its card is not within a record of the ring",
        ),
        (
            changed(ring(), "/readers/0/events/ring/counter/address", json!(291)),
            "reader 1: holding_register 291 and holding_register 100 to 291 mean the same",
        ),
    ] {
        assert_eq!(problems(value), [expected]);
    }
    let uneven = changed(ring(), "/readers/0/events/ring/records", json!(100));
    assert!(problems(uneven)[0].contains("65536 has to be a multiple"));
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let door = json!({"door": 2, "contact": {"table": "coil", "address": 7}});
    let value = json!({
        "model": "all at once",
        "readers": [{
            "door": 0,
            "events": {"sequence": {"counter": {"table": "coil", "address": 0}}},
            "card": {"table": "coil", "address": 3, "count": 1, "format": "raw"},
        }],
        "doors": [door, door],
    });
    let expected = vec![
        "reader 1: doors count from 1",
        "reader 1: a card is in registers: input_register or holding_register",
        "reader 1: a counter, or a number of bits, is in registers: input_register or holding_register",
        "door 2: it stands there twice",
        "door 2: coil 7 and coil 7 mean the same",
    ];
    assert_eq!(problems(value), expected);
    let many: Vec<Value> = (1..=17).map(|number| json!({"door": number})).collect();
    let value = json!({"model": "too many", "doors": many});
    assert_eq!(problems(value), ["the profile: it has more than 16 readers, or doors"]);
}

#[test]
fn a_word_that_means_nothing_is_refused() {
    for wrong in [
        json!({"model": "m", "door": []}),
        json!({"model": "m", "doors": [{"door": 1, "contact": {"table": "relay", "address": 0}}]}),
        json!({"model": "m", "doors": [{"door": 1, "contact": {"table": "coil", "address": 65_536}}]}),
    ] {
        assert!(serde_json::from_value::<Profile>(wrong).is_err());
    }
}

/// Regression: the flags of a profile needed one request together with what lies between them and 36 alone, so that it was
/// checked and its first log could not be read; the next one was collected in its name.
#[test]
fn what_one_log_needs_too_many_requests_for_by_itself_is_refused() {
    let table = Table::HoldingRegister;
    let flag = |address| Some(Flag { table, address, when: true });
    let door = |number: u8| {
        let at = u16::from(number - 1) * 6;
        let (contact, relay, button) = (flag(at), flag(at + 2), flag(at + 4));
        let (debounce_ms, grant_ms, held_ms) = (50, 5_000, None);
        DoorPoints { door: number, contact, relay, button, debounce_ms, grant_ms, held_ms }
    };
    let reader = |number: u8| {
        let at = u16::from(number - 1) * 6;
        let card = json!({ "address": at + 3, "count": 1, "format": "raw",
            "bits": { "table": "holding_register", "address": at + 5 } });
        let counter = Place { table, address: at + 1 };
        let card = serde_json::from_value(card).unwrap();
        Reader { door: 1, direction: None, events: Events::Sequence { counter }, card }
    };
    let (readers, doors) = ((1..=12).map(reader).collect(), (1..=12).map(door).collect());
    let profile = Profile { model: "x".into(), gap: 0, restarted: None, readers, doors };
    let problem = Problem { part: Part::Profile, what: Wrong::Requests(TooMany) };
    assert_eq!(profile.check(), Err(vec![problem]));
}

/// Regression: the last register of a ring over a whole table was counted as none of it.
#[test]
fn a_ring_over_a_whole_table_overlaps_a_counter_in_it() {
    let table = Table::HoldingRegister;
    let card = json!({ "address": 0, "count": 2, "format": "raw" });
    let counter = Place { table, address: 65_535 };
    let events = Events::Ring { counter, first: 0, records: 32_768, words: 2, table };
    let card = serde_json::from_value(card).unwrap();
    let readers = vec![Reader { door: 1, direction: None, events, card }];
    let profile =
        Profile { model: "x".into(), gap: 0, restarted: None, readers, doors: Vec::new() };
    assert!(profile.check().is_err());
}

#[test]
fn a_time_that_no_door_has_is_refused() {
    let mut profile = Profile {
        model: "x".into(),
        gap: 0,
        restarted: None,
        readers: Vec::new(),
        doors: vec![
            serde_json::from_value(
                json!({ "door": 1, "relay": { "table": "coil", "address": 0 } }),
            )
            .unwrap(),
        ],
    };
    assert!(profile.check().is_ok());
    profile.doors[0].debounce_ms = MAX_DEBOUNCE_MS + 1;
    let problem = Problem { part: Part::Door(1), what: Wrong::Times };
    assert_eq!(profile.check(), Err(vec![problem]));
}
