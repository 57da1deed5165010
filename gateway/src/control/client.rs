//! The command line's side of the control socket.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;
use thiserror::Error;

use super::{Request, socket};

/// Why the daemon could not be asked.
#[derive(Debug, Error)]
pub enum ControlError {
    /// Nobody listens.
    #[error(
        "no gateway is running on {path}: {source}\nhint: start one with `postern run -c FILE`, or look why it stopped in its log"
    )]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot read its journal.
    #[error(
        "the gateway on {path} cannot read its journal: {reason}\nhint: restart the gateway: it checks the whole file, and one that is damaged is set aside and salvaged"
    )]
    Journal {
        /// The socket.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It broke off.
    #[error(
        "the gateway on {path} broke off: {reason}\nhint: it may just have been stopped; try again"
    )]
    Broken {
        /// The socket.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Asks, and hands each line of the answer to `each` until that says stop.
pub fn ask(
    data_dir: &Path,
    request: &Request,
    mut each: impl FnMut(Value) -> io::Result<()>,
) -> Result<io::Result<()>, ControlError> {
    let path = socket(data_dir);
    let broken = |reason: String| ControlError::Broken { path: path.clone(), reason };
    let mut stream = UnixStream::connect(&path)
        .map_err(|source| ControlError::NotRunning { path: path.clone(), source })?;
    let line = serde_json::to_string(request).map_err(|error| broken(error.to_string()))?;
    writeln!(stream, "{line}").map_err(|error| broken(error.to_string()))?;
    for line in BufReader::new(stream).lines() {
        let line = line.map_err(|error| broken(error.to_string()))?;
        let value: Value =
            serde_json::from_str(&line).map_err(|error| broken(error.to_string()))?;
        if let Some(error) = value.get("error").and_then(Value::as_str) {
            let reason = error.to_owned();
            let of_journal = value["journal"] == true;
            return Err(if of_journal {
                ControlError::Journal { path, reason }
            } else {
                broken(reason)
            });
        }
        if let Err(error) = each(value) {
            return Ok(Err(error));
        }
    }
    Ok(Ok(()))
}

/// Asks for one object.
pub fn ask_one(data_dir: &Path, request: &Request) -> Result<Value, ControlError> {
    let mut answer = None;
    // The closure cannot fail.
    let _ = ask(data_dir, request, |value| {
        answer = Some(value);
        Ok(())
    })?;
    answer.ok_or_else(|| broken_off(data_dir))
}

/// The answer ended before its end.
pub fn broken_off(data_dir: &Path) -> ControlError {
    let reason = "its answer is not complete".to_owned();
    ControlError::Broken { path: socket(data_dir), reason }
}
