//! A standby that is away for long, and comes back: the site goes on without it, and in the end both
//! servers hold the same.

use std::time::Duration;

use postern_tests::checker::GapAllowance;
use postern_tests::harness::{Board, Error, Side, Site, SiteConfig, wait_until};
use postern_tests::scenario::{self, Rebuild};

const WITHIN: Duration = Duration::from_mins(2);

/// The ring of the gateway's journal.
const RING: u64 = 1_000;

/// How many boards, and how often somebody swipes at each: ten times the ring together.
const BOARDS: u32 = 8;
const SWIPES: u64 = 10 * RING / BOARDS as u64;

#[test]
fn a_standby_that_is_off_for_ten_rings_stops_nothing_and_ends_equal() -> Result<(), Error> {
    let config = SiteConfig { capacity_entries: RING, ..SiteConfig::new(61, BOARDS, Board::roomy) };
    let mut site = Site::start(config)?;
    site.generate(20)?;
    site.drained(WITHIN)?;
    site.stop_server(Side::B)?;
    site.generate(SWIPES)?;
    site.drained(WITHIN)?;
    assert_eq!(site.server(Side::A).role()?.copies, 1, "the active server goes on alone");
    let status = site.gateway.status()?;
    assert_eq!(status.journal.full, None, "{status:?}");

    // It comes back under load, is killed while it catches up, and comes back again.
    site.simulator.people(200.0)?;
    site.restart_server(Side::B)?;
    wait_until("the standby to have begun to catch up", WITHIN, || {
        Ok((site.server(Side::B).role()?.log.position > 0).then_some(()))
    })?;
    site.kill_server(Side::B)?;
    site.restart_server(Side::B)?;
    site.in_sync(Side::A)?;
    site.settle(WITHIN)?;
    // With both in sync again everything is safe in the end, and the role can be handed over.
    wait_until("everything to be safe", WITHIN, || {
        Ok((site.gateway.status()?.journal.unsafe_entries == 0).then_some(()))
    })?;
    site.fail_over(Side::B, false)?;
    site.finish(Side::B, GapAllowance::None)?.expect_ok();
    Ok(())
}

/// The long run of it is `soak rebuild`.
#[test]
fn a_standby_that_is_rebuilt_under_load_and_broken_off_twice_ends_equal() -> Result<(), Error> {
    let wanted =
        Rebuild { stored: 3_000, rate: 200, boards: 6, slow: 200_000, bound: None, seed: 62 };
    let rebuilt = scenario::rebuild(wanted, &mut |_| {})?;
    assert!(rebuilt.bytes > wanted.slow, "the copy was too short to be broken off: {rebuilt}");
    rebuilt.finished.expect_ok();
    Ok(())
}
