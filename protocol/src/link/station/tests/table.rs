//! Every state of a station by every input: what it says, and what it is then. Whatever is not answered
//! as a request leaves the device as it was.

use std::string::String;

use super::*;
use crate::link::event::Stamp;
use crate::link::message::runs;
use crate::link::rig::{encoded, rewire, wire};
use Expected::{Answers, Present, Refuses, Repeats, Silent, Welcomes, WelcomesAgain};
use Is::{Both, Nothing, Opened, Using};

/// What a station is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    /// No session.
    Nothing,
    /// One was opened and not used yet.
    Opened,
    /// In a session. (In clear also one that was not used yet: there the opening is all.)
    Using,
    /// In a session, and another was opened.
    Both,
}

/// What it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Silent,
    Present,
    Welcomes,
    /// The answer to the opening once more: its session is not used yet.
    WelcomesAgain,
    /// The very bytes of the answer before.
    Repeats,
    /// Request `n` of the session in use, or of the one that was opened.
    Answers(u64),
    Refuses(Refusal),
}

/// What it hears. The session in use answered request 1; `New…` is of the one that was opened,
/// `Previous` of one that another took the place of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    Hello,
    HelloMalformed,
    HelloOfAStation,
    HelloForAnother,
    Open,
    OpenReplayed,
    OpenWrongKey,
    OpenOtherSerial,
    OpenShort,
    OpenVersion(u8),
    OpenEmpty,
    OpenUnknown,
    OpenPlain,
    Next,
    Repeat,
    RepeatFlipped,
    Stale,
    Ahead15,
    Ahead16,
    Undecryptable,
    New1,
    New15,
    New32,
    Previous2,
    ForAnother,
    OfAStation,
    Plain1,
    Plain2,
    Refused,
    Broken,
    TooShort,
    TooLong,
    Kind(u8),
    NextOfAnEndedLife,
    NewOfAnEndedLife,
    HelloInAnotherLife,
    OpenInAnotherLife,
}

/// A station in one of its states, and the sessions that it was brought there by.
struct Scene {
    bench: Bench,
    previous: Option<Hand>,
    using: Option<Hand>,
    new: Option<Hand>,
    first: Vec<u8>,
    recorded: Vec<u8>,
    kept: Option<Vec<u8>>,
}

impl Scene {
    fn keyed(is: Is) -> Self {
        let mut bench = Bench::keyed();
        let mut scene = |secret| {
            let dial = bench.dial(secret);
            let wire = dial.wire.clone();
            let answer = bench.hear(&wire).unwrap();
            (dial.finish(&answer), wire)
        };
        let (previous, recorded) = scene(1);
        let (using, _) = scene(2);
        let (new, _) = scene(3);
        let first = using.sealed(1, &body(&Request::Doors));
        // Each state begins with a station of its own, in which only what it is about happened.
        let mut bench = Bench::keyed();
        let mut kept = None;
        if matches!(is, Using | Both) {
            let hand = bench.opened(1);
            assert!(bench.hear(&hand.sealed(1, &body(&Request::Doors))).is_some());
            let hand_two = bench.opened(2);
            let first = hand_two.sealed(1, &body(&Request::Doors));
            kept = bench.hear(&first);
            let new = if is == Both { bench.opened(3) } else { new };
            let new = Some(new);
            let (previous, using) = (Some(hand), Some(hand_two));
            return Self { bench, previous, using, new, first, recorded, kept };
        }
        let fresh = matches!(is, Opened).then(|| bench.opened(3));
        let new = fresh.or(Some(new));
        let (previous, using) = (Some(previous), Some(using));
        Self { bench, previous, using, new, first, recorded, kept }
    }

    fn plain(is: Is) -> Self {
        let mut bench = Bench::new(Access::Plain);
        let first = wire(From::Gateway, Kind::Plain, 1, &body(&Request::Doors));
        let recorded = plain_opening(1, 7);
        let mut kept = None;
        if is != Nothing {
            assert!(bench.hear(&recorded).is_some());
        }
        if is == Using {
            kept = bench.hear(&first);
        }
        let (previous, using, new) = (None, None, None);
        Self { bench, previous, using, new, first, recorded, kept }
    }

