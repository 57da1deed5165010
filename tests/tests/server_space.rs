//! A server's disk that runs full: the site goes on with what there is room for, says what is the matter,
//! and in the end both servers hold the same.

use std::time::Duration;

use postern_tests::checker::GapAllowance;
use postern_tests::harness::{Board, Disk, Error, Side, Site, SiteConfig, wait_until};

/// After a copy that failed there is a pause, which doubles.
const WITHIN: Duration = Duration::from_mins(2);
const MIB: u64 = 1024 * 1024;

/// What is kept free beside a copy that is sent.
const ROOM_LEFT: u64 = 256 * MIB;

/// A site one of whose servers is on a disk of its own; `None` where there can be none.
fn site_on_a_disk(seed: u64, whose: Side, bytes: u64) -> Result<Option<(Site, Disk)>, Error> {
    let config = SiteConfig { wired_pair: true, ..SiteConfig::new(seed, 4, Board::roomy) };
    let mut site = Site::start(config)?;
    let Some(disk) = Disk::mount(bytes, &site.dir, &site.dir.join("logs"))? else {
        site.remove()?;
        return Ok(None);
    };
    site.stop_server(whose)?;
    site.server(whose).move_to(&disk)?;
    site.restart_server(whose)?;
    site.caught_up(Side::A)?;
    site.simulator.people(100.0)?;
    site.wait_for_traffic(100)?;
    Ok(Some((site, disk)))
}

/// Waits until the standby says that it does not follow, and why.
fn complains(site: &mut Site, why: &str) -> Result<(), Error> {
    wait_until(&format!("the standby to say {why:?}"), WITHIN, || {
        Ok(site.server(Side::B).role()?.failure().contains(why).then_some(()))
    })
}

/// Waits until the active server has stored so many transactions more.
fn goes_on(site: &mut Site, more: u64) -> Result<(), Error> {
    let stored =
        |site: &Site| Ok::<_, Error>(site.gateway.status()?.uplink.stored.unwrap_or_default());
    let before = stored(site)?;
    wait_until("the active server to go on", WITHIN, || {
        Ok((stored(site)?.0 >= before.0 + more).then_some(()))
    })
}

/// The standby is absent, and meanwhile the active server's log is cut: it will need a full copy.
fn cut_off(site: &mut Site) -> Result<(), Error> {
    site.stop_server(Side::B)?;
    goes_on(site, 100)?;
    site.stop_server(Side::A)?;
    site.server(Side::A).forget_log()?;
    site.restart_server(Side::A)
}

fn ends_equal(mut site: Site, active: Side) -> Result<(), Error> {
    site.caught_up(active)?;
    site.settle(WITHIN)?;
    wait_until("everything to be safe", WITHIN, || {
        Ok((site.gateway.status()?.journal.unsafe_entries == 0).then_some(()))
    })?;
    site.finish(active, GapAllowance::None)?.expect_ok();
    Ok(())
}

#[test]
fn a_standby_whose_disk_is_full_says_so_stops_nobody_and_goes_on_once_there_is_room()
-> Result<(), Error> {
    let Some((mut site, disk)) = site_on_a_disk(101, Side::B, 32 * MIB)? else { return Ok(()) };
    disk.leave(0)?;
    // Bursts: what was allocated in the log's file before is written over first.
    wait_until("the standby to say that its disk is full", WITHIN, || {
        site.generate(500)?;
        Ok(site.server(Side::B).role()?.failure().contains("full").then_some(()))
    })?;
    goes_on(&mut site, 200)?;
    let shown = site.gateway.status()?;
    assert!(shown.journal.unsafe_entries > 0, "what one store holds is not safe: {shown:?}");
    disk.clear()?;
    site.caught_up(Side::A)?;
    // It holds all of it and can stand in for the active server.
    site.fail_over(Side::B, false)?;
    ends_equal(site, Side::B)
}

/// Waits until the active server, whose disk is full, has refused what the gateway sends.
fn refuses(site: &mut Site, disk: &Disk) -> Result<(), Error> {
    site.settle(WITHIN)?;
    disk.leave(0)?;
    // More than fits into what the store's files have been given already.
    site.generate(1_500)?;
    site.collected(WITHIN)?;
    wait_until("the active server to take nothing more", WITHIN, || {
        let uplink = site.gateway.status()?.uplink;
        Ok((uplink.state == "waiting" && uplink.backlog > Some(0)).then_some(()))
    })
}

#[test]
fn an_active_server_whose_disk_is_full_takes_nothing_and_goes_on_once_there_is_room()
-> Result<(), Error> {
    let Some((mut site, disk)) = site_on_a_disk(102, Side::A, 32 * MIB)? else { return Ok(()) };
    refuses(&mut site, &disk)?;
    let told = site.server(Side::A).role()?;
    assert_eq!((told.state.as_str(), told.store_full), ("active", true));
    disk.clear()?;
    site.drained(WITHIN)?;
    assert!(!site.server(Side::A).role()?.store_full, "there is room again");
    ends_equal(site, Side::A)
}

