//! A device at its wire: what is read, what is refused, and what the ledger has of it.

use std::time::Duration;

use jiff::Timestamp;
use postern_protocol::modbus::builtin::BUILT_IN;
use postern_protocol::modbus::profile::Profile;
use postern_protocol::transaction::Credential;
use proptest::prelude::*;

use super::request::{MAX_PDU, is_read};
use super::rtu::{self, Assembly};
use super::tcp::{self, Header};
use super::*;
use crate::ledger::{Line, ModbusLine, Source, What};

const RING: &str = r#"
model = "a controller with a ring"
[[readers]]
door = 1
events = { ring = { counter = { table = "input_register", address = 0 }, table = "input_register", first = 100, records = 4, words = 3 } }
card = { table = "input_register", address = 1, count = 2, format = "wiegand26" }
"#;

/// What is 0 while it is so, for a change.
const TURNED: &str = r#"
model = "a reader whose flags are the other way round"
restarted = { table = "holding_register", address = 9, when = false }
[[readers]]
door = 1
events = { latch = { flag = { table = "holding_register", address = 8, when = false }, clear = 1 } }
card = { address = 0, count = 4, format = "raw", words = "low" }
[[doors]]
door = 1
contact = { table = "discrete_input", address = 0, when = false }
relay = { table = "holding_register", address = 7, when = false }
"#;

fn profile(text: &str) -> Profile {
    let built_in = BUILT_IN.iter().find(|(name, _)| *name == text);
    toml::from_str(built_in.map_or(text, |(_, text)| text)).unwrap()
}

/// A device with its ledger.
struct Bench {
    unit: Unit,
    truth: Vec<Line>,
}

impl Bench {
    fn new(text: &str) -> Self {
        let mut bench = Self { unit: Unit::new(device(text)), truth: Vec::new() };
        bench.power_on();
        bench
    }

    fn power_on(&mut self) {
        self.unit.device_mut().power_on(Timestamp::UNIX_EPOCH, &mut self.truth).unwrap();
    }

    fn swipe(&mut self, card: u64) {
        let (card, now) = (Credential(card), Timestamp::UNIX_EPOCH);
        self.unit.device_mut().swipe(1, card, now, &mut self.truth).unwrap();
    }

    fn turn(&mut self, door: u8, point: Point, on: bool) -> Vec<What> {
        let now = Timestamp::UNIX_EPOCH;
        let shown = self.unit.device_mut().turn(door, point, on, now, &mut self.truth).unwrap();
        shown.iter().map(|line| line.what).collect()
    }

    /// The answer of a device that behaves.
    fn ask(&mut self, request: &[u8]) -> Vec<u8> {
        let device = self.unit.device_mut();
        device.answer(request, Timestamp::UNIX_EPOCH, &mut self.truth).unwrap().unwrap()
    }

    /// What one that may misbehave says on a serial line.
    fn hear(&mut self, request: &[u8]) -> Reaction {
        let now = Timestamp::UNIX_EPOCH;
        self.unit.on_request(1, request, rtu::frame, now, &mut self.truth).unwrap()
    }

    fn bytes(&mut self, request: &[u8]) -> Vec<u8> {
        match self.hear(request) {
            Reaction::Bytes { bytes, .. } => bytes,
            other @ (Reaction::Silence | Reaction::HangUp { .. }) => panic!("{other:?}"),
        }
    }

    fn registers(&mut self, function: u8, address: u16, count: u16) -> Vec<u16> {
        let [a, b] = address.to_be_bytes();
        let [c, d] = count.to_be_bytes();
        let answer = self.ask(&[function, a, b, c, d]);
        assert_eq!(answer[..2], [function, u8::try_from(count * 2).unwrap()]);
        answer[2..].as_chunks().0.iter().map(|word| u16::from_be_bytes(*word)).collect()
    }

