//! For any sequence of swipes, of restarts of the device and the gateway, of wrong numbers and of commits that fail: what
//! the device showed is stored once, or lies in a gap.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Event {
    Swipe(u32),
    Turn,
    Full,
    Crash,
    Lie(u16),
    /// The device restarts, and is looked at before it shows anything.
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1..40_u32).prop_map(Event::Swipe),
        6 => Just(Event::Swipe(1)),
        8 => Just(Event::Turn),
        1 => Just(Event::Full),
        2 => Just(Event::Crash),
        1 => any::<u16>().prop_map(Event::Lie),
        1 => Just(Event::Restart),
    ]
}

const LIFE: u32 = 1_000_000;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn what_is_shown_is_stored_once_or_lies_in_a_gap(
        events in prop::collection::vec(event(), 1..30),
        is_ring in any::<bool>(),
        start in prop_oneof![Just(0_u16), Just(65_480)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut rig = Rig::new(if is_ring { How::Ring } else { How::Sequence }).await;
            // Cards say of which life they are, and which number they have in it.
            let (mut life, mut next) = (1, u32::from(start) + 1);
            rig.with(|device| device.set_count(start));
            let swipe = |rig: &Rig, life: u32, next: &mut u32, count: u32| {
                rig.swipe((*next..*next + count).map(|number| life * LIFE + number));
                *next += count;
            };
            // A ring that has been there for long is full.
            swipe(&rig, life, &mut next, 20);
            rig.rests(3).await;
            for event in events {
                match event {
                    Event::Swipe(count) => swipe(&rig, life, &mut next, count),
                    Event::Turn => rig.rests(1).await,
                    Event::Full => rig.is_full = 1,
                    Event::Crash => rig.crash(),
                    Event::Lie(lie) => {
                        // Where it is known what the number was.
                        rig.rests(3).await;
                        rig.with(|device| device.lies.extend([lie]));
                        rig.rests(3).await;
                    }
                    // Less than half the way before the counter wraps a restart is taken for that: nobody can tell.
                    Event::Restart if !(1..1 << 15).contains(&((next - 1) % 65_536)) => {}
                    Event::Restart => {
                        rig.rests(3).await;
                        rig.with(rig::Device::restart);
                        rig.rests(3).await;
                        (life, next) = (life + 1, 1);
                        swipe(&rig, life, &mut next, 1);
                        rig.rests(4).await;
                    }
                }
            }
            rig.rests(4).await;
            check(&rig::Told::of(&rig.stored), life, next);
        });
    }
}

fn check(told: &rig::Told, life: u32, next: u32) {
    let mut stored: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    let mut lives: BTreeMap<usize, u32> = BTreeMap::new();
    for (epoch, index, card) in &told.records {
        let card = u32::try_from(*card).unwrap();
        let (of, number) = (card / LIFE, card % LIFE);
        assert_eq!(u64::from(number), *index, "its number: {told:?}");
        assert_eq!(*lives.entry(*epoch).or_insert(of), of, "one epoch is one life: {told:?}");
        assert!(stored.entry(of).or_default().insert(number), "once: {told:?}");
    }
    assert_eq!(lives.len(), usize::try_from(life).unwrap(), "and one life one epoch: {told:?}");
    for (epoch, of) in lives {
        let numbers = &stored[&of];
        let newest =
            if of == life { u64::from(next - 1) } else { u64::from(*numbers.last().unwrap()) };
        let gaps = told.gaps.iter().filter(|(at, _, _)| *at == epoch);
        let missing: BTreeSet<u64> =
            gaps.flat_map(|(_, first, last)| *first..=last.unwrap_or(0)).collect();
        let all = numbers.iter().map(|number| u64::from(*number)).chain(missing.iter().copied());
        assert_eq!(all.clone().count(), usize::try_from(newest).unwrap(), "{told:?}");
        assert!(all.collect::<BTreeSet<_>>().into_iter().eq(1..=newest), "{told:?}");
    }
}
