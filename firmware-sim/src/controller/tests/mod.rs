use postern_protocol::uhppote::field::{Date, HourMinute, Magic, Pin};
use postern_protocol::uhppote::message::{FUNCTIONS, record_bytes, request};
use postern_protocol::uhppote::{FRAME, Function, NEWEST, OLDEST, SOM_EVENT_V6_62};

use proptest::prelude::*;

use super::happening::Swipe;
use super::*;

mod happening;
mod log;
mod setting;

const SERIAL: u32 = 405_419_896;
const CARD: u32 = 8_165_538;

fn setup() -> Setup {
    Setup {
        serial: SERIAL,
        address: Ipv4Addr::new(192, 168, 1, 100),
        mac: Mac([0, 0x12, 0x23, 0x34, 0x45, 0x56]),
        firmware: Version { major: 8, minor: 92 },
        zone: TimeZone::get("Europe/Berlin").unwrap(),
        capacity: 64,
        chunk: 16,
        first_index: 1,
        record_special_events: false,
        cards: vec![CARD],
    }
}

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

/// A board and its ledger.
struct Bench {
    controller: Controller,
    truth: Vec<Line>,
}

impl Bench {
    fn new(setup: Setup) -> Self {
        Self { controller: Controller::new(setup), truth: Vec::new() }
    }

    fn ask(&mut self, request: Request) -> Option<Response> {
        // Over the wire's bytes, as a client would.
        let request = Request::decode(&request.encode()).unwrap();
        self.controller.handle(&request, now(), &mut self.truth).unwrap()
    }

    fn swipe(&mut self, card: u32) -> Vec<Recorded> {
        let swipe = Swipe { card, door: 1, direction: 1 };
        self.controller.swipe(swipe, now(), &mut self.truth).unwrap()
    }

    fn event(&mut self, index: u32) -> response::GetEvent {
        match self.ask(Request::GetEvent(request::GetEvent { controller: SERIAL, index })) {
            Some(Response::GetEvent(event)) => event,
            other => panic!("{other:?}"),
        }
    }

    fn card_at(&mut self, index: u32) -> u32 {
        let get = request::GetCardByIndex { controller: SERIAL, index };
        match self.ask(Request::GetCardByIndex(get)) {
            Some(Response::GetCardByIndex(card)) => card.card,
            other => panic!("{other:?}"),
        }
    }

    fn card(&mut self, card: u32) -> u32 {
        match self.ask(Request::GetCard(request::GetCard { controller: SERIAL, card })) {
            Some(Response::GetCard(card)) => card.card,
            other => panic!("{other:?}"),
        }
    }

    fn set_listener(&mut self, interval: u8) {
        self.ask(Request::SetListener(request::SetListener {
            controller: SERIAL,
            address: Ipv4Addr::LOCALHOST,
            port: 60_001,
            interval,
        }));
    }

    fn record_special_events(&mut self, enabled: bool) {
        self.ask(Request::RecordSpecialEvents(request::RecordSpecialEvents {
            controller: SERIAL,
            enabled,
        }));
    }
}

fn board() -> Bench {
    Bench::new(setup())
}

fn index_of(event: &Recorded) -> u32 {
    event.index.try_into().unwrap()
}

fn kinds(events: &[Recorded]) -> Vec<Kind> {
    events.iter().map(|event| event.kind).collect()
}

fn put_card(card: u32) -> Request {
    Request::PutCard(request::PutCard {
        controller: SERIAL,
        card,
        start_date: "2026-01-01".parse().unwrap(),
        end_date: "2026-12-31".parse().unwrap(),
        door_1: 1,
        door_2: 0,
        door_3: 29,
        door_4: 0,
        pin: Pin(7_531),
    })
}

fn get_controller(controller: u32) -> Request {
    Request::GetController(request::GetController { controller })
}

fn restore_defaults() -> Request {
    Request::RestoreDefaults(request::RestoreDefaults { controller: SERIAL, magic: Magic })
}

/// A request of every function, as bytes of zeros where zeros will do.
fn any_request(function: Function) -> Request {
    let mut frame: Frame = [0; FRAME];
    frame[0] = 0x17;
    frame[1] = function.0;
    frame[4..8].copy_from_slice(&SERIAL.to_le_bytes());
    let magic = 0x55aa_aa55_u32.to_le_bytes();
    match function.0 {
        0xb2 => frame[12..16].copy_from_slice(&magic),
        0x96 => frame[20..24].copy_from_slice(&magic),
        0x54 | 0x8a | 0xa0 | 0xa6 | 0xac | 0xc8 => frame[8..12].copy_from_slice(&magic),
        0x40 | 0x80 | 0x82 | 0x8c => frame[8] = 3,
        _ => {}
    }
    Request::decode(&frame).unwrap()
}

#[test]
fn every_function_is_answered_with_its_own_code_but_set_address() {
    for function in FUNCTIONS {
        let mut board = board();
        let reply = board.ask(any_request(*function));
        if function.0 == 0x96 {
            assert_eq!(reply, None);
        } else {
            let reply = reply.unwrap_or_else(|| panic!("{function} is not answered"));
            assert_eq!(reply.function(), *function);
            assert_eq!(reply.controller(), SERIAL);
            assert_eq!(Response::decode_reply(&reply.encode(), *function), Ok(reply));
        }
    }
}

#[test]
fn every_function_ignores_another_boards_serial_number() {
    for function in FUNCTIONS {
        let mut frame = any_request(*function).encode();
        for serial in [SERIAL + 1, 0] {
            frame[4..8].copy_from_slice(&serial.to_le_bytes());
            let mut board = board();
            let answered = board.ask(Request::decode(&frame).unwrap()).is_some();
            assert_eq!(answered, serial == 0 && function.0 == 0x94, "{function} to {serial}");
            assert!(board.truth.is_empty(), "{function} to {serial} recorded something");
        }
    }
}

#[test]
fn a_search_finds_the_board_with_what_it_is() {
    let Some(Response::GetController(found)) = board().ask(get_controller(0)) else { panic!() };
    assert_eq!(found.controller, SERIAL);
    assert_eq!(found.address, Ipv4Addr::new(192, 168, 1, 100));
    assert_eq!(found.mac.to_string(), "00:12:23:34:45:56");
    assert_eq!(found.version.to_string(), "v8.92");
}

proptest! {
    #[test]
    fn no_request_makes_a_board_panic_and_every_reply_can_be_read(
        frames in proptest::collection::vec(
            (proptest::sample::select(FUNCTIONS), proptest::collection::vec(any::<u8>(), 56)),
            1..40,
        ),
    ) {
        let mut board = board();
        for (function, parameters) in frames {
            let mut frame: Frame = [0; FRAME];
            (frame[0], frame[1]) = (0x17, function.0);
            frame[4..8].copy_from_slice(&SERIAL.to_le_bytes());
            frame[8..].copy_from_slice(&parameters);
            let Ok(request) = Request::decode(&frame) else { continue };
            if let Some(reply) = board.controller.handle(&request, now(), &mut board.truth).unwrap() {
                // By their bytes: a status leaves out the century, which a clock can have set wrong.
                let read = Response::decode_reply(&reply.encode(), function);
                prop_assert_eq!(read.map(|read| read.encode()), Ok(reply.encode()));
            }
            board.swipe(CARD);
            while board.controller.poll_push().is_some() {}
        }
    }
}
