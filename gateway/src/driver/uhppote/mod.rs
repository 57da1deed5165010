//! UHPPOTE UT0311-L0x boards over UDP and TCP.
//!
//! Pull by index is the truth; a pushed event only wakes the pull (`listener`). The protocol has no
//! request identifier, so an answer is believed only where it cannot be a late one:
//! - a record answers the index that it carries;
//! - the sentinels (past the newest, overwritten) carry none, and neither do the ends of the log: what
//!   the collector concludes from them it checks against the ends of the log, and those are always
//!   asked from a fresh socket, to which no late datagram finds its way;
//! - after a time-out the socket is given up.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::tz::TimeZone;
use postern_protocol::transaction::Credential;
use postern_protocol::transaction::RawRecord;
use postern_protocol::uhppote::message::{record_bytes, request, response};
use postern_protocol::uhppote::{
    Frame, FrameError, NEWEST, OLDEST, Request, Response, TYPE_NONE, TYPE_OVERWRITTEN, peek, reason,
};
use postern_protocol::{ControllerId, Index};

use super::{Bounds, Driver, DriverError, LineCounters, Read, Record};

pub mod listener;
mod transport;
mod zone;

use transport::Line;
pub use transport::Transport;

/// How often a datagram is sent before the controller counts as silent.
const UDP_ATTEMPTS: u32 = 3;

/// How a board is reached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its serial number.
    pub serial: u32,
    /// Where it listens.
    pub address: SocketAddr,
    /// Over which transport.
    pub transport: Transport,
    /// The zone that its clock is set to.
    pub zone: TimeZone,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// The driver of one board.
pub struct Uhppote {
    settings: Settings,
    line: Line,
    counters: LineCounters,
}

impl Uhppote {
    /// A driver that has not talked to its board yet.
    pub fn new(settings: Settings) -> Self {
        let line = Line::new(settings.transport, settings.address);
        Self { settings, line, counters: LineCounters::default() }
    }

    async fn get_event(&mut self, index: u32) -> Result<(response::GetEvent, Frame), DriverError> {
        let request =
            Request::GetEvent(request::GetEvent { controller: self.settings.serial, index });
        let attempts = match self.settings.transport {
            Transport::Udp => UDP_ATTEMPTS,
            Transport::Tcp => 1,
        };
        let mut result = Err(DriverError::TimedOut);
        for _ in 0..attempts {
            result = self.attempt(&request, index).await;
            if result.is_ok() {
                break;
            }
            self.line.reset();
        }
        result
    }

    async fn attempt(
        &mut self,
        request: &Request,
        index: u32,
    ) -> Result<(response::GetEvent, Frame), DriverError> {
        let deadline = tokio::time::Instant::now() + self.settings.timeout;
        self.counters.requests += 1;
        let refused = self.counters.refused();
        let exchange = async {
            self.line.send(&request.encode()).await?;
            loop {
                let bytes = self.line.receive().await?;
                if let Some(found) =
                    accept(&mut self.counters, self.settings.serial, index, bytes.as_slice())
                {
                    return Ok(found);
                }
                if self.settings.transport == Transport::Tcp {
                    return Err(DriverError::Nonsense);
                }
            }
        };
        let result: Result<_, DriverError> = match tokio::time::timeout_at(deadline, exchange).await
        {
            Ok(result) => result,
            // Something came, only nothing that could be believed.
            Err(_) if self.counters.refused() > refused => Err(DriverError::Nonsense),
            Err(_) => Err(DriverError::TimedOut),
        };
        match &result {
            Ok(_) => self.counters.replies += 1,
            Err(DriverError::TimedOut) => self.counters.timeouts += 1,
            Err(DriverError::Line(_)) => self.counters.line_errors += 1,
            Err(DriverError::Nonsense) => {}
        }
        result
    }

    fn record(&mut self, event: &response::GetEvent, frame: &Frame) -> Result<Record, DriverError> {
        if !event.timestamp.is_set() {
            self.counters.unset_time += 1;
        }
        Ok(Record {
            index: Index(u64::from(event.index)),
            kind: reason::kind(event),
            occurred: zone::occurred(event.timestamp, &self.settings.zone),
            door: reason::door(event),
            direction: reason::direction(event),
            credential: (event.card != 0).then(|| Credential(u64::from(event.card))),
            raw: RawRecord::new(record_bytes(frame)).ok_or(DriverError::Nonsense)?,
        })
    }
}

/// Whether these bytes answer a get-event for `index` of `serial`; what they are instead is counted.
fn accept(
    counters: &mut LineCounters,
    serial: u32,
    index: u32,
    bytes: &[u8],
) -> Option<(response::GetEvent, Frame)> {
    let (frame, _, controller) = match peek(bytes) {
        Ok(peeked) => peeked,
        Err(error) => {
            count(counters, &error);
            return None;
        }
    };
    if controller != serial {
        counters.foreign += 1;
        return None;
    }
    let event = match Response::decode_reply(bytes, request::GetEvent::FUNCTION) {
        Ok(Response::GetEvent(event)) => event,
        Ok(_) => {
            counters.unexpected += 1;
            return None;
        }
        Err(error) => {
            count(counters, &error);
            return None;
        }
    };
    let sentinel = event.index == 0 && matches!(event.event_type, TYPE_NONE | TYPE_OVERWRITTEN);
    let end = (index == OLDEST || index == NEWEST) && event.index != 0;
    // The record of index 4294967295 cannot be asked for: that number means the newest.
    if sentinel || end || event.index == index {
        return Some((event, *frame));
    }
    counters.unexpected += 1;
    None
}

fn count(counters: &mut LineCounters, error: &FrameError) {
    let counter = match error {
        FrameError::Length { .. } => &mut counters.bad_length,
        FrameError::StartOfMessage { .. } => &mut counters.bad_start,
        FrameError::Field { .. } => &mut counters.bad_field,
        FrameError::UnknownFunction { .. } | FrameError::OtherFunction { .. } => {
            &mut counters.unexpected
        }
    };
    *counter += 1;
}

impl Driver for Uhppote {
    fn controller(&self) -> ControllerId {
        ControllerId::uhppote(self.settings.serial)
    }

    async fn bounds(&mut self) -> Result<Option<Bounds>, DriverError> {
        let mut ends = [Index(0); 2];
        for (end, index) in ends.iter_mut().zip([OLDEST, NEWEST]) {
            self.line.reset();
            let (event, _) = self.get_event(index).await?;
            if event.index == 0 {
                return Ok(None);
            }
            *end = Index(u64::from(event.index));
        }
        let [oldest, newest] = ends;
        if oldest > newest {
            Err(DriverError::Nonsense)
        } else {
            Ok(Some(Bounds { oldest, newest }))
        }
    }

    async fn read(&mut self, index: Index) -> Result<Read, DriverError> {
        let Ok(wanted) = u32::try_from(index.0) else { return Ok(Read::Absent) };
        if wanted == OLDEST || wanted == NEWEST {
            return Ok(Read::Absent);
        }
        let (event, frame) = self.get_event(wanted).await?;
        Ok(match (event.index, event.event_type) {
            (0, TYPE_OVERWRITTEN) => Read::Overwritten,
            (0, _) => Read::Absent,
            _ => Read::Record(Box::new(self.record(&event, &frame)?)),
        })
    }

    fn counters(&self) -> LineCounters {
        self.counters
    }
}

#[cfg(test)]
mod tests;
