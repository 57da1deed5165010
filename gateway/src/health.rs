//! Health: a closed list of problems. A code is the same word in `postern status`, in the log, and as
//! a heading of `docs/runbook.md`.

use std::collections::BTreeMap;
use std::time::Duration;

use postern_protocol::{ControllerId, Timestamp};
use serde::Serialize;
use tokio::time::Instant;

use crate::board::{Board, BusPlace, ControllerLine, Security};
use crate::clock;
use crate::collector::{ClockReport, ClockState, Stage};
use crate::driver::DriverError;
use crate::journal::{FILLING_PERCENT, Full, JournalState};

mod line;

use line::{Counted, LineNoise};

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// A write or sync failed: nothing is acknowledged any more.
    JournalDead,
    /// Everything held is unsafe and there is no more room: controllers are not read.
    JournalFull,
    /// 80 % of the room is taken by entries that are not safe.
    JournalFilling,
    /// The journal's file was damaged: it was set aside, and what could be read goes on in a new one.
    JournalSalvaged,
    /// The file system has no room for the journal: controllers are not read.
    DiskFull,
    /// No server is known to be active.
    NoActiveServer,
    /// The active server cannot be reached.
    ActiveUnreachable,
    /// A server that is not active cannot be reached.
    ServerUnreachable,
    /// A server refuses this gateway.
    ServerRefuses,
    /// A controller does not answer.
    ControllerOffline,
    /// A controller is not read because the journal is full.
    ControllerPaused,
    /// A controller's answers are refused: garbage, foreign serial numbers, contradictions.
    ControllerGarbage,
    /// A controller's answers contradict each other, and so nothing is concluded from them.
    ControllerDisputed,
    /// Another controller answers at a controller's address.
    ControllerWrongSerial,
    /// A controller's answers come from another address.
    ControllerElsewhere,
    /// Events with a controller's number come from another address as well.
    ControllerDuplicate,
    /// A controller is talked to without a key, as it is configured.
    ControllerPlaintext,
    /// There is no key for a controller, or it does not accept ours.
    ControllerKey,
    /// On a bus many frames are broken or have to be repeated.
    LineNoisy,
    /// A controller runs a firmware that this version was never tried with.
    ControllerFirmwareUnknown,
    /// A Modbus device refuses what its profile asks for, or shows that the profile is wrong.
    ControllerProfile,
    /// A controller's clock is off.
    ControllerClockOff,
    /// A controller's clock is off by more than an hour, or was never set: an operator has to look.
    ControllerClockStep,
    /// A controller's clock would be set, but nothing says that the gateway's own is right.
    GatewayClockUnproven,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Somebody should look during the day.
    Warning,
    /// Somebody should look now.
    Alarm,
}

