//! What a server may believe.

use std::collections::BTreeMap;

use postern_protocol::role::{GroupRole, Limits, Mode, RoleDocument, SignedRole, StoreName};
use postern_protocol::uplink::Bytes;
use postern_protocol::{RoleTerm, Timestamp};

use super::*;

fn store(server: &str, store: &str) -> StoreName {
    StoreName { server: server.into(), store: store.into() }
}

fn role(active: &str, term: u64) -> GroupRole {
    let founded = GroupRole::founded(store(active, "s1"), RoleTerm(term), Timestamp(5));
    GroupRole { revision: 3, copies: 2, ..founded }
}

fn of(role: GroupRole) -> RoleDocument {
    let groups = BTreeMap::from([("main".into(), role)]);
    RoleDocument { site: "north".into(), groups, limits: Limits::default() }
}

fn document(active: &str, term: u64) -> RoleDocument {
    of(role(active, term))
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
    assert_eq!(present.adopted(signed(&next), next, Own::No).unwrap().state(), State::Standby);
}

/// Regression: a server that began again was shown a later revision of its own former reign, and acted
/// under it, where a proposal of the process before it could still come to hold.
#[test]
fn where_the_role_changes_by_itself_a_former_reign_is_not_gone_on_with() {
    for (mode, state) in [
        (Mode::Automatic, State::Starting),
        (Mode::Confirmed, State::Active),
        (Mode::Manual, State::Active),
    ] {
        let starting = belief(store("a", "s1"), &of(GroupRole { mode, ..role("a", 3) }));
        let later = of(GroupRole { mode, revision: 4, ..role("a", 3) });
        let adopted = starting.adopted(signed(&later), later.clone(), Own::No).unwrap();
        assert_eq!(adopted.state(), state, "{mode:?}");
        let acting = starting.confirmed().adopted(signed(&later), later, Own::No).unwrap();
        assert_eq!(acting.state(), State::Active, "it acts already");
        let again = of(GroupRole { mode, ..role("a", 5) });
        let shown = adopted.adopted(signed(&again), again.clone(), Own::No).unwrap();
        assert_eq!(shown.state(), state, "a claim that the process before it made, {mode:?}");
        let made = adopted.adopted(signed(&again), again, Own::Yes).unwrap();
        assert_eq!(made.state(), State::Active);
    }
}
