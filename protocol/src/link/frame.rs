//! Frames: how bytes on a line become messages (`docs/protocol.md` §2).
//!
//! A frame is `address, control, body…`, followed by its CRC-32, all of it COBS-encoded, between bytes of
//! zero. COBS leaves no other zero on the line, so whoever missed a beginning is back in step at the next
//! zero, and no pause has any meaning.

use crc::{CRC_32_ISO_HDLC, Crc, Table};

/// The checksum: CRC-32/ISO-HDLC (that of Ethernet and zlib). Its check value, the CRC of the nine ASCII
/// digits `123456789`, is [`CRC_CHECK`]. Of what is decoded it finds any three wrong bits, and all errors
/// within 32 bits in a row. A wrong bit on the line may be more than one here: where it makes a zero or
/// hits a code byte of COBS, one such frame in 2^32 passes (`docs/protocol.md` §11).
const CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);

/// See [`crc`].
pub const CRC_CHECK: u32 = 0xcbf4_3926;

/// Bytes of the checksum.
pub const CRC_LENGTH: usize = 4;

/// Address and control.
pub const HEADER: usize = 2;

/// The longest frame on the line that a gateway sends or takes, delimiters included.
pub const MAX_WIRE: usize = 1_024;

/// The longest frame on the line that every station takes: a handshake and the shortest useful page fit.
pub const MIN_WIRE: usize = 128;

/// The bit of the address that says: from a station.
const FROM_STATION: u8 = 0x80;

/// The bits of the control byte that number the exchange.
const SEQUENCE: u8 = 0x1f;

/// How many numbers there are before they begin again.
pub const SEQUENCES: u8 = SEQUENCE + 1;

/// How far a request may be ahead of the last that was carried out: half of the numbers, so that a late
/// copy of an older one is not taken for a new one.
pub const MAX_AHEAD: u8 = SEQUENCES / 2;

/// The checksum of these bytes, as it stands in a frame: least significant byte first.
pub fn crc(bytes: &[u8]) -> [u8; CRC_LENGTH] {
    CRC.checksum(bytes).to_le_bytes()
}

/// How many bytes of address, control and body fit into a frame of `wire` bytes on the line: less a zero
/// on either side, the code bytes of COBS (one for each 254 begun) and the checksum.
pub const fn capacity(wire: usize) -> usize {
    let encoded = wire.saturating_sub(2);
    encoded.saturating_sub(encoded.div_ceil(255)).saturating_sub(CRC_LENGTH)
}

/// How many bytes a frame with so many bytes of address, control and body has on the line at most.
pub const fn wire_length(length: usize) -> usize {
    let plain = length + CRC_LENGTH;
    plain + plain.div_ceil(254) + 2
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The gateway, to the station with the address.
    Gateway,
    /// The station with the address.
    Station,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Who is there? In clear, and says nothing but what the line shows anyway.
    Hello,
    /// The handshake of a session.
    Open,
    /// A message of a secured session.
    Sealed,
    /// A message of a session in clear; only where both sides were told to allow it.
    Plain,
    /// A station's refusal, in clear, so that nobody can rely on it: a hint to people, and to begin anew.
    Refused,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Hello, Self::Open, Self::Sealed, Self::Plain, Self::Refused];

    fn from_bits(bits: u8) -> Option<Self> {
        Self::ALL.get(usize::from(bits)).copied()
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Hello => 0,
            Self::Open => 1,
            Self::Sealed => 2,
            Self::Plain => 3,
            Self::Refused => 4,
        }
    }
}

/// The two bytes before a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whose turn it is: the station's address, 1 to 126.
    pub address: u8,
    /// Who speaks.
    pub from: From,
    /// What the body is.
    pub kind: Kind,
    /// The exchange: a reply carries the number of its request, a repeated request its own once more.
    /// 0 to 31.
    pub sequence: u8,
}

impl Header {
    /// The bytes.
    pub const fn encode(self) -> [u8; HEADER] {
        let from = match self.from {
            From::Gateway => 0,
            From::Station => FROM_STATION,
        };
        [self.address | from, self.kind.bits() << 5 | (self.sequence & SEQUENCE)]
    }

    /// The header of a frame; `None` for an address or a kind that nobody has.
    pub fn decode(bytes: [u8; HEADER]) -> Option<Self> {
        let [address, control] = bytes;
        let from = if address & FROM_STATION == 0 { From::Gateway } else { From::Station };
        let address = address & !FROM_STATION;
        if !(1..=super::MAX_ADDRESS).contains(&address) {
            return None;
        }
        let kind = Kind::from_bits(control >> 5)?;
        Some(Self { address, from, kind, sequence: control & SEQUENCE })
    }
}

