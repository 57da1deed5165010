//! The present moment, as the machines are told it: they read no clock themselves.

use std::time::Duration;

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

/// Our clock may run so much faster or slower between two looks before it is called a jump.
const STEADY: Duration = Duration::from_secs(2);

impl Now {
    /// Whether our clock showed as much time passing since then as did pass.
    pub(super) fn follows(self, before: Self) -> bool {
        let passed = self.monotonic.saturating_duration_since(before.monotonic).as_millis();
        let shown = i128::from(self.utc.0) - i128::from(before.utc.0);
        let jumped = i128::try_from(passed).unwrap_or(i128::MAX).saturating_sub(shown);
        jumped.unsigned_abs() <= STEADY.as_millis()
    }
}
