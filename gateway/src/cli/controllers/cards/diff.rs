//! `postern controllers cards diff`: what would have to change on a board for it to be like a list, or
//! like another board.

use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde_json::{Value, json};

use super::super::super::{Failure, print, show};
use super::super::board::{self, Board, Session};
use super::file::{MAX_FILE, parse};
use super::list::{self, date, permission};
use super::{Card, Cards, number};
use crate::exit;

#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    board: Board,
    /// A list with Card Number, From, To and doors, with tabs or commas; the output of `cards list --json
    /// --show-cards`; or the serial number of another board of the configuration.
    #[arg(value_name = "FILE|SERIAL2")]
    other: String,
    /// The columns of the list that are doors 1 to 4 of this board; `-` for one that is not in it.
    #[arg(
        long,
        value_name = "NAME,NAME,NAME,NAME",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    doors: Option<Vec<String>>,
    /// Show card numbers in full.
    #[arg(long)]
    show_cards: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { board, other, doors, show_cards } = arguments;
    if doors.as_ref().is_some_and(|doors| doors.len() != 4) {
        return Err(Failure {
            code: exit::USAGE,
            message: "--doors takes four names\nhint: such as --doors \"Front Door,Garage,-,-\""
                .to_owned(),
        });
    }
    // What can be wrong with the file is said before a board is asked for all of its cards.
    let file = match board::serial(other) {
        Ok(_) => None,
        Err(_) => Some(read(Path::new(other), doors.as_deref())?),
    };
    let mut session = Session::open(board)?;
    let held = list::read(&mut session)?.by_number();
    let wanted = match (file, board::serial(other)) {
        (Some(cards), _) => cards,
        (None, Ok(serial)) => {
            let line = board.line.configured();
            let common = board.common.clone();
            list::read(&mut Session::open(&Board { serial, common, line })?)?.by_number()
        }
        (None, Err(why)) => return Err(Failure { code: exit::USAGE, message: why }),
    };
    let changes = compare(&held, &wanted);
    let mut report = session.report("postern.controller.cards_diff.v1");
    report["other"] = json!(other);
    report["masked"] = json!(!show_cards);
    for (key, what) in [("added", Change::Added), ("removed", Change::Removed)] {
        let of = changes.iter().filter(|(_, change)| *change == what);
        report[key] = of.map(|(card, _)| entry(*card, *show_cards, &held, &wanted)).collect();
    }
    report["changed"] = changes
        .iter()
        .filter_map(|(card, change)| match change {
            Change::Changed(fields) => {
                let mut entry = entry(*card, *show_cards, &held, &wanted);
                entry["fields"] = json!(fields);
                Some(entry)
            }
            Change::Added | Change::Removed => None,
        })
        .collect();
    report["same"] = json!(changes.is_empty());
    print(board.common.json, &report, text)?;
    if changes.is_empty() {
        return Ok(());
    }
    let message = format!("the cards of {} differ from {other}", session.serial());
    Err(Failure { code: exit::DIFFERENT, message })
}

fn read(path: &Path, doors: Option<&[String]>) -> Result<Cards, Failure> {
    let failed = |what: String, hint: &str| Failure {
        code: exit::FAILURE,
        message: format!("{}: {what}\nhint: {hint}", path.display()),
    };
    let bytes = File::open(path).and_then(|file| limited(file, MAX_FILE)).map_err(|error| {
        let is = |kind| error.kind() == kind;
        let hint = if is(io::ErrorKind::NotFound) {
            "name a file, or the serial number of another board"
        } else if is(io::ErrorKind::PermissionDenied) {
            "it is there, but you may not read it"
        } else {
            "name a file that can be read"
        };
        failed(error.to_string(), hint)
    })?;
    let Some(bytes) = bytes else {
        let what = format!("it is longer than {} MiB", MAX_FILE / 1024 / 1024);
        return Err(failed(what, "no board has that many cards: is it the right file?"));
    };
    let text = String::from_utf8(bytes).map_err(|_| {
        failed(
            "it is no UTF-8 text".to_owned(),
            "save the list as text in UTF-8, with tabs or commas",
        )
    })?;
    parse(&text, doors).map_err(|unfit| failed(unfit.what, unfit.hint))
}

