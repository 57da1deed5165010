//! Text for people, made from the same JSON that `--json` prints. Fits 80 columns, needs no colour.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "JSON values of any other kind print as they are"
)]

use std::fmt::Write;

use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use serde_json::Value;

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn table(headers: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headers.iter().copied());
    rows.for_each(|row| {
        table.add_row(row);
    });
    table.lines().fold(String::new(), |out, line| out + line.trim_end() + "\n")
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

pub(super) fn status(status: &Value) -> String {
    let (journal, uplink) = (&status["journal"], &status["uplink"]);
    let mut out = String::new();
    let t = |value: &Value| text(value);
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "gateway   {} (group {}, site {})",
        t(&status["gateway"]),
        t(&status["group"]),
        t(&status["site"])
    );
    let _ = writeln!(
        out,
        "journal   {} entries from {} to {}, safe {}, room for {}",
        t(&journal["entries"]),
        t(&journal["oldest"]),
        t(&journal["head"]),
        t(&journal["safe"]),
        t(&journal["capacity_entries"])
    );
    let _ = writeln!(
        out,
        "uplink    {}, active {} (role term {}), backlog {}",
        t(&uplink["state"]),
        t(&uplink["active"]),
        t(&uplink["role_term"]),
        t(&uplink["backlog"])
    );
    let rows = list(&uplink["servers"]).map(|server| {
        ["name", "address", "link", "message"].map(|key| text(&server[key])).to_vec()
    });
    let _ = write!(out, "\n{}", table(&["SERVER", "ADDRESS", "LINK", "WHY"], rows));
    let problems = list(&status["health"]).count();
    for problem in list(&status["health"]) {
        let about = match &problem["subject"] {
            Value::Null => String::new(),
            subject => format!(" {}", text(subject)),
        };
        let (severity, code) = (text(&problem["severity"]), text(&problem["code"]));
        let (since, what) = (text(&problem["since"]), text(&problem["message"]));
        let _ = write!(out, "\n{severity:<8}  {code}{about}, since {since}\n          {what}\n");
    }
    let _ = match problems {
        0 => writeln!(out, "\nhealth    no problems"),
        1 => writeln!(out, "\nhealth    1 problem; the code is its heading in docs/runbook.md"),
        n => writeln!(out, "\nhealth    {n} problems; each code is a heading in docs/runbook.md"),
    };
    out
}

pub(super) fn controllers(value: &Value) -> String {
    let mut count = 0;
    let mut offline = 0;
    let rows = list(&value["controllers"]).map(|controller| {
        count += 1;
        offline += usize::from(controller["state"] == "offline");
        let line = &controller["line"];
        let sum = |keys: &[&str]| -> u64 { keys.iter().filter_map(|key| line[key].as_u64()).sum() };
        vec![
            text(&controller["controller"]),
            text(&controller["address"]),
            text(&controller["transport"]),
            text(&controller["state"]),
            text(&controller["cursor"]),
            text(&controller["gaps"]),
            line["timeouts"].to_string(),
            sum(&["bad_length", "bad_start", "bad_field", "foreign", "unexpected"]).to_string(),
        ]
    });
    let headers =
        ["CONTROLLER", "ADDRESS", "OVER", "STATE", "CURSOR", "GAPS", "TIMEOUTS", "REFUSED"];
    let mut out = table(&headers, rows);
    let _ = writeln!(out, "\n{count} controllers, {offline} offline");
    out
}

/// One transaction in one line.
pub(super) fn entry(entry: &Value) -> String {
    let kind = match &entry["kind"] {
        Value::Object(kind) => kind
            .iter()
            .map(|(name, what)| format!("{name} {}", text(what)))
            .collect::<Vec<_>>()
            .join(" "),
        other => text(other),
    };
    let optional = |key: &str, label: &str| match &entry[key] {
        Value::Null => String::new(),
        value => format!("  {label} {}", text(value)),
    };
    format!(
        "{:>8}  {:<24}  {:<20}  {kind}{}{}{}",
        text(&entry["seq"]),
        text(&entry["occurred"]),
        text(&entry["controller"]),
        optional("door", "door"),
        optional("direction", "going"),
        optional("credential", "card"),
    )
}

pub(super) fn config(report: &Value) -> String {
    format!(
        "configuration is good: gateway {} of group {}, site {}; {} controllers, {} servers\n",
        text(&report["gateway"]),
        text(&report["group"]),
        text(&report["site"]),
        text(&report["controllers"]),
        list(&report["servers"]).count(),
    )
}
