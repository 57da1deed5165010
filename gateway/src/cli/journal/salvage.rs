//! `postern journal salvage`: what the gateway does by itself when it starts on a damaged journal, by
//! hand; and what past salvages found.

use std::io::Write;

use serde_json::json;

use super::super::{Common, Failure, confirm, print, show};
use crate::clock;
use crate::config::Config;
use crate::control::client::ControlError;
use crate::control::{Request, client};
use crate::journal::{self, JournalError, Options};
use crate::{daemon, exit};

pub(super) fn run(common: &Common, yes: bool) -> Result<(), Failure> {
    let config = Config::load(&common.config)?;
    let path = journal::path(&config.data_dir);
    let report = |state: &str| {
        json!({
            "schema": "postern.journal.salvages.v1",
            "journal": state,
            "path": path,
            "salvages": journal::salvages(&path),
        })
    };
    match client::ask_one(&config.data_dir, &Request::Status) {
        Err(ControlError::NotRunning { .. }) => {}
        // It checked the file when it started.
        Ok(_) => return print(common.json, &report("running"), show::salvages),
        Err(error) => return Err(error.into()),
    }
    let reason = match journal::inspect(&path) {
        Ok(_) => return print(common.json, &report("whole"), show::salvages),
        Err(JournalError::Damaged { reason, .. }) => reason,
        Err(error) => return Err(super::refused(&error, false)),
    };
    let _ = writeln!(anstream::stderr(), "{} is damaged: {reason}", path.display());
    let question = "What verifies goes into a new journal, the damaged file is set aside. Go on?";
    if !yes && !confirm::asked(question)? {
        return Err(Failure {
            code: exit::FAILURE,
            message: "salvage was not confirmed; nothing was done\nhint: answer `yes`, or give --yes where there is no terminal; the damaged file is kept in any case".to_owned(),
        });
    }
    let _lock = daemon::lock(&config.data_dir)?;
    // While the question stood a gateway may have come and gone, and have done this itself.
    let reason = match journal::inspect(&path) {
        Ok(_) => return print(common.json, &report("whole"), show::salvages),
        Err(JournalError::Damaged { reason, .. }) => reason,
        Err(error) => return Err(super::refused(&error, false)),
    };
    let options: Options = daemon::journal_options(&config);
    journal::salvage(&options, &reason, &clock::stamp())?;
    print(common.json, &report("salvaged"), show::salvages)
}