    fn is(&self) -> Is {
        match (&self.bench.station.session, &self.bench.station.opened) {
            (None, None) => Nothing,
            (None, Some(_)) => Opened,
            (Some(_), None) => Using,
            (Some(_), Some(_)) => Both,
        }
    }

    fn bytes(&mut self, input: Input) -> Vec<u8> {
        let doors = body(&Request::Doors);
        let status = body(&Request::Status);
        let gateway = |kind, sequence, bytes: &[u8]| wire(From::Gateway, kind, sequence, bytes);
        let header = |address, from, kind| Header { address, from, kind, sequence: 2 };
        let hello = body(&Hello { min: 1, max: 1 });
        let present = self.bench.station.present();
        let next = match &self.using {
            Some(hand) => hand.sealed(2, &doors),
            None => gateway(Kind::Plain, 2, &doors),
        };
        let new = |number| match &self.new {
            Some(hand) => hand.sealed(number, &doors),
            None => panic!("no other session in clear"),
        };
        let ahead = |number: u64, request: &[u8]| match &self.using {
            Some(hand) => hand.sealed(number, request),
            None => gateway(Kind::Plain, u8::try_from(number % 32).unwrap(), request),
        };
        match input {
            Input::Hello => gateway(Kind::Hello, 2, &hello),
            Input::HelloMalformed => gateway(Kind::Hello, 2, &[1]),
            Input::HelloOfAStation => wire(From::Station, Kind::Hello, 2, &hello),
            Input::HelloForAnother => rewire(header(6, From::Gateway, Kind::Hello), &hello),
            Input::Open => match self.bench.station.access {
                Access::Keyed(_) => self.bench.dial(9).wire,
                Access::Plain => plain_opening(1, 8),
            },
            Input::OpenReplayed => self.recorded.clone(),
            Input::OpenWrongKey => Dial::new(&[7; 32], present, 1, 9).wire,
            Input::OpenOtherSerial => {
                Dial::new(&KEY, super::Present { serial: SERIAL + 1, ..present }, 1, 9).wire
            }
            Input::OpenShort => {
                let (_, whole) = unwire(&self.bench.dial(9).wire);
                gateway(Kind::Open, 2, &whole[..whole.len() - 33])
            }
            Input::OpenVersion(version) => match self.bench.station.access {
                Access::Keyed(_) => Dial::new(&KEY, present, version, 9).wire,
                Access::Plain => plain_opening(version, 8),
            },
            Input::OpenEmpty => gateway(Kind::Open, 2, &[]),
            Input::OpenUnknown => gateway(Kind::Open, 2, &[2, 1, 1, 1]),
            Input::OpenPlain => plain_opening(1, 8),
            Input::Next => next,
            Input::Repeat => self.first.clone(),
            Input::RepeatFlipped => {
                let (header, mut bytes) = unwire(&self.first);
                bytes[0] ^= 1;
                rewire(header, &bytes)
            }
            Input::Stale => ahead(1, &status),
            Input::Ahead15 => ahead(16, &doors),
            Input::Ahead16 => ahead(17, &status),
            Input::Undecryptable => gateway(Kind::Sealed, 2, &[0x55; 30]),
            Input::New1 => new(1),
            Input::New15 => new(15),
            Input::New32 => new(32),
            Input::Previous2 => self.previous.as_ref().unwrap().sealed(2, &doors),
            Input::ForAnother => {
                let (header, bytes) = unwire(&next);
                rewire(Header { address: 6, ..header }, &bytes)
            }
            Input::OfAStation => {
                let (header, bytes) = unwire(&next);
                rewire(Header { from: From::Station, ..header }, &bytes)
            }
            Input::Plain1 => gateway(Kind::Plain, 1, &doors),
            Input::Plain2 => gateway(Kind::Plain, 2, &doors),
            Input::Refused => gateway(Kind::Refused, 2, &body(&Refusal::NoSession)),
            Input::Broken => {
                let mut broken = next;
                let at = broken.len() - 3;
                broken[at] ^= if broken[at] == 1 { 2 } else { 1 };
                broken
            }
            Input::TooShort => std::vec![0, 3, 9, 9, 0],
            Input::TooLong => [&[9; WIRE + 1][..], &[0]].concat(),
            Input::Kind(kind) => encoded(&[&[ADDRESS, kind << 5 | 2], &doors[..]].concat()),
            Input::NextOfAnEndedLife => {
                self.bench.device.log.restart(OTHER_LIFE);
                next
            }
            Input::NewOfAnEndedLife => {
                self.bench.device.log.restart(OTHER_LIFE);
                new(1)
            }
            Input::HelloInAnotherLife => {
                self.bench.device.log.restart(OTHER_LIFE);
                gateway(Kind::Hello, 2, &hello)
            }
            Input::OpenInAnotherLife => {
                self.bench.device.log.restart(OTHER_LIFE);
                self.bytes(Input::Open)
            }
        }
    }

