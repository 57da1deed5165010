//! A site under traffic whose active server is killed, frozen and handed over. When each transaction was stored is
//! what the servers wrote down.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use postern_protocol::RoleTerm;
use postern_tests::checker::GapAllowance;
use postern_tests::harness::{Board, Finished, Side, Site, SiteConfig, wait_every, wait_until};
use postern_tests::scenario::Stored;

use crate::common::Outcome;

/// Swipes a second, over all boards: one every two milliseconds.
const RATE: f64 = 500.0;
/// The boards.
const BOARDS: u32 = 8;
/// So many swipes happen before anything fails, and after.
const SWIPES: u64 = 50;
/// A second's.
const STEADY: u64 = 500;
/// For whatever the servers do by themselves.
const PATIENCE: Duration = Duration::from_mins(1);
/// Each look at the gateway is a process, and takes time from those that are measured. What is measured does
/// not depend on it.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How the active server changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// SIGKILL of the active server, while another voter leads.
    Kill,
    /// The same where the active server leads the voters.
    KillLeader,
    /// SIGSTOP, while another voter leads or not, as it comes.
    Silent,
    /// The same where the active server leads the voters.
    SilentLeader,
    /// The role is handed over.
    Switchover,
    /// Nothing happens, for as long as a handover takes and longer: what the machine itself does.
    Steady,
}

/// A change of the active server, to be looked up in what was stored.
#[derive(Debug)]
pub(crate) struct Change {
    kind: Kind,
    at: Timestamp,
    until: Timestamp,
    before: RoleTerm,
}

/// A site in which the active server changes.
pub(crate) struct Run {
    pub(crate) site: Site,
    pub(crate) active: Side,
    changes: Vec<Change>,
}

/// A site with a witness.
pub(crate) fn config() -> SiteConfig {
    SiteConfig { automatic: true, ..SiteConfig::new(1, BOARDS, Board::roomy) }
}

impl Run {
    /// A site with traffic.
    pub(crate) fn start(config: SiteConfig) -> Outcome<Self> {
        let site = Site::start(config)?;
        site.simulator.people(RATE)?;
        Ok(Self { site, active: Side::A, changes: Vec::new() })
    }

    /// Ends it; an error where the checker does not judge it good. What changed, and what the active server has
    /// stored.
    pub(crate) fn finish(self) -> Outcome<(Vec<Change>, Stored)> {
        let Self { mut site, active, changes } = self;
        site.settle(PATIENCE)?;
        let finished = site.finish(active, GapAllowance::None)?;
        if !finished.verdict.is_ok() {
            let Finished { verdict, dir, .. } = finished;
            let dir = dir.display();
            return Err(format!("{verdict}\nhint: logs and stores are kept in {dir}").into());
        }
        finished.remove()?;
        Ok((changes, Stored::of(&finished.evidence.active)))
    }

    /// Notes under which role term transactions flow.
    fn begin(&mut self, kind: Kind) -> Outcome<()> {
        self.site.wait_for_traffic(SWIPES)?;
        let status = self.site.look()?;
        let before = status.uplink.role_term.ok_or("the gateway knows no role term")?;
        let at = Timestamp::now();
        self.changes.push(Change { kind, at, until: at, before });
        Ok(())
    }

    /// From now on the time counts.
    fn now(&mut self) {
        if let Some(change) = self.changes.last_mut() {
            change.at = Timestamp::now();
        }
    }

    /// Until now it counts.
    fn over(&mut self) {
        if let Some(change) = self.changes.last_mut() {
            change.until = Timestamp::now();
        }
    }

    /// Waits until the other server's transactions flow.
    fn taken_over(&mut self) -> Outcome<()> {
        self.active = self.active.other();
        let name = self.active.name();
        let what = format!("server {name} to take over");
        wait_every(LOOK_EVERY, &what, PATIENCE, || {
            let uplink = self.site.gateway.status()?.uplink;
            let stored = uplink.active.as_deref() == Some(name) && uplink.stored.is_some();
            Ok(stored.then_some(()))
        })?;
        self.site.wait_for_traffic(SWIPES)?;
        Ok(())
    }

    /// Kills the active server, and starts it again once the other one has taken over.
    pub(crate) fn kill(&mut self, kind: Kind) -> Outcome<()> {
        self.begin(kind)?;
        let dead = self.active;
        self.now();
        let exit = self.site.server(dead).kill()?;
        self.site.note_exit(exit, 0);
        self.taken_over()?;
        self.site.restart_server(dead)?;
        self.site.caught_up(self.active)?;
        Ok(())
    }

