//! `export`: transactions page by page into a file or to stdout, as CSV or JSON lines. Card numbers are
//! masked unless they are asked for: what is written leaves the site's keeping.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use postern_protocol::transaction::Credential;
use serde_json::Value;

use super::asked::{Filters, Sorting};
use super::new_file::NewFile;
use super::{Failed, Source, output};
use crate::exit;
use crate::store::query::{Item, Query};

mod csv;

#[derive(Args)]
pub(super) struct Arguments {
    /// How to write them
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// The same as --format jsonl
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Into this file, for you alone to read; - is stdout
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
    /// Replace that file where there is one
    #[arg(long)]
    force: bool,
    /// Write card numbers in full, and the raw records that hold them
    #[arg(long)]
    show_cards: bool,
    #[command(flatten)]
    sorting: Sorting,
    #[command(flatten)]
    filters: Filters,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One JSON object a line, times in UTC
    Jsonl,
    /// Comma-separated values with a header, as RFC 4180 has them, times of the zone with their offset
    Csv,
}

pub(super) async fn export(source: &Source, arguments: Arguments) -> Result<(), Failed> {
    let Arguments { format, out, force, show_cards, sorting, filters, json: _ } = arguments;
    let zone = filters.zone(source);
    let filter = filters.filter(&zone)?;
    let (sort, direction) = sorting.of(&filter, true);
    let query = Query { filter, sort, direction, after: None, limit: 1 };

    let unwritten = |error: io::Error| unwritten(&out, error);
    let to_stdout = out.as_os_str() == "-";
    let file = (!to_stdout).then(|| NewFile::create(&out, force)).transpose()?;
    let target: Box<dyn Write> = match &file {
        Some(file) => Box::new(file.writer().map_err(unwritten)?),
        None => Box::new(io::stdout().lock()),
    };
    let mut writer = match format {
        Format::Jsonl => Writer::Lines(BufWriter::new(target)),
        Format::Csv => Writer::Csv(Box::new(csv::Writer::new(target, zone).map_err(unwritten)?)),
    };
    let mut written = 0_u64;
    let each = |page: crate::api::listing::Transactions, _| {
        for item in page.items {
            writer.item(item, show_cards).map_err(unwritten)?;
            written += 1;
        }
        Ok(())
    };
    source.pages(query, None, None, each).await?;
    writer.flush().map_err(unwritten)?;
    if let Some(file) = file {
        // What does not fit together gets no name.
        source.check()?;
        file.keep().map_err(unwritten)?;
        output::note(&format!("wrote {written} transactions to {}", out.display()));
    }
    Ok(())
}

fn unwritten(out: &Path, error: io::Error) -> Failed {
    if out.as_os_str() == "-" {
        return error.into();
    }
    let message = format!("cannot write {}: {error}", out.display());
    Failed::new(exit::FAILED, message, Some("nothing is left of it; is there room?"))
}

enum Writer {
    Lines(BufWriter<Box<dyn Write>>),
    Csv(Box<csv::Writer<Box<dyn Write>>>),
}

impl Writer {
    fn item(&mut self, mut item: Item, show_cards: bool) -> io::Result<()> {
        let mask = item.credential.filter(|_| !show_cards).map(|card| Credential(card).to_string());
        if !show_cards {
            item.raw.clear();
        }
        match self {
            Self::Lines(out) => {
                let mut line = serde_json::to_value(&item)?;
                if let Some(mask) = mask {
                    line["credential"] = Value::String(mask);
                }
                if !show_cards {
                    line["raw"] = Value::Null;
                }
                serde_json::to_writer(&mut *out, &line)?;
                out.write_all(b"\n")
            }
            Self::Csv(out) => out.item(&item, mask),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Lines(out) => out.flush(),
            Self::Csv(out) => out.flush(),
        }
    }
}
