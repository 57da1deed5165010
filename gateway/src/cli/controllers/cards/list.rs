//! `postern controllers cards list`.

use serde_json::{Value, json};

use super::super::super::journal::progress;
use super::super::super::{Failure, print, show};
use super::super::board::{Board, Session, ask};
use super::{Card, Cards, number};
use crate::exit;

/// What a board answers for a slot whose card was deleted.
const DELETED: u32 = u32::MAX;

/// The most slots that are asked for: boards have 20,000, some makers' data sheets say twice that.
const MAX_SLOTS: u32 = 100_000;

/// The cards of a board as it gave them.
pub(super) struct Held {
    /// Each with its slot.
    pub(super) cards: Vec<(u32, u32, Card)>,
    /// How many slots held a deleted one.
    deleted: u32,
    /// How many the board says that it has.
    count: u32,
}

impl Held {
    /// The same by number.
    pub(super) fn by_number(self) -> Cards {
        self.cards.into_iter().map(|(_, number, card)| (number, card)).collect()
    }
}

/// Reads slot after slot until there are as many cards as the board says, or no further slot.
pub(super) fn read(session: &mut Session) -> Result<Held, Failure> {
    let count = ask!(session, GetCards {})?.cards;
    let bar = progress(u64::from(count));
    let (mut cards, mut deleted) = (Vec::new(), 0);
    for index in 1..=MAX_SLOTS {
        if cards.len() >= usize::try_from(count).unwrap_or(usize::MAX) {
            break;
        }
        let card = ask!(session, GetCardByIndex { index: index })?;
        match card.card {
            0 => break,
            DELETED => deleted += 1,
            number => {
                let doors = [card.door_1, card.door_2, card.door_3, card.door_4].map(Some);
                let (from, to, pin) = (card.start_date, card.end_date, Some(card.pin.0));
                cards.push((index, number, Card { from, to, doors, pin }));
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    // Somebody else may write cards at the same time: then what was read is no list of any moment.
    let after = ask!(session, GetCards {})?.cards;
    if after != count || cards.len() != usize::try_from(count).unwrap_or(usize::MAX) {
        return Err(Failure {
            code: exit::CONTROLLER,
            message: format!(
                "the cards of {} were changed while they were read: {count} before, {after} after, {} found\nhint: repeat the command when nobody writes cards",
                session.serial(),
                cards.len()
            ),
        });
    }
    Ok(Held { cards, deleted, count })
}

pub(super) fn run(board: &Board, show_cards: bool) -> Result<(), Failure> {
    let mut session = Session::open(board)?;
    let held = read(&mut session)?;
    let mut report = session.report("postern.controller.cards.v1");
    report["count"] = json!(held.count);
    report["deleted_slots"] = json!(held.deleted);
    report["masked"] = json!(!show_cards);
    let cards = held.cards.iter().map(|(index, card, Card { from, to, doors, pin })| {
        json!({
            "index": index,
            "card": number(*card, show_cards),
            "from": from,
            "to": to,
            "doors": doors,
            // A PIN is nobody's business but its owner's.
            "has_pin": pin.is_some_and(|pin| pin != 0),
        })
    });
    report["cards"] = cards.collect();
    print(board.common.json, &report, text)
}

/// By what a door is opened: nothing, always, a time profile; `?` where that is not said.
pub(super) fn permission(value: &Value) -> String {
    match value.as_u64() {
        Some(0) => "-".to_owned(),
        Some(1) => "yes".to_owned(),
        Some(profile) => profile.to_string(),
        None => "?".to_owned(),
    }
}

/// A date as people read it; a word where there is none.
pub(super) fn date(value: &Value) -> String {
    value.as_str().filter(|date| !date.is_empty()).unwrap_or("none").to_owned()
}

fn text(report: &Value) -> String {
    let rows = show::list(&report["cards"]).map(|card| {
        let mut row: Vec<String> = ["index", "card"].map(|key| show::text(&card[key])).to_vec();
        row.extend(["from", "to"].map(|key| date(&card[key])));
        row.extend(show::list(&card["doors"]).map(permission));
        row.push(if card["has_pin"] == true { "yes" } else { "-" }.to_owned());
        row
    });
    let headers = ["SLOT", "CARD", "FROM", "TO", "1", "2", "3", "4", "PIN"];
    let table = show::table(&headers, rows);
    let number =
        |key: &str| report[key].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let cards = show::count(number("count"), "card");
    let deleted = show::count(number("deleted_slots"), "deleted slot");
    let masked = if report["masked"] == true { "; --show-cards shows the numbers" } else { "" };
    format!("{table}\n{cards}, {deleted}{masked}\n")
}
