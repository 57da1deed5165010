//! Every state of the gateway's side of a station by every input: what it does, and what it is then.

use super::*;
use crate::link::frame::FrameError;
use crate::link::rig::{ADDRESS, SERIAL, TestDevice, body, rewire, unwire};
use Does::{Answers, Asks, Fails, Opens, Repeats, SaysHello, Waits};
use Is::{Asking, AskingAnew, Commanding, CommandingAnew, Greeting, Idling, Opening_};

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    /// Nothing was asked.
    Idling,
    /// It said hello.
    Greeting,
    /// It sent a handshake.
    Opening_,
    /// It asked what may be asked twice, in the session that there was.
    Asking,
    /// … in a session that was opened for it.
    AskingAnew,
    /// It ordered what may not be ordered twice, in the session that there was.
    Commanding,
    /// … in a session that was opened for it.
    CommandingAnew,
}

const STATES: [Is; 7] =
    [Idling, Greeting, Opening_, Asking, AskingAnew, Commanding, CommandingAnew];

/// What it does. Whatever does not wait or repeat leaves the state that its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// Goes on waiting, in the same state.
    Waits,
    /// The same bytes once more, in the same state.
    Repeats,
    SaysHello,
    Opens,
    /// Puts the question.
    Asks,
    Answers,
    Fails(Failure),
}

/// What it hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    /// The station's own answer to what was sent last.
    Good,
    /// … less one.
    GoodByTheNumberBefore,
    GoodOfAnotherStation,
    GoodFlipped,
    Reflected,
    Present,
    PresentOfAnotherSerial,
    PresentOfLaterVersions,
    PresentOfNoVersion,
    PresentTooShort,
    PresentOtherMode,
    PresentMalformed,
    OpenNoise,
    OpenPlain,
    OpenMalformed,
    OpenEmpty,
    Sealed,
    SealedEmpty,
    Plain,
    Refused(Refusal),
    RefusedMalformed,
    RefusedByAnotherNumber,
    Broken,
    Silence,
    SilenceOfTheDead,
    LastSilence,
}

struct Scene {
    rig: Rig,
    is: Is,
    /// What the station answers to what was sent last.
    good: Option<Vec<u8>>,
}

impl Scene {
    fn new(is: Is, rig: fn() -> Rig) -> Self {
        let mut scene = Self { rig: rig(), is, good: None };
        let command = Request::OpenDoor { role_term: 1, door: 1, ms: 0 };
        let request =
            if matches!(is, Commanding | CommandingAnew) { command } else { Request::Doors };
        scene.rig.device.swipe(1);
        let until = match is {
            Idling => {
                scene.rig.open(&mut honest);
                return scene;
            }
            Asking | Commanding => {
                scene.rig.open(&mut honest);
                1
            }
            Greeting => 1,
            Opening_ => 2,
            AskingAnew | CommandingAnew => 3,
        };
        // It answered lately, or one silence would be the end.
        scene.rig.peer.is_alive = true;
        let mut step = scene.rig.peer.ask(&request, None, Duration::ZERO);
        for exchange in 1..=until {
            assert!(matches!(step, Step::Send(_)), "{is:?}: {step:?}");
            let wire = scene.rig.peer.wire().to_vec();
            let answer = scene.rig.station.on_bytes(&wire, &mut scene.rig.device);
            let answer = answer.unwrap().to_vec();
            if exchange < until {
                step = scene.rig.hear(&answer).unwrap();
            }
            scene.good = Some(answer);
        }
        scene
    }

    fn is_keyed(&self) -> bool {
        matches!(self.rig.peer.settings.access, Access::Keyed(_))
    }

