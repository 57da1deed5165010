//! A server whose disk was wiped, put back to an earlier day or restored from a backup, and that is back at
//! once: as the active one it never reigns, as the standby it counts only once it holds everything.

use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_tests::checker::GapAllowance;
use postern_tests::harness::{Board, Error, Side, Site, SiteConfig, wait_until};

const WITHIN: Duration = Duration::from_mins(1);

/// How many swipes there are at least before and after a copy is taken.
const SWIPES: u64 = 150;

/// A site under load, and where its stores lay before the first transaction and some time later, by
/// server. All that was stored since is held by both.
struct Wiped {
    site: Site,
    empty: PathBuf,
    earlier: PathBuf,
}

impl Wiped {
    /// The copies are of this server's store.
    fn start(seed: u64, whose: Side) -> Result<Self, Error> {
        let mut site = Site::prepare(SiteConfig::new(seed, 2, Board::roomy))?;
        let (empty, earlier) = (site.dir.join("empty"), site.dir.join("earlier"));
        copy(&mut site, whose, &empty)?;
        site.gateway.start()?;
        site.simulator.people(100.0)?;
        site.wait_for_traffic(SWIPES)?;
        copy(&mut site, whose, &earlier)?;
        let mut wiped = Self { site, empty, earlier };
        wiped.go_on()?;
        Ok(wiped)
    }

    /// Some time goes by, after which more is safe than there was.
    fn go_on(&mut self) -> Result<(), Error> {
        let head = self.site.gateway.status()?.journal.head;
        self.site.wait_for_traffic(SWIPES)?;
        wait_until("what came meanwhile to be safe", WITHIN, || {
            Ok((self.site.gateway.status()?.journal.safe > head).then_some(()))
        })?;
        self.site.caught_up(Side::A)
    }

    /// The active server came back with less than it had, and is not to reign: its peer takes over, and the
    /// site goes on as if nothing had happened.
    fn taken_over(mut self, why: &[&str]) -> Result<(), Error> {
        let site = &mut self.site;
        wait_until("the active server to be set aside", WITHIN, || {
            Ok((site.server(Side::A).role()?.state == "set_aside").then_some(()))
        })?;
        // It says so a moment later.
        wait_until("the active server to say why", WITHIN, || {
            let said = site.server(Side::A).audit()?;
            Ok(why.iter().any(|event| said.iter().any(|said| said == event)).then_some(()))
        })?;
        let held = site.server(Side::A).store()?.rows.len();

        let refused = site.server(Side::B).failover(false)?;
        assert_ne!(refused.exit.code, Some(0), "it has nothing to hand over: {refused:?}");
        assert!(refused.stderr.contains("--force"), "{}", refused.stderr);
        site.wait_for_traffic(SWIPES)?;
        let rows = site.server(Side::A).store()?.rows;
        assert_eq!(rows.len(), held, "it has stored something although it lacks what it told");

        site.fail_over(Side::B, true)?;
        site.caught_up(Side::B)?;
        // It is as good as new: the role can be handed over to it.
        site.wait_for_traffic(SWIPES)?;
        site.fail_over(Side::A, false)?;
        site.settle(WITHIN)?;
        site_ends_equal(self.site, Side::A)
    }

    /// The standby came back with less than it had: it counts again once it holds what it held, and then can
    /// stand in for the active server.
    fn counted_again(mut self, aim: u64, why: &str) -> Result<(), Error> {
        let site = &mut self.site;
        wait_until("the standby to be counted out", WITHIN, || {
            let said = site.server(Side::A).audit()?;
            Ok(said.iter().any(|event| event == why).then_some(()))
        })?;
        site.counted(Side::A, aim)?;
        site.caught_up(Side::A)?;
        site.wait_for_traffic(SWIPES)?;
        site.kill_server(Side::A)?;
        site.fail_over(Side::B, true)?;
        site.settle(WITHIN)?;
        site_ends_equal(self.site, Side::B)
    }
}

fn copy(site: &mut Site, whose: Side, to: &Path) -> Result<(), Error> {
    site.stop_server(whose)?;
    site.server(whose).copy_store(to)?;
    site.restart_server(whose)
}

