//! The question before something is changed.

use std::io::{self, IsTerminal, Write};

use super::Failure;
use crate::exit;

/// Lets a change go on where `yes` was given or a person at a terminal answers so. Without a terminal
/// the answer is no.
pub(super) fn confirm(yes: bool, question: &str) -> Result<(), Failure> {
    if yes || asked(question)? {
        return Ok(());
    }
    Err(Failure {
        code: exit::FAILURE,
        message: "not confirmed; nothing was changed\nhint: answer `yes`, or give --yes where there is no terminal".to_owned(),
    })
}

/// Asks at a terminal; without one the answer is no.
pub(super) fn asked(question: &str) -> io::Result<bool> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    let mut out = anstream::stderr();
    write!(out, "{question} [yes/no] ")?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}
