//! What keeps a standby from taking over, although the active server is gone: it says so.

use std::time::Duration;

use postern_tests::checker::GapAllowance;
use postern_tests::harness::{Board, Error, Side, Site, SiteConfig, wait_until};

const WITHIN: Duration = Duration::from_mins(1);

/// Waits for a server to say that it would take over and may not, for this reason.
fn is_barred(site: &mut Site, standby: Side, reason: &str) -> Result<(), Error> {
    let what = format!("server {} to say: {reason}", standby.name());
    wait_until(&what, WITHIN, || {
        let role = site.server(standby).role()?;
        assert_eq!(role.state, "standby", "{role:?}");
        Ok(role.barred.is_some_and(|why| why.contains(reason)).then_some(()))
    })
}

fn taken_over(site: &Site, next: Side) -> Result<(), Error> {
    wait_until("the other server to take over", WITHIN, || {
        let active = site.gateway.status()?.uplink.active;
        Ok((active.as_deref() == Some(next.name())).then_some(()))
    })
}

#[test]
fn dwell_and_maintenance_bar_a_failover_and_the_standby_says_so() -> Result<(), Error> {
    let config = SiteConfig { automatic: true, ..SiteConfig::new(24, 2, Board::roomy) };
    let mut site = Site::start(config)?;
    site.simulator.people(20.0)?;
    site.wait_for_traffic(30)?;
    site.server(Side::A).rules(&["--dwell", "3600"])?;
    site.caught_up(Side::A)?;

    // The first silence is believed, a second one so soon after it is not.
    site.server(Side::A).pause()?;
    taken_over(&site, Side::B)?;
    site.server(Side::A).resume()?;
    site.caught_up(Side::B)?;
    site.server(Side::B).pause()?;
    is_barred(&mut site, Side::A, "the last automatic failover of group")?;
    site.server(Side::B).resume()?;
    wait_until("nothing to bar", WITHIN, || {
        Ok(site.server(Side::A).role()?.barred.is_none().then_some(()))
    })?;
    site.caught_up(Side::B)?;

    // A killed process is replaced whatever the dwell, but not under maintenance.
    site.server(Side::B).maintenance(true)?;
    site.caught_up(Side::B)?;
    site.kill_server(Side::B)?;
    is_barred(&mut site, Side::A, "under maintenance")?;
    site.restart_server(Side::B)?;
    site.caught_up(Side::B)?;

    // Nor does one that is stopped in order hand over then.
    let before = site.server(Side::B).role()?.role_term;
    site.stop_server(Side::B)?;
    is_barred(&mut site, Side::A, "under maintenance")?;
    site.restart_server(Side::B)?;
    site.caught_up(Side::B)?;
    let began = site.server(Side::B).reigns()?;
    let later = began.iter().filter(|began| began.role_term > before);
    assert!(later.clone().count() > 0, "a reign ends with its process: {began:?}");
    assert!(later.into_iter().all(|began| began.active == "b"), "handed over: {began:?}");
    site.server(Side::B).maintenance(false)?;
    site.caught_up(Side::B)?;
    site.kill_server(Side::B)?;
    taken_over(&site, Side::A)?;
    site.restart_server(Side::B)?;
    site.caught_up(Side::A)?;
    site.settle(WITHIN)?;
    site.finish(Side::A, GapAllowance::None)?.expect_ok();
    Ok(())
}
