//! The ground truth: a file with a line for every event that any controller ever recorded.
//!
//! Who checks a run compares what the servers hold with this file, so it must never know less than
//! a wire could have told: a line is written before the event enters the ring (see
//! [`crate::controller`]), as one complete `write(2)`, and an event whose line cannot be written
//! does not happen. There is no sync: the file lies outside the faults that are injected, and what
//! the operating system holds survives the death of this process.
//!
//! A file that exists is read back, so that a restarted simulator's boards have the logs that they
//! had, and then appended to. Two simulators cannot share one file; a lock keeps the second out.

mod modbus;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use postern_protocol::ControllerId;
use serde::{Deserialize, Serialize};

use crate::record::Raw;

pub use modbus::{ModbusLine, Source, What};

/// The longest line that is read back. Lines written here have about 200 bytes.
const MAX_LINE: u64 = 4_096;

/// What an event was, in the simulator's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A card at a reader, granted or denied.
    Swipe,
    /// The button beside a door.
    Button,
    /// A door contact opened.
    DoorOpened,
    /// A door contact closed.
    DoorClosed,
    /// A door was opened by force.
    Forced,
    /// A door stood open too long.
    Held,
    /// The board started.
    PowerOn,
    /// A host opened a door.
    RemoteOpen,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// A controller recorded an event.
    Event(EventLine),
    /// A controller's log was emptied and begins again at index 1.
    Restart(RestartLine),
    /// A Modbus device showed something.
    Modbus(ModbusLine),
}

/// A recorded event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLine {
    /// Whose.
    pub controller: ControllerId,
    /// In which life of that controller's log; 0 is the first.
    pub life: u64,
    /// Its index there.
    pub index: u64,
    /// The bytes that a gateway keeps of it as evidence; see [`crate::record`].
    pub raw: Raw,
    /// What it was.
    pub kind: Kind,
    /// When it really was, whatever the controller's clock says.
    pub at: Timestamp,
}

/// The beginning of another life of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartLine {
    /// Whose.
    pub controller: ControllerId,
    /// Which life begins.
    pub life: u64,
    /// Always `log-restarted`.
    pub event: Restarted,
    /// When.
    pub at: Timestamp,
}

/// The word that marks a restart in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restarted {
    /// The log was emptied.
    LogRestarted,
}

/// Where the truth goes before anything else may know it.
pub trait Truth {
    /// Keeps a line. After an error nothing that the line tells may happen.
    fn keep(&mut self, line: &Line) -> Result<(), LedgerError>;
}

/// For tests, and for whoever hosts controllers without a file.
impl Truth for Vec<Line> {
    fn keep(&mut self, line: &Line) -> Result<(), LedgerError> {
        self.push(line.clone());
        Ok(())
    }
}

/// Why the truth cannot be kept, or what is kept cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file cannot be opened, read or written.
    #[error("ledger {}: cannot {action} it", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process holds it.
    #[error("ledger {}: another simulator uses it", path.display())]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// A line that this simulator cannot have written.
    #[error("ledger {} line {line}: {what}", path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// An earlier write failed, so the file may end within a line.
    #[error("ledger {}: an earlier write failed", path.display())]
    Dead {
        /// Which file.
        path: PathBuf,
    },
}

/// The ledger file.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: File,
    lines: u64,
    dead: bool,
}

impl Ledger {
    /// Opens or creates the file and hands every line that it holds to `replay`, which answers
    /// with what is wrong with a line that does not fit.
    ///
    /// A last line without its end was being written when a process died: its event never
    /// happened, and it is cut off.
    pub fn open(
        path: &Path,
        mut replay: impl FnMut(Line) -> Result<(), String>,
    ) -> Result<Self, LedgerError> {
        let failed =
            |action| move |source| LedgerError::Io { path: path.to_owned(), action, source };
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(failed("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LedgerError::InUse { path: path.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(failed("lock")(source)),
        }

        let mut reader = BufReader::new(&mut file);
        let (mut lines, mut length, mut buffer) = (0, 0, Vec::new());
        loop {
            buffer.clear();
            let read = (&mut reader)
                .take(MAX_LINE)
                .read_until(b'\n', &mut buffer)
                .map_err(failed("read"))?;
            if buffer.last() != Some(&b'\n') && u64::try_from(read).unwrap_or(0) < MAX_LINE {
                break;
            }
            lines += 1;
            length += u64::try_from(read).unwrap_or(0);
            serde_json::from_slice(&buffer)
                .map_err(|error| error.to_string())
                .and_then(&mut replay)
                .map_err(|what| LedgerError::Corrupt {
                    path: path.to_owned(),
                    line: lines,
                    what,
                })?;
        }
        drop(reader);
        file.set_len(length).map_err(failed("cut the unfinished last line of"))?;
        file.seek(SeekFrom::End(0)).map_err(failed("seek in"))?;
        Ok(Self { path: path.to_owned(), file, lines, dead: false })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many lines it has.
    pub fn lines(&self) -> u64 {
        self.lines
    }
}

impl Truth for Ledger {
    fn keep(&mut self, line: &Line) -> Result<(), LedgerError> {
        if self.dead {
            return Err(LedgerError::Dead { path: self.path.clone() });
        }
        let written = serde_json::to_vec(line).map_err(io::Error::from).and_then(|mut bytes| {
            bytes.push(b'\n');
            match self.file.write(&bytes)? {
                written if written == bytes.len() => Ok(()),
                _ => Err(io::Error::from(io::ErrorKind::WriteZero)),
            }
        });
        match written {
            Ok(()) => {
                self.lines += 1;
                Ok(())
            }
            Err(source) => {
                self.dead = true;
                Err(LedgerError::Io { path: self.path.clone(), action: "write to", source })
            }
        }
    }
}

#[cfg(test)]
mod tests;
