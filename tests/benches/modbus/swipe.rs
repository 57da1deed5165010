//! From a swipe at one of thirty units until it is durable, while nothing else happens at any of them.

use std::thread;
use std::time::{Duration, Instant};

use crate::common::measure::Spread;
use crate::common::report::{Report, short};
use crate::field::Field;
use crate::kind::UNITS;
use crate::site::Site;
use crate::{Bench, Outcome};

/// Each card is another one: a latch that shows the same once more may be one that was not cleared.
const CARD: u64 = 0x00d0_0000;

/// Of sorted times, the one below which so many hundredths of them lie.
fn hundredth(sorted: &[f64], of: usize) -> f64 {
    let place = (sorted.len() * of).div_ceil(100).max(1) - 1;
    sorted.get(place).copied().unwrap_or(f64::NAN)
}

/// What swipes came to.
#[derive(Default)]
pub(crate) struct Swipes {
    ms: Vec<f64>,
    rounds: Vec<f64>,
}

impl Swipes {
    /// Some more, at a site where a round takes so many seconds.
    pub(crate) fn measure(
        &mut self,
        bench: &Bench,
        (field, site): (&Field, &Site),
        round: f64,
    ) -> Outcome<()> {
        for number in 0..u32::try_from(bench.extent.swipes)? {
            // At all phases of a round, the next ones far apart.
            let phase = f64::from(number) * 0.618 % 1.0;
            thread::sleep(Duration::from_secs_f64(round * phase));
            let unit = u8::try_from(number * 7 % u32::from(UNITS))? + 1;
            let index = site.index(unit)? + 1;
            let began = Instant::now();
            field.with(unit, |station| station.swipe(CARD + u64::from(number)))??;
            let time = (site.durable(unit, index)? - began).as_secs_f64();
            self.ms.push(time * 1e3);
            self.rounds.push(time / round);
        }
        let lost = field.lost()?;
        if lost > 0 {
            let what = format!("{lost} cards were overwritten, though no unit had two at once");
            return Err(what.into());
        }
        Ok(())
    }

    pub(crate) fn tell(mut self, report: &mut Report) {
        self.ms.sort_by(f64::total_cmp);
        self.rounds.sort_by(f64::total_cmp);
        let (late, late_rounds) = (hundredth(&self.ms, 99), hundredth(&self.rounds, 99));
        let ms = report.figure("swipe_to_durable_median_ms", &self.ms);
        report.figure("swipe_to_durable_p99_ms", &[late]);
        let rounds = report.figure("swipe_to_durable_median_rounds", &self.rounds);
        report.figure("swipe_to_durable_p99_rounds", &[late_rounds]);
        let row = |name: &str, spread: Spread, late| {
            [
                name.to_owned(),
                short(spread.median),
                format!("{} to {}", short(spread.low), short(spread.high)),
                short(late),
                short(spread.most),
            ]
        };
        report.table(
            format!(
                "A swipe at one of {UNITS} quiet units until it is durable: {} swipes",
                ms.samples
            ),
            ["", "median", "quartiles", "99 %", "worst"],
            [row("ms", ms, late), row("rounds of the line", rounds, late_rounds)],
        );
    }
}
