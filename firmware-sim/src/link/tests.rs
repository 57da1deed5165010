use std::time::Duration;

use postern_protocol::link::event::{Code, Event, Stamp};
use postern_protocol::link::frame::Receiver;
use postern_protocol::link::gateway::{Access, Failure, Peer, Settings, Step};
use postern_protocol::link::message::{Flags, Refusal, Reply, Request, Status, Table};
use postern_protocol::transaction::Timestamp as Moment;
use postern_protocol::{EpochId, Index};

use super::*;
use crate::controller::happening::Swipe;
use crate::ledger::{Kind, LedgerError, Line, Truth};

const SERIAL: u32 = 70_001;
const KEY: [u8; 32] = [0x42; 32];
const CARD: u32 = 8_165_538;

fn setup() -> Setup {
    Setup {
        seed: 7,
        serial: SERIAL,
        address: 5,
        security: Security::Key(Psk::new(KEY)),
        capacity: 8,
        record_special_events: false,
        cards: vec![CARD],
    }
}

fn now() -> jiff::Timestamp {
    "2026-11-23T12:00:00.250Z".parse().unwrap()
}

fn swipe(card: u32) -> Swipe {
    Swipe { card, door: 3, direction: 2 }
}

/// A controller, its ledger, and a gateway that asks it over a line without noise.
struct Bench {
    controller: LinkController,
    truth: Vec<Line>,
    peer: Peer,
    receiver: Receiver<1_024>,
    secret: u8,
}

/// What a question came to.
enum Answer {
    Events { lost: u64, events: Vec<Vec<u8>> },
    Status(Status),
    Other(String),
    Failed(Failure),
}

impl Bench {
    fn new() -> Self {
        let peer = Peer::new(Settings { address: 5, serial: SERIAL, access: Access::Keyed(KEY) });
        let controller = LinkController::new(setup());
        Self { controller, truth: Vec::new(), peer, receiver: Receiver::default(), secret: 0 }
    }

    fn swipe(&mut self, card: u32) {
        self.controller.swipe(swipe(card), now(), &mut self.truth).unwrap();
    }

    fn ask(&mut self, request: &Request<'_>, epoch: Option<EpochId>) -> Answer {
        let mut step = self.peer.ask(request, epoch, Duration::ZERO);
        loop {
            match step {
                Step::Failed(failure) => return Answer::Failed(failure),
                Step::Send(_) => step = self.exchange(),
                Step::Answered => {
                    return match self.peer.answer() {
                        Some((Reply::Events { lost, .. }, runs)) => {
                            Answer::Events { lost, events: runs.map(<[u8]>::to_vec).collect() }
                        }
                        Some((Reply::Status(status), _)) => Answer::Status(status),
                        other => Answer::Other(format!("{:?}", other.map(|(reply, _)| reply))),
                    };
                }
            }
        }
    }

    fn exchange(&mut self) -> Step {
        let request = self.peer.wire().to_vec();
        let reply = self.controller.on_bytes(&request, now(), &mut self.truth).unwrap();
        let reply = reply.unwrap_or_default().to_vec();
        let mut rest = &reply[..];
        while !rest.is_empty() {
            let (taken, is_whole) = self.receiver.push(rest);
            rest = &rest[taken..];
            if is_whole {
                let (header, plain) = self.receiver.frame().unwrap();
                let secret = &mut self.secret;
                let step = self.peer.on_frame(header, plain, &mut || {
                    *secret += 1;
                    [*secret; 32]
                });
                if let Some(step) = step {
                    return step;
                }
            }
        }
        self.peer.on_silence()
    }

    fn poll(&mut self, committed: u64) -> (u64, Vec<Vec<u8>>) {
        let epoch = self.epoch();
        match self.ask(&Request::Poll { committed, skip: 0, room: 900 }, Some(epoch)) {
            Answer::Events { lost, events } => (lost, events),
            Answer::Status(_) | Answer::Other(_) | Answer::Failed(_) => panic!("no events"),
        }
    }

    fn status(&mut self) -> Status {
        match self.ask(&Request::Status, None) {
            Answer::Status(status) => status,
            Answer::Events { .. } | Answer::Other(_) | Answer::Failed(_) => panic!("no status"),
        }
    }

    fn other(&mut self, request: &Request<'_>) -> String {
        match self.ask(request, None) {
            Answer::Other(text) => text,
            Answer::Failed(failure) => format!("{failure:?}"),
            Answer::Events { .. } | Answer::Status(_) => panic!("no such answer"),
        }
    }

