//! Processes that are gone for a while: the witness, a server, several of them at once.

use postern_protocol::Seq;

use super::failover::taken_over;
use super::outage::{
    A_WHILE, WITHIN, automatic, demand, ends, nothing_moves, proof, reigns, says, stores_unsafe,
    with_small_journal, without_lease,
};
use crate::harness::{Error, Finished, Side, Site, wait_until};

/// At each of two boards at once: what a small journal holds.
const BURST: u64 = 2_000;

/// Without it nothing changes, and without a majority nobody takes over; with it again somebody does.
pub(super) fn witness_dead(seed: u64) -> Result<Finished, Error> {
    let mut site = automatic(seed)?;
    nothing_moves(&mut site, Side::A, |site| {
        site.kill_witness()?;
        for whose in Side::BOTH {
            says(site, whose, &format!("server {} does not reach voter w", whose.name()))?;
        }
        site.wait_for_traffic(A_WHILE)
    })?;
    reigns(&mut site, Side::A)?;
    nothing_moves(&mut site, Side::B, |site| {
        site.kill_server(Side::A)?;
        site.wait_for_traffic(A_WHILE)?;
        kept(site, A_WHILE / 2)?;
        says(site, Side::B, "no majority of the voters reaches server b")
    })?;
    site.witness()?.start()?;
    taken_over(&site, Side::B)?;
    site.restart_server(Side::A)?;
    site.caught_up(Side::B)?;
    ends(site, Side::B)
}

/// Waits until the gateway keeps so many that are not safe.
fn kept(site: &mut Site, count: u64) -> Result<(), Error> {
    wait_until("the gateway to keep what happens", WITHIN, || {
        Ok((site.look()?.journal.unsafe_entries >= count).then_some(()))
    })
}

/// An operator does without a majority what the voters cannot, and gives the role back to them later.
pub(super) fn forced(seed: u64) -> Result<Finished, Error> {
    let mut site = automatic(seed)?;
    let before = site.server(Side::A).role()?.role_term;
    site.kill_witness()?;
    site.kill_server(Side::A)?;
    let refused = site.server(Side::B).failover(false)?;
    demand(refused.exit.code != Some(0), || format!("not refused: {refused:?}"))?;
    site.fail_over(Side::B, true)?;
    let role = site.server(Side::B).role()?;
    demand(role.mode == "manual" && role.role_term > before, || format!("{role:?}"))?;
    site.wait_for_traffic(A_WHILE)?;
    nothing_moves(&mut site, Side::B, |site| {
        site.witness()?.start()?;
        site.restart_server(Side::A)?;
        site.caught_up(Side::B)?;
        site.wait_for_traffic(A_WHILE)
    })?;
    let told = site.server(Side::A).role()?;
    demand(told.role_term == role.role_term && told.mode == "manual", || format!("{told:?}"))?;
    site.server(Side::B).rules(&["--mode", "automatic"])?;
    reigns(&mut site, Side::B)?;
    let active = proof(&mut site, Side::B)?;
    ends(site, active)
}

