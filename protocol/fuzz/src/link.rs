//! Our own controller link: frames, handshakes, and both machines under whatever reaches them.

use std::collections::BTreeMap;
use std::time::Duration;

use postern_protocol::EpochId;
use postern_protocol::link::event::{Event, MAX_EVENT, Stamp};
use postern_protocol::link::frame::{
    self, CRC_LENGTH, From, HEADER, Header, Kind, MAX_WIRE, Receiver,
};
use postern_protocol::link::gateway::{Access as GatewayAccess, Failure, Peer, Settings, Step};
use postern_protocol::link::log::{EventLog, Slot};
use postern_protocol::link::message::{
    DoorState, Hello, Identity, MAX_DOORS, Opening, Present, Refusal, Reply, Request, Table,
    Welcome, runs,
};
use postern_protocol::link::noise::{Psk, Responder};
use postern_protocol::link::station::{Access, Condition, Device, Station};

const ADDRESS: u8 = 5;
const SERIAL: u32 = 70_001;
const KEY: [u8; 32] = [0x42; 32];
const WIRE: usize = 256;

/// Bytes on a line, in chunks whose length the first byte says: frames, headers, messages, events.
pub fn frame(bytes: &[u8]) {
    let Some((chunk, line)) = bytes.split_first() else { return };
    let at_once = frames(line, line.len().max(1));
    assert_eq!(frames(line, usize::from(*chunk).max(1)), at_once, "the chunks made a difference");
    for plain in at_once.into_iter().flatten() {
        assert!(plain.len() >= HEADER && plain.len() + CRC_LENGTH < WIRE);
        let mut wire = [0; MAX_WIRE];
        let length = frame::encode(&plain, &mut wire).expect("what was received can be sent");
        assert!(length <= frame::wire_length(plain.len()));
        assert_eq!(frames(&wire[..length], 7), [Some(plain.clone())]);
        messages(&plain[HEADER..]);
    }
    // The same without a checksum, which no fuzzer guesses.
    messages(line);
}

/// What stands between zeros; `None` where it is no frame.
fn frames(line: &[u8], chunk: usize) -> Vec<Option<Vec<u8>>> {
    let mut receiver = Receiver::<WIRE>::default();
    let mut found = Vec::new();
    for mut rest in line.chunks(chunk) {
        while !rest.is_empty() {
            let (taken, is_whole) = receiver.push(rest);
            assert!(taken > 0 && taken <= rest.len());
            rest = &rest[taken..];
            if is_whole {
                found.push(receiver.frame().ok().map(|(header, plain)| {
                    assert_eq!(header.encode(), plain[..HEADER]);
                    assert_eq!(Header::decode([plain[0], plain[1]]), Some(header));
                    plain.to_vec()
                }));
            }
        }
    }
    found
}

macro_rules! read_back {
    ($body:expr, $($message:ty),*) => {$(
        if let Ok((message, rest)) = postcard::take_from_bytes::<$message>($body) {
            let mut buffer = [0; 2 * MAX_WIRE];
            let encoded = postcard::to_slice(&message, &mut buffer).expect("what was read fits");
            // Another encoding of the same may be longer, never shorter than the one that is written.
            assert!(encoded.len() <= $body.len() - rest.len());
            assert_eq!(postcard::from_bytes::<$message>(encoded).as_ref(), Ok(&message));
        }
    )*};
}

/// A body is read as each message that there is; what is read is written and read again as the same.
fn messages(body: &[u8]) {
    let body = body.get(..MAX_WIRE).unwrap_or(body);
    read_back!(body, Hello, Present, Opening, Welcome, Refusal, Request<'_>, Reply<'_>);
    if let Some(event) = Event::decode(body) {
        assert_eq!(Event::decode(event.encode(&mut [0; MAX_EVENT])), Some(event));
        let _ = (event.kind(), event.at.moment(), event.place.door(), event.place.direction());
    }
    let mut page = [0; 2 * MAX_WIRE];
    let mut writer = runs::Writer::new(&mut page);
    let events: Vec<&[u8]> =
        runs::Reader::new(body).take_while(|event| writer.push(event)).collect();
    let length = writer.length();
    assert!(runs::Reader::new(&page[..length]).is_whole());
    assert_eq!(runs::Reader::new(&page[..length]).collect::<Vec<_>>(), events);
}

