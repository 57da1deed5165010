//! What an active server does next, as a table.

use std::collections::BTreeMap;

use postern_protocol::Timestamp;
use postern_protocol::role::{GroupRole, Limits, RoleDocument, SignedRole};
use postern_protocol::uplink::Bytes;

use super::*;
use crate::role::decide::Proof;

const TERM: RoleTerm = RoleTerm(1);

fn name(server: &str, store: &str) -> StoreName {
    StoreName { server: server.into(), store: store.into() }
}

fn a() -> StoreName {
    name("a", "a1")
}

fn b() -> StoreName {
    name("b", "b1")
}

fn reign() -> Reign {
    Reign { group: "main".into(), holder: a(), term: TERM }
}

/// An active server with its document, what it knows and its clock.
struct Tended {
    document: RoleDocument,
    acks: Acks,
    start: Instant,
    now: Instant,
    head: Position,
    fullest: u8,
}

impl Tended {
    fn new(in_sync: &[StoreName], copies: u8) -> Self {
        let role = GroupRole {
            in_sync: in_sync.to_vec(),
            copies,
            ..GroupRole::founded(a(), TERM, Timestamp(0))
        };
        let groups = BTreeMap::from([("main".into(), role)]);
        let document = RoleDocument { site: "north".into(), groups, limits: Limits::default() };
        let mut acks = Acks::default();
        acks.of_reign(TERM).unwrap();
        let start = Instant::now();
        Self { document, acks, start, now: start, head: 10, fullest: 0 }
    }

    fn role(&mut self) -> &mut GroupRole {
        self.document.groups.get_mut("main").unwrap()
    }

    fn at(&mut self, seconds: u64) -> &mut Self {
        self.now = self.start + Duration::from_secs(seconds);
        self
    }

    fn hears(&mut self, store: &StoreName, position: Position) -> &mut Self {
        self.acks.confirm(store, position, self.now);
        self
    }

    fn next(&mut self) -> Option<Step> {
        let (certificate, signature) = (Bytes(Vec::new()), Bytes(Vec::new()));
        let signed = SignedRole { document: String::new(), certificate, signature };
        let belief = Belief::new(a(), "main", signed, self.document.clone()).unwrap().confirmed();
        assert_eq!(belief.state(), State::Active);
        next(&mut self.acks, &belief, self.head, self.fullest, self.now)
    }

    /// Carries out what is next, as the task does; the command, if there was one.
    fn step(&mut self) -> Option<Command> {
        match self.next()? {
            Step::Count(store) => {
                self.acks.count(&store, self.head);
                None
            }
            Step::Change(Change { command, .. }) => {
                self.document = decide(&self.document, &command).unwrap();
                Some(command)
            }
        }
    }
}

#[test]
fn a_store_comes_in_sync_only_with_what_came_before_it_was_waited_for() {
    let mut site = Tended::new(&[a()], 1);
    assert_eq!(site.next(), None, "there is nobody else");
    site.hears(&b(), 8);
    assert_eq!(site.next(), Some(Step::Count(b())));
    site.step();
    assert_eq!(site.next(), None, "8 of 10");
    site.head = 12;
    assert_eq!(site.hears(&b(), 9).next(), None);
    site.hears(&b(), 10);
    let grow = Command::Grow(reign(), b(), Proof { confirmed: 10, since: 10 });
    assert_eq!(site.step(), Some(grow), "what came since waits for it");
    assert_eq!(site.step(), Some(Command::Copies(reign(), 2)));
    assert_eq!(site.next(), None);
    assert_eq!((site.role().in_sync.len(), site.role().copies), (2, 2));
}

#[test]
fn no_more_copies_are_wanted_than_the_operator_wants() {
    let mut site = Tended::new(&[a()], 1);
    site.role().copies_wanted = 1;
    site.hears(&b(), 10).step();
    assert!(matches!(site.step(), Some(Command::Grow(..))));
    assert_eq!(site.next(), None);
}

/// A server whose store is new would hold down what is safe for as long as it fetches all of it, and
/// a gateway that runs full meanwhile stops a site that has a healthy server.
#[test]
fn a_store_that_is_far_behind_is_not_waited_for() {
    let mut site = Tended::new(&[a()], 1);
    site.head = 1_000_000;
    assert_eq!(site.hears(&b(), 0).next(), None);
    assert_eq!(site.hears(&b(), 900_000).next(), None);
    assert_eq!(site.hears(&b(), 999_000).next(), Some(Step::Count(b())));
}

#[test]
fn another_store_of_a_server_in_sync_counts_it_out_and_has_to_come_in_itself() {
    let mut site = Tended::new(&[a(), b()], 2);
    let other = name("b", "b2");
    assert_eq!(site.hears(&other, 10).step(), Some(Command::Shrink(reign(), b())));
    assert_eq!(site.next(), Some(Step::Count(other.clone())));
    site.step();
    let proof = Proof { confirmed: 10, since: 10 };
    assert_eq!(site.step(), Some(Command::Grow(reign(), other, proof)));
    assert_eq!(site.next(), None, "two copies are wanted as before");
}

#[test]
fn a_store_that_holds_less_than_it_confirmed_is_counted_out_and_comes_in_again() {
    let mut site = Tended::new(&[a(), b()], 2);
    assert_eq!(site.hears(&b(), 10).next(), None);
    assert_eq!(site.hears(&b(), 4).step(), Some(Command::Shrink(reign(), b())));
    assert_eq!(site.step(), None, "it is waited for from here on");
    assert_eq!(site.next(), None, "4 of 10");
    site.hears(&b(), 10);
    assert!(matches!(site.step(), Some(Command::Grow(..))));
    assert_eq!(site.next(), None);
}

