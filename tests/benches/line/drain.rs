//! Backlogs: of one station at three speeds, on a line with errors, of four stations that share a line.

use postern_sim::line::Noise;

use crate::common::measure::{float, ratios};
use crate::common::report::{Report, short};
use crate::site::{Drained, Plan, Site};
use crate::station::EVENT;
use crate::{Bench, Outcome};

/// One bit in ten thousand.
const NOISE: f64 = 1e-4;

/// Stations that share a line.
const SHARING: usize = 4;

/// Of one case, round by round.
#[derive(Default)]
struct Case {
    rates: Vec<f64>,
    shares: Vec<f64>,
    repeats: Vec<f64>,
}

impl Case {
    fn add(&mut self, drained: Drained) {
        self.rates.push(drained.rate());
        self.shares.push(drained.share());
        self.repeats.push(float(drained.repeats));
    }
}

/// Events a second if each byte of the line were an event's.
fn limit(baud: u32) -> f64 {
    f64::from(baud) / 10.0 / float(EVENT)
}

/// Reads the backlogs of such a line to their end.
pub(crate) fn drain(bench: &Bench, plan: &Plan) -> Outcome<Drained> {
    let directory = bench.directory.inner("drain")?;
    let site = Site::begin(plan, directory.path())?;
    let drained = site.drained(plan.backlogs.iter().sum())?;
    site.end()?;
    Ok(drained)
}

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Outcome<()> {
    let extent = bench.extent;
    let noise = Noise { bit_error_rate: NOISE, ..Noise::default() };
    let plans = [
        ("9600", "one station, 9,600 baud", Plan::clean(9_600, vec![extent.events_9600])),
        ("38400", "one station, 38,400 baud", Plan::clean(38_400, vec![extent.events_38400])),
        (
            "38400_noisy",
            "the same, one bit in 10,000 wrong",
            Plan { noise, ..Plan::clean(38_400, vec![extent.events_noisy]) },
        ),
        ("115200", "one station, 115,200 baud", Plan::clean(115_200, vec![extent.events_115200])),
        (
            "9600_shared",
            "four stations, 9,600 baud",
            Plan::clean(9_600, vec![extent.events_shared / SHARING as u64; SHARING]),
        ),
    ];
    let mut cases: [Case; 5] = Default::default();
    for round in 0..extent.rounds {
        for (case, (_, _, plan)) in cases.iter_mut().zip(&plans) {
            let plan = Plan { seed: 1 + round as u64, ..plan.clone() };
            case.add(drain(bench, &plan)?);
        }
    }
    let mut rows = Vec::new();
    for (case, (key, text, plan)) in cases.iter().zip(&plans) {
        let limit = limit(plan.baud);
        let rate = report.figure(format!("events_per_s_{key}"), &case.rates);
        let share = report.figure(format!("payload_share_{key}"), &case.shares);
        let repeats = report.figure(format!("repeats_{key}"), &case.repeats);
        let of: Vec<f64> = case.rates.iter().map(|rate| rate / limit).collect();
        let of = report.figure(format!("of_physical_limit_{key}"), &of);
        report.figure(format!("physical_limit_per_s_{key}"), &[limit]);
        rows.push([
            (*text).to_owned(),
            short(rate.median),
            short(limit),
            short(of.median),
            short(share.median),
            short(repeats.median),
        ]);
    }
    let [_, clean, spoilt, ..] = &cases;
    report.figure("noisy_vs_clean", &ratios(&spoilt.rates, &clean.rates));
    report.table(
        "Backlogs, until the last event is durable: events a second, and what the line's bytes were",
        ["", "events/s", "line's limit", "of it", "events' own bytes of all", "repeats"],
        rows,
    );
    Ok(())
}
