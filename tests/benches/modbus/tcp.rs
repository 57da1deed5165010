//! Thirty units behind one connection on loopback, beside a bare loop that asks the same.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use postern_sim::config::Config;
use postern_sim::host::Running;
use tokio::runtime::Runtime;

use crate::bare::Bare;
use crate::common::measure::ratios;
use crate::common::report::{Report, short};
use crate::kind::{self, Kind, UNITS};
use crate::site::{self, SHORTEST_POLL_MS, Site};
use crate::{Bench, Outcome};

/// The simulator, on threads of its own.
struct Server {
    runtime: Runtime,
    running: Running,
}

impl Server {
    fn begin(kind: &Kind, directory: &std::path::Path) -> Outcome<Self> {
        use std::fmt::Write as _;
        let mut text = "seed = 1\nledger = \"ledger.jsonl\"\n[[line]]\nname = \"bench\"\n\
                        protocol = \"modbus\"\ntcp = \"127.0.0.1:0\"\n"
            .to_owned();
        for unit in 1..=UNITS {
            let (serial, name) = (kind::serial(unit), kind.name);
            let unit = format!("unit = {unit}\nserial = {serial}\nprofile = \"{name}\"");
            writeln!(text, "[[line.unit]]\n{unit}")?;
        }
        let config = Config::parse(&directory.join("sim.toml"), &text)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let running = runtime.block_on(Running::start(&config))?;
        Ok(Self { runtime, running })
    }

    fn address(&self) -> Outcome<SocketAddr> {
        let server = self.running.site().servers().values().next();
        Ok(server.ok_or("there is no port")?.address())
    }

    /// Looks a second within such a time from now.
    fn watch(&self, kind: &Kind, time: Duration) -> f64 {
        let answers = || {
            let units = self.running.site().units().values();
            units.map(|unit| unit.look(|state| state.unit.counters().answers)).sum::<u64>()
        };
        let (before, began) = (answers(), Instant::now());
        thread::sleep(time);
        let passed = began.elapsed();
        kind.looks_in(answers() - before) / passed.as_secs_f64()
    }

    fn end(self) -> Outcome<()> {
        Ok(self.runtime.block_on(self.running.stop())?)
    }
}

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Outcome<()> {
    let kind = Kind::two_requests()?;
    let directory = bench.directory.inner("tcp")?;
    let server = Server::begin(&kind, directory.path())?;
    let address = server.address()?;
    let config = site::configured(&format!("tcp = \"{address}\""), &kind)?;
    let window = bench.extent.tcp_window;
    let [mut ours, mut bare, mut configured] = [(); 3].map(|()| Vec::new());
    for _ in 0..bench.extent.tcp_rounds {
        for (rates, poll) in [(&mut ours, Some(Duration::ZERO)), (&mut configured, None)] {
            let directory = bench.directory.inner("tcp-journal")?;
            let site = Site::begin(&config, poll, directory.path())?;
            site.settled(&kind)?;
            rates.push(server.watch(&kind, window));
            site.end()?;
        }
        let asking = Bare::over_tcp(address, (1..=UNITS).collect(), &kind)?;
        bare.push(server.watch(&kind, window));
        asking.end()?;
    }
    server.end()?;
    let ratio = report.figure("tcp_30_units_vs_bare", &ratios(&ours, &bare));
    let ours = report.figure("tcp_looks_per_s_30_units", &ours);
    let bare = report.figure("tcp_bare_looks_per_s", &bare);
    let configured = report.figure("tcp_looks_per_s_30_units_every_50_ms", &configured);
    let most = f64::from(UNITS) / Duration::from_millis(SHORTEST_POLL_MS).as_secs_f64();
    report.table(
        format!(
            "{UNITS} units behind one connection on loopback: looks of two requests a second, median of {} windows",
            bench.extent.tcp_rounds
        ),
        ["", "looks/s", "of the bare loop", "quartiles"],
        [
            [
                "the gateway, without a pause between looks".to_owned(),
                short(ours.median),
                short(ratio.median),
                format!("{} to {}", short(ratio.low), short(ratio.high)),
            ],
            ["a bare loop".to_owned(), short(bare.median), String::new(), String::new()],
            [
                format!("the gateway, each unit every {SHORTEST_POLL_MS} ms ({most} at most)"),
                short(configured.median),
                String::new(),
                String::new(),
            ],
        ],
    );
    Ok(())
}
