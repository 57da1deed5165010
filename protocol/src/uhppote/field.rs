//! The field types of UHPPOTE frames. Each reads and writes a fixed number of bytes and has a text
//! form for JSON; a clock that was never set gives zero dates, which are values and not errors.

use core::fmt;
use core::net::Ipv4Addr;
use core::str::FromStr;

use super::Frame;
use crate::text::{ParseError, serde_as_text, write_hex};

/// Why bytes are not a field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldError {
    /// A nibble above 9 in a BCD value.
    Bcd,
    /// A date or time that no calendar has.
    Calendar,
    /// A boolean other than 0 and 1.
    Boolean,
    /// Another magic word.
    Magic,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bcd => "not binary-coded decimal",
            Self::Calendar => "no such date or time",
            Self::Boolean => "neither 0 nor 1",
            Self::Magic => "wrong magic word",
        })
    }
}

/// A value that stands at a fixed place of a frame.
pub trait Field: Sized + Copy {
    /// How many bytes it takes.
    const SIZE: usize;
    /// Reads it at `offset`.
    fn read(frame: &Frame, offset: usize) -> Result<Self, FieldError>;
    /// Writes it at `offset`.
    fn write(self, frame: &mut Frame, offset: usize);
}

fn take<const N: usize>(frame: &Frame, offset: usize) -> [u8; N] {
    core::array::from_fn(|i| frame.get(offset + i).copied().unwrap_or(0))
}

fn put<const N: usize>(frame: &mut Frame, offset: usize, bytes: [u8; N]) {
    frame.iter_mut().skip(offset).zip(bytes).for_each(|(to, from)| *to = from);
}

macro_rules! integer {
    ($($int:ty: $size:literal),*) => {$(
        impl Field for $int {
            const SIZE: usize = $size;

            fn read(frame: &Frame, offset: usize) -> Result<Self, FieldError> {
                Ok(Self::from_le_bytes(take(frame, offset)))
            }

            fn write(self, frame: &mut Frame, offset: usize) {
                put(frame, offset, self.to_le_bytes());
            }
        }
    )*};
}

integer!(u8: 1, u16: 2, u32: 4);

impl Field for bool {
    const SIZE: usize = 1;

    fn read(frame: &Frame, offset: usize) -> Result<Self, FieldError> {
        match take(frame, offset) {
            [0] => Ok(false),
            [1] => Ok(true),
            [_] => Err(FieldError::Boolean),
        }
    }

    fn write(self, frame: &mut Frame, offset: usize) {
        put(frame, offset, [u8::from(self)]);
    }
}

impl Field for Ipv4Addr {
    const SIZE: usize = 4;

    fn read(frame: &Frame, offset: usize) -> Result<Self, FieldError> {
        Ok(Self::from(take::<4>(frame, offset)))
    }

    fn write(self, frame: &mut Frame, offset: usize) {
        put(frame, offset, self.octets());
    }
}

/// A PIN or passcode: three bytes, little-endian. Secret: `Debug` does not show it.
#[derive(Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Pin(pub u32);

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Field for Pin {
    const SIZE: usize = 3;

    fn read(frame: &Frame, offset: usize) -> Result<Self, FieldError> {
        let [a, b, c] = take(frame, offset);
        Ok(Self(u32::from_le_bytes([a, b, c, 0])))
    }

    fn write(self, frame: &mut Frame, offset: usize) {
        let [a, b, c, _] = self.0.to_le_bytes();
        put(frame, offset, [a, b, c]);
    }
}

/// The magic word that guards dangerous functions. It has one value only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Magic;

const MAGIC: [u8; 4] = 0x55aa_aa55_u32.to_le_bytes();

impl Field for Magic {
    const SIZE: usize = 4;

    fn read(frame: &Frame, offset: usize) -> Result<Self, FieldError> {
        if take(frame, offset) == MAGIC { Ok(Self) } else { Err(FieldError::Magic) }
    }

    fn write(self, frame: &mut Frame, offset: usize) {
        put(frame, offset, MAGIC);
    }
}

impl fmt::Display for Magic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("55aaaa55")
    }
}

impl FromStr for Magic {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        (text == "55aaaa55").then_some(Self).ok_or(ParseError { expected: "55aaaa55" })
    }
}

serde_as_text!(Magic, u32, |_| 0x55aa_aa55, |word| (word == 0x55aa_aa55).then_some(Magic));

/// A MAC address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl Field for Mac {
    const SIZE: usize = 6;

    fn read(frame: &Frame, offset: usize) -> Result<Self, FieldError> {
        Ok(Self(take(frame, offset)))
    }

    fn write(self, frame: &mut Frame, offset: usize) {
        put(frame, offset, self.0);
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(i, byte)| {
            if i > 0 {
                f.write_str(":")?;
            }
            write_hex(f, &[*byte])
        })
    }
}

