//! What somebody can do who reads and writes the line, and has no key: nothing but delay.

use std::vec::Vec;

use super::frame::{From, Header, Kind};
use super::gateway::{Access as GatewayAccess, Failure, Peer, Settings, Step, TRIES, Window};
use super::message::{Opening, Present, Refusal, Request, Table};
use super::noise::Psk;
use super::rig::{
    ADDRESS, Dial, FIRST_LIFE, KEY, Outcome, Rig, SERIAL, TestDevice, WIRE, Way, body, cards,
    encoded, honest, rewire, unwire, wire,
};
use super::station::{Access, Station};

const POLL: Request<'_> = Request::Poll { committed: 0, skip: 0, room: 200 };
const OPEN: Request<'_> = Request::OpenDoor { role_term: 3, door: 1, ms: 0 };
const PAGE: Request<'_> = Request::Page {
    role_term: 3,
    table: Table::Cards,
    generation: 1,
    page: 0,
    pages: 2,
    bytes: b"page",
};

/// A rig with three events, and everything that is to be kept from changing.
fn rig() -> Rig {
    let mut rig = Rig::keyed();
    (1..=3).for_each(|card| rig.device.swipe(card));
    rig
}

fn keyed() -> Access {
    Access::Keyed(Psk::new(KEY))
}

/// What an attacker must not change; the secret is what a handshake uses up.
fn seen(device: &TestDevice) -> std::string::String {
    let mut device = device.clone();
    device.secret = 0;
    std::format!("{device:?}")
}

