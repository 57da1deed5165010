//! `postern controllers cards diff`: what would have to change on a board for it to be like a list, or
//! like another board.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Value, json};

use super::super::super::{Failure, print, show};
use super::super::board::{self, Board, Session};
use super::file::{MAX_FILE, parse};
use super::list::{self, permission};
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
    #[arg(long, value_name = "NAME,NAME,NAME,NAME", value_delimiter = ',')]
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
    Err(Failure { code: exit::FAILURE, message })
}

fn read(path: &Path, doors: Option<&[String]>) -> Result<Cards, Failure> {
    let failed = |what: String| Failure {
        code: exit::FAILURE,
        message: format!(
            "{}: {what}\nhint: a list has a line `Card Number, From, To` and the doors above it, with tabs or commas",
            path.display()
        ),
    };
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE).read_to_string(&mut text))
        .map_err(|error| failed(error.to_string()))?;
    parse(&text, doors).map_err(failed)
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
            .map(|Card { from, to, doors, .. }| json!({ "from": from, "to": to, "doors": doors }))
    };
    json!({ "card": number(card, show_cards), "board": side(held), "other": side(wanted) })
}

fn text(report: &Value) -> String {
    let side = |side: &Value| {
        let doors: Vec<String> = show::list(&side["doors"]).map(permission).collect();
        let (from, to) = (show::text(&side["from"]), show::text(&side["to"]));
        format!("{from} to {to}, doors {}", doors.join(" "))
    };
    let mut out = String::new();
    for each in show::list(&report["removed"]) {
        out = format!("{out}- {}  {}\n", show::text(&each["card"]), side(&each["board"]));
    }
    for each in show::list(&report["added"]) {
        out = format!("{out}+ {}  {}\n", show::text(&each["card"]), side(&each["other"]));
    }
    for each in show::list(&report["changed"]) {
        let fields: Vec<String> =
            show::list(&each["fields"]).map(|field| show::text(field).replace('_', " ")).collect();
        let (card, fields) = (show::text(&each["card"]), fields.join(", "));
        let (board, other) = (side(&each["board"]), side(&each["other"]));
        out = format!("{out}! {card}  {fields}\n    board  {board}\n    other  {other}\n");
    }
    let count = |key: &str| show::list(&report[key]).count();
    format!(
        "{out}{} added, {} removed, {} changed\n",
        count("added"),
        count("removed"),
        count("changed")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "Card Number,From,To,A,B,C,D\n1,2020-01-01,2020-12-31,Y,N,N,N\n\
        2,2020-01-01,2020-12-31,Y,N,N,N\n3,2020-01-01,2020-12-31,Y,N,N,N\n";

    fn cards(text: &str) -> Cards {
        parse(text, None).unwrap()
    }

    #[test]
    fn cards_are_added_removed_or_changed() {
        let other = LIST
            .replace("3,2020", "4,2020")
            .replace("2,2020-01-01,2020-12-31,Y,N", "2,2021-01-01,2020-12-31,Y,2");
        assert_eq!(
            compare(&cards(LIST), &cards(&other)),
            [
                (2, Change::Changed(vec!["from", "door_2"])),
                (3, Change::Removed),
                (4, Change::Added),
            ]
        );
        assert!(compare(&cards(LIST), &cards(LIST)).is_empty());
    }

    #[test]
    fn what_one_side_does_not_say_is_not_compared() {
        let mut held = cards(LIST);
        for card in held.values_mut() {
            card.pin = Some(1_234);
        }
        assert!(compare(&held, &cards(LIST)).is_empty());
        let names = ["A", "-", "-", "-"].map(str::to_owned);
        let other = parse(&LIST.replace("Y,N,N,N", "Y,Y,Y,Y"), Some(&names)).unwrap();
        assert!(compare(&held, &other).is_empty());
    }
}
