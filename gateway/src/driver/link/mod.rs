//! Postern's own controller link: many stations on a serial line, or behind one TCP connection
//! (`docs/protocol.md`).
//!
//! What to say to a station, and what its answers mean, is decided by `postern_protocol::link::gateway`;
//! here are the line, the clock and the waiting. One question at a time goes over a line, so a station that
//! says nothing costs its neighbours one wait for each of its back-off periods (the collector's), and
//! nobody else's line anything.
//!
//! - `ear`: listens on a line that somebody else talks on.
//! - `meaning`: what frames say, in words.
//! - `probe`: asks every address of a line who is there.
//! - `proof`: whether a log still is the one that was read.
//! - `record`: events and failures in Postern's words.
//! - `stats`: what was seen on the line, for people.
//! - `tap`: the frames themselves, for who listens.
//!
//! A page tells its epoch, and the first record of a session is compared, so the collector needs no second look
//! at anything. What a station is told to be
//! committed is what is durable in the journal, of the very life of the log that its session is about.

mod ear;
mod meaning;
pub(crate) mod probe;
mod proof;
mod record;
mod stats;
mod tap;

use std::io;
use std::time::Duration;

use postern_protocol::link::event::Stamp;
use postern_protocol::link::frame::{self, FrameError, From, Header, Kind};
pub use postern_protocol::link::gateway::Access;
use postern_protocol::link::gateway::{
    Exchange, Failure, MIN_ROOM, Peer, Settings as PeerSettings, Step, Timing, Window,
};
use postern_protocol::link::message::{Reply, Request};
use postern_protocol::transaction::Continuity;
use postern_protocol::uplink::MAX_SEQ;
use postern_protocol::{EpochId, Index, Timestamp};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::Instant;

use super::line::{Line, LineSettings};
use super::{
    Bounds, Driver, DriverError, Identity, LineCounters, Log, Page, Record, Span, Station, Status,
    Then,
};
pub(crate) use ear::Ear;
use proof::Known;
pub use record::{epoch as epoch_of, record as record_of};
pub use stats::{BusStats, StationStats, Stats};
pub use tap::{Heard, Tap};

/// How long one page may take on a line that others wait for, and on one that they do not: what a swipe at
/// a quiet door waits at most for a station that has much to tell.
const TURN_SHARED: Duration = Duration::from_millis(500);
const TURN_ALONE: Duration = Duration::from_secs(1);

/// A connection over which nothing came for so long is opened anew: where the other end was switched off
/// its own repetitions come up to two minutes apart, and until then it seems to be open.
const SILENT_CONNECTION: Duration = Duration::from_secs(3);

/// Bytes read at once.
const CHUNK: usize = 512;

/// What a driver is to do.
pub struct Settings {
    /// The line.
    pub line: LineSettings,
    /// How long a station may take to begin its answer.
    pub reply: Duration,
    /// Who is on it.
    pub stations: Vec<StationSettings>,
}

/// One station.
pub struct StationSettings {
    /// Its address, 1 to 126.
    pub address: u8,
    /// The controller's serial number.
    pub serial: u32,
    /// How it is talked to; `None` where it should have a key and we have none: then it is not talked to.
    pub access: Option<Access>,
}

/// See the module.
pub struct Link {
    settings: Settings,
    line: Option<Line>,
    /// When bytes came over it last, or it was opened.
    heard: Instant,
    exchange: Exchange,
    peers: Vec<Peer>,
    /// Of each station: failures of the line while it was talked to, records without a time, records that
    /// are no events.
    noted: Vec<Noted>,
    /// Of each station: what is known of its log.
    known: Vec<Known>,
    random: SystemRandom,
    /// What the next handshake will need: most questions need none.
    secret: Option<[u8; 32]>,
    began: Instant,
    stats: Stats,
    tap: Tap,
}

#[derive(Clone, Copy, Default)]
struct Noted {
    line_errors: u64,
    unset_time: u64,
    unreadable: u64,
}

/// The secret half of a handshake, for one.
struct Ephemeral {
    bytes: [u8; 32],
    is_spent: bool,
}

impl Ephemeral {
    fn new(random: &SystemRandom) -> Result<Self, Ended> {
        let mut bytes = [0; 32];
        random.fill(&mut bytes).map_err(|_| Ended::Line(io::ErrorKind::Other))?;
        Ok(Self { bytes, is_spent: false })
    }

    fn spend(&mut self) -> [u8; 32] {
        self.is_spent = true;
        self.bytes
    }
}

