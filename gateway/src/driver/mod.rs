//! Drivers: each knows one controller protocol and nothing of cursors, gaps or journals. The collector
//! turns any driver into the promises that Postern makes, and a further driver needs no change there.
//!
//! A driver owns one bus: a serial line with its stations, a connection, a socket. It is asked one thing
//! at a time. "The controller says no such record" is a value ([`Then`]); "the line failed" is an error
//! ([`DriverError`]). A failed read never advances anything.

use std::borrow::Cow;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use postern_protocol::transaction::{Continuity, Credential, Direction, Door, Occurred, RawRecord};
use postern_protocol::{Digest, EpochId, Index, Kind, Timestamp};
use serde::Serialize;
use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::Instant;

pub mod line;
pub mod link;
pub mod modbus;
pub mod uhppote;

/// Which controller of a bus: its place among the stations that the driver was made for.
pub type Station = usize;

/// What a controller's log is like, and so how it is made sure that one life of it gave what was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    /// Records can be read again by index, and nothing else names the log's life: a record that is
    /// known is compared after each pull, before anything is committed.
    Reread {
        /// The highest index; 1 follows it.
        last_index: u64,
    },
    /// Each page names its epoch.
    Named {
        /// Whether what lies behind a gap is known to be of that epoch: where the controller names it. Where the driver
        /// does, by what it sees of a counter, nobody knows what happened while records were lost.
        continuity: Continuity,
    },
    /// A record can be read once; the collector numbers them.
    Volatile,
}

impl Log {
    /// What is known of what lies behind a gap that the log itself tells of.
    pub fn continuity(self) -> Continuity {
        match self {
            Self::Named { continuity } => continuity,
            Self::Volatile => Continuity::Proven,
            Self::Reread { .. } => Continuity::Unproven,
        }
    }
}

/// A record as a controller holds it, in Postern's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number: the one that was asked for, also where the controller's own numbers began again at 1
    /// in the meantime. Higher where the log is [`Log::Named`] or [`Log::Volatile`] and says that what
    /// lies between is lost.
    pub index: Index,
    /// What it was.
    pub kind: Kind,
    /// When.
    pub occurred: Occurred,
    /// The other moment that the same wall time may mean, where summer time ended.
    pub or_at: Option<Timestamp>,
    /// At which door.
    pub door: Option<Door>,
    /// Which way.
    pub direction: Option<Direction>,
    /// Whose card.
    pub credential: Option<Credential>,
    /// The controller's own bytes.
    pub raw: RawRecord,
}

/// What is to be read.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The first index.
    pub from: Index,
    /// How many records at most.
    pub at_most: usize,
    /// No further request is begun after this.
    pub until: Instant,
    /// The life of the log that is being read; `None` where that is not known.
    pub epoch: Option<EpochId>,
    /// The last index of that life that is durable in the journal, with the digest of its record: what the
    /// controller may be told that we have, and by which a source that can only repeat itself knows a
    /// repeat. `None` also where what is durable is of another life.
    pub committed: Option<(Index, Digest)>,
    /// Whether others on this bus wait for the line, or may at any moment: then a shorter turn is better.
    pub shared: bool,
}

/// What was read: records in a row from the first that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The life of the log, where the controller names it.
    pub epoch: Option<EpochId>,
    /// The records.
    pub records: Vec<Record>,
    /// What comes behind them.
    pub then: Then,
}

/// What follows a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Not looked at.
    More,
    /// Nothing: the last was the newest.
    Absent,
    /// A record that is not there any more.
    Overwritten,
    /// Unknown: the line failed there.
    Failed(DriverError),
}

/// The ends of a controller's log, as it numbers them itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The life of the log, where the controller names it.
    pub epoch: Option<EpochId>,
    /// The oldest record that it holds.
    pub oldest: Index,
    /// The newest.
    pub newest: Index,
}

/// Who a controller says it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// The make and model.
    pub model: Cow<'static, str>,
    /// The version of its firmware.
    pub firmware: String,
    /// Whether this version has been tried with this driver.
    pub is_known: bool,
}

/// What a controller says without reading its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The digest of its newest record, where it shows that.
    pub newest: Option<Digest>,
    /// What its clock reads, where it has one.
    pub clock: Option<Reading>,
}

/// What a controller's clock reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// It was never set.
    Unset,
    /// This time, to the second.
    At {
        /// In UTC.
        at: Timestamp,
        /// The other moment that the same wall time may mean.
        or_at: Option<Timestamp>,
    },
}

/// Why a controller could not be talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DriverError {
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The socket failed.
    #[error("the line failed: {0}")]
    Line(std::io::ErrorKind),
    /// What came was no answer to what was asked.
    #[error("the answer made no sense")]
    Nonsense,
    /// Somebody else answers there.
    #[error("a controller with serial number {found} answers there")]
    OtherController {
        /// Its serial number.
        found: u32,
    },
    /// The answer comes from somewhere else.
    #[error("its answers come from {from}")]
    Elsewhere {
        /// From where.
        from: SocketAddr,
    },
    /// The controller does not do what it was asked for.
    #[error("the controller refused")]
    Refused,
    /// Somebody answers who does not have our key.
    #[error("it does not accept our key")]
    WrongKey,
    /// We have no key for it, and it is not to be talked to without.
    #[error("there is no key for it")]
    NoKey,
    /// What came was damaged on the way.
    #[error("its answers are damaged on the line")]
    Damaged,
    /// It has a key, and is to be talked to without.
    #[error("it has a key, and is configured to be talked to in plaintext")]
    Keyed,
    /// It has no key, and is to be talked to with one.
    #[error("it has no key, and will not be talked to in plaintext")]
    Unkeyed,
    /// It speaks another version of the protocol.
    #[error("it speaks no version of the protocol that this gateway does")]
    Version,
    /// A latch of a Modbus device that was cleared goes on showing the same card.
    #[error(
        "a latch of it was cleared and shows the same card again and again: the profile's flag, or what clears it, is wrong"
    )]
    Latch,
    /// A Modbus device said no.
    #[error("it answers with exception {code} ({})", exception(*code))]
    Exception {
        /// Its code.
        code: u8,
    },
}

