//! What the site loses for a while where the role changes by itself, and what it must not do then: take over,
//! or give away what is not safe.
//!
//! - [`Outage`]: each of them; [`outage`]: one of them from its beginning to the verdict.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::failover::taken_over;
use super::voter;
use crate::checker::GapAllowance;
use crate::harness::{Board, Error, Finished, Network, Side, Site, SiteConfig, wait_until};

/// Swipes a second: what is to be seen is who stores them, not how fast.
const RATE: f64 = 60.0;
const BOARDS: u32 = 2;
/// Well above a lease, an election and a failover: eight seconds' worth.
pub(super) const A_WHILE: u64 = 480;
/// For what comes about by itself once a fault is healed.
pub(super) const WITHIN: Duration = Duration::from_mins(1);

/// What is lost for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Outage {
    /// The active server reaches the voters and no gateway, nor any gateway it.
    GatewayParted,
    /// Nothing of the gateway arrives at the active server, which is heard by it.
    GatewayUnheard,
    /// What the active server answers does not arrive at the gateway.
    GatewayUnanswered,
    /// The active server reaches its gateway and no other voter.
    VotersUnreached,
    /// The witness, and then the active server as well.
    Witness,
    /// The same, and an operator forces the other server.
    WitnessAndForced,
    /// The files of all three voters.
    AllVoterFiles,
    /// Server a's voter is put back to an earlier day while the witness is dead.
    VoterOfAOutdated,
    /// Server b's, alike.
    VoterOfBOutdated,
    /// The witness is put back while server b is dead.
    WitnessOutdated,
    /// The standby's directory was copied, and both run.
    StandbyDoubled,
    /// The active server's, alike.
    ActiveDoubled,
    /// Another site's witness runs in the place of ours.
    ForeignWitness,
    /// One server does not know that there is a witness.
    WitnessUnnamed,
    /// The witness's disk has no room.
    WitnessFull,
    /// The clock of the active server is set forward by hours, and back.
    ClockOfActive,
    /// The clock of the standby, alike.
    ClockOfStandby,
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GatewayParted => "the active server is parted from its gateway",
            Self::GatewayUnheard => "the active server does not hear its gateway",
            Self::GatewayUnanswered => "the gateway does not hear the active server",
            Self::VotersUnreached => "the active server reaches its gateway and no voter",
            Self::Witness => "the witness is dead, then the active server too",
            Self::WitnessAndForced => "both are dead, and the other server is forced",
            Self::AllVoterFiles => "the files of all voters are lost",
            Self::VoterOfAOutdated => "server a's voter is put back to an earlier day",
            Self::VoterOfBOutdated => "server b's voter is put back to an earlier day",
            Self::WitnessOutdated => "the witness is put back to an earlier day",
            Self::StandbyDoubled => "the standby runs twice",
            Self::ActiveDoubled => "the active server runs twice",
            Self::ForeignWitness => "another site's witness is in the place of ours",
            Self::WitnessUnnamed => "one server does not know the witness",
            Self::WitnessFull => "the witness's disk is full",
            Self::ClockOfActive => "the active server's clock is set",
            Self::ClockOfStandby => "the standby's clock is set",
        })
    }
}

/// Has one of them happen. `None`, with a loud line, where this machine does not allow it.
pub fn outage(
    what: Outage,
    seed: u64,
    progress: &mut dyn FnMut(String),
) -> Result<Option<Finished>, Error> {
    progress(format!("{what}"));
    match what {
        Outage::GatewayParted => gateway_cut_off(seed, &[("a", "g"), ("g", "a")]),
        Outage::GatewayUnheard => gateway_cut_off(seed, &[("g", "a")]),
        Outage::GatewayUnanswered => gateway_cut_off(seed, &[("a", "g")]),
        Outage::VotersUnreached => voters_unreached(seed),
        Outage::Witness => witness_dead(seed).map(Some),
        Outage::WitnessAndForced => forced(seed).map(Some),
        Outage::AllVoterFiles => voter::all_files_lost(seed).map(Some),
        Outage::VoterOfAOutdated => voter::outdated(seed, Some(Side::A)).map(Some),
        Outage::VoterOfBOutdated => voter::outdated(seed, Some(Side::B)).map(Some),
        Outage::WitnessOutdated => voter::outdated(seed, None).map(Some),
        Outage::StandbyDoubled => voter::doubled(seed, Side::B).map(Some),
        Outage::ActiveDoubled => voter::doubled(seed, Side::A).map(Some),
        Outage::ForeignWitness => voter::foreign(seed).map(Some),
        Outage::WitnessUnnamed => voter::unnamed(seed).map(Some),
        Outage::WitnessFull => voter::full(seed),
        Outage::ClockOfActive => voter::clock_set(seed, Side::A),
        Outage::ClockOfStandby => voter::clock_set(seed, Side::B),
    }
}

/// A site under traffic whose role changes by itself.
pub(super) fn automatic(seed: u64) -> Result<Site, Error> {
    running(SiteConfig { automatic: true, ..SiteConfig::new(seed, BOARDS, Board::roomy) })
}

fn running(config: SiteConfig) -> Result<Site, Error> {
    let mut site = Site::start(config)?;
    site.simulator.people(RATE)?;
    reigns(&mut site, Side::A)?;
    site.caught_up(Side::A)?;
    Ok(site)
}

fn on_network(seed: u64) -> Result<Option<Site>, Error> {
    let Some(network) = Network::make(&Site::HOSTS)? else { return Ok(None) };
    let network = Some(Arc::new(network));
    let config = SiteConfig::new(seed, BOARDS, Board::roomy);
    running(SiteConfig { automatic: true, network, ..config }).map(Some)
}

