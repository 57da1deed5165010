//! The journal against a plain list: whatever order of appends, watermarks, power cuts, reopenings
//! and reads comes, the journal shows what the list does, refuses when the list is full, and forgets
//! only whole commits that are safe.
//!
//! `POSTERN_MODEL_CASES` sets how many cases.

use std::collections::BTreeMap;

use postern_protocol::transaction::MAX_ENTRY;
use postern_protocol::{Chain, ControllerId, Seq};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::backend::{CutDisk, Rng, Tear};
use super::rig::{Batch, ID, Rig, Seen, Step, append, controller, transaction};
use crate::journal::RESUME_PERCENT;

const CAPACITY: u64 = 100;
const CASES: u32 = 150;

#[derive(Clone, Debug)]
enum Transition {
    Append {
        controller: usize,
        count: u64,
    },
    /// `safe` to so many before the head; `Ahead` to more than there is.
    MarkSafe {
        behind: u64,
    },
    MarkAhead,
    /// In the midst of an append, after so many thousandths of its operations.
    PowerCut {
        controller: usize,
        count: u64,
        after: usize,
        tears: u64,
    },
    Reopen,
    /// Appends of this size until one is refused.
    Fill {
        count: u64,
    },
    Read {
        from: u64,
        count: usize,
    },
}

fn transition() -> impl Strategy<Value = Transition> {
    let (number, count) = (|| 0..3_usize, || prop_oneof![1..5_u64, 1..40_u64]);
    // Near the whole capacity too, where a full journal has to decide when it is no longer full.
    let behind = prop_oneof![0..60_u64, CAPACITY - 15..CAPACITY + 5];
    prop_oneof![
        5 => (number(), count()).prop_map(|(controller, count)| Transition::Append { controller, count }),
        4 => behind.prop_map(|behind| Transition::MarkSafe { behind }),
        1 => Just(Transition::MarkAhead),
        2 => (number(), count(), 0..=1_000_usize, any::<u64>()).prop_map(
            |(controller, count, after, tears)| Transition::PowerCut { controller, count, after, tears }
        ),
        1 => Just(Transition::Reopen),
        1 => count().prop_map(|count| Transition::Fill { count }),
        2 => (0..400_u64, 1..120_usize).prop_map(|(from, count)| Transition::Read { from, count }),
    ]
}

/// The list.
#[derive(Clone, Debug, Default)]
struct Model {
    entries: Vec<Vec<u8>>,
    /// The last entry of each commit.
    ends: Vec<u64>,
    read_to: BTreeMap<ControllerId, u64>,
    oldest: u64,
    safe: u64,
    /// The part of `safe` that a power cut must leave.
    durable_safe: u64,
    /// The largest append that was refused and is still waited for.
    refused: Option<u64>,
}

impl Model {
    fn head(&self) -> u64 {
        self.entries.len() as u64
    }

    fn room(&self) -> u64 {
        (CAPACITY + self.safe).saturating_sub(self.head())
    }

    /// Whether it is taken. Once something was refused, so is everything, until a tenth is free and
    /// there is room for what was refused.
    fn admit(&mut self, count: u64) -> bool {
        let free = self.room() * 100 > CAPACITY * (100 - RESUME_PERCENT);
        self.refused = self.refused.filter(|refused| !free || self.room() < *refused);
        if self.refused.is_some() || count > self.room() {
            self.refused = Some(count.max(self.refused.unwrap_or(0)));
        }
        self.refused.is_none()
    }

    fn append(&mut self, controller: ControllerId, count: u64) {
        let read_to = self.read_to.entry(controller).or_default();
        for index in *read_to + 1..=*read_to + count {
            let mut buffer = [0; MAX_ENTRY];
            self.entries.push(transaction(controller, index).encode(&mut buffer).unwrap().to_vec());
        }
        *read_to += count;
        self.ends.push(self.entries.len() as u64);
        self.durable_safe = self.safe;
    }

    /// The chain at `seq`, computed anew.
    fn chain(&self, seq: u64) -> Chain {
        let held = &self.entries[..usize::try_from(seq).unwrap()];
        held.iter().fold(Chain::genesis(ID), |chain, entry| chain.link(entry))
    }

    /// Compares with what the journal shows, and follows what it was free to choose: how much of
    /// what is safe it forgot when it needed room.
    fn compare(&mut self, seen: &Seen, held_before: u64) -> Result<(), TestCaseError> {
        prop_assert_eq!(seen.head, self.chain(self.head()));
        prop_assert_eq!(seen.safe, Seq(self.safe));
        let read_to: BTreeMap<_, _> =
            seen.cursors.iter().map(|(id, at)| (*id, at.index.0)).collect();
        prop_assert_eq!(&read_to, &self.read_to);

        let oldest = seen.oldest.0;
        if oldest != self.oldest {
            prop_assert!(oldest > self.oldest, "what was forgotten came back");
            prop_assert!(oldest - 1 <= self.safe, "{} is above safe {}", oldest - 1, self.safe);
            prop_assert!(self.ends.contains(&(oldest - 1)), "a part of a commit was forgotten");
            prop_assert!(held_before > CAPACITY, "history was forgotten, and there was room");
            self.oldest = oldest;
        }
        let held = self.head() + 1 - oldest;
        let first_end = self.ends.iter().find(|end| **end >= oldest);
        let bound = held <= CAPACITY || first_end.is_some_and(|end| *end > self.safe);
        prop_assert!(bound, "{held} are held, of which the oldest are safe");

        prop_assert_eq!(seen.before, self.chain(oldest - 1));
        prop_assert_eq!(&seen.entries, &self.entries[usize::try_from(oldest - 1).unwrap()..]);
        Ok(())
    }
}

