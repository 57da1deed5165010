//! Framing on a serial line: a unit number, the request, a checksum, and silence around it. Pure.
//!
//! Where a frame ends only the silence says, of 3.5 characters, as it is in real devices. So a frame that is written
//! in pieces with a longer gap is none, and what follows a piece of garbage at once is lost with it.
//!
//! Source: MODBUS over serial line, specification and implementation guide, 1.02 (2.5.1.1); `postern_protocol::modbus::serial`.

use postern_protocol::modbus::serial::{checksum, is_whole};

use super::request::MAX_PDU;

/// How long a frame is besides its request: the unit number, and the checksum.
const AROUND: usize = 3;

/// The longest frame.
pub const MAX_FRAME: usize = MAX_PDU + AROUND;

/// A frame.
pub fn frame(unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut bytes = [&[unit][..], pdu].concat();
    let sum = checksum(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// The unit number and the request of a frame; `None` of what is none.
pub fn open(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (said, _) = bytes.split_last_chunk::<2>()?;
    let (unit, pdu) = said.split_first()?;
    let is_frame = !pdu.is_empty() && pdu.len() <= MAX_PDU && is_whole(bytes);
    is_frame.then_some((*unit, pdu))
}

/// What was heard since the last silence.
#[derive(Clone, Debug, Default)]
pub struct Assembly {
    bytes: Vec<u8>,
}

impl Assembly {
    /// More is heard.
    pub fn push(&mut self, bytes: &[u8]) {
        // One byte above the longest frame is kept, so that what is too long is seen to be.
        let room = (MAX_FRAME + 1).saturating_sub(self.bytes.len());
        self.bytes.extend(bytes.iter().take(room));
    }

    /// Whether nothing was heard.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The line has been silent: what was heard is all there is of it.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}
