//! A controller's event log: a ring of fixed slots that overwrites its oldest, and says so
//! (`docs/protocol.md` §5).
//!
//! Pure: where the slots lie (RAM, FRAM, pages of flash) is the firmware's. Indices begin at 1 in each
//! life of the log and never repeat in it; a life is named by a random epoch, which is new whenever what
//! the log held may be gone.

use super::event::MAX_EVENT;
use crate::id::{EpochId, Index};

/// One event's place: 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    length: u8,
    bytes: [u8; MAX_EVENT],
}

impl Slot {
    /// Nothing.
    pub const EMPTY: Self = Self { length: 0, bytes: [0; MAX_EVENT] };

    /// A slot with these bytes, of which there may be 1 to [`MAX_EVENT`].
    fn of(event: &[u8]) -> Option<Self> {
        let mut slot = Self { length: u8::try_from(event.len()).ok()?, ..Self::EMPTY };
        slot.bytes.get_mut(..event.len())?.copy_from_slice(event);
        (!event.is_empty()).then_some(slot)
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

/// An event that no log takes: it has no bytes, or more than [`MAX_EVENT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadEvent;

/// The log. `S` is where the slots are: `[Slot; 512]`, `Vec<Slot>`, a slice of a memory that keeps.
#[derive(Clone, Debug)]
pub struct EventLog<S> {
    slots: S,
    epoch: EpochId,
    newest: u64,
    stored: usize,
    committed: u64,
    overwritten: u64,
}

impl<S: AsRef<[Slot]> + AsMut<[Slot]>> EventLog<S> {
    /// A new life, without events.
    pub const fn new(slots: S, epoch: EpochId) -> Self {
        Self { slots, epoch, newest: 0, stored: 0, committed: 0, overwritten: 0 }
    }

    /// A life that goes on after a power cut: `newest` is the last index whose slot is whole, and `stored`
    /// how many before and with it are. What firmware has to keep beside the slots is these three.
    pub fn resume(slots: S, epoch: EpochId, newest: Index, stored: usize) -> Self {
        let stored = stored.min(slots.as_ref().len());
        let stored = usize::try_from(newest.0).map_or(stored, |newest| stored.min(newest));
        Self { stored, newest: newest.0, ..Self::new(slots, epoch) }
    }

    /// Records an event and returns its index. Where the log is full its oldest event is overwritten.
    ///
    /// # Errors
    /// [`BadEvent`]; nothing was changed.
    pub fn push(&mut self, event: &[u8]) -> Result<Index, BadEvent> {
        let next = self.newest.checked_add(1).ok_or(BadEvent)?;
        let slot = Slot::of(event).ok_or(BadEvent)?;
        let at = self.place(next).ok_or(BadEvent)?;
        *self.slots.as_mut().get_mut(at).ok_or(BadEvent)? = slot;
        self.newest = next;
        if self.stored < self.capacity() {
            self.stored += 1;
        } else if self.oldest().0 > self.committed.saturating_add(1) {
            self.overwritten = self.overwritten.saturating_add(1);
        }
        Ok(Index(next))
    }

    fn place(&self, index: u64) -> Option<usize> {
        let capacity = u64::try_from(self.capacity()).ok()?;
        usize::try_from(index.checked_rem(capacity)?).ok()
    }

    /// An event; `None` where it is overwritten or not there yet.
    pub fn get(&self, index: Index) -> Option<&[u8]> {
        let is_held = index >= self.oldest() && index.0 <= self.newest && index.0 > 0;
        let at = self.place(index.0).filter(|_| is_held)?;
        self.slots.as_ref().get(at).map(Slot::as_slice)
    }

    /// Which life this is.
    pub fn epoch(&self) -> EpochId {
        self.epoch
    }

    /// The oldest event that it holds; one more than the newest where it holds none.
    pub fn oldest(&self) -> Index {
        let stored = u64::try_from(self.stored).unwrap_or(u64::MAX);
        Index(self.newest.saturating_sub(stored).saturating_add(1))
    }

    /// The newest event; 0 where there never was one.
    pub fn newest(&self) -> Index {
        Index(self.newest)
    }

    /// How many it can hold.
    pub fn capacity(&self) -> usize {
        self.slots.as_ref().len()
    }

    /// How many it holds.
    pub fn stored(&self) -> usize {
        self.stored
    }

    /// The gateway has everything up to here durably. Nothing is erased: other gateways may come.
    pub fn commit(&mut self, index: Index) {
        self.committed = self.committed.max(index.0.min(self.newest));
    }

    /// The highest index that a gateway said it has durably, since power on.
    pub fn committed(&self) -> Index {
        Index(self.committed)
    }

    /// How many events were overwritten that nobody had said to have, since power on.
    pub fn overwritten(&self) -> u64 {
        self.overwritten
    }

    /// Begins another life: what the log held is gone.
    pub fn restart(&mut self, epoch: EpochId) {
        self.epoch = epoch;
        self.newest = 0;
        self.stored = 0;
        self.committed = 0;
    }

    /// The slots, for who keeps them.
    pub fn into_slots(self) -> S {
        self.slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: EpochId = EpochId([1; 16]);

    fn log() -> EventLog<[Slot; 4]> {
        EventLog::new([Slot::EMPTY; 4], ONE)
    }

    #[test]
    fn indices_begin_at_one_and_the_oldest_are_overwritten_one_by_one() {
        let mut log = log();
        assert_eq!((log.oldest(), log.newest(), log.stored()), (Index(1), Index(0), 0));
        for number in 1..=10u8 {
            assert_eq!(log.push(&[number]), Ok(Index(u64::from(number))));
        }
        assert_eq!((log.oldest(), log.newest(), log.stored()), (Index(7), Index(10), 4));
        for number in 0..=12u8 {
            let held = (7..=10).contains(&number);
            assert_eq!(log.get(Index(u64::from(number))), held.then_some(&[number][..]));
        }
        assert_eq!(log.overwritten(), 6);
    }

    #[test]
    fn what_was_committed_is_not_lost_when_it_is_overwritten() {
        let mut log = log();
        (0..4).for_each(|_| assert!(log.push(b"x").is_ok()));
        log.commit(Index(2));
        (0..3).for_each(|_| assert!(log.push(b"x").is_ok()));
        assert_eq!((log.overwritten(), log.committed()), (1, Index(2)));
        // No gateway can have what was never recorded.
        log.commit(Index(99));
        assert_eq!(log.committed(), Index(7));
    }

    #[test]
    fn a_life_goes_on_after_a_power_cut_and_another_begins_at_one() {
        let mut log = log();
        (1..=6u8).for_each(|number| assert!(log.push(&[number]).is_ok()));
        let mut log = EventLog::resume(log.into_slots(), ONE, Index(6), 4);
        assert_eq!(log.get(Index(3)), Some(&[3][..]));
        assert_eq!(log.push(b"7"), Ok(Index(7)));
        log.restart(EpochId([2; 16]));
        assert_eq!(
            (log.oldest(), log.newest(), log.epoch()),
            (Index(1), Index(0), EpochId([2; 16]))
        );
        assert_eq!(log.get(Index(7)), None);
        assert_eq!(log.push(b"1"), Ok(Index(1)));
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let mut log = log();
        assert_eq!(log.push(&[]), Err(BadEvent));
        assert_eq!(log.push(&[0; MAX_EVENT + 1]), Err(BadEvent));
        assert_eq!(log.newest(), Index(0));
        assert!(log.push(&[0; MAX_EVENT]).is_ok());
        let mut none = EventLog::new([Slot::EMPTY; 0], ONE);
        assert_eq!(none.push(b"x"), Err(BadEvent));
        let mut last = EventLog::resume([Slot::EMPTY; 2], ONE, Index(u64::MAX), 2);
        assert_eq!(last.push(b"x"), Err(BadEvent));
        assert_eq!((last.oldest(), last.newest()), (Index(u64::MAX - 1), Index(u64::MAX)));
    }
}
