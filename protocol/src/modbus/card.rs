//! A card number from registers.
//!
//! Devices differ in which of a number's words and bytes comes first, and at which end of the registers its bits
//! are. What the bits mean is the card's format, most often one of Wiegand's: a parity bit at each end, a facility
//! code and a number between them.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::transaction::Credential;

/// How many registers a card may take: as much as a raw record holds, with the head of it.
pub const MAX_REGISTERS: usize = 24;

const MAX_BYTES: usize = MAX_REGISTERS * 2;

/// Which of two comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum First {
    /// The one that counts for more.
    #[default]
    High,
    /// The one that counts for less.
    Low,
}

/// At which end of the registers a card's bits are, where there is room for more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Align {
    /// The last bit is the lowest one: zeros come before them.
    #[default]
    Right,
    /// The first bit is the highest one: what follows them is no part of the card.
    Left,
}

/// What the bits mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One number.
    Raw,
    /// 26 bits (H10301): 8 of a facility code, 16 of a number.
    Wiegand26,
    /// 34 bits: 16 and 16.
    Wiegand34,
    /// 37 bits with a facility code (H10304): 16 and 19.
    Wiegand37,
}

impl Format {
    /// How many bits it has; `None` where any number may be.
    pub const fn bits(self) -> Option<u16> {
        match self {
            Self::Raw => None,
            Self::Wiegand26 => Some(26),
            Self::Wiegand34 => Some(34),
            Self::Wiegand37 => Some(37),
        }
    }

    /// How many bits the facility code has, and how many those are that each parity bit is over, without it.
    const fn parts(self) -> Option<(u32, u32)> {
        match self {
            Self::Raw => None,
            Self::Wiegand26 => Some((8, 12)),
            Self::Wiegand34 => Some((16, 16)),
            // Of 35 bits the middle one counts for both.
            Self::Wiegand37 => Some((16, 18)),
        }
    }
}

/// How a device shows a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Which of two registers comes first.
    pub words: First,
    /// Which of a register's bytes does.
    pub bytes: First,
    /// Where the bits are.
    pub align: Align,
    /// What they mean.
    pub format: Format,
}

/// Why there is no card number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CardError {
    /// The registers hold nothing but zeros.
    Empty,
    /// There are more registers, or bits, than a card may have.
    TooLong,
    /// It has another number of bits than its format.
    Bits {
        /// So many.
        found: u16,
    },
    /// There are bits where the card has none.
    Outside,
    /// A parity bit is wrong.
    Parity,
}

impl fmt::Display for CardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("its registers hold zeros"),
            Self::TooLong => f.write_str("it is longer than a number of 64 bits"),
            Self::Bits { found } => write!(f, "it has {found} bits"),
            Self::Outside => f.write_str("there are bits where it has none"),
            Self::Parity => f.write_str("a parity bit is wrong"),
        }
    }
}

impl core::error::Error for CardError {}