impl FromStr for Mac {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = ParseError { expected: "a MAC address such as 00:12:23:34:45:56" };
        let mut parts = text.split(':');
        let mut out = [0; 6];
        for byte in &mut out {
            let part = parts.next().ok_or(error)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| error)?;
        }
        if parts.next().is_some() { Err(error) } else { Ok(Self(out)) }
    }
}

serde_as_text!(Mac, [u8; 6], |mac| mac.0, |bytes| Some(Mac(bytes)));

/// A firmware version: two bytes of BCD. Text: `v8.92`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Before the dot.
    pub major: u8,
    /// After the dot.
    pub minor: u8,
}

impl Field for Version {
    const SIZE: usize = 2;

    fn read(frame: &Frame, offset: usize) -> Result<Self, FieldError> {
        let [major, minor] = bcd(take(frame, offset))?;
        Ok(Self { major, minor })
    }

    fn write(self, frame: &mut Frame, offset: usize) {
        put(frame, offset, [to_bcd(self.major), to_bcd(self.minor)]);
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{:02}", self.major, self.minor)
    }
}

impl FromStr for Version {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let [major, minor] = numbers(text.strip_prefix('v').unwrap_or(text), ".")
            .ok_or(ParseError { expected: "a version such as v8.92" })?;
        Ok(Self { major, minor })
    }
}

serde_as_text!(Version, (u8, u8), |v| (v.major, v.minor), |(major, minor)| Some(Version {
    major,
    minor
}));

/// A calendar date, or the zero date of an unset clock. Text: `2022-08-23`, or nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// Year, 0 where unset.
    pub year: u16,
    /// Month, from 1.
    pub month: u8,
    /// Day, from 1.
    pub day: u8,
}

impl Date {
    /// The zero date.
    pub const UNSET: Self = Self { year: 0, month: 0, day: 0 };

    /// A date that the calendar has, or the zero date.
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let date = Self { year, month, day };
        (date == Self::UNSET || date.exists()).then_some(date)
    }

    fn exists(self) -> bool {
        let leap = self.year.is_multiple_of(4)
            && (!self.year.is_multiple_of(100) || self.year.is_multiple_of(400));
        let days = match self.month {
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            1..=12 => 31,
            _ => return false,
        };
        self.year <= 9999 && (1..=days).contains(&self.day)
    }

    fn bytes(self) -> [u8; 4] {
        let century = u8::try_from(self.year / 100).unwrap_or(99);
        let year = u8::try_from(self.year % 100).unwrap_or(99);
        [to_bcd(century), to_bcd(year), to_bcd(self.month), to_bcd(self.day)]
    }

    fn from_bytes(bytes: [u8; 4]) -> Result<Self, FieldError> {
        let [century, year, month, day] = bcd(bytes)?;
        Self::new(u16::from(century) * 100 + u16::from(year), month, day)
            .ok_or(FieldError::Calendar)
    }
}

impl Field for Date {
    const SIZE: usize = 4;

    fn read(frame: &Frame, offset: usize) -> Result<Self, FieldError> {
        Self::from_bytes(take(frame, offset))
    }

    fn write(self, frame: &mut Frame, offset: usize) {
        put(frame, offset, self.bytes());
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::UNSET {
            return Ok(());
        }
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl FromStr for Date {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = ParseError { expected: "a date such as 2022-08-23, or nothing" };
        if text.is_empty() {
            return Ok(Self::UNSET);
        }
        let (year, rest) = text.split_once('-').ok_or(error)?;
        let [month, day] = numbers(rest, "-").ok_or(error)?;
        Self::new(year.parse().map_err(|_| error)?, month, day).ok_or(error)
    }
}

serde_as_text!(Date, (u16, u8, u8), |d| (d.year, d.month, d.day), |(y, m, d)| Date::new(y, m, d));

/// The date of get-status: three bytes, the century left out (20 is meant).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShortDate(pub Date);

impl Field for ShortDate {
    const SIZE: usize = 3;

    fn read(frame: &Frame, offset: usize) -> Result<Self, FieldError> {
        match take(frame, offset) {
            [0, 0, 0] => Ok(Self(Date::UNSET)),
            [year, month, day] => Date::from_bytes([0x20, year, month, day]).map(Self),
        }
    }

    fn write(self, frame: &mut Frame, offset: usize) {
        let [_, year, month, day] = self.0.bytes();
        put(frame, offset, [year, month, day]);
    }
}

impl fmt::Display for ShortDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ShortDate {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        text.parse().map(Self)
    }
}

serde_as_text!(ShortDate, Date, |d| d.0, |d| Some(ShortDate(d)));

/// A time of day, three bytes of BCD. Text: `09:49:39`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
}

