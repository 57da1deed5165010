//! `postern journal …`: through the control socket while the gateway runs, from the file when it does
//! not. A file is never written to, but by a salvage that was confirmed.

use std::io;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::{Common, Failure, print, show};
use crate::clock;
use crate::config::Config;
use crate::control::client::ControlError;
use crate::control::journal::{self as facts, Facts};
use crate::control::{Request, client};
use crate::exit;
use crate::journal::{self, Capacity, Inspection, JournalError, Ring, Verified};

mod export;
mod info;
mod salvage;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Show the journal in numbers: what it holds, when it is full, how its medium wears.
    Info {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        file: File,
        /// How many terabytes may be written to the medium in its life, by its data sheet.
        #[arg(long, value_name = "TB", default_value_t = info::ENDURANCE_TBW)]
        endurance_tbw: f64,
    },
    /// Read every entry and recompute the chain over all of them.
    Verify {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        file: File,
    },
    /// Write entries as JSON lines or CSV.
    Export(#[command(flatten)] export::Arguments),
    /// Make a new journal from what is left of a damaged one; show what past salvages found.
    Salvage {
        #[command(flatten)]
        common: Common,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// Which journal.
#[derive(clap::Args)]
pub(super) struct File {
    /// This file instead of the configured journal, such as one that was set aside; only read.
    #[arg(long, value_name = "JOURNAL")]
    file: Option<PathBuf>,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Info { common, file, endurance_tbw } => {
            let mut info = info(&Source::find(common, file)?)?;
            info::wear(&mut info, *endurance_tbw);
            print(common.json, &info, show::journal)
        }
        Command::Verify { common, file } => {
            let report = verify(&Source::find(common, file)?)?;
            print(common.json, &report, show::verified)
        }
        Command::Export(arguments) => export::run(arguments),
        Command::Salvage { common, yes } => salvage::run(common, *yes),
    }
}

/// Where a journal is read.
enum Source {
    /// A gateway runs in this data directory.
    Running { data_dir: PathBuf },
    /// None does.
    File { path: PathBuf, journal: Box<Inspection>, capacity: Capacity },
}

impl Source {
    fn find(common: &Common, file: &File) -> Result<Self, Failure> {
        if let Some(path) = &file.file {
            return Self::open(path, Capacity::default());
        }
        let config = Config::load(&common.config)?;
        match client::ask_one(&config.data_dir, Request::Status) {
            Ok(_) => Ok(Self::Running { data_dir: config.data_dir }),
            Err(ControlError::NotRunning { .. }) => {
                Self::open(&journal::path(&config.data_dir), config.capacity)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn open(path: &Path, capacity: Capacity) -> Result<Self, Failure> {
        let journal = Box::new(journal::inspect(path)?);
        Ok(Self::File { path: path.to_owned(), journal, capacity })
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        let in_use = matches!(error, JournalError::InUse { .. });
        let code = if in_use { exit::IN_USE } else { exit::JOURNAL };
        Self { code, message: super::chain(&error) }
    }
}

fn info(source: &Source) -> Result<Value, Failure> {
    let (mut info, path) = match source {
        Source::Running { data_dir } => {
            (client::ask_one(data_dir, Request::JournalInfo)?, journal::path(data_dir))
        }
        Source::File { path, journal, capacity } => {
            let read = Facts {
                id: journal.id,
                gateway: &journal.gateway,
                ring: Ring { capacity: *capacity, ..journal.ring },
                held: journal.held,
                reader: &journal.reader,
                traffic: None,
            };
            (facts::info(&read, clock::utc())?, path.clone())
        }
    };
    info["running"] = json!(matches!(source, Source::Running { .. }));
    info["path"] = json!(path);
    info["file_bytes"] = json!(std::fs::metadata(&path).map(|file| file.len()).ok());
    info["set_aside"] = json!(journal::asides(&path));
    info["salvages"] = json!(journal::salvages(&path));
    Ok(info)
}

fn verify(source: &Source) -> Result<Value, Failure> {
    let verified: Verified = match source {
        Source::Running { data_dir } => {
            let (mut bar, mut result) = (None, None);
            let answer = client::ask(data_dir, Request::JournalVerify, |mut line| {
                if let Some(done) = line["progress"].as_u64() {
                    let length = line["head"].as_u64().unwrap_or(done);
                    bar.get_or_insert_with(|| progress(length)).set_position(done);
                } else {
                    result = serde_json::from_value(line["verified"].take()).ok();
                }
                Ok(())
            });
            match answer {
                Err(ControlError::Broken { reason, .. }) => return Err(damaged(&reason)),
                other => other??,
            }
            result.ok_or_else(|| damaged("the gateway gave no result"))?
        }
        Source::File { journal, .. } => {
            let bar = progress(journal.head.seq.0);
            journal::verify(&journal.reader, journal.head, |seq| bar.set_position(seq.0))
                .map_err(|error| damaged(&error.to_string()))?
        }
    };
    Ok(json!({ "schema": "postern.journal.verify.v1", "ok": true, "verified": verified }))
}

fn damaged(reason: &str) -> Failure {
    let message = format!(
        "the journal does not verify: {reason}\nhint: restart the gateway: it checks the whole file, sets it aside if it is damaged and salvages what can be read"
    );
    Failure { code: exit::JOURNAL, message }
}

/// A bar on a terminal's stderr; nothing on a pipe.
fn progress(length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    bar
}

/// Where output goes that may be long.
fn quiet(result: io::Result<()>) -> Result<(), Failure> {
    super::quiet(result)
}
