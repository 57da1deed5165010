//! `postern bus sniff`: what is said on a line, a frame a line of text. Through the running gateway, which
//! knows what its sealed frames say, or from the line itself, on which nothing is sent.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::super::{Common, Failure, quiet, show};
use super::line::{self, Direct};
use super::{data_dir, outline, unknown};
use crate::control::bus::frame;
use crate::control::client::{self, ControlError};
use crate::control::{Request, socket};
use crate::driver::line::LineSettings;
use crate::driver::link::Ear;

/// How many frames wait to be printed. A terminal that is slower than this and what the socket holds
/// makes the gateway count what is missed.
const WAITING: usize = 64;

#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// The bus of the running gateway.
    #[arg(required_unless_present_any = ["serial", "tcp"])]
    bus: Option<String>,
    #[command(flatten)]
    direct: Direct,
    /// Show the bytes of each frame.
    #[arg(long)]
    hex: bool,
    /// End after so many frames.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Show the bytes of frames in clear, which hold card numbers.
    #[arg(long)]
    show_cards: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let runtime = super::runtime()?;
    let printer = Printer {
        json: arguments.common.json,
        hex: arguments.hex,
        left: arguments.count,
        frames: 0,
        missed: 0,
    };
    let result = runtime.block_on(listen(arguments, printer));
    // Whoever still waits for the gateway's next line is not waited for.
    runtime.shutdown_background();
    result
}

async fn listen(arguments: &Arguments, mut printer: Printer) -> Result<(), Failure> {
    let (sender, mut lines) = mpsc::channel(WAITING);
    let show_cards = arguments.show_cards;
    let source = match (&arguments.bus, arguments.direct.settings()) {
        (_, Some(line)) => {
            let ear = Ear::open(&line).await.map_err(|error| line::failed(&line, &error))?;
            say(&format!("listening on {}; Ctrl-C ends", line::describe(&line)));
            tokio::spawn(from_line(ear, line, show_cards, sender))
        }
        (bus, None) => {
            let data_dir = data_dir(&arguments.common)?;
            let bus = bus.clone().unwrap_or_default();
            check(&outline(&arguments.common.config)?, &bus, &arguments.common.config)?;
            tokio::task::spawn_blocking(move || from_gateway(&data_dir, bus, show_cards, &sender))
        }
    };
    let mut out = anstream::stdout();
    // Once for all of it: one that came while a line was printed must not be lost.
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        // Cancel-safety: a line that waits in the channel when Ctrl-C comes is not printed.
        let line = tokio::select! {
            line = lines.recv() => line,
            _ = interrupt.recv() => break,
        };
        let Some(line) = line else {
            // It ended by itself; why it did is worth a word.
            source.await.map_err(io::Error::other)??;
            break;
        };
        match printer.print(&line, &mut out) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return quiet(Err(error)),
        }
    }
    say(&printer.summary());
    Ok(())
}

/// A bus that nobody has is known without the gateway.
fn check(outline: &crate::config::Outline, bus: &str, config: &Path) -> Result<(), Failure> {
    super::find(outline, bus, config).map(drop)
}

fn say(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

async fn from_line(
    mut ear: Ear,
    line: LineSettings,
    show_cards: bool,
    sender: mpsc::Sender<Value>,
) -> Result<(), Failure> {
    loop {
        let mut heard = Vec::new();
        let result = ear.listen(&mut |each| heard.push(frame(&each, show_cards))).await;
        result.map_err(|error| line::failed(&line, &error))?;
        for value in heard {
            if sender.send(value).await.is_err() {
                return Ok(());
            }
        }
    }
}

fn from_gateway(
    data_dir: &Path,
    bus: String,
    show_cards: bool,
    sender: &mpsc::Sender<Value>,
) -> Result<(), Failure> {
    let name = bus.clone();
    let mut absent = None;
    let request = Request::Sniff { bus, show_cards };
    let result = client::ask(data_dir, &request, |line| {
        let Some(listening) = line.get("listening") else {
            // The command may have ended.
            return sender.blocking_send(line).map_err(|_| io::ErrorKind::BrokenPipe.into());
        };
        if listening.is_null() {
            absent = Some(unknown(&name, show::list(&line["buses"]).map(show::text)));
        } else {
            say(&format!("listening on bus {name} through the gateway; Ctrl-C ends"));
        }
        Ok(())
    })?;
    match (absent, result) {
        (Some(failure), _) => Err(failure),
        (None, Err(_)) => Ok(()),
        (None, Ok(())) => Err(stopped(socket(data_dir)).into()),
    }
}

fn stopped(path: PathBuf) -> ControlError {
    ControlError::Broken { path, reason: "it does not tell any more".to_owned() }
}

/// Prints frames, wherever they come from.
struct Printer {
    json: bool,
    hex: bool,
    left: Option<u64>,
    frames: u64,
    missed: u64,
}

impl Printer {
    /// Prints one line; whether another one is wanted.
    fn print(&mut self, line: &Value, out: &mut impl Write) -> io::Result<bool> {
        let missed = line["missed"].as_u64();
        if let Some(missed) = missed {
            self.missed = self.missed.saturating_add(missed);
        } else {
            self.frames += 1;
            self.left = self.left.map(|left| left - 1);
        }
        if self.json {
            writeln!(out, "{line}")?;
        } else if let Some(missed) = missed {
            writeln!(out, "              {missed} frames were missed: this end was too slow")?;
        } else {
            write!(out, "{}", text(line, self.hex))?;
        }
        out.flush()?;
        Ok(self.left != Some(0))
    }

    fn summary(&self) -> String {
        let frames = show::count(usize::try_from(self.frames).unwrap_or(usize::MAX), "frame");
        match self.missed {
            0 => frames,
            missed => format!("{frames}, {missed} missed"),
        }
    }
}

/// How wide a terminal is at least.
const COLUMNS: usize = 80;

/// A frame in a line of text, and its bytes below it if wanted.
fn text(frame: &Value, hex: bool) -> String {
    let t = |key: &str| show::text(&frame[key]);
    // The date is the same all night.
    let at = frame["at"].as_str().and_then(|at| at.parse().ok());
    let at =
        at.map_or_else(|| t("at"), |at: jiff::Timestamp| at.strftime("%H:%M:%S%.3f").to_string());
    let ways = match frame["from"].as_str() {
        Some("gateway") => format!("gw  -> {:<3}", t("station")),
        Some(_) => format!("{:<3} -> gw ", t("station")),
        None => "?         ".to_owned(),
    };
    let head = format!("{at}  {ways}  {:<7}  {:>2}  {:>4}", t("kind"), t("sequence"), t("bytes"));
    let meaning = frame["meaning"].as_str().unwrap_or("(sealed)");
    let mut out = wrap(&head, meaning);
    if hex {
        out.push_str(&dump(frame));
    }
    out
}

/// The meaning behind the head; what does not fit stands below it.
fn wrap(head: &str, meaning: &str) -> String {
    let indent = head.chars().count() + 2;
    let width = COLUMNS - indent;
    let (mut out, mut used) = (format!("{head} "), 0);
    for word in meaning.split_whitespace() {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            let _ = write!(out, "\n{:1$}", "", indent - 1);
            used = 0;
        }
        let _ = write!(out, " {word}");
        used += length + usize::from(used > 0);
    }
    out.push('\n');
    out
}

