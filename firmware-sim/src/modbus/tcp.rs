//! Framing on a network: a header of seven bytes before each request and answer. Pure.
//!
//! Source: MODBUS messaging on TCP/IP, implementation guide, 1.0b (3.1.3).

use super::request::MAX_PDU;

/// How long a header is.
pub const HEADER: usize = 7;

/// The header of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the answer repeats.
    pub transaction: u16,
    /// How many bytes of a request follow.
    pub length: usize,
    /// The unit number.
    pub unit: u8,
}

impl Header {
    /// The header that these bytes are. `None` of another protocol, and of a length that no request has: nobody
    /// knows where the next header begins then.
    pub fn of(bytes: [u8; HEADER]) -> Option<Self> {
        let [t0, t1, p0, p1, l0, l1, unit] = bytes;
        let length = usize::from(u16::from_be_bytes([l0, l1])).checked_sub(1)?;
        let is_modbus = u16::from_be_bytes([p0, p1]) == 0;
        (is_modbus && (1..=MAX_PDU).contains(&length)).then_some(Self {
            transaction: u16::from_be_bytes([t0, t1]),
            length,
            unit,
        })
    }
}

/// A frame. The length is that of what is sent, whatever a count within says.
pub fn frame(transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
    let length = u16::try_from(pdu.len() + 1).unwrap_or(u16::MAX);
    let [t0, t1] = transaction.to_be_bytes();
    let [l0, l1] = length.to_be_bytes();
    [&[t0, t1, 0, 0, l0, l1, unit][..], pdu].concat()
}