    fn epoch(&self) -> EpochId {
        self.controller.device().log().epoch()
    }

    /// The bytes of the event lines of the present life.
    fn recorded(&self) -> Vec<(Index, Vec<u8>)> {
        let present = self.controller.device().life();
        let lines = self.truth.iter().filter_map(|line| match line {
            Line::Event(line) if line.life == present => line.raw.link_event(),
            Line::Event(_) | Line::Restart(_) | Line::Modbus(_) => None,
        });
        lines.map(|(index, event)| (index, event.to_vec())).collect()
    }

    fn kinds(&self) -> Vec<Kind> {
        let lines = self.truth.iter().filter_map(|line| match line {
            Line::Event(line) => Some(line.kind),
            Line::Restart(_) | Line::Modbus(_) => None,
        });
        lines.collect()
    }

    /// Another simulator with the same ledger.
    fn restarted(&self) -> LinkController {
        let mut controller = LinkController::new(setup());
        self.truth.iter().for_each(|line| controller.resume(line).unwrap());
        controller
    }
}

#[test]
fn what_is_read_is_what_the_ledger_has() {
    let mut bench = Bench::new();
    bench.swipe(CARD);
    bench.swipe(1);
    let (lost, events) = bench.poll(0);
    let recorded = bench.recorded();
    assert_eq!((lost, events.len()), (0, 2));
    assert!(recorded.iter().map(|(_, event)| event).eq(&events));
    assert_eq!((recorded[0].0, recorded[1].0), (Index(1), Index(2)));
    let event = Event::decode(&events[1]).unwrap();
    assert_eq!((event.code, event.card, event.place.0), (Code::DENIED, 1, 0x83));
    assert_eq!(event.at, Stamp::of(Moment(now().as_millisecond())).unwrap());
    assert_eq!(Event::decode(&events[0]).unwrap().code, Code::GRANTED);
}

#[test]
fn lines_of_link_controllers_have_the_documented_shape() {
    let mut bench = Bench::new();
    bench.swipe(CARD);
    assert_eq!(
        serde_json::to_string(&bench.truth[0]).unwrap(),
        r#"{"controller":"link-70001","life":0,"index":1,"raw":"010000000000000040e79632010083a2b1f203","kind":"swipe","at":"2026-11-23T12:00:00.25Z"}"#
    );
}

#[test]
fn a_full_log_overwrites_its_oldest_one_by_one() {
    let mut bench = Bench::new();
    (0..11).for_each(|_| bench.swipe(CARD));
    let (lost, events) = bench.poll(0);
    assert_eq!((lost, events.len()), (3, 8));
    assert!(bench.recorded()[3..].iter().map(|(_, event)| event).eq(&events));
}

/// Refuses the line after so many.
struct Full(usize);

impl Truth for Full {
    fn keep(&mut self, _: &Line) -> Result<(), LedgerError> {
        let Some(left) = self.0.checked_sub(1) else {
            return Err(LedgerError::Dead { path: "/dev/full".into() });
        };
        self.0 = left;
        Ok(())
    }
}

#[test]
fn what_the_truth_does_not_take_does_not_happen_and_is_not_answered() {
    let mut bench = Bench::new();
    assert_eq!(bench.other(&Request::Doors), "Some(Doors([0, 0, 0, 0]))");
    let controller = &mut bench.controller;
    assert!(controller.swipe(swipe(CARD), now(), &mut Full(0)).is_err());
    assert!(controller.force(1, now(), &mut Full(0)).is_err());
    assert!(controller.reset(now(), &mut Full(0)).is_err());
    assert!(controller.power_cut(LogAfter::Lost, now(), &mut Full(0)).is_err());
    assert_eq!((controller.device().recorded(), controller.device().life()), (0, 0));
    assert_eq!(controller.device().open_doors(), [false; 4]);

    let open = Request::OpenDoor { role_term: 1, door: 1, ms: 0 };
    let Step::Send(_) = bench.peer.ask(&open, None, Duration::ZERO) else { panic!() };
    let request = bench.peer.wire().to_vec();
    assert!(bench.controller.on_bytes(&request, now(), &mut Full(0)).is_err());
    assert_eq!(bench.controller.device().log().newest(), Index(0));
}