impl Code {
    /// The word for it: in JSON, in the log, and as a heading of the runbook.
    pub fn name(self) -> &'static str {
        match self {
            Self::JournalDead => "journal_dead",
            Self::JournalFull => "journal_full",
            Self::JournalFilling => "journal_filling",
            Self::JournalSalvaged => "journal_salvaged",
            Self::DiskFull => "disk_full",
            Self::NoActiveServer => "no_active_server",
            Self::ActiveUnreachable => "active_unreachable",
            Self::ServerUnreachable => "server_unreachable",
            Self::ServerRefuses => "server_refuses",
            Self::ControllerOffline => "controller_offline",
            Self::ControllerPaused => "controller_paused",
            Self::ControllerGarbage => "controller_garbage",
            Self::ControllerDisputed => "controller_disputed",
            Self::ControllerWrongSerial => "controller_wrong_serial",
            Self::ControllerElsewhere => "controller_elsewhere",
            Self::ControllerDuplicate => "controller_duplicate",
            Self::ControllerPlaintext => "controller_plaintext",
            Self::ControllerKey => "controller_key",
            Self::LineNoisy => "line_noisy",
            Self::ControllerFirmwareUnknown => "controller_firmware_unknown",
            Self::ControllerProfile => "controller_profile",
            Self::ControllerClockOff => "controller_clock_off",
            Self::ControllerClockStep => "controller_clock_step",
            Self::GatewayClockUnproven => "gateway_clock_unproven",
        }
    }

    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::JournalDead,
        Self::JournalFull,
        Self::JournalFilling,
        Self::JournalSalvaged,
        Self::DiskFull,
        Self::NoActiveServer,
        Self::ActiveUnreachable,
        Self::ServerUnreachable,
        Self::ServerRefuses,
        Self::ControllerOffline,
        Self::ControllerPaused,
        Self::ControllerGarbage,
        Self::ControllerDisputed,
        Self::ControllerWrongSerial,
        Self::ControllerElsewhere,
        Self::ControllerDuplicate,
        Self::ControllerPlaintext,
        Self::ControllerKey,
        Self::LineNoisy,
        Self::ControllerFirmwareUnknown,
        Self::ControllerProfile,
        Self::ControllerClockOff,
        Self::ControllerClockStep,
        Self::GatewayClockUnproven,
    ];

    /// How bad.
    pub fn severity(self) -> Severity {
        match self {
            Self::JournalDead
            | Self::JournalFull
            | Self::JournalSalvaged
            | Self::DiskFull
            | Self::ServerRefuses
            | Self::ControllerDuplicate
            | Self::ControllerKey
            | Self::ControllerClockStep => Severity::Alarm,
            Self::JournalFilling
            | Self::NoActiveServer
            | Self::ActiveUnreachable
            | Self::ServerUnreachable
            | Self::ControllerOffline
            | Self::ControllerPaused
            | Self::ControllerGarbage
            | Self::ControllerDisputed
            | Self::ControllerWrongSerial
            | Self::ControllerElsewhere
            | Self::ControllerPlaintext
            | Self::LineNoisy
            | Self::ControllerFirmwareUnknown
            | Self::ControllerProfile
            | Self::ControllerClockOff
            | Self::GatewayClockUnproven => Severity::Warning,
        }
    }
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What.
    pub code: Code,
    /// How bad.
    pub severity: Severity,
    /// About which server or controller.
    pub subject: Option<String>,
    /// Since when, RFC 3339 UTC.
    pub since: String,
    /// For people.
    pub message: String,
}

/// For so long an event that came from elsewhere is a problem; a second board pushes more often.
const STRAYED_FOR: Duration = Duration::from_mins(10);

/// For people: the unit of `capacity_mb`.
const MB: u64 = 1024 * 1024;

type Key = (Code, Option<String>);

/// For so long a refused frame or a contradiction is a problem: one after a disturbance is none for ever.
const NOISY_FOR: Duration = Duration::from_mins(10);

/// Finds problems now, and remembers since when each is there.
#[derive(Default)]
pub struct Tracker {
    since: BTreeMap<Key, Timestamp>,
    noise: Noise,
    lines: LineNoise,
}

/// How often each controller's answers were refused, and when that last changed.
#[derive(Default)]
struct Noise(BTreeMap<ControllerId, (u64, Instant)>);

impl Noise {
    /// Whether its answers were refused so often, the last time not long ago.
    fn is_recent(&mut self, controller: ControllerId, refused: u64, now: Instant) -> bool {
        let (known, at) = self.0.entry(controller).or_insert((0, now));
        if *known != refused {
            (*known, *at) = (refused, now);
        }
        refused > 0 && now < *at + NOISY_FOR
    }
}

