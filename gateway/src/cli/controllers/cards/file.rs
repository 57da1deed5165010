//! Access lists in files: the tables that the uhppoted project's tools write, with tabs or commas, and
//! what `cards list --json --show-cards` printed. Pure. Messages name lines, never card numbers.

use std::collections::BTreeMap;

use postern_protocol::uhppote::field::Date;
use serde::Deserialize;

use super::super::super::show::count;
use super::{Card, Cards};

/// The largest file: 20,000 cards with a hundred doors are 5 MB.
pub(super) const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Why a list cannot be read, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unfit {
    /// What is wrong, with the line.
    pub(super) what: String,
    /// What to do.
    pub(super) hint: &'static str,
}

/// For a table whose first line is not the one of such a list.
const NO_HEADER: &str =
    "the first line of a list is `Card Number, From, To` and the doors, with tabs or commas";

/// For a line of a table.
const WRONG_LINE: &str = "correct this line: a card, two dates such as 2026-12-31 or nothing, and for each door Y, N or a time profile";

/// For what begins as JSON does.
const NO_LIST: &str =
    "`postern controllers cards list SERIAL --json --show-cards > FILE` writes one";

/// `cards list --json`.
#[derive(Deserialize)]
struct Listed {
    schema: String,
    cards: Vec<ListedCard>,
}

#[derive(Deserialize)]
struct ListedCard {
    card: serde_json::Value,
    from: Date,
    to: Date,
    doors: [u8; 4],
}

/// Reads a list. `doors` names the columns of the doors 1 to 4, `-` for one that is not in the file; none:
/// all columns behind the dates, of which there must be four.
pub(super) fn parse(text: &str, doors: Option<&[String]>) -> Result<Cards, Unfit> {
    // Spreadsheets begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_start().starts_with('{') {
        return json(text).map_err(|what| Unfit { what, hint: NO_LIST });
    }
    table(text, doors)
}

fn json(text: &str) -> Result<Cards, String> {
    let listed: Listed = serde_json::from_str(text)
        .map_err(|error| format!("it is no output of `cards list --json`: {error}"))?;
    if listed.schema != "postern.controller.cards.v1" {
        return Err("it is no output of `cards list --json`".to_owned());
    }
    let mut cards = BTreeMap::new();
    for card in listed.cards {
        let ListedCard { card, from, to, doors } = card;
        let number = card
            .as_u64()
            .and_then(|card| u32::try_from(card).ok())
            .ok_or("its card numbers are masked: list them with --show-cards to compare them")?;
        let card = Card { from, to, doors: doors.map(Some), pin: None };
        if cards.insert(number, card).is_some() {
            return Err("a card stands in it twice".to_owned());
        }
    }
    Ok(cards)
}

/// Which column holds what.
struct Columns {
    card: usize,
    from: usize,
    to: usize,
    pin: Option<usize>,
    doors: [Option<usize>; 4],
}

fn table(text: &str, doors: Option<&[String]>) -> Result<Cards, Unfit> {
    let no_header = |what: String| Unfit { what, hint: NO_HEADER };
    let mut lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let (header, _) = lines.next().ok_or_else(|| no_header("it is empty".to_owned()))?;
    let separator = if header.contains('\t') { '\t' } else { ',' };
    let header = cells(header, separator).map_err(no_header)?;
    let columns = Columns::find(&header, doors).map_err(no_header)?;
    let mut cards = BTreeMap::new();
    for (line, number) in lines {
        let place =
            |what: String| Unfit { what: format!("line {number}: {what}"), hint: WRONG_LINE };
        let cells = cells(line, separator).map_err(place)?;
        // A damaged line: what is missing would count as no permission.
        if cells.len() != header.len() {
            let what = format!("{}, the header has {}", count(cells.len(), "cell"), header.len());
            return Err(place(what));
        }
        let (card, entry) = columns.read(&cells).map_err(place)?;
        if cards.insert(card, entry).is_some() {
            return Err(place("this card stands in an earlier line as well".to_owned()));
        }
    }
    Ok(cards)
}

