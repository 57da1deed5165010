//! From a swipe at one of thirty units until it is durable, while nothing else happens at any of them.

use std::thread;
use std::time::Instant;

use crate::common::report::{Report, short};
use crate::field::Field;
use crate::kind::{Kind, UNITS};
use crate::site::{self, Site};
use crate::{Bench, Outcome};

/// Each card is another one: a latch that shows the same once more may be one that was not cleared.
const CARD: u64 = 0x00d0_0000;

/// Of sorted times, the one below which so many hundredths of them lie.
fn hundredth(sorted: &[f64], of: usize) -> f64 {
    let place = (sorted.len() * of).div_ceil(100).max(1) - 1;
    sorted.get(place).copied().unwrap_or(f64::NAN)
}

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Outcome<()> {
    let kind = Kind::two_requests()?;
    let directory = bench.directory.inner("swipe")?;
    let field = Field::begin(&kind, UNITS)?;
    let config = site::on_line(&field, UNITS, &kind)?;
    let site = Site::begin(&config, None, directory.path())?;
    site.settled(&kind)?;
    let round = field.watch(bench.extent.window * 2);
    let round = 1.0 / round.rate(&kind, UNITS) * f64::from(UNITS);
    let mut times = Vec::new();
    for number in 0..u32::try_from(bench.extent.swipes)? {
        // At all phases of a round, the next ones far apart.
        let phase = f64::from(number) * 0.618 % 1.0;
        thread::sleep(std::time::Duration::from_secs_f64(round * phase));
        let unit = u8::try_from(number * 7 % u32::from(UNITS))? + 1;
        let index = site.index(unit)? + 1;
        let began = Instant::now();
        field.with(unit, |station| station.swipe(CARD + u64::from(number)))??;
        times.push((site.durable(unit, index)? - began).as_secs_f64() * 1e3);
    }
    site.end()?;
    let lost = field.lost()?;
    field.end()?;
    if lost > 0 {
        return Err(format!("{lost} cards were overwritten, though no unit had two at once").into());
    }
    times.sort_by(f64::total_cmp);
    let late = hundredth(&times, 99);
    let rounds: Vec<f64> = times.iter().map(|time| time / 1e3 / round).collect();
    let spread = report.figure("swipe_to_durable_median_ms", &times);
    report.figure("swipe_to_durable_p99_ms", &[late]);
    let of_round = report.figure("swipe_to_durable_median_rounds", &rounds);
    let late_rounds = hundredth(&rounds, 99);
    report.figure("swipe_to_durable_p99_rounds", &[late_rounds]);
    report.table(
        format!(
            "A swipe at one of {UNITS} quiet units until it is durable: {} swipes, rounds of {} ms",
            times.len(),
            short(round * 1e3)
        ),
        ["", "median", "quartiles", "99 %", "worst"],
        [
            [
                "ms".to_owned(),
                short(spread.median),
                format!("{} to {}", short(spread.low), short(spread.high)),
                short(late),
                short(spread.most),
            ],
            [
                "rounds".to_owned(),
                short(of_round.median),
                format!("{} to {}", short(of_round.low), short(of_round.high)),
                short(late_rounds),
                short(of_round.most),
            ],
        ],
    );
    Ok(())
}
