//! Automatic failover in simulated time.

use std::collections::BTreeMap;

use postern_tests::simulation::{Flaw, run};

/// What must have happened in these seeds, or they say little.
const MET: [&str; 9] = [
    "failovers: silent",
    "failovers: ended",
    "begun again",
    "went on without a lease",
    "came back with a log of its own",
    "store_in_sync",
    "store_given_up",
    "copies_lowered",
    "elections",
];

/// Invariants 7, 8, 9 and 11: one active server for each role term, terms that only rise, nothing lost
/// that was called safe, and one active server with all of it in both stores after the faults.
#[test]
fn every_fault_in_any_order_loses_nothing_and_ends_with_one_active_server() {
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..60 {
        let report = run(seed, None);
        assert_eq!(report.wrong, None, "{report}");
        for (what, times) in report.seen {
            *seen.entry(what).or_default() += times;
        }
    }
    for what in MET {
        assert!(seen.contains_key(what), "{what} never happened: {seen:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let (one, other, another) = (run(7, None), run(7, None), run(8, None));
    assert_eq!(one, other);
    assert_ne!(one.digest, another.digest);
}

/// Mistakes that are made on purpose, and by what they are found. Some take more seeds than there is
/// time for here: `soak failover-simulation --flaw`, see `docs/testing.md`.
#[test]
fn each_mistake_is_found() {
    for (flaw, found) in [
        (Flaw::NewLeaderDoesNotWait, "both servers hold a lease"),
        (Flaw::KilledSeenByOne, "was taken for dead"),
        (Flaw::ClaimNotInSync, "lost"),
        (Flaw::ActsBeforeCommit, "no one active server"),
        (Flaw::RestartKeepsTerm, "a second process holds the lease"),
        (Flaw::ForgetsWhatItObeys, "goes back to role term"),
        (Flaw::SafeOnceStored, "lost"),
    ] {
        let finds = |seed| run(seed, Some(flaw)).wrong.is_some_and(|wrong| wrong.contains(found));
        assert!((0..60).any(finds), "{flaw:?}: {found} was not found");
    }
}