    fn lines(&self) -> Vec<ModbusLine> {
        let line = |line: &Line| match line {
            Line::Modbus(line) => *line,
            Line::Event(_) | Line::Restart(_) => panic!("{line:?}"),
        };
        self.truth.iter().map(line).collect()
    }

    fn whats(&self) -> Vec<What> {
        self.lines().iter().map(|line| line.what).collect()
    }
}

fn device(text: &str) -> Device {
    let profile = profile(text);
    let setup = Setup { seed: 7, serial: 70_101, unit: 1, profile, cards: vec![1] };
    Device::new(setup).unwrap()
}

#[test]
fn what_is_asked_wrongly_is_refused_as_the_specification_says() {
    let mut bench = Bench::new("inveo-rfid");
    for (request, answer) in [
        // Functions that a device may not know.
        (&[7][..], &[0x87, 1][..]),
        (&[0x18, 0, 0], &[0x98, 1]),
        (&[0x80, 0, 0, 0, 1], &[0x80, 1]),
        // Counts.
        (&[1, 3, 0xe8, 0, 0], &[0x81, 3]),
        (&[1, 3, 0xe8, 0x07, 0xd1], &[0x81, 3]),
        (&[3, 3, 0xe8, 0, 126], &[0x83, 3]),
        (&[3, 3, 0xe8, 0, 125], &[0x83, 2]),
        // Lengths.
        (&[3], &[0x83, 3]),
        (&[3, 3, 0xe8, 0], &[0x83, 3]),
        (&[3, 3, 0xe8, 0, 5, 0], &[0x83, 3]),
        (&[16, 0, 0, 0, 2, 4, 0, 1], &[0x90, 3]),
        (&[15, 3, 0xec, 0, 9, 1, 0], &[0x8f, 3]),
        (&[15, 3, 0xec, 0, 0, 0], &[0x8f, 3]),
        // Addresses: nothing is there, or a part of it.
        (&[1, 0, 0, 0, 1], &[0x81, 2]),
        (&[1, 3, 0xea, 0, 2], &[0x81, 2]),
        (&[2, 3, 0xe9, 0, 1], &[0x82, 2]),
        (&[3, 3, 0xe8, 0, 6], &[0x83, 2]),
        (&[4, 3, 0xe8, 0, 1], &[0x84, 2]),
        (&[3, 0xff, 0xff, 0, 2], &[0x83, 2]),
        // A value that no coil has.
        (&[5, 3, 0xec, 0, 1], &[0x85, 3]),
        // What cannot be written: inputs, though they are among the coils, and the card.
        (&[5, 3, 0xe9, 0xff, 0], &[0x85, 2]),
        (&[6, 3, 0xe8, 0, 1], &[0x86, 2]),
        (&[15, 3, 0xe8, 0, 2, 1, 3], &[0x8f, 2]),
    ] {
        assert_eq!(bench.ask(request), answer, "{request:x?}");
    }
    assert_eq!(bench.whats(), [What::Started], "nothing of that happened");
}

#[test]
fn what_is_asked_rightly_is_answered() {
    let mut bench = Bench::new("inveo-rfid");
    bench.swipe(0x0a_bcde);
    bench.turn(1, Point::Contact, true);
    for (request, answer) in [
        (&[1, 3, 0xe8, 0, 3][..], &[1, 1, 0b010][..]),
        (&[1, 3, 0xec, 0, 2], &[1, 1, 0b11]),
        (&[3, 3, 0xe8, 0, 5], &[3, 10, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0xbc, 0xde]),
        // Writing answers with what was asked for.
        (&[5, 3, 0xe8, 0xff, 0], &[5, 3, 0xe8, 0xff, 0]),
        (&[1, 3, 0xe8, 0, 1], &[1, 1, 1]),
        (&[15, 3, 0xec, 0, 2, 1, 0], &[15, 3, 0xec, 0, 2]),
        (&[1, 3, 0xec, 0, 2], &[1, 1, 0]),
    ] {
        assert_eq!(bench.ask(request), answer, "{request:x?}");
    }
    let whats = [What::Started, What::CardRead, What::Opened, What::Released, What::CardTaken];
    assert_eq!(bench.whats(), whats);
}