impl Tracker {
    /// Every problem there is. What came and what went is logged once.
    pub fn check(&mut self, board: &Board, journal: &JournalState) -> Vec<Problem> {
        let mut found = find(board, journal, &mut self.noise);
        for bus in board.buses() {
            let counted = Counted::of(&bus.stats.look());
            if let Some(message) = self.lines.note(&bus.name, counted, Instant::now()) {
                let message = format!("{} over {}: {message}", bus.address, bus.transport);
                found.insert((Code::LineNoisy, Some(bus.name)), message);
            }
        }
        let now = clock::utc();
        self.since.retain(|key, _| {
            let stays = found.contains_key(key);
            if !stays {
                tracing::info!(code = key.0.name(), subject = key.1, "problem is gone");
            }
            stays
        });
        let since = &mut self.since;
        let problem = |(key, message): (Key, String)| {
            let since = *since.entry(key.clone()).or_insert_with(|| {
                tracing::warn!(code = key.0.name(), subject = key.1, "{message}");
                now
            });
            let (code, subject) = key;
            Problem { code, severity: code.severity(), subject, since: clock::text(since), message }
        };
        found.into_iter().map(problem).collect()
    }
}

fn find(board: &Board, journal: &JournalState, noise: &mut Noise) -> BTreeMap<Key, String> {
    let mut found = BTreeMap::new();
    if let Some(reason) = &journal.dead {
        found.insert((Code::JournalDead, None), format!("the journal stopped: {reason}"));
    }
    let (taken, limit) = (journal.ring.unsafe_part(), journal.ring.capacity);
    let share = format!(
        "{} of {} entries and {} of {} MB are not safe on a server",
        taken.entries,
        limit.entries,
        taken.bytes / MB,
        limit.bytes / MB
    );
    match journal.ring.full {
        Some(Full::Disk) => {
            let message = "the file system below the journal has less than 8 MB free; controllers are not read";
            found.insert((Code::DiskFull, None), message.to_owned());
        }
        Some(Full::Entries | Full::Bytes) => {
            let message = format!("{share}; controllers are not read");
            found.insert((Code::JournalFull, None), message);
        }
        None if journal.ring.percent() >= FILLING_PERCENT => {
            found.insert((Code::JournalFilling, None), share);
        }
        None => {}
    }
    if let Some(salvaged) = board.salvaged() {
        let mut message = format!(
            "a damaged journal was set aside as {}: {} entries salvaged, {} missing that were not safe",
            salvaged.aside.display(),
            salvaged.entries + salvaged.held,
            salvaged.missing
        );
        if journal.held > 0 {
            let waiting = format!("; {} wait until their controller was read again", journal.held);
            message.push_str(&waiting);
        }
        found.insert((Code::JournalSalvaged, None), message);
    }
    let active = board.uplink().active;
    if active.is_none() {
        found.insert((Code::NoActiveServer, None), "no server said who is active".to_owned());
    }
    for server in board.servers() {
        let code = match (server.link, &active) {
            ("ok" | "unknown", _) => continue,
            ("refused", _) => Code::ServerRefuses,
            (_, Some(active)) if *active == server.name => Code::ActiveUnreachable,
            _ => Code::ServerUnreachable,
        };
        let message = format!("{}: {}", server.address, server.message.unwrap_or_default());
        found.insert((code, Some(server.name)), message);
    }
    for (controller, line) in board.controllers() {
        let subject = Some(controller.to_string());
        for (code, message) in of_controller(controller, &line) {
            found.insert((code, subject.clone()), message);
        }
        let contradictions = line.report.contradictions;
        let refused = line.counters.refused();
        if noise.is_recent(controller, refused + contradictions, Instant::now()) {
            let message = format!(
                "{refused} frames refused, {contradictions} contradictions since the start, the last within {} min",
                NOISY_FOR.as_secs() / 60
            );
            found.insert((Code::ControllerGarbage, subject), message);
        }
    }
    found
}

