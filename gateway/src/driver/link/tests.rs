//! The driver against stations behind a connection, as behind a serial device server: each is the handler
//! that firmware runs.

use std::sync::{Arc, Mutex};

use postern_protocol::Kind;
use postern_protocol::link::event::{Code, Event, MAX_EVENT, Place, Reason};
use postern_protocol::link::log::{EventLog, Slot};
use postern_protocol::link::message::{DoorState, Identity as Who, MAX_DOORS, Refusal, Table};
use postern_protocol::link::noise::Psk;
use postern_protocol::link::station::{Access as Lock, Condition, Device, Station as Handler};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::driver::Reading;

const FIRST: EpochId = EpochId([1; 16]);
const KEY: [u8; 32] = [7; 32];

struct Firmware {
    log: EventLog<Vec<Slot>>,
    clock: Stamp,
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
struct Place1 {
    handler: Handler<256>,
    firmware: Firmware,
    /// Requests that reached it while it says nothing.
    is_dead: bool,
}

type Stations = Arc<Mutex<Vec<Place1>>>;

fn swipe(stations: &Stations, station: Station, count: u32) {
    let mut stations = stations.lock().unwrap();
    for number in 0..count {
        let event = Event {
            at: Stamp(1 + number),
            code: Code::GRANTED,
            reason: Reason(0),
            place: Place(1),
            card: 9,
        };
        stations[station].firmware.log.push(event.encode(&mut [0; MAX_EVENT])).unwrap();
    }
}

/// A device server with so many stations at addresses from 1, and a driver for them. Station 0 has the
/// key, the others talk in clear.
async fn rig(count: u8) -> (Link, Stations) {
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
                    replies.extend(reply.filter(|_| !place.is_dead).unwrap_or_default());
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

fn span(from: u64, committed: u64) -> Span {
    Span {
        from: Index(from),
        at_most: 1_000,
        until: Instant::now() + Duration::from_mins(1),
        epoch: Some(FIRST),
        committed: Some((Index(committed), postern_protocol::Digest::default())),
        shared: false,
    }
}

#[tokio::test]
async fn a_backlog_is_read_in_a_row_and_what_is_durable_is_told() {
    let (mut link, stations) = rig(2).await;
    for station in [0, 1] {
        swipe(&stations, station, 50);
        let page = link.fetch(station, span(5, 3)).await.unwrap();
        assert_eq!((page.epoch, page.then), (Some(FIRST), Then::Absent));
        let indices: Vec<u64> = page.records.iter().map(|record| record.index.0).collect();
        assert_eq!(indices, (5..=50).collect::<Vec<u64>>());
        assert!(page.records.iter().all(|record| record.kind == Kind::Granted));
        assert_eq!(stations.lock().unwrap()[station].firmware.log.committed(), Index(3));
        assert_eq!(link.counters(station).broken, 0);
    }
    assert!(link.stats.look().stations[0].is_sealed && !link.stats.look().stations[1].is_sealed);
    let page = link.fetch(0, Span { at_most: 3, ..span(1, 0) }).await.unwrap();
    assert_eq!((page.records.len(), page.then), (3, Then::More));
}

#[tokio::test]
async fn what_is_overwritten_shows_in_the_indices() {
    let (mut link, stations) = rig(1).await;
    swipe(&stations, 0, 100);
    let page = link.fetch(0, span(1, 0)).await.unwrap();
    assert_eq!(page.records[0].index, Index(37));
    let bounds = link.bounds(0).await.unwrap().unwrap();
    assert_eq!((bounds.oldest, bounds.newest, bounds.epoch), (Index(37), Index(100), Some(FIRST)));
}

#[tokio::test]
async fn one_life_of_a_log_is_never_told_what_is_durable_of_another() {
    let (mut link, stations) = rig(1).await;
    swipe(&stations, 0, 20);
    link.fetch(0, span(1, 0)).await.unwrap();
    let second = EpochId([2; 16]);
    stations.lock().unwrap()[0].firmware.log.restart(second);
    swipe(&stations, 0, 30);
    let page = link.fetch(0, span(21, 20)).await.unwrap();
    assert_eq!((page.epoch, page.records.len(), page.then), (Some(second), 0, Then::More));
    let page = link.fetch(0, span(21, 20)).await.unwrap();
    assert_eq!((page.epoch, page.records.len()), (Some(second), 0));
    assert_eq!(stations.lock().unwrap()[0].firmware.log.committed(), Index(0));
    let page = link.fetch(0, Span { epoch: Some(second), committed: None, ..span(1, 0) }).await;
    assert_eq!(page.unwrap().records.len(), 30);
}

#[tokio::test]
async fn who_they_are_and_what_their_clocks_read() {
    let (mut link, _) = rig(1).await;
    let identity = link.identify(0).await.unwrap();
    assert_eq!((&*identity.model, &*identity.firmware), ("door?", "1.2"));
    assert_eq!(link.status(0).await.unwrap().clock, Some(Reading::Unset));
    assert_eq!(link.bounds(0).await, Ok(None));
    link.set_time(0, Timestamp(946_684_803_500)).await.unwrap();
    let clock = Some(Reading::At { at: Timestamp(946_684_803_000), or_at: None });
    assert_eq!(link.status(0).await.unwrap().clock, clock);
    assert_eq!(link.set_time(0, Timestamp(0)).await, Err(DriverError::Refused));
}

#[tokio::test]
async fn silence_a_closed_connection_and_a_missing_key_are_told_apart() {
    let (mut link, stations) = rig(2).await;
    link.status(0).await.unwrap();
    stations.lock().unwrap()[0].is_dead = true;
    assert_eq!(link.status(0).await, Err(DriverError::TimedOut));
    let before = link.counters(0).timeouts;
    assert_eq!(link.status(0).await, Err(DriverError::TimedOut));
    assert_eq!(link.counters(0).timeouts, before + 1, "one wait for a station that is dead");
    link.status(1).await.unwrap();

    link.settings.stations[1].access = None;
    let requests = link.counters(1).requests;
    assert_eq!(link.status(1).await, Err(DriverError::NoKey));
    assert_eq!(link.counters(1).requests, requests);

    // Three stations: the server hangs up after each answer.
    let (mut link, _) = rig(3).await;
    let mut errors = 0;
    for _ in 0..12 {
        match link.status(0).await {
            Ok(_) => {}
            Err(DriverError::Line(_)) => errors += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(errors > 0 && link.counters(0).line_errors == errors);
    assert!(link.counters(0).replies > 0, "it comes back each time");
}

#[tokio::test]
async fn a_line_that_only_babbles_is_given_up_within_its_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let noise: Vec<u8> = (0..4_096u32).map(|at| u8::try_from(at * 7 % 256).unwrap()).collect();
        while stream.write_all(&noise).await.is_ok() {}
    });
    let station = StationSettings { address: 1, serial: 1, access: Some(Access::Keyed(KEY)) };
    let settings = Settings {
        line: LineSettings::Tcp { address },
        reply: Duration::from_millis(50),
        stations: vec![station],
    };
    let mut link = Link::new(settings, Stats::new(1), Tap::default());
    assert_eq!(link.status(0).await, Err(DriverError::Damaged));
    assert!(link.counters(0).broken > 0);
}

#[tokio::test]
async fn who_listens_sees_frames_both_ways_and_no_card() {
    let (mut link, stations) = rig(1).await;
    swipe(&stations, 0, 1);
    let mut ear = link.tap.listen();
    link.fetch(0, span(1, 0)).await.unwrap();
    let mut lines = Vec::new();
    while let Ok(heard) = ear.try_recv() {
        let kind = heard.header.unwrap().kind;
        lines.push(format!("{:?} {kind:?} {:?}", heard.from, heard.meaning));
    }
    assert_eq!(lines.len(), 6, "{lines:?}");
    assert!(lines[4].starts_with("Gateway Sealed Some(\"Poll { committed: 0"), "{lines:?}");
    assert!(lines[5].starts_with("Station Sealed Some(\"Events { lost: 0"), "{lines:?}");
    assert!(lines[0].starts_with("Gateway Hello None") && lines[3].starts_with("Station Open"));
}
