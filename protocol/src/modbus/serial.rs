//! What frames have on a serial line besides what they say: a checksum, and silence around them.
//!
//! Source: MODBUS over serial line, specification and implementation guide, 1.02 (2.5.1.1, 2.5.1.2).

use core::time::Duration;

use crc::{CRC_16_MODBUS, Crc};

const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_MODBUS);

/// The silence of a line that is so fast that 3.5 of its characters are shorter.
const SHORTEST_SILENCE: Duration = Duration::from_micros(1_750);

/// How much silence ends a frame where a character takes so long: 3.5 of them.
pub fn silence(character: Duration) -> Duration {
    (character * 7 / 2).max(SHORTEST_SILENCE)
}

/// The checksum of a frame, which stands behind it with its low byte first.
pub fn checksum(frame: &[u8]) -> u16 {
    CRC.checksum(frame)
}

/// Whether bytes end with their own checksum.
pub fn is_whole(bytes: &[u8]) -> bool {
    bytes.split_last_chunk().is_some_and(|(frame, sum)| checksum(frame) == u16::from_le_bytes(*sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_ends_with_its_checksum() {
        // The request for holding register 107 and the two behind it of unit 17.
        let frame = [0x11, 0x03, 0x00, 0x6b, 0x00, 0x03, 0x76, 0x87];
        assert!(is_whole(&frame));
        for at in 0..frame.len() * 8 {
            let mut flipped = frame;
            flipped[at / 8] ^= 1 << (at % 8);
            assert!(!is_whole(&flipped), "bit {at}");
        }
        assert!(!is_whole(&frame[..1]) && !is_whole(&[]));
    }

    #[test]
    fn silence_is_three_characters_and_a_half_and_never_very_short() {
        assert_eq!(silence(Duration::from_millis(2)), Duration::from_millis(7));
        assert_eq!(silence(Duration::from_micros(95)), SHORTEST_SILENCE);
    }
}