    fn hear(&mut self, input: Input) -> Option<Step> {
        let sequence = self.rig.peer.sequence;
        let is_keyed = self.is_keyed();
        let header = |kind| Header { address: ADDRESS, from: From::Station, kind, sequence };
        let present = Present { min: 1, max: 1, serial: SERIAL, wire: 256, is_keyed };
        let hello = |present: Present| Some(rewire(header(Kind::Hello), &body(&present)));
        let good = self.good.as_deref().map(unwire);
        let changed = |change: &dyn Fn(&mut Header, &mut Vec<u8>)| {
            good.clone().map(|(mut header, mut body)| {
                change(&mut header, &mut body);
                rewire(header, &body)
            })
        };
        let bytes = match input {
            Input::Good => self.good.clone(),
            Input::GoodByTheNumberBefore => {
                changed(&|header, _| header.sequence = (header.sequence + 31) % 32)
            }
            Input::GoodOfAnotherStation => changed(&|header, _| header.address = 6),
            Input::GoodFlipped => changed(&|_, body| *body.last_mut().unwrap() ^= 0x10),
            Input::Reflected => Some(self.rig.peer.wire().to_vec()),
            Input::Present => hello(present),
            Input::PresentOfAnotherSerial => hello(Present { serial: 9, ..present }),
            Input::PresentOfLaterVersions => hello(Present { min: 2, max: 9, ..present }),
            Input::PresentOfNoVersion => hello(Present { min: 0, max: 0, ..present }),
            Input::PresentTooShort => hello(Present { wire: 127, ..present }),
            Input::PresentOtherMode => hello(Present { is_keyed: !is_keyed, ..present }),
            Input::PresentMalformed => Some(rewire(header(Kind::Hello), &[1, 1])),
            Input::OpenNoise => {
                Some(rewire(header(Kind::Open), &[&[0, 1], &[0x55; 85][..]].concat()))
            }
            Input::OpenPlain => {
                let opening = body(&Opening::Plain { version: 1, token: 0x0101_0101 });
                Some(rewire(header(Kind::Open), &opening))
            }
            Input::OpenMalformed => Some(rewire(header(Kind::Open), &[2, 1, 1])),
            Input::OpenEmpty => Some(rewire(header(Kind::Open), &[])),
            Input::Sealed => Some(rewire(header(Kind::Sealed), &[0x55; 40])),
            Input::SealedEmpty => Some(rewire(header(Kind::Sealed), &[])),
            // The answer to another question.
            Input::Plain => Some(rewire(header(Kind::Plain), &body(&Reply::Staged { next: 1 }))),
            Input::Refused(refusal) => Some(rewire(header(Kind::Refused), &body(&refusal))),
            Input::RefusedMalformed => Some(rewire(header(Kind::Refused), &[99])),
            Input::RefusedByAnotherNumber => {
                let header = Header { sequence: (sequence + 1) % 32, ..header(Kind::Refused) };
                Some(rewire(header, &body(&Refusal::NoSession)))
            }
            Input::Broken => Some(std::vec![0, 9, 9, 0]),
            Input::Silence => return Some(self.rig.peer.on_silence()),
            Input::SilenceOfTheDead => {
                self.rig.peer.is_alive = false;
                return Some(self.rig.peer.on_silence());
            }
            Input::LastSilence => {
                for _ in 1..TRIES {
                    self.rig.peer.on_silence();
                }
                return Some(self.rig.peer.on_silence());
            }
        };
        // Nothing was sent yet: any answer to something else.
        let bytes = bytes.unwrap_or_else(|| rewire(header(Kind::Sealed), &[0x55; 40]));
        self.rig.hear(&bytes)
    }

    fn state(&self) -> Is {
        match &self.rig.peer.state {
            State::Idle => Idling,
            State::Hello => Greeting,
            State::Opening(_) => Opening_,
            State::Asking => {
                match (self.rig.peer.question.is_idempotent, self.rig.peer.question.reopened) {
                    (true, false) => Asking,
                    (true, true) => AskingAnew,
                    (false, false) => Commanding,
                    (false, true) => CommandingAnew,
                }
            }
        }
    }

    fn check(mut self, input: Input, expected: Does) {
        let is = self.is;
        assert_eq!(self.state(), is);
        let name = std::format!("{input:?} while {is:?}, keyed: {}", self.is_keyed());
        let sent = self.rig.peer.wire().to_vec();
        let doors = self.rig.device.opened.len();
        let step = self.hear(input);
        let after = self.state();
        let now = self.rig.peer.wire().to_vec();
        let kind = |wire: &[u8]| unwire(wire).0.kind;
        let (said, next) = match step {
            None => (Waits, is),
            Some(Step::Answered) => (Answers, Idling),
            Some(Step::Failed(failure)) => (Fails(failure), Idling),
            Some(Step::Send(window)) => {
                let opens = matches!(kind(&now), Kind::Open);
                assert_eq!(window == Window::Handshake, opens, "{name}");
                match kind(&now) {
                    _ if now == sent => (Repeats, is),
                    Kind::Hello => (SaysHello, Greeting),
                    Kind::Open => (Opens, Opening_),
                    Kind::Sealed | Kind::Plain => (Asks, AskingAnew),
                    Kind::Refused => panic!("{name}: refuses"),
                }
            }
        };
        assert_eq!(said, expected, "{name}");
        let commands = is == CommandingAnew || after == CommandingAnew;
        assert_eq!(
            after,
            if commands && next == AskingAnew { CommandingAnew } else { next },
            "{name}"
        );
        assert_eq!(self.rig.device.opened.len(), doors);
        // A session is kept but where it is said to be lost, or another takes its place.
        let had = matches!(is, Idling | Asking | AskingAnew | Commanding | CommandingAnew);
        let lost = matches!(input, Input::Refused(Refusal::NoSession | Refusal::Security));
        let has = (had && (is == Idling || !lost)) || said == Asks;
        assert_eq!(self.rig.peer.session.is_some(), has, "{name}");
        // Whoever has a key never speaks in clear but to say hello and to open.
        assert!(!self.is_keyed() || kind(&now) != Kind::Plain, "{name}");
    }
}

