//! What the kernel says of its clock: adjtimex(2), read only.
//!
//! Whatever keeps the clock right (chrony, systemd-timesyncd, ntpd, a PTP daemon) tells the kernel so,
//! and the kernel takes it back by itself when it was not told again for hours, or when somebody sets
//! the clock by hand. In a container it is the host's clock, which is the one that counts.

use rtime_clock::adjtime::{Timex, adjtimex};

/// `STA_UNSYNC` of adjtimex(2): nobody keeps the clock right.
const UNSYNC: i32 = 0x0040;

/// `TIME_ERROR` of adjtimex(2): the same, or the clock is faulty.
const ERROR: i32 = 5;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// It is kept right.
    Synchronised,
    /// It is not.
    Unsynchronised,
    /// It may not be asked, as in a unit with `ProtectClock=yes`.
    Mute,
}

impl Kernel {
    /// Asks: one system call.
    pub fn ask() -> Self {
        // No mode is set, so nothing is.
        let mut timex = Timex::new();
        adjtimex(&mut timex).map_or(Self::Mute, |state| Self::of(state, timex.0.status))
    }

    /// What adjtimex returned, and its status bits.
    pub(super) fn of(state: i32, status: i32) -> Self {
        if state == ERROR || status & UNSYNC != 0 {
            Self::Unsynchronised
        } else {
            Self::Synchronised
        }
    }
}
