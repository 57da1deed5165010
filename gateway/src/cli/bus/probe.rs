//! `postern bus probe`: who answers at which address of a line, beside what the configuration says of it.

use std::fmt::Write;
use std::io::IsTerminal;
use std::ops::RangeInclusive;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use postern_protocol::ControllerId;
use postern_protocol::link::{MAX_ADDRESS, version};
use serde_json::{Value, json};

use super::super::{Common, Failure, print, show};
use super::line::{self, Direct};
use super::{find, outline};
use crate::config::{Bus, REPLY_MS, REPLY_SERIAL_DEFAULT_MS, REPLY_TCP_DEFAULT_MS, Station};
use crate::driver::line::LineSettings;
use crate::driver::link::probe::{Answer, Outcome, probe};
use crate::exit;

#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// The bus of the configuration, with which the answers are compared.
    #[arg(required_unless_present_any = ["serial", "tcp"])]
    bus: Option<String>,
    #[command(flatten)]
    direct: Direct,
    /// Which addresses to ask.
    #[arg(long, value_name = "FIRST-LAST", default_value = "1-126", value_parser = addresses)]
    addresses: Addresses,
    /// How long an answer may take to begin, in milliseconds [default: as the configuration says, else 20,
    /// over TCP 250].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(REPLY_MS))]
    reply_ms: Option<u64>,
}

#[derive(Clone)]
struct Addresses(RangeInclusive<u8>);

/// `1-126`, or one.
fn addresses(text: &str) -> Result<Addresses, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.trim().parse::<u8>(), last.trim().parse::<u8>()) {
        (Ok(first @ 1..), Ok(last @ ..=MAX_ADDRESS)) if first <= last => {
            Ok(Addresses(first..=last))
        }
        _ => Err(format!("write FIRST-LAST, such as 1-32; addresses are 1 to {MAX_ADDRESS}")),
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = &arguments.common.config;
    let read = outline(config);
    let (outline, bus, line) = if let Some(line) = arguments.direct.settings() {
        // The configuration is not needed, only looked at for who else may be on the line.
        (read.ok(), None, line)
    } else {
        let outline = read?;
        let bus = find(&outline, arguments.bus.as_deref().unwrap_or_default(), config)?.clone();
        let line = bus.line.clone();
        (Some(outline), Some(bus), line)
    };
    if let Some(outline) = &outline {
        line::refuse_taken(outline, &line)?;
    }
    let usual = match (&bus, &line) {
        (Some(bus), _) => bus.reply,
        (None, LineSettings::Serial { .. }) => Duration::from_millis(REPLY_SERIAL_DEFAULT_MS),
        (None, LineSettings::Tcp { .. }) => Duration::from_millis(REPLY_TCP_DEFAULT_MS),
    };
    let reply = arguments.reply_ms.map_or(usual, Duration::from_millis);
    let Addresses(range) = &arguments.addresses;
    let bar = progress(u64::try_from(range.len()).unwrap_or(0));
    let mut found = Vec::new();
    let asking = probe(&line, range.clone(), reply, |address, outcome| {
        bar.inc(1);
        found.push((address, outcome));
    });
    let result = super::runtime()?.block_on(asking);
    bar.finish_and_clear();
    result.map_err(|error| line::failed(&line, &error))?;
    let report = report(bus.as_ref(), &line, reply, &found);
    print(arguments.common.json, &report, text)?;
    verdict(&report)
}

/// On a terminal's stderr; nothing on a pipe.
fn progress(length: u64) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {eta}") {
        // Plain characters: a serial console has no others.
        bar.set_style(style.progress_chars("#>-"));
    }
    bar
}

/// The exit code: 15 where nobody answers, 16 where something is not as it is configured.
fn verdict(report: &Value) -> Result<(), Failure> {
    if report["answered"] == 0 {
        return Err(Failure {
            code: exit::CONTROLLER,
            message: format!(
                "nobody answers on {}\nhint: look at power, at the two wires (swapped?), at the termination, and at baud and parity; --reply-ms for controllers that are slow",
                show::text(&report["address"])
            ),
        });
    }
    let differ = report["differences"].as_u64().unwrap_or(0);
    if differ == 0 {
        return Ok(());
    }
    let addresses = if differ == 1 { "address is" } else { "addresses are" };
    Err(Failure {
        code: exit::DIFFERENT,
        message: format!(
            "{differ} {addresses} not as configured\nhint: the sentences below the table say what is there; correct the configuration or the controller"
        ),
    })
}

