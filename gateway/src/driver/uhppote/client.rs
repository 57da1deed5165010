//! Asks one board one thing: a request out, the reply that answers it back. Used by the driver and by
//! the command line's diagnostics.
//!
//! The protocol has no request identifier, so an answer is believed only where it cannot be a late one:
//! - what comes back of the request is compared (`Request::is_answered_by`);
//! - a request of which nothing comes back is asked from a fresh socket, to which no late datagram
//!   finds its way;
//! - after a time-out the socket is given up.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use postern_protocol::uhppote::message::request;
use postern_protocol::uhppote::{Frame, FrameError, Request, Response, peek};
use tokio::time::Instant;

use super::transport::{Transport, Udp, exchange_tcp};
use crate::driver::{DriverError, LineCounters};

/// How often something is asked before the controller counts as silent.
const ATTEMPTS: u32 = 3;

/// The most requests that are in flight to one board. Boards of this make answer one after the other;
/// more than this only fills their receive buffer.
pub const MAX_IN_FLIGHT: u32 = 16;

/// How a board is reached.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its serial number.
    pub serial: u32,
    /// Where it listens.
    pub address: SocketAddr,
    /// Over which transport.
    pub transport: Transport,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// A reply with the bytes that it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What it says.
    pub response: Response,
    /// Its bytes.
    pub frame: Frame,
}

/// A client of one board.
pub struct Client {
    target: Target,
    udp: Udp,
    counters: LineCounters,
    /// The frame that was refused last because of one of its fields, and how often in a row.
    unreadable: Option<(Frame, u32)>,
}

impl Client {
    /// A client that has not talked to its board yet.
    pub fn new(target: Target) -> Self {
        let udp = Udp::new(target.address);
        Self { target, udp, counters: LineCounters::default(), unreadable: None }
    }

    /// How the board is reached.
    pub fn target(&self) -> Target {
        self.target
    }

    /// What was seen on the line so far.
    pub fn counters(&self) -> LineCounters {
        self.counters
    }

    /// Asks until there is an answer, a few times at most.
    ///
    /// # Errors
    /// That of the last attempt.
    pub async fn ask(&mut self, request: &Request) -> Result<Reply, DriverError> {
        let mut result = Err(DriverError::TimedOut);
        self.unreadable = None;
        for _ in 0..ATTEMPTS {
            result = self.ask_once(request).await;
            match (&result, self.target.transport) {
                // What was lost on the way TCP has sent again already: the board itself is silent.
                (Ok(_), _) | (Err(DriverError::TimedOut), Transport::Tcp) => break,
                (Err(_), _) => self.forget(),
            }
        }
        result
    }

    /// Asks once: for what must not be done twice, or is no longer true when it is asked again.
    ///
    /// # Errors
    /// Silence, a failure of the socket, or nothing that could be believed.
    pub async fn ask_once(&mut self, request: &Request) -> Result<Reply, DriverError> {
        let is_record = matches!(request, Request::GetEvent(_));
        if !is_record && !request.is_echoed() {
            self.forget();
        }
        let mut replies = self.exchange(std::slice::from_ref(request)).await?;
        let reply = replies.pop().flatten().ok_or(DriverError::TimedOut)?;
        if matches!(reply.response, Response::GetEvent(event) if event.is_sentinel()) {
            // It carries no index: its double would be believed as the answer to the next request.
            self.forget();
        }
        Ok(reply)
    }

    /// The records from `first` on, as many of them as come in a row and without a sentinel among
    /// them; so many requests are in flight at once. What is missing is for the caller to ask for by
    /// itself: a sentinel does not say which request it answers.
    ///
    /// # Errors
    /// A failure of the socket, or silence to every one of them.
    pub async fn records(&mut self, first: u32, count: u32) -> Result<Vec<Reply>, DriverError> {
        let controller = self.target.serial;
        let requests: Vec<Request> = (first..first.saturating_add(count.min(MAX_IN_FLIGHT)))
            .map(|index| Request::GetEvent(request::GetEvent { controller, index }))
            .collect();
        let replies = self.exchange(&requests).await?;
        let record = |reply: &Option<Reply>| {
            reply.filter(
                |reply| matches!(reply.response, Response::GetEvent(event) if !event.is_sentinel()),
            )
        };
        let records: Vec<Reply> = replies.iter().map_while(record).collect();
        if records.len() < requests.len() {
            // A sentinel, or something late, may still be under way.
            self.forget();
        }
        if replies.iter().all(Option::is_none) { Err(DriverError::TimedOut) } else { Ok(records) }
    }

    /// Gives the socket up: what is still under way to it is never read.
    pub fn forget(&mut self) {
        self.udp.reset();
    }

    /// The last frame that could not be read, if it came in every one of so many attempts: then it is
    /// what the board holds, and not what the line made of it.
    pub fn unreadable(&self) -> Option<&Frame> {
        self.unreadable.as_ref().filter(|(_, times)| *times >= ATTEMPTS).map(|(frame, _)| frame)
    }

