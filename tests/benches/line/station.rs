//! A simulated controller on the line, who notes when it answered.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use postern_protocol::link::event::{Code, Event, MAX_EVENT, Place, Reason, Stamp};
use postern_protocol::link::noise::Psk;
use postern_protocol::transaction::{Direction, Door};
use postern_protocol::{ControllerId, Index};
use postern_sim::controller::happening::Swipe;
use postern_sim::ledger::{EventLine, Kind, Line};
use postern_sim::line::{Reply, Talker};
use postern_sim::link::{LinkController, Security, Setup};
use postern_sim::record::Raw;

use crate::Outcome;

/// From the end of a request to the begin of its answer.
pub(crate) const TURN_AROUND: Duration = Duration::from_millis(1);

/// How many bytes an event has.
pub(crate) const EVENT: u64 = 12;

/// The first event's second: in 2025.
const SINCE: u32 = 790_000_000;

/// When a station answered, and with how many bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) station: usize,
    /// The end of the request, since the line began.
    pub(crate) at: Duration,
    pub(crate) bytes: usize,
}

/// The answers of all stations of a line, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers(Arc<Mutex<Vec<Answer>>>);

impl Answers {
    fn note(&self, answer: Answer) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
    }

    pub(crate) fn so_far(&self) -> Vec<Answer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// See the module.
pub(crate) struct Station {
    number: usize,
    controller: LinkController,
    answers: Answers,
}

impl Station {
    /// The station of this number, at the address above it, with so many events in its log.
    pub(crate) fn new(
        number: usize,
        key: [u8; 32],
        events: u64,
        answers: Answers,
    ) -> Outcome<Self> {
        Ok(Self { number, controller: controller(number, key, events)?, answers })
    }

    /// A card is swiped here; the index of the event.
    pub(crate) fn swipe(&mut self) -> Outcome<u64> {
        let swipe = Swipe { card: 0xd000_0000, door: 1, direction: 1 };
        let recorded = self.controller.swipe(swipe, Timestamp::now(), &mut Vec::new())?;
        Ok(recorded.last().ok_or("the swipe was not recorded")?.index)
    }
}

impl Talker for Station {
    fn on_bytes(&mut self, bytes: &[u8], now: Duration) -> Option<Reply> {
        let mut truth = Vec::new();
        let said = self.controller.on_bytes(bytes, Timestamp::now(), &mut truth).ok().flatten()?;
        let reply = Reply { after: TURN_AROUND, bytes: said.to_vec() };
        self.answers.note(Answer { station: self.number, at: now, bytes: reply.bytes.len() });
        Some(reply)
    }
}

/// The serial number of a station.
pub(crate) fn serial(number: usize) -> u32 {
    u32::try_from(number).map_or(u32::MAX, |number| 70_001 + number)
}

/// The address of a station.
pub(crate) fn address(number: usize) -> Outcome<u8> {
    Ok(u8::try_from(number + 1)?)
}

/// The controller of a station, with so many events in its log.
pub(crate) fn controller(number: usize, key: [u8; 32], events: u64) -> Outcome<LinkController> {
    let serial = serial(number);
    let mut controller = LinkController::new(Setup {
        seed: 1,
        serial,
        address: address(number)?,
        security: Security::Key(Psk::new(key)),
        capacity: usize::try_from(events)? + 1_024,
        record_special_events: false,
        cards: Vec::new(),
    });
    for index in 1..=events {
        let mut buffer = [0; MAX_EVENT];
        let bytes = event(index)?.encode(&mut buffer);
        if bytes.len() as u64 != EVENT {
            return Err(format!("an event has {} bytes", bytes.len()).into());
        }
        controller.resume(&Line::Event(EventLine {
            controller: ControllerId::link(serial),
            life: 0,
            index,
            raw: Raw::of_link(Index(index), bytes).ok_or("the record is too long")?,
            kind: Kind::Swipe,
            at: Timestamp::now(),
        }))?;
    }
    Ok(controller)
}

/// A card of 34 bits at a door.
fn event(index: u64) -> Outcome<Event> {
    Ok(Event {
        at: Stamp(SINCE + u32::try_from(index)?),
        code: Code::GRANTED,
        reason: Reason(0),
        place: Place::new(Some(Door(1)), Some(Direction::In)),
        card: (1 << 33) | (index * 7_919 % (1 << 33)),
    })
}
