//! Devices that speak Modbus and are not ours, and a gateway that is killed at random moments while people swipe. What
//! was shown is in the store once, or in a gap that tells the truth; what may stand there twice says so.

use std::fmt;
use std::time::{Duration, Instant};

use super::BACK_WITHIN;
use crate::checker::{GapAllowance, Judged, Shows, judge_modbus};
use crate::harness::{
    Board, Configuration, Error, Finished, Health, ModbusDevices, ModbusLines, ModbusPlan, Side,
    Site, SiteConfig, wait_every, wait_until,
};
use crate::random::Random;

/// All units answer within this after the gateway's start.
const ONLINE_WITHIN: Duration = Duration::from_secs(30);
/// Swipes that are due come within this.
const SWIPE_WITHIN: Duration = Duration::from_mins(1);
/// What was shown is stored within this once everything is well again, on a loaded machine of two cores.
const SETTLE_WITHIN: Duration = Duration::from_secs(40);
/// A look at a whole store costs as much as a second of swipes.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So long the last fault is a problem, at most.
const HEALTHY_WITHIN: Duration = Duration::from_secs(30);
/// As small as it may be.
const CAPACITY: u64 = 1_000;
/// It is full within this, if anything comes of filling it.
const FULL_WITHIN: Duration = Duration::from_mins(1);
/// Frames that were no answer.
const GARBAGE: &str = "controller_garbage";
/// In every second run, about, what counts has shown nearly so many before: the counter comes round in it.
const ROUND: u32 = 65_536;
/// So often devices misbehave for each kill.
const TROUBLES: u32 = 2;
/// A ring overruns in that now and then.
const LONGEST_ABSENCE: Duration = Duration::from_secs(4);
/// A gateway is ready within this, about.
const STARTS_WITHIN: Duration = Duration::from_millis(600);
/// Later than this an answer on the serial line may pass for one to another request.
const LATEST_MS: u64 = ModbusLines::REPLY_MS + ModbusLines::LATE_MS / 2;

/// What a run is to be.
#[derive(Clone, Copy, Debug)]
pub struct Modbus {
    /// How often the gateway is killed.
    pub kills: u32,
    /// How often no server can be reached until its journal is full: what was read just before is read and not kept.
    pub fills: u32,
    /// How many swipes there are at each unit.
    pub swipes: u32,
    /// How many in a second at each.
    pub rate: u32,
    /// How many units of each kind there are on either line.
    pub each: u8,
    /// Where chance begins.
    pub seed: u64,
}

/// A run, and what was found.
#[derive(Debug)]
pub struct Polled {
    /// The run.
    pub finished: Finished,
    /// What became of the swipes.
    pub judged: Judged,
    /// How often the gateway was killed.
    pub kills: u32,
    /// How often a device was made to misbehave.
    pub troubles: u32,
    /// What the gateway still complained of at the end.
    pub complaints: Vec<String>,
}

impl Polled {
    /// Whether all is well.
    pub fn is_ok(&self) -> bool {
        let well = self.judged.findings.count == 0 && self.complaints.is_empty();
        well && self.finished.verdict.is_ok()
    }

    /// What is wrong with the swipes, line by line; the verdict on the run says the rest.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let findings = &self.judged.findings;
        let first = findings.first.iter().map(|finding| format!("swipes: {finding}"));
        let more = findings.count.saturating_sub(first.len() as u64);
        let more = (more > 0).then(|| format!("swipes: and {more} more"));
        let complaints = self.complaints.iter().map(|complaint| format!("health: {complaint}"));
        first.chain(more).chain(complaints)
    }
}

impl fmt::Display for Polled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.is_ok() { "ok" } else { "failed" };
        let Judged { shown, stored, gaps, lost_in_gaps, missing, marked, repeats, .. } =
            &self.judged;
        write!(
            f,
            "verdict: {word} shown={shown} stored={stored} lost={missing} gaps={gaps} \
             lost_in_gaps={lost_in_gaps} may_repeat={marked} repeats={repeats} kills={} troubles={}",
            self.kills, self.troubles
        )
    }
}

/// What happens once so many swipes were shown.
#[derive(Debug)]
enum Event {
    Kill,
    Fill,
    Trouble(String),
}