    /// Says the input, and checks what comes of it.
    fn check(mut self, input: Input, (expected, is): (Expected, Is)) {
        let before = self.is();
        let name = std::format!("{input:?} while {before:?}");
        let bytes = self.bytes(input);
        let mut untouched = self.bench.device.clone();
        let counted = self.bench.station.counters();
        let said = self.bench.hear(&bytes);
        let count = self.bench.station.counters();
        assert_eq!(self.is(), is, "{name}");
        assert_eq!(count.requests - counted.requests, u32::from(matches!(expected, Answers(_))));
        assert_eq!(count.repeats - counted.repeats, u32::from(expected == Repeats), "{name}");
        let refused = u32::from(matches!(expected, Refuses(_)));
        assert_eq!(count.unverified - counted.unverified, refused, "{name}");
        assert_eq!(count.sessions - counted.sessions, u32::from(expected == Welcomes), "{name}");
        if expected == Welcomes {
            // What it made of its secret is no change that anybody sees.
            untouched.secret = self.bench.device.secret;
        }
        assert_eq!(
            std::format!("{:?}", self.bench.device),
            std::format!("{untouched:?}"),
            "{name}"
        );
        let Some(said) = said else { return assert_eq!(expected, Silent, "{name}") };
        let (header, bytes) = unwire(&said);
        assert_eq!((header.address, header.from), (ADDRESS, From::Station));
        match expected {
            Silent => panic!("{name}: {said:?}"),
            Present => {
                assert_eq!((header.kind, header.sequence), (Kind::Hello, 2), "{name}");
                assert_eq!(bytes, body(&self.bench.station.present()));
            }
            Welcomes | WelcomesAgain => {
                assert_eq!((header.kind, header.sequence), (Kind::Open, 9), "{name}");
                let (opening, rest) = postcard::take_from_bytes::<Opening>(&bytes).unwrap();
                if let Opening::Plain { .. } = opening {
                    let log = &self.bench.device.log;
                    let (epoch, newest) = (log.epoch(), log.newest().0);
                    assert_eq!(rest, body(&Welcome { epoch, oldest: 1, newest }), "{name}");
                }
            }
            Repeats => assert_eq!(Some(said), self.kept, "{name}"),
            Refuses(refusal) => {
                assert_eq!(header.kind, Kind::Refused, "{name}");
                assert_eq!(bytes, body(&refusal), "{name}");
            }
            Answers(number) => {
                let hands = [&self.using, &self.new];
                let mut opened =
                    hands.into_iter().flatten().filter_map(|h| h.answer(number, &said));
                let answer = opened.next().unwrap_or_else(|| {
                    assert_eq!(header.kind, Kind::Plain, "{name}");
                    bytes
                });
                assert_eq!(answer, body(&Reply::Doors(&[0, 1])), "{name}");
                assert_eq!(u64::from(header.sequence), number % 32, "{name}");
            }
        }
    }
}

fn plain_opening(version: u8, token: u32) -> Vec<u8> {
    wire(From::Gateway, Kind::Open, 9, &body(&Opening::Plain { version, token }))
}

const NO: Expected = Refuses(Refusal::NoSession);

