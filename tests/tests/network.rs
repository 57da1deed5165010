//! The site with each server and the gateway at a host of its own, and what goes wrong between these: one way
//! alone, as no cut of a connection can show it.

use std::sync::Arc;
use std::time::Duration;

use postern_tests::checker::GapAllowance;
use postern_tests::harness::{Board, Error, Network, Side, Site, SiteConfig, wait_until};

const WITHIN: Duration = Duration::from_mins(2);

#[test]
fn a_standby_that_hears_nothing_lags_and_catches_up() -> Result<(), Error> {
    let Some(network) = Network::make(&Site::HOSTS)? else { return Ok(()) };
    let network = Some(Arc::new(network));
    let mut site = Site::start(SiteConfig { network, ..SiteConfig::new(71, 2, Board::roomy) })?;
    site.generate(20)?;
    site.drained(WITHIN)?;
    site.replicated(Side::A)?;

    // It is heard, and hears nothing.
    site.network()?.cut("a", "b")?;
    let before = site.server(Side::B).role()?.log;
    site.generate(20)?;
    site.drained(WITHIN)?;
    let status = site.gateway.status()?;
    assert!(status.journal.unsafe_entries >= 40, "one store alone holds what came: {status:?}");
    assert_eq!(site.server(Side::B).role()?.log, before, "nothing came through");

    site.network()?.heal("a", "b")?;
    site.in_sync(Side::A)?;
    site.replicated(Side::A)?;
    wait_until("everything to be safe", WITHIN, || {
        Ok((site.gateway.status()?.journal.unsafe_entries == 0).then_some(()))
    })?;

    // A server that is killed and comes back is looked at before the gateway reaches it.
    site.kill_server(Side::A)?;
    site.restart_server(Side::A)?;
    site.in_sync(Side::A)?;
    site.fail_over(Side::B, false)?;
    site.generate(20)?;
    site.drained(WITHIN)?;
    site.finish(Side::B, GapAllowance::None)?.expect_ok();
    Ok(())
}
