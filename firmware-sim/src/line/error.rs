//! Why a line cannot be had.

use std::io;

/// Why there is no line, or why it does not do what it is told.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Settings that no line can have.
    #[error("the line's settings are wrong: {0}")]
    Settings(String),
    /// Misbehaviour that no station can have.
    #[error("the station's misbehaviour is wrong: {0}")]
    Misbehaviour(String),
    /// No such station.
    #[error("there is no station {station}, the line has {stations}, counted from 0")]
    NoStation {
        /// Which was asked for.
        station: usize,
        /// How many there are.
        stations: usize,
    },
    /// The system refuses something that a line needs.
    #[error("cannot {what}")]
    Io {
        /// What.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl LineError {
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