/// Waits until this server is active, holds its lease, and the gateway has it so.
pub(super) fn reigns(site: &mut Site, active: Side) -> Result<(), Error> {
    let what = format!("server {} to be active under a lease", active.name());
    wait_until(&what, WITHIN, || {
        let role = site.server(active).role()?;
        let lease = role.voters.as_ref().and_then(|voters| voters.lease);
        let named = site.look()?.uplink.active;
        let holds = role.state == "active" && lease == Some(true);
        Ok((holds && named.as_deref() == Some(active.name())).then_some(()))
    })
}

/// Demands something of the site.
pub(super) fn demand(holds: bool, what: impl FnOnce() -> String) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(Error::Scenario(what())) }
}

/// Does something, and demands that under it the role is and stays with `active`, under the same role term.
pub(super) fn nothing_moves(
    site: &mut Site,
    active: Side,
    meanwhile: impl FnOnce(&mut Site) -> Result<(), Error>,
) -> Result<(), Error> {
    let before = site.server(active).role()?;
    meanwhile(site)?;
    let after = site.server(active).role()?;
    demand((before.role_term, &before.state) == (after.role_term, &after.state), || {
        format!("something moved: before {before:?}, after {after:?}")
    })
}

/// The active server and all that it holds are gone, and the other one takes over: the proof that the voters are
/// whole again. Returns who is active then.
pub(super) fn proof(site: &mut Site, active: Side) -> Result<Side, Error> {
    site.caught_up(active)?;
    site.look()?;
    site.kill_server(active)?;
    taken_over(site, active.other())?;
    site.restart_server(active)?;
    site.caught_up(active.other())?;
    Ok(active.other())
}

pub(super) fn ends(mut site: Site, active: Side) -> Result<Finished, Error> {
    site.settle(WITHIN)?;
    site.caught_up(active)?;
    wait_until("everything to be safe", WITHIN, || {
        Ok((site.gateway.status()?.journal.unsafe_entries == 0).then_some(()))
    })?;
    site.finish(active, GapAllowance::None)
}

/// The voters are content with the active server, so it stays that; its gateway keeps what happens.
fn gateway_cut_off(seed: u64, ways: &[(&str, &str)]) -> Result<Option<Finished>, Error> {
    let Some(mut site) = on_network(seed)? else { return Ok(None) };
    nothing_moves(&mut site, Side::A, |site| {
        for (from, to) in ways {
            site.network()?.cut(from, to)?;
        }
        let before = site.look()?.journal;
        site.wait_for_traffic(A_WHILE)?;
        let after = site.look()?.journal;
        demand(after.unsafe_entries >= A_WHILE / 2, || {
            format!("the gateway does not keep what happens: {before:?}, then {after:?}")
        })?;
        site.network()?.heal_all()
    })?;
    ends(site, Side::A).map(Some)
}

/// It goes on storing what its gateway brings, whose way to the other server is cut as well; and as it alone holds
/// that, it gives none of it away. The other takes over, and what was stored meanwhile is merged.
fn voters_unreached(seed: u64) -> Result<Option<Finished>, Error> {
    let Some(mut site) = on_network(seed)? else { return Ok(None) };
    site.look()?;
    for (one, other) in [("a", "b"), ("a", "w"), ("g", "b")] {
        site.network()?.part(one, other)?;
    }
    // Nothing of what came later can be on both.
    let bound = site.gateway.status()?.journal.head;
    wait_until("server b to take over", WITHIN, || {
        Ok((site.server(Side::B).role()?.state == "active").then_some(()))
    })?;
    site.wait_for_traffic(A_WHILE)?;
    let (shown, old) = (site.look()?, site.server(Side::A).role()?);
    demand(shown.uplink.active.as_deref() == Some("a") && old.state == "active", || {
        format!("server a does not go on for its gateway: {shown:?}, {old:?}")
    })?;
    demand(shown.uplink.stored.is_some_and(|stored| stored.0 >= bound.0 + A_WHILE / 2), || {
        format!("server a stores nothing without the voters: {shown:?}, cut off at {bound}")
    })?;
    demand(shown.journal.safe <= bound, || {
        format!("server a has made safe what it alone holds: {shown:?}, cut off at {bound}")
    })?;
    // The gateway is the only one that can tell it.
    site.network()?.heal("g", "b")?;
    wait_until("server a to hear from the gateway that it was replaced", WITHIN, || {
        Ok((site.server(Side::A).role()?.active == "b").then_some(()))
    })?;
    site.network()?.heal_all()?;
    reigns(&mut site, Side::B)?;
    ends(site, Side::B).map(Some)
}

/// Without it nothing changes, and without a majority nobody takes over; with it again somebody does.
fn witness_dead(seed: u64) -> Result<Finished, Error> {
    let mut site = automatic(seed)?;
    nothing_moves(&mut site, Side::A, |site| {
        site.kill_witness()?;
        site.wait_for_traffic(A_WHILE)
    })?;
    reigns(&mut site, Side::A)?;
    nothing_moves(&mut site, Side::B, |site| {
        site.kill_server(Side::A)?;
        site.wait_for_traffic(A_WHILE)
    })?;
    let kept = site.gateway.status()?;
    demand(kept.journal.unsafe_entries >= A_WHILE / 2, || format!("who has it? {kept:?}"))?;
    site.witness()?.start()?;
    taken_over(&site, Side::B)?;
    site.restart_server(Side::A)?;
    site.caught_up(Side::B)?;
    ends(site, Side::B)
}

/// An operator does without a majority what the voters cannot, and gives the role back to them later.
fn forced(seed: u64) -> Result<Finished, Error> {
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
