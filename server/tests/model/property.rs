//! What must always hold, and what must be possible. The numbers are those of the project's
//! invariants.

use postern_protocol::role::Began;
use stateright::Property;

use super::document::Doc;
use super::log::SETTING;
use super::state::{Node, Setting, State};
use super::system::System;

pub const ONCE: &str = "6: each transaction is once in each log";
pub const GRANTED: &str = "7: who acts was granted that, and has it stored";
pub const ONE: &str = "7: one server acts under a role term";
pub const RISE: &str = "8: versions only rise, and nobody obeys a lower one";
pub const KEPT: &str = "9: whoever reigns holds what the gateway forgot";
pub const HEIR: &str = "9: whoever may reign next holds what the gateway was told it may forget";
pub const SET: &str = "9: whoever reigns holds the setting that was acknowledged";

/// Everything that is asked of the model.
pub fn all(safety_only: bool) -> Vec<Property<System>> {
    let mut all = vec![
        Property::always(ONCE, |_: &System, state: &State| {
            state.servers.iter().all(|node| node.log.is_once())
        }),
        Property::always(GRANTED, |_: &System, state: &State| {
            state.servers.iter().enumerate().all(|(server, node)| {
                let granted =
                    node.belief.names(server) && node.belief.version() <= state.kept.version();
                !node.acting || (granted && node.stored == node.belief)
            })
        }),
        Property::always(ONE, |_: &System, state: &State| {
            let [a, b] = &state.servers;
            !(a.acting && b.acting && a.belief.term == b.belief.term)
        }),
        Property::always(RISE, |_: &System, state: &State| !state.fell),
        Property::always(KEPT, |_: &System, state: &State| {
            state.reigning().is_none_or(|node| holds(node, state, state.gateway.safe))
        }),
        Property::always(HEIR, |_: &System, state: &State| {
            heirs(state).all(|node| holds(node, state, told(state)))
        }),
        Property::always(SET, |_: &System, state: &State| {
            let acknowledged = state.setting == Setting::Acknowledged && state.forced == 0;
            let set = |node: &Node| !acknowledged || node.log.holds(SETTING);
            state.reigning().is_none_or(set) && heirs(state).all(set)
        }),
    ];
    if !safety_only {
        all.extend(possible());
    }
    all
}

fn possible() -> Vec<Property<System>> {
    vec![
        Property::sometimes(
            "a failover, and everything is delivered",
            |system: &System, state: &State| {
                state.kept.began() == Began::Automatic && delivered(system, state)
            },
        ),
        Property::sometimes(
            "what is in sync shrinks, and all is delivered",
            |system: &System, state: &State| {
                state.kept.term == 1
                    && state.kept.in_sync.is_power_of_two()
                    && delivered(system, state)
            },
        ),
        Property::sometimes(
            "what is in sync grows after a failover",
            |_: &System, state: &State| {
                state.kept.began() == Began::Automatic && state.kept.in_sync.count_ones() == 2
            },
        ),
        Property::sometimes(
            "a store takes another one's place",
            |system: &System, state: &State| {
                state.kept.in_sync & 0b1100 != 0 && delivered(system, state)
            },
        ),
        Property::sometimes(
            "a switchover, and everything is delivered",
            |system: &System, state: &State| {
                state.kept.began() == Began::Switchover && delivered(system, state)
            },
        ),
        Property::sometimes(
            "a server claims again after a crash",
            |system: &System, state: &State| {
                // Nothing else leaves how a reign began as it was.
                let again =
                    state.kept.began() == Began::Founded && state.kept.term > Doc::FIRST.term;
                again && delivered(system, state)
            },
        ),
        Property::sometimes("a deposed server still acts", |_: &System, state: &State| {
            state.reigning().is_some() && state.servers.iter().all(|node| node.acting)
        }),
        Property::sometimes(
            "a deposed server comes back with a log of its own",
            |_: &System, state: &State| {
                let [a, b] = &state.servers;
                let apart = a.log.common(b.log) < a.log.len().min(b.log.len());
                apart && a.acting != b.acting && a.belief == b.belief
            },
        ),
        Property::sometimes(
            "the faults are used up, and all is as it was",
            |system: &System, state: &State| {
                let faults = state.faults;
                let [a, b] = &state.servers;
                faults.crashes + faults.wipes == 0
                    && state.kept.in_sync.count_ones() == 2
                    && state.kept.copies == 2
                    && state.reigning().is_some()
                    && a.log == b.log
                    && delivered(system, state)
            },
        ),
    ]
}

/// Whether the gateway's ring is empty, of all that was to happen.
pub fn delivered(system: &System, state: &State) -> bool {
    state.gateway.safe == system.bounds.transactions
}

/// The highest `safe` that the gateway was told, or may still come to hear.
fn told(state: &State) -> u8 {
    state.answers.iter().copied().max().unwrap_or(0).max(state.gateway.safe)
}

/// Whether a server holds everything that the gateway may forget, but what an operator gave up.
fn holds(node: &Node, state: &State, safe: u8) -> bool {
    let given_up = match state.gateway.forgiven {
        Some(forgiven) => forgiven,
        None if state.forced > 0 => return true,
        None => 0,
    };
    (given_up + 1..=safe).all(|id| node.log.holds(id))
}

/// The servers whose present stores are in sync.
pub fn heirs(state: &State) -> impl Iterator<Item = &Node> {
    state.servers.iter().filter(|node| state.kept.counts(node.store))
}
