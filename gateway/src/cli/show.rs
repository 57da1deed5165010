//! Text for people, made from the same JSON that `--json` prints. Fits 80 columns, needs no colour.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "JSON values of any other kind print as they are"
)]

use std::fmt::Write;

use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use serde_json::Value;

pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

pub(super) fn table(headers: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headers.iter().copied());
    rows.for_each(|row| {
        table.add_row(row);
    });
    table.lines().fold(String::new(), |out, line| out + line.trim_end() + "\n")
}

pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

/// So many of them: `1 board`, `2 boards`.
pub(super) fn count(number: usize, what: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {what}{s}")
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
    let _ = writeln!(out, "clock     {}", clock(&status["clock"]));
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

/// Whether the gateway's own clock is known to be right.
fn clock(clock: &Value) -> String {
    match (clock["known"].as_str(), clock["server"].as_str()) {
        (Some("kernel"), _) => "right, the kernel keeps it synchronised".to_owned(),
        (_, Some(server)) => {
            let offset = text(&clock["server_offsets_ms"][server]);
            format!("right, server {server} agrees ({offset} ms)")
        }
        _ => format!("not known to be right: {}", text(&clock["why"])),
    }
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
            match controller["bus"].as_str() {
                // All of a bus have one address.
                Some(bus) => format!("{bus}/{}", text(&controller["station"])),
                None => text(&controller["address"]),
            },
            text(&controller["transport"]),
            text(&controller["state"]),
            text(&controller["cursor"]),
            text(&controller["gaps"]),
            line["timeouts"].to_string(),
            sum(&["bad_length", "bad_start", "bad_field", "foreign", "unexpected", "nonsense"])
                .to_string(),
        ]
    });
    let headers =
        ["CONTROLLER", "ADDRESS", "OVER", "STATE", "CURSOR", "GAPS", "TIMEOUTS", "REFUSED"];
    let mut out = table(&headers, rows);
    let _ = writeln!(out, "\n{}, {offline} offline", self::count(count, "controller"));
    out
}

/// One transaction in one line.
pub(super) fn entry(entry: &Value) -> String {
    let kind = kind(&entry["kind"]);
    let optional = |key: &str, label: &str| match &entry[key] {
        Value::Null => String::new(),
        value => format!("  {label} {}", text(value)),
    };
    // How far a time is off that the gateway gave, and not the controller.
    let seen = match entry["time_trust"].as_str() {
        Some("before") => "  seen at the first look".to_owned(),
        Some(trust) => {
            match trust.strip_prefix("within_").and_then(|rest| rest.strip_suffix("_ms")) {
                Some(ms) => format!("  or up to {ms} ms before"),
                None => String::new(),
            }
        }
        None => String::new(),
    };
    format!(
        "{:>8}  {:<24}  {:<20}  {kind}{}{}{}{seen}",
        text(&entry["seq"]),
        text(&entry["occurred"]),
        text(&entry["controller"]),
        optional("door", "door"),
        optional("direction", "going"),
        optional("credential", "card"),
    )
}

/// What a transaction was, in words.
pub(super) fn kind(kind: &Value) -> String {
    match kind {
        Value::Object(kind) if kind.contains_key("card_read") => {
            let again = kind["card_read"]["may_repeat"] == true;
            let again = if again { " (or the one before it once more)" } else { "" };
            format!("card_read{again}")
        }
        Value::Object(kind) => kind
            .iter()
            .map(|(name, what)| format!("{name} {}", text(what)))
            .collect::<Vec<_>>()
            .join(" "),
        other => text(other),
    }
}

/// What became of sections for the configuration: written, shown, or only possible.
pub(super) fn appended(report: &Value) -> String {
    if report["written"] == true {
        return "appended to the configuration; restart the gateway to read it\n".to_owned();
    }
    match report["text"].as_str() {
        Some("") => "there is nothing to append\n".to_owned(),
        Some(text) => format!("would be appended; nothing was written:\n{text}"),
        None => String::new(),
    }
}

pub(super) fn config(report: &Value) -> String {
    let number = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    format!(
        "configuration is good: gateway {} of group {}, site {}; {}, {}\n",
        text(&report["gateway"]),
        text(&report["group"]),
        text(&report["site"]),
        count(number(&report["controllers"]), "controller"),
        count(list(&report["servers"]).count(), "server"),
    )
}

/// A number as people read it: two digits behind the point below ten.
pub(super) fn number(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if number >= 10.0 => format!("{number:.0}"),
        Some(number) => format!("{number:.2}"),
        None => "-".to_owned(),
    }
}

