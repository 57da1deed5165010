//! A station: the whole of a controller's side of the link (`docs/protocol.md` §7).
//!
//! Pure: bytes from the line go in, the bytes of an answer come out; no clock, no allocator, two buffers of
//! `WIRE` bytes and a short one. Real firmware and the simulator call this same handler, so they cannot disagree.
//!
//! - A request that was verified is carried out once. Repeated, it is answered with the very same bytes, for
//!   which the sent frame is kept until the next request.
//! - A session that a handshake began takes the place of the one before with its first verified request, so
//!   a recording of a handshake disturbs nobody.
//! - A session is about one life of the log and ends with it: an index can never be taken for another
//!   life's.
//! - What is not verified changes nothing, and is answered by a refusal in clear at most.

mod answer;
mod device;
mod session;

use super::frame::{self, CRC_LENGTH, From, HEADER, Header, Kind, MIN_WIRE, Receiver};
use super::message::{Hello, MAX_PROLOGUE, Opening, Present, Prologue, Refusal, Welcome, put};
use super::noise::{MESSAGE_OVERHEAD, Psk, Responder, TAG};
use super::version;
use answer::Staging;
pub use device::{Condition, Device};
use session::{Security, Session, Turn};

/// The longest body that is built on the stack: a [`Welcome`], a [`Present`], a refusal.
const PAYLOAD: usize = 40;

/// The longest frame that is sent beside the answer that is kept: the answer to an opening.
const ASIDE: usize = frame::wire_length(HEADER + 2 + MESSAGE_OVERHEAD + 36);

/// How a station is talked to.
#[derive(Clone, Debug)]
pub enum Access {
    /// In secured sessions only, with this key.
    Keyed(Psk),
    /// In clear, by anybody who reaches the line.
    Plain,
}

/// What a station counted since power on; each stays at its highest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests that were carried out.
    pub requests: u32,
    /// Requests that were heard again, and answered with the same bytes.
    pub repeats: u32,
    /// What stood between two zeros and was no frame.
    pub broken: u32,
    /// Frames for this station that did not verify.
    pub unverified: u32,
    /// Sessions that were opened.
    pub sessions: u32,
}

/// See the module. `WIRE` is the longest frame that it takes and sends, 128 to 1,024 bytes.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct Station<const WIRE: usize> {
    address: u8,
    serial: u32,
    access: Access,
    receiver: Receiver<WIRE>,
    sent: [u8; WIRE],
    /// How long the answer to the last request is, while it is kept.
    sent_length: Option<usize>,
    /// What is sent beside it, so that nobody who only says hello or replays a handshake spoils it.
    aside: [u8; ASIDE],
    /// The checksum of the opening whose answer stands in `aside`, and how long that is; until something
    /// is asked in its session, or something else is said outside of one.
    welcomed: Option<([u8; CRC_LENGTH], usize)>,
    session: Option<Session>,
    /// Opened, and not used yet.
    opened: Option<Session>,
    staging: Option<Staging>,
    /// Nobody asked for the status since power on.
    restarted: bool,
    counters: Counters,
}

/// Where the answer is, and how long.
enum Sent {
    Kept(usize),
    Aside(usize),
}

impl<const WIRE: usize> Station<WIRE> {
    const FITS: () = assert!(WIRE >= MIN_WIRE && WIRE <= frame::MAX_WIRE, "WIRE is 128 to 1,024");

    /// A station that was just powered on. `address` is 1 to 126, `serial` not 0.
    pub fn new(address: u8, serial: u32, access: Access) -> Self {
        let () = Self::FITS;
        Self {
            address,
            serial,
            access,
            receiver: Receiver::default(),
            sent: [0; WIRE],
            sent_length: None,
            aside: [0; ASIDE],
            welcomed: None,
            session: None,
            opened: None,
            staging: None,
            restarted: true,
            counters: Counters::default(),
        }
    }

    /// What it counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What it says when somebody says hello.
    pub fn present(&self) -> Present {
        Present {
            min: version::MIN,
            max: version::CURRENT,
            serial: self.serial,
            wire: u16::try_from(WIRE).unwrap_or(u16::MAX),
            is_keyed: matches!(self.access, Access::Keyed(_)),
        }
    }