/// How an address is, beside what should be there.
fn judge(outcome: &Outcome, wanted: Option<&Station>, bus: Option<&Bus>) -> (&'static str, String) {
    let said = |answer: &Answer| ControllerId::link(answer.present.serial).to_string();
    let answer = match outcome.answers.as_slice() {
        [] if outcome.is_broken => {
            return (
                "broken",
                "what answers is broken each time: noise, another baud or parity, or two controllers with this address".to_owned(),
            );
        }
        [] => {
            let who = wanted.map(|station| station.controller().to_string()).unwrap_or_default();
            return ("missing", format!("{who} is configured, and nobody answers"));
        }
        [answer] => answer,
        [first, others @ ..] => {
            let is_one = others.iter().all(|other| other.present.serial == first.present.serial);
            let who: Vec<String> = outcome.answers.iter().map(said).collect();
            let what = if is_one {
                format!("{} answers {} times: an echo on the line?", said(first), who.len())
            } else {
                format!("{} have the same address", who.join(" and "))
            };
            return ("doubled", what);
        }
    };
    let present = answer.present;
    if present.min > version::CURRENT || present.max < version::MIN {
        let (min, max) = (present.min, present.max);
        let what = format!(
            "{} speaks versions {min} to {max} of the protocol, and none of ours",
            said(answer)
        );
        return ("other version", what);
    }
    let Some(bus) = bus else { return ("present", String::new()) };
    let Some(wanted) = wanted else {
        let mut stations = bus.stations.iter();
        let elsewhere = stations.find(|station| station.serial == present.serial);
        let what = match elsewhere {
            Some(station) => {
                format!("{} is configured at address {}", said(answer), station.address)
            }
            None => format!("{} is not configured on this bus", said(answer)),
        };
        return ("unexpected", what);
    };
    if wanted.serial != present.serial {
        let what = format!("{} is configured, and {} answers", wanted.controller(), said(answer));
        return ("other serial", what);
    }
    match (wanted.plaintext, present.is_keyed) {
        (true, true) => {
            ("has a key", format!("{} is configured with `plaintext`, and has a key", said(answer)))
        }
        (false, false) => (
            "has no key",
            format!("{} has no key; `postern controllers enrol` makes one", said(answer)),
        ),
        (true, false) | (false, true) => ("as configured", String::new()),
    }
}

fn report(
    bus: Option<&Bus>,
    line: &LineSettings,
    reply: Duration,
    found: &[(u8, Outcome)],
) -> Value {
    let (mut answered, mut differences) = (0, 0);
    let mut stations = Vec::new();
    for (address, outcome) in found {
        let wanted = bus.and_then(|bus| bus.stations.iter().find(|each| each.address == *address));
        if *outcome == Outcome::default() && wanted.is_none() {
            continue;
        }
        answered += usize::from(!outcome.answers.is_empty());
        let (verdict, what) = judge(outcome, wanted, bus);
        differences += usize::from(bus.is_some() && verdict != "as configured");
        let row = |answer: Option<&Answer>| {
            let present = answer.map(|answer| answer.present);
            json!({
                "station": address,
                "controller": present.map(|present| ControllerId::link(present.serial)),
                "serial": present.map(|present| present.serial),
                "version_min": present.map(|present| present.min),
                "version_max": present.map(|present| present.max),
                "frame_bytes": present.map(|present| present.wire),
                "keyed": present.map(|present| present.is_keyed),
                "answer_ms": answer.map(|answer| answer.after.as_secs_f64() * 1_000.0),
                "configured": wanted.map(Station::controller),
                "verdict": verdict.replace(' ', "_"),
                "what": what,
            })
        };
        if outcome.answers.is_empty() {
            stations.push(row(None));
        }
        stations.extend(outcome.answers.iter().map(|answer| row(Some(answer))));
    }
    json!({
        "schema": "postern.bus.probe.v1",
        "bus": bus.map(|bus| &bus.name),
        "transport": line.transport(),
        "address": line.to_string(),
        "reply_ms": u64::try_from(reply.as_millis()).unwrap_or(u64::MAX),
        "first": found.first().map(|(address, _)| address),
        "last": found.last().map(|(address, _)| address),
        "asked": found.len(),
        "answered": answered,
        "differences": differences,
        "stations": stations,
    })
}

fn text(report: &Value) -> String {
    let t = |key: &str| show::text(&report[key]);
    let list = || show::list(&report["stations"]);
    let rows = list().map(|row| {
        let versions = match (&row["version_min"], &row["version_max"]) {
            (min, max) if min == max => show::text(min),
            (min, max) => format!("{min}-{max}"),
        };
        let key = row["keyed"].as_bool().map_or("-", |keyed| if keyed { "yes" } else { "no" });
        let after = row["answer_ms"].as_f64();
        vec![
            show::text(&row["station"]),
            show::text(&row["controller"]),
            versions,
            show::text(&row["frame_bytes"]),
            key.to_owned(),
            after.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms")),
            show::text(&row["verdict"]).replace('_', " "),
        ]
    });
    let headers = ["ADDR", "CONTROLLER", "VERSION", "FRAMES", "KEY", "ANSWER", "VERDICT"];
    let mut out = show::table(&headers, rows);
    // Writing to a string cannot fail.
    let (mut before, mut is_first) = (None, true);
    for row in list().filter(|row| row["what"] != "") {
        // Two at one address have one sentence.
        if before.replace(&row["station"]) != Some(&row["station"]) {
            let sentence = format!("address {}: {}", row["station"], show::text(&row["what"]));
            let gap = if is_first { "\n" } else { "" };
            let _ = write!(out, "{gap}{}", wrapped(&sentence));
            is_first = false;
        }
    }
    let _ = write!(
        out,
        "\naddresses {}-{} of {}: {} asked, {} answered",
        t("first"),
        t("last"),
        t("address"),
        t("asked"),
        t("answered")
    );
    if !report["bus"].is_null() {
        let _ = write!(out, ", {} not as configured", t("differences"));
    }
    out.push('\n');
    out
}

/// A sentence on as many lines as it needs.
fn wrapped(sentence: &str) -> String {
    const COLUMNS: usize = 80;
    let (mut out, mut used) = (String::new(), 0);
    for word in sentence.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > COLUMNS {
            out.push_str("\n ");
            used = 1;
        }
        if used > 0 {
            out.push(' ');
            used += 1;
        }
        out.push_str(word);
        used += length;
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests;