    /// Sends these requests at once and gathers the reply of each within the time for one.
    async fn exchange(&mut self, requests: &[Request]) -> Result<Vec<Option<Reply>>, DriverError> {
        let count = u64::try_from(requests.len()).unwrap_or(u64::MAX);
        self.counters.requests += count;
        let refused = self.counters.refused();
        let mut replies = vec![None; requests.len()];
        let result = match self.target.transport {
            Transport::Udp => self.exchange_udp(requests, &mut replies).await,
            Transport::Tcp => self.exchange_tcp(requests, &mut replies).await,
        };
        let answered = replies.iter().flatten().count();
        self.counters.replies += u64::try_from(answered).unwrap_or(u64::MAX);
        match result {
            Ok(()) => Ok(replies),
            // Something came, only nothing that could be believed.
            Err(DriverError::TimedOut) if answered == 0 && self.counters.refused() > refused => {
                Err(DriverError::Nonsense)
            }
            Err(DriverError::TimedOut) => {
                self.counters.timeouts += 1;
                if answered > 0 { Ok(replies) } else { Err(DriverError::TimedOut) }
            }
            Err(error) => {
                self.counters.line_errors += u64::from(matches!(error, DriverError::Line(_)));
                if answered > 0 { Ok(replies) } else { Err(error) }
            }
        }
    }

    async fn exchange_udp(
        &mut self,
        requests: &[Request],
        replies: &mut [Option<Reply>],
    ) -> Result<(), DriverError> {
        let deadline = Instant::now() + self.target.timeout;
        let Self { udp, counters, unreadable, target } = self;
        udp.ready().await?;
        for request in requests {
            udp.send(&request.encode()).await?;
        }
        // Each request that is in flight is answered once, however little sense the answer makes.
        let mut garbage = 0;
        while replies.iter().filter(|reply| reply.is_none()).count() > garbage {
            // Cancel-safety: a datagram that nobody waits for any more is a late one.
            let received = match tokio::time::timeout_at(deadline, udp.receive()).await {
                Ok(received) => received?,
                Err(_) => return Err(DriverError::TimedOut),
            };
            let fields = counters.bad_field;
            let Some(reply) = read(counters, unreadable, target.serial, received.as_slice()) else {
                garbage += usize::from(counters.bad_field > fields);
                continue;
            };
            let mut open = requests.iter().zip(replies.iter_mut()).filter(|(_, to)| to.is_none());
            match open.find(|(request, _)| request.is_answered_by(&reply.response)) {
                Some((_, to)) => *to = Some(reply),
                None => counters.unexpected += 1,
            }
        }
        if garbage == 0 { Ok(()) } else { Err(DriverError::Nonsense) }
    }

    async fn exchange_tcp(
        &mut self,
        requests: &[Request],
        replies: &mut [Option<Reply>],
    ) -> Result<(), DriverError> {
        let Self { counters, unreadable, target, .. } = self;
        let Target { address, timeout, serial, .. } = *target;
        let mut exchanges = FuturesOrdered::new();
        for request in requests {
            let frame = request.encode();
            exchanges.push_back(async move {
                match tokio::time::timeout(timeout, exchange_tcp(address, &frame)).await {
                    Ok(received) => received,
                    Err(_) => Err(DriverError::TimedOut),
                }
            });
        }
        for (request, to) in requests.iter().zip(replies.iter_mut()) {
            let Some(received) = exchanges.next().await else { break };
            let Some(reply) = read(counters, unreadable, serial, received?.as_slice()) else {
                return Err(DriverError::Nonsense);
            };
            if !request.is_answered_by(&reply.response) {
                counters.unexpected += 1;
                return Err(DriverError::Nonsense);
            }
            *to = Some(reply);
        }
        Ok(())
    }
}

/// Reads what came from a board; what it is instead of a reply of this board is counted.
fn read(
    counters: &mut LineCounters,
    unreadable: &mut Option<(Frame, u32)>,
    serial: u32,
    bytes: &[u8],
) -> Option<Reply> {
    let read = peek(bytes).and_then(|(frame, function, controller)| {
        let foreign = serial != 0 && controller != serial;
        let response = if foreign { None } else { Some(Response::decode_reply(bytes, function)?) };
        Ok(response.map(|response| Reply { response, frame: *frame }))
    });
    match read {
        Ok(Some(reply)) => {
            *unreadable = None;
            Some(reply)
        }
        Ok(None) => {
            counters.foreign += 1;
            None
        }
        Err(error) => {
            count(counters, &error);
            if let (FrameError::Field { .. }, Ok((frame, ..))) = (error, peek(bytes)) {
                let same = unreadable.filter(|(known, _)| known == frame);
                *unreadable = Some((*frame, same.map_or(1, |(_, times)| times.saturating_add(1))));
            }
            None
        }
    }
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
