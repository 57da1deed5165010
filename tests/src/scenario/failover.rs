//! The active server fails again and again, and the other one takes over by itself, each time for the reason that
//! there is.

use std::fmt;
use std::time::{Duration, Instant};

use super::outage::{demand, reigns};
use super::{BOARDS, RATE, SETTLE_WITHIN, pause};
use crate::checker::GapAllowance;
use crate::harness::{Board, Error, Finished, Side, Site, SiteConfig, wait_until};
use crate::random::Random;

/// A lease and more, on a loaded machine of two cores. How fast it is, a benchmark measures.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(30);

/// How the active server fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// SIGKILL.
    Killed,
    /// SIGTERM: it hands over.
    Stopped,
    /// SIGSTOP, and SIGCONT after the other one has taken over.
    Frozen,
    /// SIGKILL, while the witness is killed and comes back after a moment.
    KilledWithoutWitness,
    /// SIGKILL of server and voter file: it comes back as a voter that has lost everything.
    VoterLost,
}

impl Fault {
    /// Every one.
    pub const ALL: [Self; 5] =
        [Self::Killed, Self::Stopped, Self::Frozen, Self::KilledWithoutWitness, Self::VoterLost];

    /// How the next reign has to begin, as an event of the audit log, and how its particulars end.
    fn followed_by(self) -> (&'static str, &'static str) {
        match self {
            Self::Killed | Self::VoterLost => ("role_claimed", "its process has ended"),
            // It has ended as well, but before that it has handed over.
            Self::Stopped => ("role_taken", ""),
            Self::Frozen => ("role_claimed", "it was silent past its lease"),
            // The lease may be over by the time that there are two voters again.
            Self::KilledWithoutWitness => ("role_claimed", ""),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Killed => "killed",
            Self::Stopped => "stopped",
            Self::Frozen => "frozen",
            Self::KilledWithoutWitness => "killed, the witness too for a moment",
            Self::VoterLost => "killed, and its voter's file is lost",
        })
    }
}

/// Has the active server of a site fail in each of these ways, one after the other, under traffic. One that is
/// frozen stays so for `frozen` swipes more after the other has taken over.
pub fn failovers(
    faults: &[Fault],
    frozen: u64,
    seed: u64,
    progress: &mut dyn FnMut(String),
) -> Result<Finished, Error> {
    let mut random = Random::new(seed);
    let config = SiteConfig { automatic: true, ..SiteConfig::new(seed, BOARDS, Board::roomy) };
    let mut site = Site::start(config)?;
    // However soon after the last one: that the dwell bars it then, `tests/tests/barred.rs` tries.
    site.server(Side::A).rules(&["--dwell", "0"])?;
    let mut active = Side::A;
    site.simulator.people(RATE)?;
    for (number, fault) in faults.iter().enumerate() {
        reigns(&mut site, active)?;
        site.all_vote()?;
        site.wait_for_traffic(pause(&mut random))?;
        site.look()?;
        let failed = Instant::now();
        fail(&mut site, active, *fault)?;
        let next = active.other();
        taken_over(&site, next)?;
        let ms = failed.elapsed().as_millis();
        for_its_reason(&mut site, next, *fault)?;
        site.wait_for_traffic(random.below(100))?;
        if *fault == Fault::Frozen {
            site.wait_for_traffic(frozen)?;
        }
        heal(&mut site, active, *fault)?;
        site.caught_up(next)?;
        progress(format!(
            "failure {} of {}: server {} {fault}, {} has taken over after {ms} ms",
            number + 1,
            faults.len(),
            active.name(),
            next.name()
        ));
        active = next;
    }
    site.settle(SETTLE_WITHIN)?;
    site.finish(active, GapAllowance::None)
}

fn fail(site: &mut Site, active: Side, fault: Fault) -> Result<(), Error> {
    match fault {
        Fault::Killed | Fault::VoterLost => site.kill_server(active),
        Fault::Stopped => site.stop_server(active),
        Fault::Frozen => site.server(active).pause(),
        Fault::KilledWithoutWitness => {
            site.kill_witness()?;
            site.kill_server(active)?;
            site.witness()?.start()
        }
    }
}

/// Demands that the present reign began as it has to after this failure.
fn for_its_reason(site: &mut Site, next: Side, fault: Fault) -> Result<(), Error> {
    let (event, why) = fault.followed_by();
    let term = site.server(next).role()?.role_term;
    let mut log = site.server(next).reigns()?;
    log.retain(|began| began.role_term == term);
    let is_told = log.iter().any(|began| {
        began.active == next.name() && began.event == event && began.detail.ends_with(why)
    });
    demand(is_told, || {
        format!("not {event} of {}, {why:?}, after {fault}, but {log:?}", next.name())
    })
}

fn heal(site: &mut Site, failed: Side, fault: Fault) -> Result<(), Error> {
    match fault {
        Fault::Frozen => site.server(failed).resume(),
        Fault::VoterLost => {
            let file = site.server(failed).dir.join("voter.redb");
            std::fs::remove_file(&file).map_err(Error::file("remove", &file))?;
            site.restart_server(failed)
        }
        Fault::Killed | Fault::Stopped | Fault::KilledWithoutWitness => site.restart_server(failed),
    }
}

pub(super) fn taken_over(site: &Site, next: Side) -> Result<(), Error> {
    let what = format!("server {} to take over by itself", next.name());
    wait_until(&what, TAKEN_OVER_WITHIN, || {
        let active = site.gateway.status()?.uplink.active;
        Ok((active.as_deref() == Some(next.name())).then_some(()))
    })
}
