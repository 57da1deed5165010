//! The gateway's side of one station (`docs/protocol.md` §8): hello, handshake, request, and what to do
//! about silence, noise and lies.
//!
//! Pure: whoever owns the line sends [`Peer::wire`] when told to [`Step::Send`], waits as long as it says,
//! and hands in what came. One question at a time.
//!
//! - A repeated request is the same bytes, so a station cannot take it for another one. (An opening in
//!   clear is none: each makes another session, so each has another token.)
//! - A request that is not idempotent is never sent in another session than the first: then nobody knows
//!   whether it was carried out, and that is what is said.
//! - A question about one life of the log is never put to another.
//! - Refusals in clear can come from anybody. They end nothing but a session of ours, and what is opened in
//!   its place proves itself anew.

mod exchange;
mod session;
mod size;

use alloc::vec::Vec;
use core::time::Duration;

use super::frame::{self, From, HEADER, Header, Kind, MAX_AHEAD, SEQUENCES};
use super::message::{
    Hello, MAX_PROLOGUE, Opening, Present, Prologue, Refusal, Reply, Request, Welcome, put, runs,
};
use super::version;
use crate::id::EpochId;
pub use exchange::{Exchange, Hear, Timing};
use session::{Handshake, Session};
pub use size::{MAX_ROOM, MIN_ROOM, PageSize};

/// How often a frame is sent until it counts as unanswered, to a station that answered lately. One that did
/// not costs its line one wait alone.
pub const TRIES: u32 = 3;

/// A session is renewed after this long, for forward secrecy: what was said is safe from who gets the key
/// an hour later.
pub const MAX_SESSION: Duration = Duration::from_hours(1);

/// … and after this many requests.
pub const MAX_REQUESTS: u64 = 1 << 20;

/// How a station is talked to.
#[derive(Clone)]
pub enum Access {
    /// In secured sessions only, with this key.
    Keyed([u8; 32]),
    /// In clear.
    Plain,
}

/// Which station.
#[derive(Clone)]
pub struct Settings {
    /// Its address, 1 to 126.
    pub address: u8,
    /// The serial number of the controller that should be there.
    pub serial: u32,
    /// How it is talked to.
    pub access: Access,
}

/// How long to wait for the first byte of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// A station's usual turn-around.
    Usual,
    /// A handshake: a small processor computes for up to a second.
    Handshake,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send [`Peer::wire`], and wait.
    Send(Window),
    /// There is an answer: [`Peer::answer`].
    Answered,
    /// There is none.
    Failed(Failure),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing came.
    Silent,
    /// Something came, and nothing of it was whole.
    Broken,
    /// Another controller is there.
    Serial {
        /// Its serial number.
        found: u32,
    },
    /// It has another key than we, or is not the controller it says it is.
    Key,
    /// It speaks no version that we do.
    Version,
    /// It has a key and was to be talked to in clear, or the reverse.
    Security {
        /// Whether it says to have a key.
        is_keyed: bool,
    },
    /// Its log began another life: what was asked is about the one before.
    Life {
        /// The present one.
        epoch: EpochId,
    },
    /// It loses its sessions.
    NoSession,
    /// It may have carried the command out, and its answer was lost.
    Unknown,
    /// The station refused, verifiably.
    Refused(Refusal),
    /// The answer is no answer to what was asked.
    Nonsense,
    /// The request is longer than the station takes; nothing was sent.
    TooLong {
        /// How many bytes it may have.
        capacity: usize,
    },
}

/// What was seen of a station; each goes round at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames sent, repeats included.
    pub requests: u64,
    /// Answers that were used.
    pub replies: u64,
    /// Waits in which nothing came.
    pub timeouts: u64,
    /// Frames sent once more.
    pub repeats: u64,
    /// Frames that were broken.
    pub broken: u64,
    /// Frames of this station that were no answer to what was asked: late, repeated, reflected.
    pub stale: u64,
    /// Frames that did not verify.
    pub unverified: u64,
    /// Refusals in clear.
    pub refusals: u64,
    /// Sessions opened.
    pub sessions: u64,
    /// Bytes sent to it.
    pub bytes_sent: u64,
    /// Bytes of frames that it sent.
    pub bytes_received: u64,
}

enum State {
    Idle,
    Hello,
    Opening(Handshake),
    Asking,
}

