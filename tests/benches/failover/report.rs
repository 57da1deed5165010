//! One table and one file of all systems.

use std::fs;
use std::io::Write;
use std::path::Path;

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde_json::Value;

use crate::System;
use crate::common::Outcome;
use crate::common::measure::Spread;
use crate::common::report::short;

type Measured = [(System, Option<Vec<f64>>)];

/// The machine and a row for each system.
pub(crate) fn print(
    machine: &[(&'static str, String)],
    measured: &Measured,
    out: &mut impl Write,
) -> Outcome<()> {
    for (name, value) in machine {
        writeln!(out, "{name}: {value}")?;
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["killed", "until", "median s", "least", "worst", "samples"]);
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    for (System { name, until, .. }, samples) in measured {
        let figures = match samples {
            Some(samples) => {
                let Spread { least, median, most, samples, .. } = Spread::of(samples);
                [short(median), short(least), short(most), samples.to_string()]
            }
            None => ["not installed", "", "", "0"].map(str::to_owned),
        };
        let row = [Cell::new(name), Cell::new(until)];
        table.add_row(row.into_iter().chain(figures.map(right)));
    }
    let known = measured.iter().filter(|(_, samples)| samples.is_some()).count();
    writeln!(out, "\n{table}\n{known} of {} systems measured", measured.len())?;
    Ok(())
}

/// One flat JSON object: each system's median under its key, the least and the worst under `KEY_min` and
/// `KEY_max`, how many there were under `KEY_samples`, and the machine. Of what is not installed the median is
/// `null`.
pub(crate) fn write(
    machine: &[(&'static str, String)],
    measured: &Measured,
    path: &Path,
) -> Outcome<()> {
    let mut object = serde_json::Map::new();
    object.insert("schema".to_owned(), "postern-bench-failover-1".into());
    for (name, value) in machine {
        object.insert((*name).to_owned(), value.as_str().into());
    }
    for (System { key, .. }, samples) in measured {
        let spread = samples.as_ref().map(|samples| Spread::of(samples));
        let figure = |of: fn(&Spread) -> f64| spread.as_ref().map_or(Value::Null, |s| of(s).into());
        object.insert((*key).to_owned(), figure(|spread| spread.median));
        object.insert(format!("{key}_min"), figure(|spread| spread.least));
        object.insert(format!("{key}_max"), figure(|spread| spread.most));
        let count = spread.as_ref().map_or(0, |spread| spread.samples);
        object.insert(format!("{key}_samples"), count.into());
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(path, serde_json::to_string_pretty(&object)? + "\n")?;
    Ok(())
}
