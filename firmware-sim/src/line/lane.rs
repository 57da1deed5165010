//! One transmitter on a line: what it has to send, and exactly when each of its bytes passes. Pure.
//!
//! Bytes that follow each other without a gap are a run. The end of a byte is reckoned from the
//! begin of its run, in whole numbers, and rounded up to a nanosecond once: a run of a day ends to
//! the nanosecond where it should, and no byte ends too early.

use std::collections::VecDeque;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The speed of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speed {
    /// 0: bytes take no time.
    pub(super) baud: u64,
    pub(super) bits_per_byte: u64,
}

impl Speed {
    /// How many nanoseconds so many bytes take; rounded up. No overflow: a run is begun anew before
    /// it has two seconds' worth of characters, and a write has at most `MAX_WRITE` bytes.
    fn nanos(self, bytes: u64) -> u64 {
        match self.baud {
            0 => 0,
            baud => (bytes * self.bits_per_byte * NANOS_PER_SECOND).div_ceil(baud),
        }
    }

    /// How many whole bytes pass in so many nanoseconds, which are too few for all of them.
    fn bytes(self, nanos: u64) -> u64 {
        match self.baud {
            0 => 0,
            baud => nanos.saturating_mul(baud) / (self.bits_per_byte * NANOS_PER_SECOND),
        }
    }

    /// How many bits would have passed in so many nanoseconds.
    pub(super) fn bits(self, nanos: u64) -> u64 {
        nanos.saturating_mul(self.baud) / NANOS_PER_SECOND
    }
}

/// The most bytes of one write; more are several.
pub(super) const MAX_WRITE: usize = 65_536;

/// Bytes that were handed over at once, and are heard together.
#[derive(Clone, Debug, Default)]
pub(super) struct Write {
    pub(super) bytes: Vec<u8>,
    /// Not before this, in nanoseconds since the line began.
    pub(super) start: u64,
    /// How many of them have passed.
    pub(super) passed: usize,
    /// What was received of them.
    pub(super) heard: Vec<u8>,
    /// The sender loses its power with the last of them.
    pub(super) cut: bool,
}

/// A transmitter.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    speed: Speed,
    writes: VecDeque<Write>,
    /// How many bytes of `writes` have not passed.
    waiting: usize,
    /// When the run began, and how many bytes of it have passed.
    origin: u64,
    passed: u64,
    last_end: u64,
}

impl Lane {
    pub(super) fn new(speed: Speed) -> Self {
        Self { speed, writes: VecDeque::new(), waiting: 0, origin: 0, passed: 0, last_end: 0 }
    }

