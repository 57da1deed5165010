//! The demo: a site, an outage, three kills and a failover in under a minute, and the proof that
//! nothing is missing.
//!
//! What it shows is what it does: the story below is the whole of it, on real processes, and the
//! checker at its end is that of the tests.

mod progress;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;

use crate::checker::GapAllowance;
use crate::harness::{
    Binaries, Board, Bus, Error, Finished, GatewayStatus, Plug, Side, Site, SiteConfig, Station,
    wait_until,
};
pub use progress::Progress;

/// A log this small is overwritten within seconds; a real one holds 100,000 and takes days.
const CAPACITY: u32 = 96;
/// What such a board drops at once when it is full.
const CHUNK: u32 = 32;
/// Bytes a second while something is to be killed in the middle of an upload: even the smallest
/// backlog of a demo then takes a second.
const SLOW: u64 = 6_000;
/// So much went through the wire when the kill comes: more than it takes to connect.
const MID_UPLOAD: u64 = 5_000;
/// A killed process is noticed at once; this is for a loaded machine of two cores.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(10);
/// The first serial number on the line.
const FIRST_ON_LINE: u32 = 70_001;
/// For whatever the programs do by themselves: on a loaded machine of two cores.
const PATIENCE: Duration = Duration::from_secs(40);

/// Cuts a site off, lets every controller's log overflow, kills the active server in mid-upload,
/// fails over, kills the gateway, and proves that nothing is missing.
#[derive(Clone, Debug, Parser)]
#[command(name = "demo", bin_name = "cargo demo", version)]
pub struct Options {
    /// The same seed lets the same people swipe at the same doors.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How long both servers are cut off at least; longer where the logs take longer to overflow.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub seconds: u64,
    /// How many controllers; every second one is read over TCP, the others over UDP.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub controllers: u32,
    /// How many controllers hang on a serial line besides.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(0..=32))]
    pub line_stations: u8,
    /// Swipes a second, over all controllers [default: 8 for each].
    #[arg(long)]
    pub rate: Option<f64>,
    /// Print one object of JSON at the end instead of the verdict line; progress goes to stderr.
    #[arg(long)]
    pub json: bool,
    /// Do it in this directory and leave everything there.
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}

impl Options {
    fn rate(&self) -> f64 {
        self.rate.unwrap_or(8.0 * f64::from(self.controllers + u32::from(self.line_stations)))
    }
}

/// Runs it.
pub fn run(options: &Options, progress: &mut Progress) -> Result<Finished, Error> {
    progress.step("building the gateway, the server and the simulator");
    Binaries::get()?;

    let Options { seed, controllers, line_stations, .. } = *options;
    let on_line = match line_stations {
        0 => String::new(),
        some => format!(" and {some} on a serial line"),
    };
    progress.step(&format!(
        "starting {controllers} controllers{on_line} with room for {CAPACITY} records each, \
         two servers, their witness and a gateway"
    ));
    let board = |serial| Board { capacity: CAPACITY, chunk: CHUNK, ..Board::roomy(serial) };
    let mut config = SiteConfig { automatic: true, ..SiteConfig::new(seed, controllers, board) };
    if line_stations > 0 {
        let station = |address, serial| Station {
            capacity: CAPACITY,
            poll_ms: 250,
            quiet_poll_ms: 500,
            ..Station::roomy(address, serial)
        };
        config.buses.push(Bus::new("hall", Plug::Pty, FIRST_ON_LINE, line_stations, station));
    }
    let dir = match &options.keep {
        // Children are started elsewhere; a relative path would be another place for them.
        Some(dir) => std::path::absolute(dir).map_err(|source| Error::File {
            action: "find",
            path: dir.clone(),
            source,
        })?,
        None => Site::temporary_dir()?,
    };
    progress.note_dir(&dir);
    let site = Site::prepare_in(&dir, config)?;
    let mut story = Story { site, progress };
    story.site.gateway.start()?;
    story.everyday(options.rate())?;
    let newest = story.cut()?;
    story.outage(options.seconds, &newest)?;
    story.kill_active_in_mid_upload()?;
    story.kill_gateway_in_mid_upload()?;
    story.heal()?;
    story.progress.step("ending every process, comparing the store with the controllers' ledger");
    story.site.finish(Side::B, GapAllowance::None)
}

struct Story<'a> {
    site: Site,
    progress: &'a mut Progress,
}