#[test]
fn every_input_in_every_state_of_a_station_with_a_key() {
    let key = Refuses(Refusal::Key);
    let version = Refuses(Refusal::Version);
    let malformed = Refuses(Refusal::Malformed);
    let security = Refuses(Refusal::Security);
    let all = |said| [(said, Nothing), (said, Opened), (said, Using), (said, Both)];
    let opens = [(Welcomes, Opened), (Welcomes, Opened), (Welcomes, Both), (Welcomes, Both)];
    let using = |said| [(NO, Nothing), (NO, Opened), (said, Using), (said, Both)];
    // Sealed for the session that was opened, the first that is verified makes it the one in use.
    let new =
        |number| [(NO, Nothing), (Answers(number), Using), (NO, Using), (Answers(number), Using)];
    let ended = [(NO, Nothing); 4];
    let table: &[(Input, [(Expected, Is); 4])] = &[
        (Input::Hello, all(Present)),
        (Input::HelloMalformed, all(Silent)),
        (Input::HelloOfAStation, all(Silent)),
        (Input::HelloForAnother, all(Silent)),
        (Input::Open, opens),
        (Input::OpenReplayed, opens),
        (Input::OpenWrongKey, all(key)),
        (Input::OpenOtherSerial, all(key)),
        (Input::OpenShort, all(key)),
        (Input::OpenVersion(0), all(version)),
        (Input::OpenVersion(2), all(version)),
        (Input::OpenEmpty, all(malformed)),
        (Input::OpenUnknown, all(malformed)),
        (Input::OpenPlain, all(security)),
        (Input::Next, using(Answers(2))),
        (Input::Repeat, using(Repeats)),
        (Input::RepeatFlipped, all(NO)),
        (Input::Stale, all(NO)),
        (Input::Ahead15, using(Answers(16))),
        (Input::Ahead16, all(NO)),
        (Input::Undecryptable, all(NO)),
        (Input::New1, new(1)),
        (Input::New15, new(15)),
        (Input::New32, all(NO)),
        (Input::Previous2, all(NO)),
        (Input::ForAnother, all(Silent)),
        (Input::OfAStation, all(Silent)),
        (Input::Plain1, all(NO)),
        (Input::Plain2, all(NO)),
        (Input::Refused, all(Silent)),
        (Input::Broken, all(Silent)),
        (Input::TooShort, all(Silent)),
        (Input::TooLong, all(Silent)),
        (Input::Kind(5), all(Silent)),
        (Input::Kind(6), all(Silent)),
        (Input::Kind(7), all(Silent)),
        (Input::NextOfAnEndedLife, ended),
        (Input::NewOfAnEndedLife, ended),
        (Input::HelloInAnotherLife, all(Present)),
        (Input::OpenInAnotherLife, opens),
    ];
    for (input, row) in table {
        for (is, expected) in [Nothing, Opened, Using, Both].into_iter().zip(row) {
            let scene = Scene::keyed(is);
            assert_eq!(scene.is(), is);
            scene.check(*input, *expected);
        }
    }
    assert_eq!(table.len() * 4, 160);
}

/// In clear the opening alone makes the session; `Opened` stands for one that was not used yet.
#[test]
fn every_input_in_every_state_of_a_station_in_clear() {
    let version = Refuses(Refusal::Version);
    let malformed = Refuses(Refusal::Malformed);
    let security = Refuses(Refusal::Security);
    let all = |said| [(said, Nothing), (said, Using), (said, Using)];
    let opens = [(Welcomes, Using); 3];
    let table: &[(Input, [(Expected, Is); 3])] = &[
        (Input::Hello, all(Present)),
        (Input::HelloMalformed, all(Silent)),
        (Input::HelloOfAStation, all(Silent)),
        (Input::HelloForAnother, all(Silent)),
        (Input::Open, opens),
        (Input::OpenReplayed, [(Welcomes, Using), (WelcomesAgain, Using), (Welcomes, Using)]),
        (Input::OpenWrongKey, all(security)),
        (Input::OpenVersion(0), all(version)),
        (Input::OpenVersion(2), all(version)),
        (Input::OpenEmpty, all(malformed)),
        (Input::OpenUnknown, all(malformed)),
        (Input::OpenPlain, opens),
        (Input::Next, [(NO, Nothing), (Answers(2), Using), (Answers(2), Using)]),
        (Input::Repeat, [(NO, Nothing), (Answers(1), Using), (Repeats, Using)]),
        (Input::Plain1, [(NO, Nothing), (Answers(1), Using), (Repeats, Using)]),
        (Input::Plain2, [(NO, Nothing), (Answers(2), Using), (Answers(2), Using)]),
        // Number 0 is none, so 32 is too far from the beginning.
        (Input::Ahead15, [(NO, Nothing), (NO, Using), (Answers(16), Using)]),
        (Input::Undecryptable, all(NO)),
        (Input::ForAnother, all(Silent)),
        (Input::OfAStation, all(Silent)),
        (Input::Refused, all(Silent)),
        (Input::Broken, all(Silent)),
        (Input::TooShort, all(Silent)),
        (Input::TooLong, all(Silent)),
        (Input::Kind(5), all(Silent)),
        (Input::Kind(6), all(Silent)),
        (Input::Kind(7), all(Silent)),
        (Input::NextOfAnEndedLife, [(NO, Nothing); 3]),
        (Input::HelloInAnotherLife, all(Present)),
        (Input::OpenInAnotherLife, opens),
    ];
    for (input, row) in table {
        for (is, expected) in [Nothing, Opened, Using].into_iter().zip(row) {
            Scene::plain(is).check(*input, *expected);
        }
    }
    // Another request by the number of the last is not it.
    let stale = wire(From::Gateway, Kind::Plain, 1, &body(&Request::Status));
    let said = Scene::plain(Using).bench.hear(&stale).unwrap();
    assert_eq!(unwire(&said).0.kind, Kind::Refused);
    assert_eq!(table.len() * 3, 90);
}

