//! Postern's own controller link, for firmware whose makers want a wire that cannot lose an event.
//!
//! One gateway polls up to 126 stations over a half-duplex line (RS-485) or TCP; a station speaks only
//! when it was asked. The specification for those who write either side is `docs/protocol.md`.
//!
//! - [`frame`]: COBS, CRC-32, the two bytes of header.
//! - [`message`]: what is asked and answered, and its encoding.
//! - [`event`]: one event as a controller records it; [`log`]: the ring of them.
//! - [`noise`]: the secured session, for a device without an allocator.
//! - [`station`]: the device's whole side, pure: firmware and the simulator call the same handler.
//! - `gateway`: the gateway's side of one station, pure (feature `link-gateway`).
//!
//! What must hold here: an event is known by (epoch, index) alone, so that a repeated frame is never a
//! repeated event; a station hears "committed" only of what its gateway has made durable; a command is
//! carried out once at most; bytes from the line never panic and never change anything before they are
//! verified.

#[cfg(test)]
#[cfg(feature = "link-gateway")]
mod attacks;
pub mod event;
pub mod frame;
#[cfg(feature = "link-gateway")]
pub mod gateway;
#[cfg(test)]
mod golden_v1;
#[cfg(all(test, feature = "link-gateway"))]
mod interleaving;
pub mod log;
pub mod message;
pub mod noise;
#[cfg(all(test, feature = "link-gateway"))]
mod rig;
pub mod station;

/// Versions of the protocol that this build speaks.
///
/// Policy: within a version requests, replies, refusals and trailing fields are only ever added at the
/// end; a receiver answers an unknown request with [`message::Refusal::Unknown`] and ignores bytes behind
/// the fields it knows. Whatever changes the meaning of bytes that there are is a new version. A gateway
/// asks for the highest that both sides speak; the handshake covers it, so that nobody can talk them down.
pub mod version {
    /// The oldest version that is spoken.
    pub const MIN: u8 = 1;
    /// The newest.
    pub const CURRENT: u8 = 1;
}

/// The highest address of a station: 1 to 126. 0 is nobody's, 127 is kept for later.
pub const MAX_ADDRESS: u8 = 126;
