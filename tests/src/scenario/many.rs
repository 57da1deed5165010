//! Many boards, bad lines, other hosts, logs that begin anew, and a gateway that is killed: for as
//! many swipes as are wanted, and at the end exactly the gaps that the ledger proves.

use std::fmt;
use std::time::{Duration, Instant};

use postern_protocol::uhppote::Request;
use postern_protocol::uhppote::field::Magic;
use postern_protocol::uhppote::message::request::SetEventIndex;
use postern_protocol::{ControllerId, Index};
use serde_json::{Value, json};

use super::BACK_WITHIN;
use crate::checker::GapAllowance;
use crate::harness::{
    Board, Error, Finished, Host, LineCounters, Side, Site, SiteConfig, Transport, forged_push,
};
use crate::random::Random;

/// One board in so many has a log that overflows while the gateway is away.
const SMALL_EVERY: u32 = 4;
/// For so many seconds of the people's rate such a log lasts.
const SMALL_LASTS_S: u32 = 2;
/// The smallest: a log that turns over faster than it can be read shows nothing but that.
const SMALLEST: u32 = 48;
/// How many logs begin anew in a run: one for so many boards.
const RESTART_EVERY: u32 = 4;
/// A small log begins anew only once it was read so far. One that is emptied and overruns our cursor before
/// anybody looks cannot be told from one that merely overran: a limit of these boards, and nothing here is
/// to prove that it is there. To come so far unread takes a small log most of a minute.
const FAR: u64 = 1_000;
/// At each look another host turns to so many boards.
const MEDDLED_WITH: u32 = 8;
/// Short, so that what is lost costs little; long against what a loaded machine takes to answer.
const TIMEOUT_MS: u64 = 150;
/// A look at so many boards costs as much as dozens of swipes.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What is left when the people go home was read at half the pace at which they came, at the slowest.
const SLOWEST: u32 = 2;
/// Besides that, on a loaded machine of two cores.
const SETTLE_WITHIN: Duration = Duration::from_secs(90);

/// What a run is to be.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// How many boards.
    pub controllers: u32,
    /// How many swipes at least, over all boards.
    pub swipes: u32,
    /// How many of them in a second.
    pub rate: u32,
    /// How often the gateway is killed.
    pub kills: u32,
    /// Where chance begins.
    pub seed: u64,
}

/// A run, and what happened in it.
#[derive(Debug)]
pub struct Crowded {
    /// The run.
    pub finished: Finished,
    /// How often a log began anew.
    pub restarts: u32,
    /// What passed over the wires in all.
    pub lines: LineCounters,
    /// From the first swipe until everything was stored.
    pub took: Duration,
    /// How much of that came after the last swipe.
    pub drained_in: Duration,
}

impl fmt::Display for Crowded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LineCounters { requests, replies, timeouts, line_errors, pushes, .. } = self.lines;
        let counts = self.finished.verdict.counts;
        let per_second = u128::from(counts.generated) * 1_000 / self.took.as_millis().max(1);
        write!(
            f,
            "swipes_per_s={per_second} kills={} restarts={} gaps={} requests={requests} retries={} \
             timeouts={timeouts} line_errors={line_errors} pushes={pushes} seconds={:.0} \
             drained_in_s={:.0}",
            self.finished.evidence.kills.len(),
            self.restarts,
            counts.gaps,
            requests.saturating_sub(replies),
            self.took.as_secs_f32(),
            self.drained_in.as_secs_f32(),
        )
    }
}

/// See the module.
pub fn many(crowd: Crowd, progress: &mut dyn FnMut(String)) -> Result<Crowded, Error> {
    let mut run = Run::start(crowd)?;
    let Crowd { controllers, swipes, rate, kills, .. } = crowd;
    let begun = Instant::now();
    run.site.simulator.people(f64::from(rate))?;
    let restarts = controllers / RESTART_EVERY;
    let (mut killed, mut generated) = (0, 0);
    while generated < u64::from(swipes) || killed < kills {
        let due = |of: u32| {
            let due = u64::from(of) * generated / u64::from(swipes.max(1));
            u32::try_from(due).unwrap_or(u32::MAX).min(of)
        };
        if killed < due(kills) {
            killed += 1;
            run.kill()?;
            progress(format!("gateway kill {killed} of {kills} after {generated} swipes"));
        }
        if run.restarts < due(restarts) {
            run.restart_a_log()?;
        }
        run.meddle()?;
        let pause = run.random.below(u64::from(rate / 4));
        run.site.wait_for_traffic(pause)?;
        generated = run.site.simulator.generated()?;
    }
    run.site.simulator.people(0.0)?;
    let alone = Instant::now();
    for serial in run.site.boards() {
        run.site.misbehave(serial, &json!({}))?;
    }
    progress(format!("{generated} swipes; everything is healed, and the people went home"));
    let within = SETTLE_WITHIN + Duration::from_secs(u64::from(SLOWEST * swipes / rate.max(1)));
    run.site.drained(within)?;
    // A log that began anew and came as far as its old life was read looks as if it were read: one
    // more record shows.
    for serial in run.site.boards() {
        run.site.simulator.generate(serial, 1)?;
    }
    run.site.drained(within)?;
    run.count()?;
    let (took, drained_in) = (begun.elapsed(), alone.elapsed());
    progress(format!("everything was read and stored within {:.0} s", took.as_secs_f32()));

    let Run { site, gaps, lines, restarts, .. } = run;
    let finished = site.finish(Side::A, gaps)?;
    Ok(Crowded { finished, restarts, lines, took, drained_in })
}

