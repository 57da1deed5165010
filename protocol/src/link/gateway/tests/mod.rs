use std::vec::Vec;

use super::*;
use crate::link::message::Table;
use crate::link::noise::Psk;
use crate::link::rig::{FIRST_LIFE, KEY, Outcome, Rig, Way, cards, honest};
use crate::link::station::Access as StationAccess;

mod table;

fn poll(committed: u64, room: u16) -> Request<'static> {
    Request::Poll { committed, skip: 0, room }
}

#[test]
fn a_backlog_is_read_page_by_page_and_committed_on_the_way() {
    for mut rig in [Rig::keyed(), Rig::plain()] {
        (1..=60).for_each(|card| rig.device.swipe(card));
        assert_eq!(rig.open(&mut honest), Outcome::Opened);
        let welcome = rig.peer.welcome().unwrap();
        assert_eq!((welcome.epoch, welcome.oldest, welcome.newest), (FIRST_LIFE, 1, 60));
        let mut read = Vec::new();
        loop {
            let committed = u64::try_from(read.len()).unwrap();
            let room = rig.peer.room();
            let outcome = rig.ask(&poll(committed, room), Some(FIRST_LIFE), &mut honest);
            assert_eq!(rig.device.log.committed().0, committed);
            let more = cards(&outcome);
            if more.is_empty() {
                break;
            }
            read.extend(more);
        }
        assert_eq!(read, (1..=60).collect::<Vec<u64>>());
        assert_eq!(rig.peer.counters().sessions, 1);
    }
}

#[test]
fn what_was_overwritten_is_said_in_so_many_words() {
    let mut rig = Rig::keyed();
    (1..=100).for_each(|card| rig.device.swipe(card));
    let outcome = rig.ask(&poll(10, 60), Some(FIRST_LIFE), &mut honest);
    let Outcome::Events { lost, behind, .. } = &outcome else { panic!("{outcome:?}") };
    assert_eq!((*lost, cards(&outcome)[0], *behind), (26, 37, 60));
}

#[test]
fn a_lost_poll_and_a_lost_answer_cost_a_repeat_and_nothing_else() {
    for lost in [Way::ToStation, Way::ToGateway] {
        let mut rig = Rig::keyed();
        rig.device.swipe(1);
        rig.open(&mut honest);
        let before = rig.station.counters();
        let mut done = false;
        let mut lossy = |way, bytes: &[u8]| {
            if way == lost && !std::mem::replace(&mut done, true) {
                return Vec::new();
            }
            honest(way, bytes)
        };
        let outcome = rig.ask(&poll(0, 200), Some(FIRST_LIFE), &mut lossy);
        assert_eq!(cards(&outcome), [1]);
        let after = rig.station.counters();
        assert_eq!(after.requests - before.requests, 1);
        assert_eq!(after.repeats - before.repeats, u32::from(lost == Way::ToGateway));
        assert_eq!(rig.peer.counters().repeats, 1);
    }
}

#[test]
fn a_command_is_carried_out_once_whatever_is_repeated() {
    let open = Request::OpenDoor { role_term: 3, door: 1, ms: 0 };
    let mut rig = Rig::keyed();
    let mut doubled = |way, bytes: &[u8]| [honest(way, bytes), honest(way, bytes)].concat();
    let outcome = rig.ask(&open, None, &mut doubled);
    assert_eq!(outcome, Outcome::Other("Done".into()));
    assert_eq!(rig.device.opened, [(1, 0)]);
    // Its answer is lost each time: nobody knows, and nobody tries again.
    let mut deaf = |way, bytes: &[u8]| match way {
        Way::ToStation => honest(way, bytes),
        Way::ToGateway => Vec::new(),
    };
    assert_eq!(rig.ask(&open, None, &mut deaf), Outcome::Failed(Failure::Unknown));
    assert_eq!(rig.device.opened.len(), 2);
    // The station forgets its session after it opened the door.
    let mut rig = Rig::keyed();
    rig.open(&mut honest);
    let mut answered = 0;
    let outcome = rig.ask(&open, None, &mut |way, bytes| {
        answered += u32::from(way == Way::ToGateway);
        if way == Way::ToGateway && answered == 1 {
            let mut refusal = Vec::new();
            refusal.extend(
                Header {
                    address: crate::link::rig::ADDRESS,
                    from: From::Station,
                    kind: Kind::Refused,
                    sequence: 1,
                }
                .encode(),
            );
            refusal.push(2);
            let mut wire = [0; 32];
            let length = frame::encode(&refusal, &mut wire).unwrap();
            return std::vec![wire[..length].to_vec()];
        }
        honest(way, bytes)
    });
    assert_eq!(outcome, Outcome::Failed(Failure::Unknown));
    assert_eq!(rig.device.opened.len(), 1);
}