/// A name as it is compared: the tools overlook case and spaces.
fn plain(name: &str) -> String {
    name.chars().filter(|each| !each.is_whitespace()).flat_map(char::to_lowercase).collect()
}

impl Columns {
    fn find(header: &[String], doors: Option<&[String]>) -> Result<Self, String> {
        let names: Vec<String> = header.iter().map(|name| plain(name)).collect();
        let find = |name: &str| names.iter().position(|each| *each == plain(name));
        let need = |name: &str| {
            find(name).ok_or_else(|| {
                format!("its first line has no column {name:?}: expected Card Number, From, To and the doors")
            })
        };
        let (card, from, to) = (need("Card Number")?, need("From")?, need("To")?);
        let pin = find("PIN");
        let rest: Vec<usize> = (0..names.len())
            .filter(|at| ![Some(card), Some(from), Some(to), pin].contains(&Some(*at)))
            .collect();
        let doors = match doors {
            None => match rest.as_slice() {
                [a, b, c, d] => [Some(*a), Some(*b), Some(*c), Some(*d)],
                _ => {
                    return Err(format!(
                        "it has {} columns of doors; say which are doors 1 to 4 of this board: --doors NAME,NAME,-,-",
                        rest.len()
                    ));
                }
            },
            Some(wanted) => {
                let mut found = [None; 4];
                for (to, name) in found.iter_mut().zip(wanted) {
                    if name != "-" {
                        let missing = || format!("it has no column for the door {name:?}");
                        *to = Some(find(name).ok_or_else(missing)?);
                    }
                }
                found
            }
        };
        Ok(Self { card, from, to, pin, doors })
    }

    fn read(&self, cells: &[String]) -> Result<(u32, Card), String> {
        let cell = |at: usize| cells.get(at).map(|cell| cell.trim()).unwrap_or_default();
        let card = match cell(self.card).parse() {
            Ok(0) | Err(_) => return Err("its card number is no number".to_owned()),
            Ok(card) => card,
        };
        let date = |at: usize| {
            cell(at).parse::<Date>().map_err(|error| format!("a date is not one: {error}"))
        };
        let mut doors = [None; 4];
        for (door, column) in doors.iter_mut().zip(self.doors) {
            if let Some(column) = column {
                *door = Some(permission(cell(column))?);
            }
        }
        let pin = match self.pin.map(cell) {
            None => None,
            Some("") => Some(0),
            Some(pin) => Some(pin.parse().map_err(|_| "its PIN is no number".to_owned())?),
        };
        Ok((card, Card { from: date(self.from)?, to: date(self.to)?, doors, pin }))
    }
}

/// `Y`, `N`, or the number of a time profile.
fn permission(cell: &str) -> Result<u8, String> {
    match cell {
        "Y" | "y" => Ok(1),
        "N" | "n" | "" => Ok(0),
        other => match other.parse() {
            Ok(profile @ 2..=254) => Ok(profile),
            _ => Err("a door has neither Y nor N nor a time profile from 2 to 254".to_owned()),
        },
    }
}

/// The cells of a line; those of commas may be quoted.
fn cells(line: &str, separator: char) -> Result<Vec<String>, String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut rest = line.chars().peekable();
    while let Some(each) = rest.next() {
        let Some(cell) = cells.last_mut() else { break };
        match each {
            '"' if quoted && rest.peek() == Some(&'"') => cell.extend(rest.next()),
            '"' if quoted || cell.trim().is_empty() => quoted = !quoted,
            each if each == separator && !quoted => cells.push(String::new()),
            each => cell.push(each),
        }
    }
    if quoted { Err("a quotation mark is not closed".to_owned()) } else { Ok(cells) }
}

#[cfg(test)]
mod tests;
