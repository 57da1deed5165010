//! `rules` and `maintenance`: show how the group is run, ask, change it, show it again.

use postern_protocol::role::WhenFull;
use serde::Serialize;

use super::status::{Seen, look};
use super::{Console, Failed, Maintenance, Rules as Args, Switch, output};
use crate::api::rules::{Ruled, Rules};
use crate::exit;

#[derive(Serialize)]
struct Done {
    #[serde(flatten)]
    result: Ruled,
    before: Vec<Seen>,
    after: Vec<Seen>,
}

pub(super) async fn maintenance(args: Maintenance) -> Result<(), Failed> {
    let Maintenance { switch, dir, yes, json } = args;
    let on = matches!(switch, Switch::On);
    let question = if on {
        "Begin maintenance? Until it ends the role changes by an operator's hand alone."
    } else {
        "End maintenance?"
    };
    let rules = Rules { maintenance: Some(on), ..Rules::default() };
    change("maintenance", &dir, &rules, question, yes, json).await
}

pub(super) async fn rules(args: Args) -> Result<(), Failed> {
    let Args { dir, when_full, copies, yes, json } = args;
    let when_full = when_full.map(WhenFull::from);
    let rules = Rules { when_full, copies_wanted: copies, ..Rules::default() };
    if rules == Rules::default() {
        let hint = "say --when-full or --copies; `status` shows what holds";
        return Err(Failed::new(exit::USAGE, "nothing is to be changed", Some(hint)));
    }
    let mut question = String::new();
    if when_full == Some(WhenFull::Hold) {
        question.push_str(
            "With hold, gateways stop reading when their journals are full and the standby is gone: \
             what happens then is kept by the controllers' own logs alone, and these overwrite.\n",
        );
    }
    if copies == Some(1) {
        question.push_str("With one copy, a gateway forgets what a single server holds.\n");
    }
    question.push_str("Change how the group is run?");
    change("rules", &dir, &rules, &question, yes, json).await
}

async fn change(
    command: &str,
    dir: &std::path::Path,
    rules: &Rules,
    question: &str,
    yes: bool,
    json: bool,
) -> Result<(), Failed> {
    let console = Console::open(dir)?;
    let before = look(&console).await;
    let active = before.iter().find_map(Seen::active).map(str::to_owned);
    let Some(active) = active else {
        let hint = "the active server changes it; see `postern-server status`";
        return Err(Failed::new(exit::UNREACHABLE, "no active server answers", Some(hint)));
    };
    if !json {
        show(&before)?;
    }
    if !yes {
        output::confirm(command, question)?;
    }
    let member = console.member(Some(&active))?;
    let result: Ruled = console
        .client
        .post(&member.address, "/v1/admin/rules", rules)
        .await
        .map_err(|error| Failed::at(&member, error))?;
    let after = look(&console).await;
    if json {
        return output::json("postern-server.rules.v1", &Done { result, before, after });
    }
    if !result.changed {
        output::say("Nothing changed.")?;
    }
    show(&after)
}

fn show(seen: &[Seen]) -> Result<(), Failed> {
    let Some(line) = seen.iter().find_map(Seen::rules) else { return Ok(()) };
    output::say(&line)
}
