//! What is asked of the role document.

use std::time::Duration;

use postern_protocol::role::{Limits, Mode, StoreName, WhenFull};
use postern_protocol::{RoleTerm, Timestamp};

/// A change that somebody proposes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// An in-sync server takes the role that the active one has lost.
    Claim(Claim, Because),
    /// The active server gives the role to an in-sync one that holds all that it holds.
    HandOver(Reign, Claim),
    /// An operator makes a server active that may lack what others held.
    Force(Claim),
    /// The active server no longer counts a store: before it acknowledges without it.
    Shrink(Reign, StoreName),
    /// The active server counts a store again: once that holds everything, and the active server
    /// waits for its acknowledgements already.
    Grow(Reign, StoreName, Proof),
    /// The active server is content with fewer copies, or wants more again.
    Copies(Reign, u8),
    /// An operator changes how the group is run: at this time, by the active server's clock.
    Rules(Reign, Rules, Timestamp),
    /// An operator changes what holds over all groups.
    Limits(Limits),
}

/// Who is to be active next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// For which group.
    pub group: String,
    /// The server with its store.
    pub to: StoreName,
    /// Its number among the members.
    pub ordinal: u64,
    /// Under which role term.
    pub term: RoleTerm,
    /// Who says so.
    pub by: By,
    /// When, by the clock of whoever proposes it.
    pub at: Timestamp,
}

/// Who proposes a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum By {
    /// The server itself.
    Server,
    /// An operator, or the server with an operator's confirmation.
    Operator,
}

/// Why a server claims the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Because {
    /// The active server was silent past its lease.
    Expired {
        /// How long the claimant has known of the present reign, by its own clock that counts from
        /// its machine's start, and from the start of its process at the earliest. So no two
        /// machines' clocks are compared, and one that is set changes nothing.
        reigned: Duration,
    },
    /// The active server's process is known to have ended.
    Killed,
    /// An operator says that the active server is down.
    Vouched,
    /// It is the active server itself: its process has begun again.
    Restarted,
}

/// By which right the active server changes the document: it is what is compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reign {
    /// Of which group.
    pub group: String,
    /// The active server with its store.
    pub holder: StoreName,
    /// Its role term.
    pub term: RoleTerm,
}

/// What shows that a store holds everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Proof {
    /// How far the store has confirmed the change log.
    pub confirmed: u64,
    /// Where the log ended when the active server began to wait for the store's confirmations.
    pub since: u64,
}

/// How a group is run; `None` leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rules {
    /// By whose hand the role changes.
    pub mode: Option<Mode>,
    /// What happens when gateways run full.
    pub when_full: Option<WhenFull>,
    /// How many copies there are to be.
    pub copies_wanted: Option<u8>,
    /// The preferred server, or none.
    pub preferred: Option<Option<String>>,
    /// How long an automatic failover stands.
    pub dwell_ms: Option<u64>,
    /// How long another than the preferred server may be active before that is alarmed, or no alarm.
    pub away_alarm_ms: Option<Option<u64>>,
    /// Whether somebody works on the servers.
    pub maintenance: Option<bool>,
}