impl Link {
    /// A line that nothing was asked over yet; it is opened with the first question.
    pub fn new(settings: Settings, stats: Stats, tap: Tap) -> Self {
        let timing = Timing { byte: settings.line.time_of(1), reply: settings.reply };
        let peer = |station: &StationSettings| {
            let StationSettings { address, serial, access } = station;
            // Nothing is ever asked of who has none.
            let access = access.clone().unwrap_or(Access::Plain);
            Peer::new(PeerSettings { address: *address, serial: *serial, access })
        };
        let peers: Vec<Peer> = settings.stations.iter().map(peer).collect();
        Self {
            noted: vec![Noted::default(); peers.len()],
            known: vec![Known::default(); peers.len()],
            peers,
            line: None,
            heard: Instant::now(),
            exchange: Exchange::new(timing),
            random: SystemRandom::new(),
            secret: None,
            began: Instant::now(),
            settings,
            stats,
            tap,
        }
    }

    fn peer(&mut self, station: Station) -> Result<&mut Peer, DriverError> {
        if self.settings.stations.get(station).is_some_and(|station| station.access.is_none()) {
            return Err(DriverError::NoKey);
        }
        // The collector asks of no station that it did not give us.
        self.peers.get_mut(station).ok_or(DriverError::Refused)
    }

    /// Asks, and waits for the answer, which the peer then has.
    async fn ask(
        &mut self,
        station: Station,
        request: &Request<'_>,
        epoch: Option<EpochId>,
    ) -> Result<(), Ended> {
        let now = self.began.elapsed();
        let first = self.peer(station)?.ask(request, epoch, now);
        self.carry_out(station, first).await
    }

    /// Makes sure that there is a session; the life of the log that it is about, as the station names it.
    async fn session(&mut self, station: Station) -> Result<EpochId, DriverError> {
        let now = self.began.elapsed();
        let first = self.peer(station)?.open(now);
        self.carry_out(station, first).await.map_err(Ended::error)?;
        self.peer(station)?.welcome().map(|welcome| welcome.epoch).ok_or(DriverError::Nonsense)
    }

    async fn carry_out(&mut self, station: Station, first: Step) -> Result<(), Ended> {
        let mut secret = match self.secret.take() {
            Some(bytes) => Ephemeral { bytes, is_spent: false },
            None => Ephemeral::new(&self.random)?,
        };
        let result = self.converse(station, first, &mut secret).await;
        self.secret = (!secret.is_spent).then_some(secret.bytes);
        if let Err(Ended::Line(_)) = result {
            // Opened anew with the next question.
            self.line = None;
            if let Some(noted) = self.noted.get_mut(station) {
                noted.line_errors += 1;
            }
        } else if matches!(result, Err(Ended::Failed(Failure::Silent)))
            && self.heard.elapsed() >= SILENT_CONNECTION
        {
            self.line.take_if(|line| matches!(line, Line::Tcp(_)));
        }
        self.note(station);
        result
    }

    async fn converse(
        &mut self,
        station: Station,
        first: Step,
        secret: &mut Ephemeral,
    ) -> Result<(), Ended> {
        let mut step = first;
        loop {
            step = match step {
                Step::Answered => return Ok(()),
                Step::Failed(failure) => return Err(Ended::Failed(failure)),
                Step::Send(window) => {
                    let exchange = self.exchange(station, window, secret);
                    exchange.await.map_err(|error| Ended::Line(error.kind()))?
                }
            };
        }
    }

    /// One frame there, and whatever comes back.
    async fn exchange(
        &mut self,
        station: Station,
        window: Window,
        secret: &mut Ephemeral,
    ) -> io::Result<Step> {
        let Some(peer) = self.peers.get_mut(station) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let line = match &mut self.line {
            Some(line) => line,
            none => {
                let line = none.insert(Line::open(&self.settings.line).await?);
                self.heard = Instant::now();
                line
            }
        };
        let tap = &self.tap;
        line.send(peer.wire()).await?;
        hear_own(tap, peer);
        self.exchange.begin(peer.wire().len(), window, self.began.elapsed());
        let mut buffer = [0; CHUNK];
        loop {
            let deadline = self.began + self.exchange.deadline();
            // Cancel-safety: an abandoned read loses bytes of an answer that nobody waits for any more.
            let Ok(length) = tokio::time::timeout_at(deadline, line.receive(&mut buffer)).await
            else {
                return Ok(self.exchange.on_deadline(peer));
            };
            let bytes = buffer.get(..length?).unwrap_or_default();
            self.heard = Instant::now();
            let now = self.began.elapsed();
            let step = self.exchange.on_bytes(
                bytes,
                now,
                peer,
                &mut || secret.spend(),
                &mut |peer, heard, step| {
                    hear(tap, peer, heard, step);
                },
            );
            if let Some(step) = step {
                return Ok(step);
            }
            // Where there is always something to read, nobody else would look at the time.
            if self.began.elapsed() >= self.exchange.deadline() {
                return Ok(self.exchange.on_deadline(peer));
            }
        }
    }

