//! What can be wrong with one voter: its file is an old one, or lost; two processes are the same one; it belongs to
//! another site, is not named, has no room on its disk, or its clock is set.

use std::fs;

use postern_protocol::Seq;

use super::outage::{
    A_WHILE, WITHIN, automatic, demand, ends, nothing_moves, proof, reigns, says, stores_unsafe,
};
use super::partition::one_active;
use crate::harness::{Disk, Error, Finished, Server, Side, Site, wait_until};

/// Small for a voter whose file is some megabytes.
const DISK: u64 = 8 * 1024 * 1024;

fn standing(site: &mut Site, whose: Side) -> Result<Option<String>, Error> {
    Ok(site.server(whose).role()?.voters.map(|voters| voters.standing))
}

/// All three are gone, and their files with them. That is said, and the active server goes on; once one file was
/// made anew they are founded again, and no role term falls.
pub(super) fn all_files_lost(seed: u64) -> Result<Finished, Error> {
    let mut site = automatic(seed)?;
    kill_all(&mut site)?;
    site.witness()?.lose_voter()?;
    for whose in Side::BOTH {
        site.server(whose).lose_voter()?;
    }
    let bound = site.look()?.journal.head;
    start_all(&mut site)?;
    nothing_moves(&mut site, Side::B, |site| {
        site.wait_for_traffic(A_WHILE)?;
        stores_unsafe(site, Seq(bound.0 + A_WHILE / 2), bound)
    })?;
    let role = site.server(Side::A).role()?;
    demand(role.state == "active", || format!("it does not go on: {role:?}"))?;
    for whose in Side::BOTH {
        let standing = standing(&mut site, whose)?;
        demand(standing.as_deref() == Some("newcomer"), || format!("it is {standing:?}"))?;
        says(&mut site, whose, &format!("server {}'s own voter is newcomer", whose.name()))?;
    }
    kill_all(&mut site)?;
    site.server(Side::A).found_voters()?;
    start_all(&mut site)?;
    reigns(&mut site, Side::A)?;
    let after = site.server(Side::A).role()?.role_term;
    demand(after > role.role_term, || format!("{after} follows {}", role.role_term))?;
    site.all_vote()?;
    let head = site.look()?.journal.head;
    wait_until("what was kept to be safe", WITHIN, || {
        Ok((site.look()?.journal.safe >= head).then_some(()))
    })?;
    let active = proof(&mut site, Side::A)?;
    ends(site, active)
}

fn kill_all(site: &mut Site) -> Result<(), Error> {
    // The witness first: nobody is to take over.
    site.kill_witness()?;
    site.kill_server(Side::B)?;
    site.kill_server(Side::A)
}

fn start_all(site: &mut Site) -> Result<(), Error> {
    site.restart_servers()?;
    site.witness()?.start()
}

/// A voter is put back to an earlier day, a server's or the witness's (`None`), and another one is dead when it
/// comes back. It takes no part under the identity that it had, and a new one once there is a majority.
pub(super) fn outdated(seed: u64, victim: Option<Side>) -> Result<Finished, Error> {
    let mut site = automatic(seed)?;
    let copy = site.dir.join("voter.copy");
    if let Some(whose) = victim {
        // Whoever is active hands over.
        site.stop_server(whose)?;
        site.server(whose).copy_voter(&copy)?;
        site.restart_server(whose)?;
    } else {
        let exit = site.witness()?.stop()?;
        site.note_exit(exit, 0);
        site.witness()?.copy_voter(&copy)?;
        site.witness()?.start()?;
    }
    site.all_vote()?;
    let mut active = one_active(&mut site)?;
    // The voters agree on so much that the copy does not hold.
    for _ in 0..3 {
        site.caught_up(active)?;
        active = active.other();
        site.fail_over(active, false)?;
        reigns(&mut site, active)?;
    }
    if active == Side::B {
        site.caught_up(active)?;
        active = Side::A;
        site.fail_over(active, false)?;
    }
    site.caught_up(active)?;
    site.all_vote()?;
    // Who lives is the one whose role must not move.
    let lives = if victim == Some(Side::A) { Side::B } else { Side::A };
    let before = site.server(lives).role()?.role_term;
    nothing_moves(&mut site, lives, |site| {
        site.kill_witness()?;
        if victim != Some(Side::A) {
            site.kill_server(Side::B)?;
        }
        if victim != Some(Side::B) && victim.is_some() {
            site.kill_server(Side::A)?;
        }
        voter_of(site, victim)?.put_voter_back(&copy)?;
        match victim {
            Some(whose) => site.restart_server(whose)?,
            None => site.witness()?.start()?,
        }
        wait_until("the old file to be set aside", WITHIN, || {
            Ok((voter_of(site, victim)?.outdated()? > 0).then_some(()))
        })?;
        site.wait_for_traffic(A_WHILE / 2)
    })?;
    // Somebody with a memory comes back.
    match victim {
        Some(_) => site.witness()?.start()?,
        None => site.restart_server(Side::B)?,
    }
    site.all_vote()?;
    let active = one_active(&mut site)?;
    let after = site.server(active).role()?.role_term;
    demand(after >= before, || format!("the role term fell from {before} to {after}"))?;
    let active = proof(&mut site, active)?;
    ends(site, active)
}

