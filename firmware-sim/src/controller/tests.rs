use postern_protocol::uhppote::field::{Date, HourMinute, Magic, Pin};
use postern_protocol::uhppote::message::{FUNCTIONS, record_bytes, request};
use postern_protocol::uhppote::{FRAME, Function, NEWEST, OLDEST, SOM_EVENT_V6_62};

use proptest::prelude::*;

use super::happening::Swipe;
use super::*;

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

#[test]
fn set_address_is_silent_and_changes_what_the_board_says() {
    let mut board = board();
    let reply = board.ask(Request::SetAddress(request::SetAddress {
        controller: SERIAL,
        address: Ipv4Addr::new(10, 0, 0, 2),
        netmask: Ipv4Addr::new(255, 0, 0, 0),
        gateway: Ipv4Addr::new(10, 0, 0, 1),
        magic: Magic,
    }));
    assert_eq!(reply, None);
    let Some(Response::GetController(found)) = board.ask(get_controller(SERIAL)) else { panic!() };
    assert_eq!(found.address, Ipv4Addr::new(10, 0, 0, 2));
    assert_eq!(found.gateway, Ipv4Addr::new(10, 0, 0, 1));
}

#[test]
fn an_empty_log_answers_with_zeros() {
    let mut board = board();
    for index in [OLDEST, 1, NEWEST] {
        let request = Request::GetEvent(request::GetEvent { controller: SERIAL, index });
        let reply = board.ask(request).unwrap().encode();
        assert_eq!(reply[8..], [0; 56], "index {index}");
    }
    let status = Request::GetStatus(request::GetStatus { controller: SERIAL });
    let Some(Response::GetStatus(status)) = board.ask(status) else { panic!() };
    assert_eq!((status.event_index, status.event_type), (0, 0));
    assert!(!status.event_timestamp.is_set());
    assert_eq!(status.system_date.to_string(), "2026-11-23");
    assert_eq!(status.system_time.to_string(), "13:00:00");
}

#[test]
fn the_log_answers_with_sentinels_outside_of_it() {
    let mut board = board();
    (0..65).for_each(|_| drop(board.swipe(CARD)));
    assert_eq!(board.event(OLDEST).index, 17);
    assert_eq!(board.event(NEWEST).index, 65);
    let overwritten = board.event(16);
    assert_eq!((overwritten.index, overwritten.event_type), (0, TYPE_OVERWRITTEN));
    assert_eq!(overwritten.card, 0);
    assert_eq!(board.event(66), board.controller.sentinel(TYPE_NONE));
}

#[test]
fn the_ledger_has_the_bytes_that_a_client_cuts_from_the_reply() {
    let mut board = board();
    board.record_special_events(true);
    board.swipe(CARD);
    let lines = board.truth.clone();
    assert_eq!(lines.len(), 3);
    for line in lines {
        let Line::Event(line) = line else { panic!("{line:?}") };
        let get = request::GetEvent { controller: SERIAL, index: line.index };
        let frame = board.ask(Request::GetEvent(get)).unwrap().encode();
        assert_eq!(record_bytes(&frame), line.raw.0);
        assert_eq!(frame[8..28], line.raw.0);
    }
}

#[test]
fn an_event_that_the_ledger_does_not_take_does_not_happen() {
    struct Full;
    impl Truth for Full {
        fn keep(&mut self, _: &Line) -> Result<(), LedgerError> {
            Err(LedgerError::Dead { path: "ledger.jsonl".into() })
        }
    }
    let mut controller = Controller::new(setup());
    let swipe = Swipe { card: CARD, door: 1, direction: 1 };
    assert!(controller.swipe(swipe, now(), &mut Full).is_err());
    assert!(controller.handle(&any_request(Function(0x40)), now(), &mut Full).is_err());
    assert!(controller.handle(&restore_defaults(), now(), &mut Full).is_err());
    assert_eq!(
        (controller.ring().stored(), controller.life(), controller.cards().count()),
        (0, 0, 1)
    );
    assert_eq!(controller.poll_push(), None);
}