/// The journal beside its model.
struct Pair {
    model: Model,
    disk: CutDisk,
    rig: Option<Rig>,
}

impl Pair {
    fn new() -> Self {
        let disk = CutDisk::default();
        let rig = Some(Rig::open(&disk, CAPACITY).unwrap());
        Self { model: Model { oldest: 1, ..Model::default() }, disk, rig }
    }

    fn rig(&mut self) -> &mut Rig {
        self.rig.as_mut().unwrap()
    }

    /// Whether it was taken, which must be as the list says.
    fn append(&mut self, number: usize, count: u64) -> Result<bool, TestCaseError> {
        let id = controller(number);
        let read_to = self.model.read_to.get(&id).copied().unwrap_or(0);
        let taken = self.rig().commit(&[Step::Append(append(id, read_to, count))]).unwrap();
        let fits = self.model.admit(count);
        prop_assert_eq!(&taken, &[fits], "append of {} to {:?}", count, self.model.safe);
        if fits {
            self.model.append(id, count);
        }
        Ok(fits)
    }

    fn safe(&mut self, told: u64) {
        self.rig().commit(&[Step::Safe(told)]).unwrap();
        self.model.safe = self.model.safe.max(told.min(self.model.head()));
    }

    fn compare(&mut self) -> Result<(), TestCaseError> {
        let held = self.model.head() + 1 - self.model.oldest;
        let seen = self.rig().seen().unwrap();
        self.model.compare(&seen, held)
    }

    fn power_cut(
        &mut self,
        number: usize,
        count: u64,
        after: usize,
        tears: u64,
    ) -> Result<(), TestCaseError> {
        let (without, begun) = (self.model.clone(), self.disk.position());
        self.append(number, count)?;
        let end = self.disk.position();
        let at = begun + (end - begun) * after / 1_000;
        let mut rng = Rng(tears);
        let tear = Tear::EACH[rng.below(Tear::EACH.len())];
        let image = self.disk.cut(at, tear, &mut rng);
        self.disk = CutDisk::with(image);
        self.rig = Some(Rig::open(&self.disk, CAPACITY).unwrap());
        let seen = self.rig().seen().unwrap();
        // All of the append or nothing of it; all of it, where it was acknowledged before the cut.
        if at < end && seen.head.seq.0 == without.head() {
            self.model = without;
        }
        self.reopened(&seen)
    }

    /// `safe` may become durable with the next append alone, and then no longer falls.
    fn reopened(&mut self, seen: &Seen) -> Result<(), TestCaseError> {
        let durable = self.model.durable_safe..=self.model.safe;
        prop_assert!(durable.contains(&seen.safe.0), "safe {} is not in {durable:?}", seen.safe);
        self.model.safe = seen.safe.0;
        self.model.refused = None;
        self.model.durable_safe = seen.safe.0;
        Ok(())
    }

    fn read(&mut self, from: u64, count: usize) -> Result<(), TestCaseError> {
        let batch = self.rig().read(from, count).unwrap();
        let first = from.max(self.model.oldest);
        if first > self.model.head() {
            prop_assert_eq!(batch, None);
            return Ok(());
        }
        // As much as is asked for, or less: the reader prefers to end where a commit ended.
        let Batch { before, entries } = batch.unwrap();
        let held = &self.model.entries[usize::try_from(first - 1).unwrap()..];
        prop_assert_eq!(before, self.model.chain(first - 1));
        prop_assert!((1..=count).contains(&entries.len()), "{} for {count}", entries.len());
        prop_assert_eq!(&entries, &held[..entries.len()]);
        Ok(())
    }

    fn step(&mut self, transition: &Transition) -> Result<(), TestCaseError> {
        match *transition {
            Transition::Append { controller, count } => {
                self.append(controller, count)?;
            }
            Transition::MarkSafe { behind } => self.safe(self.model.head().saturating_sub(behind)),
            Transition::MarkAhead => self.safe(self.model.head() + 5),
            Transition::PowerCut { controller, count, after, tears } => {
                self.power_cut(controller, count, after, tears)?;
            }
            Transition::Reopen => {
                drop(self.rig.take());
                self.rig = Some(Rig::open(&self.disk, CAPACITY).unwrap());
                let seen = self.rig().seen().unwrap();
                self.reopened(&seen)?;
            }
            Transition::Fill { count } => {
                while self.append(0, count)? {
                    self.compare()?;
                }
            }
            Transition::Read { from, count } => self.read(from, count)?,
        }
        self.compare()
    }
}

fn config() -> ProptestConfig {
    let wanted = std::env::var("POSTERN_MODEL_CASES").ok();
    let cases = wanted.map_or(CASES, |text| text.parse().expect("POSTERN_MODEL_CASES is a number"));
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(20), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]
    /// Invariants 1, 2, 3 and 5, in any order of events.
    #[test]
    fn the_journal_is_a_list_that_forgets_only_what_is_safe(
        transitions in proptest::collection::vec(transition(), 1..60),
    ) {
        let mut pair = Pair::new();
        for transition in &transitions {
            pair.step(transition)?;
        }
    }
}
