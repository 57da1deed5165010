//! One table and one file of all parts, with the goals beside.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde_json::Value;

use crate::common::Outcome;
use crate::common::measure::Spread;
use crate::common::report::short;

/// What is to be in the file however few parts were measured: `null`, or 0 of samples.
const KEYS: [&str; 10] = [
    "switchover_gap_ms",
    "switchover_gap_median_ms",
    "steady_gap_ms",
    "steady_gap_median_ms",
    "false_failovers",
    "quiet_minutes",
    "quiet_network_stalls",
    "quiet_slow_syncs",
    "far_false_failovers",
    "far_quiet_minutes",
];

/// Of these the median and the worst and how many there were.
const WORSTS: [&str; 5] = ["kill", "kill_leader", "silent", "silent_leader", "far_silent"];

/// Of these the least and the worst and how many there were as well.
const SPREADS: [&str; 2] = ["nats_kill_median_s", "etcd_lease_s"];

/// A figure, below which value it is to be, and what it says.
const GOALS: [(&str, f64, &str); 7] = [
    ("kill_median_s", 1.0, "seconds after a kill, the median"),
    ("kill_worst_s", 3.0, "seconds after a kill, the worst"),
    ("silent_worst_s", 6.0, "seconds after a server falls silent, the worst"),
    ("switchover_gap_ms", 300.0, "milliseconds without a transaction in a switchover, the worst"),
    ("false_failovers", 1.0, "failovers while nothing failed, on a busy machine"),
    (
        "far_silent_worst_s",
        20.0,
        "seconds after a server in another data centre falls silent, the worst",
    ),
    ("far_false_failovers", 1.0, "failovers while nothing failed, between data centres"),
];

/// What is compared within the run: a figure, the other system's, and its name.
const RATIOS: [(&str, &str, &str); 2] = [
    ("kill_to_nats", "nats_kill_median_s", "NATS JetStream's"),
    ("kill_to_etcd", "etcd_lease_s", "etcd's"),
];

/// Until when the time is taken of a server that failed.
pub(crate) const TAKEN_OVER: &str = "the other server has stored a transaction";

/// A row of the table.
pub(crate) struct Line {
    /// What fails.
    pub(crate) what: &'static str,
    /// Until when the time is taken.
    pub(crate) until: &'static str,
    /// In seconds; empty where it is not installed.
    pub(crate) samples: Vec<f64>,
}

/// See the module.
pub(crate) struct Report {
    machine: Vec<(&'static str, String)>,
    lines: Vec<Line>,
    remarks: Vec<String>,
    figures: BTreeMap<String, Value>,
}

impl Report {
    /// With nothing measured.
    pub(crate) fn begin(machine: Vec<(&'static str, String)>) -> Self {
        let ratios = RATIOS.map(|(key, ..)| key);
        let plain = KEYS.iter().chain(&ratios).map(|key| ((*key).to_owned(), Value::Null));
        let mut report =
            Self { machine, lines: Vec::new(), remarks: Vec::new(), figures: plain.collect() };
        report.figure("switchover_samples", 0);
        report.figure("steady_samples", 0);
        for key in WORSTS {
            report.median_and_worst(key, &[]);
        }
        for key in SPREADS {
            report.spread(key, &[]);
        }
        report
    }

    /// A row of the table, in the order in which they come.
    pub(crate) fn line(&mut self, line: Line) {
        self.lines.push(line);
    }

    /// What is said below the table.
    pub(crate) fn remark(&mut self, remark: String) {
        self.remarks.push(remark);
    }

    /// A figure.
    pub(crate) fn figure(&mut self, key: &str, value: impl Into<Value>) {
        self.figures.insert(key.to_owned(), value.into());
    }

    /// The median under its key, the least and the worst under `KEY_min` and `KEY_max`, how many there were
    /// under `KEY_samples`.
    pub(crate) fn spread(&mut self, key: &str, samples: &[f64]) {
        let Spread { least, median, most, samples, .. } = Spread::of(samples);
        self.figure(key, median);
        self.figure(&format!("{key}_min"), least);
        self.figure(&format!("{key}_max"), most);
        self.figure(&format!("{key}_samples"), samples);
    }

    /// The median in seconds under `KEY_median_s`, the worst under `KEY_worst_s`, how many there were under
    /// `KEY_samples`.
    pub(crate) fn median_and_worst(&mut self, key: &str, samples: &[f64]) {
        let Spread { median, most, samples, .. } = Spread::of(samples);
        self.figure(&format!("{key}_median_s"), median);
        self.figure(&format!("{key}_worst_s"), most);
        self.figure(&format!("{key}_samples"), samples);
    }

    fn known(&self, key: &str) -> Option<f64> {
        self.figures.get(key).and_then(Value::as_f64)
    }

    /// The machine, a row for each thing that failed, what is compared, the goals.
    pub(crate) fn print(&mut self, out: &mut impl Write) -> Outcome<()> {
        for (name, value) in &self.machine {
            writeln!(out, "{name}: {value}")?;
        }
        let mut table = table(["fails", "until", "median s", "least", "worst", "samples"]);
        for Line { what, until, samples } in &self.lines {
            let figures = if samples.is_empty() {
                ["not installed", "", "", "0"].map(str::to_owned)
            } else {
                let Spread { least, median, most, samples, .. } = Spread::of(samples);
                [short(median), short(least), short(most), samples.to_string()]
            };
            let row = [Cell::new(what), Cell::new(until)];
            table.add_row(row.into_iter().chain(figures.map(right)));
        }
        if !self.lines.is_empty() {
            let known = self.lines.iter().filter(|line| !line.samples.is_empty()).count();
            writeln!(out, "\n{table}\n{known} of {} measured", self.lines.len())?;
        }
        writeln!(out)?;
        for remark in &self.remarks {
            writeln!(out, "{remark}")?;
        }
        for (key, other, name) in RATIOS {
            if let (Some(own), Some(other)) = (self.known("kill_median_s"), self.known(other)) {
                self.figure(key, own / other);
                writeln!(out, "the median after a kill is {} of {name}", short(own / other))?;
            }
        }
        self.print_goals(out)
    }

    fn print_goals(&self, out: &mut impl Write) -> Outcome<()> {
        let mut table = table(["goal", "less than", "measured", ""]);
        let (mut met, mut measured) = (0, 0);
        for (key, bound, text) in GOALS {
            let Some(value) = self.known(key) else { continue };
            measured += 1;
            met += usize::from(value < bound);
            let word = if value < bound { "met" } else { "MISSED" };
            let figures = [bound.to_string(), short(value)].map(right);
            let row = [Cell::new(text)].into_iter().chain(figures).chain([Cell::new(word)]);
            table.add_row(row);
        }
        writeln!(out, "\n{table}\n{met} of {measured} goals met")?;
        Ok(())
    }

    /// One flat JSON object: the figures and the machine.
    pub(crate) fn write(&self, path: &Path) -> Outcome<()> {
        let mut object = serde_json::Map::new();
        object.insert("schema".to_owned(), "postern-bench-failover-1".into());
        for (name, value) in &self.machine {
            object.insert((*name).to_owned(), value.as_str().into());
        }
        object.extend(self.figures.clone());
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(path, serde_json::to_string_pretty(&object)? + "\n")?;
        Ok(())
    }
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    table
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}
