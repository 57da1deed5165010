//! What a unit that falls silent takes from the thirty others of its line.

use crate::common::measure::float;
use crate::common::report::{Report, short};
use crate::field::Field;
use crate::kind::{Kind, UNITS};
use crate::site::{self, Site};
use crate::{Bench, Outcome};

/// It is asked this often at last.
const LONGEST_PAUSE_MS: f64 = 30_000.0;

/// The last of the line.
const DEAD: u8 = UNITS + 1;

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Outcome<()> {
    let kind = Kind::two_requests()?;
    let [mut without, mut with, mut costs, mut tries, mut each] = [(); 5].map(|()| Vec::new());
    for _ in 0..bench.extent.dead_rounds {
        let directory = bench.directory.inner("dead")?;
        let field = Field::begin(&kind, DEAD)?;
        let config = site::on_line(&field, field.units(), &kind)?;
        let site = Site::begin(&config, None, directory.path())?;
        site.settled(&kind)?;
        // With all of them there, their looks are as many of the line as of one with thirty.
        let before = field.watch(bench.extent.window * 2).rate(&kind, DEAD);
        let timeouts = || site.counters().last().map_or(0, |dead| dead.timeouts);
        let none = timeouts();
        field.with(DEAD, crate::station::Station::fall_silent)?;
        let passed = field.watch(bench.extent.dead_window);
        let after = passed.rate(&kind, UNITS);
        let waited = float(timeouts() - none);
        site.end()?;
        field.end()?;
        let cost = 1.0 - after / before;
        without.push(before);
        with.push(after);
        costs.push(cost);
        tries.push(waited);
        each.push(1e3 * cost * passed.time.as_secs_f64() / waited);
    }
    let settled: Vec<f64> = each.iter().map(|each| each / (LONGEST_PAUSE_MS + each)).collect();
    let without = report.figure("looks_per_s_before_one_falls_silent", &without);
    let with = report.figure("looks_per_s_30_with_dead", &with);
    let cost = report.figure("dead_unit_cost_first_15_s", &costs);
    let tries = report.figure("dead_unit_timeouts_first_15_s", &tries);
    let each = report.figure("dead_unit_ms_a_timeout", &each);
    let settled = report.figure("dead_unit_cost_settled_computed", &settled);
    report.table(
        format!(
            "One of {DEAD} units falls silent: looks a second in the first {} s, {} times",
            bench.extent.dead_window.as_secs(),
            bench.extent.dead_rounds
        ),
        ["before", "after", "cost", "time-outs", "ms of each", "cost at last, computed"],
        [[
            short(without.median),
            short(with.median),
            short(cost.median),
            short(tries.median),
            short(each.median),
            short(settled.median),
        ]],
    );
    Ok(())
}