/// What becomes of every request that verified.
#[test]
fn every_request_in_a_session_and_every_one_that_is_none() {
    for (requests, expected) in requests() {
        for mut scene in [Scene::keyed(Both), Scene::keyed(Using), Scene::plain(Using)] {
            scene.bench.device.condition.role_term = 5;
            let mut said = String::new();
            for (request, number) in requests.iter().zip(2u8..) {
                let wire = match &scene.using {
                    Some(hand) => hand.sealed(number.into(), request),
                    None => wire(From::Gateway, Kind::Plain, number, request),
                };
                let answer = scene.bench.hear(&wire).unwrap();
                assert_eq!(scene.bench.hear(&wire).as_ref(), Some(&answer));
                let answer = match &scene.using {
                    Some(hand) => hand.answer(number.into(), &answer).unwrap(),
                    None => unwire(&answer).1,
                };
                let (reply, rest) = postcard::take_from_bytes::<Reply<'_>>(&answer).unwrap();
                said = std::format!("{reply:?}");
                if matches!(reply, Reply::Events { .. }) {
                    said = std::format!("{said} + {}", runs::Reader::new(rest).count());
                }
            }
            assert_eq!(said, expected, "{requests:?}");
            if said.starts_with("Refused(Malformed") || said.starts_with("Refused(Unknown") {
                assert!(
                    scene.bench.device.opened.is_empty() && scene.bench.device.staged.is_empty()
                );
            }
        }
    }
}

