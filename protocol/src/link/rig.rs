//! A device and its two ends for tests: what the gateway sends reaches the station, unless a test stands in
//! between.

use core::time::Duration;
use std::boxed::Box;
use std::vec::Vec;

use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{HandshakeState, StatelessTransportState};

use super::event::{Code, Event, MAX_EVENT, Place, Reason, Stamp};
use super::frame::{self, From, HEADER, Header, Kind, Receiver};
use super::gateway::{Access as GatewayAccess, Failure, Peer, Settings, Step};
use super::log::{EventLog, Slot};
use super::message::{
    DoorState, Flags, Identity, MAX_DOORS, MAX_PROLOGUE, Opening, Present, Prologue, Refusal,
    Reply, Request, Table, put,
};
use super::noise::{PROTOCOL_NAME, Psk, TAG};
use super::station::{Access, Condition, Device, Station};
use crate::id::EpochId;

pub(super) const ADDRESS: u8 = 5;
pub(super) const SERIAL: u32 = 70_001;
pub(super) const KEY: [u8; 32] = [0x42; 32];
pub(super) const WIRE: usize = 256;
pub(super) const FIRST_LIFE: EpochId = EpochId([1; 16]);

/// A device that remembers what was done to it.
#[derive(Clone, Debug)]
pub(super) struct TestDevice {
    pub(super) log: EventLog<Vec<Slot>>,
    pub(super) condition: Condition,
    pub(super) opened: Vec<(u8, u16)>,
    pub(super) staged: Vec<(Table, u32, u16, Vec<u8>)>,
    pub(super) active: Vec<(Table, u32, u16)>,
    pub(super) refuse: Option<Refusal>,
    /// Its memory fails when pages are to take effect.
    pub(super) refuse_activation: Option<Refusal>,
    pub(super) secret: u8,
}

impl TestDevice {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            log: EventLog::new(std::vec![Slot::EMPTY; capacity], FIRST_LIFE),
            condition: Condition::default(),
            opened: Vec::new(),
            staged: Vec::new(),
            active: Vec::new(),
            refuse: None,
            refuse_activation: None,
            secret: 0x50,
        }
    }

    /// Somebody swipes: a card per event, so that each is another one.
    pub(super) fn swipe(&mut self, card: u64) {
        let event = Event {
            at: Stamp(800_000_000),
            code: Code::GRANTED,
            reason: Reason(0),
            place: Place(1),
            card: card | 1 << 33,
        };
        self.log.push(event.encode(&mut [0; MAX_EVENT])).expect("fits");
    }

    fn allowed(&self) -> Result<(), Refusal> {
        self.refuse.map_or(Ok(()), Err)
    }
}

impl Device for TestDevice {
    type Slots = Vec<Slot>;

    fn log(&mut self) -> &mut EventLog<Vec<Slot>> {
        &mut self.log
    }

    fn identity(&self) -> Identity<'_> {
        let capacity = u32::try_from(self.log.capacity()).expect("fits");
        Identity { serial: SERIAL, model: "rig", firmware: "1.0", doors: 2, capacity }
    }

    fn condition(&self) -> Condition {
        self.condition
    }

    fn doors(&self, states: &mut [DoorState; MAX_DOORS]) -> usize {
        states[1] = DoorState(DoorState::OPEN);
        2
    }

    fn set_clock(&mut self, at: Stamp, _: u16) -> Result<(), Refusal> {
        self.allowed()?;
        self.condition.clock = at;
        Ok(())
    }

    fn keep_role_term(&mut self, role_term: u64) -> Result<(), Refusal> {
        self.allowed()?;
        self.condition.role_term = role_term;
        Ok(())
    }

    fn open_door(&mut self, door: u8, ms: u16) -> Result<(), Refusal> {
        self.allowed()?;
        if !(1..=2).contains(&door) {
            return Err(Refusal::Door);
        }
        self.opened.push((door, ms));
        Ok(())
    }

    fn stage(
        &mut self,
        table: Table,
        generation: u32,
        page: u16,
        bytes: &[u8],
    ) -> Result<(), Refusal> {
        self.allowed()?;
        self.staged.push((table, generation, page, bytes.to_vec()));
        Ok(())
    }

    fn activate(&mut self, table: Table, generation: u32, pages: u16) -> Result<(), Refusal> {
        self.refuse_activation.map_or(Ok(()), Err)?;
        self.active.push((table, generation, pages));
        match table {
            Table::Settings => self.condition.settings = generation,
            Table::Cards => self.condition.cards = generation,
        }
        Ok(())
    }

    fn random(&mut self) -> [u8; 32] {
        self.secret = self.secret.wrapping_add(1);
        [self.secret; 32]
    }
}

