//! Drivers: each knows one controller protocol and nothing of cursors, epochs or journals. The
//! collector turns any driver into the promises that Postern makes.
//!
//! "The controller says no such record" is a value ([`Read`]); "the line failed" is an error
//! ([`DriverError`]). A failed read never advances anything.

use std::future::Future;
use std::sync::atomic::AtomicU64;

use postern_protocol::transaction::{Credential, Direction, Door, Occurred, RawRecord};
use postern_protocol::{ControllerId, Index, Kind};
use serde::Serialize;
use thiserror::Error;
use tokio::sync::Notify;

pub mod uhppote;

/// A record as a controller holds it, in Postern's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number in the log.
    pub index: Index,
    /// What it was.
    pub kind: Kind,
    /// When.
    pub occurred: Occurred,
    /// At which door.
    pub door: Option<Door>,
    /// Which way.
    pub direction: Option<Direction>,
    /// Whose card.
    pub credential: Option<Credential>,
    /// The controller's own bytes.
    pub raw: RawRecord,
}

/// What a controller answers when it is asked for a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The record.
    Record(Box<Record>),
    /// It was there once.
    Overwritten,
    /// Past the newest.
    Absent,
}

/// The ends of a controller's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The oldest record that it holds.
    pub oldest: Index,
    /// The newest.
    pub newest: Index,
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
    /// Answers to another request.
    pub unexpected: u64,
    /// Events that the controller pushed.
    pub pushes: u64,
    /// Records whose clock had never been set.
    pub unset_time: u64,
}

/// How a collector is woken, and how often that was done.
#[derive(Debug, Default)]
pub struct Doorbell {
    /// Rung for each push.
    pub rung: Notify,
    /// How many there were.
    pub count: AtomicU64,
}

impl LineCounters {
    /// Frames that were no answer to anything: something is wrong on this line.
    pub fn refused(&self) -> u64 {
        self.bad_length + self.bad_start + self.bad_field + self.foreign + self.unexpected
    }
}

/// A controller that can be read. One value per bus; a stuck one delays no other.
pub trait Driver: Send {
    /// Which controller.
    fn controller(&self) -> ControllerId;

    /// The ends of its log; `None` where that is empty.
    fn bounds(&mut self) -> impl Future<Output = Result<Option<Bounds>, DriverError>> + Send;

    /// The record of this index.
    fn read(&mut self, index: Index) -> impl Future<Output = Result<Read, DriverError>> + Send;

    /// What was seen on the line so far.
    fn counters(&self) -> LineCounters;
}
