//! The active server fails, and the other one takes over by itself. The long runs of the same are
//! `soak failovers`.

use postern_tests::harness::Error;
use postern_tests::scenario::{Fault, failovers};

#[test]
fn whatever_happens_to_the_active_server_the_other_takes_over_and_nothing_is_lost()
-> Result<(), Error> {
    let evidence = failovers(&Fault::ALL, 21, &mut |_| {})?.expect_ok();
    let terms: Vec<_> = evidence.reigns.iter().map(|seen| seen.role_term).collect();
    let changes = u64::try_from(Fault::ALL.len()).expect("a handful");
    assert!(terms.iter().max().is_some_and(|term| term.0 > changes), "{terms:?}");
    Ok(())
}