/// What a question came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Events: how many were lost before them, and they themselves.
    Events {
        lost: u64,
        events: Vec<Vec<u8>>,
        behind: u32,
        flags: Flags,
    },
    /// Another answer, as it is written for people.
    Other(std::string::String),
    /// The session alone was asked for.
    Opened,
    Failed(Failure),
}

/// A gateway and a station, and the line between them.
pub(super) struct Rig {
    pub(super) device: TestDevice,
    pub(super) station: Station<WIRE>,
    pub(super) peer: Peer,
    receiver: Receiver<1_024>,
    pub(super) secret: u8,
    pub(super) now: Duration,
}

/// What somebody on the line does to a frame: hands on none, one or several.
pub(super) type Meddler<'a> = &'a mut dyn FnMut(Way, &[u8]) -> Vec<Vec<u8>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    ToStation,
    ToGateway,
}

pub(super) fn honest(_: Way, bytes: &[u8]) -> Vec<Vec<u8>> {
    std::vec![bytes.to_vec()]
}

impl Rig {
    pub(super) fn keyed() -> Self {
        Self::new(Access::Keyed(Psk::new(KEY)), GatewayAccess::Keyed(KEY))
    }

    pub(super) fn plain() -> Self {
        Self::new(Access::Plain, GatewayAccess::Plain)
    }

    pub(super) fn new(station: Access, gateway: GatewayAccess) -> Self {
        Self {
            device: TestDevice::new(64),
            station: Station::new(ADDRESS, SERIAL, station),
            peer: Peer::new(Settings { address: ADDRESS, serial: SERIAL, access: gateway }),
            receiver: Receiver::default(),
            secret: 0x90,
            now: Duration::ZERO,
        }
    }

    /// The station loses its power; what its log holds survives.
    pub(super) fn reboot(&mut self, access: Access) {
        self.station = Station::new(ADDRESS, SERIAL, access);
    }

    pub(super) fn open(&mut self, meddler: Meddler<'_>) -> Outcome {
        let step = self.peer.open(self.now);
        self.carry_out(step, meddler)
    }

    pub(super) fn ask(
        &mut self,
        request: &Request<'_>,
        epoch: Option<EpochId>,
        meddler: Meddler<'_>,
    ) -> Outcome {
        let step = self.peer.ask(request, epoch, self.now);
        self.carry_out(step, meddler)
    }

    fn carry_out(&mut self, first: Step, meddler: Meddler<'_>) -> Outcome {
        let mut step = first;
        loop {
            step = match step {
                Step::Answered => return self.outcome(),
                Step::Failed(failure) => return Outcome::Failed(failure),
                Step::Send(_) => self.exchange(meddler),
            };
        }
    }

    /// One frame there, and whatever comes back.
    fn exchange(&mut self, meddler: Meddler<'_>) -> Step {
        let request = self.peer.wire().to_vec();
        for heard in meddler(Way::ToStation, &request) {
            let Some(reply) = self.station.on_bytes(&heard, &mut self.device) else { continue };
            let reply = reply.to_vec();
            for heard in meddler(Way::ToGateway, &reply) {
                if let Some(step) = self.hear(&heard) {
                    return step;
                }
            }
        }
        self.receiver.clear();
        self.peer.on_silence()
    }

    /// Bytes reach the gateway.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Option<Step> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (taken, is_whole) = self.receiver.push(rest);
            rest = &rest[taken..];
            if !is_whole {
                continue;
            }
            let secret = &mut self.secret;
            let step = match self.receiver.frame() {
                Err(_) => Some(self.peer.on_broken()),
                Ok((header, plain)) => self.peer.on_frame(header, plain, &mut || {
                    *secret = secret.wrapping_add(1);
                    [*secret; 32]
                }),
            };
            if step.is_some() {
                return step;
            }
        }
        None
    }

    fn outcome(&self) -> Outcome {
        match self.peer.answer() {
            Some((Reply::Events { lost, behind, flags }, runs)) => {
                let events = runs.map(<[u8]>::to_vec).collect();
                Outcome::Events { lost, events, behind, flags }
            }
            Some((other, _)) => Outcome::Other(std::format!("{other:?}")),
            None => Outcome::Opened,
        }
    }
}