    /// Takes what came from the line; an answer, where one is due, is to be sent now. Of several requests in
    /// `bytes` the last is answered.
    pub fn on_bytes<D: Device>(&mut self, bytes: &[u8], device: &mut D) -> Option<&[u8]> {
        let mut rest = bytes;
        let mut sent = None;
        while !rest.is_empty() {
            let (taken, is_whole) = self.receiver.push(rest);
            rest = rest.get(taken..).unwrap_or_default();
            if is_whole {
                sent = self.on_frame(device).or(sent);
            }
        }
        match sent? {
            Sent::Kept(length) => self.sent.get(..length),
            Sent::Aside(length) => self.aside.get(..length),
        }
    }

    fn on_frame<D: Device>(&mut self, device: &mut D) -> Option<Sent> {
        let Ok((header, plain)) = self.receiver.frame() else {
            count(&mut self.counters.broken);
            return None;
        };
        if header.from != From::Gateway || header.address != self.address {
            return None;
        }
        let (crc, length) = (frame::crc(plain), plain.len());
        match header.kind {
            Kind::Hello => {
                postcard::take_from_bytes::<Hello>(plain.get(HEADER..)?).ok()?;
                let present = self.present();
                self.clear(Kind::Hello, header.sequence, &present)
            }
            Kind::Open => match self.open(length, header, crc, device) {
                Ok(sent) => sent,
                Err(refusal) => self.refuse(header.sequence, refusal),
            },
            Kind::Sealed | Kind::Plain => match self.request(length, header, crc, device) {
                Ok(sent) => sent,
                Err(refusal) => self.refuse(header.sequence, refusal),
            },
            Kind::Refused => None,
        }
    }

    fn refuse(&mut self, sequence: u8, refusal: Refusal) -> Option<Sent> {
        count(&mut self.counters.unverified);
        self.clear(Kind::Refused, sequence, &refusal)
    }

    /// An answer in clear.
    fn clear<T: serde::Serialize>(&mut self, kind: Kind, sequence: u8, body: &T) -> Option<Sent> {
        self.welcomed = None;
        let mut plain = [0; PAYLOAD];
        let header = Header { address: self.address, from: From::Station, kind, sequence };
        plain.first_chunk_mut().map(|to| *to = header.encode())?;
        let length = put(body, &mut plain, HEADER)?;
        frame::encode(plain.get(..length)?, &mut self.aside).map(Sent::Aside)
    }

    /// The handshake.
    fn open<D: Device>(
        &mut self,
        length: usize,
        header: Header,
        crc: [u8; CRC_LENGTH],
        device: &mut D,
    ) -> Result<Option<Sent>, Refusal> {
        let present = self.present();
        let log = device.log();
        let is_unused = |session: &Session| session.is_unused() && session.epoch == log.epoch();
        if let Some((welcomed, length)) = self.welcomed
            && welcomed == crc
            && self.opened.as_ref().or(self.session.as_ref()).is_some_and(is_unused)
        {
            // Other keys would not fit an answer that is on its way.
            return Ok(Some(Sent::Aside(length)));
        }
        let welcome =
            Welcome { epoch: log.epoch(), oldest: log.oldest().0, newest: log.newest().0 };
        let scratch = self.receiver.buffer();
        let body = scratch.get(HEADER..length).unwrap_or_default();
        let (opening, message) =
            postcard::take_from_bytes::<Opening>(body).map_err(|_| Refusal::Malformed)?;
        let (Opening::Noise { version } | Opening::Plain { version, .. }) = opening;
        if !(version::MIN..=version::CURRENT).contains(&version) {
            return Err(Refusal::Version);
        }
        let head = Header { from: From::Station, ..header }.encode();
        let length = match (opening, &self.access) {
            (Opening::Plain { .. }, Access::Plain) => {
                self.session = Some(Session::new(Security::Plain, welcome.epoch));
                put(&opening, scratch, HEADER).and_then(|at| put(&welcome, scratch, at))
            }
            (Opening::Noise { .. }, Access::Keyed(psk)) => {
                let mut prologue = [0; MAX_PROLOGUE];
                let prologue = Prologue::new(self.address, present, version).encode(&mut prologue);
                let (responder, _) = Responder::read(psk, prologue, message, &mut [0; PAYLOAD])
                    .map_err(|_| Refusal::Key)?;
                let mut payload = [0; PAYLOAD];
                let at = put(&welcome, &mut payload, 0).ok_or(Refusal::Memory)?;
                let payload = payload.get(..at).ok_or(Refusal::Memory)?;
                let at = put(&opening, scratch, HEADER).ok_or(Refusal::Memory)?;
                let out = scratch.get_mut(at..).ok_or(Refusal::Memory)?;
                let (keys, used) =
                    responder.write(device.random(), payload, out).map_err(|_| Refusal::Key)?;
                self.opened = Some(Session::new(Security::Sealed(keys), welcome.epoch));
                Some(at + used)
            }
            (Opening::Plain { .. }, Access::Keyed(_)) | (Opening::Noise { .. }, Access::Plain) => {
                return Err(Refusal::Security);
            }
        };
        count(&mut self.counters.sessions);
        if let Some(to) = scratch.first_chunk_mut() {
            *to = head;
        }
        let plain = length.and_then(|length| scratch.get(..length));
        let length = plain.and_then(|plain| frame::encode(plain, &mut self.aside));
        self.welcomed = length.map(|length| (crc, length));
        Ok(length.map(Sent::Aside))
    }

