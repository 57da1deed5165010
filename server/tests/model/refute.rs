//! Each rule is needed: without it the checker finds what it is there against.

use std::collections::BTreeSet;

use stateright::{Checker, HasDiscoveries, Model};

use super::property::{GRANTED, HEIR, KEPT, RISE, SET};
use super::state::Faults;
use super::system::{Bounds, Flaw, System};

/// What is enough to show that a rule is needed: a failover.
const FAILOVER: Bounds = Bounds {
    transactions: 2,
    setting: true,
    terms: 2,
    revisions: 1,
    swaps: 1,
    late: false,
    faults: Faults { crashes: 0, wipes: 0, forces: 0 },
};

const CRASH: Bounds = Bounds { faults: Faults { crashes: 1, wipes: 0, forces: 0 }, ..FAILOVER };
const WIPE: Bounds = Bounds { faults: Faults { crashes: 0, wipes: 1, forces: 0 }, ..FAILOVER };

const FORCE: Bounds =
    Bounds { faults: Faults { crashes: 0, wipes: 0, forces: 1 }, revisions: 2, ..FAILOVER };

/// Before it: one copy is enough, what is in sync shrinks, and grows.
const REVISED: Bounds = Bounds { revisions: 3, swaps: 2, ..FAILOVER };
const REVISED_CRASH: Bounds = Bounds { faults: CRASH.faults, ..REVISED };

/// Whether the checker finds a state without this property; tells how it came to it.
fn refuted(flaw: Option<Flaw>, property: &'static str, bounds: Bounds) -> bool {
    let system = System { bounds, flaw, safety_only: true };
    let enough = HasDiscoveries::AnyOf(BTreeSet::from([property]));
    let checker = system.checker().finish_when(enough).spawn_bfs().join();
    let Some(path) = checker.discovery(property) else {
        println!("{flaw:?}: {property}: holds in {} states", checker.unique_state_count());
        return false;
    };
    println!("{flaw:?}: not \"{property}\", seen in {} states:", checker.unique_state_count());
    println!("  {:?}", path.into_actions());
    true
}

macro_rules! needed {
    ($($test:ident: $flaw:ident, $property:ident, $bounds:expr;)+) => {
        $(
            #[test]
            fn $test() {
                assert!(refuted(Some(Flaw::$flaw), $property, $bounds));
            }
        )+
    };
}

needed! {
    confirmations_name_their_role_term: NoTermAtThePeer, KEPT, FAILOVER;
    only_who_is_in_sync_claims: ClaimFromOutside, KEPT, REVISED;
    a_replaced_disk_is_another_store: ServersNotStores, KEPT, WIPE;
    the_document_shrinks_before_anything_is_acknowledged_alone: BeforeTheShrink, KEPT, FAILOVER;
    the_same_for_settings: BeforeTheShrink, SET, FAILOVER;
    a_store_that_lacks_something_is_not_in_sync: GrowBeforeItHolds, KEPT, REVISED;
    a_store_is_counted_before_it_is_in_sync: GrowBeforeItCounts, KEPT, REVISED;
    a_store_is_counted_while_it_may_come_in_sync: StopCounting, KEPT, REVISED;
    a_document_is_durable_before_it_is_obeyed: NotDurable, GRANTED, CRASH;
    a_document_that_was_obeyed_is_not_lost: NotDurable, RISE, CRASH;
    a_server_that_lost_it_confirms_to_a_deposed_one: NotDurable, SET, CRASH;
    one_copy_is_not_safe: OneCopy, KEPT, FAILOVER;
    the_gateway_never_obeys_a_lower_role_term: GatewayWithoutTerm, RISE, FAILOVER;
    a_lower_role_term_makes_nothing_safe: GatewayWithoutTerm, KEPT, FORCE;
    a_server_claims_again_after_a_restart: NoClaimAfterRestart, HEIR, REVISED_CRASH;
    the_coordination_store_compares_versions: BlindSwap, RISE, REVISED;
    the_coordination_store_compares_versions_of_what_is_in_sync: BlindSwap, KEPT, REVISED;
}

/// The bounds are not what refutes them.
#[test]
fn with_all_rules_nothing_is_refuted() {
    for bounds in [WIPE, REVISED, FORCE] {
        crate::holds(bounds, true);
    }
}
