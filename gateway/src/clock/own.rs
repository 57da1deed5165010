//! Whether our own clock is known to be right: the kernel says so, or an authenticated server agrees.
//!
//! The uplink notes the `Date` of every answer over mutual TLS ([`OwnClock::note_server`]); the
//! collector asks before it sets a controller's clock; `postern status` shows both. [`Trust`] decides
//! and is pure. Invariants: a comparison counts for [`FRESH`] of time that really passed, and a clock
//! that is set meanwhile is seen, because the comparison is carried on by the steady clock; the kernel
//! is believed before a server, but what a server's clock is away from ours stays to be seen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postern_protocol::Timestamp;
use tokio::time::Instant;

use super::Kernel;

/// How long a comparison counts: three times the pause between those of an idle gateway, and short
/// enough that no clock goes wrong by itself.
pub(super) const FRESH: Duration = Duration::from_mins(15);

/// How far a server's clock may be from ours, in milliseconds: its `Date` has whole seconds, and a
/// door's schedule has minutes. Half of the round trip comes on top.
const AGREES_MS: i64 = 2_000;

/// A `Date` is cut to the second: on average the server's clock was half a second further.
const HALF_SECOND_MS: i64 = 500;

/// The longest round trip that tells anything: half of it would be more than [`AGREES_MS`].
const MAX_ROUND_TRIP: Duration = Duration::from_secs(4);

/// Both clocks, read at once.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The wall clock, whose rightness is the question.
    pub wall: Timestamp,
    /// The steady one.
    pub steady: Instant,
}

impl Now {
    fn read() -> Self {
        Self { wall: super::utc(), steady: Instant::now() }
    }
}

/// Whether the clock is known to be right, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// The kernel says that it is synchronised.
    Kernel,
    /// A server agrees.
    Server {
        /// Which.
        name: String,
        /// How far its clock is ahead of ours.
        offset_ms: i64,
    },
    /// Neither.
    Unknown {
        /// Why not, for people.
        why: String,
    },
}

/// What a server's answer told.
#[derive(Clone, Copy, Debug)]
struct Comparison {
    /// How far its clock was ahead of ours.
    offset_ms: i64,
    /// How far that may be wrong for the way of the answer.
    slack_ms: i64,
    at: Now,
}

impl Comparison {
    /// How far its clock is ahead of ours now, if both clocks ran since but ours was perhaps set.
    fn offset_ms(&self, now: Now) -> Option<i64> {
        let passed = now.steady.duration_since(self.at.steady);
        let by_ours = now.wall.0.saturating_sub(self.at.wall.0);
        (passed <= FRESH)
            .then(|| self.offset_ms.saturating_add(millis(passed)).saturating_sub(by_ours))
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Trust {
    servers: BTreeMap<String, Comparison>,
}

impl Trust {
    /// A server's answer of this date was received now, so long after it was asked.
    pub fn on_date(&mut self, server: &str, date: Timestamp, round_trip: Duration, now: Now) {
        if round_trip > MAX_ROUND_TRIP {
            return;
        }
        let slack_ms = millis(round_trip) / 2;
        let theirs = date.0.saturating_add(HALF_SECOND_MS + slack_ms);
        let offset_ms = theirs.saturating_sub(now.wall.0);
        self.servers.insert(server.to_owned(), Comparison { offset_ms, slack_ms, at: now });
    }

    /// Whether the clock is known to be right.
    pub fn known(&self, kernel: Kernel, now: Now) -> Known {
        let kernel = match kernel {
            Kernel::Synchronised => return Known::Kernel,
            Kernel::Unsynchronised => "the kernel does not call the clock synchronised",
            Kernel::Mute => "the kernel may not be asked",
        };
        let mut away = Vec::new();
        for (name, comparison) in &self.servers {
            let Some(offset_ms) = comparison.offset_ms(now) else { continue };
            if offset_ms.saturating_abs() <= AGREES_MS + comparison.slack_ms {
                return Known::Server { name: name.clone(), offset_ms };
            }
            away.push(format!("that of server {name} is {offset_ms} ms ahead of it"));
        }
        if away.is_empty() {
            away.push("no server told its time in the last 15 minutes".to_owned());
        }
        Known::Unknown { why: format!("{kernel}, and {}", away.join(", ")) }
    }

    /// How far the servers' clocks are ahead of ours, as far as that is known.
    pub fn offsets_ms(&self, now: Now) -> BTreeMap<String, i64> {
        let offset = |(name, comparison): (&String, &Comparison)| {
            Some((name.clone(), comparison.offset_ms(now)?))
        };
        self.servers.iter().filter_map(offset).collect()
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// [`Trust`] in what the kernel and the clocks say at the moment. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct OwnClock {
    trust: Arc<Mutex<Trust>>,
}

impl OwnClock {
    fn trust(&self) -> MutexGuard<'_, Trust> {
        // A panic elsewhere leaves comparisons that are old, never any that are half.
        self.trust.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the clock is known to be right.
    pub fn known(&self) -> Known {
        self.trust().known(Kernel::ask(), Now::read())
    }

    /// The same as yes or no.
    pub fn is_right(&self) -> bool {
        match self.known() {
            Known::Kernel | Known::Server { .. } => true,
            Known::Unknown { .. } => false,
        }
    }

    /// How far the servers' clocks are ahead of ours, as far as that is known.
    pub fn offsets_ms(&self) -> BTreeMap<String, i64> {
        self.trust().offsets_ms(Now::read())
    }

    /// An authenticated server's answer begins to come in now, with this `Date` header; it was asked
    /// at `sent`. A header that is no date tells nothing.
    pub fn note_server(&self, name: &str, date_header: &str, sent: Instant) {
        let Some(date) = http_date(date_header) else { return };
        let now = Now::read();
        let round_trip = now.steady.duration_since(sent);
        self.trust().on_date(name, date, round_trip, now);
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7), which is a date of mail too.
pub(super) fn http_date(text: &str) -> Option<Timestamp> {
    let parser = jiff::fmt::rfc2822::DateTimeParser::new();
    let date = parser.parse_timestamp(text).ok()?;
    Some(Timestamp(date.as_millisecond()))
}