fn check(rig: fn() -> Rig, table: &[(Input, [Does; 7])]) {
    for (input, row) in table {
        for (is, expected) in STATES.into_iter().zip(row) {
            Scene::new(is, rig).check(*input, *expected);
        }
    }
}

/// The rows that are the same with and without a key.
fn common() -> Vec<(Input, [Does; 7])> {
    let wait = [Waits; 7];
    let hello = |does| [Waits, does, Waits, Waits, Waits, Waits, Waits];
    let opening = |does| [Waits, Waits, does, Waits, Waits, Waits, Waits];
    let nonsense = Fails(Failure::Nonsense);
    // A session that is said to be lost is opened anew, once; a command is not repeated in it.
    let lost = [
        Waits,
        Waits,
        Waits,
        SaysHello,
        Fails(Failure::NoSession),
        Fails(Failure::Unknown),
        Fails(Failure::Unknown),
    ];
    let mut again = [Repeats; 7];
    again[0] = Fails(Failure::Silent);
    let mut broken = [Repeats; 7];
    broken[0] = Fails(Failure::Broken);
    let unknown = Fails(Failure::Unknown);
    let silent = Fails(Failure::Silent);
    let mut end = [silent; 7];
    (end[5], end[6]) = (unknown, unknown);
    let mut rows = std::vec![
        (Input::Good, [Waits, Opens, Asks, Answers, Answers, Answers, Answers]),
        (Input::GoodByTheNumberBefore, wait),
        (Input::GoodOfAnotherStation, wait),
        (Input::Reflected, wait),
        (Input::Present, hello(Opens)),
        (Input::PresentOfAnotherSerial, hello(Fails(Failure::Serial { found: 9 }))),
        (Input::PresentOfLaterVersions, hello(Fails(Failure::Version))),
        (Input::PresentOfNoVersion, hello(Fails(Failure::Version))),
        (Input::PresentTooShort, hello(nonsense)),
        (Input::PresentMalformed, hello(nonsense)),
        (Input::OpenMalformed, opening(nonsense)),
        (Input::OpenEmpty, opening(nonsense)),
        (Input::Sealed, wait),
        (Input::SealedEmpty, wait),
        (Input::Refused(Refusal::NoSession), lost),
        (Input::Refused(Refusal::Key), opening(Fails(Failure::Key))),
        (Input::Refused(Refusal::Version), opening(Fails(Failure::Version))),
        (Input::RefusedMalformed, wait),
        (Input::RefusedByAnotherNumber, wait),
        (Input::Broken, broken),
        (Input::Silence, again),
        (Input::SilenceOfTheDead, end),
        (Input::LastSilence, end),
    ];
    let others = [
        Refusal::Unknown,
        Refusal::Malformed,
        Refusal::Index,
        Refusal::RoleTerm { highest: 9 },
        Refusal::Generation { present: 9 },
        Refusal::Page { next: 9 },
        Refusal::Door,
        Refusal::Memory,
        Refusal::Busy,
    ];
    rows.extend(others.map(|refusal| (Input::Refused(refusal), wait)));
    rows
}

#[test]
fn every_input_in_every_state_of_a_gateway_with_a_key() {
    let hello = |does| [Waits, does, Waits, Waits, Waits, Waits, Waits];
    let opening = |does| [Waits, Waits, does, Waits, Waits, Waits, Waits];
    let nonsense = Fails(Failure::Nonsense);
    let security = Fails(Failure::Security { is_keyed: false });
    let mut lost = common()[14].1;
    lost[2] = security;
    let mut table = common();
    table.extend([
        // The last byte of a hello is a truth value: no longer one.
        (Input::GoodFlipped, [Waits, nonsense, Fails(Failure::Key), Waits, Waits, Waits, Waits]),
        (Input::PresentOtherMode, hello(security)),
        (Input::OpenNoise, opening(Fails(Failure::Key))),
        (Input::OpenPlain, [Waits; 7]),
        (Input::Plain, [Waits; 7]),
        (Input::Refused(Refusal::Security), lost),
    ]);
    check(Rig::keyed, &table);
}

