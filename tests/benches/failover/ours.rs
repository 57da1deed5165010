//! Our own half: a site of real processes on this machine, whose active server is killed, frozen and
//! handed over under traffic. When each transaction was stored is what the servers wrote down.

use std::time::Duration;

use jiff::Timestamp;
use postern_protocol::RoleTerm;
use postern_tests::checker::{GapAllowance, StoreView};
use postern_tests::harness::{Board, Error, Side, Site, SiteConfig, wait_until};

/// Swipes a second, over all boards: one every two milliseconds.
const RATE: f64 = 500.0;
const BOARDS: u32 = 8;
/// For whatever the servers do by themselves.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) kills: usize,
    pub(crate) leader_kills: usize,
    pub(crate) silences: usize,
    pub(crate) switchovers: usize,
}

/// What was measured, in seconds.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// From SIGKILL of the active server to the first transaction that the other one stored.
    pub(crate) kill: Vec<f64>,
    /// The same where the active server led the voters.
    pub(crate) kill_leader: Vec<f64>,
    /// From SIGSTOP.
    pub(crate) silent: Vec<f64>,
    /// The longest time in which nothing was stored while the role was handed over.
    pub(crate) switchover: Vec<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Kill,
    KillLeader,
    Silent,
    Switchover,
}

/// A change of the active server, to be looked up in what was stored.
#[derive(Debug)]
struct Change {
    kind: Kind,
    at: Timestamp,
    until: Timestamp,
    before: RoleTerm,
}

struct Run<'a> {
    site: Site,
    active: Side,
    changes: Vec<Change>,
    progress: &'a mut dyn FnMut(&str),
}

/// Measures everything in one run, and lets the checker judge it.
pub(crate) fn measure(
    extent: &Extent,
    progress: &mut dyn FnMut(&str),
) -> Result<Measured, Error> {
    let config = SiteConfig { automatic: true, ..SiteConfig::new(1, BOARDS, Board::roomy) };
    let site = Site::start(config)?;
    site.simulator.people(RATE)?;
    let mut run = Run { site, active: Side::A, changes: Vec::new(), progress };
    for _ in 0..extent.kills {
        run.witness_leads()?;
        run.kill(Kind::Kill)?;
    }
    for _ in 0..extent.leader_kills {
        run.active_leads()?;
        run.kill(Kind::KillLeader)?;
    }
    for _ in 0..extent.silences {
        run.freeze()?;
    }
    for _ in 0..extent.switchovers {
        run.hand_over()?;
    }
    let Run { mut site, active, changes, .. } = run;
    site.settle(PATIENCE)?;
    let evidence = site.finish(active, GapAllowance::None)?.expect_ok();
    Ok(look_up(&changes, &evidence.active))
}

