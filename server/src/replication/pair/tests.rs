//! Whatever happens to two servers and their gateways, in whatever order.
//!
//! `POSTERN_PAIR_CASES` sets how many histories are tried of each kind.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::check::Found;
use super::gateway::Entry;
use super::{Rule, World};

/// How many histories by default: a matter of seconds.
const CASES: u32 = 50;

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    /// A gateway writes something down, so many times.
    Write { gateway: u8, entry: Entry, times: u8 },
    /// A gateway sends.
    Send { gateway: u8, most: u8, back: u8, lost: bool, late: bool },
    /// Late answers arrive.
    Answer,
    /// A gateway forgets what is safe.
    Trim { gateway: u8 },
    /// A gateway begins a new journal.
    Fork { gateway: u8, provisional: bool },
    /// A gateway's journal is put back.
    PutBack { gateway: u8, by: u8 },
    /// A server asks for the log.
    Pull { server: bool, bytes: u16, lost: bool, portions: u8 },
    /// A server tends its reign.
    Tend { server: bool },
    /// Servers tell each other the document.
    Exchange,
    /// Time passes.
    Sleep { ms: u16 },
    /// Gateways run full, or do not.
    Full { percent: u8 },
    /// The role is handed over.
    HandOver { pages: u8, runs_out: bool, dies: bool },
    /// A server takes the role.
    FailOver { server: bool },
    /// A server's process ends.
    Crash { server: bool },
    /// A server's store is lost.
    Wipe { server: bool },
    /// A server cuts off its log's beginning, but for so many entries.
    Cut { server: bool, keep: u8 },
    /// What goes on when nothing happens.
    Run { times: u8 },
}

fn event() -> impl Strategy<Value = Event> {
    let gateway = 0_u8..3;
    let entry = prop_oneof![
        6 => Just(Entry::Record),
        2 => Just(Entry::Note),
        1 => Just(Entry::Gap),
        1 => Just(Entry::Restart),
        1 => Just(Entry::Conflict),
        1 => Just(Entry::Unreadable),
    ];
    prop_oneof![
        8 => (gateway.clone(), entry, 1_u8..6)
            .prop_map(|(gateway, entry, times)| Event::Write { gateway, entry, times }),
        8 => (gateway.clone(), 1_u8..9, 0_u8..3, prop::bool::weighted(0.2), prop::bool::weighted(0.2))
            .prop_map(|(gateway, most, back, lost, late)| {
                Event::Send { gateway, most, back, lost, late }
            }),
        2 => Just(Event::Answer),
        3 => gateway.clone().prop_map(|gateway| Event::Trim { gateway }),
        1 => (gateway.clone(), any::<bool>())
            .prop_map(|(gateway, provisional)| Event::Fork { gateway, provisional }),
        1 => (gateway, 1_u8..6).prop_map(|(gateway, by)| Event::PutBack { gateway, by }),
        8 => (any::<bool>(), 1_u16..3_000, prop::bool::weighted(0.2), 0_u8..9).prop_map(
            |(server, bytes, lost, portions)| Event::Pull { server, bytes, lost, portions }
        ),
        5 => any::<bool>().prop_map(|server| Event::Tend { server }),
        2 => Just(Event::Exchange),
        2 => prop_oneof![Just(100_u16), Just(4_000), Just(6_000), Just(11_000)]
            .prop_map(|ms| Event::Sleep { ms }),
        1 => prop_oneof![Just(0_u8), Just(95)].prop_map(|percent| Event::Full { percent }),
        2 => (0_u8..4, prop::bool::weighted(0.3), prop::bool::weighted(0.2))
            .prop_map(|(pages, runs_out, dies)| Event::HandOver { pages, runs_out, dies }),
        2 => any::<bool>().prop_map(|server| Event::FailOver { server }),
        2 => any::<bool>().prop_map(|server| Event::Crash { server }),
        1 => any::<bool>().prop_map(|server| Event::Wipe { server }),
        1 => (any::<bool>(), 1_u8..30).prop_map(|(server, keep)| Event::Cut { server, keep }),
        4 => (1_u8..6).prop_map(|times| Event::Run { times }),
    ]
}

