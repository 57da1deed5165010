//! `postern journal export`: entries as JSON lines or CSV, by time, controller and position.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use indicatif::ProgressBar;
use postern_protocol::{ControllerId, Seq};
use serde_json::{Value, json};

use super::super::new_file::{Hints, NewFile};
use super::super::{Common, Failure, quiet};
use super::{Source, progress, refused};
use crate::control::{Request, client, journal as facts};
use crate::exit;
use crate::journal::{self, Inspection, JournalError};

/// How many entries of a file are read at a time.
const BATCH: usize = 1_024;

const HINTS: Hints = Hints {
    exists: "give --force to replace it, or another name",
    no_file: "name a file, or leave -o out to write to stdout",
};

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
    /// Replace that file where there is one.
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
    let (first, last) = arguments.seq.unwrap_or((Seq(1), Seq(u64::MAX)));
    let (result, writer) = match &source {
        Source::Running { data_dir, .. } => {
            let mut writer = Writer::new(arguments, head(data_dir)?)?;
            let show_cards = arguments.show_cards;
            let (mut ended, request) = (None, Request::JournalExport { first, last, show_cards });
            let result = client::ask(data_dir, &request, |mut line| {
                if line["end"].is_object() {
                    ended = Some(line["end"].take());
                    return Ok(());
                }
                writer.entry(&line)
            })?;
            if let (Ok(()), None) = (&result, &ended) {
                return Err(client::broken_off(data_dir).into());
            }
            let given_up = ended.and_then(|end| end["given_up"].as_u64()).unwrap_or(0);
            if given_up > 0 {
                say(&format!(
                    "note: the ring gave up {given_up} entries meanwhile; they are safe on the servers"
                ));
            }
            (result, writer)
        }
        Source::File { path, named, .. } => match journal::inspect(path) {
            Ok(journal) => {
                let mut writer = Writer::new(arguments, journal.head.seq)?;
                (entries(&journal, first, last, &mut writer)?, writer)
            }
            Err(JournalError::Damaged { reason, .. }) => {
                return damaged(arguments, path, *named, &reason);
            }
            Err(error) => return Err(refused(&error, *named)),
        },
    };
    writer.wrote(result)?;
    writer.finish().map(|_| ())
}

fn entries(
    journal: &Inspection,
    first: Seq,
    last: Seq,
    writer: &mut Writer<'_>,
) -> Result<io::Result<()>, Failure> {
    let mut next = first;
    while next <= last
        && let Some(batch) = journal.reader.batch(next, BATCH, usize::MAX)?
    {
        for (seq, bytes) in batch.iter().take_while(|(seq, _)| *seq <= last) {
            if let Err(error) = writer.bytes(seq, bytes) {
                return Ok(Err(error));
            }
        }
        next = batch.last().next();
    }
    Ok(Ok(()))
}

/// What verifies in a damaged file is written, and nobody can take it for everything: the command
/// fails in the end.
fn damaged(arguments: &Arguments, path: &Path, named: bool, reason: &str) -> Result<(), Failure> {
    let remains = journal::remains(path)?;
    let head = remains.head;
    let mut writer = Writer::new(arguments, head)?;
    let (first, last) = arguments.seq.unwrap_or((Seq(1), Seq(u64::MAX)));
    let mut found = 0;
    for (seq, bytes) in remains.flatten() {
        if (first..=last).contains(&seq) {
            let result = writer.bytes(seq, &bytes);
            writer.wrote(result)?;
        }
        found += 1;
    }
    let written = writer.finish()?;
    let hint = if named {
        "nothing was changed"
    } else {
        "`postern journal salvage`, or a start of the gateway, sets the file aside and goes on with what can be read; nothing was changed"
    };
    let message = format!(
        "journal {} is damaged: {reason}; {found} entries up to {head} can be read, {written} of them were asked for and written\nhint: {hint}",
        path.display()
    );
    Err(Failure { code: exit::JOURNAL, message })
}

fn head(data_dir: &Path) -> Result<Seq, Failure> {
    let status = client::ask_one(data_dir, &Request::Status)?;
    Ok(Seq(status["journal"]["head"].as_u64().unwrap_or(0)))
}