#[test]
fn a_power_cut_ends_the_session_and_the_log_goes_on() {
    let mut bench = Bench::new();
    bench.swipe(CARD);
    bench.poll(0);
    assert!(bench.status().flags.has(Flags::RESTARTED));
    assert!(!bench.status().flags.has(Flags::RESTARTED));
    let epoch = bench.epoch();
    bench.controller.power_cut(LogAfter::Kept, now(), &mut bench.truth).unwrap();
    assert_eq!(bench.epoch(), epoch);
    let (_, events) = bench.poll(1);
    assert_eq!(Event::decode(&events[0]).unwrap().code, Code::POWER_ON);
    assert_eq!(bench.peer.counters().sessions, 2);
    let status = bench.status();
    assert!(status.flags.has(Flags::RESTARTED));
    assert_eq!((status.oldest, status.newest, status.committed), (1, 2, 1));
}

#[test]
fn a_lost_log_is_another_life_with_another_epoch() {
    let mut bench = Bench::new();
    bench.swipe(CARD);
    bench.poll(0);
    let epoch = bench.epoch();
    bench.controller.power_cut(LogAfter::Lost, now(), &mut bench.truth).unwrap();
    let present = bench.epoch();
    assert_ne!(present, epoch);
    assert_eq!(present, epoch_of(7, SERIAL, 1));
    let poll = Request::Poll { committed: 1, skip: 0, room: 900 };
    let Answer::Failed(failure) = bench.ask(&poll, Some(epoch)) else { panic!() };
    assert_eq!(failure, Failure::Life { epoch: present });
    assert!(matches!(&bench.truth[1], Line::Restart(line) if line.life == 1));
    let (_, events) = bench.poll(0);
    assert_eq!(Event::decode(&events[0]).unwrap().code, Code::POWER_ON);
    assert_eq!(bench.recorded(), [(Index(1), events[0].clone())]);
}

#[test]
fn epochs_differ_from_life_to_life_and_controller_to_controller() {
    let mut epochs: Vec<_> = (0..50)
        .flat_map(|life| [(7, 1, life), (7, 2, life), (8, 1, life)])
        .map(|(seed, serial, life)| epoch_of(seed, serial, life))
        .collect();
    epochs.sort_unstable();
    epochs.dedup();
    assert_eq!(epochs.len(), 150);
}

#[test]
fn a_simulator_that_is_started_again_goes_on_in_the_same_epoch_and_log() {
    let mut bench = Bench::new();
    bench.swipe(CARD);
    bench.controller.reset(now(), &mut bench.truth).unwrap();
    (0..10).for_each(|_| bench.swipe(CARD));
    bench.controller.power_cut(LogAfter::Lost, now(), &mut bench.truth).unwrap();
    (0..10).for_each(|_| bench.swipe(1));

    let mut resumed = bench.restarted();
    let (before, after) = (bench.controller.device(), resumed.device());
    assert_eq!((after.life(), after.recorded()), (2, 22));
    assert_eq!(after.log().epoch(), before.log().epoch());
    assert_eq!((after.log().oldest(), after.log().newest()), (Index(4), Index(11)));
    for index in 0..=12 {
        assert_eq!(after.log().get(Index(index)), before.log().get(Index(index)));
    }
    let error = resumed.resume(&bench.truth[0]).unwrap_err();
    assert_eq!(error, "life 0 index 1 where life 2 index 12 comes next");
}

#[test]
fn a_controller_knows_its_own_lines_only() {
    let mut bench = Bench::new();
    bench.swipe(CARD);
    let mut other = LinkController::new(Setup { serial: 70_002, ..setup() });
    other.resume(&bench.truth[0]).unwrap();
    assert_eq!(other.device().recorded(), 0);
    let mut board = bench.truth[0].clone();
    let Line::Event(line) = &mut board else { panic!() };
    line.controller = postern_protocol::ControllerId::uhppote(SERIAL);
    let mut same_number = LinkController::new(setup());
    same_number.resume(&board).unwrap();
    assert_eq!(same_number.device().recorded(), 0, "a board with this number is another one");
}