/// See the module. `None` where there is no Python that plays the devices; a line on stderr has said so.
pub fn modbus(run: Modbus, progress: &mut dyn FnMut(String)) -> Result<Option<Polled>, Error> {
    let Some(python) = ModbusDevices::python()? else { return Ok(None) };
    let Modbus { kills, fills, swipes, rate, each, seed } = run;
    let mut random = Random::new(seed);
    let config = SiteConfig::new(seed, 1, Board::roomy);
    let mut site = Site::prepare(SiteConfig { capacity_entries: CAPACITY, ..config })?;
    let before = if random.below(2) == 0 { ROUND - swipes.min(ROUND) / 2 } else { 0 };
    let plan = ModbusPlan { seed, each, swipes, rate, before };
    let devices = ModbusDevices::start(&python, &site.dir, &site.dir.join("logs"), plan)?;
    let modbus = Some(devices.lines.clone());
    site.gateway.configure(&Configuration { modbus, ..site.configuration() })?;
    site.gateway.start()?;
    let mut pace = Pace::of(devices, plan)?;
    online(&site, &pace.devices)?;
    pace.devices.order("resume")?;

    let (mut number, mut troubles, mut starts) = (0, 0, 1);
    for (due, event) in events(&mut random, (kills, fills), &pace) {
        pace.until(due)?;
        match event {
            Event::Trouble(order) => {
                troubles += 1;
                pace.devices.order(&order)?;
            }
            Event::Kill => {
                number += 1;
                let (how, started) = kill(&mut site, &pace, &mut random)?;
                starts += started;
                progress(format!("gateway kill {number} of {kills}: {how}"));
            }
            Event::Fill => {
                starts += fill(&mut site, &pace, &mut random)?;
                progress("the journal was full".to_owned());
            }
        }
    }
    let devices = pace.devices;
    let within = SWIPE_WITHIN + Duration::from_secs(u64::from(4 * swipes / rate.max(1)));
    wait_until("every card to be shown", within, || Ok(devices.is_done().then_some(())))?;
    progress("every card was shown".to_owned());
    settle(&mut site, &devices)?;
    let complaints = complaints(&site, &devices)?;

    let swipes = devices.swipes()?;
    let sizes = judge_modbus(&swipes, &[], starts).sizes;
    let mut judged = Judged::default();
    let finished = site.finish_with(Side::A, GapAllowance::Proven(sizes), |store| {
        judged = judge_modbus(&swipes, &store.rows, starts);
        std::mem::take(&mut judged.ledger)
    })?;
    let ended = devices.end()?;
    if ended.code != Some(0) {
        return Err(Error::Scenario(format!("the Modbus devices ended with {:?}", ended.code)));
    }
    Ok(Some(Polled { finished, judged, kills, troubles, complaints }))
}

/// How far a run is. Latches wait while nobody clears them: what counts goes on by itself, and is the clock.
struct Pace {
    devices: ModbusDevices,
    /// Swipes of what counts that were there at the start.
    before: u64,
    /// How many come.
    total: u64,
    /// How many in a second.
    per_second: u64,
}

impl Pace {
    fn of(devices: ModbusDevices, plan: ModbusPlan) -> Result<Self, Error> {
        // Two kinds of three on two lines.
        let units = 4 * u64::from(plan.each);
        let (total, per_second) = (units * u64::from(plan.swipes), units * u64::from(plan.rate));
        let pace = Self { devices, before: 0, total, per_second };
        Ok(Self { before: pace.counted()?, ..pace })
    }

    /// How many swipes there were at what counts.
    fn counted(&self) -> Result<u64, Error> {
        let swipes = self.devices.swipes()?;
        let counted = swipes.iter().filter(|swipe| swipe.kind != Shows::Latch).count();
        Ok(u64::try_from(counted).unwrap_or(u64::MAX).saturating_sub(self.before))
    }

    /// Waits until there were so many.
    fn until(&self, due: u64) -> Result<(), Error> {
        wait_until(&format!("{due} swipes at what counts"), SWIPE_WITHIN, || {
            Ok((self.counted()? >= due).then_some(()))
        })
    }

    /// Waits for as many as come within `longest` at most.
    fn pause(&self, random: &mut Random, longest: Duration) -> Result<(), Error> {
        let longest = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        let more = random.below(self.per_second * longest / 1_000 + 1);
        self.until((self.counted()? + more).min(self.total))
    }
}

/// Waits until the gateway reads every unit.
fn online(site: &Site, devices: &ModbusDevices) -> Result<(), Error> {
    let units = devices.lines.units().len();
    wait_until("every Modbus unit to be read", ONLINE_WITHIN, || {
        let all = site.gateway.controllers()?;
        let is_read = all.len() > units && all.iter().all(|line| line.state == "online");
        Ok(is_read.then_some(()))
    })
}

