//! The rule of a change.

use openraft::{LeaderId, Membership};

use super::*;
use crate::coordination::types::VoterAddress;
use crate::role::conformance::{document, version};

fn entry(state: &State, payload: EntryPayload<crate::coordination::types::TypeConfig>) -> Entry {
    let index = state.applied.map_or(0, |applied| applied.index + 1);
    Entry { log_id: LogId::new(LeaderId::new(1, 1), index), payload }
}

fn command(state: &mut State, command: Command) -> Reply {
    let entry = entry(state, EntryPayload::Normal(command));
    state.apply(entry)
}

fn swap(expected: RoleVersion, next: RoleVersion) -> Command {
    let (expected, version) = (expected.into(), next.into());
    let why = Words { event: "swap".into(), ..Words::default() };
    Command::Swap { expected, version, role: document(next, "swap"), why }
}

fn raise(next: RoleVersion) -> Command {
    Command::Raise { version: next.into(), role: document(next, "raise"), why: Words::default() }
}

#[test]
fn a_swap_needs_the_present_version_and_a_higher_one() {
    let mut state = State::default();
    assert_eq!(command(&mut state, swap(version(0, 0), version(1, 0))), Reply::Changed(false));
    assert_eq!(state.document, None);
    command(&mut state, raise(version(1, 0)));
    for (expected, next, fits) in [
        (version(0, 0), version(2, 0), false),
        (version(1, 1), version(2, 0), false),
        (version(1, 0), version(1, 0), false),
        (version(1, 0), version(0, 9), false),
        (version(1, 0), version(1, 1), true),
        (version(1, 0), version(9, 0), false),
        (version(1, 1), version(3, 0), true),
    ] {
        let before = state.document.clone();
        assert_eq!(command(&mut state, swap(expected, next)), Reply::Changed(fits));
        if fits {
            let after = state.document.as_ref().unwrap();
            assert_eq!((after.version(), &after.role), (next, &document(next, "swap")));
            assert_eq!(after.why.event, "swap");
        } else {
            assert_eq!(state.document, before);
        }
    }
    assert_eq!(state.applied.unwrap().index, 8);
}

#[test]
fn a_raise_takes_what_is_higher_than_nothing_or_than_what_is_there() {
    let mut state = State::default();
    assert_eq!(command(&mut state, raise(version(3, 1))), Reply::Changed(true));
    for low in [version(1, 0), version(3, 0), version(3, 1)] {
        assert_eq!(command(&mut state, raise(low)), Reply::Changed(false));
    }
    assert_eq!(command(&mut state, raise(version(3, 2))), Reply::Changed(true));
    assert_eq!(state.document.unwrap().version(), version(3, 2));
}

#[test]
fn a_node_id_is_given_once() {
    let mut state = State::default();
    let at = |name: &str| VoterAddress { name: name.into(), address: String::new() };
    let members = BTreeMap::from([(1, at("a")), (2, at("b")), (3, at("w"))]);
    let voters = vec![members.keys().copied().collect()];
    let founded = entry(&state, EntryPayload::Membership(Membership::new(voters, members)));
    assert_eq!(state.apply(founded), Reply::None);
    let admit =
        |state: &mut State, name: &str| command(state, Command::Admit { name: name.into() });
    assert_eq!(admit(&mut state, "b"), Reply::Admitted(4));
    assert_eq!(admit(&mut state, "b"), Reply::Admitted(5));
    // One of them became a voter, and the others left: the ids that were given stay given.
    let members = BTreeMap::from([(1, at("a"))]);
    let left = Membership::new(vec![members.keys().copied().collect()], members);
    let left = entry(&state, EntryPayload::Membership(left));
    state.apply(left);
    assert_eq!(admit(&mut state, "w"), Reply::Admitted(6));
    assert_eq!(state.admitted, BTreeMap::from([("b".into(), 5), ("w".into(), 6)]));
    let blank = entry(&state, EntryPayload::Blank);
    assert_eq!(state.apply(blank), Reply::None);
    assert_eq!(state.highest_node, 6);
}
