//! Version 1 as bytes: `vectors/link-v1.json`, and the same bytes in `docs/protocol.md`.
//!
//! Do not change this test: controllers that were built after these bytes are in the field. What is
//! added to the protocol is added here and to the file, behind what is there; what is changed is another
//! version, with a file of its own (`docs/protocol.md` §10).

use std::boxed::Box;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::format;
use std::string::String;
use std::vec::Vec;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::event::{Code, Event, MAX_EVENT, Place, Reason, Stamp};
use super::frame::{self, From, Header, Kind};
use super::message::{
    Flags, Hello, Identity, MAX_PROLOGUE, Opening, Present, Prologue, Refusal, Reply, Request,
    Status, Table, Welcome, runs,
};
use crate::id::EpochId;
use crate::transaction::{DenyReason, Direction, Door};

const FILE: &str = include_str!("../../vectors/link-v1.json");
const PAGE: &str = include_str!("../../../docs/protocol.md");

const EPOCH: EpochId = EpochId([
    0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
]);
const SERIAL: u32 = 70_001;
const ADDRESS: u8 = 5;
const PRESENT: Present = Present { min: 1, max: 1, serial: SERIAL, wire: 256, is_keyed: true };

fn file() -> Value {
    serde_json::from_str(FILE).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn unhex(text: &str) -> Vec<u8> {
    assert_eq!(text.len() % 2, 0, "{text}");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// A row of the file, and how its bytes are read back.
struct Row {
    row: Value,
    reads_back: Box<dyn Fn(&'static [u8])>,
}

/// A value as people read it: what a clock reads as one number, not as its four bytes.
fn readable<T: Serialize>(value: &T) -> Value {
    let mut value = serde_json::to_value(value).unwrap();
    let inner = if value.as_object().is_some_and(|fields| fields.len() == 1) {
        value.as_object_mut().and_then(|fields| fields.values_mut().next())
    } else {
        Some(&mut value)
    };
    for (name, field) in inner.and_then(Value::as_object_mut).into_iter().flatten() {
        if name == "at" || name == "clock" {
            let bytes: [u8; 4] = serde_json::from_value(field.take()).unwrap();
            *field = u32::from_le_bytes(bytes).into();
        }
    }
    value
}

/// Any type of §4: what it says, in words, and its bytes.
fn message<T>(kind: &str, name: &str, value: T) -> Row
where
    T: Serialize + Deserialize<'static> + PartialEq + Debug + 'static,
{
    let bytes = postcard::to_slice(&value, &mut [0; 256]).unwrap().to_vec();
    let row = json!({
        "kind": kind, "name": name, "value": readable(&value), "hex": hex(&bytes),
    });
    let reads_back = Box::new(move |bytes: &'static [u8]| {
        let (read, rest) = postcard::take_from_bytes::<T>(bytes).unwrap();
        assert_eq!((&read, rest), (&value, &[][..]));
        // What a later version puts behind it is passed over.
        let longer: &'static [u8] = Box::leak([bytes, &[0xee]].concat().into_boxed_slice());
        assert_eq!(postcard::take_from_bytes::<T>(longer).unwrap(), (read, &[0xee][..]));
    });
    Row { row, reads_back }
}

fn messages() -> Vec<Row> {
    let request = |name, value: Request<'static>| message("request", name, value);
    let reply = |name, value: Reply<'static>| message("reply", name, value);
    let refusal = |name, value: Refusal| message("refusal", name, value);
    let status = Status {
        clock: Stamp(840_000_000),
        oldest: 99_937,
        committed: 99_999,
        newest: 100_000,
        overwritten: 3,
        flags: Flags(Flags::TAMPER | Flags::RESTARTED),
        settings: 4,
        cards: 300,
        role_term: 7,
    };
    let identity = Identity {
        serial: SERIAL,
        model: "Portier 2",
        firmware: "1.4.0",
        doors: 2,
        capacity: 100_000,
    };
    std::vec![
        message("hello", "Hello", Hello { min: 1, max: 1 }),
        message("present", "Present", PRESENT),
        message("opening", "Noise", Opening::Noise { version: 1 }),
        message("opening", "Plain", Opening::Plain { version: 1, token: 0x1234_5678 }),
        message("welcome", "Welcome", Welcome { epoch: EPOCH, oldest: 99_937, newest: 100_000 }),
        message("prologue", "Prologue", Prologue::new(ADDRESS, PRESENT, 1)),
        request("Poll", Request::Poll { committed: 99_999, skip: 0, room: 980 }),
        request("Poll, ahead", Request::Poll { committed: 99_000, skip: 300, room: 64 }),
        request("Identify", Request::Identify),
        request("Status", Request::Status),
        request("Doors", Request::Doors),
        request("SetTime", Request::SetTime { at: Stamp(840_000_000), ms: 250 }),
        request(
            "Page",
            Request::Page {
                role_term: 7,
                table: Table::Cards,
                generation: 301,
                page: 0,
                pages: 2,
                bytes: b"\x01\x02\x03",
            },
        ),
        request("OpenDoor", Request::OpenDoor { role_term: 7, door: 2, ms: 5_000 }),
        reply("Events, none", Reply::Events { lost: 0, behind: 0, flags: Flags(0) }),
        reply("Events", Reply::Events { lost: 36, behind: 300, flags: Flags(Flags::TAMPER) }),
        reply("Identity", Reply::Identity(identity)),
        reply("Status", Reply::Status(status)),
        reply("Doors", Reply::Doors(&[0, 3])),
        reply("Done", Reply::Done),
        reply("Staged", Reply::Staged { next: 1 }),
        reply("Refused", Reply::Refused(Refusal::Door)),
        refusal("Unknown", Refusal::Unknown),
        refusal("Malformed", Refusal::Malformed),
        refusal("NoSession", Refusal::NoSession),
        refusal("Key", Refusal::Key),
        refusal("Version", Refusal::Version),
        refusal("Security", Refusal::Security),
        refusal("Index", Refusal::Index),
        refusal("RoleTerm", Refusal::RoleTerm { highest: 7 }),
        refusal("Generation", Refusal::Generation { present: 300 }),
        refusal("Page", Refusal::Page { next: 1 }),
        refusal("Door", Refusal::Door),
        refusal("Memory", Refusal::Memory),
        refusal("Busy", Refusal::Busy),
    ]
}

/// Events, oldest first, as a page holds them.
fn events() -> Vec<(&'static str, Event)> {
    let at = Stamp(840_000_000);
    let place = Place::new(Some(Door(2)), Some(Direction::In));
    let swipe = Event { at, code: Code::GRANTED, reason: Reason(0), place, card: 0x2_0000_0001 };
    std::vec![
        ("granted", swipe),
        (
            "denied, schedule",
            Event {
                code: Code::DENIED,
                reason: Reason::of(DenyReason::Schedule),
                card: 0x2_0000_0002,
                ..swipe
            },
        ),
        (
            "powered on, clock unset",
            Event {
                at: Stamp::UNSET,
                code: Code::POWER_ON,
                place: Place::default(),
                card: 0,
                ..swipe
            },
        ),
        (
            "door opened",
            Event {
                code: Code::DOOR_OPENED,
                place: Place::new(Some(Door(2)), None),
                card: 0,
                ..swipe
            },
        ),
        (
            "code unknown to version 1",
            Event { code: Code(200), reason: Reason(3), card: u64::MAX, ..swipe },
        ),
    ]
}

fn event_bytes(event: &Event) -> Vec<u8> {
    event.encode(&mut [0; MAX_EVENT]).to_vec()
}

fn event_rows() -> Vec<Value> {
    let row = |(name, event): &(&str, Event)| json!({ "name": name, "value": readable(event), "hex": hex(&event_bytes(event)) });
    events().iter().map(row).collect()
}

fn page() -> Vec<u8> {
    let mut buffer = [0; 256];
    let mut writer = runs::Writer::new(&mut buffer);
    assert!(events().iter().all(|(_, event)| writer.push(&event_bytes(event))));
    let used = writer.length();
    buffer[..used].to_vec()
}

/// Headers, and frames that try what COBS does.
fn headers() -> Vec<Header> {
    let header = |address, from, kind, sequence| Header { address, from, kind, sequence };
    std::vec![
        header(1, From::Gateway, Kind::Hello, 0),
        header(ADDRESS, From::Station, Kind::Hello, 1),
        header(ADDRESS, From::Gateway, Kind::Open, 2),
        header(ADDRESS, From::Gateway, Kind::Sealed, 31),
        header(126, From::Station, Kind::Plain, 7),
        header(ADDRESS, From::Station, Kind::Refused, 30),
    ]
}

fn header_rows() -> Vec<Value> {
    let row = |header: &Header| {
        json!({
            "address": header.address,
            "from": format!("{:?}", header.from),
            "kind": format!("{:?}", header.kind),
            "sequence": header.sequence,
            "hex": hex(&header.encode()),
        })
    };
    headers().iter().map(row).collect()
}

fn frames() -> Vec<(&'static str, Vec<u8>)> {
    // 248 bytes of body make a block of 254 with header and checksum, which ends without a code byte.
    let full = |length: usize| [&[0x05, 0x41][..], &std::vec![0x11; length]].concat();
    std::vec![
        ("a hello", std::vec![0x05, 0x01, 0x01, 0x01]),
        ("zeros", std::vec![0x05, 0x41, 0x00, 0x00, 0x07, 0x00]),
        ("a block that is full", full(248)),
        ("one byte more", full(249)),
    ]
}

fn frame_rows() -> Vec<Value> {
    let row = |(name, plain): &(&str, Vec<u8>)| {
        let mut wire = [0; 512];
        let used = frame::encode(plain, &mut wire).unwrap();
        json!({ "name": name, "plain": hex(plain), "hex": hex(&wire[..used]) })
    };
    frames().iter().map(row).collect()
}

fn rows(part: &str) -> Vec<Value> {
    file()[part].as_array().unwrap().clone()
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap()
}

#[test]
fn headers_and_frames_are_what_the_file_says_and_read_back() {
    assert_eq!(rows("headers"), header_rows());
    for (row, header) in rows("headers").iter().zip(headers()) {
        let bytes = unhex(text(row, "hex"));
        assert_eq!(Header::decode(bytes.try_into().unwrap()), Some(header));
    }
    assert_eq!(rows("frames"), frame_rows());
    for row in rows("frames") {
        let wire = unhex(text(&row, "hex"));
        let mut between = wire[1..wire.len() - 1].to_vec();
        assert_eq!(hex(frame::decode(&mut between).unwrap().1), text(&row, "plain"));
        // Other encoders put an empty block behind one that is full and last: the same frame.
        let mut other = [&wire[1..wire.len() - 1], &[1]].concat();
        let read = frame::decode(&mut other).map(|(_, plain)| hex(plain));
        let is_full = wire.len() == 2 + 255;
        assert_eq!(read.is_ok_and(|read| read == text(&row, "plain")), is_full);
    }
}

#[test]
fn messages_are_what_the_file_says_and_read_back() {
    let (messages, file) = (messages(), rows("messages"));
    assert_eq!(file.len(), messages.len());
    for (row, message) in file.iter().zip(messages) {
        assert_eq!(*row, message.row);
        (message.reads_back)(Box::leak(unhex(text(row, "hex")).into_boxed_slice()));
    }
}

#[test]
fn events_and_a_page_of_them_are_what_the_file_says_and_read_back() {
    assert_eq!(rows("events"), event_rows());
    for (row, (_, event)) in rows("events").iter().zip(events()) {
        assert_eq!(Event::decode(&unhex(text(row, "hex"))), Some(event));
    }
    let bytes = unhex(text(&file(), "page"));
    assert_eq!(bytes, page());
    let read: Vec<Event> =
        runs::Reader::new(&bytes).map(|each| Event::decode(each).unwrap()).collect();
    assert_eq!(read, events().iter().map(|(_, event)| *event).collect::<Vec<_>>());
    assert!(runs::Reader::new(&bytes).is_whole());
}

#[test]
fn a_prologue_is_what_both_sides_compute() {
    let encoded = hex(Prologue::new(ADDRESS, PRESENT, 1).encode(&mut [0; MAX_PROLOGUE]));
    let row = rows("messages").into_iter().find(|row| text(row, "kind") == "prologue").unwrap();
    assert_eq!(text(&row, "hex"), encoded);
}

/// All that stands in `hex` fields, the page and the sessions.
fn vectors(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) if name == "hex" || name == "page" => {
                        found.insert(text.into());
                    }
                    _ => vectors(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| vectors(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What the page shows as bytes: its blocks of `hex`, and the last column of tables that head it `hex`.
fn shown() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let (mut block, mut is_table) = (None::<String>, false);
    for line in PAGE.lines() {
        if let Some(part) = &mut block {
            if line == "```" {
                found.extend(block.take());
            } else {
                part.extend(line.split_whitespace());
            }
            continue;
        }
        let last = line.strip_suffix(" |").and_then(|line| line.rsplit(" | ").next());
        match last {
            None => is_table = false,
            Some("hex") => is_table = true,
            Some(cell) if is_table && !cell.starts_with("---") => {
                found.insert(cell.trim_matches('`').into());
            }
            Some(_) => {}
        }
        if line == "```hex" {
            block = Some(String::new());
        }
    }
    found
}

#[test]
fn the_page_shows_the_bytes_of_the_file_and_no_others() {
    let mut known = BTreeSet::new();
    vectors(&file(), &mut known);
    let shown = shown();
    assert_eq!(known.difference(&shown).collect::<Vec<_>>(), Vec::<&String>::new(), "not shown");
    assert_eq!(shown.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new(), "not known");
}

#[cfg(feature = "link-gateway")]
mod session;