    /// A request of a session.
    fn request<D: Device>(
        &mut self,
        length: usize,
        header: Header,
        crc: [u8; CRC_LENGTH],
        device: &mut D,
    ) -> Result<Option<Sent>, Refusal> {
        let epoch = device.log().epoch();
        for session in [&mut self.session, &mut self.opened] {
            // The life of the log that it was about is over.
            session.take_if(|session| session.epoch != epoch);
        }
        // The one that was opened last first: its first request ends the one before.
        if let Some((number, body)) = self.opened.as_ref().and_then(|session| {
            let body = verify(session, header, crc, self.receiver.buffer(), length)?;
            Some(body)
        }) {
            self.session = self.opened.take();
            return Ok(self.answer(number, body, header, crc, device));
        }
        let session = self.session.as_ref().ok_or(Refusal::NoSession)?;
        if session.turn(header.sequence, crc) == Turn::Repeat {
            count(&mut self.counters.repeats);
            return Ok(self.sent_length.map(Sent::Kept));
        }
        let (number, body) = verify(session, header, crc, self.receiver.buffer(), length)
            .ok_or(Refusal::NoSession)?;
        Ok(self.answer(number, body, header, crc, device))
    }

    /// Carries a verified request out, of which `body` bytes stand behind the header, and answers it.
    fn answer<D: Device>(
        &mut self,
        number: u64,
        body: usize,
        header: Header,
        crc: [u8; CRC_LENGTH],
        device: &mut D,
    ) -> Option<Sent> {
        // Whatever comes of it: this request is not carried out again, and the answer to the one before is
        // not given for it.
        self.sent_length = None;
        let session = self.session.as_mut()?;
        session.accept(number, crc);
        count(&mut self.counters.requests);
        let scratch = self.receiver.buffer();
        let request = scratch.get(HEADER..HEADER + body)?;
        let answer = answer::carry_out(request, &mut self.staging, device);
        let overhead = match session.security {
            Security::Sealed(_) => TAG,
            Security::Plain => 0,
        };
        let limit = frame::capacity(WIRE) - overhead;
        let length = answer::write(answer, self.restarted, scratch, limit, device)?;
        self.restarted &= answer != answer::Answer::Status;
        let head = Header { from: From::Station, ..header }.encode();
        scratch.first_chunk_mut().map(|to| *to = head)?;
        let length = match &session.security {
            Security::Plain => length,
            Security::Sealed(keys) => {
                let sealed = keys.send.seal(number, scratch.get_mut(HEADER..)?, length - HEADER);
                HEADER + sealed.ok()?
            }
        };
        self.sent_length = frame::encode(scratch.get(..length)?, &mut self.sent);
        self.sent_length.map(Sent::Kept)
    }
}

/// Opens a request in place; its number and how many bytes it has.
fn verify(
    session: &Session,
    header: Header,
    crc: [u8; CRC_LENGTH],
    scratch: &mut [u8],
    length: usize,
) -> Option<(u64, usize)> {
    let Turn::New(number) = session.turn(header.sequence, crc) else { return None };
    let body = scratch.get_mut(HEADER..length)?;
    match (&session.security, header.kind) {
        (Security::Plain, Kind::Plain) => Some((number, body.len())),
        (Security::Sealed(keys), Kind::Sealed) => {
            Some((number, keys.receive.open(number, body).ok()?.len()))
        }
        (Security::Plain | Security::Sealed(_), _) => None,
    }
}

fn count(counter: &mut u32) {
    *counter = counter.saturating_add(1);
}

#[cfg(test)]
#[cfg(feature = "link-gateway")]
mod recording;
#[cfg(test)]
#[cfg(feature = "link-gateway")]
mod tests;