#[test]
fn swipes_are_granted_or_denied_with_the_boards_reasons() {
    let mut board = board();
    board.swipe(CARD);
    let granted = board.event(NEWEST);
    assert_eq!((granted.event_type, granted.granted, granted.reason), (1, true, 1));
    assert_eq!((granted.card, granted.door, granted.direction), (CARD, 1, 1));
    assert_eq!(granted.timestamp.to_string(), "2026-11-23 13:00:00");

    board.swipe(1);
    let denied = board.event(NEWEST);
    assert_eq!((denied.event_type, denied.granted, denied.reason), (1, false, 6));

    board.ask(put_card(77));
    for (door, reason) in [(1, 1), (2, 6), (3, 1), (4, 6)] {
        let swipe = Swipe { card: 77, door, direction: 2 };
        board.controller.swipe(swipe, now(), &mut board.truth).unwrap();
        let event = board.event(NEWEST);
        assert_eq!((event.door, event.reason, event.direction), (door, reason, 2));
    }

    board.controller.clock_mut().shift(400 * 24 * 3600);
    board.swipe(77);
    assert_eq!(board.event(NEWEST).reason, 15, "its last day is over");

    let set = request::SetDoor { controller: SERIAL, door: 1, mode: 2, delay: 5 };
    board.ask(Request::SetDoor(set));
    board.swipe(CARD);
    assert_eq!(board.event(NEWEST).reason, 11, "the door is kept shut");
}

#[test]
fn door_and_button_events_are_recorded_only_when_asked_for() {
    let mut board = board();
    assert_eq!(kinds(&board.swipe(CARD)), [Kind::Swipe]);
    assert_eq!(board.controller.button(2, now(), &mut board.truth).unwrap(), []);

    board.record_special_events(true);
    let events = board.swipe(CARD);
    assert_eq!(kinds(&events), [Kind::Swipe, Kind::DoorOpened, Kind::DoorClosed]);
    assert_eq!(kinds(&board.swipe(1)), [Kind::Swipe], "a denied card opens nothing");
    let events = board.controller.button(2, now(), &mut board.truth).unwrap();
    assert_eq!(kinds(&events), [Kind::Button, Kind::DoorOpened, Kind::DoorClosed]);
    let reasons: Vec<_> =
        events.iter().map(|event| (board.event(event.index).event_type, event.raw.0[19])).collect();
    assert_eq!(reasons, [(2, 20), (2, 23), (2, 24)]);

    board.record_special_events(false);
    assert_eq!(kinds(&board.swipe(CARD)), [Kind::Swipe]);
}

#[test]
fn alarms_and_starts_are_recorded_always() {
    let mut board = board();
    let now = now();
    let forced = board.controller.force(3, now, &mut board.truth).unwrap();
    let held = board.controller.hold(4, now, &mut board.truth).unwrap();
    let started = board.controller.power_cycle(now, &mut board.truth).unwrap();
    assert_eq!(kinds(&[forced, held, started].concat()), [Kind::Forced, Kind::Held, Kind::PowerOn]);
    let shapes: Vec<_> = (1..=3)
        .map(|index| board.event(index))
        .map(|event| (event.event_type, event.granted, event.door, event.reason))
        .collect();
    assert_eq!(shapes, [(3, false, 3, 38), (3, false, 4, 37), (2, true, 0, 28)]);
    assert_eq!(board.controller.open_doors(), [false, false, true, true]);

    let status = Request::GetStatus(request::GetStatus { controller: SERIAL });
    let Some(Response::GetStatus(status)) = board.ask(status) else { panic!() };
    assert!(status.door_3_open && status.door_4_open && !status.door_1_open);
    assert_eq!((status.event_index, status.event_reason), (3, 28));
}

