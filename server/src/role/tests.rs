//! The rules of `decide` as a table, and what a server may believe.

use std::collections::BTreeMap;

use postern_protocol::role::{
    Began, GroupRole, Limits, Mode, RoleDocument, SignedRole, StoreName, WhenFull,
};
use postern_protocol::uplink::Bytes;
use postern_protocol::{RoleTerm, Timestamp};
use proptest::prelude::*;

use super::decide::{
    Because, By, Claim, Command, Denied, MAX_TERM, Reign, decide, first_term, next_term, owns_term,
};
use super::*;

fn store(server: &str, store: &str) -> StoreName {
    StoreName { server: server.into(), store: store.into() }
}

fn role(active: &str, term: u64) -> GroupRole {
    GroupRole {
        active: active.into(),
        role_term: RoleTerm(term),
        revision: 3,
        in_sync: vec![store(active, "s1")],
        copies: 2,
        copies_wanted: 2,
        mode: Mode::Manual,
        when_full: WhenFull::Lower,
        preferred: None,
        dwell_ms: 0,
        maintenance: false,
        began: Began::Founded,
        forced: None,
        since: Timestamp(5),
    }
}

fn of(role: GroupRole) -> RoleDocument {
    let groups = BTreeMap::from([("main".into(), role)]);
    RoleDocument { site: "north".into(), groups, limits: Limits::default() }
}

fn document(active: &str, term: u64) -> RoleDocument {
    of(role(active, term))
}

/// As it stands after the command.
fn after(document: &RoleDocument, command: &Command) -> GroupRole {
    decide(document, command).unwrap().groups["main"].clone()
}

fn claim(to: StoreName, ordinal: u64, term: u64) -> Claim {
    let by = By::Operator;
    Claim { group: "main".into(), to, ordinal, term: RoleTerm(term), by, at: Timestamp(9) }
}

fn reign(server: &str, term: u64) -> Reign {
    Reign { group: "main".into(), holder: store(server, "s1"), term: RoleTerm(term) }
}

#[test]
fn the_role_moves_and_what_is_in_sync_moves_with_it() {
    let b = store("b", "s2");
    let pair = GroupRole { in_sync: vec![store("a", "s1"), b.clone()], ..role("a", 1) };
    let next = GroupRole {
        active: "b".into(),
        role_term: RoleTerm(2),
        revision: 0,
        since: Timestamp(9),
        ..pair.clone()
    };
    let to_b = claim(b.clone(), 1, 2);
    let alone = GroupRole { in_sync: vec![b], ..next.clone() };
    let table = [
        (
            Command::HandOver(reign("a", 1), to_b.clone()),
            GroupRole { began: Began::Switchover, ..next },
        ),
        (
            Command::Claim(to_b.clone(), Because::Vouched),
            GroupRole { began: Began::Failover, ..alone.clone() },
        ),
        (
            Command::Force(to_b),
            GroupRole { began: Began::Force, forced: Some(RoleTerm(2)), ..alone },
        ),
    ];
    for (command, expected) in table {
        assert_eq!(after(&of(pair.clone()), &command), expected, "{command:?}");
    }
}

