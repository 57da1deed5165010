//! The figures, their goals, the tables, the file.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use comfy_table::{Cell, CellAlignment, Table, presets};

use super::Outcome;
use super::measure::Spread;

/// What a figure is to be.
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

use Goal::{AtLeast, AtMost};

/// See the module.
pub(crate) struct Report {
    schema: &'static str,
    goals: &'static [(&'static str, Goal, &'static str)],
    machine: Vec<(&'static str, String)>,
    figures: BTreeMap<String, Spread>,
    tables: Vec<(String, Table)>,
}

impl Report {
    /// Goals are given by key, with what the figure says.
    pub(crate) fn begin(
        schema: &'static str,
        goals: &'static [(&'static str, Goal, &'static str)],
        machine: Vec<(&'static str, String)>,
    ) -> Self {
        Self { schema, goals, machine, figures: BTreeMap::new(), tables: Vec::new() }
    }

    /// A figure with its spread.
    pub(crate) fn figure(&mut self, key: impl Into<String>, samples: &[f64]) -> Spread {
        let spread = Spread::of(samples);
        self.figures.insert(key.into(), spread);
        spread
    }

    /// A figure that is known already, as a table shows it.
    pub(crate) fn median(&self, key: &str) -> String {
        self.figures.get(key).map_or_else(String::new, |spread| short(spread.median))
    }

    /// A table of the section, shown in the order in which they came.
    pub(crate) fn table<const N: usize>(
        &mut self,
        title: impl Into<String>,
        header: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_header(header);
        for row in rows {
            let cells = row.into_iter().enumerate();
            table.add_row(cells.map(|(column, text)| {
                let right = if column == 0 { CellAlignment::Left } else { CellAlignment::Right };
                Cell::new(text).set_alignment(right)
            }));
        }
        self.tables.push((title.into(), table));
    }

    /// Tables, goals, and a summary line.
    pub(crate) fn print(&self, out: &mut impl Write) -> Outcome<()> {
        for (name, value) in &self.machine {
            writeln!(out, "{name}: {value}")?;
        }
        for (title, table) in &self.tables {
            writeln!(out, "\n{title}\n{table}")?;
        }
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_header(["goal", "", "measured", "quartiles", ""]);
        let mut met = 0;
        for (key, goal, text) in self.goals {
            let Some(spread) = self.figures.get(*key) else { continue };
            let (sign, bound, good) = match goal {
                AtLeast(bound) => ("at least", bound, spread.median >= *bound),
                AtMost(bound) => ("at most", bound, spread.median <= *bound),
            };
            met += usize::from(good);
            table.add_row([
                (*text).to_owned(),
                format!("{sign} {bound}"),
                short(spread.median),
                format!("{} to {}", short(spread.low), short(spread.high)),
                if good { "met" } else { "MISSED" }.to_owned(),
            ]);
        }
        writeln!(out, "\n{table}\n{met} of {} goals met", self.goals.len())?;
        Ok(())
    }

    /// One flat JSON object: each figure's median under its key, the least and the most of its samples
    /// under `KEY_min` and `KEY_max`, how many there were under `KEY_samples`, and the machine.
    pub(crate) fn write(&self, path: &Path) -> Outcome<()> {
        let mut object = serde_json::Map::new();
        object.insert("schema".to_owned(), self.schema.into());
        for (name, value) in &self.machine {
            object.insert((*name).to_owned(), value.as_str().into());
        }
        for (key, spread) in &self.figures {
            object.insert(key.clone(), spread.median.into());
            object.insert(format!("{key}_min"), spread.least.into());
            object.insert(format!("{key}_max"), spread.most.into());
            object.insert(format!("{key}_samples"), spread.samples.into());
        }
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(path, serde_json::to_string_pretty(&object)? + "\n")?;
        Ok(())
    }
}

/// Three digits or so.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}