/// A dead standby never stops a healthy site.
#[test]
fn a_silent_store_is_given_up_only_when_a_gateway_runs_full() {
    let mut site = Tended::new(&[a(), b()], 2);
    site.hears(&b(), 10).next();
    assert_eq!(site.at(3_600).next(), None, "its silence alone changes nothing");
    site.fullest = FULL - 1;
    assert_eq!(site.next(), None);
    site.fullest = FULL;
    assert_eq!(site.step(), Some(Command::Shrink(reign(), b())));
    assert_eq!(site.step(), Some(Command::Copies(reign(), 1)));
    assert_eq!(site.next(), None);
    // A second time it has to prove itself like any other.
    site.head = 20;
    site.hears(&b(), 10);
    assert_eq!(site.next(), Some(Step::Count(b())));
    site.step();
    assert_eq!(site.hears(&b(), 19).next(), None);
    site.hears(&b(), 20);
    assert!(matches!(site.step(), Some(Command::Grow(..))));
    assert_eq!(site.step(), Some(Command::Copies(reign(), 2)));
    assert_eq!(site.next(), None, "although the gateway is as full as before");
}

/// Right after a switchover the former active server has not asked yet: it was given up at once where
/// a gateway happened to be full, and came in again a moment later.
#[test]
fn a_store_that_is_not_heard_of_in_a_reign_is_given_up_once_it_had_time_to_come() {
    let mut site = Tended::new(&[a(), b()], 2);
    site.fullest = 100;
    for second in 0..5 {
        assert_eq!(site.at(second).next(), None, "{second}");
    }
    assert_eq!(site.at(5).step(), Some(Command::Shrink(reign(), b())));
}

/// One that comes further with each second, and loses two for it, stops a site as well as a dead one.
#[test]
fn a_store_that_creeps_is_given_up_and_counted_again_once_it_keeps_up() {
    let mut site = Tended::new(&[a(), b()], 2);
    let mut confirmed = 0;
    for second in 0..120 {
        (site.head, confirmed) = (10 + second * 3, confirmed + 1);
        let next = site.at(second).hears(&b(), confirmed).next();
        assert_eq!(next, None, "no gateway runs full: {second}");
    }
    site.fullest = FULL;
    assert_eq!(site.step(), Some(Command::Shrink(reign(), b())));
    assert_eq!(site.step(), Some(Command::Copies(reign(), 1)));
    for second in 120..180 {
        (site.head, confirmed) = (10 + second * 3, confirmed + 1);
        let next = site.at(second).hears(&b(), confirmed).next();
        assert_eq!(next, None, "it is not waited for: {second}");
    }
    let head = site.head;
    assert_eq!(site.at(181).hears(&b(), head).next(), Some(Step::Count(b())));
    site.step();
    assert!(matches!(site.step(), Some(Command::Grow(..))));
}

#[test]
fn where_the_site_is_to_hold_nothing_is_given_up() {
    let mut site = Tended::new(&[a(), b()], 2);
    site.role().when_full = WhenFull::Hold;
    site.fullest = 100;
    assert_eq!(site.at(60).next(), None);
    let mut site = Tended::new(&[a()], 2);
    site.role().when_full = WhenFull::Hold;
    site.fullest = 100;
    assert_eq!(site.next(), None);
}

/// A standby whose disk is full asks and asks and never confirms anything more: it was there, so it
/// was never given up, and the gateways filled.
#[test]
fn a_store_that_asks_and_does_not_come_further_is_given_up_when_a_gateway_runs_full() {
    let mut site = Tended::new(&[a(), b()], 2);
    site.hears(&b(), 10).next();
    (site.head, site.fullest) = (50, 95);
    for second in 1..10 {
        assert_eq!(site.at(second).hears(&b(), 10).next(), None, "{second}");
    }
    assert_eq!(site.at(10).hears(&b(), 10).step(), Some(Command::Shrink(reign(), b())));
    assert_eq!(site.step(), Some(Command::Copies(reign(), 1)));
    for second in 11..100 {
        assert_eq!(site.at(second).hears(&b(), 10).next(), None, "it is not counted anew");
    }
    site.hears(&b(), 50);
    assert_eq!(site.next(), Some(Step::Count(b())), "its disk has room again");
}

#[test]
fn a_store_that_follows_under_load_is_not_stuck_however_long_the_load_lasts() {
    let mut site = Tended::new(&[a(), b()], 2);
    site.fullest = 100;
    for second in 0..1_000 {
        site.head = 20 + second;
        assert_eq!(site.at(second).hears(&b(), second).next(), None, "{second}");
    }
}

/// However the other store comes and goes, no change follows on a change without cause: at most three
/// documents (out, fewer copies; or in, more copies) for one thing that happened.
#[test]
fn nothing_flaps() {
    let mut site = Tended::new(&[a()], 1);
    let mut changes = 0;
    for second in 0..600 {
        site.head += 1;
        // Present for a minute, away for a minute; the gateways are full all the time.
        site.fullest = 95;
        site.at(second);
        if (second / 60) % 2 == 0 {
            let head = site.head;
            site.hears(&b(), head);
        }
        for _ in 0..4 {
            changes += u32::from(site.step().is_some());
        }
    }
    assert_eq!(changes, 4 * 5, "two when it comes, two when it is given up");
}
