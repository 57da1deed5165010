//! A moment by the clock that counts since the machine's start and goes on while it sleeps.

use std::ops::Add;
use std::time::Duration;

/// How long after the machine's start, by `CLOCK_BOOTTIME`: nobody sets it, it never goes back, and a
/// machine that was suspended finds that time has passed. Moments of two machines cannot be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootInstant(pub Duration);

impl BootInstant {
    /// How much later it is than `earlier`; nothing where it is not.
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for BootInstant {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}
