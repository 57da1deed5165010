//! Writing to people and programs: nothing here panics when the reader goes away.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use serde::Serialize;

use super::Failed;
use crate::exit;

/// A line on stdout, written at once.
pub(super) fn say(line: &str) -> Result<(), Failed> {
    let mut out = anstream::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}

/// One JSON object, with the name of its schema first.
pub(super) fn json<T: Serialize>(schema: &str, value: &T) -> Result<(), Failed> {
    #[derive(Serialize)]
    struct Named<'a, T> {
        schema: &'a str,
        #[serde(flatten)]
        value: &'a T,
    }
    let text = serde_json::to_string(&Named { schema, value }).map_err(io::Error::from)?;
    say(&text)
}

/// One JSON object per line.
pub(super) fn lines<T: Serialize>(items: &[T]) -> Result<(), Failed> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for item in items {
        serde_json::to_writer(&mut out, item).map_err(io::Error::from)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(())
}

/// A table with headers and a line that sums up.
pub(super) fn table(headers: &[&str], rows: Vec<Vec<String>>, summary: &str) -> Result<(), Failed> {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headers.to_vec()).add_rows(rows);
    let mut out = anstream::stdout().lock();
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(out, "{summary}")?;
    Ok(())
}

/// What a person may want to know beside the data. If stderr is gone, nobody is there to be told.
pub(super) fn note(message: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{message}");
}

/// What went wrong, and what to do next. If stderr is gone, nobody is there to be told.
pub(super) fn complain(message: &str, hint: Option<&str>) {
    let mut err = anstream::stderr().lock();
    let _ = writeln!(err, "error: {message}");
    if let Some(hint) = hint {
        let _ = writeln!(err, "hint: {hint}");
    }
}

/// Asks on the terminal whether to go on; without a terminal nobody has agreed.
pub(super) fn confirm(command: &str, question: &str) -> Result<(), Failed> {
    let unconfirmed =
        |hint| Failed::new(exit::FAILED, format!("{command} was not confirmed"), hint);
    if !io::stdin().is_terminal() {
        return Err(unconfirmed(Some("there is no terminal to ask on; say --yes")));
    }
    if ask(question)? { Ok(()) } else { Err(unconfirmed(None)) }
}

fn ask(question: &str) -> Result<bool, Failed> {
    let mut err = anstream::stderr().lock();
    let _ = write!(err, "{question} [y/N] ");
    let _ = err.flush();
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
