//! What a station that is configured and not there takes from 31 others that have much to tell.

use crate::common::measure::{float, ratios};
use crate::common::report::{Report, short};
use crate::drain::drain;
use crate::quiet::STATIONS;
use crate::site::Plan;
use crate::{Bench, Outcome};

const BAUD: u32 = 115_200;

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Outcome<()> {
    let plan = Plan::clean(BAUD, vec![bench.extent.events_each; STATIONS - 1]);
    let [mut without, mut with, mut shares, mut repeats] = [(); 4].map(|()| Vec::new());
    for _ in 0..bench.extent.dead_rounds {
        let drained = drain(bench, &plan)?;
        without.push(drained.rate());
        shares.push(drained.share());
        let drained = drain(bench, &Plan { with_dead: true, ..plan.clone() })?;
        with.push(drained.rate());
        repeats.push(float(drained.repeats));
    }
    let cost: Vec<f64> = ratios(&with, &without).iter().map(|ratio| 1.0 - ratio).collect();
    let cost = report.figure("dead_station_cost", &cost);
    let with = report.figure("events_per_s_31_with_dead", &with);
    let without = report.figure("events_per_s_31", &without);
    let repeats = report.figure("repeats_31_with_dead", &repeats);
    let share = report.figure("payload_share_31", &shares);
    report.table(
        format!("31 stations with backlogs at {BAUD} baud: events a second"),
        ["all are there", "one more is dead", "cost", "repeats", "events' own bytes of all"],
        [[
            short(without.median),
            short(with.median),
            short(cost.median),
            short(repeats.median),
            short(share.median),
        ]],
    );
    Ok(())
}