impl Run<'_> {
    fn begin(&mut self, kind: Kind) -> Result<(), Error> {
        self.site.wait_for_traffic(50)?;
        let before = self.site.look()?.uplink.role_term.unwrap_or_default();
        let at = Timestamp::now();
        self.changes.push(Change { kind, at, until: at, before });
        Ok(())
    }

    /// Waits until the other server's transactions flow, and notes that.
    fn taken_over(&mut self) -> Result<(), Error> {
        self.active = self.active.other();
        let name = self.active.name();
        let what = format!("server {name} to take over");
        wait_until(&what, PATIENCE, || {
            let uplink = self.site.gateway.status()?.uplink;
            let stored = uplink.active.as_deref() == Some(name) && uplink.stored.is_some();
            Ok(stored.then_some(()))
        })?;
        self.site.wait_for_traffic(50)?;
        if let Some(change) = self.changes.last_mut() {
            change.until = Timestamp::now();
        }
        (self.progress)(&format!("{} changes", self.changes.len()));
        Ok(())
    }

    fn kill(&mut self, kind: Kind) -> Result<(), Error> {
        self.begin(kind)?;
        let dead = self.active;
        let now = Timestamp::now();
        self.site.crash_server(dead)?;
        if let Some(change) = self.changes.last_mut() {
            change.at = now;
        }
        self.taken_over()?;
        self.site.restart_server(dead)?;
        self.site.caught_up(self.active)
    }

    fn freeze(&mut self) -> Result<(), Error> {
        self.begin(Kind::Silent)?;
        let frozen = self.active;
        self.site.server(frozen).pause()?;
        self.taken_over()?;
        self.site.server(frozen).resume()?;
        self.site.caught_up(self.active)
    }

    fn hand_over(&mut self) -> Result<(), Error> {
        self.begin(Kind::Switchover)?;
        self.site.fail_over(self.active.other(), false)?;
        self.taken_over()?;
        self.site.caught_up(self.active)
    }

    /// Waits until somebody else than the active server leads the voters; where that does not come by
    /// itself, the active server's voter is made to lose its lead.
    fn witness_leads(&mut self) -> Result<(), Error> {
        if self.leader()?.as_deref() != Some(self.active.name()) {
            return Ok(());
        }
        // Handed over and back: the other one is not the leader.
        self.site.fail_over(self.active.other(), false)?;
        self.active = self.active.other();
        self.site.caught_up(self.active)
    }

    /// Has the active server lead the voters: the first server follows the witness in their order.
    fn active_leads(&mut self) -> Result<(), Error> {
        if self.active == Side::B {
            self.site.fail_over(Side::A, false)?;
            self.active = Side::A;
            self.site.caught_up(Side::A)?;
        }
        while self.leader()?.as_deref() != Some(Side::A.name()) {
            let leader = self.leader()?;
            match leader.as_deref() {
                Some("b") => {
                    self.site.crash_server(Side::B)?;
                    self.another_leads("b")?;
                    self.site.restart_server(Side::B)?;
                }
                _ => {
                    self.site.kill_witness()?;
                    self.another_leads("w")?;
                    self.site.witness()?.start()?;
                }
            }
        }
        self.site.caught_up(Side::A)
    }

    fn another_leads(&mut self, than: &str) -> Result<(), Error> {
        wait_until("another voter to lead", PATIENCE, || {
            let leader = self.leader()?;
            Ok(leader.is_some_and(|leader| leader != than).then_some(()))
        })
    }

    fn leader(&mut self) -> Result<Option<String>, Error> {
        let role = self.site.server(self.active).role()?;
        Ok(role.voters.and_then(|voters| voters.leader))
    }
}

/// Finds what was stored first after each change, or how long nothing was.
fn look_up(changes: &[Change], store: &StoreView) -> Measured {
    let stored: Vec<(Timestamp, RoleTerm)> = store
        .rows
        .iter()
        .filter_map(|row| Some((row.stored_at.as_deref()?.parse().ok()?, row.role_term)))
        .collect();
    let mut measured = Measured::default();
    for Change { kind, at, until, before } in changes {
        let first = stored.iter().filter(|(_, term)| term > before).map(|(when, _)| *when);
        let waited = first.filter(|when| when >= at).min().map(|when| seconds(*at, when));
        let times = match kind {
            Kind::Kill => &mut measured.kill,
            Kind::KillLeader => &mut measured.kill_leader,
            Kind::Silent => &mut measured.silent,
            Kind::Switchover => {
                measured.switchover.extend(longest_pause(&stored, *at, *until));
                continue;
            }
        };
        times.extend(waited);
    }
    measured
}

fn longest_pause(
    stored: &[(Timestamp, RoleTerm)],
    from: Timestamp,
    until: Timestamp,
) -> Option<f64> {
    let mut times: Vec<Timestamp> = stored.iter().map(|(when, _)| *when).collect();
    times.sort_unstable();
    let pairs = times.iter().zip(times.iter().skip(1));
    let touching = pairs.filter(|(before, after)| **after > from && **before < until);
    touching.map(|(before, after)| seconds(*before, *after)).max_by(f64::total_cmp)
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    (to - from).total(jiff::Unit::Second).unwrap_or_default()
}
