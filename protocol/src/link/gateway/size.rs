//! How long a page should be: long ones share the cost of a poll among more events, short ones lose less
//! when a byte of them is hit.
//!
//! With `h` bytes of overhead an exchange and one error in every `1/e` bytes, the share of the line that
//! carries events which arrive is `n / (n + h) · (1 - e)^(n + h)`, which is greatest near
//! `n = √(h²/4 + h/e) - h/2`. The error rate is counted, over the last some ten thousand bytes.

/// What an exchange costs beside its events, in bytes on the line: a poll, the frame around a page, and
/// what a byte's time or two of turning around comes to.
const OVERHEAD: u64 = 66;

/// Counts are halved beyond so many bytes: what the line was like before fades.
const MEMORY: u64 = 65_536;

/// The shortest page: five usual events.
pub const MIN_ROOM: u16 = 64;

/// The longest: what a frame of 1,024 bytes takes beside its head and tag.
pub const MAX_ROOM: u16 = 980;

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageSize {
    bytes: u64,
    errors: u64,
}

impl PageSize {
    /// So many bytes went over the line, and so many frames of them were hit.
    pub fn count(&mut self, bytes: usize, errors: u32) {
        self.bytes += u64::try_from(bytes).unwrap_or(0);
        self.errors += 256 * u64::from(errors);
        while self.bytes > MEMORY {
            self.bytes /= 2;
            self.errors /= 2;
        }
    }

    /// Bytes of events to ask for.
    pub fn room(&self) -> u16 {
        let Some(between) = (256 * OVERHEAD * self.bytes).checked_div(self.errors) else {
            return MAX_ROOM;
        };
        let best = (OVERHEAD * OVERHEAD / 4 + between).isqrt().saturating_sub(OVERHEAD / 2);
        u16::try_from(best).unwrap_or(MAX_ROOM).clamp(MIN_ROOM, MAX_ROOM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_line_gets_the_longest_pages_and_a_noisy_one_the_best() {
        let mut size = PageSize::default();
        assert_eq!(size.room(), MAX_ROOM);
        (0..1_000).for_each(|_| size.count(1_000, 0));
        assert_eq!(size.room(), MAX_ROOM);
        // One error in a thousand bytes.
        (0..1_000).for_each(|_| size.count(1_000, 1));
        assert!((215..=240).contains(&size.room()), "{}", size.room());
        // It gets better again, and that is noticed.
        (0..1_000).for_each(|_| size.count(1_000, 0));
        assert_eq!(size.room(), MAX_ROOM);
        (0..10_000).for_each(|_| size.count(30, 1));
        assert_eq!(size.room(), MIN_ROOM);
    }

    #[test]
    fn the_best_length_is_the_best() {
        for between in [300u32, 1_000, 3_000, 10_000] {
            let rate = 1.0 / f64::from(between);
            let share = |n: f64| n / (n + 66.0) * (1.0 - rate).powf(n + 66.0);
            let mut size = PageSize::default();
            (0..2_000).for_each(|_| size.count(usize::try_from(between).unwrap(), 1));
            let chosen = share(f64::from(size.room()));
            let best = (64..=980u16).map(|n| share(f64::from(n))).fold(0.0, f64::max);
            assert!(chosen > 0.995 * best, "{between}: {} {chosen} {best}", size.room());
        }
    }
}
