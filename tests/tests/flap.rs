//! A standby that comes and goes while the active server takes a slow upload.

use std::time::Duration;

use postern_tests::checker::GapAllowance;
use postern_tests::harness::{Board, Error, Side, Site, SiteConfig, wait_until};

const WITHIN: Duration = Duration::from_mins(1);

/// A role document that says nothing new once broke off the batch that was under way: with a standby
/// that came back more often than a batch took, nothing was ever stored again.
#[test]
fn a_standby_that_comes_and_goes_does_not_stop_a_slow_upload() -> Result<(), Error> {
    let site = Site::start(SiteConfig::new(41, 2, Board::roomy))?;
    wait_until("both servers answer", WITHIN, || {
        let status = site.gateway.status()?;
        Ok(status.uplink.servers.iter().all(|server| server.link == "ok").then_some(()))
    })?;
    site.link(Side::A).limit(20_000);
    let boards: Vec<u32> = site.simulator.addresses.keys().copied().collect();
    boards.into_iter().try_for_each(|serial| site.simulator.generate(serial, 1_500))?;
    let mut interruptions = 0;
    wait_until("the backlog is stored although the standby flaps", WITHIN, || {
        let status = site.gateway.status()?;
        let standby = status.uplink.servers.iter().find(|server| server.name == "b");
        if standby.is_some_and(|server| server.link == "ok") {
            site.link(Side::B).cut();
            site.link(Side::B).open()?;
            interruptions += 1;
        }
        // Stored, and therefore safe to forget: otherwise the journal would fill.
        let stored = status.uplink.backlog == Some(0) && status.journal.safe == status.journal.head;
        let done = status.journal.head.0 >= 3_000 && stored;
        Ok(done.then_some(()))
    })?;
    assert!(interruptions > 3, "the standby did not flap: {interruptions}");
    site.finish(Side::A, GapAllowance::None)?.expect_ok();
    Ok(())
}
