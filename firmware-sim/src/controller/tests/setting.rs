use super::*;

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