/// A command was sent in a session that was opened for it, and carried out; its answer was lost and the
/// station restarted: what was said then was that there is no session, as if it had never been heard.
#[test]
fn a_command_that_was_sent_in_a_session_of_its_own_may_have_been_carried_out() {
    let open = Request::OpenDoor { role_term: 3, door: 1, ms: 0 };
    let mut rig = Rig::keyed();
    let mut step = rig.peer.ask(&open, None, rig.now);
    for _ in 0..2 {
        let answer = rig.station.on_bytes(rig.peer.wire(), &mut rig.device).unwrap().to_vec();
        step = rig.hear(&answer).unwrap();
    }
    assert_eq!(step, Step::Send(Window::Usual));
    assert!(rig.station.on_bytes(rig.peer.wire(), &mut rig.device).is_some());
    rig.reboot(StationAccess::Keyed(Psk::new(KEY)));
    rig.peer.is_alive = true;
    assert_eq!(rig.peer.on_silence(), Step::Send(Window::Usual));
    let answer = rig.station.on_bytes(rig.peer.wire(), &mut rig.device).unwrap().to_vec();
    assert_eq!(rig.hear(&answer), Some(Step::Failed(Failure::Unknown)));
    assert_eq!(rig.device.opened.len(), 1);
}

#[test]
fn a_station_that_was_rebooted_is_opened_anew_and_the_question_put_again() {
    let mut rig = Rig::keyed();
    rig.device.swipe(1);
    rig.open(&mut honest);
    rig.reboot(StationAccess::Keyed(Psk::new(KEY)));
    let outcome = rig.ask(&poll(0, 200), Some(FIRST_LIFE), &mut honest);
    assert_eq!(cards(&outcome), [1]);
    assert_eq!(rig.peer.counters().sessions, 2);
}

#[test]
fn a_question_about_one_life_of_the_log_is_never_put_to_another() {
    let mut rig = Rig::keyed();
    (1..=9).for_each(|card| rig.device.swipe(card));
    rig.open(&mut honest);
    let other = EpochId([9; 16]);
    rig.device.log.restart(other);
    rig.device.swipe(1);
    let outcome = rig.ask(&poll(9, 200), Some(FIRST_LIFE), &mut honest);
    assert_eq!(outcome, Outcome::Failed(Failure::Life { epoch: other }));
    assert_eq!(rig.device.log.committed().0, 0);
    assert_eq!(rig.peer.welcome().unwrap().epoch, other);
    assert!(rig.peer.is_alive());
}

#[test]
fn a_wrong_key_a_wrong_serial_and_a_wrong_mode_are_told_apart() {
    let keyed = || StationAccess::Keyed(Psk::new(KEY));
    let cases = [
        (keyed(), Access::Keyed([7; 32]), Failure::Key),
        (keyed(), Access::Plain, Failure::Security { is_keyed: true }),
        (StationAccess::Plain, Access::Keyed(KEY), Failure::Security { is_keyed: false }),
    ];
    for (station, gateway, failure) in cases {
        let mut rig = Rig::new(station, gateway);
        rig.device.swipe(1);
        let mut said = 0;
        let outcome = rig.ask(&poll(0, 200), Some(FIRST_LIFE), &mut |way, bytes| {
            said += usize::from(way == Way::ToGateway);
            honest(way, bytes)
        });
        assert_eq!(outcome, Outcome::Failed(failure));
        assert!(said <= 2, "a hello and a refusal at most");
        assert_eq!(rig.device.log.committed().0, 0);
    }
    let mut rig = Rig::keyed();
    rig.peer = Peer::new(Settings { address: 5, serial: 1, access: Access::Keyed(KEY) });
    let found = crate::link::rig::SERIAL;
    assert_eq!(rig.open(&mut honest), Outcome::Failed(Failure::Serial { found }));
}