/// Every frame of a session in which everything was asked, in order.
fn record(rig: &mut Rig) -> Vec<(Way, Vec<u8>)> {
    let mut frames = Vec::new();
    let committed = Request::Poll { committed: 2, skip: 0, room: 200 };
    for request in [POLL, committed, OPEN, PAGE, Request::Status] {
        let outcome = rig.ask(&request, None, &mut |way, bytes: &[u8]| {
            frames.push((way, bytes.to_vec()));
            honest(way, bytes)
        });
        assert!(!matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    }
    assert_eq!(frames.len(), 14);
    frames
}

fn to(way: Way, frames: &[(Way, Vec<u8>)]) -> impl Iterator<Item = &Vec<u8>> {
    frames.iter().filter(move |(each, _)| *each == way).map(|(_, bytes)| bytes)
}

/// Whether these bytes stand somewhere in what was on the line.
fn shows(line: &[u8], secret: &[u8]) -> bool {
    line.windows(secret.len()).any(|window| window == secret)
}

#[test]
fn a_recorded_session_is_refused_by_a_station_that_was_powered_on() {
    let mut rig = rig();
    let frames = record(&mut rig);
    rig.reboot(keyed());
    let before = seen(&rig.device);
    for bytes in to(Way::ToStation, &frames).chain(to(Way::ToStation, &frames)) {
        let kind = unwire(bytes).0.kind;
        let answer = rig.station.on_bytes(bytes, &mut rig.device).unwrap();
        // It says who it is, begins a handshake, and gets no further.
        let expected = if kind == Kind::Sealed { Kind::Refused } else { kind };
        assert_eq!(unwire(answer).0.kind, expected);
    }
    assert_eq!(seen(&rig.device), before);
    assert_eq!(rig.station.counters().requests, 0);
    // Where another session is opened, the same.
    assert!(matches!(rig.ask(&POLL, None, &mut honest), Outcome::Events { .. }));
}

#[test]
fn a_recorded_session_disturbs_no_session_that_lives() {
    let mut rig = rig();
    let recorded = record(&mut rig);
    rig.peer.rekey();
    let requests = [POLL, OPEN, PAGE, Request::Doors];
    for (number, request) in requests.iter().cycle().take(60).enumerate() {
        // Before and behind every frame another one of the recording; each third answer is lost, so that
        // the request is repeated in between.
        let mut at = number;
        let mut sent = 0;
        let before = rig.device.opened.len();
        let outcome = rig.ask(request, None, &mut |way, bytes: &[u8]| {
            at += 1;
            sent += usize::from(way == Way::ToGateway);
            if way == Way::ToGateway {
                return if sent == 1 && number % 3 == 0 { Vec::new() } else { honest(way, bytes) };
            }
            let old: Vec<_> = to(Way::ToStation, &recorded).collect();
            let pick = |at: usize| old[at % old.len()].clone();
            std::vec![pick(at), bytes.to_vec(), pick(at + 3)]
        });
        assert!(!matches!(outcome, Outcome::Failed(_)), "{number} {request:?}: {outcome:?}");
        let opened = rig.device.opened.len() - before;
        assert_eq!(opened, usize::from(*request == OPEN), "{number}");
    }
    assert_eq!(rig.peer.counters().sessions, 2);
}

#[test]
fn recorded_answers_are_refused_by_the_gateway() {
    let mut rig = rig();
    let recorded = record(&mut rig);
    let old: Vec<Vec<u8>> = to(Way::ToGateway, &recorded).cloned().collect();
    rig.device = TestDevice::new(64);
    rig.device.swipe(9);
    // Another gateway, and later the same one in another session: with every number they ever had.
    rig.peer = Rig::keyed().peer;
    for request in [POLL, POLL, OPEN, Request::Status] {
        let mut replayed = 0;
        let outcome = rig.ask(&request, None, &mut |way, bytes: &[u8]| {
            if way == Way::ToStation {
                return honest(way, bytes);
            }
            let (header, _) = unwire(bytes);
            // By their own number, and by the one that is waited for.
            let mut all = Vec::new();
            for frame in &old {
                let (mut other, bytes) = unwire(frame);
                // A hello is in clear: it is the handshake that notices. See below.
                if other.kind == Kind::Sealed {
                    all.push(frame.clone());
                    other.sequence = header.sequence;
                    all.push(rewire(other, &bytes));
                    replayed += 2;
                }
            }
            all.push(bytes.to_vec());
            all
        });
        assert!(replayed > 0);
        match &outcome {
            Outcome::Events { .. } => assert_eq!(cards(&outcome), [9]),
            Outcome::Other(text) => assert!(text.starts_with("Done") || text.contains("newest: 1")),
            Outcome::Opened | Outcome::Failed(_) => panic!("{request:?}: {outcome:?}"),
        }
    }
    assert_eq!(rig.device.opened.len(), 1);
    assert!(rig.peer.counters().unverified > 0);
}

#[test]
fn recorded_handshakes_are_refused_by_the_gateway() {
    let mut rig = rig();
    let recorded = record(&mut rig);
    let old = to(Way::ToGateway, &recorded).nth(1).unwrap().clone();
    let (_, old) = unwire(&old);
    let mut peer = Rig::keyed();
    peer.secret = 0x77;
    let mut said = Vec::new();
    let outcome = peer.ask(&OPEN, None, &mut |way, bytes: &[u8]| {
        let (header, _) = unwire(bytes);
        match (way, header.kind) {
            (Way::ToGateway, Kind::Open) => std::vec![rewire(header, &old)],
            (Way::ToStation, kind) => {
                said.push(kind);
                honest(way, bytes)
            }
            (Way::ToGateway, _) => honest(way, bytes),
        }
    });
    // A station that cannot prove itself hears no command.
    assert_eq!(outcome, Outcome::Failed(Failure::Key));
    assert_eq!(said, [Kind::Hello, Kind::Open]);
}

#[test]
fn own_frames_that_come_back_are_nobodys() {
    let mut rig = rig();
    for request in [POLL, OPEN, PAGE, Request::Status] {
        // Whatever is sent comes back to its sender first, as it is and as if the other side had sent it.
        let outcome = rig.ask(&request, None, &mut |way, bytes: &[u8]| {
            let (header, plain) = unwire(bytes);
            let other = match way {
                Way::ToStation => From::Station,
                Way::ToGateway => From::Gateway,
            };
            // Comes to the station as one of its own; the gateway's come to it below.
            std::vec![rewire(Header { from: other, ..header }, &plain), bytes.to_vec()]
        });
        assert!(!matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    }
    assert_eq!(rig.device.opened.len(), 1);
    for reflected in [false, true] {
        assert!(matches!(rig.peer.ask(&OPEN, None, rig.now), Step::Send(_)));
        let (header, plain) = unwire(rig.peer.wire());
        let from = if reflected { From::Station } else { From::Gateway };
        assert_eq!(rig.hear(&rewire(Header { from, ..header }, &plain)), None);
        (0..TRIES).for_each(|_| assert!(rig.peer.on_silence() != Step::Answered));
    }
    // The station's own, back to it.
    let before = seen(&rig.device);
    let mut back = Vec::new();
    rig.ask(&POLL, None, &mut |way, bytes: &[u8]| {
        if way == Way::ToGateway {
            let (header, plain) = unwire(bytes);
            for add in 0..32 {
                let sequence = (header.sequence + add) % 32;
                back.push(rewire(Header { from: From::Gateway, sequence, ..header }, &plain));
            }
        }
        honest(way, bytes)
    });
    let requests = rig.station.counters().requests;
    for frame in back {
        let answer = rig.station.on_bytes(&frame, &mut rig.device);
        assert!(answer.is_none_or(|answer| unwire(answer).0.kind == Kind::Refused));
    }
    assert_eq!(rig.station.counters().requests, requests);
    assert_eq!(seen(&rig.device), before);
}

#[test]
fn the_answer_to_one_handshake_is_none_to_another() {
    let mut rig = rig();
    let present = rig.station.present();
    let (one, two) = (Dial::new(&KEY, present, 1, 1), Dial::new(&KEY, present, 1, 2));
    let first = rig.station.on_bytes(&one.wire, &mut rig.device).unwrap().to_vec();
    let second = rig.station.on_bytes(&two.wire, &mut rig.device).unwrap().to_vec();
    let outcome = rig.open(&mut |way, bytes: &[u8]| {
        let (header, _) = unwire(bytes);
        let is_answer = way == Way::ToGateway && header.kind == Kind::Open;
        if !is_answer {
            return honest(way, bytes);
        }
        std::vec![rewire(header, &unwire(&first).1)]
    });
    assert_eq!(outcome, Outcome::Failed(Failure::Key));
    // The session of the first handshake was replaced by that of the second.
    let (one, two) = (one.finish(&first), two.finish(&second));
    rig.reboot(keyed());
    let mut talk =
        |wire: &[u8]| unwire(rig.station.on_bytes(wire, &mut rig.device).unwrap()).0.kind;
    assert_eq!(talk(&one.sealed(1, &body(&OPEN))), Kind::Refused);
    assert_eq!(talk(&two.sealed(1, &body(&OPEN))), Kind::Refused);
    assert_eq!(rig.device.opened.len(), 0);
}

/// A line is put to another controller of the same address: one with another key, and one with the same.
#[test]
fn another_controller_in_ones_place_is_noticed() {
    let cases = [
        (Access::Keyed(Psk::new([7; 32])), SERIAL, Failure::Key),
        (Access::Keyed(Psk::new([7; 32])), SERIAL + 1, Failure::Key),
        (keyed(), SERIAL + 1, Failure::Key),
    ];
    for (access, serial, failure) in cases {
        let mut rig = rig();
        let recorded = record(&mut rig);
        rig.station = Station::new(ADDRESS, serial, access);
        rig.peer.rekey();
        let before = seen(&rig.device);
        // Nothing that was said to the first is obeyed by the second.
        for bytes in to(Way::ToStation, &recorded) {
            rig.station.on_bytes(bytes, &mut rig.device);
        }
        assert_eq!((seen(&rig.device), rig.station.counters().requests), (before.clone(), 0));
        // It says to be the first, by the help of who stands in between.
        let mut line = Vec::new();
        let outcome = rig.ask(&POLL, Some(FIRST_LIFE), &mut |way, bytes: &[u8]| {
            let (header, plain) = unwire(bytes);
            match (way, header.kind) {
                (Way::ToGateway, Kind::Hello) => {
                    let (present, _) = postcard::take_from_bytes::<Present>(&plain).unwrap();
                    let changed = Present { serial: SERIAL, ..present };
                    std::vec![rewire(header, &body(&changed))]
                }
                (Way::ToStation, kind) => {
                    line.push(kind);
                    honest(way, bytes)
                }
                (Way::ToGateway, _) => honest(way, bytes),
            }
        });
        assert_eq!(outcome, Outcome::Failed(failure), "{serial}");
        assert_eq!(line, [Kind::Hello, Kind::Open]);
        assert_eq!(seen(&rig.device), before);
    }
}

#[test]
fn every_flipped_bit_of_a_sealed_frame_is_noticed_on_either_side() {
    let mut rig = rig();
    assert_eq!(rig.open(&mut honest), Outcome::Opened);
    let before = seen(&rig.device);
    assert!(matches!(rig.peer.ask(&OPEN, None, rig.now), Step::Send(_)));
    let sent = rig.peer.wire().to_vec();
    let (header, plain) = unwire(&sent);
    let whole = [&header.encode()[..], &plain].concat();
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let answer = rig.station.on_bytes(&encoded(&flipped), &mut rig.device);
        let kind = answer.map(|answer| unwire(answer).0.kind);
        // Some flips of the header make it somebody else's, or say hello.
        assert!(matches!(kind, None | Some(Kind::Refused | Kind::Hello)), "{bit}: {kind:?}");
        assert_eq!(seen(&rig.device), before, "{bit}");
    }
    assert_eq!(rig.station.counters().requests, 0);
    let answer = rig.station.on_bytes(&sent, &mut rig.device).unwrap().to_vec();
    let (header, plain) = unwire(&answer);
    let whole = [&header.encode()[..], &plain].concat();
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        // One flip makes a kind that there is not: noise, upon which the question is put again.
        let expected = (bit == 15).then_some(Step::Send(Window::Usual));
        assert_eq!(rig.hear(&encoded(&flipped)), expected, "{bit}");
    }
    assert_eq!(rig.hear(&answer), Some(Step::Answered));
    assert_eq!(rig.device.opened.len(), 1);
}