/// A frame of this header and body, on the line.
fn wire(header: Header, body: &[u8]) -> Vec<u8> {
    let body = &body[..body.len().min(frame::capacity(MAX_WIRE) - HEADER)];
    let plain = [&header.encode(), body].concat();
    let mut wire = vec![0; frame::wire_length(plain.len())];
    let length = frame::encode(&plain, &mut wire).expect("fits");
    wire.truncate(length);
    wire
}

/// The frame that a machine of ours sent.
fn unwire(wire: &[u8]) -> (Header, Vec<u8>) {
    let mut bytes: Vec<u8> = wire.iter().copied().filter(|byte| *byte != 0).collect();
    let (header, plain) = frame::decode(&mut bytes).expect("what is sent is a frame");
    (header, plain[HEADER..].to_vec())
}

fn station(is_keyed: bool) -> Station<WIRE> {
    let access = if is_keyed { Access::Keyed(Psk::new(KEY)) } else { Access::Plain };
    Station::new(ADDRESS, SERIAL, access)
}

fn peer(is_keyed: bool) -> Peer {
    let access = if is_keyed { GatewayAccess::Keyed(KEY) } else { GatewayAccess::Plain };
    Peer::new(Settings { address: ADDRESS, serial: SERIAL, access })
}

/// A frame reaches the gateway.
fn hear(peer: &mut Peer, secret: &mut u8, bytes: &[u8]) -> Option<Step> {
    let mut receiver = Receiver::<MAX_WIRE>::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (taken, is_whole) = receiver.push(rest);
        rest = &rest[taken..];
        if is_whole {
            let step = match receiver.frame() {
                Err(_) => Some(peer.on_broken()),
                Ok((header, plain)) => peer.on_frame(header, plain, &mut || {
                    *secret = secret.wrapping_add(1);
                    [*secret; 32]
                }),
            };
            // The question is answered, or another frame is to be sent: what else came is of no use.
            if step.is_some() {
                return step;
            }
        }
    }
    None
}

/// Handshakes. The first byte says whose, and with what: bytes of anybody's, or an honest one of which
/// some bytes are changed.
pub fn handshake(bytes: &[u8]) {
    let Some((which, rest)) = bytes.split_first() else { return };
    let is_keyed = which & 1 == 0;
    match which >> 1 & 3 {
        // A station hears hellos and openings.
        0 => {
            let (mut station, mut device) = (station(is_keyed), Simple::new(4));
            for (part, kind) in rest.chunks(80).zip([Kind::Open, Kind::Hello, Kind::Open]) {
                let header = Header { address: ADDRESS, from: From::Gateway, kind, sequence: 1 };
                let Some(answer) = station.on_bytes(&wire(header, part), &mut device) else {
                    continue;
                };
                let (header, _) = unwire(answer);
                assert!(matches!(header.kind, Kind::Hello | Kind::Open | Kind::Refused));
                assert!(!is_keyed || header.kind != Kind::Open, "opened without the key");
            }
            assert_eq!(station.counters().requests, 0);
        }
        // A gateway hears what is said to be a station, and an answer to its opening.
        1 => {
            let (mut peer, mut secret) = (peer(is_keyed), 0);
            let (present, answer) = rest.split_at(rest.len().min(10));
            let mut step = peer.open(Duration::ZERO);
            for (kind, body) in [(Kind::Hello, present), (Kind::Open, answer)] {
                if !matches!(step, Step::Send(_)) {
                    break;
                }
                let sequence = unwire(peer.wire()).0.sequence;
                let header = Header { address: ADDRESS, from: From::Station, kind, sequence };
                step = hear(&mut peer, &mut secret, &wire(header, body)).unwrap_or(step);
            }
            assert!(!is_keyed || peer.welcome().is_none(), "a session without the key");
            assert!(!peer.is_sealed());
        }
        // The first message of Noise, by itself.
        2 => {
            let (prologue, message) = rest.split_at(rest.len().min(9));
            let read = Responder::read(&Psk::new(KEY), prologue, message, &mut [0; 300]);
            assert!(read.is_err(), "authentic without the key");
        }
        _ => honest(is_keyed, rest),
    }
}