#[test]
fn a_door_opened_by_a_host_is_recorded_as_such() {
    let mut board = board();
    let open = |door| Request::OpenDoor(request::OpenDoor { controller: SERIAL, door });
    let ok = |ok| Some(Response::OpenDoor(response::OpenDoor { controller: SERIAL, ok }));
    assert_eq!(board.ask(open(3)), ok(true));
    let event = board.event(NEWEST);
    assert_eq!((event.index, event.event_type, event.door, event.reason), (1, 2, 3, 44));
    assert_eq!(board.ask(open(5)), ok(false));
    assert_eq!(board.ask(open(0)), ok(false));
    assert_eq!(board.controller.recorded(), 1);
}

#[test]
fn restored_defaults_empty_the_log_and_begin_again_at_1() {
    let mut board = board();
    (0..5).for_each(|_| drop(board.swipe(CARD)));
    board.set_listener(0);
    board.record_special_events(true);
    let set = request::SetEventIndex { controller: SERIAL, index: 3, magic: Magic };
    board.ask(Request::SetEventIndex(set));

    let reply = board.ask(restore_defaults());
    let ok = response::RestoreDefaults { controller: SERIAL, ok: true };
    assert_eq!(reply, Some(Response::RestoreDefaults(ok)));
    assert!(matches!(board.truth.last(), Some(Line::Restart(line)) if line.life == 1));
    assert_eq!(board.event(NEWEST).event_type, TYPE_NONE);
    assert_eq!((board.controller.event_index(), board.controller.cards().count()), (0, 0));
    assert_eq!(board.controller.settings().listener.port, 0);
    assert!(!board.controller.settings().record_special_events);

    let events = board.swipe(CARD);
    assert_eq!((events[0].index, events.len()), (1, 1));
    assert!(matches!(board.truth.last(), Some(Line::Event(l)) if (l.life, l.index) == (1, 1)));
    assert_eq!(board.event(1).reason, 6, "its cards are gone");
}

#[test]
fn cards_are_found_by_number_and_by_slot_and_deleted_ones_stay_visible() {
    let mut board = Bench::new(Setup { cards: vec![], ..setup() });
    let ok = |reply: Option<Response>| matches!(reply, Some(Response::PutCard(put)) if put.ok);
    assert!(
        ok(board.ask(put_card(10))) && ok(board.ask(put_card(11))) && ok(board.ask(put_card(10)))
    );
    assert_eq!(board.controller.cards().count(), 2);
    assert_eq!((board.card(10), board.card(12)), (10, 0));
    assert_eq!((board.card_at(1), board.card_at(2), board.card_at(3)), (10, 11, 0));
    assert_eq!(board.card_at(0), 0);

    let delete = Request::DeleteCard(request::DeleteCard { controller: SERIAL, card: 10 });
    let deleted = |ok| Some(Response::DeleteCard(response::DeleteCard { controller: SERIAL, ok }));
    assert_eq!(board.ask(delete), deleted(true));
    assert_eq!(board.ask(delete), deleted(false));
    assert_eq!((board.card(10), board.card_at(1), board.card_at(2)), (0, card::DELETED, 11));
    board.ask(put_card(12));
    assert_eq!(board.card_at(1), 12, "a deleted slot is used again");

    for number in [0, 0x00ff_ffff, u32::MAX] {
        assert!(!ok(board.ask(put_card(number))), "{number} is no card");
    }
    board.ask(Request::DeleteCards(request::DeleteCards { controller: SERIAL, magic: Magic }));
    assert_eq!((board.controller.cards().count(), board.card_at(1)), (0, 0));
}

#[test]
fn a_full_card_list_says_no() {
    let mut board = Bench::new(Setup { cards: (1..=20_000).collect(), ..setup() });
    let Some(Response::PutCard(put)) = board.ask(put_card(20_001)) else { panic!() };
    assert!(!put.ok);
    let Some(Response::PutCard(put)) = board.ask(put_card(20_000)) else { panic!() };
    assert!(put.ok, "a card that is there can be changed");
}

