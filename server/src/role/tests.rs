//! The rules of `decide` as a table, and what a server may believe.

use std::collections::BTreeMap;

use postern_protocol::role::{GroupRole, Mode, RoleDocument, SignedRole, StoreName};
use postern_protocol::uplink::Bytes;
use postern_protocol::{RoleTerm, Timestamp};
use proptest::prelude::*;

use super::decide::{Claim, Command, Denied, MAX_TERM, decide, first_term, next_term, owns_term};
use super::*;

fn store(server: &str, store: &str) -> StoreName {
    StoreName { server: server.into(), store: store.into() }
}

fn document(active: &str, term: u64) -> RoleDocument {
    let role = GroupRole {
        active: active.into(),
        role_term: RoleTerm(term),
        in_sync: vec![store(active, "s1")],
        copies: 2,
        mode: Mode::Manual,
        since: Timestamp(5),
    };
    RoleDocument { site: "north".into(), groups: BTreeMap::from([("main".into(), role)]) }
}

fn claim(to: StoreName, ordinal: u64, term: u64) -> Claim {
    Claim { group: "main".into(), to, ordinal, term: RoleTerm(term), at: Timestamp(9) }
}

#[test]
fn a_claim_makes_the_claimer_alone_active_and_in_sync() {
    let before = document("a", 1);
    let b = store("b", "s2");
    for command in
        [Command::HandOver(claim(b.clone(), 1, 2)), Command::Force(claim(b.clone(), 1, 2))]
    {
        let after = decide(&before, &command).unwrap();
        let expected = GroupRole {
            active: "b".into(),
            role_term: RoleTerm(2),
            in_sync: vec![b.clone()],
            copies: 1,
            mode: Mode::Manual,
            since: Timestamp(9),
        };
        assert_eq!(after.groups["main"], expected);
        assert_eq!(after.site, "north");
    }
}

#[test]
fn what_does_not_fit_the_document_is_denied() {
    let before = document("a", 3);
    let (b, same, other) = (store("b", "s2"), store("a", "s1"), store("a", "s9"));
    let table = [
        (
            Command::HandOver(Claim { group: "else".into(), ..claim(b.clone(), 1, 4) }),
            Denied::NoGroup { group: "else".into() },
        ),
        (
            Command::HandOver(claim(same.clone(), 0, 5)),
            Denied::AlreadyActive { server: "a".into(), term: RoleTerm(3) },
        ),
        (
            Command::Force(claim(same, 0, 5)),
            Denied::AlreadyActive { server: "a".into(), term: RoleTerm(3) },
        ),
        (
            Command::HandOver(claim(other.clone(), 0, 5)),
            Denied::StoreReplaced { server: "a".into(), named: "s1".into(), present: "s9".into() },
        ),
        (
            Command::Force(claim(b.clone(), 1, 2)),
            Denied::TermNotAbove { got: RoleTerm(2), present: RoleTerm(3) },
        ),
        (
            Command::HandOver(claim(b.clone(), 1, 3)),
            Denied::TermNotAbove { got: RoleTerm(3), present: RoleTerm(3) },
        ),
        (Command::Force(claim(b, 1, 5)), Denied::TermNotOwn { got: RoleTerm(5), ordinal: 1 }),
    ];
    for (command, denied) in table {
        assert_eq!(decide(&before, &command), Err(denied), "{command:?}");
    }
    // An operator may say that a server goes on without what its former store held.
    let after = decide(&before, &Command::Force(claim(other.clone(), 0, 5))).unwrap();
    assert_eq!(after.groups["main"].in_sync, [other]);
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
    assert_eq!(present.weigh(&document("b", 4)), Verdict::Adopt(RoleTerm(4)));
    assert_eq!(present.weigh(&document("b", 3)), Verdict::Keep);
    assert_eq!(present.weigh(&document("b", 2)), Verdict::Keep);
    let elsewhere = RoleDocument { site: "north".into(), groups: BTreeMap::new() };
    assert_eq!(present.weigh(&elsewhere), Verdict::Irrelevant);
    let next = document("b", 4);
    assert_eq!(present.adopted(signed(&next), next).unwrap().state(), State::Standby);
}