/// The problems of one controller.
fn of_controller(controller: ControllerId, line: &ControllerLine) -> Vec<(Code, String)> {
    let mut found: Vec<_> = of_security(controller, line).into_iter().collect();
    if let Some((from, at)) = line.strayed.filter(|(_, at)| at.elapsed() < STRAYED_FOR) {
        let message = format!(
            "events with its number came from {from} {} s ago, and it is configured at {}: it moved, or two \
             controllers have one number",
            at.elapsed().as_secs(),
            line.address
        );
        found.push((Code::ControllerDuplicate, message));
    }
    let report = &line.report;
    let over = whereabouts(line);
    let wants_key =
        line.security == Security::NoKey || report.failure == Some(DriverError::WrongKey);
    if report.stage == Stage::Offline && !wants_key {
        let (code, why) = match report.failure {
            Some(failure @ DriverError::OtherController { .. }) => {
                let what = "correct the serial number or the address in the configuration";
                (Code::ControllerWrongSerial, format!("{failure}; {what}"))
            }
            Some(failure @ DriverError::Elsewhere { .. }) => {
                let what = "correct the address in the configuration, or the network between";
                (Code::ControllerElsewhere, format!("{failure}; {what}"))
            }
            Some(failure @ (DriverError::Exception { code: 1..=3 } | DriverError::Latch)) => {
                let what = "`postern profile show` reads it once, and says what it refuses";
                (Code::ControllerProfile, format!("{failure}; {what}"))
            }
            Some(failure) => (Code::ControllerOffline, failure.to_string()),
            None => (Code::ControllerOffline, "it has not answered yet".to_owned()),
        };
        found.push((code, format!("{over}: {why}")));
    }
    if report.stage == Stage::Paused {
        found.push((Code::ControllerPaused, "not read until the journal has room".to_owned()));
    }
    if report.stage == Stage::Disputed {
        let message = format!(
            "{over}: its answers contradict each other, so nothing is read into them; it is asked again"
        );
        found.push((Code::ControllerDisputed, message));
    }
    if let Some(identity) = report.identity.as_ref().filter(|identity| !identity.is_known) {
        let message = format!(
            "firmware {} of {} was never tried with this version; it is read all the same: compare a few of its \
             events with what the door saw (`postern tail`), and report what differs",
            identity.firmware, identity.model
        );
        found.push((Code::ControllerFirmwareUnknown, message));
    }
    found.extend(report.clock.and_then(|clock| of_clock(controller, clock)));
    found
}

/// Where a controller is, for people.
fn whereabouts(line: &ControllerLine) -> String {
    let ControllerLine { address, transport, .. } = line;
    match &line.place {
        Some(BusPlace { bus, station }) => {
            format!("station {station} of bus {bus}, {address} over {transport}")
        }
        None => format!("{address} over {transport}"),
    }
}

/// Whether the line to a controller is kept from others.
fn of_security(controller: ControllerId, line: &ControllerLine) -> Option<(Code, String)> {
    let place = whereabouts(line);
    match (line.security, line.report.failure) {
        (Security::NoKey, _) => {
            let message = format!(
                "{place}: there is no key for it, so it is not read; `postern controllers enrol {controller}` makes \
                 one, which takes effect at the gateway's next start"
            );
            Some((Code::ControllerKey, message))
        }
        (_, Some(failure @ DriverError::WrongKey)) => {
            let message = format!(
                "{place}: {failure}, so it is not read: it has another key, or it is another controller; \
                 `postern controllers keys` shows the fingerprint of ours"
            );
            Some((Code::ControllerKey, message))
        }
        (Security::Plaintext, _) => {
            let message = format!(
                "{place}: it is talked to without a key, so whoever is on the line reads everything and can pass \
                 for it; `postern controllers enrol {controller}`, then take `plaintext` out of the configuration"
            );
            Some((Code::ControllerPlaintext, message))
        }
        (Security::Board | Security::Sealed, _) => None,
    }
}