/// All that is to happen, each after so many swipes.
fn events(random: &mut Random, (kills, fills): (u32, u32), pace: &Pace) -> Vec<(u64, Event)> {
    let units = pace.devices.lines.units();
    let mut events = Vec::new();
    for _ in 0..kills {
        events.push((random.below(pace.total), Event::Kill));
        for _ in 0..TROUBLES {
            events.push((random.below(pace.total), Event::Trouble(trouble(random, &units))));
        }
    }
    for _ in 0..fills {
        // Early enough that there is something to fill it with.
        events.push((random.below(pace.total / 2), Event::Fill));
    }
    events.sort_by_key(|(due, _)| *due);
    events
}

/// An order to one of the devices.
fn trouble(random: &mut Random, units: &[u8]) -> String {
    let unit = units.get(random.place(units.len())).copied().unwrap_or_default();
    let what = random.below(4);
    let mut seconds = |shortest: u64, longest: u64| {
        let ms = shortest + random.below(longest - shortest);
        format!("{}.{:03}", ms / 1_000, ms % 1_000)
    };
    match what {
        0 => format!("silence {unit} {}", seconds(100, 2_000)),
        1 => format!("mute {unit} {}", seconds(50, 1_500)),
        2 => format!("late {unit} {}", seconds(20, LATEST_MS)),
        _ => {
            let code = [2, 3, 4, 6].get(random.place(4)).copied().unwrap_or(4);
            format!("exception {unit} {code} {}", 1 + random.below(4))
        }
    }
}

/// Kills the gateway and starts it again. Answers with how, and how often it was started.
fn kill(site: &mut Site, pace: &Pace, random: &mut Random) -> Result<(&'static str, u64), Error> {
    // Asking it what it promised takes its time: without that the moment is the one that was drawn.
    if random.below(3) == 0 {
        site.kill_gateway()?;
    } else {
        site.crash_gateway()?;
    }
    let how = match random.below(3) {
        0 => ("back at once", 1),
        1 => {
            pace.pause(random, LONGEST_ABSENCE)?;
            ("back after a while", 1)
        }
        _ => {
            site.crash_starting_gateway(|| pace.pause(random, STARTS_WITHIN))?;
            ("and once more while it started", 2)
        }
    };
    let killed = Instant::now();
    site.restart_gateway()?;
    site.note_time("gateway back after a kill:", killed, BACK_WITHIN);
    Ok(how)
}

/// Cuts the ways to both servers until the journal is full, and for a while more. Answers with how often the gateway was
/// started.
fn fill(site: &mut Site, pace: &Pace, random: &mut Random) -> Result<u64, Error> {
    for side in Side::BOTH {
        site.link(side).cut();
    }
    wait_until("the journal to be full", FULL_WITHIN, || {
        Ok(site.gateway.status()?.journal.full.map(drop))
    })?;
    pace.pause(random, LONGEST_ABSENCE)?;
    let is_killed = random.below(2) == 0;
    if is_killed {
        site.crash_gateway()?;
        site.restart_gateway()?;
    }
    for side in Side::BOTH {
        site.link(side).open()?;
    }
    Ok(u64::from(is_killed))
}

/// Waits until everything that was shown is stored. Where that does not come about the verdict says what is missing.
fn settle(site: &mut Site, devices: &ModbusDevices) -> Result<(), Error> {
    let swipes = devices.swipes()?;
    let settled = wait_every(LOOK_EVERY, "every card to be stored", SETTLE_WITHIN, || {
        let store = site.server(Side::A).store()?;
        Ok((judge_modbus(&swipes, &store.rows, 0).missing == 0).then_some(()))
    });
    match settled {
        Err(Error::Timeout { .. }) => Ok(()),
        other => other,
    }
}

/// What the gateway complains of, and does not stop to. On the serial line answers came late, and some that a gateway
/// had asked for which was killed then: it goes on to say for ten minutes that it refused them.
fn complaints(site: &Site, devices: &ModbusDevices) -> Result<Vec<String>, Error> {
    let on_line = devices.lines.names_on_line();
    let is_due = |problem: &Health| {
        let subject = problem.subject.as_deref().unwrap_or_default();
        problem.code == GARBAGE && on_line.iter().any(|unit| subject.starts_with(unit))
    };
    let mut last = Vec::new();
    let healthy = wait_until("a gateway without problems", HEALTHY_WITHIN, || {
        last = site.gateway.status()?.health;
        last.retain(|problem| !is_due(problem));
        Ok(last.is_empty().then_some(()))
    });
    match healthy {
        Ok(()) | Err(Error::Timeout { .. }) => {}
        Err(error) => return Err(error),
    }
    let told = |problem: Health| {
        let Health { code, subject, message } = problem;
        format!("{code} of {}: {message}", subject.unwrap_or_default())
    };
    Ok(last.into_iter().map(told).collect())
}
