//! `postern journal export`: entries as JSON lines or CSV, by time, controller and position.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::ValueEnum;
use postern_protocol::{ControllerId, Seq};
use serde_json::Value;

use super::super::{Common, Failure};
use super::{Source, progress, quiet};
use crate::control::{Request, client, journal as facts};
use crate::exit;

/// How many entries of a file are read at a time.
const BATCH: usize = 1_024;

#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    file: super::File,
    /// How to write them; `--json` is `--format jsonl`.
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// Only what happened at or after this time, such as 2026-11-24T08:00:00+01:00.
    #[arg(long, value_name = "TIME")]
    from: Option<jiff::Timestamp>,
    /// Only what happened before this time.
    #[arg(long, value_name = "TIME")]
    to: Option<jiff::Timestamp>,
    /// Which time is meant: when the gateway received it, or when the controller says it occurred.
    #[arg(long, value_enum, default_value_t = Time::Received)]
    time: Time,
    /// Only of this controller, such as uhppote-405419896.
    #[arg(long)]
    controller: Option<ControllerId>,
    /// Only these positions, both ends counted in: `100..200`, `100..`, `..200`.
    #[arg(long, value_name = "A..B", value_parser = positions)]
    seq: Option<(Seq, Seq)>,
    /// Write card numbers in full, and the raw records that hold them.
    #[arg(long)]
    show_cards: bool,
    /// Into this file, for you alone to read, instead of stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite that file.
    #[arg(long, requires = "output")]
    force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values with a header, as RFC 4180 has them.
    Csv,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Time {
    Received,
    Occurred,
}

fn positions(text: &str) -> Result<(Seq, Seq), String> {
    let (first, last) = text.split_once("..").ok_or("write A..B, such as 100..200")?;
    let number = |text: &str, default: u64| match text.trim() {
        "" => Ok(default),
        digits => digits.parse().map_err(|_| format!("{digits:?} is no position")),
    };
    let (first, last) = (number(first, 1)?, number(last, u64::MAX)?);
    if first > last {
        return Err(format!("{first} is behind {last}"));
    }
    Ok((Seq(first), Seq(last)))
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let source = Source::find(&arguments.common, &arguments.file)?;
    let file = arguments.output.as_ref().map(|path| create(path, arguments.force)).transpose()?;
    let bar = file.as_ref().map(|_| progress(last_position(&source)));
    let mut out = BufWriter::new(match &file {
        Some(file) => Box::new(file.try_clone()?) as Box<dyn Write>,
        None => Box::new(io::stdout().lock()),
    });
    let csv = arguments.format == Format::Csv && !arguments.common.json;
    if csv {
        quiet(writeln!(out, "{}", COLUMNS.join(",")))?;
    }
    let mut write = |entry: Value| {
        if let (Some(bar), Some(seq)) = (&bar, entry["seq"].as_u64()) {
            bar.set_position(seq);
        }
        match (wanted(arguments, &entry), csv) {
            (false, _) => Ok(()),
            (true, true) => writeln!(out, "{}", row(&entry)),
            (true, false) => writeln!(out, "{entry}"),
        }
    };
    let (first, last) = arguments.seq.unwrap_or((Seq(1), Seq(u64::MAX)));
    let show_cards = arguments.show_cards;
    let result = match &source {
        Source::Running { data_dir } => {
            client::ask(data_dir, Request::JournalExport { first, last, show_cards }, write)?
        }
        Source::File { journal, .. } => {
            let mut next = first;
            let mut result = Ok(());
            while result.is_ok()
                && next <= last
                && let Some(batch) = journal.reader.batch(next, BATCH, usize::MAX)?
            {
                let mut entries = batch.iter().take_while(|(seq, _)| *seq <= last);
                result = entries
                    .try_for_each(|(seq, bytes)| write(facts::entry(seq, bytes, show_cards)));
                next = batch.last().next();
            }
            result
        }
    };
    quiet(result.and_then(|()| out.flush()))?;
    if let Some(file) = file {
        file.sync_all()?;
    }
    Ok(())
}

fn last_position(source: &Source) -> u64 {
    match source {
        Source::Running { data_dir } => client::ask_one(data_dir, Request::Status)
            .ok()
            .and_then(|status| status["journal"]["head"].as_u64())
            .unwrap_or(0),
        Source::File { journal, .. } => journal.head.seq.0,
    }
}

fn create(path: &PathBuf, force: bool) -> Result<File, Failure> {
    let mut options = OpenOptions::new();
    // Who went where is in it.
    options.write(true).mode(0o600);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    options.open(path).map_err(|error| {
        let hint = if error.kind() == io::ErrorKind::AlreadyExists {
            "give --force to overwrite it, or another name"
        } else {
            "the directory must exist and be writable for you"
        };
        let message = format!("cannot write {}: {error}\nhint: {hint}", path.display());
        Failure { code: exit::FAILURE, message }
    })
}

fn wanted(arguments: &Arguments, entry: &Value) -> bool {
    let key = match arguments.time {
        Time::Received => "received",
        Time::Occurred => "occurred",
    };
    let at = entry[key].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok());
    let in_time = match (arguments.from, arguments.to, at) {
        (None, None, _) => true,
        (from, to, Some(at)) => from.is_none_or(|from| at >= from) && to.is_none_or(|to| at < to),
        // Without a time it is neither before nor after.
        (_, _, None) => false,
    };
    let of_controller = arguments
        .controller
        .is_none_or(|controller| entry["controller"].as_str() == Some(&controller.to_string()));
    in_time && of_controller
}

const COLUMNS: [&str; 12] = [
    "seq",
    "received",
    "occurred",
    "time_source",
    "time_trust",
    "controller",
    "kind",
    "door",
    "direction",
    "credential",
    "origin",
    "raw",
];

fn row(entry: &Value) -> String {
    COLUMNS.map(|column| field(&entry[column])).join(",")
}

/// A field of RFC 4180: quoted where it has to be.
fn field(value: &Value) -> String {
    let text = match value {
        Value::Null => return String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_quoted_where_they_have_to_be() {
        assert_eq!(field(&json!("plain")), "plain");
        assert_eq!(field(&json!("a,b")), "\"a,b\"");
        assert_eq!(field(&json!("say \"no\"")), "\"say \"\"no\"\"\"");
        assert_eq!(field(&json!({ "gap": { "first": 1 } })), "\"{\"\"gap\"\":{\"\"first\"\":1}}\"");
        assert_eq!(field(&Value::Null), "");
    }

    #[test]
    fn positions_have_two_ends_or_one_or_none() {
        assert_eq!(positions("3..5"), Ok((Seq(3), Seq(5))));
        assert_eq!(positions("3.."), Ok((Seq(3), Seq(u64::MAX))));
        assert_eq!(positions("..5"), Ok((Seq(1), Seq(5))));
        for wrong in ["5..3", "7", "a..b"] {
            assert!(positions(wrong).is_err(), "{wrong}");
        }
    }
}