impl DriverError {
    /// Whether it is more than an answer that was lost.
    pub fn is_certain(&self) -> bool {
        match self {
            Self::OtherController { .. }
            | Self::Elsewhere { .. }
            | Self::WrongKey
            | Self::NoKey
            | Self::Keyed
            | Self::Unkeyed
            | Self::Version => true,
            Self::TimedOut
            | Self::Line(_)
            | Self::Nonsense
            | Self::Refused
            | Self::Damaged
            | Self::Latch
            | Self::Exception { .. } => false,
        }
    }
}

/// What an exception of Modbus means, and what mends it.
fn exception(code: u8) -> &'static str {
    match code {
        1 => "it does not know this function: the profile names a table that it does not have",
        2 => {
            "it has no such address: the profile names one, or a gap bridges one, that it does not have"
        }
        3 => "it does not take this value or count",
        4 => "it failed",
        5 => "it needs longer",
        6 => "it is busy",
        8 => "its memory failed",
        10 => "the gateway before it has no way to it",
        11 => "the gateway before it hears nothing of it",
        _ => "of its own",
    }
}

/// What a driver has seen on its line; shown by `postern controllers`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LineCounters {
    /// Requests sent, repeats included.
    pub requests: u64,
    /// Answers that were used.
    pub replies: u64,
    /// Requests that nobody answered in time.
    pub timeouts: u64,
    /// Failures of the socket.
    pub line_errors: u64,
    /// Frames of another length.
    pub bad_length: u64,
    /// Frames with another first byte.
    pub bad_start: u64,
    /// Frames with fields that cannot be: BCD garbage, booleans other than 0 and 1, no such date.
    pub bad_field: u64,
    /// Frames of a foreign serial number.
    pub foreign: u64,
    /// Answers to another request, and frames that did not verify.
    pub unexpected: u64,
    /// Requests that were sent once more.
    pub repeats: u64,
    /// Frames that were damaged on the line.
    pub broken: u64,
    /// Events that the controller pushed.
    pub pushes: u64,
    /// Records whose clock had never been set.
    pub unset_time: u64,
    /// Records whose fields cannot be read, kept as their bytes.
    pub unreadable: u64,
    /// Answers that said no (Modbus).
    pub exceptions: u64,
    /// What stood in registers and made no sense, so that no record came of it (Modbus).
    pub nonsense: u64,
}

impl LineCounters {
    /// Frames that were no answer to anything: something is wrong on this line.
    pub fn refused(&self) -> u64 {
        self.bad_length
            + self.bad_start
            + self.bad_field
            + self.foreign
            + self.unexpected
            + self.nonsense
    }
}

/// How the collector of a bus is woken for one of its controllers.
#[derive(Debug)]
pub struct Doorbell {
    bus: Arc<Notify>,
    rung: AtomicBool,
    newest: AtomicU64,
    count: AtomicU64,
}

impl Doorbell {
    /// A bell that wakes the collector of this bus.
    pub fn of(bus: &Arc<Notify>) -> Self {
        Self {
            bus: Arc::clone(bus),
            rung: AtomicBool::new(false),
            newest: AtomicU64::new(0),
            count: AtomicU64::new(0),
        }
    }

    /// There is news; up to this index, as the controller says, or 0.
    pub fn ring(&self, newest: Index) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.newest.store(newest.0, Ordering::Relaxed);
        self.rung.store(true, Ordering::Release);
        self.bus.notify_one();
    }

    /// Whether it rang since the last time, and for which index.
    pub fn answer(&self) -> Option<Index> {
        let rung = self.rung.swap(false, Ordering::Acquire);
        rung.then(|| Index(self.newest.load(Ordering::Relaxed)))
    }

    /// How often it rang.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// A bus with controllers that can be read.
pub trait Driver: Send {
    /// What the log of this controller is like.
    fn log(&self, station: Station) -> Log;

    /// Who it says it is. Where it does not answer as it should, this finds out why.
    fn identify(
        &mut self,
        station: Station,
    ) -> impl Future<Output = Result<Identity, DriverError>> + Send;

    /// What it says without reading its log.
    fn status(
        &mut self,
        station: Station,
    ) -> impl Future<Output = Result<Status, DriverError>> + Send;

    /// The ends of its log; `None` where that is empty.
    fn bounds(
        &mut self,
        station: Station,
    ) -> impl Future<Output = Result<Option<Bounds>, DriverError>> + Send;

    /// Records.
    fn fetch(
        &mut self,
        station: Station,
        span: Span,
    ) -> impl Future<Output = Result<Page, DriverError>> + Send;

    /// Sets its clock.
    fn set_time(
        &mut self,
        station: Station,
        to: Timestamp,
    ) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// What was seen on its line so far.
    fn counters(&self, station: Station) -> LineCounters;
}