/// The active server alone is no majority: it stores, before and after its own process begins again, and neither
/// makes anything safe nor gives the standby up, although its gateway runs full.
pub(super) fn voters_gone(seed: u64) -> Result<Finished, Error> {
    let mut site = with_small_journal(seed)?;
    site.look()?;
    site.kill_witness()?;
    site.kill_server(Side::B)?;
    // Nothing of what came later can be on both.
    let bound = site.look()?.journal.head;
    let before = site.server(Side::A).role()?;
    nothing_moves(&mut site, Side::A, |site| {
        without_lease(site, Side::A)?;
        site.wait_for_traffic(A_WHILE / 4)?;
        stores_unsafe(site, Seq(bound.0 + A_WHILE / 8), bound)
    })?;
    site.kill_server(Side::A)?;
    site.restart_server(Side::A)?;
    wait_until("server a to go on by itself", WITHIN, || {
        Ok((site.server(Side::A).role()?.state == "active").then_some(()))
    })?;
    without_lease(&mut site, Side::A)?;
    let head = site.look()?.journal.head;
    site.wait_for_traffic(A_WHILE / 4)?;
    stores_unsafe(&mut site, Seq(head.0 + A_WHILE / 8), bound)?;
    site.generate(BURST)?;
    wait_until("server a to want to give the standby up", WITHIN, || {
        let log = site.server(Side::A).log()?;
        Ok(log.contains("the group could not be changed").then_some(()))
    })?;
    let after = site.server(Side::A).role()?;
    demand(
        (after.role_term, after.copies, &after.in_sync)
            == (before.role_term, before.copies, &before.in_sync),
        || format!("who has agreed to that? before {before:?}, after {after:?}"),
    )?;
    let shown = site.look()?;
    demand(shown.journal.safe <= bound, || {
        format!("what one server alone holds is safe, above {bound}: {shown:?}")
    })?;
    site.witness()?.start()?;
    reigns(&mut site, Side::A)?;
    let anew = site.server(Side::A).role()?;
    demand(anew.role_term > before.role_term, || format!("it did not claim anew: {anew:?}"))?;
    site.restart_server(Side::B)?;
    site.caught_up(Side::A)?;
    ends(site, Side::A)
}

/// The server that was active does not come back: the other two are a majority, and wait as long as for any silence.
pub(super) fn power_cut(seed: u64) -> Result<Finished, Error> {
    let mut site = automatic(seed)?;
    site.wait_for_traffic(A_WHILE / 4)?;
    let before = site.server(Side::A).role()?.role_term;
    site.cut_power_of_voters()?;
    site.wait_for_traffic(A_WHILE / 4)?;
    site.witness()?.start()?;
    site.restart_server(Side::B)?;
    taken_over(&site, Side::B)?;
    reigns(&mut site, Side::B)?;
    let role = site.server(Side::B).role()?;
    demand(role.role_term > before, || format!("{role:?} follows role term {before}"))?;
    nothing_moves(&mut site, Side::B, |site| {
        site.wait_for_traffic(A_WHILE / 4)?;
        site.restart_server(Side::A)?;
        site.caught_up(Side::B)
    })?;
    let back = site.server(Side::A).role()?;
    demand(back.state == "standby", || format!("server a is no standby: {back:?}"))?;
    ends(site, Side::B)
}

/// By its own document the standby is in sync, and the active server has let gateways forget what it never had. The
/// voters know that, so it learns it from them and does not take over.
pub(super) fn standby_given_up(seed: u64) -> Result<Finished, Error> {
    let mut site = with_small_journal(seed)?;
    site.stop_server(Side::B)?;
    let bound = site.look()?.journal.head;
    site.generate(BURST)?;
    wait_until("server a to go on alone", WITHIN, || {
        let role = site.server(Side::A).role()?;
        Ok((role.copies == 1 && role.in_sync.len() == 1).then_some(()))
    })?;
    wait_until("the gateway to forget what server a alone holds", WITHIN, || {
        Ok((site.look()?.journal.safe.0 >= bound.0 + BURST).then_some(()))
    })?;
    site.kill_server(Side::A)?;
    site.restart_server(Side::B)?;
    wait_until("server b to say that it may not take over", WITHIN, || {
        let role = site.server(Side::B).role()?;
        Ok(role.barred.is_some_and(|why| why.contains("is not in sync")).then_some(()))
    })?;
    nothing_moves(&mut site, Side::B, |site| site.wait_for_traffic(A_WHILE))?;
    let role = site.server(Side::B).role()?;
    demand(role.state == "standby", || format!("it took over: {role:?}"))?;
    kept(&mut site, A_WHILE / 2)?;
    site.restart_server(Side::A)?;
    reigns(&mut site, Side::A)?;
    site.caught_up(Side::A)?;
    let active = proof(&mut site, Side::A)?;
    ends(site, active)
}