    /// Tells how the line stands.
    fn note(&mut self, station: Station) {
        let Some(peer) = self.peers.get(station) else { return };
        let counters = peer.counters();
        let time_of =
            |bytes: u64| self.settings.line.time_of(usize::try_from(bytes).unwrap_or(usize::MAX));
        self.stats.note(station, peer, time_of(counters.bytes_sent + counters.bytes_received));
    }

    /// How many bytes of events to ask for.
    fn room(&self, station: Station, shared: bool) -> u16 {
        let Some(peer) = self.peers.get(station) else { return MIN_ROOM };
        let turn = if shared { TURN_SHARED } else { TURN_ALONE };
        let limit = self.settings.line.bytes_in(turn).and_then(|bytes| u16::try_from(bytes).ok());
        peer.room().min(limit.unwrap_or(u16::MAX)).max(MIN_ROOM)
    }

    /// The events of the answer that the peer has, behind `read`; whether there are more.
    fn take(
        &mut self,
        station: Station,
        read: Index,
        records: &mut Vec<Record>,
    ) -> Result<bool, DriverError> {
        let peer = self.peers.get(station).ok_or(DriverError::Refused)?;
        let Some((Reply::Events { lost, behind, .. }, events)) = peer.answer() else {
            return Err(DriverError::Nonsense);
        };
        let mut index = Index(read.0.checked_add(lost).ok_or(DriverError::Nonsense)?);
        let noted = self.noted.get_mut(station).ok_or(DriverError::Refused)?;
        let before = records.len();
        for event in events {
            // Nobody counts higher, and behind the highest number there is no next one to ask for.
            if index.0 >= MAX_SEQ.0 {
                return Err(DriverError::Nonsense);
            }
            index = index.next();
            let record = record::record(index, event).ok_or(DriverError::Nonsense)?;
            noted.unset_time += u64::from(record.occurred.at.is_none());
            noted.unreadable +=
                u64::from(postern_protocol::link::event::Event::decode(event).is_none());
            records.push(record);
        }
        // Where more is there, some of it fits. Where something is lost and nothing behind it is there yet,
        // the next event will say so.
        if records.len() == before && behind > 0 {
            Err(DriverError::Nonsense)
        } else {
            Ok(behind > 0)
        }
    }
}

/// What the gateway said, for who listens.
fn hear_own(tap: &Tap, peer: &Peer) {
    // Nothing is taken apart for nobody.
    if tap.is_idle() {
        return;
    }
    // A frame of ours has zeros around it and none in it.
    let mut said: Vec<u8> = peer.wire().iter().copied().filter(|byte| *byte != 0).collect();
    if let Ok((header, plain)) = frame::decode(&mut said) {
        tap.hear(From::Gateway, Ok(header), plain, || match header.kind {
            Kind::Sealed => peer.question().map(|question| meaning::request(&question)),
            Kind::Hello | Kind::Open | Kind::Plain | Kind::Refused => {
                meaning::in_clear(header, plain)
            }
        });
    }
}

/// What came, for who listens.
fn hear(tap: &Tap, peer: &Peer, heard: Result<(Header, &[u8]), FrameError>, step: Option<Step>) {
    match heard {
        Err(error) => tap.hear(From::Station, Err(error), &[], || None),
        Ok((header, plain)) => tap.hear(header.from, Ok(header), plain, || match header.kind {
            Kind::Sealed => {
                let is_opened =
                    matches!(step, Some(Step::Answered | Step::Failed(Failure::Refused(_))));
                let answer = peer.answer().filter(|_| is_opened);
                answer.map(|(reply, events)| meaning::reply(&reply, events))
            }
            Kind::Hello | Kind::Open | Kind::Plain | Kind::Refused => {
                meaning::in_clear(header, plain)
            }
        }),
    }
}

/// Why there is no answer.
enum Ended {
    Failed(Failure),
    Line(io::ErrorKind),
    Other(DriverError),
}

impl std::convert::From<DriverError> for Ended {
    fn from(error: DriverError) -> Self {
        Self::Other(error)
    }
}

impl Ended {
    fn error(self) -> DriverError {
        match self {
            Self::Failed(failure) => record::error(failure),
            Self::Line(kind) => DriverError::Line(kind),
            Self::Other(error) => error,
        }
    }
}

impl Driver for Link {
    fn log(&self, _: Station) -> Log {
        Log::Named { continuity: Continuity::Proven }
    }