/// Bytes in a row of a hexdump.
const ROW: usize = 16;

/// The bytes of a frame: offset, hexadecimal, ASCII.
fn dump(frame: &Value) -> String {
    let digits = frame["hex"].as_str().unwrap_or_default();
    let bytes: Vec<u8> = (0..digits.len() / 2)
        .filter_map(|at| u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok())
        .collect();
    let mut out = String::new();
    for (number, row) in bytes.chunks(ROW).enumerate() {
        let (mut hex, mut ascii) = (String::new(), String::new());
        for (at, byte) in row.iter().enumerate() {
            let gap = if at == ROW / 2 { "  " } else { " " };
            let _ = write!(hex, "{gap}{byte:02x}");
            let is_shown = byte.is_ascii_graphic() || *byte == b' ';
            ascii.push(if is_shown { char::from(*byte) } else { '.' });
        }
        let _ = writeln!(out, "    {:04x} {hex:<49}  {ascii}", number * ROW);
    }
    if let Some(masked @ 1..) = frame["masked"].as_u64() {
        let _ = writeln!(
            out,
            "    {:04x}  {masked} bytes in clear; --show-cards shows them",
            bytes.len()
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn frame() -> Value {
        json!({
            "schema": "postern.bus.frame.v1", "at": "2026-11-28T02:03:04.005Z", "from": "gateway",
            "station": 5, "kind": "sealed", "sequence": 7, "bytes": 20,
            "meaning": "poll behind 99937, 200 bytes",
            "hex": "054170fc79b12fb4cb5f926f2fda2f884142437e", "masked": 0,
        })
    }

    #[test]
    fn a_frame_is_a_line_and_its_bytes_stand_below_it() {
        assert_eq!(
            text(&frame(), true),
            "02:03:04.005  gw  -> 5    sealed    7    20  poll behind 99937, 200 bytes\n    \
             0000  05 41 70 fc 79 b1 2f b4  cb 5f 92 6f 2f da 2f 88  .Ap.y./.._.o/./.\n    \
             0010  41 42 43 7e                                       ABC~\n"
        );
        let mut plain = frame();
        plain["from"] = json!("station");
        plain["kind"] = json!("plain");
        plain["meaning"] = json!("5 events, 0 more");
        plain["hex"] = json!("8567");
        plain["masked"] = json!(43);
        assert_eq!(
            text(&plain, true),
            "02:03:04.005  5   -> gw   plain     7    20  5 events, 0 more\n    \
             0000  85 67                                             .g\n    \
             0002  43 bytes in clear; --show-cards shows them\n"
        );
    }

    #[test]
    fn what_is_broken_sealed_or_long_still_fits_the_screen() {
        let mut frame = frame();
        frame["meaning"] = Value::Null;
        assert!(text(&frame, false).ends_with("  20  (sealed)\n"));
        for key in ["from", "station", "sequence"] {
            frame[key] = Value::Null;
        }
        frame["kind"] = json!("broken");
        frame["meaning"] = json!("wrong checksum");
        frame["bytes"] = json!(0);
        assert_eq!(
            text(&frame, true).lines().next().unwrap(),
            "02:03:04.005  ?           broken    -     0  wrong checksum"
        );
        frame["meaning"] =
            json!("log 4294967296-4294967299, committed 4294967298, clock 1 s, flags 0x00");
        let text = text(&frame, false);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.lines().all(|line| line.len() <= COLUMNS), "{text}");
    }

    #[test]
    fn it_ends_with_the_frame_that_was_wanted_and_what_was_missed_is_said() {
        let mut printer = Printer { json: false, hex: false, left: Some(2), frames: 0, missed: 0 };
        let mut out = Vec::new();
        assert!(printer.print(&frame(), &mut out).unwrap());
        let missed = json!({ "schema": "postern.bus.missed.v1", "missed": 300 });
        assert!(printer.print(&missed, &mut out).unwrap());
        assert!(!printer.print(&frame(), &mut out).unwrap());
        assert_eq!(printer.summary(), "2 frames, 300 missed");
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().nth(1).unwrap().contains("300 frames were missed"), "{text}");
    }
}
