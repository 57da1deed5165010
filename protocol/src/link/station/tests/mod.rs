use std::vec::Vec;

use super::*;
use crate::id::EpochId;
use crate::link::message::{Reply, Request, Table};
use crate::link::rig::{ADDRESS, Dial, Hand, KEY, SERIAL, TestDevice, WIRE, body, unwire};

mod table;

const OTHER_LIFE: EpochId = EpochId([2; 16]);

/// A station with an event in its log, its device, and a session made by hand.
struct Bench {
    station: Station<WIRE>,
    device: TestDevice,
}

impl Bench {
    fn keyed() -> Self {
        Self::new(Access::Keyed(Psk::new(KEY)))
    }

    fn new(access: Access) -> Self {
        let mut device = TestDevice::new(4);
        device.swipe(1);
        Self { station: Station::new(ADDRESS, SERIAL, access), device }
    }

    fn hear(&mut self, wire: &[u8]) -> Option<Vec<u8>> {
        self.station.on_bytes(wire, &mut self.device).map(<[u8]>::to_vec)
    }

    fn dial(&self, secret: u8) -> Dial {
        Dial::new(&KEY, self.station.present(), version::CURRENT, secret)
    }

    fn opened(&mut self, secret: u8) -> Hand {
        let dial = self.dial(secret);
        let answer = self.hear(&dial.wire).unwrap();
        dial.finish(&answer)
    }

    /// What a session's request `number` comes to, as it is written for people.
    fn ask(&mut self, hand: &Hand, number: u64, request: &[u8]) -> std::string::String {
        let answer = self.hear(&hand.sealed(number, request)).unwrap();
        let answer = hand.answer(number, &answer).unwrap();
        std::format!("{:?}", postcard::take_from_bytes::<Reply<'_>>(&answer).unwrap().0)
    }
}

fn page(role_term: u64, page: u16) -> Vec<u8> {
    let (table, generation, pages) = (Table::Cards, 7, 2);
    body(&Request::Page { role_term, table, generation, page, pages, bytes: b"page" })
}

/// The answer to a handshake once lay where the answer to the last request is kept: whoever replayed a
/// handshake while an answer was lost made the request's repetition go unanswered, and nobody knew any
/// more whether a door had been opened.
#[test]
fn a_replayed_handshake_does_not_spoil_the_answer_that_is_kept() {
    let mut bench = Bench::keyed();
    let dial = bench.dial(1);
    let recorded = dial.wire.clone();
    let answer = bench.hear(&recorded).unwrap();
    let hand = dial.finish(&answer);
    let request = hand.sealed(1, &body(&Request::OpenDoor { role_term: 1, door: 1, ms: 0 }));
    let answer = bench.hear(&request);
    assert!(bench.hear(&recorded).is_some());
    assert!(bench.hear(&request).is_some());
    assert_eq!(bench.hear(&request), answer);
    assert_eq!(bench.device.opened.len(), 1);
    assert_eq!(bench.ask(&hand, 2, &body(&Request::Doors)), "Doors([0, 1])");
}

/// The last page was counted before it took effect: where the memory failed then, asking again was
/// answered with "all of them took effect".
#[test]
fn pages_that_failed_to_take_effect_are_not_said_to_have() {
    let mut bench = Bench::keyed();
    let hand = bench.opened(1);
    assert_eq!(bench.ask(&hand, 1, &page(1, 0)), "Staged { next: 1 }");
    bench.device.refuse_activation = Some(Refusal::Memory);
    assert_eq!(bench.ask(&hand, 2, &page(1, 1)), "Refused(Memory)");
    assert_eq!(bench.ask(&hand, 3, &page(1, 1)), "Refused(Memory)");
    bench.device.refuse_activation = None;
    assert_eq!(bench.ask(&hand, 4, &page(1, 1)), "Staged { next: 2 }");
    assert_eq!(bench.device.active, [(Table::Cards, 7, 2)]);
}

/// Pages were told apart by table and generation alone: a server that took over in the middle, and numbered
/// its generation alike, was told to go on behind its predecessor's pages.
#[test]
fn pages_of_two_reigns_are_never_mixed() {
    let mut bench = Bench::keyed();
    let hand = bench.opened(1);
    assert_eq!(bench.ask(&hand, 1, &page(1, 0)), "Staged { next: 1 }");
    assert_eq!(bench.ask(&hand, 2, &page(2, 1)), "Refused(Page { next: 0 })");
    assert_eq!(bench.ask(&hand, 3, &page(2, 0)), "Staged { next: 1 }");
    assert_eq!(bench.ask(&hand, 4, &page(1, 1)), "Refused(RoleTerm { highest: 2 })");
    assert_eq!(bench.ask(&hand, 5, &page(2, 1)), "Staged { next: 2 }");
    assert_eq!(bench.device.active, [(Table::Cards, 7, 2)]);
}

impl<const WIRE: usize> Station<WIRE> {
    /// What its future depends on: the sessions' lives and last requests, and whether it keeps an answer.
    pub(in crate::link) fn summary(&self) -> (bool, [Option<(u8, u64)>; 2]) {
        let session = |session: &Option<Session>| {
            session.as_ref().map(|session| (session.epoch.0[0], session.last))
        };
        (self.sent_length.is_some(), [session(&self.session), session(&self.opened)])
    }
}
