//! Two whole sessions, frame by frame: secured and in clear. Both sides are given the secrets that the
//! file names, and must say what it says.

use core::time::Duration;

use super::*;
use crate::link::frame::HEADER;
use crate::link::gateway::{Access as GatewayAccess, Peer, Settings, Step};
use crate::link::noise::{Keys, MESSAGE_OVERHEAD, Psk, Responder};
use crate::link::rig::TestDevice;
use crate::link::station::{Access, Station};

const KEY: [u8; 32] = [
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f,
    0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f,
];
/// What the gateway's random numbers are. In clear, the token is the first four, little-endian.
const GATEWAY: [u8; 32] = [0x91; 32];
/// What the station's are.
const STATION: [u8; 32] = [0x51; 32];
const WIRE: usize = 256;

struct Session {
    peer: Peer,
    station: Station<WIRE>,
    device: TestDevice,
    frames: Vec<Value>,
}

impl Session {
    fn new(is_keyed: bool) -> Self {
        let (ours, theirs) = if is_keyed {
            (GatewayAccess::Keyed(KEY), Access::Keyed(Psk::new(KEY)))
        } else {
            (GatewayAccess::Plain, Access::Plain)
        };
        let mut device = TestDevice::new(64);
        device.log.restart(EPOCH);
        device.secret = STATION[0] - 1;
        for (_, event) in events() {
            device.log.push(&event_bytes(&event)).unwrap();
        }
        Self {
            peer: Peer::new(Settings { address: ADDRESS, serial: SERIAL, access: ours }),
            station: Station::new(ADDRESS, SERIAL, theirs),
            device,
            frames: Vec::new(),
        }
    }

    /// Writes a frame down, as it stands on the line.
    fn note(&mut self, what: &str, from: From, wire: &[u8]) {
        self.frames.push(json!({ "what": what, "from": format!("{from:?}"), "hex": hex(wire) }));
    }

    /// Goes on until there is an answer; of the frames named in `lost` the answer does not arrive.
    fn run(&mut self, first: Step, names: &[&str], mut lost: usize) {
        let mut step = first;
        for name in names {
            assert!(matches!(step, Step::Send(_)), "{step:?}");
            let request = self.peer.wire().to_vec();
            self.note(name, From::Gateway, &request);
            let reply = self.station.on_bytes(&request, &mut self.device).unwrap().to_vec();
            self.note(&format!("answer to {name}"), From::Station, &reply);
            if lost > 0 {
                lost -= 1;
                step = self.peer.on_silence();
                continue;
            }
            let mut between = reply[1..reply.len() - 1].to_vec();
            let (header, plain) = frame::decode(&mut between).unwrap();
            step = self.peer.on_frame(header, plain, &mut || GATEWAY).unwrap();
        }
        assert_eq!(step, Step::Answered);
    }

    fn ask(&mut self, request: &Request<'_>, names: &[&str], lost: usize) {
        let step = self.peer.ask(request, Some(EPOCH), Duration::ZERO);
        self.run(step, names, lost);
    }
}

/// The session: a handshake, a page whose answer is lost once, and a poll that commits it.
fn session(is_keyed: bool) -> Session {
    let mut session = Session::new(is_keyed);
    let step = session.peer.open(Duration::ZERO);
    session.run(step, &["hello", "opening"], 0);
    let poll = |committed| Request::Poll { committed, skip: 0, room: 200 };
    session.ask(&poll(0), &["poll", "the same poll"], 1);
    let count = session.peer.answer().unwrap().1.count();
    assert_eq!(count, events().len());
    session.ask(&poll(u64::try_from(count).unwrap()), &["next poll"], 0);
    assert_eq!(session.device.log.committed(), session.device.log.newest());
    assert_eq!(session.station.counters().repeats, 1);
    session
}

fn sealed() -> Value {
    json!({
        "key": hex(&KEY),
        "gateway_secret": hex(&GATEWAY),
        "station_secret": hex(&STATION),
        "hash": hex(&hash()),
        "frames": session(true).frames,
    })
}

fn plain() -> Value {
    json!({ "token": 0x9191_9191_u32, "frames": session(false).frames })
}

#[test]
fn both_sides_of_a_secured_session_say_what_the_file_says() {
    assert_eq!(file()["sealed"], sealed());
}

#[test]
fn both_sides_of_a_session_in_clear_say_what_the_file_says() {
    assert_eq!(file()["plain"], plain());
}

/// A frame of the secured session of the file, from header to the end of its body.
fn unframed(at: usize) -> Vec<u8> {
    let wire = unhex(text(&file()["sealed"]["frames"][at], "hex"));
    let mut between: Vec<u8> = wire.into_iter().filter(|byte| *byte != 0).collect();
    frame::decode(&mut between).unwrap().1.to_vec()
}

/// The handshake of the file from the station's side: the keys, and the message that it answers.
fn handshake() -> (Keys, Vec<u8>) {
    let prologue = Prologue::new(ADDRESS, PRESENT, 1);
    let mut buffer = [0; MAX_PROLOGUE];
    let prologue = prologue.encode(&mut buffer);
    let message = &unframed(2)[HEADER + 2..];
    let (responder, payload) =
        Responder::read(&Psk::new(KEY), prologue, message, &mut [0; 8]).unwrap();
    assert_eq!(payload, 0);
    let welcome = Welcome { epoch: EPOCH, oldest: 1, newest: 5 };
    let mut body = [0; 64];
    let body = postcard::to_slice(&welcome, &mut body).unwrap();
    let mut out = std::vec![0; body.len() + MESSAGE_OVERHEAD];
    let (keys, length) = responder.write(STATION, body, &mut out).unwrap();
    assert_eq!(length, out.len());
    (keys, out)
}

/// The handshake hash.
fn hash() -> [u8; 32] {
    handshake().0.hash
}

/// The frames of the file alone, without either machine's help in putting them together.
#[test]
fn a_secured_session_of_the_file_opens_with_its_key() {
    let (keys, answer) = handshake();
    assert_eq!(unframed(3)[HEADER + 2..], answer);
    // Request and answer carry the same number.
    for (at, number, committed) in [(4, 1, 0), (8, 2, 5)] {
        let mut request = unframed(at);
        let request = keys.receive.open(number, &mut request[HEADER..]).unwrap();
        let poll = Request::Poll { committed, skip: 0, room: 200 };
        assert_eq!(postcard::take_from_bytes(request), Ok((poll, &[][..])));
        let mut reply = unframed(at + 1);
        let reply = keys.send.open(number, &mut reply[HEADER..]).unwrap();
        let (head, rest) = postcard::take_from_bytes::<Reply<'_>>(reply).unwrap();
        let Reply::Events { lost: 0, behind: 0, .. } = head else { panic!("{head:?}") };
        assert_eq!(rest, if number == 1 { page() } else { Vec::new() });
    }
    // Who is asked once more says the same.
    assert_eq!((unframed(4), unframed(5)), (unframed(6), unframed(7)));
}