#[test]
fn what_does_not_fit_the_document_is_denied() {
    let before = document("a", 3);
    let (b, same, other) = (store("b", "s2"), store("a", "s1"), store("a", "s9"));
    let not_in_sync = |name: &StoreName| Denied::NotInSync {
        server: name.server.clone(),
        store: name.store.clone(),
        in_sync: "a with s1".into(),
    };
    let active = || Denied::AlreadyActive { server: "a".into(), term: RoleTerm(3) };
    let table = [
        (
            Command::Force(Claim { group: "else".into(), ..claim(b.clone(), 1, 4) }),
            Denied::NoGroup { group: "else".into() },
        ),
        (Command::Force(claim(same.clone(), 0, 5)), active()),
        (Command::HandOver(reign("a", 3), claim(same.clone(), 0, 5)), active()),
        (Command::Claim(claim(same, 0, 5), Because::Vouched), active()),
        (Command::HandOver(reign("a", 3), claim(b.clone(), 1, 4)), not_in_sync(&b)),
        (Command::Claim(claim(b.clone(), 1, 4), Because::Vouched), not_in_sync(&b)),
        (Command::Claim(claim(other.clone(), 0, 5), Because::Restarted), not_in_sync(&other)),
        (
            Command::Claim(claim(b.clone(), 1, 4), Because::Restarted),
            Denied::NotItsOwn { server: "b".into(), active: "a".into() },
        ),
        (
            Command::Force(Claim { by: By::Server, ..claim(b.clone(), 1, 4) }),
            Denied::OperatorOnly { group: "main".into() },
        ),
        (
            Command::Force(claim(b.clone(), 1, 2)),
            Denied::TermNotAbove { got: RoleTerm(2), present: RoleTerm(3) },
        ),
        (
            Command::Force(claim(b.clone(), 1, 3)),
            Denied::TermNotAbove { got: RoleTerm(3), present: RoleTerm(3) },
        ),
        (Command::Force(claim(b, 1, 5)), Denied::TermNotOwn { got: RoleTerm(5), ordinal: 1 }),
    ];
    for (command, denied) in table {
        assert_eq!(decide(&before, &command), Err(denied), "{command:?}");
    }
    // An operator may say that a server goes on without what its former store held.
    let forced = after(&before, &Command::Force(claim(other.clone(), 0, 5)));
    assert_eq!((forced.in_sync.as_slice(), forced.began), (&[other][..], Began::Force));
}

#[test]
fn members_count_in_classes_of_their_own() {
    assert_eq!((first_term(0), first_term(1)), (RoleTerm(1), RoleTerm(2)));
    for (ordinal, floor, next) in [(0, 0, 1), (0, 1, 3), (0, 2, 3), (1, 0, 2), (1, 1, 2), (1, 2, 4)]
    {
        assert_eq!(next_term(ordinal, RoleTerm(floor)), Some(RoleTerm(next)));
    }
    assert_eq!(next_term(0, MAX_TERM), None);
    assert_eq!(next_term(1, RoleTerm(u64::MAX)), None);
}

proptest! {
    /// Invariant 7: two failovers that are forced apart never mint one role term with two holders.
    #[test]
    fn no_role_term_has_two_holders(floor_a in 0_u64..1_000, floor_b in 0_u64..1_000) {
        let (a, b) = (next_term(0, RoleTerm(floor_a)).unwrap(), next_term(1, RoleTerm(floor_b)).unwrap());
        prop_assert_ne!(a, b);
        prop_assert!(a.0 > floor_a && b.0 > floor_b);
        prop_assert!(owns_term(0, a) && !owns_term(1, a) && owns_term(1, b) && !owns_term(0, b));
    }
}

fn signed(document: &RoleDocument) -> SignedRole {
    SignedRole {
        document: serde_json::to_string(document).unwrap(),
        certificate: Bytes(Vec::new()),
        signature: Bytes(Vec::new()),
    }
}

fn belief(me: StoreName, document: &RoleDocument) -> Belief {
    Belief::new(me, "main", signed(document), document.clone()).unwrap()
}

#[test]
fn a_server_acts_only_with_the_named_store_and_after_asking_around() {
    let document = document("a", 1);
    let starting = belief(store("a", "s1"), &document);
    assert_eq!(starting.state(), State::Starting);
    assert_eq!(starting.confirmed().state(), State::Active);
    assert_eq!(belief(store("a", "s9"), &document).confirmed().state(), State::SetAside);
    assert_eq!(belief(store("b", "s2"), &document).confirmed().state(), State::Standby);
    assert!(Belief::new(store("a", "s1"), "else", signed(&document), document).is_none());
}

/// Invariant 8: role terms only rise.
#[test]
fn only_a_higher_role_term_is_adopted() {
    let present = belief(store("a", "s1"), &document("a", 3)).confirmed();
    assert_eq!(
        present.weigh(&document("b", 4)),
        Verdict::Adopt(document("b", 4).groups["main"].version())
    );
    assert_eq!(present.weigh(&document("b", 3)), Verdict::Keep);
    assert_eq!(present.weigh(&document("b", 2)), Verdict::Keep);
    let elsewhere = RoleDocument { groups: BTreeMap::new(), ..document("a", 9) };
    assert_eq!(present.weigh(&elsewhere), Verdict::Irrelevant);
    let next = document("b", 4);
    assert_eq!(present.adopted(signed(&next), next).unwrap().state(), State::Standby);
}
