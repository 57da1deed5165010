//! Invariant 11: from every state there is a way, without another fault, to one in which all is well.
//! What is possible is not yet what happens, but where there is no way, nothing can happen; this is
//! what a rule that denies too much would come to.

use std::collections::HashMap;

use stateright::Model as _;

use super::property::{delivered, heirs};
use super::state::{Faults, State};
use super::system::{Action, Bounds, Flaw, System};

/// What is asked of states that are two reigns and three revisions below these bounds.
const CRASH: Bounds = Bounds {
    transactions: 1,
    setting: false,
    terms: 4,
    revisions: 3,
    swaps: 1,
    late: false,
    faults: Faults { crashes: 1, wipes: 0, forces: 0 },
};
const WIPE: Bounds = Bounds { faults: Faults { crashes: 0, wipes: 1, forces: 0 }, ..CRASH };
const BOTH: Bounds = Bounds { faults: Faults { crashes: 1, wipes: 1, forces: 0 }, ..CRASH };

/// Every state, and from which states it can be reached without another fault.
fn explored(system: &System) -> (Vec<State>, Vec<Vec<usize>>) {
    let mut states = system.init_states();
    let mut known: HashMap<State, usize> = states.iter().copied().zip(0..).collect();
    let mut before = vec![Vec::new()];
    let mut at = 0;
    while let Some(state) = states.get(at).copied() {
        for (action, next) in system.next_steps(&state) {
            let number = *known.entry(next).or_insert_with(|| {
                states.push(next);
                before.push(Vec::new());
                states.len() - 1
            });
            if !matches!(action, Action::Crash(_) | Action::Wipe(_)) {
                before[number].push(at);
            }
        }
        at += 1;
    }
    (states, before)
}

/// Everything is delivered, and stored by both servers, which are in sync.
fn well(system: &System, state: &State) -> bool {
    let [a, b] = &state.servers;
    delivered(system, state)
        && a.log == b.log
        && state.reigning().is_some()
        && heirs(state).count() == 2
        && state.kept.copies == 2
}

/// The states from which there is no way, of those that are asked.
fn lost(flaw: Option<Flaw>, bounds: Bounds) -> Vec<State> {
    let system = System { bounds, flaw, safety_only: true };
    let (states, before) = explored(&system);
    let mut good: Vec<bool> = states.iter().map(|state| well(&system, state)).collect();
    let mut next: Vec<usize> = (0..states.len()).filter(|at| good[*at]).collect();
    while let Some(at) = next.pop() {
        for earlier in &before[at] {
            if !std::mem::replace(&mut good[*earlier], true) {
                next.push(*earlier);
            }
        }
    }
    let asked = |state: &State| {
        // An operator's force is for a group whose stores in sync are gone.
        heirs(state).next().is_some()
            && state.kept.term + 2 <= bounds.terms
            && state.kept.revision + 3 <= bounds.revisions
    };
    let all = states.iter().filter(|state| asked(state)).count();
    let lost: Vec<State> = states
        .iter()
        .zip(good)
        .filter_map(|(state, good)| (asked(state) && !good).then_some(*state))
        .collect();
    println!("{flaw:?}, {bounds:?}: {} states, asked of {all}, {} lost", states.len(), lost.len());
    assert!(all > 0);
    lost
}

#[test]
fn after_faults_stop_there_is_a_way_back() {
    let bounds: &[Bounds] = if crate::long() { &[BOTH] } else { &[CRASH, WIPE] };
    for bounds in bounds {
        let lost = lost(None, *bounds);
        assert!(lost.is_empty(), "{:#?}", lost.first());
    }
}

/// A server that asked to count a store, and does not know whether that happened, may not stop
/// waiting for it. If that store's disk is replaced meanwhile, nothing but the same proposal ends
/// the doubt.
#[test]
fn a_proposal_of_unknown_outcome_is_made_again() {
    assert!(!lost(Some(Flaw::NoSecondProposal), WIPE).is_empty());
}
