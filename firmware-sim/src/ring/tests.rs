use postern_protocol::uhppote::field::DateTime;
use proptest::prelude::*;

use super::*;

fn event(card: u32) -> GetEvent {
    GetEvent {
        controller: 1,
        index: 0,
        event_type: 1,
        granted: true,
        door: 1,
        direction: 1,
        card,
        timestamp: DateTime::UNSET,
        reason: 1,
    }
}

fn filled(capacity: usize, chunk: usize, first: u32, count: u32) -> Ring {
    let mut ring = Ring::new(capacity, chunk, first);
    (0..count).for_each(|card| ring.push(event(card)));
    ring
}

fn index_at(ring: &Ring, index: u32) -> Option<u32> {
    match ring.read(index) {
        Read::Record(record) => Some(record.index),
        Read::Nothing | Read::Overwritten => None,
    }
}

#[test]
fn an_empty_log_has_nothing_anywhere() {
    let ring = Ring::new(64, 16, 1);
    for index in [OLDEST, 1, 2, LAST_INDEX, NEWEST] {
        assert_eq!(ring.read(index), Read::Nothing);
    }
    assert_eq!(ring.next_index(), 1);
}

#[test]
fn a_full_ring_drops_a_chunk_at_once() {
    let ring = filled(64, 16, 1, 64);
    assert_eq!((index_at(&ring, OLDEST), ring.stored()), (Some(1), 64));
    let ring = filled(64, 16, 1, 65);
    assert_eq!((index_at(&ring, OLDEST), ring.stored()), (Some(17), 49));
    assert_eq!(index_at(&ring, NEWEST), Some(65));
    assert_eq!(ring.read(16), Read::Overwritten);
    assert_eq!(index_at(&ring, 17), Some(17));
    assert_eq!(ring.read(66), Read::Nothing);
}

#[test]
fn a_real_board_drops_2048_of_200_000() {
    let ring = filled(200_000, 2_048, 1, 200_001);
    assert_eq!(ring.stored(), 200_000 - 2_048 + 1);
    assert_eq!(index_at(&ring, OLDEST), Some(2_049));
    assert_eq!(ring.read(2_048), Read::Overwritten);
}

#[test]
fn after_the_last_index_comes_the_first_and_every_record_can_still_be_read() {
    let ring = filled(64, 16, LAST_INDEX - 2, 10);
    let indices: Vec<_> = [LAST_INDEX - 2, LAST_INDEX - 1, LAST_INDEX, 1, 2, 7]
        .iter()
        .map(|index| index_at(&ring, *index))
        .collect();
    assert!(indices.iter().all(Option::is_some), "{indices:?}");
    assert_eq!(index_at(&ring, NEWEST), Some(7));
    assert_eq!(ring.read(8), Read::Nothing);
    assert_eq!(ring.read(LAST_INDEX - 3), Read::Overwritten);

    let ring = filled(8, 4, LAST_INDEX - 2, 13);
    assert_eq!(index_at(&ring, OLDEST), Some(6));
    assert_eq!(ring.read(LAST_INDEX), Read::Overwritten);
    assert_eq!(ring.read(5), Read::Overwritten);
    assert_eq!(ring.read(11), Read::Nothing);
}

#[test]
fn a_log_that_began_late_calls_what_was_before_overwritten() {
    let ring = filled(64, 16, 5_000, 3);
    assert_eq!(ring.read(4_999), Read::Overwritten);
    assert_eq!(ring.read(1), Read::Overwritten);
    assert_eq!(ring.read(5_003), Read::Nothing);
    assert_eq!(ring.read(4_000_000_000), Read::Nothing);
}

#[test]
fn a_restart_begins_at_1() {
    let mut ring = filled(64, 16, 5_000, 3);
    ring.restart();
    assert_eq!(ring.read(NEWEST), Read::Nothing);
    assert_eq!(ring.read(5_000), Read::Nothing);
    ring.push(event(1));
    assert_eq!(index_at(&ring, NEWEST), Some(1));
}

#[test]
fn useless_sizes_become_usable() {
    let mut ring = Ring::new(0, 0, 0);
    ring.push(event(1));
    ring.push(event(2));
    assert_eq!((ring.stored(), ring.capacity(), index_at(&ring, OLDEST)), (1, 1, Some(2)));
    assert_eq!(filled(4, 100, NEWEST, 5).stored(), 1);
}

/// What a ring is, said without any thought for speed: every record ever pushed, and how many of
/// them are gone.
struct Model {
    capacity: usize,
    chunk: usize,
    first: u32,
    all: Vec<GetEvent>,
    gone: usize,
}

impl Model {
    fn push(&mut self, card: u32) {
        let index = match self.all.last() {
            None => self.first,
            Some(last) if last.index == LAST_INDEX => 1,
            Some(last) => last.index + 1,
        };
        if self.all.len() - self.gone == self.capacity {
            self.gone += self.chunk;
        }
        self.all.push(GetEvent { index, ..event(card) });
    }

    fn read(&self, index: u32) -> Read {
        let (gone, stored) = self.all.split_at(self.gone);
        let found = match index {
            OLDEST => stored.first(),
            NEWEST => stored.last(),
            _ => stored.iter().find(|record| record.index == index),
        };
        match found {
            Some(record) => Read::Record(*record),
            None if gone.iter().any(|record| record.index == index) => Read::Overwritten,
            // A log that starts at a given number had the numbers before it, too.
            None if !stored.is_empty()
                && self.first < 1_000_000
                && (1..self.first).contains(&index) =>
            {
                Read::Overwritten
            }
            None => Read::Nothing,
        }
    }
}

proptest! {
    #[test]
    fn the_ring_agrees_with_a_naive_model(
        capacity in 1usize..40,
        chunk in 1usize..40,
        first in prop_oneof![Just(1u32), 2u32..50, LAST_INDEX - 30..=LAST_INDEX],
        pushes in proptest::collection::vec(0usize..30, 1..8),
        offset in 0u32..60,
    ) {
        let chunk = chunk.min(capacity);
        let mut ring = Ring::new(capacity, chunk, first);
        let mut model = Model { capacity, chunk, first, all: Vec::new(), gone: 0 };
        for count in pushes {
            for _ in 0..count {
                let card = u32::try_from(model.all.len()).unwrap();
                ring.push(event(card));
                model.push(card);
            }
            prop_assert!(ring.stored() <= capacity);
            let near_start = (0..60).map(|n| first.saturating_add(n));
            let wrapped = (0..200).map(|n| n + 1);
            for index in near_start.chain(wrapped).chain([OLDEST, NEWEST, first.saturating_sub(offset)]) {
                // Numbers shortly before a late start count as overwritten once there is a record;
                // the model has no opinion on those.
                if first > 1_000_000 && index < first && index > 1_000 { continue; }
                prop_assert_eq!(ring.read(index), model.read(index), "index {}", index);
            }
        }
    }
}
