//! Many boards at once: with boards as slow as real ones a gateway that asks them one after the other
//! would be no faster with 200 than with one.

use std::time::{Duration, Instant};

use crate::bare::{self, Wire};
use crate::common::measure::{rate, ratios};
use crate::common::report::Report;
use crate::gateway::Gateway;
use crate::simulator::{Board, Simulator};
use crate::{Bench, Outcome};

/// As many as one gateway is meant for.
pub(crate) const BOARDS: u32 = 200;

/// How long each board takes to answer.
const DELAY: Duration = Duration::from_millis(20);

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Outcome<()> {
    let events = bench.extent.events_each;
    let directory = bench.directory.inner("parallel")?;
    let simulator =
        Simulator::start(&bench.simulator, &directory.path().join("sim"), BOARDS, events)?;
    let boards = simulator.boards();
    let one = [simulator.board()?];
    let total = u64::from(BOARDS) * u64::from(events);
    let (mut fast_loops, mut fast) = (Vec::new(), Vec::new());
    // The first round of each warms up and does not count.
    for round in 0..=bench.extent.rounds {
        let looped = bare::read_all(boards, events)?;
        let collected = collect(bench, boards)?;
        if round > 0 {
            fast_loops.push(rate(total, looped));
            fast.push(rate(total, collected));
        }
    }
    set_delay(&simulator, DELAY)?;
    let (mut loops, mut all, mut single) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=bench.extent.parallel_rounds {
        let looped = bare::read_all(boards, events)?;
        let (collected, collected_one) = (collect(bench, boards)?, collect(bench, &one)?);
        if round > 0 {
            loops.push(rate(total, looped));
            all.push(rate(total, collected));
            single.push(rate(events.into(), collected_one));
        }
    }
    report.figure("backfill_200_loops_events_per_s", &fast_loops);
    report.figure("backfill_200_events_per_s", &fast);
    report.figure("backfill_200_vs_loops", &ratios(&fast, &fast_loops));
    report.figure("parallel_200_loops_events_per_s", &loops);
    report.figure("parallel_200_events_per_s", &all);
    report.figure("parallel_1_events_per_s", &single);
    report.figure("parallel_200_vs_1", &ratios(&all, &single));
    let row = |text: &str, key: &str| [text.to_owned(), report.median(key)];
    let rows = [
        row("200 bare loops", "backfill_200_loops_events_per_s"),
        row("gateway, 200 boards", "backfill_200_events_per_s"),
        row("200 bare loops, 20 ms a reply", "parallel_200_loops_events_per_s"),
        row("gateway, 200 boards, 20 ms a reply", "parallel_200_events_per_s"),
        row("gateway, one board, 20 ms a reply", "parallel_1_events_per_s"),
    ];
    let title = format!("200 boards with {events} events each, over UDP");
    report.table(title, ["", "events a second"], rows);
    Ok(())
}

fn set_delay(simulator: &Simulator, delay: Duration) -> Outcome<()> {
    simulator.boards().iter().try_for_each(|board| simulator.set_delay(*board, delay))
}

fn collect(bench: &Bench, boards: &[Board]) -> Outcome<Duration> {
    let directory = bench.directory.inner("parallel-journal")?;
    let mut gateway = Gateway::open(directory.path())?;
    let begin = Instant::now();
    gateway.collect(boards, Wire::Udp);
    let durable = gateway.read_to(boards, bench.extent.events_each)?;
    gateway.close();
    Ok(durable - begin)
}