fn is_small(serial: u32) -> bool {
    serial.is_multiple_of(SMALL_EVERY)
}

/// The site and what is counted while it runs.
struct Run {
    site: Site,
    gaps: GapAllowance,
    random: Random,
    host: Host,
    lines: LineCounters,
    restarts: u32,
}

impl Run {
    fn start(crowd: Crowd) -> Result<Self, Error> {
        let Crowd { controllers, swipes, rate, seed, .. } = crowd;
        let small = SMALLEST.max(SMALL_LASTS_S * rate / controllers.max(1));
        let board = |serial: u32| match serial % SMALL_EVERY {
            _ if is_small(serial) => {
                Board { capacity: small, chunk: small / 4, ..Board::roomy(serial) }
            }
            // Its pushed events begin with another byte.
            1 => Board { firmware: "6.62", ..Board::roomy(serial) },
            _ => Board::roomy(serial),
        };
        let config = SiteConfig {
            pushes: true,
            look_every: LOOK_EVERY,
            capacity_entries: u64::from(swipes) + 100_000,
            ..SiteConfig::new(seed, controllers, board)
        };
        let mut site = Site::prepare(config)?;
        let gaps = site.proven_gaps();
        let mut configuration = site.configuration();
        for (index, line) in configuration.controllers.iter_mut().enumerate() {
            line.timeout_ms = TIMEOUT_MS;
            // Some are asked for one record at a time, others for several.
            line.in_flight = [1, 4, 16].get(index % 3).copied().unwrap_or(1);
            site.misbehave(line.serial, &misbehaviour(line.transport))?;
        }
        site.gateway.configure(&configuration)?;
        site.gateway.start()?;
        let (random, host, lines) = (Random::new(seed), Host::new()?, LineCounters::default());
        Ok(Self { site, gaps, random, host, lines, restarts: 0 })
    }

    fn any_board(&mut self) -> u32 {
        let boards = self.site.boards();
        boards.get(self.random.place(boards.len())).copied().unwrap_or_default()
    }

    fn kill(&mut self) -> Result<(), Error> {
        self.site.look()?;
        self.count()?;
        self.site.kill_gateway()?;
        let killed = Instant::now();
        self.site.restart_gateway()?;
        self.site.note_time("gateway back after a kill:", killed, BACK_WITHIN);
        Ok(())
    }

    /// Adds up what passed over the wires, before the process that counted is gone.
    fn count(&mut self) -> Result<(), Error> {
        for line in self.site.gateway.controllers()? {
            self.lines.add(line.line);
        }
        Ok(())
    }

    /// Restores a board's defaults, or puts another one in its place, in turns.
    fn restart_a_log(&mut self) -> Result<(), Error> {
        let lines = self.site.gateway.controllers()?;
        let fits = |serial: u32| {
            let id = ControllerId::uhppote(serial);
            let read = lines.iter().find(|line| line.controller == id).and_then(|line| line.cursor);
            !is_small(serial) || read >= Some(Index(FAR))
        };
        // Three in four are roomy.
        let mut serial = self.any_board();
        while !fits(serial) {
            serial = self.any_board();
        }
        self.restarts += 1;
        if self.restarts.is_multiple_of(2) {
            let preload = u32::try_from(self.random.below(200)).unwrap_or_default();
            self.site.simulator.replace(serial, preload)?;
        } else {
            self.site.simulator.reset(serial)?;
        }
        // Whoever did that sets the board up again.
        self.site.listen(serial)
    }

    /// Another host moves cursors that all hosts share, and somebody sends the gateway events that never
    /// were. Records are read by nobody else: the simulator does not ask for whom a late reply was.
    fn meddle(&mut self) -> Result<(), Error> {
        for _ in 0..MEDDLED_WITH {
            let controller = self.any_board();
            let Some(board) = self.site.simulator.addresses.get(&controller).copied() else {
                continue;
            };
            let index = u32::try_from(self.random.below(2_000)).unwrap_or_default();
            let set = SetEventIndex { controller, index, magic: Magic };
            self.host.send(board, &Request::SetEventIndex(set).encode())?;
            if let Some(gateway) = self.site.pushes_to() {
                self.host.send(gateway, &forged_push(controller, index))?;
            }
        }
        Ok(())
    }
}

/// On one line in ten datagrams vanishes, either way, others are doubled, late or out of order; on the
/// other connections break. Pushes are lost and doubled on both.
fn misbehaviour(transport: Transport) -> Value {
    match transport {
        Transport::Udp => json!({
            "lose": 0.1, "drop": 0.1, "duplicate": 0.05, "stale": 0.01, "reorder": 0.01,
            "drop_push": 0.3, "duplicate_push": 0.2,
        }),
        Transport::Tcp => json!({ "reset": 0.005, "drop_push": 0.3, "duplicate_push": 0.2 }),
    }
}