    pub(super) fn writes(&self) -> usize {
        self.writes.len()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// More to send, after what is being sent. `write` has at least one byte and at most
    /// [`MAX_WRITE`].
    pub(super) fn push(&mut self, write: Write) {
        self.waiting += write.bytes.len();
        self.writes.push_back(write);
        if self.writes.len() == 1 {
            self.begin();
        }
    }

    /// When the next byte begins, if there is one.
    pub(super) fn next_start(&self) -> Option<u64> {
        (!self.writes.is_empty()).then(|| self.at(0))
    }

    /// Whether it begins before then, or is in the middle of what was written at once.
    pub(super) fn breaks_silence(&self, until: u64) -> bool {
        self.writes.front().is_some_and(|write| write.passed > 0)
            || self.next_start().is_some_and(|start| start < until)
    }

    /// When the last byte that has passed ended.
    pub(super) fn last_end(&self) -> u64 {
        self.last_end
    }

    /// When the next byte has passed.
    pub(super) fn next_end(&self) -> Option<u64> {
        (!self.writes.is_empty()).then(|| self.at(1))
    }

    /// When the `bytes`-th byte from now has passed, or the last of its write, if that is earlier.
    pub(super) fn end_of(&self, bytes: usize) -> Option<u64> {
        let write = self.writes.front()?;
        Some(self.at(bytes.min(write.bytes.len() - write.passed)))
    }

    /// How many bytes of the first write will have passed by then.
    pub(super) fn passed_by(&self, time: u64) -> usize {
        let Some(write) = self.writes.front() else { return 0 };
        let left = write.bytes.len() - write.passed;
        if self.at(left) <= time {
            return left;
        }
        let all = self.speed.bytes(time.saturating_sub(self.origin));
        usize::try_from(all.saturating_sub(self.passed)).unwrap_or(usize::MAX).min(left)
    }

    /// The first write, whose next bytes are passing.
    pub(super) fn front(&mut self) -> Option<&mut Write> {
        self.writes.front_mut()
    }

    /// So many bytes of the first write have passed; returns it when these were its last.
    pub(super) fn pass(&mut self, bytes: usize) -> Option<Write> {
        let write = self.writes.front_mut()?;
        write.passed += bytes;
        self.waiting -= bytes;
        let done = write.passed == write.bytes.len();
        self.passed += u64::try_from(bytes).unwrap_or(0);
        // `baud` characters take `bits_per_byte` seconds exactly, so nothing is lost here.
        while self.speed.baud != 0 && self.passed > self.speed.baud {
            self.passed -= self.speed.baud;
            self.origin += self.speed.bits_per_byte * NANOS_PER_SECOND;
        }
        self.last_end = self.at(0);
        if !done {
            return None;
        }
        let write = self.writes.pop_front();
        self.begin();
        write
    }

    /// The first write is next: it goes on with the run, or begins one.
    fn begin(&mut self) {
        let end = self.at(0);
        if let Some(write) = self.writes.front()
            && write.start > end
        {
            self.origin = write.start;
            self.passed = 0;
        }
    }

    fn at(&self, bytes: usize) -> u64 {
        self.origin + self.speed.nanos(self.passed + u64::try_from(bytes).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(start: u64, bytes: usize) -> Write {
        Write { bytes: vec![0; bytes], start, ..Write::default() }
    }

    fn lane(baud: u64) -> Lane {
        Lane::new(Speed { baud, bits_per_byte: 10 })
    }

    #[test]
    fn bytes_end_where_they_should_to_the_nanosecond() {
        let mut lane = lane(115_200);
        lane.push(write(7, 30));
        assert_eq!(lane.next_start(), Some(7));
        // 10 bits at 115,200 baud are 86,805.5… ns.
        assert_eq!(lane.next_end(), Some(7 + 86_806));
        assert_eq!(lane.end_of(2), Some(7 + 173_612));
        assert_eq!(lane.end_of(99), Some(7 + 2_604_167));
        assert_eq!(lane.passed_by(7 + 173_611), 1);
        assert_eq!(lane.passed_by(7 + 173_612), 2);
        assert_eq!(lane.passed_by(u64::MAX), 30);
    }

    #[test]
    fn a_long_run_does_not_drift_however_it_is_cut() {
        let mut lane = lane(115_200);
        // Eight hours without a gap, in writes of a byte each that come a little too early.
        for _ in 0..115_200 {
            lane.push(write(0, 2_880));
            while lane.writes() > 0 {
                assert!(lane.passed < 2 * 115_200);
                lane.pass(1_440);
            }
        }
        assert_eq!(lane.last_end(), 28_800 * NANOS_PER_SECOND);
    }

    #[test]
    fn a_gap_begins_a_run() {
        let mut lane = lane(10);
        lane.push(write(0, 1));
        lane.push(write(NANOS_PER_SECOND / 2, 1));
        lane.push(write(5 * NANOS_PER_SECOND, 1));
        assert!(lane.pass(1).is_some());
        assert_eq!(lane.next_start(), Some(NANOS_PER_SECOND), "at once, as the first takes longer");
        assert!(lane.pass(1).is_some());
        assert_eq!(lane.next_start(), Some(5 * NANOS_PER_SECOND));
        assert_eq!((lane.waiting(), lane.last_end()), (1, 2 * NANOS_PER_SECOND));
    }

    #[test]
    fn without_a_speed_bytes_take_no_time() {
        let mut lane = lane(0);
        lane.push(write(9, 1_000));
        assert_eq!((lane.next_start(), lane.end_of(1_000)), (Some(9), Some(9)));
        assert_eq!((lane.passed_by(8), lane.passed_by(9)), (0, 1_000));
    }
}
