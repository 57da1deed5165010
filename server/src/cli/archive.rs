//! `archive`: the reading commands on a store's file, without a server and without a data directory.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Failed, Source, ask, audit, export, journals, late, query};

#[derive(Args)]
pub(super) struct Archive {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Ask a file; neither it nor anything beside it is written
    Open(Open),
}

#[derive(Args)]
struct Open {
    /// A store.sqlite, a copy of one, or a directory with one
    path: PathBuf,
    #[command(subcommand)]
    question: Question,
}

#[derive(Subcommand)]
enum Question {
    /// List transactions, by time, door, card and more
    Query(query::Arguments),
    /// Write transactions to a file, as CSV or JSON lines
    Export(export::Arguments),
    /// Report how late transactions came after they happened
    Late(late::Arguments),
    /// List the gateways' journals
    Journals(journals::Arguments),
    /// List the audit log
    Audit(audit::Arguments),
}

pub(super) fn archive(Archive { command: Command::Open(open) }: Archive) -> Result<(), Failed> {
    let source = Source::archive(&open.path)?;
    match open.question {
        Question::Query(arguments) => ask((source, arguments), query::query),
        Question::Export(arguments) => ask((source, arguments), export::export),
        Question::Late(arguments) => ask((source, arguments), late::late),
        Question::Journals(arguments) => ask((source, arguments), journals::journals),
        Question::Audit(arguments) => ask((source, arguments), audit::audit),
    }
}