impl Story<'_> {
    fn everyday(&mut self, rate: f64) -> Result<(), Error> {
        self.site.simulator.people(rate)?;
        self.progress.step(&format!("people swipe, {rate} times a second"));
        self.watch("the first transactions in server a", |_, status| {
            Ok(status.uplink.stored.is_some_and(|stored| stored.0 >= 200))
        })
    }

    /// Returns the newest index of every log at the time of the cut.
    fn cut(&mut self) -> Result<BTreeMap<u32, u64>, Error> {
        for side in Side::BOTH {
            self.site.link(side).cut();
        }
        self.progress.step("both servers are cut off from the gateway");
        let boards = self.site.simulator.status()?.controllers;
        Ok(boards.iter().map(|board| (board.serial, board.newest)).collect())
    }

    /// Lasts until every log has overwritten all that it held at the cut: without the gateway, all
    /// of that would be gone.
    fn outage(&mut self, seconds: u64, newest: &BTreeMap<u32, u64>) -> Result<(), Error> {
        let began = Instant::now();
        let at_least = Duration::from_secs(seconds);
        self.watch_within("every log to overflow", at_least + PATIENCE * 3, |site, _| {
            let boards = site.simulator.status()?.controllers;
            let overwritten = boards
                .iter()
                .all(|board| newest.get(&board.serial).is_none_or(|newest| board.oldest > *newest));
            Ok(overwritten && began.elapsed() >= at_least)
        })?;
        self.progress.step(&format!(
            "{:.0} s cut off: no controller's log holds anything from before the cut any more",
            began.elapsed().as_secs_f32()
        ));
        Ok(())
    }

    fn kill_active_in_mid_upload(&mut self) -> Result<(), Error> {
        self.progress.step("the way to the servers is open again, but slow");
        self.open_slowly(Side::A)?;
        self.open_slowly(Side::B)?;
        self.mid_upload(Side::A)?;
        let backlog = self.backlog()?;
        self.site.kill_server(Side::A)?;
        self.progress.step(&format!("SIGKILL to server a in mid-upload, backlog {backlog}"));
        let killed = Instant::now();
        self.watch("server b to take over by itself", |_, status| {
            Ok(status.uplink.active.as_deref() == Some(Side::B.name()))
        })?;
        self.site.note_time("taken over by itself:", killed, TAKEN_OVER_WITHIN);
        let role = self.site.server(Side::B).role()?;
        self.progress.step(&format!(
            "server {} has taken over by itself, role term {}: the gateway follows it {:.1} s after the kill",
            role.active,
            role.role_term,
            killed.elapsed().as_secs_f32()
        ));
        Ok(())
    }

    fn kill_gateway_in_mid_upload(&mut self) -> Result<(), Error> {
        self.mid_upload(Side::B)?;
        let backlog = self.backlog()?;
        self.site.kill_gateway()?;
        self.progress.step(&format!("SIGKILL to the gateway in mid-upload, backlog {backlog}"));
        let killed = Instant::now();
        self.site.restart_gateway()?;
        self.site.note_time("gateway back:", killed, Duration::from_secs(10));
        self.progress.step("the gateway is back");
        Ok(())
    }

    fn heal(&mut self) -> Result<(), Error> {
        for side in Side::BOTH {
            self.site.link(side).limit(0);
        }
        let healed = Instant::now();
        self.progress.step("the way to the servers is fast again");
        self.watch("the backlog to drain", |_, status| Ok(status.uplink.backlog == Some(0)))?;
        self.site.note_time("backlog drained:", healed, PATIENCE);
        self.site.restart_server(Side::A)?;
        let what = "server a to learn that it was deposed";
        self.watch(what, |site, _| Ok(site.server(Side::A).role()?.active == Side::B.name()))?;
        self.progress.step("server a is back and knows that b is active");
        self.site.simulator.people(0.0)?;
        self.progress.step("people go home");
        self.site.drained(PATIENCE)?;
        self.show()
    }

    fn open_slowly(&mut self, side: Side) -> Result<(), Error> {
        self.site.link(side).limit(SLOW);
        self.site.link(side).open()
    }

    fn backlog(&mut self) -> Result<u64, Error> {
        let backlog = self.site.look()?.uplink.backlog.unwrap_or_default();
        if backlog == 0 {
            let what = "the upload was over before the kill; try a higher --rate or --seconds";
            return Err(Error::Scenario(what.to_owned()));
        }
        Ok(backlog)
    }

    /// Waits until a good piece of an upload went through the wire and more is to come.
    fn mid_upload(&mut self, side: Side) -> Result<(), Error> {
        let before = self.site.link(side).carried();
        let what = format!("an upload to server {} to be under way", side.name());
        self.watch(&what, |site, status| {
            let carried = site.link(side).carried() - before;
            let uplink = &status.uplink;
            let sending =
                uplink.state == "sending" && uplink.active.as_deref() == Some(side.name());
            let more = uplink.backlog.is_some_and(|backlog| backlog > 0);
            Ok(sending && more && carried > MID_UPLOAD)
        })
    }

    fn watch(
        &mut self,
        what: &str,
        done: impl FnMut(&mut Site, &GatewayStatus) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        self.watch_within(what, PATIENCE, done)
    }

    /// Waits, and shows how things stand once a second.
    fn watch_within(
        &mut self,
        what: &str,
        within: Duration,
        mut done: impl FnMut(&mut Site, &GatewayStatus) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let Self { site, progress } = self;
        wait_until(what, within, || {
            let status = site.look()?;
            if progress.is_due() {
                progress.standing(&status, &site.simulator.status()?);
            }
            Ok(done(site, &status)?.then_some(()))
        })
    }

    fn show(&mut self) -> Result<(), Error> {
        let status = self.site.look()?;
        self.progress.standing(&status, &self.site.simulator.status()?);
        Ok(())
    }
}