/// All of it; none where it is longer than that: half a list would take the other half from a board.
fn limited(from: impl Read, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let length = from.take(limit + 1).read_to_end(&mut bytes)?;
    Ok((u64::try_from(length).unwrap_or(u64::MAX) <= limit).then_some(bytes))
}

/// What became of a card on the way from the board to the list.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    /// The list alone has it.
    Added,
    /// The board alone has it.
    Removed,
    /// Both have it, with other values of these.
    Changed(Vec<&'static str>),
}

/// Every card that is not the same in both, by number.
fn compare(held: &Cards, wanted: &Cards) -> Vec<(u32, Change)> {
    let mut changes = Vec::new();
    for (card, held) in held {
        match wanted.get(card) {
            None => changes.push((*card, Change::Removed)),
            Some(wanted) => {
                let fields = fields(held, wanted);
                if !fields.is_empty() {
                    changes.push((*card, Change::Changed(fields)));
                }
            }
        }
    }
    let added = wanted.keys().filter(|card| !held.contains_key(card));
    changes.extend(added.map(|card| (*card, Change::Added)));
    changes.sort_unstable_by_key(|(card, _)| *card);
    changes
}

/// The parts that both know and that differ.
fn fields(held: &Card, wanted: &Card) -> Vec<&'static str> {
    let mut fields = Vec::new();
    let mut add = |name, differs: bool| {
        if differs {
            fields.push(name);
        }
    };
    add("from", held.from != wanted.from);
    add("to", held.to != wanted.to);
    let names = ["door_1", "door_2", "door_3", "door_4"];
    for ((name, held), wanted) in names.into_iter().zip(held.doors).zip(wanted.doors) {
        add(name, held.zip(wanted).is_some_and(|(held, wanted)| held != wanted));
    }
    add("pin", held.pin.zip(wanted.pin).is_some_and(|(held, wanted)| held != wanted));
    fields
}

fn entry(card: u32, show_cards: bool, held: &Cards, wanted: &Cards) -> Value {
    let side = |cards: &Cards| {
        cards
            .get(&card)
            // Whether there is a PIN, where that is said; never which.
            .map(|Card { from, to, doors, pin }| {
                let has_pin = pin.map(|pin| pin != 0);
                json!({ "from": from, "to": to, "doors": doors, "has_pin": has_pin })
            })
    };
    json!({ "card": number(card, show_cards), "board": side(held), "other": side(wanted) })
}

/// What the signs in front of a line mean.
const LEGEND: &str = "- on the board alone, + in the other alone, ! in both and different
doors 1 to 4: - closed to the card, yes open to it, a number is a time profile, ? not said
";

fn text(report: &Value) -> String {
    let side = |side: &Value, show_pin: bool| {
        let doors: Vec<String> = show::list(&side["doors"]).map(permission).collect();
        let pin = match side["has_pin"].as_bool().filter(|_| show_pin) {
            Some(true) => ", a PIN",
            Some(false) => ", no PIN",
            None => "",
        };
        format!("{} to {}, doors {}{pin}", date(&side["from"]), date(&side["to"]), doors.join(" "))
    };
    let mut out = if report["same"] == true { String::new() } else { format!("{LEGEND}\n") };
    for (sign, key, of) in [("-", "removed", "board"), ("+", "added", "other")] {
        for each in show::list(&report[key]) {
            // Writing to a string cannot fail.
            let _ =
                writeln!(out, "{sign} {}  {}", show::text(&each["card"]), side(&each[of], false));
        }
    }
    for each in show::list(&report["changed"]) {
        let fields: Vec<String> =
            show::list(&each["fields"]).map(|field| show::text(field).replace('_', " ")).collect();
        let show_pin = fields.iter().any(|field| field == "pin");
        let both = show_pin && each["board"]["has_pin"] == each["other"]["has_pin"];
        let note = if both { ": another one" } else { "" };
        let (card, fields) = (show::text(&each["card"]), fields.join(", "));
        let (board, other) = (side(&each["board"], show_pin), side(&each["other"], show_pin));
        let _ = writeln!(out, "! {card}  {fields}{note}\n    board  {board}\n    other  {other}");
    }
    let count = |key: &str| show::list(&report[key]).count();
    let _ = writeln!(
        out,
        "{}{} added, {} removed, {} changed",
        if report["same"] == true { "" } else { "\n" },
        count("added"),
        count("removed"),
        count("changed")
    );
    out
}

#[cfg(test)]
mod tests;
