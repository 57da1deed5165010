//! `rules` and `maintenance`: show how the group is run, ask, change it, show it again.

use std::time::Duration;

use postern_protocol::role::{GroupRole, Mode, RoleDocument, SignedRole, WhenFull};
use serde::Serialize;

use super::status::{Seen, look};
use super::{Console, Failed, Maintenance, Rules as Args, Switch, output};
use crate::api::rules::{Ruled, Rules};
use crate::clock;
use crate::exit;

/// The longest time that can be set, in seconds: a week.
pub(super) const LONGEST: u64 = 7 * 24 * 3600;

/// After how many seconds there is an alarm; `None` for never.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alarm(Option<u64>);

/// For clap: seconds, or `off`.
pub(super) fn seconds_or_off(text: &str) -> Result<Alarm, String> {
    if text == "off" {
        return Ok(Alarm(None));
    }
    match text.parse() {
        Ok(seconds) if seconds <= LONGEST => Ok(Alarm(Some(seconds))),
        Ok(_) => Err(format!("{LONGEST} seconds at most: a week")),
        Err(_) => Err("a number of seconds, or off".to_owned()),
    }
}

/// How the role changes, by the active server's role document.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Changing {
    mode: Mode,
    preferred: Option<String>,
    dwell_ms: u64,
    effective_dwell_ms: u64,
    away_alarm_ms: Option<u64>,
    away_since: Option<String>,
}

impl Changing {
    fn of(role: &GroupRole) -> Self {
        Self {
            mode: role.mode,
            preferred: role.preferred.clone(),
            dwell_ms: role.dwell_ms,
            effective_dwell_ms: role.effective_dwell_ms(),
            away_alarm_ms: role.away_alarm_ms,
            away_since: role.away_since.and_then(clock::rfc3339),
        }
    }

    fn line(&self) -> String {
        let mode = match self.mode {
            Mode::Manual => "by an operator's hand alone",
            Mode::Confirmed => "once an operator confirms it",
            Mode::Automatic => "by itself",
        };
        let seconds = |ms: u64| Duration::from_millis(ms).as_secs_f64();
        let Self { dwell_ms, effective_dwell_ms, .. } = self;
        let dwell = seconds(*dwell_ms);
        let now = if effective_dwell_ms == dwell_ms {
            String::new()
        } else {
            format!(", now for {} s since it did so often", seconds(*effective_dwell_ms))
        };
        let preferred = match &self.preferred {
            None => "No server is preferred".to_owned(),
            Some(name) => format!("Server {name} is preferred"),
        };
        let away = match &self.away_since {
            None => String::new(),
            Some(since) => format!("; another is active since {since}"),
        };
        let alarm = match self.away_alarm_ms {
            None => "no alarm when another is active".to_owned(),
            Some(ms) => format!("an alarm when another is active for {} s", seconds(ms)),
        };
        format!(
            "The role changes {mode}; after it did so by itself, not for {dwell} s{now}. \
             {preferred}{away}; {alarm}."
        )
    }
}

#[derive(Serialize)]
struct Changes {
    before: Changing,
    after: Changing,
}

#[derive(Serialize)]
struct Done {
    #[serde(flatten)]
    result: Ruled,
    role: Changes,
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
    let Args { dir, mode, preferred, dwell, away_alarm, when_full, copies, yes, json } = args;
    let (mode, when_full) = (mode.map(Mode::from), when_full.map(WhenFull::from));
    let milliseconds = |seconds: u64| seconds.saturating_mul(1_000);
    let rules = Rules {
        mode,
        // A server of this very name is preferred through the interface alone.
        preferred: preferred.map(|name| (name != "none").then_some(name)),
        dwell_ms: dwell.map(milliseconds),
        away_alarm_ms: away_alarm.map(|Alarm(seconds)| seconds.map(milliseconds)),
        when_full,
        copies_wanted: copies,
        maintenance: None,
    };
    if rules == Rules::default() {
        let hint = "say --mode, --preferred, --dwell, --away-alarm, --when-full or --copies; `status` shows \
                    what holds";
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
    match mode {
        Some(Mode::Automatic) => question.push_str(
            "With automatic, a server that is in sync takes over by itself when the active one is gone.\n",
        ),
        Some(Mode::Manual | Mode::Confirmed) => question.push_str(
            "Without automatic, nobody takes over when the active server is gone until an operator acts.\n",
        ),
        None => {}
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
    let member = console.member(Some(&active))?;
    let changing = async || {
        let signed: Result<SignedRole, _> = console.client.get(&member.address, "/v1/role").await;
        read(&signed.map_err(|error| Failed::at(&member, error))?, &console)
    };
    let was = changing().await?;
    if !json {
        show(&before, &was)?;
    }
    if !yes {
        output::confirm(command, question)?;
    }
    let result: Ruled = console
        .client
        .post(&member.address, "/v1/admin/rules", rules)
        .await
        .map_err(|error| Failed::at(&member, error))?;
    let after = look(&console).await;
    let is = changing().await?;
    if json {
        let role = Changes { before: was, after: is };
        return output::json("postern-server.rules.v1", &Done { result, role, before, after });
    }
    if !result.changed {
        output::say("Nothing changed.")?;
    }
    show(&after, &is)
}

/// What a document says of the group, by a server that has just proven who it is.
fn read(signed: &SignedRole, console: &Console) -> Result<Changing, Failed> {
    let group = &console.site.config.group;
    let document: Option<RoleDocument> = serde_json::from_str(&signed.document).ok();
    let role = document.as_ref().and_then(|document| document.groups.get(group));
    role.map(Changing::of).ok_or_else(|| {
        let message = format!("the active server's role document says nothing of group {group}");
        Failed::new(exit::UNREACHABLE, message, None)
    })
}

fn show(seen: &[Seen], changing: &Changing) -> Result<(), Failed> {
    if let Some(line) = seen.iter().find_map(Seen::rules) {
        output::say(&line)?;
    }
    output::say(&changing.line())
}

#[cfg(test)]
mod tests {
    use postern_protocol::role::StoreName;
    use postern_protocol::{RoleTerm, Timestamp};

    use super::*;

    fn founded() -> GroupRole {
        let store = StoreName { server: "a".into(), store: "s1".into() };
        GroupRole::founded(store, RoleTerm(1), Timestamp(0))
    }

    #[test]
    fn how_the_role_changes_is_one_line() {
        assert_eq!(
            Changing::of(&founded()).line(),
            "The role changes by an operator's hand alone; after it did so by itself, not for 30 s. \
             No server is preferred; no alarm when another is active."
        );
        let role = GroupRole {
            mode: Mode::Automatic,
            preferred: Some("b".into()),
            dwell_ms: 2_500,
            flaps: 2,
            away_since: Some(Timestamp(0)),
            away_alarm_ms: Some(90_000),
            ..founded()
        };
        assert_eq!(
            Changing::of(&role).line(),
            "The role changes by itself; after it did so by itself, not for 2.5 s, now for 10 s since it \
             did so often. Server b is preferred; another is active since 1970-01-01T00:00:00.000Z; \
             an alarm when another is active for 90 s."
        );
    }

    #[test]
    fn an_alarm_is_seconds_or_off() {
        assert!(matches!(seconds_or_off("off"), Ok(Alarm(None))));
        assert!(matches!(seconds_or_off("604800"), Ok(Alarm(Some(LONGEST)))));
        for text in ["604801", "", "-1", "5m", "OFF"] {
            assert!(seconds_or_off(text).is_err(), "{text}");
        }
    }
}
