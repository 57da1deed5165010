//! `postern journal …`: through the control socket while the gateway runs, from the file when it does
//! not. A file is never written to, but by a salvage that was confirmed.

use std::io;
use std::num::NonZeroU32;
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
use crate::journal::{self, Capacity, Inspection, JournalError, Ring, Verification};

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
            let source = Source::find(common, file)?;
            let mut info = info(&source)?;
            let (Source::Running { ceiling, .. } | Source::File { ceiling, .. }) = source;
            info::wear(&mut info, *endurance_tbw, ceiling);
            print(common.json, &info, show::journal)
        }
        Command::Verify { common, file } => verify(common, file),
        Command::Export(arguments) => export::run(arguments),
        Command::Salvage { common, yes } => salvage::run(common, *yes),
    }
}

/// Where a journal is read.
enum Source {
    /// A gateway runs in this data directory.
    Running { data_dir: PathBuf, ceiling: Option<NonZeroU32> },
    /// None does, or the file was named by itself.
    File { path: PathBuf, named: bool, capacity: Capacity, ceiling: Option<NonZeroU32> },
}

impl Source {
    /// The journal that the command line names.
    fn find(common: &Common, file: &File) -> Result<Self, Failure> {
        if let Some(path) = &file.file {
            let (path, capacity) = (path.clone(), Capacity::default());
            return Ok(Self::File { path, named: true, capacity, ceiling: None });
        }
        let config = Config::load(&common.config)?;
        let (capacity, ceiling) = (config.capacity, config.syncs_per_second);
        match client::ask_one(&config.data_dir, &Request::Status) {
            Ok(_) => Ok(Self::Running { data_dir: config.data_dir, ceiling }),
            Err(ControlError::NotRunning { .. }) => {
                let path = journal::path(&config.data_dir);
                Ok(Self::File { path, named: false, capacity, ceiling })
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Why a file cannot be looked at, and what to do: that depends on whether it is the configured one or
/// was named by itself, such as one that was set aside.
fn refused(error: &JournalError, named: bool) -> Failure {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others say what to do themselves")]
    let (what, hint) = match error {
        JournalError::Io { path, source } if source.kind() == io::ErrorKind::NotFound => (
            format!("there is no journal {}", path.display()),
            if named {
                "`postern journal info` lists the files that were set aside"
            } else {
                "the gateway makes it when it first starts (`postern run`); `data_dir` names its directory"
            },
        ),
        JournalError::InUse { path } => (
            format!("journal {} is in use by another process", path.display()),
            if named {
                "leave --file out and name that gateway's configuration with -c: it answers for its journal itself"
            } else {
                "no gateway answers on the control socket; one that is starting or stopping does in a moment: try again"
            },
        ),
        JournalError::Damaged { path, reason } => (
            format!("journal {} is damaged: {reason}", path.display()),
            if named {
                "`postern journal export --file` writes what can be read of it; nothing was changed"
            } else {
                "`postern journal salvage`, or a start of the gateway, sets it aside and goes on with what can be read; nothing was changed"
            },
        ),
        other => return Failure { code: exit::JOURNAL, message: super::chain(other) },
    };
    Failure { code: code(error), message: format!("{what}\nhint: {hint}") }
}

fn code(error: &JournalError) -> u8 {
    if matches!(error, JournalError::InUse { .. }) { exit::IN_USE } else { exit::JOURNAL }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        Self { code: code(&error), message: super::chain(&error) }
    }
}

fn info(source: &Source) -> Result<Value, Failure> {
    let (mut info, path) = match source {
        Source::Running { data_dir, .. } => {
            (client::ask_one(data_dir, &Request::JournalInfo)?, journal::path(data_dir))
        }
        Source::File { path, named, capacity, .. } => {
            let journal = journal::inspect(path).map_err(|error| refused(&error, *named))?;
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

fn verify(common: &Common, file: &File) -> Result<(), Failure> {
    let (report, path) = match Source::find(common, file)? {
        Source::Running { data_dir, .. } => (verify_running(&data_dir)?, journal::path(&data_dir)),
        Source::File { path, named, .. } => match journal::inspect(&path) {
            Ok(journal) => (verify_file(&journal), path),
            Err(error) => {
                // Damage that already shows when it is opened is a result as well.
                if common.json && matches!(error, JournalError::Damaged { .. }) {
                    print(true, &facts::verified(None, Err(&error)), show::verified)?;
                }
                return Err(refused(&error, named));
            }
        },
    };
    if report["ok"] == true {
        return print(common.json, &report, show::verified);
    }
    if common.json {
        print(true, &report, show::verified)?;
    }
    let reason = report["problem"].as_str().unwrap_or("it cannot be read");
    let message = format!(
        "journal {} is damaged: {reason}\nhint: restart the gateway: it checks the whole file, sets it aside if it is damaged and salvages what can be read",
        path.display()
    );
    Err(Failure { code: exit::JOURNAL, message })
}

fn verify_file(journal: &Inspection) -> Value {
    let bar = progress(journal.head.seq.0);
    let mut verification = Verification::upto(journal.head);
    let result = loop {
        match verification.step(&journal.reader) {
            Ok(true) => bar.set_position(verification.report().last.0),
            Ok(false) => break Ok(verification.report()),
            Err(error) => break Err(error),
        }
    };
    bar.finish_and_clear();
    facts::verified(Some(journal.id), result.as_ref().copied())
}

fn verify_running(data_dir: &Path) -> Result<Value, Failure> {
    let (mut bar, mut report) = (None, None);
    client::ask(data_dir, &Request::JournalVerify, |line| {
        if let Some(done) = line["progress"].as_u64() {
            let length = line["head"].as_u64().unwrap_or(done);
            bar.get_or_insert_with(|| progress(length)).set_position(done);
        } else {
            report = Some(line);
        }
        Ok(())
    })??;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(report.ok_or_else(|| client::broken_off(data_dir))?)
}

/// A bar on a terminal's stderr; nothing on a pipe.
pub(super) fn progress(length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {eta}") {
        // Plain characters: a serial console has no others.
        bar.set_style(style.progress_chars("#>-"));
    }
    bar
}