impl Layout {
    /// The number in these registers, of which the device says that so many bits are a card's; `None` where it says
    /// nothing of that.
    ///
    /// Of Wiegand's formats it is the facility code and the number as one decimal number, as readers of the make
    /// show it: facility 81 and number 65,536 less one are 8,165,535 (the number has five digits, and six where it
    /// has more bits than 16).
    ///
    /// # Errors
    /// Where there is none. Nothing is guessed: a number that is wrong is another person's.
    pub fn read(self, registers: &[u16], bits: Option<u16>) -> Result<Credential, CardError> {
        let bytes = self.bytes(registers)?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(CardError::Empty);
        }
        let room = u16::try_from(bytes.len() * 8).map_err(|_| CardError::TooLong)?;
        let wanted = self.format.bits();
        let bits = bits.or(wanted).unwrap_or(room);
        if wanted.is_some_and(|wanted| wanted != bits) || bits == 0 || bits > room {
            return Err(CardError::Bits { found: bits });
        }
        let number = self.number(&bytes, room, bits)?;
        let Some((facility, half)) = self.format.parts() else { return Ok(Credential(number)) };
        wiegand(number, u32::from(bits), facility, half)
    }

    /// So many registers with this card in them, of which the device says that so many bits are the card's; `None`
    /// where it says nothing of that. The inverse of [`Layout::read`], for whoever is a device.
    ///
    /// `None` where the card does not fit, or where nobody would read it from there: a raw number 0 is no card.
    pub fn write(
        self,
        card: Credential,
        bits: Option<u16>,
        registers: u16,
    ) -> Option<heapless::Vec<u16, MAX_REGISTERS>> {
        let room = registers.checked_mul(16)?;
        let wanted = self.format.bits();
        let bits = bits.or(wanted).unwrap_or(room);
        if wanted.is_some_and(|wanted| wanted != bits) || bits == 0 || bits > room {
            return None;
        }
        let number = match self.format.parts() {
            Some((facility, half)) => wiegand_bits(card, u32::from(bits), facility, half)?,
            None => card.0,
        };
        if number == 0 || number.checked_shr(u32::from(bits)).unwrap_or(0) != 0 {
            return None;
        }
        let behind = match self.align {
            Align::Right => 0,
            Align::Left => room - bits,
        };
        let mut filled = heapless::Vec::<u16, MAX_REGISTERS>::new();
        for place in (0..registers).rev() {
            // The 16 bits of this register, of which the lowest is so many bits from the end.
            let from_end = place * 16;
            let shifted = if from_end >= behind {
                number.checked_shr(u32::from(from_end - behind)).unwrap_or(0)
            } else {
                number.checked_shl(u32::from(behind - from_end)).unwrap_or(0)
            };
            let [.., high, low] = shifted.to_be_bytes();
            let register = match self.bytes {
                First::High => [high, low],
                First::Low => [low, high],
            };
            filled.push(u16::from_be_bytes(register)).ok()?;
        }
        match self.words {
            First::High => {}
            First::Low => filled.reverse(),
        }
        Some(filled)
    }

    /// How many bits a device says that this card has: those of its format, or those that it takes.
    pub fn width(self, card: Credential) -> u16 {
        let taken = u16::try_from(64 - card.0.leading_zeros()).unwrap_or(64);
        self.format.bits().unwrap_or(taken)
    }

    /// The bytes, the highest first.
    fn bytes(self, registers: &[u16]) -> Result<heapless::Vec<u8, MAX_BYTES>, CardError> {
        let mut bytes = heapless::Vec::new();
        let mut put = |register: u16| {
            let register = match self.bytes {
                First::High => register.to_be_bytes(),
                First::Low => register.to_le_bytes(),
            };
            bytes.extend_from_slice(&register).map_err(|_| CardError::TooLong)
        };
        match self.words {
            First::High => registers.iter().try_for_each(|register| put(*register))?,
            First::Low => registers.iter().rev().try_for_each(|register| put(*register))?,
        }
        Ok(bytes)
    }

    /// The bits of the card as a number.
    fn number(self, bytes: &[u8], room: u16, bits: u16) -> Result<u64, CardError> {
        let (skipped, dropped) = match self.align {
            Align::Right => (room - bits, 0),
            Align::Left => (0, room - bits),
        };
        let mut number = 0_u64;
        for place in 0..room {
            let byte = bytes.get(usize::from(place / 8)).copied().unwrap_or_default();
            let bit = byte >> (7 - place % 8) & 1;
            let is_inside = place >= skipped && place < room - dropped;
            match (is_inside, bit) {
                (true, bit) if number.leading_zeros() > 0 => {
                    number = number << 1 | u64::from(bit);
                }
                (true, _) => return Err(CardError::TooLong),
                (false, 0) => {}
                (false, _) => return Err(CardError::Outside),
            }
        }
        Ok(number)
    }
}

/// The number of one of Wiegand's formats: even parity over the first half, odd parity over the last.
fn wiegand(number: u64, bits: u32, facility: u32, half: u32) -> Result<Credential, CardError> {
    let last = |count: u32| (1_u64 << count) - 1;
    let first_half = number >> (bits - 1 - half) & last(half + 1);
    let last_half = number & last(half + 1);
    if !first_half.count_ones().is_multiple_of(2) || last_half.count_ones().is_multiple_of(2) {
        return Err(CardError::Parity);
    }
    let data = number >> 1 & last(bits - 2);
    let digits = bits - 2 - facility;
    let (code, card) = (data >> digits, data & last(digits));
    Ok(Credential(code * scale(digits) + card))
}

/// What the facility code is multiplied by, as readers show it: the number has as many digits as its largest.
const fn scale(digits: u32) -> u64 {
    if digits > 16 { 1_000_000 } else { 100_000 }
}