/// Everything that an impostor hears from a gateway is what the line shows anyway.
#[test]
fn a_station_with_another_key_learns_nothing_and_tells_nothing() {
    for request in [POLL, OPEN, PAGE, Request::Identify] {
        let mut rig = Rig::new(Access::Keyed(Psk::new([7; 32])), GatewayAccess::Keyed(KEY));
        rig.device.swipe(1);
        let mut heard = Vec::new();
        for _ in 0..3 {
            let outcome = rig.ask(&request, Some(FIRST_LIFE), &mut |way, bytes: &[u8]| {
                if way == Way::ToStation {
                    heard.extend_from_slice(bytes);
                    let (header, plain) = unwire(bytes);
                    match header.kind {
                        Kind::Hello => assert_eq!(plain, [1, 1]),
                        // The version, a public key, a tag.
                        Kind::Open => assert_eq!(plain.len(), 2 + 32 + 16),
                        Kind::Sealed | Kind::Plain | Kind::Refused => panic!("{header:?}"),
                    }
                }
                honest(way, bytes)
            });
            assert_eq!(outcome, Outcome::Failed(Failure::Key));
            assert!(rig.peer.welcome().is_none() && rig.peer.answer().is_none());
        }
        let request = body(&request);
        assert!(request.len() < 4 || !shows(&heard, &request));
        assert_eq!(rig.peer.counters().sessions, 0);
        assert_eq!(rig.station.counters().requests, 0);
    }
}

