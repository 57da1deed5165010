//! `postern controllers cards …`: what a board knows of cards, to look at and to compare. Nothing is
//! written to a board.

use std::collections::BTreeMap;

use clap::Subcommand;
use postern_protocol::transaction::Credential;
use postern_protocol::uhppote::field::Date;
use serde_json::{Value, json};

use super::super::Failure;
use super::board::Board;

mod diff;
mod file;
mod list;

#[derive(Subcommand)]
pub(in crate::cli) enum Command {
    /// List the cards of a board.
    List {
        #[command(flatten)]
        board: Board,
        /// Show card numbers in full.
        #[arg(long)]
        show_cards: bool,
    },
    /// Compare the cards of a board with a list or with another board. Exits with 16 where they differ.
    Diff(#[command(flatten)] diff::Arguments),
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::List { board, show_cards } => list::run(board, *show_cards),
        Command::Diff(arguments) => diff::run(arguments),
    }
}

/// Cards by number. Card numbers do not stand in `Debug`.
type Cards = BTreeMap<u32, Card>;

/// What a list says about a card; a part that is none is not said, and not compared.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Card {
    from: Date,
    to: Date,
    /// For each door: 0 no, 1 always, else the number of a time profile.
    doors: [Option<u8>; 4],
    pin: Option<u32>,
}

/// A card number as it may be shown.
pub(super) fn number(card: u32, show_cards: bool) -> Value {
    if show_cards { json!(card) } else { json!(Credential(u64::from(card)).to_string()) }
}