/// The operator does not wait for room: the other server was in sync.
#[test]
fn a_standby_takes_over_from_an_active_server_whose_disk_is_full() -> Result<(), Error> {
    let Some((mut site, disk)) = site_on_a_disk(103, Side::A, 32 * MIB)? else { return Ok(()) };
    refuses(&mut site, &disk)?;
    // It cannot write down that it is standby from now on.
    let refused = site.server(Side::B).failover(false)?;
    assert_ne!(refused.exit.code, Some(0), "{refused:?}");
    assert!(refused.stderr.contains("disk is full"), "{}", refused.stderr);
    site.fail_over(Side::B, true)?;
    site.drained(WITHIN)?;
    disk.clear()?;
    ends_equal(site, Side::B)
}

/// A site whose role changes by itself, with its active server, a, on a disk of its own.
fn automatic_site_on_a_disk(seed: u64, bytes: u64) -> Result<Option<(Site, Disk)>, Error> {
    let config = SiteConfig { automatic: true, ..SiteConfig::new(seed, 4, Board::roomy) };
    let mut site = Site::start(config)?;
    let Some(disk) = Disk::mount(bytes, &site.dir, &site.dir.join("logs"))? else {
        site.remove()?;
        return Ok(None);
    };
    site.caught_up(Side::A)?;
    // It hands over, and is given the role back.
    site.stop_server(Side::A)?;
    site.server(Side::A).move_to(&disk)?;
    site.restart_server(Side::A)?;
    site.caught_up(Side::B)?;
    site.fail_over(Side::A, false)?;
    site.caught_up(Side::A)?;
    site.simulator.people(60.0)?;
    site.wait_for_traffic(100)?;
    Ok(Some((site, disk)))
}

/// The active server lives, so nothing moves by itself. What an operator orders the voters decide, so that a server
/// which cannot write it down is asked for nothing.
#[test]
fn where_the_role_changes_by_itself_it_stays_with_a_full_disk_and_an_operator_needs_no_force()
-> Result<(), Error> {
    let Some((mut site, disk)) = automatic_site_on_a_disk(106, 32 * MIB)? else { return Ok(()) };
    refuses(&mut site, &disk)?;
    let before = site.server(Side::A).role()?;
    assert_eq!((before.state.as_str(), before.store_full), ("active", true));
    // Well above a lease and the silence that is waited for.
    site.simulator.people(60.0)?;
    site.wait_for_traffic(480)?;
    let after = site.server(Side::A).role()?;
    assert_eq!((after.state, after.role_term), (before.state, before.role_term));
    assert_eq!(after.voters.and_then(|voters| voters.lease), Some(true), "it keeps its lease");
    // Where the full server leads the voters, the first order may find that out: another one leads then.
    let leader = |site: &mut Site| -> Result<Option<String>, Error> {
        Ok(site.server(Side::B).role()?.voters.and_then(|voters| voters.leader))
    };
    let led = leader(&mut site)?;
    if let Err(error) = site.fail_over(Side::B, false) {
        assert_eq!(led.as_deref(), Some(Side::A.name()), "{error}");
        wait_until("another voter to lead", WITHIN, || {
            Ok(leader(&mut site)?.filter(|name| name != Side::A.name()).map(drop))
        })?;
        site.fail_over(Side::B, false)?;
    }
    site.settle(WITHIN)?;
    // It may not have written it down yet, and does not claim to be what it was.
    wait_until("the server without room to have no lease", WITHIN, || {
        let voters = site.server(Side::A).role()?.voters;
        Ok(voters.is_none_or(|voters| voters.lease != Some(true)).then_some(()))
    })?;
    assert_eq!(site.server(Side::A).healthy("/active")?, None);
    disk.clear()?;
    wait_until("it to be standby once there is room", WITHIN, || {
        Ok((site.server(Side::A).role()?.state == "standby").then_some(()))
    })?;
    ends_equal(site, Side::B)
}

#[test]
fn a_full_copy_that_finds_no_room_at_the_standby_is_made_once_there_is_some() -> Result<(), Error> {
    let Some((mut site, disk)) = site_on_a_disk(104, Side::B, 48 * MIB)? else { return Ok(()) };
    site.generate(2_000)?;
    site.caught_up(Side::A)?;
    cut_off(&mut site)?;
    site.between(Side::B)?.limit(200_000);
    site.restart_server(Side::B)?;
    wait_until("a full copy to be under way", WITHIN, || {
        Ok(site.server(Side::B).role()?.is_copying().then_some(()))
    })?;
    disk.leave(0)?;
    complains(&mut site, "No space left")?;
    goes_on(&mut site, 200)?;
    site.between(Side::B)?.limit(0);
    disk.clear()?;
    site.caught_up(Side::A)?;
    let said = site.server(Side::B).audit()?;
    assert!(said.iter().any(|event| event == "store_rebuilt"), "{said:?}");
    ends_equal(site, Side::A)
}

#[test]
fn a_full_copy_for_which_the_active_server_has_no_room_is_made_once_there_is_some()
-> Result<(), Error> {
    let disk = ROOM_LEFT + 64 * MIB;
    let Some((mut site, disk)) = site_on_a_disk(105, Side::A, disk)? else { return Ok(()) };
    cut_off(&mut site)?;
    disk.leave(16 * MIB)?;
    site.restart_server(Side::B)?;
    complains(&mut site, "has room for")?;
    goes_on(&mut site, 200)?;
    disk.clear()?;
    site.caught_up(Side::A)?;
    let said = site.server(Side::B).audit()?;
    assert!(said.iter().any(|event| event == "store_rebuilt"), "{said:?}");
    ends_equal(site, Side::A)
}