    /// Has the active server say nothing until the other one has taken over. An operator has made it active: after
    /// a reign that began by itself, silence has to last for the dwell time as well.
    pub(crate) fn freeze(&mut self, kind: Kind) -> Outcome<()> {
        self.switch()?;
        self.taken_over()?;
        self.site.caught_up(self.active)?;
        if kind == Kind::SilentLeader {
            self.active_leads()?;
        }
        self.begin(kind)?;
        let frozen = self.active;
        self.now();
        self.site.server(frozen).pause()?;
        self.taken_over()?;
        self.site.server(frozen).resume()?;
        self.site.caught_up(self.active)?;
        Ok(())
    }

    /// Hands the role over, after a time in which nothing happens.
    pub(crate) fn hand_over(&mut self) -> Outcome<()> {
        self.begin(Kind::Steady)?;
        self.site.wait_for_traffic(STEADY)?;
        self.over();
        self.begin(Kind::Switchover)?;
        self.now();
        self.switch()?;
        self.taken_over()?;
        self.over();
        self.site.caught_up(self.active)?;
        Ok(())
    }

    /// Asks the other server to take the role over.
    fn switch(&mut self) -> Outcome<()> {
        let asked = self.site.server(self.active.other()).failover(false)?;
        asked.success("postern-server failover")?;
        Ok(())
    }

    /// Has somebody else than the active server lead the voters.
    pub(crate) fn another_leads(&mut self) -> Outcome<()> {
        if self.leader()?.as_deref() == Some(self.active.name()) {
            // The one that it is handed to does not lead.
            self.switch()?;
            self.taken_over()?;
            self.site.caught_up(self.active)?;
        }
        Ok(())
    }

    /// Has the active server lead the voters: the first server follows the witness in their order.
    pub(crate) fn active_leads(&mut self) -> Outcome<()> {
        if self.active == Side::B {
            self.switch()?;
            self.taken_over()?;
            self.site.caught_up(Side::A)?;
        }
        while let Some(leader) = self.leader()?.filter(|leader| leader != Side::A.name()) {
            if leader == Side::B.name() {
                let exit = self.site.server(Side::B).kill()?;
                self.site.note_exit(exit, 0);
                self.another_than(&leader)?;
                self.site.restart_server(Side::B)?;
            } else {
                self.site.kill_witness()?;
                self.another_than(&leader)?;
                self.site.witness()?.start()?;
            }
        }
        self.site.caught_up(Side::A)?;
        Ok(())
    }

    fn another_than(&mut self, last: &str) -> Outcome<()> {
        wait_until("another voter to lead", PATIENCE, || {
            let role = self.site.server(self.active).role()?;
            let leader = role.voters.and_then(|voters| voters.leader);
            Ok(leader.is_some_and(|leader| leader != last).then_some(()))
        })?;
        Ok(())
    }

    /// Under which role terms anybody has been active so far. Who is now, is noted.
    pub(crate) fn terms(&mut self) -> Outcome<BTreeSet<RoleTerm>> {
        let active = self.site.look()?.uplink.active;
        self.active = active.as_deref().and_then(Side::named).unwrap_or(self.active);
        let reigns = self.site.server(self.active).reigns()?;
        let role = self.site.server(self.active).role()?;
        let all = reigns.into_iter().map(|began| began.role_term).chain([role.role_term]);
        Ok(all.collect())
    }

    /// Who leads the voters.
    fn leader(&mut self) -> Outcome<Option<String>> {
        let role = self.site.server(self.active).role()?;
        Ok(role.voters.and_then(|voters| voters.leader))
    }
}

/// How long it took after each change of a kind, until something was stored; how long nothing was, where no server
/// failed.
pub(crate) fn seconds(kind: Kind, changes: &[Change], stored: &Stored) -> Outcome<Vec<f64>> {
    let of_kind = changes.iter().filter(|change| change.kind == kind);
    let time = |change: &Change| {
        let Change { at, until, before, .. } = change;
        let time = match kind {
            Kind::Kill | Kind::KillLeader | Kind::Silent | Kind::SilentLeader => {
                stored.until_taken_over(*at, *before)
            }
            Kind::Switchover | Kind::Steady => Some(stored.longest_pause(*at, *until)),
        };
        let time = time.ok_or_else(|| format!("nothing was stored after {at}"))?;
        Ok(time.as_secs_f64())
    };
    of_kind.map(time).collect()
}