    async fn identify(&mut self, station: Station) -> Result<Identity, DriverError> {
        self.ask(station, &Request::Identify, None).await.map_err(Ended::error)?;
        match self.peer(station)?.answer() {
            Some((Reply::Identity(identity), _)) => Ok(Identity {
                model: record::printable(identity.model),
                firmware: record::printable(identity.firmware).into_owned(),
                is_known: true,
            }),
            _ => Err(DriverError::Nonsense),
        }
    }

    async fn status(&mut self, station: Station) -> Result<Status, DriverError> {
        self.ask(station, &Request::Status, None).await.map_err(Ended::error)?;
        match self.peer(station)?.answer() {
            Some((Reply::Status(status), _)) => {
                Ok(Status { newest: None, clock: Some(record::reading(status.clock)) })
            }
            _ => Err(DriverError::Nonsense),
        }
    }

    async fn bounds(&mut self, station: Station) -> Result<Option<Bounds>, DriverError> {
        self.ask(station, &Request::Status, None).await.map_err(Ended::error)?;
        let peer = self.peer(station)?;
        let (Some((Reply::Status(status), _)), Some(welcome)) = (peer.answer(), peer.welcome())
        else {
            return Err(DriverError::Nonsense);
        };
        // A station answers in a session only while its log is the one that the session is about.
        let (oldest, newest) = (Index(status.oldest), Index(status.newest));
        if oldest.0 == 0 {
            return Err(DriverError::Nonsense);
        }
        let named = welcome.epoch;
        let epoch = Some(self.epoch(station, named));
        Ok((oldest <= newest).then_some(Bounds { epoch, oldest, newest }))
    }

    async fn fetch(&mut self, station: Station, span: Span) -> Result<Page, DriverError> {
        let named = self.session(station).await?;
        let epoch = self.prove(station, &span, named).await?;
        let session = self.session_number(station);
        let mut page = Page { epoch: Some(epoch), records: Vec::new(), then: Then::More };
        if span.epoch.is_some_and(|wanted| wanted != epoch) {
            return Ok(page);
        }
        // Only what is durable, and of this life.
        let committed = match (span.epoch, span.committed) {
            (Some(_), Some((index, _))) if index < span.from => index,
            _ => Index(0),
        };
        let mut read = span.from.previous();
        while page.records.len() < span.at_most
            && (page.records.is_empty() || Instant::now() < span.until)
        {
            let room = self.room(station, span.shared);
            let skip = read.0 - committed.0;
            let request = Request::Poll { committed: committed.0, skip, room };
            let asked = self.ask(station, &request, Some(named)).await;
            let is_proven = self.session_number(station) == session;
            let more = match asked {
                // Another session has its own proof to give first.
                Ok(()) | Err(Ended::Failed(Failure::Refused(_))) if !is_proven => break,
                Ok(()) => self.take(station, read, &mut page.records),
                Err(Ended::Failed(Failure::Life { epoch: named })) => {
                    // What was read is of the life before; the new one is for the next question.
                    if page.records.is_empty() {
                        page.epoch = Some(self.epoch(station, named));
                    }
                    break;
                }
                Err(ended) => Err(ended.error()),
            };
            match more {
                Ok(true) => {}
                Ok(false) => {
                    page.then = Then::Absent;
                    break;
                }
                Err(error) if page.records.is_empty() => return Err(error),
                Err(error) => {
                    page.then = Then::Failed(error);
                    break;
                }
            }
            read = page.records.last().map_or(read, |record| record.index);
        }
        if page.records.len() > span.at_most {
            page.records.truncate(span.at_most);
            page.then = Then::More;
        }
        self.hand_on(station, &page);
        Ok(page)
    }

    async fn set_time(&mut self, station: Station, to: Timestamp) -> Result<(), DriverError> {
        let at = Stamp::of(to).ok_or(DriverError::Refused)?;
        let ms = u16::try_from(to.0.rem_euclid(1_000)).unwrap_or(0);
        self.ask(station, &Request::SetTime { at, ms }, None).await.map_err(Ended::error)
    }

    fn counters(&self, station: Station) -> LineCounters {
        let (Some(peer), Some(noted)) = (self.peers.get(station), self.noted.get(station)) else {
            return LineCounters::default();
        };
        let counters = peer.counters();
        LineCounters {
            requests: counters.requests,
            replies: counters.replies,
            timeouts: counters.timeouts,
            line_errors: noted.line_errors,
            repeats: counters.repeats,
            broken: counters.broken,
            unexpected: counters.unverified,
            unset_time: noted.unset_time,
            unreadable: noted.unreadable,
            ..LineCounters::default()
        }
    }
}

#[cfg(test)]
mod rig;
#[cfg(test)]
mod tests;