fn of_clock(controller: ControllerId, clock: ClockReport) -> Option<(Code, String)> {
    let off = match clock.skew_s {
        Some(skew) if skew < 0 => format!("its clock is {} s slow", -skew),
        Some(skew) => format!("its clock is {skew} s fast"),
        None => "its clock was never set".to_owned(),
    };
    let set = format!("postern controllers clock {controller} --set");
    match clock.state {
        ClockState::Right | ClockState::ToBeSet => None,
        ClockState::Off => Some((Code::ControllerClockOff, format!("{off}; set it with `{set}`"))),
        ClockState::NeedsOperator => Some((
            Code::ControllerClockStep,
            format!(
                "{off}; doors open and lock by it, so it is an operator's to set: `{set} --any-step`"
            ),
        )),
        ClockState::GatewayUnproven => Some((
            Code::GatewayClockUnproven,
            format!(
                "{off}; it is not set, since nothing says that this gateway's own clock is right"
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::driver::Doorbell;

    #[test]
    fn one_refused_frame_is_no_problem_for_ever() {
        let (mut noise, id, now) = (Noise::default(), ControllerId::uhppote(7), Instant::now());
        assert!(!noise.is_recent(id, 0, now));
        assert!(noise.is_recent(id, 1, now));
        assert!(noise.is_recent(id, 1, now + NOISY_FOR / 2));
        assert!(!noise.is_recent(id, 1, now + NOISY_FOR));
        assert!(noise.is_recent(id, 2, now + NOISY_FOR), "once more");
        assert!(!noise.is_recent(ControllerId::uhppote(8), 0, now), "another one");
    }

    fn station(security: Security, failure: Option<DriverError>) -> ControllerLine {
        let mut report = crate::collector::Report::starting(None);
        report.stage = if failure.is_some() { Stage::Offline } else { Stage::Online };
        report.failure = failure;
        ControllerLine {
            address: "/dev/ttyUSB0".to_owned(),
            transport: "serial",
            zone: "UTC".to_owned(),
            place: Some(BusPlace { bus: "hall".to_owned(), station: 4 }),
            security,
            report,
            counters: crate::driver::LineCounters::default(),
            doorbell: Arc::new(Doorbell::of(&Arc::default())),
            strayed: None,
        }
    }

    #[test]
    fn a_missing_key_a_wrong_one_and_none_at_all_are_three_things() {
        use DriverError::{TimedOut, WrongKey};
        let id = ControllerId::link(70_001);
        for (security, failure, wanted, words) in [
            (Security::Sealed, None, None, ""),
            (Security::Board, None, None, ""),
            (Security::Sealed, Some(TimedOut), Some(Code::ControllerOffline), "no answer"),
            (Security::Sealed, Some(WrongKey), Some(Code::ControllerKey), "controllers keys"),
            (Security::NoKey, Some(WrongKey), Some(Code::ControllerKey), "enrol link-70001"),
            (Security::NoKey, None, Some(Code::ControllerKey), "next start"),
            (Security::Plaintext, None, Some(Code::ControllerPlaintext), "enrol link-70001"),
        ] {
            let found = of_controller(id, &station(security, failure));
            let codes: Vec<Code> = found.iter().map(|(code, _)| *code).collect();
            assert_eq!(codes, wanted.into_iter().collect::<Vec<_>>(), "{security:?} {failure:?}");
            for (_, message) in found {
                assert!(
                    message.contains("station 4 of bus hall") && message.contains(words),
                    "{message}"
                );
            }
        }
        // A dead line is said beside it.
        let found = of_controller(id, &station(Security::Plaintext, Some(TimedOut)));
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(Code::ControllerPlaintext.severity(), Severity::Warning);
        assert_eq!(Code::ControllerKey.severity(), Severity::Alarm);
    }

    #[test]
    fn every_code_has_its_page_and_one_spelling() {
        let runbook = include_str!("../../docs/runbook.md");
        for code in Code::ALL {
            let heading = format!("\n## {}\n", code.name());
            assert!(runbook.contains(&heading), "{} has no page", code.name());
            assert_eq!(serde_json::to_value(code).unwrap(), code.name());
        }
        let pages = runbook.matches("\n## ").count();
        assert_eq!(pages, Code::ALL.len(), "a page without a code");
    }
}
