//! `status`: both servers, and in words why one cannot be asked.

use postern_protocol::role::{Mode, WhenFull};
use serde::Serialize;

use super::{Console, Failed, Reading, output};
use crate::api::admin::{Away, Failure, Status};
use crate::exit;
use crate::peer::PeerError;
use crate::replication::outlook::{Filling, Outlook, Standing, Then};
use crate::site::Member;

/// One server as the operator finds it.
#[derive(Serialize)]
pub(super) struct Seen {
    name: String,
    address: String,
    reachable: bool,
    status: Option<Status>,
    failure: Option<Failure>,
}

impl Seen {
    /// The server's name, if it is active.
    pub(super) fn active(&self) -> Option<&str> {
        self.acting().map(|status| status.server.as_str())
    }

    /// How the group is run, as the active server says.
    pub(super) fn rules(&self) -> Option<String> {
        let status = self.acting()?;
        let full = match status.when_full {
            WhenFull::Lower => "the active server goes on alone",
            WhenFull::Hold => "they hold what they have and stop reading",
        };
        let maintenance = if status.maintenance { " Under maintenance." } else { "" };
        let mode = match status.mode {
            Mode::Automatic => "the role changes by itself",
            Mode::Confirmed => "a failover waits for an operator's word",
            Mode::Manual => "the role changes by hand",
        };
        Some(format!(
            "Group {}: {mode}; {} copies wanted; when gateways run full without a standby, {full}.{maintenance}",
            status.group, status.copies_wanted
        ))
    }

    fn acting(&self) -> Option<&Status> {
        self.status.as_ref().filter(|status| status.state == "active")
    }
}

#[derive(Serialize)]
struct Pair {
    site: String,
    group: String,
    servers: Vec<Seen>,
}

pub(super) async fn status(reading: Reading) -> Result<(), Failed> {
    let console = Console::open(&reading.dir)?;
    let seen = match &reading.server {
        None => look(&console).await,
        Some(name) => vec![look_at(&console, &console.member(Some(name))?).await],
    };
    let nobody = seen.iter().all(|server| !server.reachable);
    let config = &console.site.config;
    if reading.json {
        let (site, group) = (config.site.clone(), config.group.clone());
        output::json("postern-server.status.v1", &Pair { site, group, servers: seen })?;
    } else {
        show(&seen)?;
    }
    if nobody {
        let hint = "is a server running? `postern-server run --dir DIR` starts it";
        return Err(Failed::new(exit::UNREACHABLE, "no server answers", Some(hint)));
    }
    Ok(())
}

/// Asks every server of the site.
pub(super) async fn look(console: &Console) -> Vec<Seen> {
    let mut seen = Vec::new();
    for member in &console.site.config.members {
        seen.push(look_at(console, member).await);
    }
    seen
}

async fn look_at(console: &Console, member: &Member) -> Seen {
    let asked = console.client.get::<Status>(&member.address, "/v1/admin/status").await;
    let (status, failure) = match asked {
        Ok(status) => (Some(status), None),
        Err(error) => {
            let code = match &error {
                PeerError::Link(failure) => failure.code(),
                PeerError::Refused(_) => "refused",
                PeerError::Answer(_) | PeerError::Role(_) => "bad_answer",
            };
            (None, Some(Failure { code: code.to_owned(), message: error.to_string() }))
        }
    };
    let Member { name, address, .. } = member.clone();
    Seen { name, address, reachable: status.is_some(), status, failure }
}

/// A table, and what a person should know beside it.
pub(super) fn show(seen: &[Seen]) -> Result<(), Failed> {
    let row = |server: &Seen| {
        let Some(status) = &server.status else {
            let mut row = vec![server.name.clone(), server.address.clone(), "unreachable".into()];
            row.resize(8, "-".into());
            return row;
        };
        vec![
            server.name.clone(),
            server.address.clone(),
            status.state.clone(),
            status.role_term.to_string(),
            status.counts.transactions.to_string(),
            status.log.position.to_string(),
            status.counts.holes.to_string(),
            status.counts.conflicts.to_string(),
        ]
    };
    let active: Vec<&str> = seen
        .iter()
        .filter_map(|server| server.status.as_ref())
        .filter(|status| status.state == "active")
        .map(|status| status.server.as_str())
        .collect();
    let summary = match active.as_slice() {
        [] => "No server that answers is active. Gateways keep everything; `postern journal info` says \
               there for how long."
            .to_owned(),
        [one] => format!("Server {one} is active."),
        many => format!("Servers {} each believe to be active.", many.join(" and ")),
    };
    let headers =
        ["SERVER", "ADDRESS", "STATE", "ROLE TERM", "TRANSACTIONS", "LOG", "HOLES", "CONFLICTS"];
    output::table(&headers, seen.iter().map(row).collect(), &summary)?;
    if let Some(line) = seen.iter().find_map(Seen::rules) {
        output::say(&line)?;
    }
    for status in seen.iter().filter_map(|server| server.status.as_ref()) {
        for line in standing(status) {
            output::say(&line)?;
        }
    }
    for server in seen {
        if let Some(failure) = &server.failure {
            output::say(&format!("Server {}: {}.", server.name, failure.message))?;
        }
        let peer = server.status.as_ref().and_then(|status| status.peer.as_ref());
        if let Some(peer) = peer
            && let Some(failure) = &peer.failure
        {
            let (name, other, why) = (&server.name, &peer.name, &failure.message);
            output::say(&format!("Server {name} cannot ask server {other}: {why}."))?;
        }
        if let Some(backup) = server.status.as_ref().and_then(|status| status.backup.as_ref()) {
            output::say(&backups(&server.name, backup))?;
        }
    }
    Ok(())
}

