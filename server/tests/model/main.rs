//! The rules of the role as a model, of which every state is looked at: two servers, a coordination
//! store, a gateway, and a network that loses, delays, doubles and reorders.
//!
//! - `document.rs`: the role document as small numbers; changes of it are made by the real
//!   `decide`.
//! - `log.rs`, `state.rs`: what there is.
//! - `system.rs`: what may happen, and the rules that servers and gateway follow; what is left out
//!   to show that it is needed.
//! - `property.rs`: what must always hold, and what must be possible.
//! - `refute.rs`: each rule left out, and what comes of that.
//! - `progress.rs`: that there is always a way back.
//!
//! # What the model is
//!
//! A server may take its peer for dead at any time, and may do nothing for any time. It crashes
//! where that takes something from it, and gets a new disk. Its log holds transactions and, so that
//! logs can differ in more than the role terms of their entries, a setting.
//!
//! A swap in the coordination store is asked for, and happens later, once, or never; whoever asked
//! learns of it by reading alone. Swaps that expect another document than the present one can never
//! happen any more and are gone. What was read may come late.
//!
//! All other messages may be lost, come at any later time, and come any number of times. They need
//! not be kept, since each only ever adds to what its receiver may do:
//!
//! - *Batches.* All transactions have happened and were sent to both servers; an active one stores
//!   the next of them at any time or never.
//! - *Confirmations* name the role term, the store and the last entry, so that one under an earlier
//!   reign or of another disk is not counted, and one that is doubled or late says less than the
//!   last. They arrive at once: the active server may make use of them later or never.
//! - *What is pulled* is under the reader's own role term, within which the active server's log
//!   only grows: a late answer holds what is there still. It arrives entry by entry, or never.
//! - *Answers* with `safe` are given whenever there is something new to say. For a gateway that
//!   obeys this role term they arrive at once, which is the worst; under higher role terms they
//!   wait until it hears of that, at any time; under lower ones they are nothing to it.
//! - *A setting* is acknowledged as soon as it may be.
//!
//! An operator may force a server that lacks what the gateway forgot. What that had forgotten when
//! it first obeyed such a server is given up, and recorded there as a hole; nothing else is.
//!
//! # What it leaves out
//!
//! Disks that go back to an earlier state under the same name; a gateway that loses its journal;
//! leases, dwell time, modes and limits, which only deny what this model allows; more than two
//! servers and one group.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, unreachable_pub)]

mod document;
mod log;
mod progress;
mod property;
mod refute;
mod state;
mod system;

use stateright::{Checker, Model};

use state::Faults;
use system::{Bounds, System};

/// Everything that goes wrong at servers.
const FAULTS: Bounds = Bounds {
    transactions: 2,
    setting: false,
    terms: 3,
    revisions: 3,
    swaps: 1,
    late: false,
    faults: Faults { crashes: 1, wipes: 1, forces: 0 },
};

/// With settings, so that logs diverge in what they hold.
const CRASHES: Bounds = Bounds {
    transactions: 1,
    setting: true,
    revisions: 2,
    faults: Faults { crashes: 1, wipes: 0, forces: 0 },
    ..FAULTS
};
const WIPES: Bounds = Bounds { faults: Faults { crashes: 0, wipes: 1, forces: 0 }, ..CRASHES };

/// More proposals under way, and late answers of the coordination store.
const DELAYS: Bounds = Bounds {
    transactions: 2,
    swaps: 2,
    late: true,
    faults: Faults { crashes: 0, wipes: 0, forces: 0 },
    ..CRASHES
};

/// With an operator who forces a server that may lack what the gateway forgot.
const FORCE: Bounds =
    Bounds { revisions: 2, faults: Faults { crashes: 1, wipes: 0, forces: 1 }, ..FAULTS };

/// For the longer runs: more reigns, and almost all of it at once.
const REIGNS: Bounds = Bounds { terms: 4, ..DELAYS };
const LONG: Bounds = Bounds { late: true, setting: true, revisions: 2, ..FAULTS };

/// Looks at every state; tells how many there were.
fn holds(bounds: Bounds, safety_only: bool) {
    holds_with(bounds, safety_only, 1);
}

fn holds_with(bounds: Bounds, safety_only: bool, threads: usize) {
    let system = System { bounds, flaw: None, safety_only };
    let checker = system.checker().threads(threads).spawn_bfs().join();
    let (all, unique) = (checker.state_count(), checker.unique_state_count());
    println!("{bounds:?}: {all} states, {unique} unique, at most {} steps", checker.max_depth());
    checker.assert_properties();
}

#[test]
fn the_rules_hold_and_everything_is_possible() {
    holds(FAULTS, false);
}

#[test]
fn the_rules_hold_with_settings() {
    holds(CRASHES, true);
}

#[test]
fn the_rules_hold_with_force() {
    holds(FORCE, true);
}

/// Whether the longer runs are wanted too.
fn long() -> bool {
    std::env::var("POSTERN_ROLE_STATES").is_ok_and(|which| which == "long" || which == "longest")
}

/// Some minutes; with `POSTERN_ROLE_STATES=long` or `longest` alone.
#[test]
fn the_rules_hold_further() {
    if !long() {
        println!(
            "SKIPPED: two million states more with POSTERN_ROLE_STATES=long, twelve with longest"
        );
        return;
    }
    for bounds in [WIPES, DELAYS, REIGNS] {
        holds_with(bounds, true, 2);
    }
    if std::env::var("POSTERN_ROLE_STATES").is_ok_and(|which| which == "longest") {
        holds_with(LONG, true, 2);
    }
}