/// The inverse of [`wiegand`]; `None` where the format has no room for the card.
fn wiegand_bits(card: Credential, bits: u32, facility: u32, half: u32) -> Option<u64> {
    let last = |count: u32| (1_u64 << count) - 1;
    let digits = bits - 2 - facility;
    let (code, number) = (card.0 / scale(digits), card.0 % scale(digits));
    if code > last(facility) || number > last(digits) {
        return None;
    }
    let data = code << digits | number;
    let even = u64::from((data >> (bits - 2 - half)).count_ones() % 2);
    let odd = 1 - u64::from((data & last(half)).count_ones() % 2);
    Some(even << (bits - 1) | data << 1 | odd)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RAW: Layout =
        Layout { words: First::High, bytes: First::High, align: Align::Right, format: Format::Raw };

    /// A card of a format, by its parts, with parity bits counted one by one.
    fn card(format: Format, facility: u64, number: u64) -> u64 {
        let bits = format.bits().unwrap();
        let (facility_bits, half) = format.parts().unwrap();
        let data = bits - 2;
        let value = facility << (u32::from(data) - facility_bits) | number;
        let bit = |place: u16| value >> (data - 1 - place) & 1;
        let half = u16::try_from(half).unwrap();
        let even = (0..half).map(bit).sum::<u64>() % 2;
        let odd = 1 - (data - half..data).map(bit).sum::<u64>() % 2;
        even << (bits - 1) | value << 1 | odd
    }

    fn registers(number: u64) -> [u16; 4] {
        let bytes = number.to_be_bytes();
        [0, 1, 2, 3].map(|place| u16::from_be_bytes([bytes[2 * place], bytes[2 * place + 1]]))
    }

    #[test]
    fn orders_and_ends() {
        let number = Credential(0x0102_0304_0506_0708);
        let ordered = [0x0102, 0x0304, 0x0506, 0x0708];
        let (low, high) = (First::Low, First::High);
        for (words, bytes, registers) in [
            (high, high, ordered),
            (low, high, [0x0708, 0x0506, 0x0304, 0x0102]),
            (high, low, [0x0201, 0x0403, 0x0605, 0x0807]),
            (low, low, [0x0807, 0x0605, 0x0403, 0x0201]),
        ] {
            assert_eq!(Layout { words, bytes, ..RAW }.read(&registers, None), Ok(number));
        }
        let left = Layout { align: Align::Left, ..RAW };
        assert_eq!(left.read(&[0xabcd, 0xe000], Some(20)), Ok(Credential(0xabcde)));
        assert_eq!(left.read(&[0xabcd, 0xe000], Some(16)), Err(CardError::Outside));
        assert_eq!(RAW.read(&[0x000a, 0xbcde], Some(20)), Ok(Credential(0xabcde)));
        assert_eq!(RAW.read(&[0x000a, 0xbcde], Some(19)), Err(CardError::Outside));
    }

    /// A card that is printed with facility 81 and number 65,535 less 47: worked out by hand.
    #[test]
    fn a_known_card_of_26_bits() {
        // 0101 0001 and 1111 1111 1101 0000: seven ones in the first twelve, seven in the last twelve.
        let bits = 1 << 25 | 0b0101_0001 << 17 | 0b1111_1111_1101_0000 << 1;
        let layout = Layout { format: Format::Wiegand26, ..RAW };
        assert_eq!(layout.read(&registers(bits), None), Ok(Credential(8_165_488)));
        assert_eq!(card(Format::Wiegand26, 81, 65_488), bits);
    }

    #[test]
    fn what_is_no_card_is_told_apart() {
        let layout = Layout { format: Format::Wiegand26, ..RAW };
        let good = registers(card(Format::Wiegand26, 1, 2));
        assert_eq!(layout.read(&[0, 0], None), Err(CardError::Empty));
        assert_eq!(layout.read(&[], None), Err(CardError::Empty));
        assert_eq!(layout.read(&good, Some(34)), Err(CardError::Bits { found: 34 }));
        assert_eq!(layout.read(&good, Some(0)), Err(CardError::Bits { found: 0 }));
        assert_eq!(layout.read(&[0xffff], None), Err(CardError::Bits { found: 26 }));
        assert_eq!(RAW.read(&good, Some(65)), Err(CardError::Bits { found: 65 }));
        assert_eq!(RAW.read(&[0xffff; 5], None), Err(CardError::TooLong));
        assert_eq!(RAW.read(&[1; MAX_REGISTERS + 1], None), Err(CardError::TooLong));
        assert_eq!(RAW.read(&[0, 0, 0, 0, 7], None), Ok(Credential(7)));
    }

    /// By hand: the same known card at the left end, and words and bytes the other way round.
    #[test]
    fn a_known_card_is_shown_as_it_is() {
        let layout = Layout { format: Format::Wiegand26, align: Align::Left, ..RAW };
        let known = Credential(8_165_488);
        let bits: u32 = 1 << 25 | 0b0101_0001 << 17 | 0b1111_1111_1101_0000 << 1;
        let [a, b, c, d] = (bits << 6).to_be_bytes();
        let shown = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
        assert_eq!(layout.write(known, Some(26), 2).unwrap(), shown);
        let turned = Layout { words: First::Low, bytes: First::Low, ..layout };
        let expected = [u16::from_be_bytes([d, c]), u16::from_be_bytes([b, a])];
        assert_eq!(turned.write(known, None, 2).unwrap(), expected);
        assert_eq!(layout.write(Credential(25_600_000), None, 2), None, "no facility 256");
        assert_eq!(layout.write(Credential(65_536), None, 2), None, "no number 65,536");
        assert_eq!(RAW.write(Credential(0), None, 2), None);
        assert_eq!(RAW.write(Credential(0x1_0000), None, 1), None);
    }

    fn any_card() -> impl Strategy<Value = (Format, Credential)> {
        let raw = (any::<u64>(), 0..64_u32).prop_map(|(number, shift)| number >> shift);
        let wiegand = |facility: u64, number: u64, scale: u64| {
            (0..=facility, 0..=number).prop_map(move |(code, number)| code * scale + number)
        };
        prop_oneof![
            raw.prop_map(|card| (Format::Raw, Credential(card))),
            wiegand(255, 65_535, 100_000).prop_map(|card| (Format::Wiegand26, Credential(card))),
            wiegand(65_535, 65_535, 100_000).prop_map(|card| (Format::Wiegand34, Credential(card))),
            wiegand(65_535, 524_287, 1_000_000)
                .prop_map(|card| (Format::Wiegand37, Credential(card))),
        ]
    }

    proptest! {
        #[test]
        fn a_card_is_read_as_it_was_made(facility in 0..=255_u64, number in 0..=65_535_u64) {
            for format in [Format::Wiegand26, Format::Wiegand34, Format::Wiegand37] {
                let layout = Layout { format, ..RAW };
                let read = layout.read(&registers(card(format, facility, number)), None);
                let scale = if format == Format::Wiegand37 { 1_000_000 } else { 100_000 };
                prop_assert_eq!(read, Ok(Credential(facility * scale + number)));
            }
        }

        /// Whatever a device shows is read as the card that it was, and whatever can be read can be shown.
        #[test]
        fn what_is_written_is_read(
            (format, card) in any_card(),
            (low_words, low_bytes, left, is_told) in any::<(bool, bool, bool, bool)>(),
            registers in 0..=30_u16,
        ) {
            let order = |low| if low { First::Low } else { First::High };
            let align = if left { Align::Left } else { Align::Right };
            let layout = Layout { words: order(low_words), bytes: order(low_bytes), align, format };
            let width = layout.width(card);
            let told = is_told.then_some(width);
            let is_card = card.0 > 0 || format != Format::Raw;
            let fits = is_card && (1..=24).contains(&registers) && width <= registers * 16;
            match layout.write(card, told, registers) {
                Some(written) => {
                    prop_assert!(fits);
                    prop_assert_eq!(written.len(), usize::from(registers));
                    prop_assert_eq!(layout.read(&written, told), Ok(card));
                }
                None => prop_assert!(!fits, "{width} bits in {registers} registers"),
            }
        }

        #[test]
        fn a_card_that_does_not_fit_is_not_shown(card in any::<u64>(), bits in any::<u16>(), registers in any::<u16>()) {
            for format in [Format::Raw, Format::Wiegand26, Format::Wiegand34, Format::Wiegand37] {
                let layout = Layout { format, ..RAW };
                if let Some(written) = layout.write(Credential(card), Some(bits), registers) {
                    prop_assert_eq!(layout.read(&written, Some(bits)), Ok(Credential(card)));
                }
            }
        }

        /// One bit that is wrong is never another person's card.
        #[test]
        fn a_flipped_bit_is_no_card(facility in 0..=255_u64, number in 0..=65_535_u64, bit in 0..37_u32) {
            for format in [Format::Wiegand26, Format::Wiegand34, Format::Wiegand37] {
                let bits = u32::from(format.bits().unwrap());
                let layout = Layout { format, ..RAW };
                let flipped = card(format, facility, number) ^ 1 << (bit % bits);
                let read = layout.read(&registers(flipped), None);
                // All zeros are no card either.
                prop_assert!(matches!(read, Err(CardError::Parity | CardError::Empty)), "{:?}", read);
            }
        }

        #[test]
        fn nothing_panics(
            words in prop::collection::vec(any::<u16>(), 0..40),
            bits in prop::option::of(any::<u16>()),
            left in any::<bool>(),
        ) {
            let align = if left { Align::Left } else { Align::Right };
            for format in [Format::Raw, Format::Wiegand26, Format::Wiegand34, Format::Wiegand37] {
                let _ = Layout { align, format, ..RAW }.read(&words, bits);
            }
        }
    }
}
