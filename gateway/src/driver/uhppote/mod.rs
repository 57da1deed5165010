//! UHPPOTE UT0311-L0x boards over UDP and TCP.
//!
//! Pull by index is the truth; a pushed event only wakes the pull (`listener`). What the collector
//! concludes from a sentinel (past the newest, overwritten) it checks against the ends of the log, and
//! those are always asked from a fresh socket: see [`client`] for when an answer is believed.
//!
//! - [`client`]: asks one board one thing.
//! - `diagnosis`: why a board does not answer as it should.
//! - [`listener`]: pushed events.
//! - `transport`: sockets.
//! - [`zone`]: wall time to UTC and back.

use jiff::tz::TimeZone;
use postern_protocol::transaction::{Credential, Occurred, RawRecord};
use postern_protocol::uhppote::field::{DateTime, Version};
use postern_protocol::uhppote::message::{record_bytes, request, response};
use postern_protocol::uhppote::{
    Frame, Function, NEWEST, OLDEST, Request, Response, TYPE_OVERWRITTEN, peek, reason,
};
use postern_protocol::{Index, Kind, Timestamp};
use tokio::time::Instant;

use super::{
    Bounds, Driver, DriverError, Identity, LineCounters, Log, Page, Record, Span, Station, Status,
    Then,
};

pub mod client;
mod diagnosis;
pub mod listener;
mod transport;
pub mod zone;

use client::{Client, MAX_IN_FLIGHT};
pub use client::{Reply, Target};
pub use transport::{Transport, WIRE};
pub(crate) use transport::{bind, show as show_frame};

/// The highest index that a record can have: the next number asks for the newest. What real boards do
/// there nobody has reported; this is the reading under which every record can be asked for.
const LAST_INDEX: u64 = NEWEST as u64 - 1;

/// What boards of this make are called.
const MODEL: &str = "uhppote";

/// Major versions of the firmware whose frames are as this driver reads them.
const KNOWN_FIRMWARE: [u8; 2] = [6, 8];

/// Whether firmware of this major version has been tried with this driver.
pub(crate) fn is_known_firmware(major: u8) -> bool {
    KNOWN_FIRMWARE.contains(&major)
}

/// How a board is read.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How it is reached.
    pub target: Target,
    /// The zone that its clock is set to.
    pub zone: TimeZone,
    /// How many requests may be in flight to it.
    pub in_flight: u32,
}

/// The driver of one board, which is a bus of its own.
pub struct Uhppote {
    settings: Settings,
    client: Client,
    unset_time: u64,
    unreadable: u64,
}

/// What a board answers when it is asked for one record.
enum Answer {
    Record(Box<Record>),
    Then(Then),
}

impl Uhppote {
    /// A driver that has not talked to its board yet.
    pub fn new(settings: Settings) -> Self {
        let client = Client::new(settings.target);
        Self { settings, client, unset_time: 0, unreadable: 0 }
    }

    /// One record, asked for until its answer can be believed.
    async fn read(&mut self, index: Index) -> Result<Answer, DriverError> {
        let controller = self.settings.target.serial;
        let wire = wire(index);
        let request = Request::GetEvent(request::GetEvent { controller, index: wire });
        match self.client.ask(&request).await {
            Ok(reply) => self.answer(index, &reply),
            Err(error) => match self.unreadable(index).filter(|_| error == DriverError::Nonsense) {
                Some(record) => Ok(Answer::Record(Box::new(record))),
                None => Err(error),
            },
        }
    }

    fn answer(&mut self, index: Index, reply: &Reply) -> Result<Answer, DriverError> {
        let Response::GetEvent(event) = reply.response else { return Err(DriverError::Nonsense) };
        Ok(match (event.is_sentinel(), event.event_type) {
            (true, TYPE_OVERWRITTEN) => Answer::Then(Then::Overwritten),
            (true, _) => Answer::Then(Then::Absent),
            (false, _) => Answer::Record(Box::new(self.record(index, &event, &reply.frame)?)),
        })
    }

