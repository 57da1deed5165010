//! For any sequence of what can happen to a log, to the line and to the process: what was collected is what
//! was generated, less exactly what the gaps say.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Event {
    /// So many records.
    Push(u64),
    /// The log is emptied.
    Reset,
    /// Another board, with so many records of its own.
    Replace(u64),
    /// So many steps of the machine.
    Steps(u8),
    /// The next thing that is asked fails.
    Fail,
    /// The next page breaks off in the middle.
    BreakOff,
    /// The next record that is asked for from a socket that was used before is answered by something late.
    Late(Then),
    /// The next commit finds the journal full.
    Full,
    /// Somebody says that there is news up to here.
    Wake(u64),
    /// The process dies, and another goes on.
    Crash,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        10 => (1u64..40).prop_map(Event::Push),
        1 => Just(Event::Reset),
        1 => (0u64..150).prop_map(Event::Replace),
        12 => (1u8..60).prop_map(Event::Steps),
        3 => Just(Event::Fail),
        2 => Just(Event::BreakOff),
        1 => prop_oneof![Just(Then::Absent), Just(Then::Overwritten)].prop_map(Event::Late),
        1 => Just(Event::Full),
        2 => (0u64..200).prop_map(Event::Wake),
        2 => Just(Event::Crash),
    ]
}

impl Rig {
    /// Goes on until the machine asks for what this takes, and answers that; not for ever, since it may
    /// not be asked for at all.
    fn meet(&mut self, mut takes: impl FnMut(&mut Self, Action) -> Option<Action>) {
        for _ in 0..50 {
            let action = self.machine.action(self.now());
            let Some(action) = takes(self, action) else { return };
            self.carry_out(action, false);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Push(count) => self.log.push(count),
            Event::Reset => self.log.reset(),
            Event::Replace(held) => self.log.replace(held),
            Event::Steps(count) => (0..count).for_each(|_| {
                self.step(false);
            }),
            Event::Fail => {
                self.step(true);
            }
            Event::Crash => self.crash(),
            Event::Wake(newest) => self.machine.on_wake(Index(newest)),
            Event::BreakOff => self.meet(|rig, action| {
                let Action::Fetch(span) = action else { return Some(action) };
                let mut page = rig.log.page(span.from, span.at_most.min(rig.page));
                page.records.truncate(page.records.len() / 2);
                page.then = Then::Failed(DriverError::TimedOut);
                rig.answer(page);
                None
            }),
            Event::Late(then) => self.meet(|rig, action| {
                let Action::Fetch(_) = action else { return Some(action) };
                if rig.fresh {
                    return Some(action);
                }
                rig.answer(Page { epoch: None, records: Vec::new(), then });
                None
            }),
            Event::Full => self.meet(|rig, action| {
                let Action::Commit(_) = action else { return Some(action) };
                let now = rig.now();
                rig.machine.on_commit(Err(Refused::Full), now);
                rig.machine.set_room(true);
                None
            }),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    /// Every life that the gateway met is held completely, but for exactly what its gaps say, and the
    /// present one to its end.
    #[test]
    fn collected_is_generated_minus_exactly_the_gaps(
        events in proptest::collection::vec(event(), 1..40),
        capacity in 20u64..80,
        page in 1usize..40,
        last in prop_oneof![Just(LAST), Just(1_000u64)],
        before in 0u64..120,
    ) {
        let mut rig = Rig::of(Log { last, ..Log::new(capacity, 8) });
        rig.page = page;
        rig.log.push(before);
        for event in events {
            rig.happen(event);
        }
        // A log that began anew is known to have done so by its first record.
        rig.log.push(1);
        rig.settle();
        rig.check();
        let newest = rig.records().last().copied();
        prop_assert_eq!(newest, Some((rig.log.life, rig.log.next - 1)));
    }
}
