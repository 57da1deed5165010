//! `postern bus …`: the lines of the link protocol, for who stands in front of one. `list` needs the
//! configuration alone, and shows those of Modbus as well; `stats` the running gateway; `sniff` either the gateway or the line itself, and
//! only `probe` says anything on it.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use tokio::runtime::{Builder, Runtime};

use super::{Common, Failure};
use crate::config::{Bus, Outline};
use crate::exit;

pub(in crate::cli) mod line;
mod list;
mod probe;
mod sniff;
mod stats;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Show the buses of the configuration: where each is, who should be on it, and who has a key.
    List(#[command(flatten)] Common),
    /// Show what the running gateway counted on its buses, by station.
    Stats {
        #[command(flatten)]
        common: Common,
        /// This one alone.
        bus: Option<String>,
    },
    /// Show what is said on a line, as it is said; nothing is sent.
    Sniff(#[command(flatten)] sniff::Arguments),
    /// Ask every address of a line who is there. The gateway must not be talking on it.
    Probe(#[command(flatten)] probe::Arguments),
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::List(common) => list::run(common),
        Command::Stats { common, bus } => stats::run(common, bus.as_deref()),
        Command::Sniff(arguments) => sniff::run(arguments),
        Command::Probe(arguments) => probe::run(arguments),
    }
}

/// What the configuration says by itself: neither the lines nor the way to the gateway need the bundle.
fn outline(config: &Path) -> Result<Outline, Failure> {
    let text = Outline::read(config)?;
    Ok(Outline::check(config, &text)?)
}

fn data_dir(common: &Common) -> Result<PathBuf, Failure> {
    Ok(outline(&common.config)?.data_dir)
}

/// So many of them.
fn buses(number: usize) -> String {
    let es = if number == 1 { "" } else { "es" };
    format!("{number} bus{es}")
}

/// The running gateway has no such bus.
fn unknown(bus: &str, known: impl Iterator<Item = String>) -> Failure {
    let known: Vec<String> = known.collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Failure {
        code: exit::CONFIG,
        message: format!(
            "the running gateway has no bus {bus:?}; it has: {known}\nhint: `postern bus list` shows those of the configuration; the gateway reads it when it starts"
        ),
    }
}

/// A bus of the configuration.
fn find<'a>(outline: &'a Outline, bus: &str, config: &Path) -> Result<&'a Bus, Failure> {
    outline.buses.iter().find(|each| each.name == bus).ok_or_else(|| {
        let known: Vec<&str> = outline.buses.iter().map(|each| each.name.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Failure {
            code: exit::CONFIG,
            message: format!(
                "there is no bus {bus:?} in {}; there are: {known}\nhint: name one of these, or a line by itself with --serial PATH or --tcp IP:PORT",
                config.display()
            ),
        }
    })
}

pub(in crate::cli) fn runtime() -> Result<Runtime, Failure> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}