#[test]
fn every_input_in_every_state_of_a_gateway_in_clear() {
    let hello = |does| [Waits, does, Waits, Waits, Waits, Waits, Waits];
    let security = Fails(Failure::Security { is_keyed: true });
    let nonsense = Fails(Failure::Nonsense);
    let unknown = Fails(Failure::Unknown);
    let mut lost = common()[14].1;
    lost[2] = security;
    let mut table = common();
    // Each opening in clear has a token of its own, and so other bytes.
    for (input, row) in &mut table {
        if matches!(input, Input::Broken | Input::Silence) {
            row[2] = Opens;
        }
    }
    table.extend([
        (Input::PresentOtherMode, hello(security)),
        (Input::OpenNoise, [Waits; 7]),
        (Input::OpenPlain, [Waits; 7]),
        (Input::Plain, [Waits, Waits, Waits, nonsense, nonsense, unknown, unknown]),
        (Input::Refused(Refusal::Security), lost),
    ]);
    check(Rig::plain, &table);
}

/// A verified answer that is none to what was asked, for every pair of question and answer.
#[test]
fn every_reply_to_every_request() {
    let time = Request::SetTime { at: crate::link::event::Stamp(9), ms: 0 };
    let page = Request::Page {
        role_term: 1,
        table: Table::Cards,
        generation: 1,
        page: 0,
        pages: 1,
        bytes: &[1],
    };
    let open = Request::OpenDoor { role_term: 1, door: 1, ms: 0 };
    let requests =
        [poll(0, 9), Request::Identify, Request::Status, Request::Doors, time, page, open];
    let device = TestDevice::new(1);
    let status = crate::link::message::Status {
        clock: crate::link::event::Stamp(1),
        oldest: 1,
        committed: 0,
        newest: 0,
        overwritten: 0,
        flags: crate::link::message::Flags(0),
        settings: 0,
        cards: 0,
        role_term: 0,
    };
    let flags = crate::link::message::Flags(0);
    let events = body(&Reply::Events { lost: 0, behind: 0, flags });
    let replies = [
        (events.clone(), "1......"),
        ([&events[..], &[0x01, 9]].concat(), "1......"),
        // Runs that are broken.
        ([&events[..], &[0x02, 9]].concat(), "......."),
        ([&events[..], &[0x00]].concat(), "......."),
        (body(&Reply::Identity(crate::link::station::Device::identity(&device))), ".1....."),
        (body(&Reply::Status(status)), "..1...."),
        (body(&Reply::Doors(&[1])), "...1..."),
        (body(&Reply::Done), "....1.1"),
        (body(&Reply::Staged { next: 1 }), ".....1."),
        (body(&Reply::Refused(Refusal::Busy)), "rrrrrrr"),
        (std::vec![], "......."),
        (std::vec![7], "......."),
        (std::vec![0xff; 20], "......."),
        (std::vec![1, 1], "......."),
        // Bytes behind the known fields are a later version's.
        ([body(&Reply::Done), std::vec![1, 2]].concat(), "....1.1"),
    ];
    for (reply, row) in replies {
        for (request, expected) in requests.iter().zip(row.chars()) {
            let mut rig = Rig::plain();
            rig.open(&mut honest);
            assert!(matches!(rig.peer.ask(request, None, Duration::ZERO), Step::Send(_)));
            let (sequence, from, kind) = (rig.peer.sequence, From::Station, Kind::Plain);
            let header = Header { address: ADDRESS, from, kind, sequence };
            let step = rig.hear(&rewire(header, &reply)).unwrap();
            let wanted = match expected {
                '1' => Step::Answered,
                'r' => Step::Failed(Failure::Refused(Refusal::Busy)),
                // Whether such a station did it, nobody knows.
                _ if !request.is_idempotent() => Step::Failed(Failure::Unknown),
                _ => Step::Failed(Failure::Nonsense),
            };
            assert_eq!(step, wanted, "{request:?} {reply:?}");
            assert_eq!(rig.peer.is_alive(), expected != '.');
        }
    }
}

/// What a receiver makes of a line is no frame, or one; the gateway is told of both.
#[test]
fn what_is_no_frame_counts_as_broken() {
    for (bytes, error) in [
        (&[1, 9, 9][..], FrameError::Cobs),
        (&[2, 9], FrameError::TooShort),
        (&[9; 1_100], FrameError::TooLong),
    ] {
        let mut receiver = frame::Receiver::<1_024>::default();
        assert_eq!(receiver.push(&[bytes, &[0]].concat()), (bytes.len() + 1, true));
        assert_eq!(receiver.frame().map(|_| ()), Err(error));
    }
}
