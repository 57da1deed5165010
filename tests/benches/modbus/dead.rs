//! What a unit that falls silent takes from the others of its line.

use crate::common::measure::float;
use crate::common::report::{Report, short};
use crate::field::Field;
use crate::kind::{Kind, UNITS};
use crate::site::Site;
use crate::station::Station;
use crate::{Bench, Outcome};

/// It is asked this often at last.
const LONGEST_PAUSE_MS: f64 = 30_000.0;

/// Which.
const DEAD: u8 = UNITS / 2;

/// What was seen, site by site.
#[derive(Default)]
pub(crate) struct Dead {
    before: Vec<f64>,
    after: Vec<f64>,
    cost: Vec<f64>,
    timeouts: Vec<f64>,
    each: Vec<f64>,
    settled: Vec<f64>,
}

impl Dead {
    /// At one more site, where there are so many looks a second until then: however many units there are, the line
    /// carries as many looks.
    pub(crate) fn measure(
        &mut self,
        bench: &Bench,
        (field, site): (&Field, &Site),
        kind: &Kind,
        before: f64,
    ) -> Outcome<()> {
        let none = site.timeouts(DEAD);
        field.with(DEAD, Station::fall_silent)?;
        let passed = field.watch(bench.extent.dead_window);
        let timeouts = float(site.timeouts(DEAD) - none);
        let after = passed.rate(kind);
        let cost = 1.0 - after / before;
        let each = 1e3 * cost * passed.time.as_secs_f64() / timeouts;
        self.before.push(before);
        self.after.push(after);
        self.cost.push(cost);
        self.timeouts.push(timeouts);
        self.each.push(each);
        self.settled.push(each / (LONGEST_PAUSE_MS + each));
        Ok(())
    }

    pub(crate) fn tell(&self, bench: &Bench, report: &mut Report) {
        let figures = [
            ("looks_per_s_before_one_falls_silent", &self.before),
            ("looks_per_s_with_one_dead", &self.after),
            ("dead_unit_cost_first_15_s", &self.cost),
            ("dead_unit_timeouts_first_15_s", &self.timeouts),
            ("dead_unit_ms_a_timeout", &self.each),
            ("dead_unit_cost_settled_computed", &self.settled),
        ];
        let row = figures.map(|(key, samples)| short(report.figure(key, samples).median));
        report.table(
            format!(
                "One of {UNITS} units falls silent: looks a second in the first {} s after that, {} times",
                bench.extent.dead_window.as_secs(),
                self.cost.len()
            ),
            ["before", "after", "cost", "time-outs", "ms of each", "cost at last, computed"],
            [row],
        );
    }
}
