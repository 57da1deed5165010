//! Processes die without warning under traffic. The long runs of the same are `soak`'s.

use std::collections::BTreeSet;

use postern_tests::harness::Error;
use postern_tests::scenario;

#[test]
fn a_gateway_that_is_killed_again_and_again_loses_doubles_and_reorders_nothing() -> Result<(), Error>
{
    let evidence = scenario::gateway_kills(3, 11, 0, &mut |_| {})?.expect_ok();
    assert_eq!(evidence.kills.len(), 3);
    // The first kill may come before anything was read; the last cannot.
    assert!(evidence.kills[2].told.len() > 6, "too little was promised: {:?}", evidence.kills[2]);
    Ok(())
}

#[test]
fn an_active_server_that_is_killed_again_and_again_loses_nothing_with_or_without_failover()
-> Result<(), Error> {
    let evidence = scenario::server_kills(2, 12, &mut |_| {})?.expect_ok();
    assert_eq!(evidence.kills.len(), 2);
    // The one that came back by itself goes on under its role term: by hand, a reign outlives its process.
    let terms: BTreeSet<_> = evidence.reigns.iter().map(|seen| seen.role_term).collect();
    assert_eq!(terms.len(), 2, "one failover: {terms:?}");
    Ok(())
}