#[test]
fn a_dead_station_costs_one_wait_once_it_is_known_to_be_dead() {
    let mut rig = Rig::keyed();
    rig.open(&mut honest);
    let mut sent = 0;
    let mut dead = |_: Way, _: &[u8]| {
        sent += 1;
        Vec::new()
    };
    assert_eq!(rig.ask(&poll(0, 9), None, &mut dead), Outcome::Failed(Failure::Silent));
    assert_eq!(rig.ask(&poll(0, 9), None, &mut dead), Outcome::Failed(Failure::Silent));
    assert_eq!(rig.ask(&poll(0, 9), None, &mut dead), Outcome::Failed(Failure::Silent));
    assert_eq!(sent, TRIES + 2);
    // However long it was away.
    for _ in 0..100 {
        rig.ask(&poll(0, 9), None, &mut |_, _| Vec::new());
    }
    rig.device.swipe(1);
    assert_eq!(cards(&rig.ask(&poll(0, 200), Some(FIRST_LIFE), &mut honest)), [1]);
}

#[test]
fn a_session_is_renewed_after_an_hour_and_after_many_requests() {
    let mut rig = Rig::keyed();
    rig.open(&mut honest);
    rig.now = MAX_SESSION.saturating_sub(Duration::from_secs(1));
    rig.open(&mut honest);
    assert_eq!(rig.peer.counters().sessions, 1);
    rig.now = MAX_SESSION;
    rig.open(&mut honest);
    assert_eq!(rig.peer.counters().sessions, 2);
    rig.peer.session.as_mut().unwrap().last = MAX_REQUESTS;
    rig.open(&mut honest);
    assert_eq!(rig.peer.counters().sessions, 3);
}

#[test]
fn every_other_request_is_answered() {
    let mut rig = Rig::keyed();
    rig.device.condition.flags = crate::link::message::Flags(2);
    for (request, wanted) in [
        (Request::Identify, "model: \"rig\""),
        (Request::Status, "flags: Flags(18)"),
        (Request::Status, "flags: Flags(2)"),
        (Request::Doors, "Doors([0, 1])"),
        (Request::SetTime { at: crate::link::event::Stamp(9), ms: 1 }, "Done"),
        (Request::SetTime { at: crate::link::event::Stamp(9), ms: 1_000 }, "Refused(Malformed)"),
        (Request::OpenDoor { role_term: 2, door: 9, ms: 1 }, "Refused(Door)"),
        (Request::OpenDoor { role_term: 1, door: 1, ms: 1 }, "Refused(RoleTerm { highest: 2 })"),
        (poll(1, 9), "Refused(Index)"),
    ] {
        let outcome = rig.ask(&request, None, &mut honest);
        let text = std::format!("{outcome:?}");
        let plain = text.replace('\\', "");
        assert!(plain.contains(wanted), "{request:?}: {plain}");
    }
    let page = |page, generation| Request::Page {
        role_term: 2,
        table: Table::Cards,
        generation,
        page,
        pages: 2,
        bytes: b"cards",
    };
    for (request, wanted) in [
        (page(1, 7), "Page { next: 0 }"),
        (page(0, 7), "next: 1"),
        (page(0, 7), "next: 1"),
        (page(1, 7), "next: 2"),
        (page(1, 7), "next: 2"),
        (page(0, 6), "Generation { present: 7 }"),
        (page(2, 8), "Malformed"),
    ] {
        let outcome = std::format!("{:?}", rig.ask(&request, None, &mut honest));
        assert!(outcome.contains(wanted), "{request:?}: {outcome}");
    }
    assert_eq!(rig.device.active, [(Table::Cards, 7, 2)]);
    assert_eq!(rig.device.staged.len(), 2);
}

/// In clear an opening was repeated as it was: the answer to the first, of a life that ended meanwhile, was
/// taken for that to the second, and the gateway asked the new life what it meant for the old one.
#[test]
fn a_late_answer_to_an_opening_in_clear_is_not_the_present_ones() {
    let mut rig = Rig::plain();
    let mut step = rig.peer.open(rig.now);
    let answer = rig.station.on_bytes(rig.peer.wire(), &mut rig.device).unwrap().to_vec();
    step = rig.hear(&answer).unwrap_or(step);
    assert_eq!(step, Step::Send(Window::Handshake));
    let late = rig.station.on_bytes(rig.peer.wire(), &mut rig.device).unwrap().to_vec();
    rig.peer.is_alive = true;
    assert_eq!(rig.peer.on_silence(), Step::Send(Window::Handshake));
    rig.device.log.restart(EpochId([9; 16]));
    let answer = rig.station.on_bytes(rig.peer.wire(), &mut rig.device).unwrap().to_vec();
    assert_eq!(rig.hear(&late), None);
    assert_eq!(rig.hear(&answer), Some(Step::Answered));
    assert_eq!(rig.peer.welcome().unwrap().epoch, EpochId([9; 16]));
}