#[test]
fn a_latch_keeps_one_card_and_the_ledger_says_which_it_lost() {
    let mut bench = Bench::new("inveo-rfid");
    bench.swipe(11);
    bench.swipe(12);
    assert_eq!(bench.ask(&[5, 3, 0xec, 0, 0]), [5, 3, 0xec, 0, 0]);
    assert_eq!(bench.ask(&[5, 3, 0xec, 0, 0]), [5, 3, 0xec, 0, 0]);
    bench.swipe(13);
    let told: Vec<_> = bench.lines().iter().map(|line| (line.what, line.card)).collect();
    let card = |number| Some(Credential(number));
    assert_eq!(
        told,
        [
            (What::Started, None),
            (What::CardRead, card(11)),
            (What::CardLost, card(11)),
            (What::CardRead, card(12)),
            (What::CardTaken, card(12)),
            (What::CardRead, card(13)),
        ]
    );
    let line = bench.lines()[1];
    assert_eq!((line.source, line.number), (Source::Reader(1), None));
    assert_eq!(line.controller.to_string(), "modbus-70101", "a latch has no log of its own");
    assert_eq!(line.raw.unwrap().to_string(), "0000000000000000000b");
    assert_eq!((bench.unit.device().shown(), bench.unit.device().lost()), (3, 1));
    assert_eq!(bench.registers(3, 1_004, 1), [13]);
}

#[test]
fn a_counting_reader_says_how_many_there_were_and_wraps() {
    let mut bench = Bench::new("rfideas-tcp");
    assert_eq!(bench.registers(4, 0, 19), [0; 19], "none yet, with what is between");
    bench.swipe(8_165_501);
    let read = bench.registers(4, 0, 19);
    assert_eq!((read[0], read[2]), (1, 23));
    let layout = bench.unit.device().setup().profile.readers[0].card.layout();
    assert_eq!(layout.read(&read[3..], Some(read[2])), Ok(Credential(8_165_501)));
    let raw = bench.lines()[1].raw.unwrap().to_string();
    assert_eq!(raw, format!("0017{}007c987d", "0000".repeat(14)), "the bits, and all registers");
    for _ in 1..65_535 {
        bench.swipe(5);
    }
    assert_eq!(bench.registers(4, 0, 1), [65_535]);
    bench.swipe(6);
    assert_eq!(bench.registers(4, 0, 1), [0]);
    bench.swipe(7);
    assert_eq!(bench.registers(4, 0, 1), [1]);
    let last = *bench.lines().last().unwrap();
    assert_eq!((last.number, last.card), (Some(65_537), Some(Credential(7))));
    assert_eq!(last.controller.to_string(), "modbus-70101.1", "a log of its own");
}

