//! How often each of thirty units is looked at, of how often the line could carry that.

use crate::bare::Bare;
use crate::common::measure::{Spread, float, ratios};
use crate::common::report::{Report, short};
use crate::dead::Dead;
use crate::field::{Field, Passed};
use crate::kind::{Kind, UNITS};
use crate::site::{self, Site};
use crate::swipe::Swipes;
use crate::{Bench, Outcome};

/// What was seen of one row, window by window.
struct Row {
    kind: Kind,
    passed: Vec<Passed>,
    bare: Vec<Passed>,
    timeouts: u64,
    /// Answers that came after a time-out: the machine was slow, and not the line.
    late: u64,
    /// Seconds until all units of a site were looked at.
    settled: Vec<f64>,
}

impl Row {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            passed: Vec::new(),
            bare: Vec::new(),
            timeouts: 0,
            late: 0,
            settled: Vec::new(),
        }
    }

    /// One more site with its windows, and what else is to be seen there; then a bare loop on such a line.
    fn measure(
        &mut self,
        bench: &Bench,
        more: impl FnOnce((&Field, &Site), &Kind, f64) -> Outcome<()>,
    ) -> Outcome<()> {
        let extent = bench.extent;
        let directory = bench.directory.inner("round")?;
        let field = Field::begin(&self.kind)?;
        let site = Site::begin(&site::on_line(&field, &self.kind)?, None, directory.path())?;
        self.settled.push(site.settled(&self.kind)?.as_secs_f64());
        let before = site.late();
        let begin = self.passed.len();
        self.passed.extend((0..extent.windows).map(|_| field.watch(extent.window)));
        let after = site.late();
        self.timeouts += after.0 - before.0;
        self.late += after.1 - before.1;
        let rates: Vec<f64> = self.rates().split_off(begin);
        more((&field, &site), &self.kind, Spread::of(&rates).median)?;
        site.end()?;
        field.end()?;

        let field = Field::begin(&self.kind)?;
        let bare = Bare::on_line(field.path()?, &self.kind)?;
        self.bare.extend((0..extent.windows).map(|_| field.watch(extent.window)));
        bare.end()?;
        field.end()
    }

    fn rates(&self) -> Vec<f64> {
        self.passed.iter().map(|passed| passed.rate(&self.kind)).collect()
    }
}

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Outcome<()> {
    let mut rows = [Row::new(Kind::two_requests()?), Row::new(Kind::one_request()?)];
    let (mut swipes, mut dead) = (Swipes::default(), Dead::default());
    for _ in 0..bench.extent.rounds {
        let [two, one] = &mut rows;
        two.measure(bench, |at, kind, rate| {
            swipes.measure(bench, at, f64::from(UNITS) / rate)?;
            dead.measure(bench, at, kind, rate)
        })?;
        one.measure(bench, |_, _, _| Ok(()))?;
    }
    let mut shown = Vec::new();
    for (row, (suffix, text)) in
        rows.iter().zip([("", "two requests a look"), ("_one_request", "one request a look")])
    {
        let kind = &row.kind;
        let theory = 1.0 / kind.look().as_secs_f64();
        let rates = row.rates();
        let of = |limit: f64| rates.iter().map(|rate| rate / limit).collect::<Vec<_>>();
        let busy: Vec<f64> = row.passed.iter().map(Passed::share).collect();
        let rounds: Vec<f64> = rates.iter().map(|rate| 1e3 * f64::from(UNITS) / rate).collect();
        let requests = float(kind.requests.len() as u64);
        let over = |rate: &f64| 1e6 * (1.0 / rate - 1.0 / theory) / requests;
        let over: Vec<f64> = rates.iter().map(over).collect();
        let bare: Vec<f64> = row.bare.iter().map(|passed| passed.rate(kind)).collect();
        let without_gap = kind.look_without_gap().as_secs_f64();
        let bare_over = |rate: &f64| 1e6 * (1.0 / rate - without_gap) / requests;
        let bare_over: Vec<f64> = bare.iter().map(bare_over).collect();

        report.figure(format!("theory_looks_per_s{suffix}"), &[theory]);
        let rate = report.figure(format!("looks_per_s_30_units{suffix}"), &rates);
        let vs_theory = report.figure(format!("poll_30_units{suffix}_vs_theory"), &of(theory));
        let busy = report.figure(format!("line_busy_share{suffix}"), &busy);
        let round = report.figure(format!("round_30_units_ms{suffix}"), &rounds);
        let over = report.figure(format!("request_over_theory_us{suffix}"), &over);
        report.figure(format!("timeouts_30_units{suffix}"), &[float(row.timeouts)]);
        report.figure(format!("late_answers_30_units{suffix}"), &[float(row.late)]);
        let settled =
            report.figure(format!("all_30_units_cleared_after_start_s{suffix}"), &row.settled);
        let bare_rate = report.figure(format!("bare_looks_per_s{suffix}"), &bare);
        let bare_of: Vec<f64> = bare.iter().map(|rate| rate * without_gap).collect();
        let bare_of = report.figure(format!("bare_vs_its_theory{suffix}"), &bare_of);
        let bare_over =
            report.figure(format!("bare_request_over_its_theory_us{suffix}"), &bare_over);
        report.figure(format!("poll_30_units{suffix}_vs_bare"), &ratios(&rates, &bare));
        shown.push([
            format!("the gateway, {text}"),
            short(rate.median),
            short(theory),
            short(vs_theory.median),
            short(over.median),
            short(busy.median),
            short(kind.busy()),
            short(round.median),
            row.timeouts.to_string(),
            row.late.to_string(),
            short(settled.median),
        ]);
        shown.push([
            format!("a bare loop without a gap, {text}"),
            short(bare_rate.median),
            short(1.0 / without_gap),
            short(bare_of.median),
            short(bare_over.median),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
        ]);
    }
    report.table(
        format!(
            "{UNITS} units at 19,200 baud 8E1, asked every {} ms: looks a second, median of {} windows of {} s",
            site::SHORTEST_POLL_MS,
            bench.extent.rounds * bench.extent.windows,
            bench.extent.window.as_secs_f64(),
        ),
        [
            "",
            "looks/s",
            "in theory",
            "of it",
            "µs a request over theory",
            "line busy",
            "at best",
            "round ms",
            "time-outs",
            "late answers",
            "start s",
        ],
        shown,
    );
    swipes.tell(report);
    dead.tell(bench, report);
    Ok(())
}
