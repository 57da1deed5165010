use super::*;
use crate::ring::LAST_INDEX;

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
        let get = request::GetEvent { controller: SERIAL, index: line.index.try_into().unwrap() };
        let frame = board.ask(Request::GetEvent(get)).unwrap().encode();
        assert_eq!(record_bytes(&frame), line.raw.as_slice());
        assert_eq!(&frame[8..28], line.raw.as_slice());
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

/// A board whose log is at the wrap: 4294967290 to 4294967294, then 1 to `last`.
fn at_the_wrap(last: u32) -> Bench {
    let mut board = Bench::new(Setup { first_index: LAST_INDEX - 4, ..setup() });
    let indices: Vec<_> = (0..last + 5).map(|_| index_of(&board.swipe(CARD)[0])).collect();
    assert_eq!(
        indices[..7],
        [LAST_INDEX - 4, LAST_INDEX - 3, LAST_INDEX - 2, LAST_INDEX - 1, LAST_INDEX, 1, 2]
    );
    board
}

#[test]
fn every_record_can_be_read_across_the_wrap_and_what_lies_outside_says_so() {
    let mut board = at_the_wrap(59);
    let indices: Vec<_> =
        (LAST_INDEX - 4..=LAST_INDEX).chain(1..=59).map(|index| board.event(index).index).collect();
    assert!(indices.into_iter().eq((LAST_INDEX - 4..=LAST_INDEX).chain(1..=59)));
    assert_eq!(board.event(OLDEST).index, LAST_INDEX - 4);
    assert_eq!(board.event(NEWEST).index, 59);
    assert_eq!(board.event(60), board.controller.sentinel(TYPE_NONE));
    assert_eq!(board.event(LAST_INDEX - 5).event_type, TYPE_OVERWRITTEN);

    // The 65th drops the oldest chunk, which lies on both sides of the wrap.
    board.swipe(CARD);
    assert_eq!(board.event(OLDEST).index, 12);
    for gone in [LAST_INDEX - 4, LAST_INDEX, 1, 11] {
        assert_eq!(board.event(gone).event_type, TYPE_OVERWRITTEN, "{gone}");
    }
}

#[test]
fn a_status_and_a_push_name_the_newest_event_on_both_sides_of_the_wrap() {
    let mut board = Bench::new(Setup { first_index: LAST_INDEX - 1, ..setup() });
    board.set_listener(0);
    for index in [LAST_INDEX - 1, LAST_INDEX, 1, 2] {
        board.swipe(CARD);
        let event = board.event(index);
        let Some(Response::GetStatus(status)) = board.ask(any_request(Function(0x20))) else {
            panic!()
        };
        assert_eq!((status.event_index, status.event_card), (index, CARD));
        assert_eq!(status.event_timestamp, event.timestamp);
        let push = board.controller.poll_push().unwrap().frame;
        let Ok(Response::GetStatus(pushed)) = Response::decode(&push) else { panic!() };
        assert_eq!(pushed.event_index, index);
    }
}

#[test]
fn the_shared_cursor_moves_on_both_sides_of_the_wrap() {
    let mut board = at_the_wrap(2);
    let mut set = |index| board.controller.set_event_index(index);
    assert_eq!([set(LAST_INDEX - 2), set(1), set(2)], [true; 3]);
    assert_eq!([set(3), set(NEWEST), set(0)], [false, false, true]);
}

#[test]
fn a_replaced_board_has_nothing_of_the_one_before_but_its_serial_number() {
    let mut board = board();
    (0..5).for_each(|_| drop(board.swipe(CARD)));
    board.set_listener(0);
    board.record_special_events(true);
    board.ask(put_card(77));
    board.controller.set_event_index(3);
    board.controller.force(2, now(), &mut board.truth).unwrap();

    board.controller.replace(now(), &mut board.truth).unwrap();
    assert!(matches!(board.truth.last(), Some(Line::Restart(line)) if line.life == 1));
    let replaced = &board.controller;
    assert_eq!((replaced.life(), replaced.recorded(), replaced.event_index()), (1, 7, 0));
    assert_eq!((replaced.ring().stored(), replaced.cards().count()), (0, 1));
    assert_eq!((replaced.settings().listener.port, replaced.open_doors()), (0, [false; 4]));
    assert!(!replaced.time(now()).is_set());
    assert_eq!(board.swipe(CARD)[0].index, 1);

    let mut resumed = Controller::new(setup());
    board.truth.iter().for_each(|line| resumed.resume(line).unwrap());
    assert_eq!((resumed.life(), resumed.ring().next_index()), (1, 2));

    let late = Setup { first_index: 500, ..setup() };
    let mut late = Bench::new(late);
    assert_eq!(late.swipe(CARD)[0].index, 500);
    late.controller.replace(now(), &mut late.truth).unwrap();
    assert_eq!(late.swipe(CARD)[0].index, 1, "every log but the first begins at 1");
}