fn unwritten(arguments: &Arguments, error: &io::Error) -> Failure {
    let (out, hint) = match &arguments.output {
        Some(path) => (path.display().to_string(), "nothing is left of it; is there room?"),
        None => ("to stdout".to_owned(), "what was written is not everything"),
    };
    Failure { code: exit::FAILURE, message: format!("cannot write {out}: {error}\nhint: {hint}") }
}

fn say(message: &str) {
    let _ = writeln!(anstream::stderr(), "{message}");
}

/// Writes what is wanted, in the format that is wanted.
struct Writer<'a> {
    arguments: &'a Arguments,
    out: BufWriter<Box<dyn Write>>,
    file: Option<NewFile>,
    bar: Option<ProgressBar>,
    written: u64,
}

impl<'a> Writer<'a> {
    fn new(arguments: &'a Arguments, head: Seq) -> Result<Self, Failure> {
        let new = |path: &PathBuf| NewFile::create(path, arguments.force, &HINTS);
        let file = arguments.output.as_ref().map(new).transpose()?;
        let out: Box<dyn Write> = match &file {
            Some(new) => Box::new(new.writer()?),
            None => Box::new(io::stdout().lock()),
        };
        // Entries on a terminal are progress enough.
        let bar = (file.is_some() || !io::stdout().is_terminal()).then(|| progress(head.0));
        let mut out = BufWriter::new(out);
        if arguments.is_csv() {
            quiet(write!(out, "{}\r\n", COLUMNS.join(",")))?;
        }
        Ok(Self { arguments, out, file, bar, written: 0 })
    }

    fn bytes(&mut self, seq: Seq, bytes: &[u8]) -> io::Result<()> {
        self.entry(&facts::entry(seq, bytes, self.arguments.show_cards))
    }

    fn entry(&mut self, entry: &Value) -> io::Result<()> {
        if let (Some(bar), Some(seq)) = (&self.bar, entry["seq"].as_u64()) {
            bar.set_position(seq);
        }
        if !wanted(self.arguments, entry) {
            return Ok(());
        }
        self.written += 1;
        if self.arguments.is_csv() {
            write!(self.out, "{}\r\n", row(entry))
        } else {
            writeln!(self.out, "{entry}")
        }
    }

    /// Whether what was written arrived; a reader that went away is no failure.
    fn wrote(&self, result: io::Result<()>) -> Result<(), Failure> {
        match result {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(unwritten(self.arguments, &error))
            }
            _ => Ok(()),
        }
    }

    /// How many were written.
    fn finish(mut self) -> Result<u64, Failure> {
        let result = self.out.flush();
        self.wrote(result)?;
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        if let Some(file) = self.file {
            let path = file.keep().map_err(|error| unwritten(self.arguments, &error))?;
            say(&format!("wrote {} entries to {}", self.written, path.display()));
        }
        Ok(self.written)
    }
}

impl Arguments {
    fn is_csv(&self) -> bool {
        self.format == Format::Csv && !self.common.json
    }
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

const COLUMNS: [&str; 15] = [
    "seq",
    "received",
    "occurred",
    "time_source",
    "time_trust",
    "controller",
    "recorded_by",
    "epoch",
    "index",
    "kind",
    "detail",
    "door",
    "direction",
    "credential",
    "raw",
];

/// A line, without its end. What JSON nests has columns of its own: who recorded it and where it stands
/// in the controller's log (for what the gateway noted, the index after which it stands); and what
/// there is to say about a kind, as JSON.
fn row(entry: &Value) -> String {
    let (recorded_by, origin) = only_member(&entry["origin"]);
    let kind = &entry["kind"];
    let (kind, detail) = if kind.is_object() {
        only_member(kind)
    } else if entry["unreadable"] == true {
        (json!("unreadable"), &Value::Null)
    } else {
        (kind.clone(), &Value::Null)
    };
    let index = origin.get("index").or_else(|| origin.get("after")).unwrap_or(&Value::Null);
    COLUMNS
        .map(|column| match column {
            "recorded_by" => field(&recorded_by),
            "epoch" => field(&origin["epoch"]),
            "index" => field(index),
            "kind" => field(&kind),
            "detail" => field(detail),
            plain => field(&entry[plain]),
        })
        .join(",")
}

/// The name and the content of an object with one member.
fn only_member(value: &Value) -> (Value, &Value) {
    let member = value.as_object().and_then(|object| object.iter().next());
    member.map_or((Value::Null, &Value::Null), |(name, content)| (json!(name), content))
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
