//! What the site loses for a while where the role changes by itself, and what it must not do then: take over,
//! or give away what is not safe.
//!
//! - [`Outage`]: each of them; [`outage`]: one of them from its beginning to the verdict; [`outages`]: several at once.
//! - [`super::way`]: ways are cut; [`super::absence`]: processes are gone; [`super::voter`]: one voter is not right.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use postern_protocol::Seq;

use super::failover::taken_over;
use super::{absence, voter, way};
use crate::checker::GapAllowance;
use crate::harness::{Board, Error, Finished, Network, Side, Site, SiteConfig, wait_until};

/// Swipes a second: what is to be seen is who stores them, not how fast.
const RATE: f64 = 60.0;
const BOARDS: u32 = 2;
/// How many entries a small journal holds: a minute's worth and more until it is full.
const SMALL: u64 = 4_000;
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
    /// The active server reaches nobody, nor anybody it.
    ActiveIsolated,
    /// The standby's connections to the active server are refused and reset on the way.
    ActiveRejected,
    /// The witness, and then the active server as well.
    Witness,
    /// The same, and an operator forces the other server.
    WitnessAndForced,
    /// The witness and the standby; the active server's process ends as well and comes back alone.
    VotersGone,
    /// Both servers and the witness at once, and the active server does not come back with the others.
    PowerCut,
    /// The standby, for so long that the active server gives it up; then that ends, and the standby comes back.
    StandbyGivenUp,
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
    /// One server works by other times than the other voters.
    TimersDiffer,
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
            Self::ActiveIsolated => "the active server is cut off from everybody",
            Self::ActiveRejected => "the standby is refused on its way to the active server",
            Self::Witness => "the witness is dead, then the active server too",
            Self::WitnessAndForced => "both are dead, and the other server is forced",
            Self::VotersGone => "the witness and the standby are dead",
            Self::PowerCut => "all three voters end at once",
            Self::StandbyGivenUp => "the active server ends after it gave the standby up",
            Self::AllVoterFiles => "the files of all voters are lost",
            Self::VoterOfAOutdated => "server a's voter is put back to an earlier day",
            Self::VoterOfBOutdated => "server b's voter is put back to an earlier day",
            Self::WitnessOutdated => "the witness is put back to an earlier day",
            Self::StandbyDoubled => "the standby runs twice",
            Self::ActiveDoubled => "the active server runs twice",
            Self::ForeignWitness => "another site's witness is in the place of ours",
            Self::WitnessUnnamed => "one server does not know the witness",
            Self::TimersDiffer => "one server works by other times",
            Self::WitnessFull => "the witness's disk is full",
            Self::ClockOfActive => "the active server's clock is set",
            Self::ClockOfStandby => "the standby's clock is set",
        })
    }
}

/// Has one of them happen. `None`, with a loud line, where this machine does not allow it.
pub fn outage(what: Outage, seed: u64) -> Outcome {
    match what {
        Outage::GatewayParted => way::gateway_cut_off(seed, &[("a", "g"), ("g", "a")]),
        Outage::GatewayUnheard => way::gateway_cut_off(seed, &[("g", "a")]),
        Outage::GatewayUnanswered => way::gateway_cut_off(seed, &[("a", "g")]),
        Outage::VotersUnreached => way::voters_unreached(seed),
        Outage::ActiveIsolated => way::active_isolated(seed),
        Outage::ActiveRejected => way::active_rejected(seed),
        Outage::Witness => absence::witness_dead(seed).map(Some),
        Outage::WitnessAndForced => absence::forced(seed).map(Some),
        Outage::VotersGone => absence::voters_gone(seed).map(Some),
        Outage::PowerCut => absence::power_cut(seed).map(Some),
        Outage::StandbyGivenUp => absence::standby_given_up(seed).map(Some),
        Outage::AllVoterFiles => voter::all_files_lost(seed).map(Some),
        Outage::VoterOfAOutdated => voter::outdated(seed, Some(Side::A)).map(Some),
        Outage::VoterOfBOutdated => voter::outdated(seed, Some(Side::B)).map(Some),
        Outage::WitnessOutdated => voter::outdated(seed, None).map(Some),
        Outage::StandbyDoubled => voter::doubled(seed, Side::B).map(Some),
        Outage::ActiveDoubled => voter::doubled(seed, Side::A).map(Some),
        Outage::ForeignWitness => voter::foreign(seed).map(Some),
        Outage::WitnessUnnamed => voter::unnamed(seed).map(Some),
        Outage::TimersDiffer => voter::timers_differ(seed).map(Some),
        Outage::WitnessFull => voter::full(seed),
        Outage::ClockOfActive => voter::clock_set(seed, Side::A),
        Outage::ClockOfStandby => voter::clock_set(seed, Side::B),
    }
}

