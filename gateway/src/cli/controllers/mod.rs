//! `postern controllers …`: boards are found, taken over, looked at and set up. Everything but the list
//! and the setting of a clock talks to the boards directly, whether a gateway runs or not. Opening a
//! door is none of it. For controllers of the link protocol there are keys; only the daemon talks to them.

use clap::Subcommand;

use super::{Common, Failure};

mod board;
mod cards;
mod clock;
mod discover;
mod doors;
mod enrol;
mod import;
mod interface;
mod keys;
mod listener;
mod ping;
mod show;
mod special;
mod trace;
mod uhppoted;

use board::Board;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Ask the networks of this machine which boards are there.
    Discover(#[command(flatten)] discover::Arguments),
    /// Take the boards of an `uhppoted.conf` over.
    Import(#[command(flatten)] import::Arguments),
    /// Show a board: who it is, its doors, its clock, its newest record.
    Show {
        #[command(flatten)]
        board: Board,
        /// Show the card number of the newest record in full.
        #[arg(long)]
        show_cards: bool,
    },
    /// Measure the way to a board and back. Exits with 15 where nothing comes back.
    Ping {
        #[command(flatten)]
        board: Board,
        /// How often.
        #[arg(short = 'n', long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=ping::MAX))]
        count: u32,
    },
    /// Show what a board's clock says; set it through the running gateway.
    Clock(#[command(flatten)] clock::Arguments),
    /// Show the doors of a board: mode, delay, and how they are now.
    Doors(#[command(flatten)] Board),
    /// Look at the cards that a board knows.
    Cards {
        #[command(subcommand)]
        command: cards::Command,
    },
    /// Show or set where a board pushes its events to.
    Listener(#[command(flatten)] listener::Arguments),
    /// Have a board record door and button events, or not.
    RecordSpecialEvents(#[command(flatten)] special::Arguments),
    /// Give a controller of the link protocol its key.
    Enrol(#[command(flatten)] enrol::Arguments),
    /// Show which controllers of the link protocol have a key, and its fingerprint.
    Keys(#[command(flatten)] Common),
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Discover(arguments) => discover::run(arguments),
        Command::Import(arguments) => import::run(arguments),
        Command::Show { board, show_cards } => show::run(board, *show_cards),
        Command::Ping { board, count } => ping::run(board, *count),
        Command::Clock(arguments) => clock::run(arguments),
        Command::Doors(board) => doors::run(board),
        Command::Cards { command } => cards::run(command),
        Command::Listener(arguments) => listener::run(arguments),
        Command::RecordSpecialEvents(arguments) => special::run(arguments),
        Command::Enrol(arguments) => enrol::run(arguments),
        Command::Keys(common) => keys::run(common),
    }
}

/// A sentence at the terminal beside the data.
fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(anstream::stderr(), "{text}");
}
