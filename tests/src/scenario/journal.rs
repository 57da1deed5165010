//! The journal's file is damaged or steps back, again and again, and the gateway goes on.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::rot::{Rot, changed_pages, flip};
use super::{BACK_WITHIN, SETTLE_WITHIN};
use crate::checker::GapAllowance;
use crate::harness::{Board, Error, Finished, Side, Site, SiteConfig, wait_until};
use crate::random::Random;

/// One that is talked to over UDP, one over TCP.
const BOARDS: u32 = 2;

/// What became of a damaged journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nothing: what was damaged was not in use.
    None,
    /// It stepped back, a server noticed, and it went on under a new id.
    Forked,
    /// It was set aside, and what could be read went on under a new id.
    Salvaged,
}

/// A run, and how often what became of the journal.
#[derive(Debug)]
pub struct Damaged {
    /// The run.
    pub finished: Finished,
    /// How often.
    pub effects: BTreeMap<Effect, u32>,
    /// The longest time from the start of the process until it was ready.
    pub slowest: Duration,
}

impl Damaged {
    /// How often.
    pub fn count(&self, effect: Effect) -> u32 {
        self.effects.get(&effect).copied().unwrap_or_default()
    }
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "damaged={} salvaged={} forked={} unharmed={} slowest_start_ms={}",
            self.effects.values().sum::<u32>(),
            self.count(Effect::Salvaged),
            self.count(Effect::Forked),
            self.count(Effect::None),
            self.slowest.as_millis(),
        )
    }
}

/// The site and what is counted while it runs.
struct Run {
    site: Site,
    random: Random,
    effects: BTreeMap<Effect, u32>,
    slowest: Duration,
}

impl Run {
    fn start(seed: u64, board: fn(u32) -> Board) -> Result<Self, Error> {
        let site = Site::start(SiteConfig::new(seed, BOARDS, board))?;
        let random = Random::new(seed);
        Ok(Self { site, random, effects: BTreeMap::new(), slowest: Duration::ZERO })
    }

    /// Starts the gateway on a damaged journal: it has to be back in time, whatever is left.
    fn restart(&mut self) -> Result<(), Error> {
        let begun = Instant::now();
        self.site.gateway.start()?;
        self.slowest = self.slowest.max(begun.elapsed());
        self.site.note_time("gateway back on a damaged journal:", begun, BACK_WITHIN);
        Ok(())
    }

    /// What became of the journal since it was set aside last. Removes what was set aside, as an
    /// operator does who has looked at it.
    fn effect(&mut self) -> Result<Effect, Error> {
        let gateway = &self.site.gateway;
        let (damaged, forked) = (gateway.set_aside("damaged")?, gateway.set_aside("forked")?);
        let effect = match (damaged.as_slice(), forked.as_slice()) {
            ([], []) => Effect::None,
            ([], _) => Effect::Forked,
            _ => Effect::Salvaged,
        };
        for file in damaged.iter().chain(&forked) {
            fs::remove_file(file).map_err(Error::file("remove", file))?;
        }
        *self.effects.entry(effect).or_default() += 1;
        Ok(effect)
    }

    fn finish(self, gaps: GapAllowance) -> Result<Damaged, Error> {
        let Self { site, effects, slowest, .. } = self;
        let finished = site.finish(Side::A, gaps)?;
        Ok(Damaged { finished, effects, slowest })
    }
}