#[test]
fn what_is_sealed_shows_nothing_of_what_it_is() {
    let mut rig = rig();
    let event = rig.device.log.get(crate::id::Index(2)).unwrap().to_vec();
    let frames = record(&mut rig);
    let line: Vec<u8> = frames.iter().flat_map(|(_, bytes)| unwire(bytes).1).collect();
    assert!(!shows(&line, &event) && !shows(&line, b"page") && !shows(&line, &FIRST_LIFE.0));
    // The same in clear, so that this test would notice.
    let mut rig = Rig::plain();
    (1..=3).for_each(|card| rig.device.swipe(card));
    let frames = record(&mut rig);
    let line: Vec<u8> = frames.iter().flat_map(|(_, bytes)| unwire(bytes).1).collect();
    assert!(shows(&line, &event) && shows(&line, b"page") && shows(&line, &FIRST_LIFE.0));
}

/// Whatever is changed in a hello: no session, and not a byte of the question in clear.
#[test]
fn nobody_talks_a_gateway_down() {
    let good = Present { min: 1, max: 1, serial: SERIAL, wire: 256, is_keyed: true };
    let changed = [
        Present { min: 0, ..good },
        Present { max: 2, ..good },
        Present { max: 0, ..good },
        Present { min: 2, max: 2, ..good },
        Present { serial: SERIAL + 1, ..good },
        Present { wire: 128, ..good },
        Present { wire: 1_024, ..good },
        Present { wire: u16::MAX, ..good },
        Present { wire: 0, ..good },
        Present { is_keyed: false, ..good },
        Present { min: 0, max: 0, is_keyed: false, ..good },
    ];
    for present in changed {
        for request in [POLL, OPEN, PAGE] {
            let mut rig = rig();
            let mut sent = Vec::new();
            for _ in 0..2 {
                let outcome = rig.ask(&request, None, &mut |way, bytes: &[u8]| {
                    let (header, plain) = unwire(bytes);
                    if way == Way::ToStation {
                        sent.push(header.kind);
                        assert!(!shows(bytes, &body(&request)) || body(&request).len() < 4);
                        assert!(header.kind != Kind::Open || plain[0] == 0, "opened in clear");
                    }
                    if (way, header.kind) == (Way::ToGateway, Kind::Hello) {
                        return std::vec![rewire(header, &body(&present))];
                    }
                    honest(way, bytes)
                });
                assert!(matches!(outcome, Outcome::Failed(_)), "{present:?}: {outcome:?}");
            }
            assert!(sent.iter().all(|kind| matches!(kind, Kind::Hello | Kind::Open)));
            assert_eq!(rig.peer.counters().sessions, 0, "{present:?}");
            assert_eq!(rig.station.counters().requests, 0);
            // It was only a delay.
            assert!(!matches!(rig.ask(&POLL, None, &mut honest), Outcome::Failed(_)));
        }
    }
    // Nor by answering the handshake as if it had been in clear.
    let mut rig = rig();
    let outcome = rig.ask(&OPEN, None, &mut |way, bytes: &[u8]| {
        let (header, _) = unwire(bytes);
        if (way, header.kind) != (Way::ToGateway, Kind::Open) {
            assert!(matches!(header.kind, Kind::Hello | Kind::Open));
            return honest(way, bytes);
        }
        let lies = (0..=u32::from(u8::MAX)).map(|token| {
            let mut answer = body(&Opening::Plain { version: 1, token: token * 0x0101_0101 });
            answer.extend_from_slice(&[0; 18]);
            rewire(header, &answer)
        });
        lies.collect()
    });
    assert_eq!(outcome, Outcome::Failed(Failure::Silent));
}