/// Puts a frame on the line: `plain` begins with the header. Returns how much of `wire` is used; `None`
/// where it is too small.
pub fn encode(plain: &[u8], wire: &mut [u8]) -> Option<usize> {
    let (first, rest) = wire.split_first_mut()?;
    *first = 0;
    let mut encoder = cobs::CobsEncoder::new(rest);
    encoder.push(plain).ok()?;
    encoder.push(&crc(plain)).ok()?;
    let length = encoder.finalize();
    *rest.get_mut(length)? = 0;
    Some(length + 2)
}

/// Why what stood between two zeros is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Longer than the receiver's buffer.
    TooLong,
    /// Too short to be one.
    TooShort,
    /// A code byte of COBS points behind the end.
    Cobs,
    /// The checksum is another.
    Crc,
    /// No such address or kind.
    Header,
}

impl core::fmt::Display for FrameError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::TooLong => "longer than the buffer",
            Self::TooShort => "too short",
            Self::Cobs => "broken COBS",
            Self::Crc => "wrong checksum",
            Self::Header => "no such address or kind",
        })
    }
}

impl core::error::Error for FrameError {}

/// Takes what stood between two zeros apart, in place: the header and the whole frame before its checksum
/// (the body stands behind [`HEADER`] bytes).
pub fn decode(encoded: &mut [u8]) -> Result<(Header, &mut [u8]), FrameError> {
    let length = cobs::decode_in_place(encoded).map_err(|_| FrameError::Cobs)?;
    let frame = encoded.get_mut(..length).ok_or(FrameError::Cobs)?;
    let body = length.checked_sub(CRC_LENGTH).filter(|length| *length >= HEADER);
    let (plain, found) = frame.split_at_mut(body.ok_or(FrameError::TooShort)?);
    if *found != crc(plain) {
        return Err(FrameError::Crc);
    }
    let header = plain.first_chunk().and_then(|bytes| Header::decode(*bytes));
    Ok((header.ok_or(FrameError::Header)?, plain))
}

/// Collects the bytes between zeros, in a buffer of `N` bytes. What is longer is dropped up to the next
/// zero.
#[derive(Clone, Debug)]
pub struct Receiver<const N: usize> {
    buffer: [u8; N],
    length: usize,
    /// A whole frame was handed out; the buffer is still the caller's.
    is_done: bool,
}

impl<const N: usize> Default for Receiver<N> {
    fn default() -> Self {
        Self { buffer: [0; N], length: 0, is_done: false }
    }
}

impl<const N: usize> Receiver<N> {
    /// Takes bytes until a frame is complete; says how many it took, and whether something stands between
    /// two zeros now: then [`Receiver::frame`] has it, until more is pushed.
    pub fn push(&mut self, bytes: &[u8]) -> (usize, bool) {
        if self.is_done {
            self.clear();
        }
        let end = bytes.iter().position(|byte| *byte == 0);
        let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        // Counted on beyond the buffer: that is how it is known to be too long.
        let room = self.buffer.get_mut(self.length..).unwrap_or_default();
        room.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
        self.length = self.length.saturating_add(part.len());
        match end {
            Some(end) => {
                self.is_done = self.length > 0;
                (end + 1, self.is_done)
            }
            None => (bytes.len(), false),
        }
    }

    /// What stood between the last two zeros, taken apart.
    pub fn frame(&mut self) -> Result<(Header, &mut [u8]), FrameError> {
        decode(self.buffer.get_mut(..self.length).ok_or(FrameError::TooLong)?)
    }

    /// The buffer itself, for who is done with the frame and needs room.
    pub fn buffer(&mut self) -> &mut [u8; N] {
        self.is_done = true;
        &mut self.buffer
    }

    /// How many bytes came since the last zero.
    pub fn pending(&self) -> usize {
        if self.is_done { 0 } else { self.length }
    }

