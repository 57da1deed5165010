//! Nothing happens: what it costs to keep an eye on 200 boards.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::bare::Wire;
use crate::common::measure::rate;
use crate::common::report::{Report, short};
use crate::gateway::Gateway;
use crate::parallel::BOARDS;
use crate::simulator::Simulator;
use crate::{Bench, Outcome};

/// Events in each log: enough that there is something to keep an eye on.
const EVENTS: u32 = 20;

/// After the last event; the collectors then look as seldom as they ever do.
const SETTLE: Duration = Duration::from_secs(15);

/// How long one look takes: many polls of each board.
const WINDOW: Duration = Duration::from_secs(10);

/// The gateway's share of one processor: this process does nothing else meanwhile, and the boards are
/// another one. Collectors, listener and journal are in it, a server to deliver to is not.
pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Outcome<()> {
    let directory = bench.directory.inner("idle")?;
    let simulator =
        Simulator::start(&bench.simulator, &directory.path().join("sim"), BOARDS, EVENTS)?;
    let boards = simulator.boards();
    let mut gateway = Gateway::open(&directory.path().join("journal"))?;
    gateway.collect(boards, Wire::Udp);
    gateway.listen()?;
    gateway.read_to(boards, EVENTS)?;
    std::thread::sleep(SETTLE);
    let (mut shares, mut polls) = (Vec::new(), Vec::new());
    for _ in 0..bench.extent.idle_windows {
        let requests = simulator.requests()?;
        let (begin, used) = (Instant::now(), processor_time());
        std::thread::sleep(WINDOW);
        let (used, time) = (processor_time().saturating_sub(used), begin.elapsed());
        shares.push(used.as_secs_f64() / time.as_secs_f64());
        polls.push(rate(simulator.requests()? - requests, time));
    }
    gateway.close();
    let share = report.figure("idle_200_cpu_share", &shares);
    let polls = report.figure("idle_200_requests_per_s", &polls);
    report.table(
        "200 quiet boards at the default poll interval",
        ["requests a second", "percent of one processor", "microseconds a request"],
        [[
            short(polls.median),
            short(share.median * 100.0),
            short(share.median / polls.median * 1e6),
        ]],
    );
    Ok(())
}

/// What this process had of the processors so far, all its threads together.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
