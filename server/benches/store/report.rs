//! The figures, their goals, the table, the file.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::Value;

/// What a figure is to be.
#[derive(Clone, Copy, Debug)]
enum Goal {
    AtLeast(f64),
    Below(f64),
}

use Goal::{AtLeast, Below};

const GOALS: [(&str, Goal); 5] = [
    ("ingest_vs_sqlite", AtLeast(0.5)),
    ("ingest_per_s", AtLeast(10_000.0)),
    ("replication_lag_p99_ms", Below(250.0)),
    ("full_copy_vs_file_copy", AtLeast(0.5)),
    ("query_first_page_ms_max", Below(20.0)),
];

/// See the module.
pub(crate) struct Report(Vec<(String, Value)>);

impl Report {
    /// What the figures depend on comes first.
    pub(crate) fn begin() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let mut report = Self(Vec::new());
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        report.put("processors", processors);
        report.put("kernel", read("/proc/sys/kernel/osrelease").trim());
        report.put("load_at_start", read("/proc/loadavg").split(' ').next().unwrap_or_default());
        report
    }

    pub(crate) fn put(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        self.0.push((key.into(), value.into()));
    }

    pub(crate) fn print(&self, out: &mut impl Write) {
        for (key, value) in &self.0 {
            let shown = value.as_f64().filter(|_| value.is_f64()).map(short);
            writeln!(out, "{key:<48} {}", shown.unwrap_or_else(|| value.to_string())).unwrap();
        }
        writeln!(out, "\ngoals").unwrap();
        for (key, goal) in GOALS {
            let Some(got) = self.get(key) else { continue };
            let (text, met) = match goal {
                AtLeast(bound) => (format!("at least {bound}"), got >= bound),
                Below(bound) => (format!("below {bound}"), got < bound),
            };
            let met = if met { "met" } else { "MISSED" };
            writeln!(out, "{key:<32} {text:<18} {:<10} {met}", short(got)).unwrap();
        }
    }

    /// One flat object.
    pub(crate) fn write(&self, path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let object: serde_json::Map<String, Value> = self.0.iter().cloned().collect();
        fs::write(path, serde_json::to_string_pretty(&object).unwrap() + "\n").unwrap();
    }

    fn get(&self, key: &str) -> Option<f64> {
        self.0.iter().find(|(name, _)| name == key)?.1.as_f64()
    }
}

/// Three digits or so.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The value that `share` of all lie at or below.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a place in a list"
    )]
    let place = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(place.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
}