/// An honest handshake, of which some bytes are changed: there is a session where nothing was that
/// counts, and else none.
fn honest(is_keyed: bool, changes: &[u8]) {
    let (mut peer, mut station) = (peer(is_keyed), station(is_keyed));
    let (mut device, mut secret) = (Simple::new(4), 0);
    let mut changes = changes.chunks_exact(3);
    let mut is_changed = false;
    let mut change = |from: &[u8]| {
        let (header, mut body) = unwire(from);
        if let Some([at, xor, more]) = changes.next() {
            // What an opening's answer says outside of its handshake counts for nothing.
            let begin =
                if (header.kind, header.from) == (Kind::Open, From::Station) { 2 } else { 0 };
            let at = begin + usize::from(*at) % (body.len() - begin);
            body[at] ^= xor;
            is_changed |= *xor != 0;
            if more & 0xc0 == 0xc0 {
                body.truncate(at + 1);
                is_changed = true;
            }
        }
        wire(header, &body)
    };
    let mut step = peer.open(Duration::ZERO);
    for _ in 0..2 {
        if !matches!(step, Step::Send(_)) {
            break;
        }
        let Some(answer) = station.on_bytes(&change(peer.wire()), &mut device) else { break };
        let answer = change(answer);
        step = hear(&mut peer, &mut secret, &answer).unwrap_or(step);
    }
    if !is_changed {
        assert_eq!(step, Step::Answered);
    }
    // In clear anybody says what they like.
    if is_keyed && let Some(welcome) = peer.welcome() {
        let log = &device.log;
        let expected =
            Welcome { epoch: log.epoch(), oldest: log.oldest().0, newest: log.newest().0 };
        assert!(peer.is_sealed());
        assert_eq!(welcome, expected, "changed, and taken");
    }
}

/// A device that remembers what was done to it.
struct Simple {
    log: EventLog<Vec<Slot>>,
    condition: Condition,
    opened: Vec<u16>,
    changes: u32,
    secret: u8,
}

impl Simple {
    fn new(capacity: usize) -> Self {
        Self {
            log: EventLog::new(vec![Slot::EMPTY; capacity], EpochId([1; 16])),
            condition: Condition::default(),
            opened: Vec::new(),
            changes: 0,
            secret: 0x80,
        }
    }
}

impl Device for Simple {
    type Slots = Vec<Slot>;

    fn log(&mut self) -> &mut EventLog<Vec<Slot>> {
        &mut self.log
    }

    fn identity(&self) -> Identity<'_> {
        Identity { serial: SERIAL, model: "fuzz", firmware: "1", doors: 2, capacity: 4 }
    }

    fn condition(&self) -> Condition {
        self.condition
    }

    fn doors(&self, _: &mut [DoorState; MAX_DOORS]) -> usize {
        2
    }

    fn set_clock(&mut self, at: Stamp, ms: u16) -> Result<(), Refusal> {
        assert!(ms < 1_000);
        self.condition.clock = at;
        self.changes += 1;
        Ok(())
    }

    fn keep_role_term(&mut self, role_term: u64) -> Result<(), Refusal> {
        assert!(role_term > self.condition.role_term, "role terms only rise");
        self.condition.role_term = role_term;
        Ok(())
    }

    fn open_door(&mut self, _: u8, ms: u16) -> Result<(), Refusal> {
        self.opened.push(ms);
        self.changes += 1;
        Ok(())
    }

    fn stage(&mut self, _: Table, generation: u32, _: u16, bytes: &[u8]) -> Result<(), Refusal> {
        assert!(bytes.len() < WIRE);
        self.changes += 1;
        if generation % 7 == 6 { Err(Refusal::Memory) } else { Ok(()) }
    }

    fn activate(&mut self, table: Table, generation: u32, pages: u16) -> Result<(), Refusal> {
        assert!(pages > 0);
        if generation % 7 == 5 {
            return Err(Refusal::Memory);
        }
        let present = match table {
            Table::Settings => &mut self.condition.settings,
            Table::Cards => &mut self.condition.cards,
        };
        assert!(generation > *present, "generations only rise");
        *present = generation;
        Ok(())
    }

    fn random(&mut self) -> [u8; 32] {
        self.secret = self.secret.wrapping_add(1);
        [self.secret; 32]
    }
}