fn site_ends_equal(site: Site, active: Side) -> Result<(), Error> {
    let evidence = site.finish(active, GapAllowance::None)?.expect_ok();
    let holes: usize = evidence.active.journals.iter().map(|journal| journal.holes.len()).sum();
    assert_eq!(holes, 0, "{:?}", evidence.active.journals);
    Ok(())
}

/// Where the active server's log ended while both held it.
fn crash(wiped: &mut Wiped, side: Side) -> Result<u64, Error> {
    let aim = wiped.site.server(Side::A).role()?.log.position;
    wiped.site.caught_up(Side::A)?;
    wiped.site.crash_server(side)?;
    Ok(aim)
}

#[test]
fn an_active_server_whose_store_is_lost_does_not_start_and_does_not_reign_with_an_empty_one()
-> Result<(), Error> {
    let mut wiped = Wiped::start(91, Side::A)?;
    crash(&mut wiped, Side::A)?;
    let server = wiped.site.server(Side::A);
    server.remove_store()?;
    let failed = server.fail_to_start()?;
    assert_eq!(failed.exit.code, Some(10), "{failed:?}");
    wiped.site.note_exit(failed.exit, 10);
    let empty = wiped.empty.clone();
    wiped.site.server(Side::A).put_back(&empty)?;
    wiped.site.restart_server(Side::A)?;
    assert!(wiped.site.server(Side::A).store()?.rows.is_empty(), "it is empty");
    wiped.taken_over(&["store_put_back", "behind_safe"])
}

#[test]
fn an_active_server_that_is_put_back_to_an_earlier_day_does_not_reign() -> Result<(), Error> {
    let mut wiped = Wiped::start(92, Side::A)?;
    crash(&mut wiped, Side::A)?;
    let earlier = wiped.earlier.clone();
    wiped.site.server(Side::A).put_back(&earlier)?;
    wiped.site.restart_server(Side::A)?;
    wiped.taken_over(&["store_put_back", "behind_safe"])
}

#[test]
fn an_active_server_that_is_restored_from_a_backup_does_not_reign() -> Result<(), Error> {
    let mut wiped = Wiped::start(93, Side::A)?;
    let backup = wiped.site.dir.join("backup.sqlite");
    wiped.site.server(Side::A).back_up(&backup)?;
    wiped.go_on()?;
    crash(&mut wiped, Side::A)?;
    wiped.site.server(Side::A).restore(&backup)?;
    wiped.site.restart_server(Side::A)?;
    wiped.taken_over(&["restore"])
}

#[test]
fn a_standby_that_lost_its_directory_and_joins_anew_counts_once_it_holds_everything()
-> Result<(), Error> {
    let mut wiped = Wiped::start(94, Side::B)?;
    let aim = crash(&mut wiped, Side::B)?;
    wiped.site.join_anew(Side::B)?;
    wiped.site.restart_server(Side::B)?;
    wiped.counted_again(aim, "store_replaced")
}

#[test]
fn a_standby_that_is_put_back_to_when_it_was_empty_counts_once_it_holds_everything()
-> Result<(), Error> {
    let mut wiped = Wiped::start(95, Side::B)?;
    let aim = crash(&mut wiped, Side::B)?;
    let empty = wiped.empty.clone();
    wiped.site.server(Side::B).put_back(&empty)?;
    wiped.site.restart_server(Side::B)?;
    wiped.counted_again(aim, "store_fell_back")
}

#[test]
fn a_standby_that_is_put_back_to_an_earlier_day_counts_once_it_holds_everything()
-> Result<(), Error> {
    let mut wiped = Wiped::start(96, Side::B)?;
    let aim = crash(&mut wiped, Side::B)?;
    let earlier = wiped.earlier.clone();
    wiped.site.server(Side::B).put_back(&earlier)?;
    wiped.site.restart_server(Side::B)?;
    wiped.counted_again(aim, "store_fell_back")
}

#[test]
fn a_standby_that_is_restored_from_a_backup_counts_once_it_holds_everything() -> Result<(), Error> {
    let mut wiped = Wiped::start(97, Side::B)?;
    let backup = wiped.site.dir.join("backup.sqlite");
    wiped.site.server(Side::B).back_up(&backup)?;
    wiped.go_on()?;
    let aim = crash(&mut wiped, Side::B)?;
    wiped.site.server(Side::B).restore(&backup)?;
    wiped.site.restart_server(Side::B)?;
    wiped.counted_again(aim, "store_replaced")
}