/// Requests in a row, and what the last of them is answered with.
fn requests() -> Vec<(Vec<Vec<u8>>, String)> {
    let poll = |committed, skip, room| body(&Request::Poll { committed, skip, room });
    let open = |role_term, door| body(&Request::OpenDoor { role_term, door, ms: 500 });
    let time = |ms| body(&Request::SetTime { at: Stamp(9), ms });
    let page = |role_term, generation, page, pages| {
        let table = Table::Settings;
        body(&Request::Page { role_term, table, generation, page, pages, bytes: &[1, 2] })
    };
    let with = |mut bytes: Vec<u8>, more: &[u8]| {
        bytes.extend_from_slice(more);
        bytes
    };
    let cut = |mut bytes: Vec<u8>| {
        bytes.pop();
        bytes
    };
    let identity = "Identity(Identity { serial: 70001, model: \"rig\", firmware: \"1.0\", doors: 2, capacity: 4 })";
    let status = |committed: u64, flags: u8| {
        std::format!(
            "Status(Status {{ clock: Stamp(0), oldest: 1, committed: {committed}, newest: 1, \
             overwritten: 0, flags: Flags({flags}), settings: 0, cards: 0, role_term: 5 }})"
        )
    };
    let events = |behind, events: usize| {
        std::format!("Events {{ lost: 0, behind: {behind}, flags: Flags(16) }} + {events}")
    };
    std::vec![
        (std::vec![poll(0, 0, 200)], events(0, 1)),
        (std::vec![poll(0, 0, 0)], events(1, 0)),
        (std::vec![poll(0, 0, 12)], events(1, 0)),
        (std::vec![poll(0, 0, 13)], events(0, 1)),
        (std::vec![poll(0, 0, u16::MAX)], events(0, 1)),
        (std::vec![poll(0, 1, 200)], events(0, 0)),
        (std::vec![poll(1, 0, 200)], events(0, 0)),
        (std::vec![poll(1, 0, 200), body(&Request::Status)], status(1, 16)),
        (std::vec![body(&Request::Status), body(&Request::Status)], status(0, 0)),
        // What was committed once stays so.
        (std::vec![poll(1, 0, 200), poll(0, 0, 200)], events(0, 1)),
        (std::vec![poll(1, 0, 200), poll(0, 0, 200), body(&Request::Status)], status(1, 16)),
        (std::vec![poll(2, 0, 200)], "Refused(Index)".into()),
        (std::vec![poll(1, 1, 200)], "Refused(Index)".into()),
        (std::vec![poll(1, 1, 200), body(&Request::Status)], status(0, 16)),
        (std::vec![poll(u64::MAX, 1, 200)], "Refused(Index)".into()),
        (std::vec![body(&Request::Identify)], identity.into()),
        (std::vec![body(&Request::Doors)], "Doors([0, 1])".into()),
        (std::vec![time(999)], "Done".into()),
        (std::vec![time(1_000)], "Refused(Malformed)".into()),
        (std::vec![page(5, 1, 0, 1)], "Staged { next: 1 }".into()),
        (std::vec![page(5, 1, 0, 2)], "Staged { next: 1 }".into()),
        (std::vec![page(5, 1, 1, 2)], "Refused(Page { next: 0 })".into()),
        (std::vec![page(5, 1, 0, 3), page(5, 1, 2, 3)], "Refused(Page { next: 1 })".into()),
        (std::vec![page(5, 1, 0, 3), page(5, 1, 0, 3)], "Staged { next: 1 }".into()),
        (std::vec![page(5, 1, 0, 3), page(5, 2, 0, 3)], "Staged { next: 1 }".into()),
        (std::vec![page(5, 1, 0, 3), page(5, 1, 1, 4)], "Refused(Page { next: 0 })".into()),
        (
            std::vec![page(5, 3, 0, 1), page(5, 2, 0, 1)],
            "Refused(Generation { present: 3 })".into()
        ),
        (std::vec![page(5, 3, 0, 1), page(5, 3, 0, 1)], "Staged { next: 1 }".into()),
        (std::vec![page(5, 0, 0, 1)], "Refused(Generation { present: 0 })".into()),
        (std::vec![page(5, 1, 1, 1)], "Refused(Malformed)".into()),
        (std::vec![page(5, 1, 0, 0)], "Refused(Malformed)".into()),
        (std::vec![page(4, 1, 0, 1)], "Refused(RoleTerm { highest: 5 })".into()),
        (std::vec![open(5, 1)], "Done".into()),
        (std::vec![open(6, 2), open(5, 1)], "Refused(RoleTerm { highest: 6 })".into()),
        (std::vec![open(5, 3)], "Refused(Door)".into()),
        (std::vec![open(4, 1)], "Refused(RoleTerm { highest: 5 })".into()),
        // Later versions: unknown requests are said to be unknown, fields behind the known ones ignored.
        (std::vec![std::vec![7]], "Refused(Unknown)".into()),
        (std::vec![std::vec![127, 1, 2]], "Refused(Unknown)".into()),
        (std::vec![std::vec![0x80, 1]], "Refused(Unknown)".into()),
        (std::vec![std::vec![0xff; 9]], "Refused(Unknown)".into()),
        (std::vec![with(body(&Request::Doors), &[1, 2, 3])], "Doors([0, 1])".into()),
        (std::vec![with(open(5, 1), &[0; 40])], "Done".into()),
        (std::vec![with(poll(0, 0, 200), &[9])], events(0, 1)),
        (std::vec![std::vec![]], "Refused(Malformed)".into()),
        (std::vec![cut(poll(0, 0, 200))], "Refused(Malformed)".into()),
        (std::vec![cut(time(3))], "Refused(Malformed)".into()),
        (std::vec![cut(page(5, 1, 0, 1))], "Refused(Malformed)".into()),
        (std::vec![cut(open(5, 1))], "Refused(Malformed)".into()),
        (std::vec![std::vec![5, 5, 2, 1, 0, 1, 0]], "Refused(Malformed)".into()),
    ]
}