#[test]
fn what_happens_at_doors_is_recorded_and_shown() {
    let mut bench = Bench::new();
    let (controller, truth) = (&mut bench.controller, &mut bench.truth);
    controller.force(1, now(), truth).unwrap();
    controller.hold(2, now(), truth).unwrap();
    controller.button(4, now(), truth).unwrap();
    assert_eq!(bench.kinds(), [Kind::Forced, Kind::Held, Kind::Button]);
    assert_eq!(bench.other(&Request::Doors), "Some(Doors([5, 9, 0, 0]))");
    assert_eq!(bench.controller.device().open_doors(), [true, true, false, false]);
    let open = Request::OpenDoor { role_term: 3, door: 1, ms: 0 };
    assert_eq!(bench.other(&open), "Some(Done)");
    assert_eq!(bench.kinds()[3..], [Kind::RemoteOpen]);
    assert_eq!(bench.other(&Request::Doors), "Some(Doors([0, 9, 0, 0]))", "it fell shut");
    let open = Request::OpenDoor { role_term: 2, door: 1, ms: 0 };
    assert_eq!(bench.other(&open), "Refused(RoleTerm { highest: 3 })");
    let open = Request::OpenDoor { role_term: 3, door: 5, ms: 0 };
    assert_eq!(bench.other(&open), "Refused(Door)");

    let mut special = LinkController::new(Setup { record_special_events: true, ..setup() });
    let events = special.swipe(swipe(CARD), now(), &mut Vec::new()).unwrap();
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [Kind::Swipe, Kind::DoorOpened, Kind::DoorClosed]);
}

#[test]
fn a_clock_can_be_wrong_unset_and_set_to_the_millisecond() {
    let mut bench = Bench::new();
    let right = Stamp::of(Moment(now().as_millisecond())).unwrap();
    assert_eq!(bench.status().clock, right);
    bench.controller.device_mut().clock_mut().shift(-90, now());
    assert_eq!(bench.status().clock, Stamp(right.0 - 90));
    bench.controller.device_mut().clock_mut().unset();
    let status = bench.status();
    assert_eq!(status.clock, Stamp::UNSET);
    assert!(status.flags.has(Flags::CLOCK_UNSET));
    bench.swipe(CARD);
    assert_eq!(Event::decode(&bench.poll(0).1[0]).unwrap().at, Stamp::UNSET);

    let set = Request::SetTime { at: Stamp(right.0 + 5), ms: 900 };
    assert_eq!(bench.other(&set), "Some(Done)");
    let later = |ms| bench.controller.device().stamp(now() + Duration::from_millis(ms));
    assert_eq!(
        (later(0), later(99), later(100)),
        (Stamp(right.0 + 5), Stamp(right.0 + 5), Stamp(right.0 + 6))
    );
    let set = Request::SetTime { at: Stamp::UNSET, ms: 0 };
    assert_eq!(bench.other(&set), "Refused(Malformed)");
}

#[test]
fn pages_take_effect_with_the_last_and_a_reset_forgets_them() {
    let mut bench = Bench::new();
    let page = |page, bytes| Request::Page {
        role_term: 4,
        table: Table::Cards,
        generation: 9,
        page,
        pages: 2,
        bytes,
    };
    assert_eq!(bench.other(&page(0, b"one")), "Some(Staged { next: 1 })");
    assert_eq!(bench.status().cards, 0);
    bench.controller.power_cut(LogAfter::Kept, now(), &mut bench.truth).unwrap();
    let Answer::Failed(Failure::Refused(refusal)) = bench.ask(&page(1, b"two"), None) else {
        panic!()
    };
    assert_eq!(refusal, Refusal::Page { next: 0 }, "what was not finished is gone");
    assert_eq!(bench.other(&page(0, b"one")), "Some(Staged { next: 1 })");
    assert_eq!(bench.other(&page(1, b"two")), "Some(Staged { next: 2 })");
    let pages = vec![b"one".to_vec(), b"two".to_vec()];
    let expected = device::Generation { number: 9, pages };
    assert_eq!(bench.controller.device().generation(Table::Cards), &expected);
    let status = bench.status();
    assert_eq!((status.cards, status.settings, status.role_term), (9, 0, 4));

    bench.controller.power_cut(LogAfter::Lost, now(), &mut bench.truth).unwrap();
    assert_eq!((bench.status().cards, bench.status().role_term), (9, 4));
    bench.controller.reset(now(), &mut bench.truth).unwrap();
    assert_eq!((bench.status().cards, bench.status().role_term), (0, 0));
}

#[test]
fn a_table_that_is_too_large_is_refused() {
    let mut bench = Bench::new();
    let bytes = [7; 512];
    let page = |page| Request::Page {
        role_term: 1,
        table: Table::Settings,
        generation: 1,
        page,
        pages: u16::MAX,
        bytes: &bytes,
    };
    let whole = u16::try_from(device::MAX_TABLE / bytes.len()).unwrap();
    for at in 0..whole {
        assert_eq!(bench.other(&page(at)), format!("Some(Staged {{ next: {} }})", at + 1));
    }
    assert_eq!(bench.other(&page(whole)), "Refused(Memory)");
}
