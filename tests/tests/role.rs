//! Who is active: what an operator may do, and what a server that was deposed may not.

use std::time::Duration;

use postern_tests::checker::GapAllowance;
use postern_tests::harness::{Board, Error, Side, Site, SiteConfig, wait_until};
use postern_tests::scenario::{self, Changes, How};

const WITHIN: Duration = Duration::from_mins(1);

#[test]
fn a_switchover_between_two_living_servers_needs_no_force_and_loses_nothing() -> Result<(), Error> {
    let mut site = Site::start(SiteConfig::new(51, 2, Board::roomy))?;
    site.simulator.people(100.0)?;
    site.wait_for_traffic(200)?;
    site.fail_over(Side::B, false)?;
    site.wait_for_traffic(200)?;
    site.fail_over(Side::A, false)?;
    site.wait_for_traffic(100)?;
    site.settle(WITHIN)?;
    site.finish(Side::A, GapAllowance::None)?.expect_ok();
    Ok(())
}

#[test]
fn a_failover_is_refused_without_force_while_the_peer_is_out_of_reach() -> Result<(), Error> {
    let mut site = Site::start(SiteConfig::new(52, 1, Board::roomy))?;
    site.simulator.people(50.0)?;
    site.wait_for_traffic(50)?;
    site.kill_server(Side::A)?;

    let refused = site.server(Side::B).failover(false)?;
    assert_ne!(refused.exit.code, Some(0), "{refused:?}");
    assert!(refused.stderr.contains("--force"), "it does not say what to do: {}", refused.stderr);
    let role = site.server(Side::B).role()?;
    assert_eq!((role.active.as_str(), role.role_term.0), ("a", 1));

    site.fail_over(Side::B, true)?;
    site.settle(WITHIN)?;
    site.finish(Side::B, GapAllowance::None)?.expect_ok();
    Ok(())
}

/// The peer that deposed it is dead, so only the gateway can tell the old active server.
#[test]
fn a_stale_server_stores_nothing_once_the_gateway_has_shown_it_the_higher_document()
-> Result<(), Error> {
    let mut site = Site::start(SiteConfig::new(53, 2, Board::roomy))?;
    site.simulator.people(100.0)?;
    site.wait_for_traffic(200)?;
    site.kill_server(Side::A)?;
    site.fail_over(Side::B, true)?;
    site.wait_for_traffic(200)?;
    site.kill_server(Side::B)?;

    site.restart_server(Side::A)?;
    let held = site.server(Side::A).store()?.rows.len();
    wait_until("server a to learn from the gateway that it was deposed", WITHIN, || {
        Ok((site.server(Side::A).role()?.active == "b").then_some(()))
    })?;
    site.wait_for_traffic(200)?;
    let rows = site.server(Side::A).store()?.rows;
    assert_eq!(rows.len(), held, "a deposed server has stored something");

    site.restart_server(Side::B)?;
    site.settle(WITHIN)?;
    site.finish(Side::B, GapAllowance::None)?.expect_ok();
    Ok(())
}

/// The long run of it is `soak role-changes`.
#[test]
fn role_changes_in_the_middle_of_the_traffic_lose_nothing_and_both_servers_end_equal()
-> Result<(), Error> {
    let wanted = Changes { count: 4, swipes: 3_000, rate: 200, boards: 6, seed: 54 };
    let changed = scenario::role_changes(wanted, &mut |_| {})?;
    let forced = changed.count(How::Killed) + changed.count(How::Stopped);
    assert_eq!((changed.count(How::Switchover), forced), (2, 2));
    let evidence = changed.finished.expect_ok();
    let terms: std::collections::BTreeSet<_> =
        evidence.active.rows.iter().map(|row| row.role_term).collect();
    assert_eq!(terms.len(), 5, "something was stored in each reign: {terms:?}");
    Ok(())
}