fn voter_of(site: &mut Site, victim: Option<Side>) -> Result<&mut Server, Error> {
    match victim {
        Some(whose) => Ok(site.server(whose)),
        None => site.witness(),
    }
}

/// A server's directory was copied, and the copy runs as well: the other one says so, one of them at most is heard
/// among the voters, and what is stored is stored once.
pub(super) fn doubled(seed: u64, whose: Side) -> Result<Finished, Error> {
    let mut site = automatic(seed)?;
    // All are ended, so that the copy of an active server is one that was active.
    kill_all(&mut site)?;
    let (spare, dir) = (site.spare_address(), site.dir.clone());
    let mut twin = site.server(whose).twin(&dir, spare)?;
    start_all(&mut site)?;
    reigns(&mut site, Side::A)?;
    twin.start()?;
    let witness_says = whose.other();
    let name = whose.name().to_owned();
    wait_until(&format!("it to be said that {name} runs twice"), WITHIN, || {
        let voters = site.server(witness_says).role()?.voters;
        Ok(voters.is_some_and(|voters| voters.doubled.contains(&name)).then_some(()))
    })?;
    says(&mut site, witness_says, &format!("voter {name} runs twice"))?;
    let end = site.simulator.generated()? + A_WHILE;
    wait_until("a while to pass in which one at most is active", WITHIN, || {
        // Whoever says so before and after the other one says it, does so at the same time as that.
        let before = twin.healthy("/active")?;
        let between = site.server(whose).healthy("/active")?;
        let all = [before, between, twin.healthy("/active")?];
        demand(all.iter().any(Option::is_none), || {
            format!("both say that they are active: {all:?}")
        })?;
        Ok((site.simulator.generated()? >= end).then_some(()))
    })?;
    let exit = twin.kill()?;
    site.note_exit(exit, 0);
    // Which of them was heard last is not the one that is left.
    site.kill_server(whose)?;
    site.restart_server(whose)?;
    site.all_vote()?;
    let active = one_active(&mut site)?;
    let active = proof(&mut site, active)?;
    ends(site, active)
}

/// A process with another site's certificate listens where our witness is expected: it is nobody.
pub(super) fn foreign(seed: u64) -> Result<Finished, Error> {
    let mut site = automatic(seed)?;
    site.kill_witness()?;
    let (dir, logs) = (site.dir.join("south"), site.dir.join("logs"));
    fs::create_dir_all(&dir).map_err(Error::file("create", &dir))?;
    let (at, spare) = (site.witness()?.address, site.spare_address());
    // Its servers never run; they are where nobody listens.
    let first = Server::init(&dir, &logs, "south", "c", spare)?;
    let other = std::net::SocketAddr::new(spare.ip(), spare.port() + 1);
    let second = Server::join(&first, &dir, &logs, "d", other)?;
    let mut stranger = Server::witness([&first, &second], &dir, &logs, "w", at)?;
    stranger.start()?;
    nothing_moves(&mut site, Side::A, |site| site.wait_for_traffic(A_WHILE))?;
    for whose in Side::BOTH {
        says(&mut site, whose, &format!("server {} does not reach voter w", whose.name()))?;
    }
    demand(stranger.healthy("/ready")?.is_none(), || "it votes with somebody".to_owned())?;
    let exit = stranger.kill()?;
    site.note_exit(exit, 0);
    site.witness()?.start()?;
    site.all_vote()?;
    let active = proof(&mut site, Side::A)?;
    ends(site, active)
}

/// The standby's configuration does not name the witness: it follows, cannot take over, and says so.
pub(super) fn unnamed(seed: u64) -> Result<Finished, Error> {
    let mut site = automatic(seed)?;
    nothing_moves(&mut site, Side::A, |site| {
        let configuration = site.server(Side::B).configuration()?;
        site.stop_server(Side::B)?;
        site.server(Side::B).forget_witness()?;
        site.restart_server(Side::B)?;
        site.caught_up(Side::A)?;
        site.wait_for_traffic(A_WHILE)?;
        says(site, Side::B, "server b knows no witness")?;
        site.stop_server(Side::B)?;
        site.server(Side::B).put_configuration_back(&configuration)?;
        site.restart_server(Side::B)
    })?;
    site.all_vote()?;
    let active = proof(&mut site, Side::A)?;
    ends(site, active)
}

