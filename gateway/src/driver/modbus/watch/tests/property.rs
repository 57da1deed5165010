//! For any sequence of swipes, of what becomes of looks, of clearings and of commits, and of restarts of the gateway.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Event {
    /// Somebody swipes.
    Show(u16),
    /// The door is opened or closed.
    Door,
    /// A turn, of which so much becomes durable.
    Turn { write: Write, kept: usize, between: Option<u16>, is_deaf: bool },
    /// The gateway starts anew.
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    let write = prop_oneof![
        6 => Just(Write::Done),
        1 => Just(Write::Unanswered),
        1 => Just(Write::Lost),
        1 => Just(Write::Refused),
    ];
    let between = prop_oneof![4 => Just(None), 1 => (1..4_u16).prop_map(Some)];
    let turn = (write, 0..4_usize, between, prop::bool::weighted(0.1));
    prop_oneof![
        4 => (1..4_u16).prop_map(Event::Show),
        1 => Just(Event::Door),
        10 => turn.prop_map(|(write, kept, between, is_deaf)| {
            Event::Turn { write, kept, between, is_deaf }
        }),
        1 => Just(Event::Restart),
    ]
}

/// What is known of the device beyond what it shows, and what the journal has.
struct Model {
    rig: Rig,
    runs: u32,
    /// Whether the card that a look saw last is durable.
    is_stored: bool,
    /// How many cards were seen, by number.
    seen: BTreeMap<u16, usize>,
    stored: Vec<Record>,
}

impl Model {
    fn turn(&mut self, write: Write, kept: usize, between: Option<u16>) {
        // The same card right after it was cleared is told from one that was not cleared by nobody.
        let between = between.filter(|card| *card != self.rig.device.card);
        let records = self.rig.turn_with(write, between);
        // Too often in a row, right after it was cleared: that is taken for a fault, and said.
        if let Some(card) = self.rig.saw.filter(|_| !self.rig.watch.is_stuck()) {
            *self.seen.entry(card).or_default() += 1;
            self.is_stored = false;
        }
        let records = &records[..kept.min(records.len())];
        self.rig.commit(records);
        self.is_stored |= records.iter().any(|record| number(record).is_some());
        self.stored.extend_from_slice(records);
    }

    /// What was seen and is not durable is lost with the process; what is shown still is seen anew.
    fn restart(&mut self) {
        let rig = &mut self.rig;
        rig.watch.on_durable(Some(rig.epoch), rig.committed);
        let waiting = rig.watch.waiting.iter().find_map(|waiting| number(&waiting.record));
        if let Some(card) = waiting.filter(|_| !self.is_stored) {
            *self.seen.entry(card).or_default() -= 1;
            rig.known = None;
        }
        self.runs += 1;
        rig.watch = Watch::new(&rig.profile, self.runs);
    }

    fn stored(&self, card: u16, of: impl Fn(Kind) -> bool) -> usize {
        let records = self.stored.iter().filter(|record| number(record) == Some(card));
        records.filter(|record| of(record.kind)).count()
    }
}

fn number(record: &Record) -> Option<u16> {
    record.credential.and_then(|card| u16::try_from(card.0).ok())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    /// Every card that a look saw is recorded at least once, and once alone where it does not say that it may be a
    /// repeat; no two records have the same bytes; and in the end every latch is clear.
    #[test]
    fn every_card_that_was_seen_is_recorded_once_or_says_that_it_may_be_a_repeat(
        events in prop::collection::vec(event(), 1..60),
    ) {
        let (rig, seen) = (Rig::new(), BTreeMap::new());
        let mut model = Model { rig, runs: 1, is_stored: false, seen, stored: Vec::new() };
        for event in events {
            match event {
                Event::Show(card) => model.rig.device.show(card),
                Event::Door => model.rig.device.open ^= true,
                Event::Turn { write, kept, between, is_deaf } => {
                    model.rig.is_deaf = is_deaf;
                    model.turn(write, kept, between);
                }
                Event::Restart => model.restart(),
            }
        }
        model.rig.is_deaf = false;
        for _ in 0..6 {
            model.turn(Write::Done, 100, None);
        }
        prop_assert!(!model.rig.device.flag, "it is clear");
        for (card, seen) in &model.seen {
            let all = model.stored(*card, |_| true);
            let certain = model.stored(*card, |kind| kind == CARD);
            prop_assert!(all >= *seen, "card {}: {} of {}", card, all, seen);
            prop_assert!(certain <= *seen, "card {}: {} of {}", card, certain, seen);
        }
        let bytes: BTreeSet<Vec<u8>> =
            model.stored.iter().map(|record| record.raw.as_slice().to_vec()).collect();
        prop_assert_eq!(bytes.len(), model.stored.len());
        let indices: Vec<u64> = model.stored.iter().map(|record| record.index.0).collect();
        let numbered: Vec<u64> = (1..).take(indices.len()).collect();
        prop_assert_eq!(indices, numbered);
    }
}
