//! The control socket: how the command line asks a running daemon. A Unix socket in the data
//! directory that only the daemon's own user may open; one line of JSON in, lines of JSON out.
//!
//! redb locks the journal's file, so this is the way to it while the daemon runs.

use std::path::{Path, PathBuf};

use postern_protocol::{ControllerId, Seq};
use serde::{Deserialize, Serialize};

mod answer;
pub(crate) mod bus;
pub mod client;
pub mod journal;
mod server;

pub use server::{Control, listen, serve};

/// The socket's name in the data directory.
pub const SOCKET: &str = "control.sock";

/// The longest request line.
const MAX_REQUEST: u64 = 4_096;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Everything in one object.
    Status,
    /// The controllers.
    Controllers,
    /// The last transactions, and what follows if wanted.
    Tail {
        /// How many of the past.
        last: u64,
        /// Whether to stay.
        follow: bool,
        /// Whether card numbers are to be shown in full.
        show_cards: bool,
    },
    /// The clock of a controller is to be set. The one request that changes something.
    SetClock {
        /// Which.
        controller: ControllerId,
        /// Also by more than an hour.
        any_step: bool,
        /// Also while nothing says that the gateway's own clock is right.
        trust_gateway: bool,
    },
    /// What was counted on the lines with stations.
    Buses,
    /// What is said on one of them, until the client goes away.
    Sniff {
        /// Its name.
        bus: String,
        /// Whether the bodies of frames in clear are to be shown, which hold card numbers.
        show_cards: bool,
    },
    /// The journal in numbers.
    JournalInfo,
    /// Its chain, recomputed.
    JournalVerify,
    /// Its entries.
    JournalExport {
        /// From here,
        first: Seq,
        /// to here.
        last: Seq,
        /// Whether card numbers are to be shown in full.
        show_cards: bool,
    },
}

/// Where the socket of a data directory is.
pub fn socket(data_dir: &Path) -> PathBuf {
    data_dir.join(SOCKET)
}