/// A script: what a gateway, a station and whoever is on the line between them do, in which order.
pub fn machines(bytes: &[u8]) {
    let mut script = Script(bytes);
    let first = script.byte();
    let mut scene = Scene {
        is_keyed: [first & 1 == 0, first & 2 == 0],
        peer: peer(first & 1 == 0),
        station: station(first & 2 == 0),
        device: Simple::new(usize::from(first >> 4).max(1)),
        secret: 0,
        is_waiting: false,
        order: None,
        orders: 0,
        answer: Vec::new(),
        came: BTreeMap::new(),
        recorded: Vec::new(),
    };
    // Each act costs a handshake at most.
    for _ in 0..200 {
        if script.0.is_empty() {
            break;
        }
        scene.act(&mut script);
        scene.check();
    }
}

struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn some(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte() & 0x7f).min(self.0.len());
        let (some, rest) = self.0.split_at(length);
        self.0 = rest;
        some
    }
}

struct Scene {
    /// The gateway, the station.
    is_keyed: [bool; 2],
    peer: Peer,
    station: Station<WIRE>,
    device: Simple,
    secret: u8,
    is_waiting: bool,
    /// The order that is out.
    order: Option<u16>,
    orders: u16,
    answer: Vec<u8>,
    came: BTreeMap<u16, Step>,
    recorded: Vec<Vec<u8>>,
}

impl Scene {
    fn act(&mut self, script: &mut Script<'_>) {
        match script.byte() % 16 {
            0 => self.ask(script),
            // The gateway's frame reaches the station, and the answer lies on the line.
            1 | 2 if self.is_waiting => {
                let sent = self.peer.wire().to_vec();
                self.reach(&sent);
            }
            3 | 4 => self.hear(&self.answer.clone()),
            // Both.
            5 | 6 if self.is_waiting => {
                let sent = self.peer.wire().to_vec();
                self.reach(&sent);
                self.hear(&self.answer.clone());
            }
            7 => {
                let step = if script.byte() & 1 == 0 {
                    self.peer.on_silence()
                } else {
                    self.peer.on_broken()
                };
                self.settle(step);
            }
            8 => {
                let event = script.some();
                let newest = self.device.log.newest().0;
                if let Ok(index) = self.device.log.push(event) {
                    assert_eq!(index.0, newest + 1);
                    self.recorded.push(event.to_vec());
                }
            }
            9 => {
                let life = script.byte();
                self.device.log.restart(EpochId([life; 16]));
            }
            10 => self.station = station(self.is_keyed[1]),
            11 => self.peer.rekey(),
            // Somebody else's bytes, raw or in a frame of their own, to either side.
            12 => {
                let bytes = script.some();
                self.reach(bytes);
            }
            13 => {
                let bytes = framed(script, From::Gateway);
                self.reach(&bytes);
            }
            14 => {
                let bytes = script.some();
                self.hear(bytes);
            }
            15 => {
                let bytes = framed(script, From::Station);
                self.hear(&bytes);
            }
            _ => {}
        }
    }

