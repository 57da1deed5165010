//! How a controller stands, for people.

use postern_protocol::Timestamp;
use serde::Serialize;

use crate::collector::clock::ClockReport;
use crate::driver::{DriverError, Identity};
use crate::journal::Cursor;

/// How a controller stands, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Not talked to yet.
    Starting,
    /// Read to its end.
    Online,
    /// More is there than was read.
    Draining,
    /// It does not answer, or not sensibly.
    Offline,
    /// Its answers contradict each other; it is asked again.
    Disputed,
    /// The journal is full: its log holds what it has.
    Paused,
}

/// What is known of a controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How it stands.
    pub stage: Stage,
    /// Where its log was read to.
    pub cursor: Option<Cursor>,
    /// Records committed since the start of the process.
    pub collected: u64,
    /// Gaps recorded since the start of the process.
    pub gaps: u64,
    /// Epochs begun since the start of the process, the first contact not counted.
    pub restarts: u64,
    /// Answers that contradicted each other: a late datagram, or a log that changed while it was
    /// read. Nothing was concluded from them.
    pub contradictions: u64,
    /// The last failure, until the next success.
    pub failure: Option<DriverError>,
    /// When it last answered.
    pub last_contact: Option<Timestamp>,
    /// Who it says it is.
    pub identity: Option<Identity>,
    /// Its clock.
    pub clock: Option<ClockReport>,
    /// How often its clock was set since the start of the process.
    pub clock_sets: u64,
}

impl Report {
    /// Of a controller that nobody has asked anything yet: where the journal says that it was read to.
    pub fn starting(cursor: Option<Cursor>) -> Self {
        Self {
            stage: Stage::Starting,
            cursor,
            collected: 0,
            gaps: 0,
            restarts: 0,
            contradictions: 0,
            failure: None,
            last_contact: None,
            identity: None,
            clock: None,
            clock_sets: 0,
        }
    }
}
