//! The active server changes again and again under load: handed over between two living servers, or
//! forced after the active one has died.

use std::fmt;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::SETTLE_WITHIN;
use super::pause::Stored;
use crate::checker::GapAllowance;
use crate::harness::{Board, Error, Finished, Side, Site, SiteConfig};
use crate::random::Random;

/// As many at once are asked for of each board: what is to be measured are the servers.
const IN_FLIGHT: u32 = 16;
/// A look at so many boards costs as much as dozens of swipes.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What a run is to be.
#[derive(Clone, Copy, Debug)]
pub struct Changes {
    /// How often the active server changes.
    pub count: u32,
    /// How many swipes at least, over all boards.
    pub swipes: u32,
    /// How many of them in a second.
    pub rate: u32,
    /// How many boards.
    pub boards: u32,
    /// Where chance begins.
    pub seed: u64,
}

/// How the active server changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It handed its role over.
    Switchover,
    /// It was killed (SIGKILL), and its peer was forced.
    Killed,
    /// It was stopped (SIGTERM), and its peer was forced.
    Stopped,
}

impl How {
    /// Every way.
    pub const ALL: [Self; 3] = [Self::Switchover, Self::Killed, Self::Stopped];

    /// A word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Switchover => "switchover",
            Self::Killed => "forced after SIGKILL",
            Self::Stopped => "forced after SIGTERM",
        }
    }
}

/// One of them.
#[derive(Clone, Copy, Debug)]
struct Change {
    how: How,
    /// Who is active since.
    to: Side,
    /// After how many swipes.
    after: u64,
    from: Timestamp,
    /// Until when both counted again.
    until: Timestamp,
    /// How long that took, of a forced one from the start of the one that had died.
    again: Duration,
}

/// A run, and what it showed.
#[derive(Debug)]
pub struct Changed {
    /// The run.
    pub finished: Finished,
    changes: Vec<(Change, Duration)>,
}

impl Changed {
    /// How many of the changes were made so.
    pub fn count(&self, how: How) -> usize {
        self.changes.iter().filter(|(change, _)| change.how == how).count()
    }

    /// The longest time within which nothing was stored, over all changes that were made so.
    pub fn longest(&self, how: How) -> Duration {
        let of_it = self.changes.iter().filter(|(change, _)| change.how == how);
        of_it.map(|(_, longest)| *longest).max().unwrap_or_default()
    }

    /// The longest time until both servers counted again, over all changes that were made so.
    pub fn again(&self, how: How) -> Duration {
        let of_it = self.changes.iter().filter(|(change, _)| change.how == how);
        of_it.map(|(change, _)| change.again).max().unwrap_or_default()
    }

    /// A line for each change.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.changes.iter().zip(1..).map(|((change, longest), number)| {
            let Change { how, to, after, again, .. } = change;
            format!(
                "change {number} after {after} swipes, {} to {}: nothing stored for {} ms, in sync \
                 again after {} ms",
                how.word(),
                to.name(),
                longest.as_millis(),
                again.as_millis()
            )
        })
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "changes={}", self.changes.len())?;
        for (how, key) in How::ALL.into_iter().zip(["switchover", "killed", "stopped"]) {
            write!(
                f,
                " {key}={} {key}_longest_pause_ms={} {key}_in_sync_again_ms={}",
                self.count(how),
                self.longest(how).as_millis(),
                self.again(how).as_millis()
            )?;
        }
        write!(f, " lost={}", self.finished.verdict.counts.lost)
    }
}

/// Changes the active server `count` times, each at a random moment within its share of the swipes: every
/// second time it is handed over, the other times forced after a death.
pub fn role_changes(run: Changes, progress: &mut dyn FnMut(String)) -> Result<Changed, Error> {
    let Changes { count, swipes, rate, boards, seed } = run;
    let mut random = Random::new(seed);
    let capacity_entries = u64::from(swipes) + 100_000;
    let config = SiteConfig { capacity_entries, ..SiteConfig::new(seed, boards, Board::roomy) };
    let mut site = busy_site(config)?;
    site.simulator.people(f64::from(rate))?;
    let share = u64::from(swipes / count.max(1));
    let handed_over_first = random.below(2) == 0;
    let (mut active, mut changes) = (Side::A, Vec::new());
    for number in 0..count {
        // In the first half of its share, so that the standby has the other half to catch up in.
        let due = u64::from(number) * share + random.below(share / 2);
        let more = due.saturating_sub(site.simulator.generated()?);
        site.wait_for_traffic(more)?;
        let how = match random.below(2) {
            _ if number.is_multiple_of(2) == handed_over_first => How::Switchover,
            0 => How::Killed,
            _ => How::Stopped,
        };
        let change = change(&mut site, active, how, &mut random)?;
        active = change.to;
        progress(format!(
            "change {} of {count} after {} swipes: {} to {}",
            number + 1,
            change.after,
            how.word(),
            active.name()
        ));
        changes.push(change);
    }
    let more = u64::from(swipes).saturating_sub(site.simulator.generated()?);
    site.wait_for_traffic(more)?;
    site.settle(SETTLE_WITHIN)?;
    let finished = site.finish(active, GapAllowance::None)?;
    let stored = Stored::of(&finished.evidence.active);
    let timed = |change: Change| (change, stored.longest_pause(change.from, change.until));
    Ok(Changed { changes: changes.into_iter().map(timed).collect(), finished })
}

/// A site of roomy boards that are read as fast as they can be, with its servers in sync.
pub(super) fn busy_site(config: SiteConfig) -> Result<Site, Error> {
    let mut site = Site::prepare(SiteConfig { look_every: LOOK_EVERY, ..config })?;
    let mut configuration = site.configuration();
    for line in &mut configuration.controllers {
        line.in_flight = IN_FLIGHT;
    }
    site.gateway.configure(&configuration)?;
    site.gateway.start()?;
    // When boards are met for the first time, each one's log is named in turn, before anything of it is stored.
    site.generate(1)?;
    site.drained(SETTLE_WITHIN)?;
    site.caught_up(Side::A)?;
    Ok(site)
}

fn change(site: &mut Site, active: Side, how: How, random: &mut Random) -> Result<Change, Error> {
    let to = active.other();
    site.caught_up(active)?;
    site.look()?;
    let after = site.simulator.generated()?;
    let from = Timestamp::now();
    match how {
        How::Switchover => site.fail_over(to, false)?,
        How::Killed => site.kill_server(active)?,
        How::Stopped => site.stop_server(active)?,
    }
    let mut begun = Instant::now();
    if how != How::Switchover {
        site.fail_over(to, true)?;
        site.wait_for_traffic(random.below(200))?;
        begun = Instant::now();
        site.restart_server(active)?;
    }
    site.caught_up(to)?;
    let (until, again) = (Timestamp::now(), begun.elapsed());
    Ok(Change { how, to, after, from, until, again })
}