    fn ask(&mut self, script: &mut Script<'_>) {
        if self.is_waiting {
            return;
        }
        let (which, a, b) = (script.byte(), script.byte(), script.byte());
        let role_term = u64::from(a >> 4);
        let request = match which % 8 {
            0 | 7 => Request::Poll {
                committed: u64::from(a & 0x0f).min(self.device.log.newest().0),
                skip: u64::from(b & 3),
                room: u16::from(b),
            },
            1 => Request::Identify,
            2 => Request::Status,
            3 => Request::Doors,
            4 => Request::SetTime { at: Stamp(u32::from(a)), ms: u16::from(b) * 5 },
            5 => Request::Page {
                role_term,
                table: if b & 1 == 0 { Table::Settings } else { Table::Cards },
                generation: u32::from(a & 0x0f),
                page: u16::from(b >> 1 & 7),
                pages: u16::from(b >> 4 & 7),
                bytes: script.some(),
            },
            _ => {
                self.orders += 1;
                self.order = Some(self.orders);
                Request::OpenDoor { role_term, door: b, ms: self.orders }
            }
        };
        let epoch = (which & 0x80 == 0).then_some(self.device.log.epoch());
        let now = Duration::from_secs(u64::from(which >> 4) * 300);
        let step = self.peer.ask(&request, epoch, now);
        self.settle(step);
    }

    fn reach(&mut self, bytes: &[u8]) {
        let before = self.station.counters();
        let (opened, changes) = (self.device.opened.len(), self.device.changes);
        let answer = self.station.on_bytes(bytes, &mut self.device).map(<[u8]>::to_vec);
        let requests = self.station.counters().requests - before.requests;
        let opened = self.device.opened.len() - opened;
        assert!(
            opened <= usize::try_from(requests).expect("few"),
            "a door for each request at most"
        );
        assert!(self.device.changes - changes <= requests, "changed by what did not verify");
        if let Some(answer) = answer {
            assert!(answer.len() <= WIRE);
            let (header, _) = unwire(&answer);
            assert_eq!((header.address, header.from), (ADDRESS, From::Station));
            assert!(!self.is_keyed[1] || header.kind != Kind::Plain, "answered in clear");
            self.answer = answer;
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        if let Some(step) = hear(&mut self.peer, &mut self.secret, bytes) {
            self.settle(step);
        }
    }

    fn settle(&mut self, step: Step) {
        self.is_waiting = matches!(step, Step::Send(_));
        if self.is_waiting {
            let wire = self.peer.wire();
            assert!(wire.len() <= MAX_WIRE + 1);
            let (header, body) = unwire(wire);
            assert_eq!((header.address, header.from), (ADDRESS, From::Gateway));
            assert!(header.kind != Kind::Refused);
            if self.is_keyed[0] {
                assert!(header.kind != Kind::Plain, "a question in clear");
                assert!(header.kind != Kind::Open || body[0] == 0, "opened in clear");
            }
            return;
        }
        if let Some(order) = self.order.take() {
            self.came.insert(order, step);
        }
        if step == Step::Answered
            && self.is_keyed == [true, true]
            && let Some((Reply::Events { .. }, runs)) = self.peer.answer()
        {
            runs.for_each(|event| {
                assert!(self.recorded.iter().any(|each| each == event), "never recorded");
            });
        }
    }

    fn check(&self) {
        let log = &self.device.log;
        assert!(log.committed() <= log.newest() && log.oldest().0 <= log.newest().0 + 1);
        assert!(log.stored() <= log.capacity());
        assert!(!self.is_keyed[0] || self.peer.welcome().is_none() || self.peer.is_sealed());
        if self.is_keyed != [true, true] {
            return;
        }
        for order in 1..=self.orders {
            let times = self.device.opened.iter().filter(|each| **each == order).count();
            assert!(times <= 1, "one order, {times} times");
            match self.came.get(&order) {
                Some(Step::Answered) => assert_eq!(times, 1, "said to be done"),
                None | Some(Step::Failed(Failure::Unknown)) => {}
                Some(step) => assert_eq!(times, 0, "{step:?}"),
            }
        }
    }
}

/// A frame with a right checksum and anything in it.
fn framed(script: &mut Script<'_>, from: From) -> Vec<u8> {
    let control = script.byte();
    let kinds = [Kind::Hello, Kind::Open, Kind::Sealed, Kind::Plain, Kind::Refused];
    let kind = kinds[usize::from(control >> 5) % kinds.len()];
    let header = Header { address: ADDRESS, from, kind, sequence: control & 0x1f };
    wire(header, script.some())
}