fn mb(value: &Value) -> String {
    const MB: f64 = 1_048_576.0;
    match value.as_f64() {
        Some(bytes) if bytes >= MB => format!("{:.1} MB", bytes / MB),
        Some(bytes) => format!("{:.1} kB", bytes / 1_024.0),
        None => "-".to_owned(),
    }
}

pub(super) fn journal(info: &Value) -> String {
    let mut out = String::new();
    let mut line = |name: &str, what: String| {
        let _ = writeln!(out, "{name:<10}{what}");
    };
    let t = |key: &str| text(&info[key]);
    let running = if info["running"] == true { "running" } else { "not asked; read from the file" };
    line("journal", format!("{}, format {}", t("journal"), t("format")));
    line("gateway", format!("{}, {running}", t("gateway")));
    line("file", format!("{}, {}", t("path"), mb(&info["file_bytes"])));
    line(
        "entries",
        format!("{} from {} to {}, {}", t("entries"), t("oldest"), t("head"), mb(&info["bytes"])),
    );
    line("received", format!("{} to {}", t("oldest_received"), t("newest_received")));
    line(
        "unsafe",
        format!(
            "{} entries behind safe {}, {}",
            t("unsafe_entries"),
            t("safe"),
            mb(&info["unsafe_bytes"])
        ),
    );
    if !info["capacity_entries"].is_null() {
        line(
            "capacity",
            format!(
                "{} entries, {}; {} % taken by what is not safe",
                t("capacity_entries"),
                mb(&info["capacity_bytes"]),
                t("full_percent")
            ),
        );
    }
    line(
        "rate",
        format!(
            "{} a second ({} entries in {} s)",
            number(&info["rate_per_s"]),
            t("rate_entries"),
            number(&info["rate_window_s"])
        ),
    );
    line(
        "full in",
        format!("{} days at that rate, if nothing were delivered", number(&info["days_to_full"])),
    );
    let bytes_each = number(&info["bytes_per_transaction"]);
    let source =
        if info["bytes_per_transaction_measured"] == true { "measured" } else { "estimated" };
    line(
        "wear",
        format!(
            "{} years at that rate, where the medium takes {} TB in its life",
            number(&info["flash_years"]),
            t("endurance_tbw"),
        ),
    );
    line(
        "written",
        match info["bytes_written"] {
            Value::Null => format!("{bytes_each} bytes a transaction ({source})"),
            _ => format!(
                "{} in {} syncs since the start, {bytes_each} bytes a transaction ({source})",
                mb(&info["bytes_written"]),
                t("syncs"),
            ),
        },
    );
    if info["held"] != 0 {
        line("held", format!("{} entries wait until their controller was read again", t("held")));
    }
    for aside in list(&info["set_aside"]) {
        line("set aside", format!("{}, {}", text(&aside["path"]), mb(&aside["bytes"])));
    }
    if let Some(last) = list(&info["salvages"]).last() {
        line(
            "salvaged",
            format!(
                "{} entries, {} missing: {}",
                text(&last["entries"]),
                text(&last["missing"]),
                text(&last["reason"])
            ),
        );
    }
    out
}

pub(super) fn verified(report: &Value) -> String {
    let verified = &report["verified"];
    format!(
        "the journal verifies: {} entries from {} to {}, {} of a newer version\n",
        text(&verified["entries"]),
        text(&verified["first"]),
        text(&verified["last"]),
        text(&verified["newer"])
    )
}

pub(super) fn salvages(report: &Value) -> String {
    let mut out = match report["journal"].as_str() {
        Some("whole") => "the journal is whole; there is nothing to salvage\n".to_owned(),
        Some("running") => {
            "the gateway runs on a journal that it checked when it started\n".to_owned()
        }
        _ => "a new journal was made from what verifies\n".to_owned(),
    };
    for salvage in list(&report["salvages"]) {
        let t = |key: &str| text(&salvage[key]);
        let _ = writeln!(out, "\nset aside {}\n  why        {}", t("aside"), t("reason"));
        let _ = writeln!(
            out,
            "  salvaged   {} entries; {} wait for their controllers",
            t("entries"),
            t("held")
        );
        let _ = writeln!(
            out,
            "  missing    {} that no server had; {} that the servers have",
            t("missing"),
            t("missing_safe")
        );
        let ranges = list(&salvage["holes"])
            .map(|hole| format!("{}-{}", text(&hole[0]), text(&hole[1])))
            .collect::<Vec<_>>();
        if !ranges.is_empty() {
            let _ = writeln!(out, "  positions  {}", ranges.join(", "));
        }
        let again = list(&salvage["read_again"]).map(text).collect::<Vec<_>>();
        if !again.is_empty() {
            let _ = writeln!(out, "  read again {}", again.join(", "));
        }
    }
    out
}
