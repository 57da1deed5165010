//! What went wrong once.

use std::vec::Vec;

use super::*;
use crate::link::rig::{ADDRESS, FIRST_LIFE, Outcome, Rig, Way, honest};

/// A refusal in clear, which anybody can send.
fn no_session(sequence: u8) -> Vec<u8> {
    let header = Header { address: ADDRESS, from: From::Station, kind: Kind::Refused, sequence };
    let mut plain = header.encode().to_vec();
    plain.push(2);
    let mut wire = [0; 32];
    let length = frame::encode(&plain, &mut wire).unwrap();
    wire[..length].to_vec()
}

/// A command for which a session had to be opened was carried out, its answer lost, and a refusal in clear
/// came in its place: the gateway said that there was no session, as if nothing had happened.
#[test]
fn a_command_that_was_sent_is_unknown_also_in_the_session_that_was_opened_for_it() {
    let mut rig = Rig::keyed();
    let mut answers = 0;
    let open = Request::OpenDoor { role_term: 3, door: 1, ms: 0 };
    let outcome = rig.ask(&open, None, &mut |way, bytes| {
        answers += u32::from(way == Way::ToGateway);
        // Hello, opening, command.
        if answers == 3 { std::vec![no_session(1)] } else { honest(way, bytes) }
    });
    assert_eq!(rig.device.opened.len(), 1);
    assert_eq!(outcome, Outcome::Failed(Failure::Unknown));
}

/// Pages were made shorter only after one had come through; on a line on which none did they stayed long for
/// ever.
#[test]
fn a_page_that_never_comes_through_is_asked_for_shorter() {
    let mut rig = Rig::keyed();
    (1..=60).for_each(|card| rig.device.swipe(card));
    assert_eq!(rig.open(&mut honest), Outcome::Opened);
    let mut bad = |way, bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        if way == Way::ToGateway && bytes.len() > 120 {
            bytes[60] ^= 1;
            bytes[60] |= 2;
        }
        std::vec![bytes]
    };
    let mut poll = |rig: &mut Rig| {
        let request = Request::Poll { committed: 0, skip: 0, room: rig.peer.room() };
        rig.ask(&request, Some(FIRST_LIFE), &mut bad)
    };
    assert_eq!(poll(&mut rig), Outcome::Failed(Failure::Broken));
    assert!(matches!(poll(&mut rig), Outcome::Events { .. }));
}

/// Beyond that the station could not tell which request it is.
#[test]
fn after_fifteen_questions_without_an_answer_the_next_one_opens_a_session() {
    let mut rig = Rig::keyed();
    rig.device.swipe(1);
    rig.open(&mut honest);
    let poll = Request::Poll { committed: 0, skip: 0, room: 200 };
    for _ in 0..15 {
        let lost = rig.ask(&poll, Some(FIRST_LIFE), &mut |_, _| Vec::new());
        assert_eq!(lost, Outcome::Failed(Failure::Silent));
    }
    assert!(matches!(rig.ask(&poll, Some(FIRST_LIFE), &mut honest), Outcome::Events { .. }));
    assert_eq!((rig.peer.counters().sessions, rig.peer.counters().refusals), (2, 0));
}

/// Damaged pages count also where a repetition came through.
#[test]
fn pages_that_come_through_at_the_second_try_are_asked_for_shorter() {
    let mut rig = Rig::keyed();
    (1..=60).for_each(|card| rig.device.swipe(card));
    rig.open(&mut honest);
    let before = rig.peer.room();
    for _ in 0..20 {
        let mut is_hit = false;
        let mut once = |way, bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            if way == Way::ToGateway && !std::mem::replace(&mut is_hit, true) {
                bytes[20] ^= 1;
                bytes[20] |= 2;
            }
            std::vec![bytes]
        };
        let request = Request::Poll { committed: 0, skip: 0, room: rig.peer.room() };
        let outcome = rig.ask(&request, Some(FIRST_LIFE), &mut once);
        assert!(matches!(outcome, Outcome::Events { .. }), "{outcome:?}");
    }
    assert!(rig.peer.room() < before, "{} {before}", rig.peer.room());
}
