//! In which time each of 32 quiet stations is polled, as often as the configuration allows.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use crate::common::measure::float;
use crate::common::report::{Report, short};
use crate::precision::quiet_exchange;
use crate::site::{Plan, Polls, Site};
use crate::station::Answer;
use crate::{Bench, Outcome};

pub(crate) const STATIONS: usize = 32;
const BAUD: u32 = 115_200;

/// The smallest that may be configured.
const OFTEN: Duration = Duration::from_millis(50);

/// The answer to a poll that finds nothing is shorter than every other one.
const NOTHING: usize = 32;

/// How long it takes until each was polled once more, over and over.
fn cycles(answers: &[Answer]) -> Vec<f64> {
    let polls = answers.iter().filter(|answer| answer.bytes <= NOTHING);
    let mut seen = BTreeSet::new();
    let (mut since, mut out) = (None, Vec::new());
    for poll in polls {
        seen.insert(poll.station);
        if seen.len() == STATIONS {
            if let Some(since) = since.replace(poll.at) {
                out.push(poll.at.saturating_sub(since).as_secs_f64() * 1e3);
            }
            seen.clear();
        }
    }
    out
}

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Outcome<()> {
    let directory = bench.directory.inner("quiet")?;
    let polls = Polls { poll: OFTEN, quiet: OFTEN };
    // One event each: an empty log is looked for, not polled.
    let plan = Plan { polls, ..Plan::clean(BAUD, vec![1; STATIONS]) };
    let site = Site::begin(&plan, directory.path())?;
    site.drained(STATIONS as u64)?;
    let before = site.answers().len();
    let ideal = quiet_exchange(BAUD) * u32::try_from(STATIONS)?;
    let mut cycles = Vec::new();
    while cycles.len() < bench.extent.cycles {
        thread::sleep(ideal * 4);
        cycles = self::cycles(&site.answers()[before..]);
    }
    let others = site.answers().iter().skip(before).filter(|answer| answer.bytes > NOTHING).count();
    let others = float(others as u64);
    site.end()?;
    let spread = report.figure("poll_all_32_ms", &cycles);
    report.figure("poll_all_32_worst_ms", &[spread.most]);
    report.table(
        format!("{STATIONS} quiet stations at {BAUD} baud, polled every 50 ms: ms until each was polled once more"),
        ["ideal", "median", "quartiles", "worst", "other exchanges a cycle"],
        [[
            short(ideal.as_secs_f64() * 1e3),
            short(spread.median),
            format!("{} to {}", short(spread.low), short(spread.high)),
            short(spread.most),
            short(others / float(cycles.len() as u64)),
        ]],
    );
    Ok(())
}