/// A question for the session alone left the answer to the question before where it was: whoever looked
/// for one took it for the present one's.
#[test]
fn an_opening_has_no_answer_of_the_question_before() {
    let mut rig = Rig::keyed();
    assert_eq!(rig.ask(&Request::Doors, None, &mut honest), Outcome::Other("Doors([0, 1])".into()));
    assert_eq!(rig.open(&mut honest), Outcome::Opened);
    assert!(rig.peer.answer().is_none());
}

/// What a station has no room for was sent all the same: it dropped it, three times, and counted as dead.
#[test]
fn a_request_that_the_station_has_no_room_for_is_not_sent() {
    let mut rig = Rig::keyed();
    rig.open(&mut honest);
    let page = |bytes| Request::Page {
        role_term: 1,
        table: Table::Cards,
        generation: 1,
        page: 0,
        pages: 1,
        bytes,
    };
    let room = rig.peer.capacity() - 8;
    let bytes = std::vec![7; room + 1];
    let requests = rig.peer.counters().requests;
    let outcome = rig.ask(&page(&bytes), None, &mut honest);
    let capacity = rig.peer.capacity();
    assert_eq!(outcome, Outcome::Failed(Failure::TooLong { capacity }));
    assert_eq!(rig.peer.counters().requests, requests);
    assert!(rig.peer.is_alive());
    let outcome = rig.ask(&page(&bytes[..room]), None, &mut honest);
    assert_eq!(outcome, Outcome::Other("Staged { next: 1 }".into()));
}

impl Peer {
    /// The same once more; in clear only, since the keys of a session cannot be copied.
    pub(in crate::link) fn fork(&self) -> Self {
        let state = match &self.state {
            State::Idle => State::Idle,
            State::Hello => State::Hello,
            State::Opening(Handshake::Plain { version, token }) => {
                State::Opening(Handshake::Plain { version: *version, token: *token })
            }
            State::Opening(Handshake::Noise(_)) => panic!("keys cannot be copied"),
            State::Asking => State::Asking,
        };
        let session = self.session.as_ref().map(|session| {
            assert!(!session.is_sealed());
            let mut copy = Session::new(None, session.welcome, session.since);
            (copy.last, copy.answered) = (session.last, session.answered);
            copy
        });
        let Question { ref body, tag, is_idempotent, epoch, was_sent, reopened, hits } =
            self.question;
        let body = body.clone();
        let question = Question { body, tag, is_idempotent, epoch, was_sent, reopened, hits };
        Self {
            settings: self.settings.clone(),
            state,
            session,
            question,
            tries: self.tries,
            heard: self.heard,
            is_alive: self.is_alive,
            sequence: self.sequence,
            wire_limit: self.wire_limit,
            wire: self.wire.clone(),
            answer: self.answer.clone(),
            size: self.size,
            counters: self.counters,
            now: self.now,
        }
    }

    /// What its future depends on, but for numbers that only count on: how far its session is behind the
    /// station's count stands here as the number of its last request.
    pub(in crate::link) fn summary(&self) -> (Vec<u8>, Option<(u8, u64, u64)>) {
        let question = &self.question;
        let state = match &self.state {
            State::Idle => 0,
            State::Hello => 1,
            State::Opening(_) => 2,
            State::Asking => 3,
        };
        let epoch = question.epoch.map_or(0, |epoch| epoch.0[0]);
        let tries = u8::try_from(self.tries).unwrap();
        let flags = [question.was_sent, question.reopened, self.heard, self.is_alive];
        let mut all = std::vec![state, epoch, tries, u8::from(question.is_idempotent)];
        all.extend(flags.map(u8::from));
        all.extend_from_slice(&question.body);
        if state == 0 {
            // No question is on its way.
            all = std::vec![0, u8::from(self.is_alive)];
        }
        let session = self.session.as_ref().map(|session| {
            (session.welcome.epoch.0[0], session.last, session.last - session.answered)
        });
        (all, session)
    }
}