/// A refusal in clear, in place of any answer or of each, at any point of a question.
#[test]
fn forged_refusals_only_delay() {
    let refusals = [
        Refusal::Unknown,
        Refusal::Malformed,
        Refusal::NoSession,
        Refusal::Key,
        Refusal::Version,
        Refusal::Security,
        Refusal::Index,
        Refusal::RoleTerm { highest: u64::MAX },
        Refusal::Generation { present: u32::MAX },
        Refusal::Page { next: 9 },
        Refusal::Door,
        Refusal::Memory,
        Refusal::Busy,
    ];
    for refusal in refusals {
        // Which of the answers are replaced, and whether the station's own follows or is lost.
        for (mask, is_lost, has_session) in (0..64u32)
            .flat_map(|mask| [(mask, false), (mask, true)])
            .flat_map(|(mask, is_lost)| [(mask, is_lost, false), (mask, is_lost, true)])
        {
            let mut rig = rig();
            if has_session {
                rig.open(&mut honest);
            }
            let mut answers = 0;
            let mut meddler = |way, bytes: &[u8]| {
                let (header, _) = unwire(bytes);
                if way == Way::ToStation {
                    assert!(header.kind != Kind::Plain);
                    return honest(way, bytes);
                }
                let is_forged = mask >> answers & 1 == 1;
                answers += 1;
                let forged = wire(From::Station, Kind::Refused, header.sequence, &body(&refusal));
                match (is_forged, is_lost) {
                    (false, _) => honest(way, bytes),
                    (true, true) => std::vec![forged],
                    (true, false) => std::vec![forged, bytes.to_vec()],
                }
            };
            let outcome = rig.ask(&OPEN, None, &mut meddler);
            let opened = rig.device.opened.len();
            assert!(opened <= 1, "{refusal:?} {mask:b}");
            match outcome {
                Outcome::Other(_) => assert_eq!(opened, 1),
                Outcome::Failed(Failure::Unknown) => {}
                Outcome::Failed(_) => assert_eq!(opened, 0, "{refusal:?} {mask:b}: {outcome:?}"),
                Outcome::Events { .. } | Outcome::Opened => panic!("{outcome:?}"),
            }
            assert!(rig.peer.welcome().is_none() || rig.peer.is_sealed());
            // Afterwards everything is as it should be.
            assert_eq!(cards(&rig.ask(&POLL, None, &mut honest)), [1, 2, 3]);
        }
    }
}

/// Bytes of a fixed generator: noise that is the same in each run.
struct Noise(u64);