/// What came of an outage, as [`outage`] returns it.
pub type Outcome = Result<Option<Finished>, Error>;

/// Has all of these happen, with their seeds, on so many sites at once. `over` is told of each how long it took and
/// what came of it.
pub fn outages(
    all: Vec<(Outage, u64)>,
    lanes: usize,
    over: &(dyn Fn((Outage, u64), Duration, Outcome) + Sync),
) {
    let left = Mutex::new(all.into_iter());
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let lane = || {
        while let Some((what, seed)) = next() {
            let begun = Instant::now();
            let outcome = outage(what, seed);
            over((what, seed), begun.elapsed(), outcome);
        }
    };
    thread::scope(|scope| (0..lanes).for_each(|_| drop(scope.spawn(lane))));
}

/// A site under traffic whose role changes by itself.
pub(super) fn automatic(seed: u64) -> Result<Site, Error> {
    running(SiteConfig { automatic: true, ..SiteConfig::new(seed, BOARDS, Board::roomy) })
}

/// The same whose gateway's journal is small: a burst of what is not safe fills it.
pub(super) fn with_small_journal(seed: u64) -> Result<Site, Error> {
    let config = SiteConfig::new(seed, BOARDS, Board::roomy);
    running(SiteConfig { automatic: true, capacity_entries: SMALL, ..config })
}

/// The same with a network of its own, where this machine allows that.
pub(super) fn on_network(seed: u64) -> Result<Option<Site>, Error> {
    let Some(network) = Network::make(&Site::HOSTS)? else { return Ok(None) };
    let network = Some(Arc::new(network));
    let config = SiteConfig::new(seed, BOARDS, Board::roomy);
    running(SiteConfig { automatic: true, network, ..config }).map(Some)
}

fn running(config: SiteConfig) -> Result<Site, Error> {
    let mut site = Site::start(config)?;
    site.simulator.people(RATE)?;
    reigns(&mut site, Side::A)?;
    site.caught_up(Side::A)?;
    Ok(site)
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

/// Waits until `status` of a server says this.
pub(super) fn says(site: &mut Site, server: Side, what: &str) -> Result<(), Error> {
    wait_until(&format!("server {} to say: {what}", server.name()), WITHIN, || {
        Ok(site.server(server).said()?.contains(what).then_some(()))
    })
}

/// Waits until an active server has no lease, says so, and tells load balancers that it is not to be used.
pub(super) fn without_lease(site: &mut Site, active: Side) -> Result<(), Error> {
    let name = active.name();
    wait_until(&format!("server {name} to have no lease"), WITHIN, || {
        let voters = site.server(active).role()?.voters;
        Ok(voters.is_some_and(|voters| voters.lease == Some(false)).then_some(()))
    })?;
    says(site, active, &format!("server {name} has no lease"))?;
    demand(site.server(active).healthy("/active")?.is_none(), || {
        format!("server {name} has no lease, and /active says that it is active")
    })
}

/// Waits until the active server has stored what the gateway's journal holds up to here, and demands that nothing
/// above `bound` became safe meanwhile.
pub(super) fn stores_unsafe(site: &mut Site, up_to: Seq, bound: Seq) -> Result<(), Error> {
    wait_until(&format!("entry {up_to} to be stored"), WITHIN, || {
        let shown = site.look()?;
        demand(shown.journal.safe <= bound, || {
            format!("what one server alone holds is safe, above {bound}: {shown:?}")
        })?;
        Ok((shown.uplink.stored >= Some(up_to)).then_some(()))
    })
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
