//! The active server fails, and the other one takes over by itself. The long runs of the same are
//! `soak failovers`.

use std::collections::BTreeSet;

use postern_tests::harness::Error;
use postern_tests::scenario::{Fault, failovers};

#[test]
fn whatever_happens_to_the_active_server_the_other_takes_over_and_nothing_is_lost()
-> Result<(), Error> {
    let evidence = failovers(&Fault::ALL, 0, 21, &mut |_| {})?.expect_ok();
    // One reign for each failure beside the first one: nobody took over for nothing.
    let terms: BTreeSet<_> = evidence.reigns.iter().map(|seen| seen.role_term).collect();
    assert_eq!(terms.len(), 1 + Fault::ALL.len(), "{terms:?}");
    // The one that was stopped lived while it handed over. None of the others is allowed anything for that.
    let times = evidence.times.iter().filter(|time| time.what.starts_with("two servers said"));
    assert_eq!(times.map(|time| time.bound_ms).collect::<Vec<_>>(), [0, 2_500]);
    Ok(())
}

/// Whoever is asked when it goes on says no, at once. After a minute: `soak failovers --faults frozen
/// --frozen 18000`.
#[test]
fn a_server_that_was_stopped_and_goes_on_does_not_say_for_a_moment_that_it_is_active()
-> Result<(), Error> {
    let evidence = failovers(&[Fault::Frozen], 500, 22, &mut |_| {})?.expect_ok();
    for server in ["a", "b"] {
        let said = format!("/active of server {server}");
        assert!(
            evidence.reigns.iter().any(|seen| seen.observer == said),
            "{server} never said yes"
        );
    }
    // Nobody handed anything over, so no yes of the one may come after one of the other.
    let overlap = evidence.times.iter().find(|time| time.what.starts_with("two servers said"));
    assert_eq!(overlap.map(|time| (time.took_ms, time.bound_ms)), Some((0, 0)));
    Ok(())
}
