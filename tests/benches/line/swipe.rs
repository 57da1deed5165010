//! From a swipe at a quiet door until it is durable, while the 31 others of its line work off backlogs.

use std::thread;
use std::time::Duration;

use crate::common::report::{Report, short};
use crate::precision::{quiet_exchange, time_of};
use crate::quiet::STATIONS;
use crate::site::{Plan, Site, USUAL};
use crate::station::TURN_AROUND;
use crate::{Bench, Outcome};

const BAUD: u32 = 115_200;

/// The quiet one.
const QUIET: usize = 16;

/// Enough events of the others for each swipe.
const EVENTS_A_SWIPE: u64 = 28;

/// An exchange with the longest frame.
const LONGEST: u32 = 1_024 + 34;

/// What the line's rules leave of a wait: the interval, one page of somebody else, one short question to
/// each of the others, its own poll. The commit comes on top.
fn worst() -> Outcome<Duration> {
    let page = time_of(LONGEST, BAUD) + TURN_AROUND;
    Ok(USUAL.quiet + page + quiet_exchange(BAUD) * u32::try_from(STATIONS)?)
}

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Outcome<()> {
    let directory = bench.directory.inner("swipe")?;
    let swipes = bench.extent.swipes as u64;
    let mut backlogs = vec![400 + EVENTS_A_SWIPE * swipes; STATIONS];
    backlogs[QUIET] = 1;
    let plan = Plan::clean(BAUD, backlogs);
    let total: u64 = plan.backlogs.iter().sum();
    let site = Site::begin(&plan, directory.path())?;
    let line = site.handle();
    site.durable(QUIET, 1)?;
    let mut times = Vec::new();
    for number in 0..swipes {
        // At all phases of the interval, also where two come close.
        thread::sleep(Duration::from_millis(50 + number * 311 % 500));
        let act = |station: &mut crate::station::Station, now| (station.swipe(), now);
        let (index, at) = line.with_station(QUIET, act).ok_or("there is no such station")?;
        times.push(site.durable(QUIET, index?)?.saturating_sub(at).as_secs_f64() * 1e3);
    }
    let left = total - site.head();
    site.end()?;
    if left < 31 {
        return Err("the backlogs were at their end before the swipes were".into());
    }
    let spread = report.figure("swipe_to_durable_median_ms", &times);
    report.figure("swipe_to_durable_worst_ms", &[spread.most]);
    let worst = worst()?.as_secs_f64() * 1e3;
    report.figure("swipe_to_durable_computed_ms", &[worst]);
    report.table(
        format!("A quiet door among 31 stations with backlogs at {BAUD} baud: ms from a swipe until it is durable"),
        ["median", "quartiles", "worst", "computed worst, before the commit"],
        [[
            short(spread.median),
            format!("{} to {}", short(spread.low), short(spread.high)),
            short(spread.most),
            short(worst),
        ]],
    );
    Ok(())
}
