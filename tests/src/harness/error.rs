//! What can go wrong while a scenario runs: what, where, why, and what to do.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Why a scenario could not go on. That a run was judged badly is no error but a verdict.
#[derive(thiserror::Error)]
pub enum Error {
    /// The programs under test do not build.
    #[error("cannot build the programs under test: {what}\nhint: run `{command}` and read on")]
    Build {
        /// What cargo said, or why it could not be asked.
        what: String,
        /// The command that failed.
        command: String,
    },
    /// A file or directory of the scenario.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A process does not start at all.
    #[error("cannot start {process}: {source}")]
    Start {
        /// Which.
        process: String,
        /// Why.
        source: std::io::Error,
    },
    /// A process ended although it was needed, or with another code than wanted.
    #[error("{process} ended with {how}; {}\nhint: its log is {}", said(tail), log.display())]
    Ended {
        /// Which.
        process: String,
        /// Its exit code or the signal.
        how: String,
        /// The last lines of its log.
        tail: String,
        /// Where its log is.
        log: PathBuf,
    },
    /// Something did not come about in time.
    #[error("{what}: not within {} s{last}", waited.as_secs_f32())]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        waited: Duration,
        /// How things stood at the last look, led by a separator; may be empty.
        last: String,
    },
    /// A program failed, or answered something else than it is known to answer.
    #[error("{program}: {what}")]
    Answer {
        /// Which, with its arguments.
        program: String,
        /// What is wrong with it.
        what: String,
    },
    /// A request to a simulator failed.
    #[error("{request}: {what}")]
    Request {
        /// Method and address.
        request: String,
        /// What happened.
        what: String,
    },
    /// The run did not do what its scenario stands on, so its verdict would mean nothing.
    #[error("the scenario did not come about: {0}")]
    Scenario(String),
    /// The person at the terminal wants to stop.
    #[error("interrupted")]
    Interrupted,
}

/// Tests end with an error through `Debug`; a person reads that as well.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn said(tail: &str) -> String {
    if tail.is_empty() { "it said nothing".to_owned() } else { format!("it said:\n{tail}") }
}

impl Error {
    /// An answer that cannot be read as what it should be.
    pub(crate) fn unreadable(program: impl Into<String>) -> impl FnOnce(serde_json::Error) -> Self {
        let program = program.into();
        move |error| Self::Answer { program, what: format!("unexpected answer: {error}") }
    }

    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