#[test]
fn a_ring_keeps_as_many_as_it_holds_each_in_its_place() {
    let mut bench = Bench::new(RING);
    for card in 1..=6 {
        bench.swipe(card);
    }
    assert_eq!(bench.registers(4, 0, 1), [6]);
    let read = bench.registers(4, 100, 12);
    let layout = bench.unit.device().setup().profile.readers[0].card.layout();
    let cards: Vec<_> =
        read.chunks(3).map(|record| layout.read(&record[1..], None).unwrap().0).collect();
    assert_eq!(cards, [5, 6, 3, 4], "the fifth is where the first was");
    assert_eq!(bench.ask(&[4, 0, 1, 0, 1]), [0x84, 2], "there is nothing beside them");
    assert_eq!(bench.ask(&[4, 0, 111, 0, 2]), [0x84, 2]);
    let numbers: Vec<_> = bench.lines().iter().filter_map(|line| line.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    let last = bench.lines()[6].raw.unwrap();
    let shown: Vec<u8> = read[3..6].iter().flat_map(|word| word.to_be_bytes()).collect();
    assert_eq!(last.as_slice(), shown, "the whole record");
}

#[test]
fn what_lies_between_is_there_where_a_profile_allows_it() {
    let text = |gap| {
        let door = |door, address| {
            format!(
                "[[doors]]\ndoor = {door}\ncontact = {{ table = \"coil\", address = {address} }}\n"
            )
        };
        format!("model = \"m\"\ngap = {gap}\n{}{}{}", door(1, 10), door(2, 13), door(3, 17))
    };
    let there = |gap| {
        let mut bench = Bench::new(&text(gap));
        let is_there = |address: &u8| bench.ask(&[1, 0, *address, 0, 1]) == [1, 1, 0];
        (8..20).filter(is_there).collect::<Vec<u8>>()
    };
    assert_eq!(there(1), [10, 13, 17]);
    assert_eq!(there(2), [10, 11, 12, 13, 17]);
    assert_eq!(there(3), [10, 11, 12, 13, 14, 15, 16, 17]);
}

#[test]
fn a_restart_forgets_all_that_is_in_the_device_and_nothing_that_is_not() {
    let mut bench = Bench::new("inveo-rfid");
    assert_eq!(bench.ask(&[15, 3, 0xec, 0, 2, 1, 0]), [15, 3, 0xec, 0, 2]);
    bench.swipe(11);
    bench.turn(1, Point::Contact, true);
    bench.turn(1, Point::Button, true);
    bench.turn(1, Point::Relay, true);
    bench.power_on();
    assert_eq!(bench.ask(&[1, 3, 0xe8, 0, 3]), [1, 1, 0b110], "the relay falls off");
    assert_eq!(bench.ask(&[1, 3, 0xec, 0, 2]), [1, 1, 0b10], "it has restarted, and has no card");
    assert_eq!(bench.registers(3, 1_000, 5), [0; 5]);
    let lives: Vec<_> = bench.lines().iter().map(|line| (line.what, line.life)).collect();
    assert_eq!((lives[0], lives[5]), ((What::Started, 0), (What::Started, 1)));
    bench.swipe(12);
    assert_eq!(bench.whats()[6..], [What::CardRead], "what a restart took is not lost once more");

    let mut counting = Bench::new("rfideas-tcp");
    counting.swipe(1);
    counting.power_on();
    assert_eq!(counting.registers(4, 0, 1), [0]);
    counting.swipe(2);
    let last = *counting.lines().last().unwrap();
    assert_eq!((last.life, last.number), (1, Some(1)));
}

#[test]
fn a_simulator_that_is_started_again_goes_on_in_the_next_life() {
    let mut bench = Bench::new("inveo-rfid");
    bench.power_on();
    bench.turn(1, Point::Contact, true);
    let mut device = device("inveo-rfid");
    for line in &bench.truth {
        device.resume(line).unwrap();
    }
    let shown = device.power_on(Timestamp::UNIX_EPOCH, &mut bench.truth).unwrap();
    assert_eq!((shown[0].life, device.life()), (2, 2));
    assert_eq!(device.state(1, Point::Contact), Some(true), "the door is still open");
    let again = device.resume(&Line::Modbus(shown[0]));
    assert_eq!(again.unwrap_err(), "life 2 where life 3 begins");
}

#[test]
fn zero_says_yes_where_a_profile_says_so() {
    let mut bench = Bench::new(TURNED);
    assert_eq!(bench.registers(3, 7, 3), [1, 1, 0], "locked, no card, and just started");
    assert_eq!(bench.ask(&[2, 0, 0, 0, 1]), [2, 1, 1], "closed");
    bench.swipe(0x0001_0002);
    assert_eq!(bench.registers(3, 0, 4), [2, 1, 0, 0]);
    assert_eq!(bench.registers(3, 8, 1), [0]);
    assert_eq!(bench.ask(&[16, 0, 7, 0, 2, 4, 0, 0, 0, 1]), [16, 0, 7, 0, 2]);
    assert_eq!(bench.whats()[2..], [What::CardTaken, What::Released]);
    assert_eq!(bench.turn(1, Point::Contact, true), [What::Opened]);
    assert_eq!(bench.ask(&[2, 0, 0, 0, 1]), [2, 1, 0]);
}

#[test]
fn four_doors_have_a_contact_a_button_and_a_relay_each() {
    let mut bench = Bench::new("relay-board");
    assert_eq!(bench.turn(3, Point::Contact, true), [What::Opened]);
    assert_eq!(bench.turn(3, Point::Contact, true), [], "it is open already");
    assert_eq!(bench.turn(4, Point::Button, true), [What::Pressed]);
    assert_eq!(bench.turn(1, Point::Relay, true), [What::Released]);
    assert_eq!(bench.ask(&[2, 0, 0, 0, 8]), [2, 1, 0b1000_0100]);
    assert_eq!(bench.ask(&[1, 0, 0, 0, 4]), [1, 1, 0b0001]);
    assert_eq!(bench.ask(&[15, 0, 0, 0, 4, 1, 0b1110]), [15, 0, 0, 0, 4]);
    assert_eq!(bench.ask(&[1, 0, 0, 0, 4]), [1, 1, 0b1110]);
    let of_hosts = [What::Locked, What::Released, What::Released, What::Released];
    assert_eq!(bench.whats()[4..], of_hosts);
    assert_eq!(bench.turn(4, Point::Button, false), [What::LetGo]);
    assert_eq!(bench.turn(3, Point::Contact, false), [What::Closed]);
}

#[test]
fn what_a_device_does_not_have_is_said() {
    let mut bench = Bench::new("rfideas-tcp");
    let now = Timestamp::UNIX_EPOCH;
    let device = bench.unit.device_mut();
    let no_card = device.swipe(1, Credential(0), now, &mut bench.truth).unwrap_err();
    assert!(matches!(no_card, HappeningError::Card { reader: 1 }), "{no_card}");
    let no_reader = device.swipe(2, Credential(1), now, &mut bench.truth).unwrap_err();
    assert_eq!(no_reader.to_string(), "there is no reader 2; this device has 1, counted from 1");
    assert!(device.swipe(0, Credential(1), now, &mut bench.truth).is_err());
    let no_door = device.open_door(1, true, now, &mut bench.truth).unwrap_err();
    assert_eq!(no_door.to_string(), "there is no door 1 at this device");
    let mut bench = Bench::new(TURNED);
    let no_button = bench.unit.device_mut().press(1, true, now, &mut bench.truth).unwrap_err();
    assert_eq!(no_button.to_string(), "door 1 has no button in the device's profile");
    assert_eq!(bench.whats(), [What::Started]);
}

/// A truth that cannot be kept.
struct Broken;

impl crate::ledger::Truth for Broken {
    fn keep(&mut self, _: &Line) -> Result<(), crate::ledger::LedgerError> {
        Err(crate::ledger::LedgerError::Dead { path: "ledger".into() })
    }
}

#[test]
fn what_cannot_be_told_to_the_truth_does_not_happen() {
    let mut bench = Bench::new("inveo-rfid");
    bench.swipe(11);
    let now = Timestamp::UNIX_EPOCH;
    let device = bench.unit.device_mut();
    assert!(device.swipe(1, Credential(12), now, &mut Broken).is_err());
    assert!(device.answer(&[5, 3, 0xec, 0, 0], now, &mut Broken).is_err());
    assert!(device.release(1, true, now, &mut Broken).is_err());
    assert!(device.power_on(now, &mut Broken).is_err());
    assert_eq!(bench.registers(3, 1_004, 1), [11]);
    assert_eq!(bench.ask(&[1, 3, 0xec, 0, 2]), [1, 1, 0b11]);
    assert_eq!(bench.ask(&[1, 3, 0xe8, 0, 1]), [1, 1, 0]);
}

#[test]
fn frames_are_those_of_the_specifications() {
    // The example of the serial line's guide: unit 4, function 3, one register.
    let request = [4, 3, 0, 107, 0, 3];
    let framed = rtu::frame(4, &request[1..]);
    assert_eq!(framed[..6], request);
    assert_eq!(rtu::open(&framed), Some((4, &request[1..])));
    // The check value of CRC-16/MODBUS over the digits 1 to 9.
    assert_eq!(rtu::frame(b'1', b"23456789")[9..], 0x4b37_u16.to_le_bytes());
    for (place, _) in framed.iter().enumerate() {
        let mut broken = framed.clone();
        broken[place] ^= 1;
        assert_eq!(rtu::open(&broken), None, "{place}");
        assert_eq!(rtu::open(&framed[..place]), None, "{place}");
    }
    assert_eq!(rtu::open(&[&[0][..], &framed].concat()), None, "a byte before it is one too many");

    let framed = tcp::frame(0x1501, 4, &request[1..]);
    assert_eq!(framed, [0x15, 1, 0, 0, 0, 6, 4, 3, 0, 107, 0, 3]);
    let head = |bytes: &[u8]| Header::of(bytes[..7].try_into().unwrap());
    assert_eq!(head(&framed), Some(Header { transaction: 0x1501, length: 5, unit: 4 }));
    for (bytes, why) in [
        ([0, 0, 0, 1, 0, 6, 1], "another protocol"),
        ([0, 0, 0, 0, 0, 0, 1], "no unit"),
        ([0, 0, 0, 0, 0, 1, 1], "no function"),
        ([0, 0, 0, 0, 0, 255, 1], "longer than any"),
    ] {
        assert_eq!(Header::of(bytes), None, "{why}");
    }
}

#[test]
fn silence_is_of_characters_until_a_line_is_fast() {
    for (baud, micros) in [(1_200, 29_166), (9_600, 3_645), (115_200, 1_750)] {
        let character = Duration::from_secs(10) / baud;
        assert_eq!(
            postern_protocol::modbus::serial::silence(character).as_micros(),
            micros,
            "{baud}"
        );
    }
    assert_eq!(postern_protocol::modbus::serial::silence(Duration::ZERO).as_micros(), 1_750);
}

#[test]
fn what_is_longer_than_a_frame_is_none_and_takes_no_memory() {
    let mut assembly = Assembly::default();
    assembly.push(&rtu::frame(1, &[3; MAX_PDU]));
    assert!(rtu::open(&assembly.take()).is_some());
    assert!(assembly.is_empty());
    for _ in 0..100 {
        assembly.push(&[0; 100]);
    }
    assert_eq!(assembly.take().len(), rtu::MAX_FRAME + 1);
}

/// Reads the card of the reader with a latch.
const READ: [u8; 5] = [3, 3, 0xe8, 0, 5];

fn always(name: &str) -> UnitFaults {
    let text = format!("{name} = 1.0\nlate_ms = 300\n");
    toml::from_str(&text).unwrap()
}

#[test]
fn each_misbehaviour_is_what_it_says() {
    let mut bench = Bench::new("inveo-rfid");
    bench.swipe(0x1234);
    let healthy = bench.bytes(&READ);
    let healthy = &healthy[..healthy.len() - 2];
    assert_eq!(healthy, [1, 3, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34]);
    let mut unframed = |name: &str| {
        bench.unit.set_faults(always(name));
        let bytes = bench.bytes(&READ);
        let (unit, pdu) = rtu::open(&bytes).unwrap_or_else(|| panic!("{name}: {bytes:x?}"));
        [&[unit][..], pdu].concat()
    };
    assert_eq!(unframed("exception"), [1, 0x83, 4]);
    assert_eq!(unframed("wrong_unit"), [&[124][..], &healthy[1..]].concat());
    assert_eq!(unframed("short"), healthy[..11], "ten bytes are said to follow");
    assert_eq!(unframed("long"), [healthy, &[0, 0]].concat());
    assert_eq!(unframed("other_count"), [&[1, 3, 12][..], &healthy[3..], &[0, 0]].concat());
    let nonsense = unframed("nonsense");
    assert_eq!((nonsense.len(), &nonsense[..3]), (13, &[1, 3, 10][..]));
    assert_ne!(nonsense[3..], healthy[3..]);

    bench.unit.set_faults(always("zero"));
    let zero = bench.bytes(&READ);
    assert_eq!((zero[0], &zero[1..14]), (0, healthy));
    bench.unit.set_faults(always("garbage"));
    let garbage = bench.bytes(&READ);
    assert_eq!(garbage.len(), healthy.len() + 2);
    assert_eq!(rtu::open(&garbage), None);
    bench.unit.set_faults(always("late"));
    let late = bench.hear(&READ);
    assert!(matches!(late, Reaction::Bytes { late, .. } if late.as_millis() == 300), "{late:?}");
    bench.unit.set_faults(always("hang_up"));
    assert_eq!(bench.hear(&READ), Reaction::HangUp { late: Duration::ZERO });
    for name in ["deaf", "silent"] {
        bench.unit.set_faults(always(name));
        assert_eq!(bench.hear(&READ), Reaction::Silence, "{name}");
    }
}

/// Of a fault between the device and its answer the device knows nothing; of one before it, it does not do it.
#[test]
fn what_was_asked_for_is_done_or_not_whatever_is_answered() {
    let clear = [5, 3, 0xec, 0, 0];
    for (name, done) in [
        ("deaf", false),
        ("exception", false),
        ("silent", true),
        ("hang_up", true),
        ("garbage", true),
        ("wrong_unit", true),
        ("short", true),
    ] {
        let mut bench = Bench::new("inveo-rfid");
        bench.swipe(5);
        bench.unit.set_faults(always(name));
        bench.hear(&clear);
        bench.unit.set_faults(UnitFaults::default());
        let flag = bench.ask(&[1, 3, 0xec, 0, 1]);
        assert_eq!(flag == [1, 1, 0], done, "{name}");
    }
}

#[test]
fn faults_last_for_as_many_requests_as_they_say() {
    let mut bench = Bench::new("inveo-rfid");
    let twice = UnitFaults { requests: Some(2), exception_code: 6, ..always("exception") };
    bench.unit.set_faults(twice);
    assert_eq!(bench.bytes(&READ)[1..3], [0x83, 6]);
    assert_eq!(bench.unit.faults(), UnitFaults { requests: Some(1), ..twice });
    assert_eq!(bench.bytes(&READ)[1..3], [0x83, 6]);
    assert_eq!(bench.unit.faults(), UnitFaults::default());
    assert_eq!(bench.bytes(&READ)[1..3], [3, 10]);
    assert_eq!(bench.unit.counters().refused, 2);
}

#[test]
fn a_broadcast_is_carried_out_and_not_answered() {
    let mut bench = Bench::new("inveo-rfid");
    let now = Timestamp::UNIX_EPOCH;
    let release = [5, 3, 0xe8, 0xff, 0];
    let nothing = bench.unit.on_request(0, &release, rtu::frame, now, &mut bench.truth).unwrap();
    assert_eq!(nothing, Reaction::Silence);
    assert_eq!(bench.unit.device().state(1, Point::Relay), Some(true));
    let counters = bench.unit.counters();
    assert_eq!((counters.requests, counters.broadcasts, counters.answers), (1, 1, 0));
}

#[test]
fn impossible_faults_are_named() {
    for (faults, name) in [
        (UnitFaults { short: 1.5, ..UnitFaults::default() }, "short"),
        (UnitFaults { nonsense: f64::NAN, ..UnitFaults::default() }, "nonsense"),
        (UnitFaults { requests: Some(0), ..UnitFaults::default() }, "requests"),
        (UnitFaults { late_ms: 60_001, ..UnitFaults::default() }, "late_ms"),
        (UnitFaults { exception_code: 0x80, ..UnitFaults::default() }, "exception_code"),
    ] {
        assert!(faults.check().unwrap_err().starts_with(name));
    }
    assert_eq!(UnitFaults::default().check(), Ok(()));
}

fn any_request() -> impl Strategy<Value = Vec<u8>> {
    let wild = prop::collection::vec(any::<u8>(), 0..MAX_PDU + 10);
    let function = prop_oneof![1..=6_u8, Just(15), Just(16), any::<u8>()];
    let address = prop_oneof![995..1_010_u16, 0..30_u16, any::<u16>()];
    let like = (function, address, 0..9_u16, prop::collection::vec(any::<u8>(), 0..12)).prop_map(
        |(function, address, count, rest)| {
            let [a, b] = address.to_be_bytes();
            let [c, d] = count.to_be_bytes();
            [&[function, a, b, c, d][..], &rest].concat()
        },
    );
    prop_oneof![wild, like]
}

proptest! {
    /// Whatever is asked, a device answers with its function or refuses, in a frame's length, and does not panic.
    #[test]
    fn no_request_panics(
        requests in prop::collection::vec(any_request(), 1..20),
        which in 0..5_usize,
        faults in prop::collection::vec(any::<bool>(), 12),
    ) {
        let text = ["inveo-rfid", "rfideas-tcp", "relay-board", RING, TURNED][which];
        let mut bench = Bench::new(text);
        for request in &requests {
            let device = bench.unit.device_mut();
            let now = Timestamp::UNIX_EPOCH;
            let answer = device.answer(request, now, &mut bench.truth).unwrap();
            prop_assert_eq!(answer.is_none(), request.is_empty());
            if let Some(answer) = answer {
                prop_assert_eq!(answer[0] & 0x7f, request[0] & 0x7f);
                prop_assert!(answer.len() <= MAX_PDU);
                if is_read(answer[0]) {
                    prop_assert_eq!(usize::from(answer[1]), answer.len() - 2);
                }
            }
        }
        let probability = |on: &bool| if *on { 0.5 } else { 0.0 };
        let p: Vec<f64> = faults.iter().map(probability).collect();
        bench.unit.set_faults(UnitFaults {
            requests: None, late_ms: 5, exception_code: 0,
            deaf: p[0], silent: p[1], late: p[2], exception: p[3], wrong_unit: p[4], short: p[5],
            long: p[6], other_count: p[7], zero: p[8], garbage: p[9], hang_up: p[10], nonsense: p[11],
        });
        for request in &requests {
            bench.hear(request);
        }
    }

    /// Whatever is on the line, only frames are opened, and every frame is.
    #[test]
    fn no_bytes_panic_the_framings(bytes in prop::collection::vec(any::<u8>(), 0..300), unit in any::<u8>()) {
        let opened = rtu::open(&bytes).map(|(unit, pdu)| rtu::frame(unit, pdu));
        prop_assert!(opened.is_none_or(|frame| frame == bytes));
        let framed = rtu::frame(unit, &bytes);
        let is_request = (1..=MAX_PDU).contains(&bytes.len());
        prop_assert_eq!(rtu::open(&framed), is_request.then_some((unit, &bytes[..])));
        if let Some(head) = bytes.first_chunk() {
            let length = Header::of(*head).map(|header| header.length);
            prop_assert!(length.is_none_or(|length| (1..=MAX_PDU).contains(&length)));
        }
    }
}
