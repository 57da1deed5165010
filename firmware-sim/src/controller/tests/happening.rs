use super::*;

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

    board.controller.clock_mut().shift(400 * 24 * 3600, now());
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
    let reasons: Vec<_> = events
        .iter()
        .map(|event| (board.event(index_of(event)).event_type, event.raw.as_slice()[19]))
        .collect();
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
