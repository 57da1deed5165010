//! Voters and a gateway that are far from each other, with the times that are made for that: all wires between
//! them are 80 ms long each way, and on each every hundredth piece is lost and sent again.

use std::thread;
use std::time::Duration;

use postern_tests::harness::{Distance, SiteConfig};

use crate::common::Outcome;
use crate::report::{Line, Report, TAKEN_OVER};
use crate::run::{Kind, Run, config, seconds};
use crate::{Bench, note};

const DISTANCE: Distance = Distance {
    way: Duration::from_millis(80),
    jitter: Duration::from_millis(5),
    lost: 10,
    seed: 1,
};

/// How long nothing fails, and how often the active server falls silent then.
const FULL: (Duration, usize) = (Duration::from_mins(2), 5);
const QUICK: (Duration, usize) = (Duration::from_secs(20), 1);

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Outcome<()> {
    let (quiet, silences) = if bench.quick { QUICK } else { FULL };
    let mut run = Run::start(SiteConfig { apart: Some(DISTANCE), ..config() })?;
    let before = run.terms()?;
    thread::sleep(quiet);
    let failovers = run.terms()?.difference(&before).count();
    note(&format!("{failovers} failovers in {} quiet seconds", quiet.as_secs()))?;
    for number in 0..silences {
        run.freeze(Kind::Silent)?;
        note(&format!("silence {} of {silences}", number + 1))?;
    }
    let (changes, stored) = run.finish()?;
    let minutes = quiet.as_secs_f64() / 60.0;
    report.remark(format!("{failovers} failovers in {minutes:.1} minutes between data centres"));
    report.figure("far_false_failovers", failovers);
    report.figure("far_quiet_minutes", minutes);
    let samples = seconds(Kind::Silent, &changes, &stored)?;
    report.median_and_worst("far_silent", &samples);
    let what = "Postern: the same, 80 ms away each way, 1 % lost";
    report.line(Line { what, until: TAKEN_OVER, samples });
    Ok(())
}
