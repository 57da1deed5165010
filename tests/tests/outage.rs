//! What the site loses for a while where the role changes by itself. All of it, again and again: `soak outages`.

use postern_tests::harness::Error;
use postern_tests::scenario::{Outage, outage};

/// Where this machine does not allow it a line has said so.
fn ends_well(what: Outage) -> Result<(), Error> {
    if let Some(run) = outage(what, 41, &mut |_| {})? {
        run.expect_ok();
    }
    Ok(())
}

#[test]
fn what_the_active_server_stores_without_the_voters_is_not_safe_and_is_merged() -> Result<(), Error>
{
    ends_well(Outage::VotersUnreached)
}