/// What a person should know of how the stores stand to each other.
fn standing(status: &Status) -> Vec<String> {
    let mut lines = Vec::new();
    let server = &status.server;
    if let Some(voters) = &status.voters {
        lines.extend(voters.warnings(server));
        if voters.lease == Some(false) {
            lines.push(format!(
                "WARNING: server {server} has no lease: it stores, and nothing more is safe until a majority of \
                 the voters answers it. If they are gone for good: postern-server failover --to {server} --force --dir DIR"
            ));
        }
    } else if status.mode == Mode::Automatic {
        lines.push(format!(
            "WARNING: the role changes by itself, and server {server} knows no witness: it cannot take over, nor \
             keep a lease. Copy the table [witness] of the other server's server.toml into its own, and start it again."
        ));
    }
    if let Some(why) = &status.barred {
        lines.push(format!(
            "WARNING: server {server} would take over, and may not: {why}. If the active server is gone for good, an \
             operator can: postern-server failover --to {server} --force --dir DIR"
        ));
    }
    if let Some(Away { preferred, for_s, alarm, .. }) =
        status.away.as_ref().filter(|_| status.state == "active")
    {
        let warning = if *alarm { "WARNING: " } else { "" };
        lines.push(format!(
            "{warning}Group {} has been away from its preferred server {preferred} for {}.",
            status.group,
            age(*for_s)
        ));
    }
    if status.store_full {
        lines.push(format!(
            "WARNING: server {server} cannot store anything, its disk is full: make room, it goes on by \
             itself. Until then gateways keep everything."
        ));
    }
    if status.state == "active" {
        let names: Vec<&str> = status.in_sync.iter().map(|name| name.server.as_str()).collect();
        lines.push(format!(
            "In sync: {}. A transaction may be forgotten by its gateway once {} of them hold it.",
            names.join(", "),
            status.copies
        ));
        lines.extend(status.outlook.as_ref().map(|outlook| ahead(server, outlook)));
        for follower in &status.followers {
            let behind = status.log.position.saturating_sub(follower.confirmed);
            let (name, ago) = (&follower.name.server, follower.seen_ms_ago);
            lines.push(format!("Server {name} is {behind} changes behind, seen {ago} ms ago."));
        }
    } else if let Some(following) = &status.following {
        let (phase, position, of) = (following.phase.code(), following.position, following.of);
        lines.push(format!("Server {server} is {phase}: {position} of {of} changes."));
        if let Some(failure) = &following.failure {
            lines.push(format!("Server {server} does not follow: {failure}."));
        }
    }
    lines
}

/// How long the site can go on as it stands, and what comes then.
fn ahead(server: &str, outlook: &Outlook) -> String {
    let Outlook { standing, first, lasts_s, then } = outlook;
    let first = match first {
        None => "no gateway has said how full its journal is".to_owned(),
        Some(Filling { gateway, percent, .. }) => {
            let lasts = lasts_s.map_or_else(
                || "for longer than it can say".to_owned(),
                |lasts| format!("for {} at its present pace", age(lasts)),
            );
            format!("gateways keep everything, {gateway} (now {percent} % full) {lasts}")
        }
    };
    let then = match then {
        Then::Alone => format!("at 90 % server {server} goes on alone"),
        Then::Stops => {
            "at 100 % gateways stop reading, and controllers keep their own logs".to_owned()
        }
    };
    match standing {
        Standing::Both => format!(
            "The site can go on like this without end. Should the other server fail now: {first}; \
             {then}."
        ),
        Standing::Alone => format!(
            "Server {server} goes on alone, without end; what it alone holds is lost if it fails."
        ),
        Standing::Kept => format!("Nothing may be forgotten now: {first}; {then}."),
    }
}

/// A duration for people.
fn age(seconds: u64) -> String {
    super::backup::age(i64::try_from(seconds).unwrap_or(i64::MAX / 1_000).saturating_mul(1_000))
}

/// A server's backups in one sentence, with a warning where the last is too old.
fn backups(server: &str, backup: &crate::backup::Status) -> String {
    let mut text = match &backup.last {
        Some(last) => format!(
            "the last backup is {} old ({}, {} transactions)",
            age(last.age_s),
            last.file,
            last.transactions
        ),
        None => "no good backup is known".to_owned(),
    };
    if backup.running {
        text.push_str("; one is being made");
    }
    if let Some(failure) = &backup.failure {
        text.push_str("; the latest attempt failed: ");
        text.push_str(failure);
    }
    if backup.overdue {
        let every = age(backup.every_s);
        return format!("WARNING: server {server} makes a backup every {every}, but {text}.");
    }
    format!("Server {server}: {text}.")
}