    fn record(
        &mut self,
        index: Index,
        event: &response::GetEvent,
        frame: &Frame,
    ) -> Result<Record, DriverError> {
        self.unset_time += u64::from(!event.timestamp.is_set());
        let (occurred, or_at) = zone::occurred(event.timestamp, &self.settings.zone);
        Ok(Record {
            index,
            kind: reason::kind(event),
            occurred,
            or_at,
            door: reason::door(event),
            direction: reason::direction(event),
            credential: (event.card != 0).then(|| Credential(u64::from(event.card))),
            raw: RawRecord::new(record_bytes(frame)).ok_or(DriverError::Nonsense)?,
        })
    }

    /// A reply to this function that came with the same bytes each time, and with fields that cannot be:
    /// it is what the board says.
    fn garbage(&self, function: Function) -> Option<&Frame> {
        let frame = self.client.unreadable()?;
        let (_, found, serial) = peek(frame).ok()?;
        (found == function && serial == self.settings.target.serial).then_some(frame)
    }

    /// A record with fields that cannot be. Its bytes are kept, and nothing is read into them.
    fn unreadable(&mut self, index: Index) -> Option<Record> {
        let frame = *self.garbage(request::GetEvent::FUNCTION)?;
        let bytes = record_bytes(&frame);
        let is_it = number_of(&frame) == Some(wire(index));
        let raw = RawRecord::new(bytes).filter(|_| is_it)?;
        let (event_type, reason) = (bytes.get(4)?, bytes.last()?);
        self.unreadable += 1;
        Some(Record {
            index,
            kind: Kind::Other { code: u32::from(*event_type) << 8 | u32::from(*reason) },
            occurred: Occurred::ABSENT,
            or_at: None,
            door: None,
            direction: None,
            credential: None,
            raw,
        })
    }

    /// Several records at once; those that came in a row.
    async fn read_ahead(&mut self, from: Index, count: u32) -> Result<Vec<Record>, DriverError> {
        let replies = self.client.records(wire(from), count).await?;
        let mut records = Vec::with_capacity(replies.len());
        for (reply, index) in replies.iter().zip(from.0..) {
            match self.answer(Index(index), reply)? {
                Answer::Record(record) => records.push(*record),
                Answer::Then(_) => break,
            }
        }
        Ok(records)
    }
}

/// The number of the record in a frame, whatever else stands there.
fn number_of(frame: &Frame) -> Option<u32> {
    record_bytes(frame).first_chunk().map(|number| u32::from_le_bytes(*number))
}

/// The number under which a board knows an index: after the last comes 1.
fn wire(index: Index) -> u32 {
    let number = (index.0.saturating_sub(1)) % LAST_INDEX + 1;
    u32::try_from(number).unwrap_or(OLDEST)
}

impl Driver for Uhppote {
    fn log(&self, _: Station) -> Log {
        Log::Reread { last_index: LAST_INDEX }
    }

    async fn identify(&mut self, _: Station) -> Result<Identity, DriverError> {
        let controller = self.settings.target.serial;
        let request = Request::GetController(request::GetController { controller });
        let found = match self.client.ask(&request).await {
            // Whoever it is, its log can be read.
            Err(DriverError::Nonsense) if self.garbage(request.function()).is_some() => {
                let firmware = "unreadable".to_owned();
                return Ok(Identity { model: MODEL.into(), firmware, is_known: false });
            }
            // Over TCP somebody else closes the connection without a word.
            Err(DriverError::TimedOut | DriverError::Line(_) | DriverError::Nonsense) => {
                diagnosis::of(self.settings.target).await
            }
            other => other.map(|reply| reply.response),
        };
        let Response::GetController(found) = found? else { return Err(DriverError::Nonsense) };
        let Version { major, .. } = found.version;
        Ok(Identity {
            model: MODEL.into(),
            firmware: found.version.to_string(),
            is_known: is_known_firmware(major),
        })
    }