/// What was asked.
struct Question {
    /// The request; empty where the session alone is wanted.
    body: Vec<u8>,
    /// The tag of the request.
    tag: u8,
    is_idempotent: bool,
    epoch: Option<EpochId>,
    /// It was sent in a session.
    was_sent: bool,
    /// A session was opened for it.
    reopened: bool,
    /// Frames of it that went unanswered or were broken.
    hits: u32,
}

/// See the module.
pub struct Peer {
    settings: Settings,
    state: State,
    session: Option<Session>,
    question: Question,
    tries: u32,
    heard: bool,
    is_alive: bool,
    sequence: u8,
    wire_limit: usize,
    wire: Vec<u8>,
    answer: Vec<u8>,
    size: PageSize,
    counters: Counters,
    now: Duration,
}

/// Gives 32 bytes that nobody can guess.
pub type Secret<'a> = &'a mut dyn FnMut() -> [u8; 32];

impl Peer {
    /// A station that was not asked anything yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            state: State::Idle,
            session: None,
            question: Question {
                body: Vec::new(),
                tag: 0,
                is_idempotent: true,
                epoch: None,
                was_sent: false,
                reopened: false,
                hits: 0,
            },
            tries: 0,
            heard: false,
            is_alive: false,
            sequence: 0,
            wire_limit: frame::MIN_WIRE,
            wire: Vec::new(),
            answer: Vec::new(),
            size: PageSize::default(),
            counters: Counters::default(),
            now: Duration::ZERO,
        }
    }

    /// What was seen.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The session that there is, as it began.
    pub fn welcome(&self) -> Option<Welcome> {
        self.session.as_ref().map(|session| session.welcome)
    }

    /// Whether the session is secured.
    pub fn is_sealed(&self) -> bool {
        self.session.as_ref().is_some_and(Session::is_sealed)
    }

    /// Whether it answered the last question.
    pub fn is_alive(&self) -> bool {
        self.is_alive
    }

    /// How many bytes of events to ask for at a time: as many as the line's errors and the station's buffer
    /// make sensible.
    pub fn room(&self) -> u16 {
        let head = HEADER + 17 + super::noise::TAG;
        let fits = frame::capacity(self.wire_limit).saturating_sub(head);
        u16::try_from(fits).unwrap_or(MAX_ROOM).min(self.size.room())
    }

    /// The longest body of a request that the station takes.
    pub fn capacity(&self) -> usize {
        frame::capacity(self.wire_limit).saturating_sub(HEADER + super::noise::TAG)
    }

    /// What to send.
    pub fn wire(&self) -> &[u8] {
        &self.wire
    }

    /// The answer, once there is one; `None` where it makes no sense. Behind [`Reply::Events`] stand their
    /// runs.
    pub fn answer(&self) -> Option<(Reply<'_>, runs::Reader<'_>)> {
        let (reply, rest) = postcard::take_from_bytes(&self.answer).ok()?;
        Some((reply, runs::Reader::new(rest)))
    }

    /// What was asked last, for people; `None` where it was the session alone.
    pub fn question(&self) -> Option<Request<'_>> {
        postcard::from_bytes(&self.question.body).ok()
    }

    /// Forgets the session: the next question opens another.
    pub fn rekey(&mut self) {
        self.session = None;
    }

    /// Makes sure that there is a session.
    pub fn open(&mut self, now: Duration) -> Step {
        self.begin(Vec::new(), 0, true, None, now)
    }

    /// Asks. What is about one life of the log names it in `epoch`.
    pub fn ask(&mut self, request: &Request<'_>, epoch: Option<EpochId>, now: Duration) -> Step {
        let mut body = alloc::vec![0; frame::MAX_WIRE];
        let Some(length) = put(request, &mut body, 0) else {
            return Step::Failed(Failure::Nonsense);
        };
        body.truncate(length);
        let tag = body.first().copied().unwrap_or_default();
        self.begin(body, tag, request.is_idempotent(), epoch, now)
    }

    fn begin(
        &mut self,
        body: Vec<u8>,
        tag: u8,
        is_idempotent: bool,
        epoch: Option<EpochId>,
        now: Duration,
    ) -> Step {
        self.now = now;
        self.answer.clear();
        self.question =
            Question { body, tag, is_idempotent, epoch, was_sent: false, reopened: false, hits: 0 };
        self.session.take_if(|session| {
            let behind = session.last - session.answered;
            now.saturating_sub(session.since) >= MAX_SESSION
                || session.last >= MAX_REQUESTS
                // The station must be able to tell which one it is.
                || behind + 1 >= u64::from(MAX_AHEAD)
        });
        self.go_on()
    }

    /// Whatever is next for the question.
    fn go_on(&mut self) -> Step {
        let capacity = self.capacity();
        let Some(session) = &mut self.session else { return self.hello() };
        let present = session.welcome.epoch;
        if self.question.epoch.is_some_and(|epoch| epoch != present) {
            // It answered, only not what was asked.
            self.is_alive = true;
            return self.end(Failure::Life { epoch: present });
        }
        if self.question.body.is_empty() {
            return self.succeed();
        }
        if self.question.body.len() > capacity {
            self.is_alive = true;
            return self.end(Failure::TooLong { capacity });
        }
        session.last += 1;
        let number = session.last;
        let kind = if session.is_sealed() { Kind::Sealed } else { Kind::Plain };
        // The station has the whole number: it counts on from the last that it verified.
        let sequence = u8::try_from(number % u64::from(SEQUENCES)).unwrap_or(0);
        let mut frame = self.header(kind, sequence);
        let Some(session) = &self.session else { return self.hello() };
        let sealed = session.seal(number, &self.question.body, &mut frame);
        if sealed.is_none() || frame.len() > frame::capacity(self.wire_limit) {
            // It would be dropped unheard, three times.
            return self.end(Failure::Nonsense);
        }
        self.question.was_sent = true;
        self.state = State::Asking;
        self.send(&frame, Window::Usual)
    }

    fn header(&mut self, kind: Kind, sequence: u8) -> Vec<u8> {
        self.sequence = sequence;
        let address = self.settings.address;
        Header { address, from: From::Gateway, kind, sequence }.encode().to_vec()
    }

    fn send(&mut self, frame: &[u8], window: Window) -> Step {
        if self.put_on_wire(frame).is_none() {
            return self.fail(Failure::Nonsense);
        }
        self.tries = 1;
        self.heard = false;
        self.count_sent();
        Step::Send(window)
    }

    fn put_on_wire(&mut self, frame: &[u8]) -> Option<()> {
        self.wire.resize(frame::wire_length(frame.len()) + 1, 0);
        // Two zeros before a frame: whoever's driver still holds the line spoils the first.
        let (first, rest) = self.wire.split_first_mut()?;
        *first = 0;
        let used = frame::encode(frame, rest)?;
        self.wire.truncate(used + 1);
        Some(())
    }

    fn count_sent(&mut self) {
        self.counters.requests += 1;
        self.counters.bytes_sent += u64::try_from(self.wire.len()).unwrap_or(0);
    }

    fn hello(&mut self) -> Step {
        // Before all else: whoever is told that there was no session may ask again.
        if self.is_uncertain() {
            return self.fail(Failure::Unknown);
        }
        if self.question.reopened {
            return self.fail(Failure::NoSession);
        }
        self.question.reopened = true;
        // Another number each time: a late answer is not this one's.
        let sequence = (self.sequence + 1) % SEQUENCES;
        let mut frame = self.header(Kind::Hello, sequence);
        frame.resize(HEADER + 2, 0);
        let hello = Hello { min: version::MIN, max: version::CURRENT };
        if put(&hello, &mut frame, HEADER).is_none() {
            return self.fail(Failure::Nonsense);
        }
        self.state = State::Hello;
        self.send(&frame, Window::Usual)
    }

    /// Whether the question is a command that may have been carried out.
    fn is_uncertain(&self) -> bool {
        self.question.was_sent && !self.question.is_idempotent
    }

    fn window(&self) -> Window {
        match self.state {
            State::Opening(..) => Window::Handshake,
            State::Idle | State::Hello | State::Asking => Window::Usual,
        }
    }

    /// A frame came, with its whole plain bytes. `None`: it is none that is waited for; go on waiting.
    pub fn on_frame(&mut self, header: Header, plain: &[u8], secret: Secret<'_>) -> Option<Step> {
        if header.from != From::Station || header.address != self.settings.address {
            return None;
        }
        self.counters.bytes_received += u64::try_from(frame::wire_length(plain.len())).unwrap_or(0);
        let body = plain.get(HEADER..)?;
        if header.sequence != self.sequence || matches!(self.state, State::Idle) {
            self.counters.stale += 1;
            return None;
        }
        if header.kind == Kind::Refused {
            self.counters.refusals += 1;
            let (refusal, _) = postcard::take_from_bytes::<Refusal>(body).ok()?;
            return self.on_refusal(refusal);
        }
        match (core::mem::replace(&mut self.state, State::Idle), header.kind) {
            (State::Hello, Kind::Hello) => Some(self.on_present(body, secret)),
            (State::Opening(handshake), Kind::Open) => self.on_opened(handshake, body),
            (State::Asking, Kind::Sealed | Kind::Plain) => self.on_reply(header.kind, plain),
            (state, _) => {
                self.state = state;
                self.counters.stale += 1;
                None
            }
        }
    }

    fn on_present(&mut self, body: &[u8], secret: Secret<'_>) -> Step {
        let Ok((present, _)) = postcard::take_from_bytes::<Present>(body) else {
            return self.fail(Failure::Nonsense);
        };
        self.counters.replies += 1;
        if present.serial != self.settings.serial {
            return self.fail(Failure::Serial { found: present.serial });
        }
        let version = present.max.min(version::CURRENT);
        if version < present.min.max(version::MIN) {
            return self.fail(Failure::Version);
        }
        let limit = usize::from(present.wire);
        if limit < frame::MIN_WIRE {
            return self.fail(Failure::Nonsense);
        }
        self.wire_limit = limit.min(frame::MAX_WIRE);
        let sequence = (self.sequence + 1) % SEQUENCES;
        let mut frame = self.header(Kind::Open, sequence);
        let random = secret();
        let (opening, handshake) = match (&self.settings.access, present.is_keyed) {
            (Access::Keyed(key), true) => {
                let mut buffer = [0; MAX_PROLOGUE];
                let prologue = Prologue::new(self.settings.address, present, version);
                match Handshake::noise(key, prologue.encode(&mut buffer), random) {
                    Ok(begun) => (Opening::Noise { version }, begun),
                    Err(_) => return self.fail(Failure::Nonsense),
                }
            }
            (Access::Plain, false) => {
                let [a, b, c, d, ..] = random;
                let token = u32::from_le_bytes([a, b, c, d]);
                (
                    Opening::Plain { version, token },
                    (Handshake::Plain { version, token }, Vec::new()),
                )
            }
            (Access::Keyed(_) | Access::Plain, is_keyed) => {
                return self.fail(Failure::Security { is_keyed });
            }
        };
        let (handshake, message) = handshake;
        let mut head = [0; 16];
        let Some(length) = put(&opening, &mut head, 0) else {
            return self.fail(Failure::Nonsense);
        };
        frame.extend_from_slice(head.get(..length).unwrap_or_default());
        frame.extend_from_slice(&message);
        self.state = State::Opening(handshake);
        self.send(&frame, Window::Handshake)
    }

    fn on_opened(&mut self, handshake: Handshake, body: &[u8]) -> Option<Step> {
        let Ok((opening, message)) = postcard::take_from_bytes::<Opening>(body) else {
            return Some(self.fail(Failure::Nonsense));
        };
        let (transport, payload) = match (handshake, opening) {
            (Handshake::Noise(state), Opening::Noise { .. }) => {
                let Ok((transport, payload)) = session::finish(state, message) else {
                    self.counters.unverified += 1;
                    return Some(self.fail(Failure::Key));
                };
                (Some(transport), payload)
            }
            (Handshake::Plain { version, token }, echoed)
                if echoed == (Opening::Plain { version, token }) =>
            {
                (None, message.to_vec())
            }
            (handshake, _) => {
                self.counters.stale += 1;
                self.state = State::Opening(handshake);
                return None;
            }
        };
        let Ok((welcome, _)) = postcard::take_from_bytes::<Welcome>(&payload) else {
            return Some(self.fail(Failure::Nonsense));
        };
        self.counters.replies += 1;
        self.counters.sessions += 1;
        self.session = Some(Session::new(transport, welcome, self.now));
        Some(self.go_on())
    }

    fn on_reply(&mut self, kind: Kind, plain: &[u8]) -> Option<Step> {
        let body = plain.get(HEADER..)?;
        let opened = self.session.as_ref().and_then(|session| {
            let expected = if session.is_sealed() { Kind::Sealed } else { Kind::Plain };
            if kind != expected {
                return None;
            }
            session.open(session.last, body, &mut self.answer)
        });
        if opened.is_none() {
            self.answer.clear();
            self.counters.unverified += 1;
            self.state = State::Asking;
            return None;
        }
        if let Some(session) = &mut self.session {
            session.answered = session.last;
        }
        self.counters.replies += 1;
        let length = frame::wire_length(plain.len()) + self.wire.len();
        self.size.count(length, self.question.hits);
        match self.answer() {
            Some((Reply::Refused(refusal), _)) => {
                self.is_alive = true;
                Some(self.end(Failure::Refused(refusal)))
            }
            Some((reply, runs)) if answers(self.question.tag, &reply, runs.clone()) => {
                Some(self.succeed())
            }
            // It verified, so the command arrived; what came of it nobody knows.
            Some(_) | None if self.is_uncertain() => Some(self.fail(Failure::Unknown)),
            Some(_) | None => Some(self.fail(Failure::Nonsense)),
        }
    }

    /// A refusal in clear.
    fn on_refusal(&mut self, refusal: Refusal) -> Option<Step> {
        match (&self.state, refusal) {
            (State::Asking, Refusal::NoSession | Refusal::Security) => {
                self.session = None;
                Some(self.hello())
            }
            (State::Opening(..), Refusal::Key) => Some(self.fail(Failure::Key)),
            (State::Opening(..), Refusal::Version) => Some(self.fail(Failure::Version)),
            (State::Opening(..), Refusal::Security) => {
                let is_keyed = matches!(self.settings.access, Access::Plain);
                Some(self.fail(Failure::Security { is_keyed }))
            }
            _ => None,
        }
    }

    /// Something came that is broken: noise, or two who spoke at once.
    pub fn on_broken(&mut self) -> Step {
        self.counters.broken += 1;
        self.heard = true;
        self.again(Failure::Broken)
    }

    /// Nothing came in time, or nothing more.
    pub fn on_silence(&mut self) -> Step {
        self.counters.timeouts += 1;
        self.again(Failure::Silent)
    }

    /// The same bytes once more, or the end of it.
    fn again(&mut self, failure: Failure) -> Step {
        if matches!(self.state, State::Idle) {
            return Step::Failed(failure);
        }
        self.question.hits += 1;
        let limit = if self.is_alive || self.heard { TRIES } else { 1 };
        if self.tries < limit {
            self.tries += 1;
            self.counters.repeats += 1;
            if self.renew_token().is_none() {
                return self.fail(Failure::Nonsense);
            }
            self.count_sent();
            return Step::Send(self.window());
        }
        if self.heard {
            // Else a page that never comes through would be asked for again, as long as it is.
            self.size.count(self.wire.len(), self.question.hits);
        }
        if self.is_uncertain() {
            return self.fail(Failure::Unknown);
        }
        self.fail(if self.heard { Failure::Broken } else { failure })
    }

    /// Each opening in clear makes a session, of the life that there is then: only the answer to the last
    /// one tells which. Everything else is repeated as it is.
    fn renew_token(&mut self) -> Option<()> {
        let State::Opening(Handshake::Plain { version, token }) = &mut self.state else {
            return Some(());
        };
        *token = token.wrapping_add(1);
        let opening = Opening::Plain { version: *version, token: *token };
        let mut frame = self.header(Kind::Open, self.sequence);
        frame.resize(HEADER + 16, 0);
        let length = put(&opening, &mut frame, HEADER)?;
        frame.truncate(length);
        self.put_on_wire(&frame)
    }

    fn fail(&mut self, failure: Failure) -> Step {
        self.is_alive = false;
        self.end(failure)
    }

    fn end(&mut self, failure: Failure) -> Step {
        self.state = State::Idle;
        Step::Failed(failure)
    }

    fn succeed(&mut self) -> Step {
        self.is_alive = true;
        self.state = State::Idle;
        Step::Answered
    }
}

/// Whether a reply is one to a request with this tag.
fn answers(tag: u8, reply: &Reply<'_>, runs: runs::Reader<'_>) -> bool {
    match reply {
        Reply::Events { .. } => tag == 0 && runs.is_whole(),
        Reply::Identity(_) => tag == 1,
        Reply::Status(_) => tag == 2,
        Reply::Doors(_) => tag == 3,
        Reply::Done => tag == 4 || tag == 6,
        Reply::Staged { .. } => tag == 5,
        Reply::Refused(_) => true,
    }
}

#[cfg(test)]
mod regression;
#[cfg(test)]
mod tests;