/// The standby's configuration has the times of another profile: the active server and the standby itself say so.
pub(super) fn timers_differ(seed: u64) -> Result<Finished, Error> {
    let mut site = automatic(seed)?;
    nothing_moves(&mut site, Side::A, |site| {
        let configuration = site.server(Side::B).configuration()?;
        site.stop_server(Side::B)?;
        site.server(Side::B).be_far()?;
        site.restart_server(Side::B)?;
        site.all_vote()?;
        says(site, Side::A, "voters a and b work by different times")?;
        for other in ["a", "w"] {
            says(site, Side::B, &format!("voters b and {other} work by different times"))?;
        }
        site.wait_for_traffic(A_WHILE)?;
        site.stop_server(Side::B)?;
        site.server(Side::B).put_configuration_back(&configuration)?;
        site.restart_server(Side::B)?;
        site.all_vote()?;
        wait_until("server a to say no more that times differ", WITHIN, || {
            Ok((!site.server(Side::A).said()?.contains("different times")).then_some(()))
        })
    })?;
    let active = proof(&mut site, Side::A)?;
    ends(site, active)
}

/// The two servers are a majority by themselves; the witness says that it takes no part, and does so again once
/// there is room.
pub(super) fn full(seed: u64) -> Result<Option<Finished>, Error> {
    let mut site = automatic(seed)?;
    let Some(disk) = Disk::mount(DISK, &site.dir, &site.dir.join("logs"))? else {
        site.remove()?;
        return Ok(None);
    };
    let exit = site.witness()?.stop()?;
    site.note_exit(exit, 0);
    site.witness()?.move_to(&disk)?;
    site.witness()?.start()?;
    site.all_vote()?;
    // The servers' directories are beside each other, the witness's is not.
    says(&mut site, Side::A, "voters a and b are on one disk")?;
    disk.leave(0)?;
    let mut active = Side::A;
    wait_until("the witness to say that it takes no part", WITHIN, || {
        site.caught_up(active)?;
        site.fail_over(active.other(), false)?;
        active = active.other();
        Ok(site.witness()?.healthy("/ready")?.is_none().then_some(()))
    })?;
    for whose in Side::BOTH {
        says(&mut site, whose, "runs and does not vote")?;
    }
    let log = site.witness()?.log()?;
    demand(log.contains("the voter's file failed"), || format!("it does not say why:\n{log}"))?;
    for _ in 0..2 {
        site.caught_up(active)?;
        active = active.other();
        site.fail_over(active, false)?;
        reigns(&mut site, active)?;
    }
    nothing_moves(&mut site, active, |site| site.wait_for_traffic(A_WHILE))?;
    disk.clear()?;
    site.all_vote()?;
    let active = proof(&mut site, active)?;
    ends(site, active).map(Some)
}

/// The time of day is set forward by hours, back by as many, and right again: nobody takes over for that, and where
/// the active server is killed the other one does.
pub(super) fn clock_set(seed: u64, whose: Side) -> Result<Option<Finished>, Error> {
    let mut site = automatic(seed)?;
    let Some(clock) = site.server(whose).fake_clock()? else {
        site.remove()?;
        return Ok(None);
    };
    site.stop_server(whose)?;
    site.restart_server(whose)?;
    site.all_vote()?;
    let mut active = one_active(&mut site)?;
    site.caught_up(active)?;
    if active != Side::A {
        site.fail_over(Side::A, false)?;
        active = Side::A;
    }
    reigns(&mut site, active)?;
    let set = |to: &str| fs::write(&clock, to).map_err(Error::file("write", &clock));
    for offset in ["+5h", "-5h", "+0"] {
        nothing_moves(&mut site, active, |site| {
            set(offset)?;
            // The gateway compares its own clock with that of the server to which it sends. (With the standby's once
            // that has taken over.)
            if offset == "+5h" && whose == active {
                clock_is_seen(site, whose, 5)?;
            }
            site.wait_for_traffic(A_WHILE / 2)
        })?;
        reigns(&mut site, active)?;
        site.caught_up(active)?;
    }
    // Further than before: the date in an answer does not go back.
    set("+6h")?;
    let active = proof(&mut site, active)?;
    if active == whose {
        clock_is_seen(&site, whose, 6)?;
    }
    set("+0")?;
    ends(site, active).map(Some)
}

/// Waits until the gateway finds a server's clock off by so many hours.
fn clock_is_seen(site: &Site, whose: Side, hours: i64) -> Result<(), Error> {
    wait_until(&format!("the clock to be seen {hours} h off"), WITHIN, || {
        let said = site.gateway.command(&["status", "--json"])?;
        let status: serde_json::Value = serde_json::from_str(&said.stdout).unwrap_or_default();
        let ms = status["clock"]["server_offsets_ms"][whose.name()].as_i64();
        let near = ms.is_some_and(|ms| (ms - hours * 3_600_000).abs() < 60_000);
        Ok(near.then_some(()))
    })
}