impl Noise {
    fn next(&mut self, below: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % u64::try_from(below).expect("fits")).expect("fits")
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = self.next(40);
        let mut bytes: Vec<u8> =
            (0..length).map(|_| u8::try_from(self.next(256)).expect("a byte")).collect();
        match self.next(3) {
            // A frame without a key.
            0 => {
                let kinds = [Kind::Hello, Kind::Open, Kind::Sealed, Kind::Plain, Kind::Refused];
                let from = if self.next(2) == 0 { From::Gateway } else { From::Station };
                let sequence = u8::try_from(self.next(32)).expect("fits");
                bytes = wire(from, kinds[self.next(5)], sequence, &bytes);
            }
            1 => bytes.push(0),
            _ => {}
        }
        bytes
    }
}

#[test]
fn garbage_between_all_frames_only_delays() {
    let mut failures = 0;
    for seed in 0..300 {
        let mut noise = Noise(seed);
        let mut rig = rig();
        for request in [POLL, OPEN, PAGE, Request::Status] {
            let before = rig.device.opened.len();
            let outcome = rig.ask(&request, Some(FIRST_LIFE), &mut |_, bytes: &[u8]| {
                let (first, second) = (noise.bytes(), noise.bytes());
                std::vec![first, [&[0][..], bytes].concat(), second]
            });
            let opened = rig.device.opened.len() - before;
            assert!(opened <= usize::from(request == OPEN), "{seed}");
            match &outcome {
                Outcome::Events { .. } => assert_eq!(cards(&outcome), [1, 2, 3]),
                Outcome::Other(text) => assert!(text != "Done" || opened == 1, "{text}"),
                Outcome::Failed(failure) => {
                    failures += 1;
                    assert!(opened == 0 || *failure == Failure::Unknown, "{seed}: {failure:?}");
                }
                Outcome::Opened => panic!("{seed}"),
            }
        }
        assert_eq!(cards(&rig.ask(&POLL, Some(FIRST_LIFE), &mut honest)), [1, 2, 3]);
        assert_eq!(rig.device.log.committed().0, 0);
    }
    assert!(failures > 0, "the noise was none");
}

/// Two stations with keys of their own hear each other's frames, and all that their gateway says.
#[test]
fn stations_on_one_line_do_not_disturb_each_other() {
    let other = 6;
    let mut devices = [TestDevice::new(16), TestDevice::new(16)];
    (1..=3).for_each(|card| devices[0].swipe(card));
    (11..=13).for_each(|card| devices[1].swipe(card));
    let keys = [KEY, [7; 32]];
    let address = |at: usize| if at == 0 { ADDRESS } else { other };
    let mut stations: [Station<WIRE>; 2] =
        [0, 1].map(|at| Station::new(address(at), SERIAL, Access::Keyed(Psk::new(keys[at]))));
    let mut peers = [0, 1].map(|at| {
        let access = GatewayAccess::Keyed(keys[at]);
        Peer::new(Settings { address: address(at), serial: SERIAL, access })
    });
    let mut secret = 0;
    for turn in 0..40 {
        let at = turn % 2;
        let mut step = peers[at].ask(&POLL, Some(FIRST_LIFE), core::time::Duration::ZERO);
        while let Step::Send(_) = step {
            let sent = peers[at].wire().to_vec();
            let mut answers = Vec::new();
            for (station, device) in stations.iter_mut().zip(&mut devices) {
                answers.extend(station.on_bytes(&sent, device).map(<[u8]>::to_vec));
            }
            let [answer] = answers.as_slice() else { panic!("{} answered", answers.len()) };
            // The stations hear the answer too.
            for (station, device) in stations.iter_mut().zip(&mut devices) {
                assert_eq!(station.on_bytes(answer, device), None);
            }
            let (header, body) = unwire(answer);
            let plain = [&header.encode()[..], &body].concat();
            let mut random = || {
                secret += 1;
                [secret; 32]
            };
            assert_eq!(peers[1 - at].on_frame(header, &plain, &mut random), None);
            step = peers[at].on_frame(header, &plain, &mut random).unwrap();
        }
        assert_eq!(step, Step::Answered);
        let (_, runs) = peers[at].answer().unwrap();
        let events: Vec<_> = runs.collect();
        let first = devices[at].log.get(crate::id::Index(1)).unwrap();
        assert_eq!((events.len(), events[0]), (3, first));
    }
    for (station, peer) in stations.iter().zip(&peers) {
        let counters = station.counters();
        assert_eq!((counters.requests, counters.sessions, counters.repeats), (20, 1, 0));
        assert_eq!((counters.broken, counters.unverified), (0, 0));
        let counters = peer.counters();
        assert_eq!((counters.replies, counters.stale, counters.unverified), (22, 0, 0));
    }
}