    async fn status(&mut self, _: Station) -> Result<Status, DriverError> {
        let controller = self.settings.target.serial;
        let request = Request::GetStatus(request::GetStatus { controller });
        let reply = match self.client.ask(&request).await {
            // A clock that shows no time, or a record that is none: the log is read all the same.
            Err(DriverError::Nonsense) if self.garbage(request.function()).is_some() => {
                return Ok(Status::default());
            }
            other => other?,
        };
        let Response::GetStatus(status) = reply.response else { return Err(DriverError::Nonsense) };
        let newest = RawRecord::new(record_bytes(&reply.frame)).filter(|_| status.event_index != 0);
        let clock = DateTime { date: status.system_date.0, time: status.system_time };
        Ok(Status {
            newest: newest.map(|raw| raw.digest()),
            clock: Some(zone::reading(clock, &self.settings.zone)),
        })
    }

    async fn bounds(&mut self, _: Station) -> Result<Option<Bounds>, DriverError> {
        let controller = self.settings.target.serial;
        let mut ends = [Index(0); 2];
        for (end, index) in ends.iter_mut().zip([OLDEST, NEWEST]) {
            self.client.forget();
            let request = Request::GetEvent(request::GetEvent { controller, index });
            let index = match self.client.ask(&request).await {
                Ok(Reply { response: Response::GetEvent(event), .. }) => event.index,
                // A record that is no better than its bytes stands at a place all the same.
                Err(DriverError::Nonsense) => self
                    .garbage(request.function())
                    .and_then(number_of)
                    .ok_or(DriverError::Nonsense)?,
                Ok(_) => return Err(DriverError::Nonsense),
                Err(error) => return Err(error),
            };
            if index == 0 {
                return Ok(None);
            }
            if u64::from(index) > LAST_INDEX {
                return Err(DriverError::Nonsense);
            }
            *end = Index(u64::from(index));
        }
        let [oldest, newest] = ends;
        Ok(Some(Bounds { epoch: None, oldest, newest }))
    }

    async fn fetch(&mut self, _: Station, span: Span) -> Result<Page, DriverError> {
        let mut records = Vec::new();
        let mut next = span.from;
        let in_flight = self.settings.in_flight.min(MAX_IN_FLIGHT);
        let then = loop {
            if records.len() >= span.at_most || (next > span.from && Instant::now() >= span.until) {
                break Then::More;
            }
            let room = u32::try_from(span.at_most - records.len()).unwrap_or(u32::MAX);
            let ahead = in_flight.min(room);
            // Behind the last number comes 1: what is in flight does not straddle that.
            let straddles = u64::from(wire(next)) + u64::from(ahead) > LAST_INDEX;
            if ahead > 1 && !straddles {
                match self.read_ahead(next, ahead).await {
                    Ok(read) if !read.is_empty() => {
                        next = Index(next.0 + read.len() as u64);
                        records.extend(read);
                        continue;
                    }
                    // The first of them is asked for by itself, and says why.
                    Ok(_) | Err(_) => self.client.forget(),
                }
            }
            match self.read(next).await {
                Ok(Answer::Record(record)) => {
                    next = next.next();
                    records.push(*record);
                }
                Ok(Answer::Then(then)) => break then,
                Err(error) if records.is_empty() => return Err(error),
                Err(error) => break Then::Failed(error),
            }
        };
        Ok(Page { epoch: None, records, then })
    }

    async fn set_time(&mut self, _: Station, to: Timestamp) -> Result<(), DriverError> {
        let controller = self.settings.target.serial;
        let datetime = zone::wall(to, &self.settings.zone).ok_or(DriverError::Refused)?;
        let request = Request::SetTime(request::SetTime { controller, datetime });
        // Not asked again: by then it would be another time.
        self.client.ask_once(&request).await.map(drop)
    }

    fn counters(&self, _: Station) -> LineCounters {
        let (unset_time, unreadable) = (self.unset_time, self.unreadable);
        LineCounters { unset_time, unreadable, ..self.client.counters() }
    }
}

#[cfg(test)]
mod tests;