/// Flips a bit in pages that the last commits wrote, after a kill that left no time to settle: redb
/// then gives the last commit up without a word (`docs/adr/0005`). It was delivered already, and
/// other transactions take its place: without the servers' word they would be hidden.
pub fn journal_steps_back(
    count: u32,
    seed: u64,
    progress: &mut dyn FnMut(String),
) -> Result<Damaged, Error> {
    let mut run = Run::start(seed, Board::roomy)?;
    for number in 1..=count {
        let site = &mut run.site;
        site.generate(1 + run.random.below(20))?;
        site.drained(SETTLE_WITHIN)?;
        wait_until("the journal to settle", SETTLE_WITHIN, || {
            let journal = site.gateway.status()?.journal;
            Ok((journal.safe == journal.head).then_some(()))
        })?;
        let before = site.look()?.journal.id;
        let settled = read(&site.gateway.journal())?;
        site.generate(1)?;
        site.drained(SETTLE_WITHIN)?;
        site.crash_gateway()?;

        let path = site.gateway.journal();
        let mut file = read(&path)?;
        let pages = changed_pages(&file, &settled);
        if number % 2 == 1 {
            for page in &pages {
                flip(&mut file, *page);
            }
        } else if let Some(page) = pages.get(run.random.place(pages.len())) {
            flip(&mut file, *page);
        }
        write(&path, &file)?;
        site.generate(1)?;
        run.restart()?;
        run.site.recovered(SETTLE_WITHIN)?;
        let effect = run.effect()?;
        let is_new = run.site.look()?.journal.id != before;
        if is_new != (effect != Effect::None) {
            let what = format!("new journal id: {is_new}, but the effect was {effect:?}");
            return Err(Error::Scenario(what));
        }
        progress(format!("flip {number} of {count}, {} pages written: {effect:?}", pages.len()));
    }
    run.finish(GapAllowance::None)
}

/// Damages the file while the gateway is down and much of it is undelivered. With small boards part
/// of that was overwritten by the controllers and exists nowhere else.
pub fn journal_rot(
    count: u32,
    seed: u64,
    board: fn(u32) -> Board,
    progress: &mut dyn FnMut(String),
) -> Result<Damaged, Error> {
    let mut run = Run::start(seed, board)?;
    let is_small = board(0).capacity < 1_000;
    for (number, rot) in (1..=count).zip(Rot::ALL.into_iter().cycle()) {
        let (site, random) = (&mut run.site, &mut run.random);
        burst(site, random)?;
        site.drained(SETTLE_WITHIN)?;
        site.stop_servers()?;
        let mut earlier = Vec::new();
        for _ in 0..4 {
            earlier = read(&site.gateway.journal())?;
            burst(site, random)?;
        }
        // What settled and what did not are damaged alike.
        if random.below(2) == 0 {
            site.stop_gateway()?;
        } else {
            site.crash_gateway()?;
        }
        burst_at_once(site, random)?;
        if is_small && random.below(4) == 0 {
            // One of the logs begins anew meanwhile.
            let boards: Vec<u32> = site.simulator.addresses.keys().copied().collect();
            site.simulator.reset(boards.get(random.place(boards.len())).copied().unwrap_or(0))?;
            burst_at_once(site, random)?;
        }
        let path = site.gateway.journal();
        let mut file = read(&path)?;
        // What rots seldom rots in one place only.
        for _ in 0..=random.below(3) {
            rot.strike(&mut file, &earlier, random);
        }
        write(&path, &file)?;

        run.restart()?;
        let status = run.site.gateway.status()?;
        let harmed = !run.site.gateway.set_aside("damaged")?.is_empty();
        if harmed != status.has("journal_salvaged") {
            let health = &status.health;
            return Err(Error::Scenario(format!("set aside: {harmed}, health: {health:?}")));
        }
        run.site.restart_servers()?;
        run.site.recovered(SETTLE_WITHIN)?;
        wait_until("nothing to be held any more", SETTLE_WITHIN, || {
            Ok((run.site.gateway.status()?.journal.held == 0).then_some(()))
        })?;
        let effect = run.effect()?;
        progress(format!("{rot}, {number} of {count}: {effect:?}, {} held", status.journal.held));
    }
    run.finish(if is_small { GapAllowance::Any } else { GapAllowance::None })
}

/// Some swipes at each board, which the gateway reads; several make several commits.
fn burst(site: &Site, random: &mut Random) -> Result<(), Error> {
    burst_at_once(site, random)?;
    site.collected(SETTLE_WITHIN)
}

fn burst_at_once(site: &Site, random: &mut Random) -> Result<(), Error> {
    let mut boards = site.simulator.addresses.keys();
    boards.try_for_each(|serial| site.simulator.generate(*serial, 5 + random.below(40)))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(Error::file("read", path))
}

/// Into the file, which keeps its mode.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::write(path, bytes).map_err(Error::file("write", path))
}
