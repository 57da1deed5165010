//! A simulated half-duplex serial line (RS-485, multidrop): one host, which polls, and stations.
//!
//! It knows bytes and time and nothing of any protocol; what is said on it is the business of the
//! [`Talker`]s.
//!
//! - [`wire`], [`noise`], [`misbehaviour`]: the line; pure. Time is an argument, counted
//!   from when the line began, so that days of polling run in seconds.
//! - [`handle`], [`pump`]: one thread that gives a wire real time, and a hand in it for others; the
//!   only place here with a clock.
//! - [`pty`], [`tcp`]: the two plugs for a host: a serial device, and the port of a serial device
//!   server.
//!
//! Invariants: no byte is heard before its last bit has passed; everybody on the line hears the
//! same bytes; the same seed and the same calls give the same bytes.

mod error;
pub mod handle;
mod lane;
pub mod misbehaviour;
pub mod noise;
mod port;
pub mod pty;
pub mod pump;
mod shared;
pub mod tcp;
pub mod wire;

use std::time::Duration;

pub use error::LineError;
pub use handle::{Line, LineHandle, Place};
pub use misbehaviour::Misbehaviour;
pub use noise::Noise;
pub use wire::{Counters, StationCounters, Wire};

/// The fewest bits of a character: start, eight data bits, stop.
pub const MIN_BITS_PER_BYTE: u32 = 10;
/// The most: a parity bit and a second stop bit beside those.
pub const MAX_BITS_PER_BYTE: u32 = 12;
/// The fastest line; RS-485 over a few metres ends about there.
pub const MAX_BAUD: u32 = 10_000_000;

/// A station on the line.
pub trait Talker: Send {
    /// Something was said on the line, by the host or by another station, and its last byte has
    /// just passed. One call has what its sender wrote at once, after noise and collisions; a frame
    /// that was written in pieces comes in pieces. `now` is the time of the last byte's end, since
    /// the line began.
    fn on_bytes(&mut self, bytes: &[u8], now: Duration) -> Option<Reply>;

    /// How long the line has to be silent for [`Talker::on_silence`] to be called; `None`: it is not. Asked each time
    /// that anything was said.
    fn silence(&self) -> Option<Duration> {
        None
    }

    /// Nobody has said anything for as long as [`Talker::silence`] wants, since the last byte's end. `now` is the end
    /// of that silence.
    fn on_silence(&mut self, _now: Duration) -> Option<Reply> {
        None
    }

    /// The station lost its power in the middle of its reply ([`Misbehaviour::cut`]) and is back at
    /// once, with nothing in its memory but what survives that.
    fn on_power_cut(&mut self, _now: Duration) {}
}

impl<T: Talker + ?Sized> Talker for Box<T> {
    fn on_bytes(&mut self, bytes: &[u8], now: Duration) -> Option<Reply> {
        (**self).on_bytes(bytes, now)
    }

    fn silence(&self) -> Option<Duration> {
        (**self).silence()
    }

    fn on_silence(&mut self, now: Duration) -> Option<Reply> {
        (**self).on_silence(now)
    }

    fn on_power_cut(&mut self, now: Duration) {
        (**self).on_power_cut(now);
    }
}

/// What a station says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The turn-around: from the end of the last byte that it heard to its own first bit.
    pub after: Duration,
    /// The bytes, which follow each other without a gap.
    pub bytes: Vec<u8>,
}

/// What a line is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LineSettings {
    /// Bits per second; 0: bytes take no time, for a link that is not a serial line at all.
    pub baud: u32,
    /// How many bits go over the line for a byte; 10 for 8N1.
    pub bits_per_byte: u32,
    /// What disturbs it.
    pub noise: Noise,
    /// The host hears what it sends, as it does behind a two-wire adapter whose receiver stays on.
    pub echo: bool,
    /// What all chance on this line comes from.
    pub seed: u64,
}

impl Default for LineSettings {
    /// A quiet line with 9600 baud, 8N1, without echo.
    fn default() -> Self {
        Self {
            baud: 9_600,
            bits_per_byte: MIN_BITS_PER_BYTE,
            noise: Noise::default(),
            echo: false,
            seed: 0,
        }
    }
}

impl LineSettings {
    /// How long a character takes; nothing without a speed.
    pub fn character(&self) -> Duration {
        let bits = Duration::from_secs(u64::from(self.bits_per_byte));
        bits.checked_div(self.baud).unwrap_or_default()
    }

    /// What is wrong with these values.
    pub fn check(&self) -> Result<(), String> {
        if self.baud > MAX_BAUD {
            return Err(format!("baud is {}, above {MAX_BAUD}", self.baud));
        }
        if !(MIN_BITS_PER_BYTE..=MAX_BITS_PER_BYTE).contains(&self.bits_per_byte) {
            return Err(format!(
                "bits_per_byte is {}, not from {MIN_BITS_PER_BYTE} to {MAX_BITS_PER_BYTE}",
                self.bits_per_byte
            ));
        }
        self.noise.check()
    }
}