impl Time {
    /// A time that a clock shows.
    pub fn new(hour: u8, minute: u8, second: u8) -> Option<Self> {
        (hour < 24 && minute < 60 && second < 60).then_some(Self { hour, minute, second })
    }

    fn from_bytes(bytes: [u8; 3]) -> Result<Self, FieldError> {
        let [hour, minute, second] = bcd(bytes)?;
        Self::new(hour, minute, second).ok_or(FieldError::Calendar)
    }
}

impl Field for Time {
    const SIZE: usize = 3;

    fn read(frame: &Frame, offset: usize) -> Result<Self, FieldError> {
        Self::from_bytes(take(frame, offset))
    }

    fn write(self, frame: &mut Frame, offset: usize) {
        put(frame, offset, [to_bcd(self.hour), to_bcd(self.minute), to_bcd(self.second)]);
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}:{:02}", self.hour, self.minute, self.second)
    }
}

impl FromStr for Time {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        numbers(text, ":")
            .and_then(|[hour, minute, second]| Self::new(hour, minute, second))
            .ok_or(ParseError { expected: "a time such as 09:49:39" })
    }
}

serde_as_text!(Time, (u8, u8, u8), |t| (t.hour, t.minute, t.second), |(h, m, s)| Time::new(
    h, m, s
));

/// A time of day in hours and minutes, two bytes of BCD. Text: `08:30`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HourMinute {
    /// 0 to 24: schedules end at 24:00.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
}

impl HourMinute {
    fn new(hour: u8, minute: u8) -> Option<Self> {
        (minute < 60 && (hour < 24 || (hour == 24 && minute == 0))).then_some(Self { hour, minute })
    }
}

impl Field for HourMinute {
    const SIZE: usize = 2;

    fn read(frame: &Frame, offset: usize) -> Result<Self, FieldError> {
        let [hour, minute] = bcd(take(frame, offset))?;
        Self::new(hour, minute).ok_or(FieldError::Calendar)
    }

    fn write(self, frame: &mut Frame, offset: usize) {
        put(frame, offset, [to_bcd(self.hour), to_bcd(self.minute)]);
    }
}

impl fmt::Display for HourMinute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.hour, self.minute)
    }
}

impl FromStr for HourMinute {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        numbers(text, ":")
            .and_then(|[hour, minute]| Self::new(hour, minute))
            .ok_or(ParseError { expected: "a time such as 08:30" })
    }
}

serde_as_text!(HourMinute, (u8, u8), |t| (t.hour, t.minute), |(h, m)| HourMinute::new(h, m));

/// Local date and time, or all zero where the clock was never set. Text: `2022-08-23 09:48:09`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DateTime {
    /// The date.
    pub date: Date,
    /// The time of day.
    pub time: Time,
}

impl DateTime {
    /// The zero date-time.
    pub const UNSET: Self =
        Self { date: Date::UNSET, time: Time { hour: 0, minute: 0, second: 0 } };

    /// Whether the clock that gave this was ever set.
    pub fn is_set(self) -> bool {
        self.date != Date::UNSET
    }
}

impl Field for DateTime {
    const SIZE: usize = 7;

    fn read(frame: &Frame, offset: usize) -> Result<Self, FieldError> {
        Ok(Self { date: Date::read(frame, offset)?, time: Time::read(frame, offset + Date::SIZE)? })
    }

    fn write(self, frame: &mut Frame, offset: usize) {
        self.date.write(frame, offset);
        self.time.write(frame, offset + Date::SIZE);
    }
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_set() { write!(f, "{} {}", self.date, self.time) } else { Ok(()) }
    }
}

impl FromStr for DateTime {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.is_empty() {
            return Ok(Self::UNSET);
        }
        let error = ParseError { expected: "a date and time such as 2022-08-23 09:48:09" };
        let (date, time) = text.split_once(' ').ok_or(error)?;
        Ok(Self { date: date.parse()?, time: time.parse()? })
    }
}

serde_as_text!(DateTime, (Date, Time), |d| (d.date, d.time), |(date, time)| Some(DateTime {
    date,
    time
}));

fn bcd<const N: usize>(bytes: [u8; N]) -> Result<[u8; N], FieldError> {
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(bytes) {
        let (high, low) = (from >> 4, from & 0x0f);
        if high > 9 || low > 9 {
            return Err(FieldError::Bcd);
        }
        *to = high * 10 + low;
    }
    Ok(out)
}

fn to_bcd(value: u8) -> u8 {
    let value = value % 100;
    (value / 10) << 4 | (value % 10)
}

fn numbers<const N: usize>(text: &str, separator: &str) -> Option<[u8; N]> {
    let mut parts = text.split(separator);
    let mut out = [0; N];
    for to in &mut out {
        let part = parts.next()?;
        if part.is_empty() || part.len() > 2 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *to = part.parse().ok()?;
    }
    parts.next().is_none().then_some(out)
}