    /// Forgets what came since the last zero.
    pub fn clear(&mut self) {
        self.length = 0;
        self.is_done = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn the_checksum_is_the_one_with_the_published_check_value() {
        assert_eq!(crc(b"123456789"), CRC_CHECK.to_le_bytes());
    }

    /// No three wrong bits of the longest frame, and no four of one of up to 3,006 bits, leave the
    /// checksum as it was: what docs/protocol.md §11 says, computed from the polynomial.
    #[test]
    fn three_wrong_bits_are_always_found_and_four_in_short_frames() {
        // The remainder of x^n, for the bits of a frame from its last.
        let mut power = 1u32;
        let powers: Vec<u32> = std::iter::repeat_with(|| {
            let now = power;
            let carry = if power >> 31 == 1 { 0x04c1_1db7 } else { 0 };
            power = power << 1 ^ carry;
            now
        })
        .take(8 * MAX_WIRE)
        .collect();
        // Errors can be moved to the end, so one of the bits is the last.
        let known: std::collections::BTreeSet<u32> = powers.iter().copied().collect();
        assert_eq!(known.len(), powers.len(), "two");
        assert!(powers[1..].iter().all(|other| !known.contains(&(1 ^ other))), "three");
        let four = |bits: usize| {
            let two: std::collections::BTreeSet<u32> =
                powers[1..bits].iter().map(|n| 1 ^ n).collect();
            // Most are not among them by their low bits already.
            let low = |value: u32| usize::try_from(value & 0xffff).unwrap();
            let mut filter = std::vec![false; 1 << 16];
            for value in &two {
                filter[low(*value)] = true;
            }
            let is_known = |value: u32| filter[low(value)] && two.contains(&value);
            (1..bits).any(|at| powers[1..at].iter().any(|other| is_known(powers[at] ^ other)))
        };
        assert!(!four(2_974 + 32));
        assert!(four(2_975 + 32));
    }

    #[test]
    fn a_frame_of_any_length_reads_back_and_fits_where_it_says() {
        for length in HEADER..1_200 {
            let mut plain: Vec<u8> =
                (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            plain[0] = 5;
            plain[1] = 0x41;
            for fill in [None, Some(0), Some(0xff)] {
                if let Some(fill) = fill {
                    plain[HEADER..].fill(fill);
                }
                let mut wire = [0u8; 1_300];
                let used = encode(&plain, &mut wire).unwrap();
                assert!(used <= wire_length(length), "{length}: {used}");
                assert!(length <= capacity(wire_length(length)), "{length}");
                assert_eq!(encode(&plain, &mut wire[..used - 1]), None);
                assert_eq!((wire[0], wire[used - 1]), (0, 0));
                assert!(wire[1..used - 1].iter().all(|byte| *byte != 0));
                let (header, frame) = decode(&mut wire[1..used - 1]).unwrap();
                assert_eq!(frame, plain);
                assert_eq!((header.address, header.kind, header.sequence), (5, Kind::Sealed, 1));
            }
        }
    }

    #[test]
    fn what_is_said_to_fit_a_wire_fits_it() {
        for wire in 16..1_300 {
            let plain = std::vec![1u8; capacity(wire)];
            assert!(encode(&plain, &mut std::vec![0; wire]).is_some(), "{wire}");
        }
    }

    #[test]
    fn every_header_reads_back_and_no_other_is_taken() {
        let mut taken = 0;
        for bytes in (0..=u8::MAX).flat_map(|a| (0..=u8::MAX).map(move |b| [a, b])) {
            if let Some(header) = Header::decode(bytes) {
                assert_eq!(header.encode(), bytes);
                taken += 1;
            }
        }
        assert_eq!(taken, 126 * 2 * 5 * 32);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let plain = [7, 0x61, 1, 2, 3, 0, 0, 9];
        let mut wire = [0u8; 32];
        let used = encode(&plain, &mut wire).unwrap();
        for bit in 0..(used - 2) * 8 {
            let mut bad = wire;
            bad[1 + bit / 8] ^= 1 << (bit % 8);
            let part = bad[1..used - 1].split_mut(|byte| *byte == 0);
            for piece in part.filter(|piece| !piece.is_empty()) {
                assert!(decode(piece).is_err(), "{bit}");
            }
        }
    }

    #[test]
    fn a_receiver_finds_frames_in_noise_and_survives_what_is_too_long() {
        let mut wire = [0u8; 64];
        let used = encode(&[3, 0x21, 9, 9], &mut wire).unwrap();
        let mut line = std::vec![1, 2, 3];
        line.extend_from_slice(&wire[..used]);
        line.extend_from_slice(&[5; 100]);
        line.extend_from_slice(&wire[..used]);
        line.extend_from_slice(&wire[..used]);
        for step in 1..line.len() {
            let mut receiver = Receiver::<40>::default();
            let mut found = Vec::new();
            for chunk in line.chunks(step) {
                let mut rest = chunk;
                while !rest.is_empty() {
                    let (taken, done) = receiver.push(rest);
                    rest = &rest[taken..];
                    if done {
                        found.push(receiver.frame().map(|(_, frame)| frame.to_vec()));
                    }
                }
            }
            let good = found.iter().filter(|each| each.as_deref() == Ok(&[3, 0x21, 9, 9]));
            assert_eq!(good.count(), 3, "{step}");
            assert!(found.contains(&Err(FrameError::TooLong)), "{step}");
            assert_eq!(found.len(), 5, "{step}");
        }
    }
}