/// What the pages of an outcome hold, one by one.
pub(super) fn cards(outcome: &Outcome) -> Vec<u64> {
    let Outcome::Events { events, .. } = outcome else { panic!("no events: {outcome:?}") };
    let card = |event: &Vec<u8>| Event::decode(event).expect("an event").card & !(1 << 33);
    events.iter().map(card).collect()
}

/// A frame on the line.
pub(super) fn wire(from: From, kind: Kind, sequence: u8, body: &[u8]) -> Vec<u8> {
    let header = Header { address: ADDRESS, from, kind, sequence };
    rewire(header, body)
}

pub(super) fn rewire(header: Header, body: &[u8]) -> Vec<u8> {
    encoded(&[&header.encode(), body].concat())
}

/// These bytes with a checksum of their own, on the line.
pub(super) fn encoded(plain: &[u8]) -> Vec<u8> {
    let mut wire = std::vec![0; frame::wire_length(plain.len())];
    let length = frame::encode(plain, &mut wire).expect("fits");
    wire.truncate(length);
    wire
}

/// The frame of these bytes of a line, less its header.
pub(super) fn unwire(wire: &[u8]) -> (Header, Vec<u8>) {
    let mut bytes: Vec<u8> = wire.iter().copied().filter(|byte| *byte != 0).collect();
    let (header, plain) = frame::decode(&mut bytes).expect("a frame");
    (header, plain[HEADER..].to_vec())
}

pub(super) fn body<T: serde::Serialize>(message: &T) -> Vec<u8> {
    let mut buffer = [0; frame::MAX_WIRE];
    let length = put(message, &mut buffer, 0).expect("fits");
    buffer[..length].to_vec()
}

/// A secret of the test's choice in place of randomness.
struct Fixed([u8; 32]);

impl Random for Fixed {
    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), snow::Error> {
        to.copy_from_slice(&self.0);
        Ok(())
    }
}

impl CryptoResolver for Fixed {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Self(self.0)))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// A gateway made by hand, which says whatever a test wants: its handshake under way.
pub(super) struct Dial {
    state: HandshakeState,
    /// Its opening.
    pub(super) wire: Vec<u8>,
}

impl Dial {
    pub(super) fn new(key: &[u8; 32], present: Present, version: u8, secret: u8) -> Self {
        let mut buffer = [0; MAX_PROLOGUE];
        let prologue = Prologue::new(ADDRESS, present, version);
        let secret = Box::new(Fixed([secret; 32]));
        let mut state = snow::Builder::with_resolver(PROTOCOL_NAME.parse().expect("known"), secret)
            .psk(0, key)
            .and_then(|builder| builder.prologue(prologue.encode(&mut buffer)))
            .and_then(snow::Builder::build_initiator)
            .expect("an initiator");
        let mut message = [0; 64];
        let length = state.write_message(&[], &mut message).expect("fits");
        let opening = body(&Opening::Noise { version });
        let opening = [&opening, &message[..length]].concat();
        Self { state, wire: wire(From::Gateway, Kind::Open, 9, &opening) }
    }

    /// The session that the station's answer makes.
    pub(super) fn finish(mut self, answer: &[u8]) -> Hand {
        let (header, body) = unwire(answer);
        assert_eq!(header.kind, Kind::Open);
        let (_, message) = postcard::take_from_bytes::<Opening>(&body).expect("an opening");
        self.state.read_message(message, &mut [0; 64]).expect("this station's answer");
        Hand(self.state.into_stateless_transport_mode().expect("finished"))
    }
}

/// … and in its session.
pub(super) struct Hand(StatelessTransportState);

impl Hand {
    /// Request `number`, on the line.
    pub(super) fn sealed(&self, number: u64, request: &[u8]) -> Vec<u8> {
        let mut message = std::vec![0; request.len() + TAG];
        self.0.write_message(number, request, &mut message).expect("fits");
        let sequence = u8::try_from(number % u64::from(frame::SEQUENCES)).expect("fits");
        wire(From::Gateway, Kind::Sealed, sequence, &message)
    }

    /// The answer to request `number`, if these bytes of a line are it.
    pub(super) fn answer(&self, number: u64, wire: &[u8]) -> Option<Vec<u8>> {
        let (header, message) = unwire(wire);
        let mut answer = std::vec![0; message.len()];
        let length = self.0.read_message(number, &message, &mut answer).ok()?;
        answer.truncate(length);
        (header.kind == Kind::Sealed).then_some(answer)
    }
}