impl World {
    fn happens(&mut self, event: &Event) {
        let which = |gateway: u8, world: &Self| usize::from(gateway) % world.gateways.len();
        match *event {
            Event::Write { gateway, entry, times } => {
                let gateway = which(gateway, self);
                (0..times).for_each(|_| self.gateways[gateway].write(entry));
            }
            Event::Send { gateway, most, back, lost, late } => {
                let gateway = which(gateway, self);
                self.send(gateway, u64::from(most), u64::from(back), lost, late);
            }
            Event::Answer => self.answer(),
            Event::Trim { gateway } => {
                let gateway = which(gateway, self);
                self.gateways[gateway].trim();
            }
            Event::Fork { gateway, provisional } => {
                let gateway = which(gateway, self);
                self.gateways[gateway].fork(provisional);
            }
            Event::PutBack { gateway, by } => {
                let gateway = which(gateway, self);
                self.gateways[gateway].put_back(u64::from(by));
            }
            Event::Pull { server, bytes, lost, portions } => {
                self.pull(usize::from(server), usize::from(bytes), lost, u32::from(portions));
            }
            Event::Tend { server } => self.tend(usize::from(server)),
            Event::Exchange => self.exchange(),
            Event::Sleep { ms } => self.sleep(u64::from(ms)),
            Event::Full { percent } => self.fullest = percent,
            Event::HandOver { pages, runs_out, dies } => self.hand_over(pages, runs_out, dies),
            Event::FailOver { server } => self.fail_over(usize::from(server)),
            Event::Crash { server } => self.crash(usize::from(server)),
            Event::Wipe { server } => self.wipe(usize::from(server)),
            Event::Cut { server, keep } => {
                let node = &mut self.servers[usize::from(server)].node;
                node.cut(node.head().position.saturating_sub(u64::from(keep)));
            }
            Event::Run { times } => {
                for _ in 0..times {
                    self.sleep(50);
                    for gateway in 0..self.gateways.len() {
                        self.send(gateway, 5, 0, false, false);
                    }
                    for server in 0..2 {
                        self.pull(server, 2_000, false, 3);
                        self.tend(server);
                    }
                }
            }
        }
    }
}

fn history(rule: Rule, gateways: u8, events: &[Event]) -> Result<Found, String> {
    let mut world = World::new(rule, gateways);
    for (number, event) in events.iter().enumerate() {
        world.happens(event);
        world.check_safe().map_err(|wrong| format!("after {number} {event:?}: {wrong}"))?;
    }
    world.heal()?;
    world.check_safe()?;
    world.check()
}

fn histories(rule: Rule) -> Found {
    let cases = std::env::var("POSTERN_PAIR_CASES").ok().and_then(|cases| cases.parse().ok());
    let cases = cases.unwrap_or(CASES);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let all = std::cell::RefCell::new(Found::default());
    let tried = TestRunner::new(config).run(
        &(1_u8..4, prop::collection::vec(event(), 1..70)),
        |(gateways, events)| {
            let found = history(rule, gateways, &events).map_err(TestCaseError::fail)?;
            *all.borrow_mut() += found;
            Ok(())
        },
    );
    if let Err(error) = tried {
        panic!("{error}");
    }
    println!("{rule:?}: {cases} histories, {:#?}", all.borrow());
    all.into_inner()
}

/// Invariants 6, 9, 11: where only a store that is in sync takes the role, nothing that a gateway
/// forgot is missing, nothing is held twice, and there is no hole.
#[test]
fn whatever_happens_among_stores_in_sync_nothing_is_lost_or_doubled() {
    let found = histories(Rule::InSync);
    assert_eq!((found.missing, found.holes), (0, 0));
}

/// With an operator's force anything may part. What some store still holds comes back; what is
/// missing was in a store that is gone, and is a hole.
#[test]
fn whatever_is_forced_what_some_store_holds_comes_back_once() {
    histories(Rule::Forced);
}
