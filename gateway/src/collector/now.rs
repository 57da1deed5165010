//! The present moment, as the machines are told it: they read no clock themselves.

use postern_protocol::Timestamp;
use tokio::time::Instant;

/// Now, on both clocks; order and deadlines use the monotonic one alone.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For deadlines.
    pub monotonic: Instant,
    /// For the receive time of transactions.
    pub utc: Timestamp,
    /// Whether that is known to be right.
    pub utc_is_right: bool,
}
