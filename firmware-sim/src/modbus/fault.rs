//! How a device misbehaves, as people write it, and what that makes of an answer. Pure and seeded.
//!
//! These are faults of the device itself, the same behind every plug. What a serial line does to what is said on it,
//! and a station's faults there, are [`mod@crate::line`]'s.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::request::{is_exception, is_read};
use crate::random::Random;

/// The latest answer; above any time-out that a host could sensibly have.
pub const MAX_LATE_MS: u64 = 60_000;

/// A device's misbehaviour. The default is a healthy device; numbers without a unit are probabilities from 0 to 1,
/// where 1 is always, for each request that the device hears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UnitFaults {
    /// For how many requests this holds, after which the device is healthy; left out: until it is told otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
    /// It does not hear the request.
    pub deaf: f64,
    /// It does what it is asked for and says nothing.
    pub silent: f64,
    /// It answers late by `late_ms`.
    pub late: f64,
    /// How late, in milliseconds.
    pub late_ms: u64,
    /// It refuses with `exception_code`, and does not do what it is asked for.
    pub exception: f64,
    /// With which code; 0 is 4, a failure of the device.
    pub exception_code: u8,
    /// The answer carries the number of another unit; see [`other_than`](super::unit::other_than).
    pub wrong_unit: f64,
    /// The answer ends too early: its count says more than there is.
    pub short: f64,
    /// The answer goes on for too long: its count says less than there is.
    pub long: f64,
    /// The answer to a read has one register, or eight bits, more than was asked for, and counts them.
    pub other_count: f64,
    /// A zero byte comes before the answer.
    pub zero: f64,
    /// Random bytes come instead of the answer, as many.
    pub garbage: f64,
    /// It does what it is asked for and closes the connection; without one, it says nothing.
    pub hang_up: f64,
    /// What was read is random.
    pub nonsense: f64,
}

impl UnitFaults {
    /// What is wrong with these values.
    pub fn check(&self) -> Result<(), String> {
        for (name, value) in self.probabilities() {
            if !(0.0..=1.0).contains(&value) {
                return Err(format!("{name} is {value}, not a probability from 0 to 1"));
            }
        }
        if self.late_ms > MAX_LATE_MS {
            return Err(format!("late_ms is {}, above {MAX_LATE_MS}", self.late_ms));
        }
        if self.requests == Some(0) {
            return Err("requests is 0; leave it out, or the faults".to_owned());
        }
        if self.exception_code >= 0x80 {
            return Err(format!("exception_code is {}; no device has it", self.exception_code));
        }
        Ok(())
    }

    fn probabilities(&self) -> [(&'static str, f64); 12] {
        [
            ("deaf", self.deaf),
            ("silent", self.silent),
            ("late", self.late),
            ("exception", self.exception),
            ("wrong_unit", self.wrong_unit),
            ("short", self.short),
            ("long", self.long),
            ("other_count", self.other_count),
            ("zero", self.zero),
            ("garbage", self.garbage),
            ("hang_up", self.hang_up),
            ("nonsense", self.nonsense),
        ]
    }
}

/// What is wrong with one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault of its own")]
pub(super) struct Drawn {
    pub(super) deaf: bool,
    pub(super) silent: bool,
    pub(super) late: Duration,
    pub(super) exception: Option<u8>,
    pub(super) wrong_unit: bool,
    short: bool,
    long: bool,
    other_count: bool,
    pub(super) zero: bool,
    pub(super) garbage: bool,
    pub(super) hang_up: bool,
    nonsense: bool,
}

/// A device's faults, and the chance that decides about each request.
#[derive(Clone, Debug)]
pub(super) struct Manners {
    faults: UnitFaults,
    random: Random,
}

/// Keeps the draws of Modbus devices apart from all others of a seed.
const STREAM: u64 = 1 << 48;

/// What an exception says where no code is given: the device failed.
const DEVICE_FAILURE: u8 = 4;

impl Manners {
    pub(super) fn new(seed: u64, serial: u32) -> Self {
        let random = Random::new(seed, STREAM | u64::from(serial));
        Self { faults: UnitFaults::default(), random }
    }

    pub(super) fn faults(&self) -> UnitFaults {
        self.faults
    }

    pub(super) fn set(&mut self, faults: UnitFaults) {
        self.faults = faults;
    }

    /// What is wrong with the next request.
    pub(super) fn draw(&mut self) -> Drawn {
        let faults = self.faults;
        match faults.requests.map(|left| left.saturating_sub(1)) {
            Some(0) => self.faults = UnitFaults::default(),
            Some(left) => self.faults.requests = Some(left),
            None => {}
        }
        let mut drawn = |probability| self.random.chance(probability);
        let code = if faults.exception_code == 0 { DEVICE_FAILURE } else { faults.exception_code };
        Drawn {
            deaf: drawn(faults.deaf),
            silent: drawn(faults.silent),
            late: if drawn(faults.late) {
                Duration::from_millis(faults.late_ms)
            } else {
                Duration::ZERO
            },
            exception: drawn(faults.exception).then_some(code),
            wrong_unit: drawn(faults.wrong_unit),
            short: drawn(faults.short),
            long: drawn(faults.long),
            other_count: drawn(faults.other_count),
            zero: drawn(faults.zero),
            garbage: drawn(faults.garbage),
            hang_up: drawn(faults.hang_up),
            nonsense: drawn(faults.nonsense),
        }
    }

    /// What becomes of an answer.
    pub(super) fn spoil(&mut self, mut answer: Vec<u8>, drawn: Drawn) -> Vec<u8> {
        let function = answer.first().copied().unwrap_or_default();
        let is_data = is_read(function) && !is_exception(&answer);
        // Bits come by the byte, registers by two.
        let unit = if matches!(function, 1 | 2) { 1 } else { 2 };
        if drawn.nonsense && is_data {
            answer.iter_mut().skip(2).for_each(|byte| *byte = self.byte());
        }
        if drawn.other_count
            && is_data
            && let Some(count) = answer.get_mut(1)
        {
            *count = count.wrapping_add(unit);
            answer.extend((0..unit).map(|_| 0));
        }
        if drawn.short {
            answer.truncate(answer.len().saturating_sub(usize::from(unit)).max(1));
        }
        if drawn.long {
            answer.extend((0..unit).map(|_| 0));
        }
        answer
    }

    /// So many random bytes.
    pub(super) fn garbage(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.byte()).collect()
    }

    fn byte(&mut self) -> u8 {
        self.random.draw().to_le_bytes()[0]
    }
}