#[test]
fn the_shared_cursor_moves_within_the_log_and_says_whether_it_moved() {
    let mut board = board();
    (0..5).for_each(|_| drop(board.swipe(CARD)));
    let mut set = |index| {
        let set = request::SetEventIndex { controller: SERIAL, index, magic: Magic };
        match board.ask(Request::SetEventIndex(set)) {
            Some(Response::SetEventIndex(set)) => set.ok,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!([set(3), set(3), set(6), set(5), set(0)], [true, false, false, true, true]);
}

#[test]
fn the_clock_can_be_set_and_unset() {
    let mut board = board();
    let get = Request::GetTime(request::GetTime { controller: SERIAL });
    let shown = |reply| match reply {
        Some(Response::GetTime(time)) => time.datetime.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(shown(board.ask(get)), "2026-11-23 13:00:00");
    board.ask(Request::SetTime(request::SetTime {
        controller: SERIAL,
        datetime: "2001-02-03 04:05:06".parse().unwrap(),
    }));
    assert_eq!(shown(board.ask(get)), "2001-02-03 04:05:06");

    board.controller.clock_mut().unset();
    assert_eq!(shown(board.ask(get)), "");
    board.swipe(CARD);
    let event = board.event(NEWEST);
    assert_eq!((event.timestamp, event.granted), (DateTime::UNSET, true));
    let status = any_request(Function(0x20));
    assert_eq!(board.ask(status).unwrap().encode()[51..54], [0; 3]);
}

#[test]
fn settings_come_back_as_they_were_set() {
    let mut board = board();
    let hour = |hour| HourMinute { hour, minute: 30 };
    board.ask(Request::SetTimeProfile(request::SetTimeProfile {
        controller: SERIAL,
        profile: 29,
        start_date: "2026-01-01".parse().unwrap(),
        end_date: "2026-12-31".parse().unwrap(),
        monday: true,
        tuesday: false,
        wednesday: true,
        thursday: false,
        friday: false,
        saturday: false,
        sunday: true,
        segment_1_start: hour(1),
        segment_1_end: hour(2),
        segment_2_start: hour(3),
        segment_2_end: hour(4),
        segment_3_start: hour(5),
        segment_3_end: hour(6),
        linked_profile: 30,
    }));
    let get =
        |profile| Request::GetTimeProfile(request::GetTimeProfile { controller: SERIAL, profile });
    let Some(Response::GetTimeProfile(profile)) = board.ask(get(29)) else { panic!() };
    assert_eq!((profile.profile, profile.linked_profile, profile.sunday), (29, 30, true));
    assert_eq!(profile.segment_3_end, hour(6));
    let Some(Response::GetTimeProfile(none)) = board.ask(get(28)) else { panic!() };
    assert_eq!((none.profile, none.start_date), (0, Date::UNSET));

    let set = request::SetDoor { controller: SERIAL, door: 2, mode: 1, delay: 9 };
    board.ask(Request::SetDoor(set));
    let get = Request::GetDoor(request::GetDoor { controller: SERIAL, door: 2 });
    let Some(Response::GetDoor(door)) = board.ask(get) else { panic!() };
    assert_eq!((door.door, door.mode, door.delay), (2, 1, 9));
    let get = Request::GetDoor(request::GetDoor { controller: SERIAL, door: 5 });
    assert_eq!(board.ask(get), None, "a reply about a door that there is not would be a lie");

    for (value, taken) in [(4, true), (5, false)] {
        let set = request::SetAntipassback { controller: SERIAL, antipassback: value };
        let ok = response::SetAntipassback { controller: SERIAL, ok: taken };
        assert_eq!(board.ask(Request::SetAntipassback(set)), Some(Response::SetAntipassback(ok)));
    }
    assert_eq!(board.controller.settings().antipassback, 4);
}

#[test]
fn tasks_wait_for_their_refresh() {
    let mut board = board();
    let mut frame = any_request(Function(0xa8)).encode();
    frame[25] = 3;
    board.ask(Request::decode(&frame).unwrap());
    let settings = board.controller.settings();
    assert_eq!((settings.tasks.len(), settings.tasks_to_be_refreshed.len()), (0, 1));
    board.ask(any_request(Function(0xac)));
    assert_eq!(board.controller.settings().tasks.len(), 1);
    (0..1_000).for_each(|_| _ = board.ask(Request::decode(&frame).unwrap()));
    board.ask(any_request(Function(0xac)));
    assert_eq!(board.controller.settings().tasks.len(), 256, "the list is bounded");
    board.ask(any_request(Function(0xa6)));
    assert!(board.controller.settings().tasks.is_empty());
}

#[test]
fn every_event_is_pushed_once_to_a_listener() {
    let mut board = board();
    board.swipe(CARD);
    assert_eq!(board.controller.poll_push(), None, "nobody listens");
    board.set_listener(0);
    board.record_special_events(true);
    board.swipe(CARD);
    let pushes: Vec<_> = std::iter::from_fn(|| board.controller.poll_push()).collect();
    assert_eq!(pushes.len(), 3);
    for (push, index) in pushes.iter().zip(2..) {
        assert_eq!(push.to, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 60_001));
        let Ok(Response::GetStatus(status)) = Response::decode(&push.frame) else { panic!() };
        assert_eq!((status.event_index, status.controller), (index, SERIAL));
        assert_eq!((push.frame[0], status.sequence), (0x17, index - 1));
    }
    for _ in 0..100 {
        board.swipe(CARD);
    }
    assert_eq!(std::iter::from_fn(|| board.controller.poll_push()).count(), MAX_PUSHES);
}

#[test]
fn firmware_6_62_begins_its_pushes_with_another_byte_and_its_replies_not() {
    let firmware = Version { major: 6, minor: 62 };
    let mut board = Bench::new(Setup { firmware, ..setup() });
    board.set_listener(0);
    board.swipe(CARD);
    assert_eq!(board.controller.poll_push().unwrap().frame[0], SOM_EVENT_V6_62);
    assert_eq!(board.ask(any_request(Function(0x20))).unwrap().encode()[0], 0x17);
}

#[test]
fn the_auto_send_interval_repeats_the_newest_event_only() {
    let mut board = board();
    board.swipe(CARD);
    board.swipe(CARD);
    board.set_listener(3);
    let mut pushed = Vec::new();
    for second in 1..=7 {
        board.controller.on_second(now());
        while let Some(push) = board.controller.poll_push() {
            let Ok(Response::GetStatus(status)) = Response::decode(&push.frame) else { panic!() };
            pushed.push((second, status.event_index));
        }
    }
    assert_eq!(pushed, [(3, 2), (6, 2)]);
}

#[test]
fn a_resumed_board_has_the_log_that_it_had() {
    let mut board = board();
    (0..70).for_each(|_| drop(board.swipe(CARD)));
    board.ask(restore_defaults());
    (0..70).for_each(|_| drop(board.swipe(1)));

    let mut resumed = Controller::new(Setup { first_index: 9, ..setup() });
    for line in &board.truth {
        resumed.resume(line).unwrap();
    }
    assert_eq!(resumed.life(), 1);
    assert_eq!(resumed.recorded(), 140);
    assert_eq!(resumed.ring().next_index(), 71);
    for index in 0..80 {
        assert_eq!(resumed.ring().read(index), board.controller.ring().read(index));
    }

    let mut other = Controller::new(Setup { serial: 7, ..setup() });
    other.resume(&board.truth[0]).unwrap();
    assert_eq!(other.recorded(), 0);
    let error = resumed.resume(&board.truth[0]).unwrap_err();
    assert_eq!(error, "life 0 index 1 where life 1 index 71 comes next");
}

#[test]
fn a_log_can_begin_shortly_before_the_last_index() {
    let first_index = u32::MAX - 3;
    let mut board = Bench::new(Setup { first_index, ..setup() });
    let indices: Vec<_> = (0..5).map(|_| board.swipe(CARD)[0].index).collect();
    assert_eq!(indices, [u32::MAX - 3, u32::MAX - 2, u32::MAX - 1, 1, 2]);
    assert_eq!(board.event(u32::MAX - 1).index, u32::MAX - 1);
    assert_eq!(board.event(2).index, 2);
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
