//! A line that a command opens by itself: named by its device or address, or by a bus of the configuration.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::super::Failure;
use crate::config::{BAUD_DEFAULT, Outline};
use crate::control;
use crate::driver::line::{LineSettings, Parity, StopBits};
use crate::exit;

/// A line that is named by itself.
#[derive(clap::Args, Clone)]
pub(in crate::cli) struct Direct {
    /// The serial device, whatever the configuration says.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["tcp", "bus"])]
    serial: Option<PathBuf>,
    /// The address of a controller or a serial device server.
    #[arg(long, value_name = "IP:PORT", conflicts_with = "bus")]
    tcp: Option<SocketAddr>,
    /// Bits a second [default: 115200].
    #[arg(long, value_name = "N", requires = "serial", conflicts_with_all = ["tcp", "bus"], value_parser = clap::value_parser!(u32).range(300..=4_000_000))]
    baud: Option<u32>,
    /// The parity bit [default: none].
    #[arg(long, requires = "serial", conflicts_with_all = ["tcp", "bus"], value_name = "none|even|odd", value_parser = parity(), hide_possible_values = true)]
    parity: Option<Parity>,
    /// Have the kernel switch the transceiver's direction.
    #[arg(long, requires = "serial", conflicts_with_all = ["tcp", "bus"])]
    rs485: bool,
}

pub(in crate::cli) fn parity() -> impl TypedValueParser<Value = Parity> {
    PossibleValuesParser::new(["none", "even", "odd"]).map(|word| match &*word {
        "even" => Parity::Even,
        "odd" => Parity::Odd,
        _ => Parity::None,
    })
}

impl Direct {
    /// The line; `None` where none is named.
    pub(in crate::cli) fn settings(&self) -> Option<LineSettings> {
        if let Some(path) = &self.serial {
            return Some(LineSettings::Serial {
                path: path.clone(),
                baud: self.baud.unwrap_or(BAUD_DEFAULT),
                parity: self.parity.unwrap_or(Parity::None),
                stop_bits: StopBits::One,
                rs485: self.rs485,
            });
        }
        self.tcp.map(|address| LineSettings::Tcp { address })
    }
}

/// What a line is, in words.
pub(in crate::cli) fn describe(line: &LineSettings) -> String {
    match line {
        LineSettings::Serial { path, baud, parity, .. } => {
            format!("{}, {baud} baud, parity {}", path.display(), parity.name())
        }
        LineSettings::Tcp { address } => address.to_string(),
    }
}

/// Whether it is the same line, under whatever name: `/dev/serial/by-id/…` leads to `/dev/ttyUSB0`.
fn is_same(one: &LineSettings, other: &LineSettings) -> bool {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match (one, other) {
        (LineSettings::Serial { path: one, .. }, LineSettings::Serial { path: other, .. }) => {
            real(one) == real(other)
        }
        (LineSettings::Tcp { address: one }, LineSettings::Tcp { address: other }) => one == other,
        (LineSettings::Serial { .. }, LineSettings::Tcp { .. })
        | (LineSettings::Tcp { .. }, LineSettings::Serial { .. }) => false,
    }
}

/// Refuses a line that a running gateway has: two who ask at once hear neither answer.
pub(in crate::cli) fn refuse_taken(outline: &Outline, line: &LineSettings) -> Result<(), Failure> {
    let Some((name, _)) = outline.lines().find(|(_, other)| is_same(other, line)) else {
        return Ok(());
    };
    let failed = |message| Err(Failure { code: exit::IN_USE, message });
    let what = if outline.buses.iter().any(|bus| bus.name == name) {
        format!("`postern bus stats {name}` and `postern bus sniff {name}` show")
    } else {
        "`postern controllers` shows".to_owned()
    };
    match UnixStream::connect(control::socket(&outline.data_dir)) {
        Ok(_) => failed(format!(
            "the running gateway talks on {line}, its line {name}, and two who ask at once hear neither answer\nhint: {what} what it sees; to ask yourself, stop the gateway first"
        )),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => failed(format!(
            "nobody but the gateway's user can see whether it runs and talks on {line}, its line {name}\nhint: run this as the user that runs the gateway"
        )),
        // Nobody listens there.
        Err(_) => Ok(()),
    }
}

/// A line that could not be opened, or that broke.
pub(in crate::cli) fn failed(line: &LineSettings, error: &io::Error) -> Failure {
    let hint = match (line, error.kind()) {
        (_, io::ErrorKind::PermissionDenied) => {
            "run this as a user who may open it; on most systems that is the group `dialout`"
        }
        (LineSettings::Serial { .. }, io::ErrorKind::NotFound) => {
            "is the adapter plugged in? `ls /dev/serial/by-id` shows those that are"
        }
        (LineSettings::Serial { .. }, io::ErrorKind::ResourceBusy) => {
            "another program has it: where that is the gateway, `postern bus sniff BUS` listens through it"
        }
        (LineSettings::Serial { .. }, _) => {
            "is it a serial port? `ls /dev/serial/by-id` shows the adapters that are plugged in"
        }
        (LineSettings::Tcp { .. }, _) => {
            "look at the address and at the cable; many device servers take one connection at a time, which a running gateway has"
        }
    };
    Failure {
        code: exit::FAILURE,
        message: format!("cannot use {}: {error}\nhint: {hint}", describe(line)),
    }
}
