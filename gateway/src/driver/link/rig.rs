//! Stations behind a connection, as behind a serial device server: each is the handler that firmware runs.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern_protocol::EpochId;
use postern_protocol::link::event::{Code, Event, MAX_EVENT, Place, Reason, Stamp};
use postern_protocol::link::log::{EventLog, Slot};
use postern_protocol::link::message::{DoorState, Identity as Who, MAX_DOORS, Refusal, Table};
use postern_protocol::link::noise::Psk;
use postern_protocol::link::station::{Access as Lock, Condition, Device, Station as Handler};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{Access, LineSettings, Link, Settings, StationSettings, Stats, Tap};
use crate::driver::Station;

pub(super) const FIRST: EpochId = EpochId([1; 16]);
pub(super) const KEY: [u8; 32] = [7; 32];

pub(super) struct Firmware {
    pub(super) log: EventLog<Vec<Slot>>,
    pub(super) clock: Stamp,
    secret: u8,
}

impl Device for Firmware {
    type Slots = Vec<Slot>;

    fn log(&mut self) -> &mut EventLog<Vec<Slot>> {
        &mut self.log
    }

    fn identity(&self) -> Who<'_> {
        Who { serial: 1, model: "door\u{7}", firmware: "1.2", doors: 1, capacity: 64 }
    }

    fn condition(&self) -> Condition {
        Condition { clock: self.clock, ..Condition::default() }
    }

    fn doors(&self, _: &mut [DoorState; MAX_DOORS]) -> usize {
        0
    }

    fn set_clock(&mut self, at: Stamp, _: u16) -> Result<(), Refusal> {
        self.clock = at;
        Ok(())
    }

    fn keep_role_term(&mut self, _: u64) -> Result<(), Refusal> {
        Err(Refusal::Memory)
    }

    fn open_door(&mut self, _: u8, _: u16) -> Result<(), Refusal> {
        Err(Refusal::Door)
    }

    fn stage(&mut self, _: Table, _: u32, _: u16, _: &[u8]) -> Result<(), Refusal> {
        Err(Refusal::Memory)
    }

    fn activate(&mut self, _: Table, _: u32, _: u16) -> Result<(), Refusal> {
        Err(Refusal::Memory)
    }

    fn random(&mut self) -> [u8; 32] {
        self.secret += 1;
        [self.secret; 32]
    }
}

/// What stands at one address.
pub(super) struct Place1 {
    handler: Handler<256>,
    pub(super) firmware: Firmware,
    /// Requests that reached it while it says nothing.
    pub(super) is_dead: bool,
    /// How many answers it gives until it is dead, if they are numbered.
    pub(super) answers: Option<u32>,
    /// Which life of its log begins behind each of its next answers, if one does.
    pub(super) lives: VecDeque<Option<EpochId>>,
}

impl Place1 {
    /// Its power fails; what its log holds survives.
    pub(super) fn reboot(&mut self) {
        self.handler = Handler::new(1, 1, lock(1));
    }
}

pub(super) type Stations = Arc<Mutex<Vec<Place1>>>;

pub(super) fn swipe(stations: &Stations, station: Station, count: u32) {
    swipe_at(stations, station, 1, count);
}

/// So many swipes, one each second from there on.
pub(super) fn swipe_at(stations: &Stations, station: Station, at: u32, count: u32) {
    let mut stations = stations.lock().unwrap();
    for number in 0..count {
        let event = swiped(at + number);
        stations[station].firmware.log.push(event.encode(&mut [0; MAX_EVENT])).unwrap();
    }
}

/// What is recorded of a swipe.
pub(super) fn swiped(at: u32) -> Event {
    let (code, reason, place) = (Code::GRANTED, Reason(0), Place(1));
    Event { at: Stamp(at), code, reason, place, card: 9 }
}

/// A device server with so many stations at addresses from 1, and a driver for them. Station 0 has the
/// key, the others talk in clear.
pub(super) async fn rig(count: u8) -> (Link, Stations) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let place = |address: u8| Place1 {
        handler: Handler::new(address, u32::from(address), lock(address)),
        firmware: Firmware {
            log: EventLog::new(vec![Slot::EMPTY; 64], FIRST),
            clock: Stamp::UNSET,
            secret: 0,
        },
        is_dead: false,
        answers: None,
        lives: VecDeque::new(),
    };
    let stations: Stations = Arc::new(Mutex::new((1..=count).map(place).collect()));
    let served = Arc::clone(&stations);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 512];
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                let mut replies = Vec::new();
                for place in served.lock().unwrap().iter_mut() {
                    let reply = place.handler.on_bytes(&buffer[..length], &mut place.firmware);
                    let is_answered = reply.is_some();
                    replies.extend(reply.filter(|_| !place.is_dead).unwrap_or_default());
                    if let (true, Some(left)) = (is_answered, &mut place.answers) {
                        *left = left.saturating_sub(1);
                        place.is_dead = *left == 0;
                    }
                    if is_answered && let Some(named) = place.lives.pop_front().flatten() {
                        place.firmware.log.restart(named);
                    }
                }
                stream.write_all(&replies).await.unwrap();
                // A server that hangs up after an answer.
                if served.lock().unwrap().len() == 3 {
                    break;
                }
            }
        }
    });
    let seat = |address: u8| StationSettings {
        address,
        serial: u32::from(address),
        access: Some(if address == 1 { Access::Keyed(KEY) } else { Access::Plain }),
    };
    let settings = Settings {
        line: LineSettings::Tcp { address },
        // Far above what a loaded machine needs; what is silent costs it.
        reply: Duration::from_millis(300),
        stations: (1..=count).map(seat).collect(),
    };
    (Link::new(settings, Stats::new(usize::from(count)), Tap::default()), stations)
}

fn lock(address: u8) -> Lock {
    if address == 1 { Lock::Keyed(Psk::new(KEY)) } else { Lock::Plain }
}
