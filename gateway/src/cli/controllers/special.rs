//! `postern controllers record-special-events`: whether a board records doors and buttons. Boards do not
//! tell how this is set.

use clap::ValueEnum;
use serde_json::{Value, json};

use super::super::confirm::confirm;
use super::super::{Failure, print, show};
use super::board::{Board, Session, ask};
use super::say;

#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    board: Board,
    /// Record them, or not.
    #[arg(value_name = "on|off", value_enum)]
    wanted: Switch,
    /// Show what would be done; change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    /// Doors and buttons are recorded.
    On,
    /// They are not.
    Off,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { board, wanted, dry_run, yes } = arguments;
    let enabled = *wanted == Switch::On;
    let mut session = Session::open(board)?;
    let mut report = session.report("postern.controller.record_special_events.v1");
    report["wanted"] = json!(enabled);
    report["dry_run"] = json!(dry_run);
    report["done"] = json!(false);
    if *dry_run {
        return print(board.common.json, &report, text);
    }
    let (serial, word) = (session.serial(), if enabled { "on" } else { "off" });
    say(&format!("{serial} does not tell whether it records doors and buttons"));
    confirm(*yes, &format!("Turn it {word}?"))?;
    if !ask!(session, RecordSpecialEvents { enabled: enabled })?.ok {
        return Err(session.refused("to change what it records"));
    }
    report["done"] = json!(true);
    print(board.common.json, &report, text)
}

fn text(report: &Value) -> String {
    let controller = show::text(&report["controller"]);
    let wanted = report["wanted"] == true;
    let what = if wanted { "records" } else { "does not record" };
    if report["done"] == true {
        format!("{controller} {what} door and button events from now on\n")
    } else {
        let word = if wanted { "on" } else { "off" };
        format!(
            "{controller}: door and button events would be turned {word}; nothing was changed\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_says_which_way_it_would_go() {
        for (wanted, word) in [(true, "turned on"), (false, "turned off")] {
            let said = text(&json!({ "controller": "uhppote-7", "wanted": wanted, "done": false }));
            assert!(said.contains(word) && said.contains("nothing was changed"), "{said}");
        }
    }
}
