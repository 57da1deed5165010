//! The audit log: every accepted change of the role, of whose a controller is, and every alarm, who,
//! what, why.

use postern_protocol::{RoleTerm, Timestamp};
use rusqlite::{Connection, params};

use super::change::AuditLine;
use super::log::insert_audit;
use super::{Store, StoreError};
use crate::clock;

/// An alarm that repeats is recorded at most this often: a gateway that is refused tries again
/// every few seconds, and the log must not grow with it.
const REPEAT_MS: i64 = 60 * 60 * 1_000;

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// When, by this server's clock.
    pub at: Timestamp,
    /// Who: an identity by certificate, or `operator` for what was done at the data directory.
    pub actor: String,
    /// What happened, as a stable word.
    pub event: String,
    /// To whom or what.
    pub subject: String,
    /// Why, and the particulars.
    pub detail: String,
    /// Whether both servers keep it: what the active one does. Else it concerns one alone.
    pub shared: bool,
}

impl Audit {
    /// A line for what happens now.
    pub fn now(actor: &str, event: &str, subject: &str, detail: &str) -> Self {
        Self::at(clock::now(), actor, event, subject, detail)
    }

    /// A line for what happened at a given time.
    pub fn at(at: Timestamp, actor: &str, event: &str, subject: &str, detail: &str) -> Self {
        Self {
            at,
            actor: actor.to_owned(),
            event: event.to_owned(),
            subject: subject.to_owned(),
            detail: detail.to_owned(),
            shared: false,
        }
    }

    /// The line, for both servers to keep.
    #[must_use]
    pub fn shared(self) -> Self {
        Self { shared: true, ..self }
    }

    /// The line, as a server writes it.
    pub(super) fn line(&self, server: &str) -> AuditLine {
        let Self { at, actor, event, subject, detail, shared: _ } = self.clone();
        AuditLine { server: server.to_owned(), at, actor, event, subject, detail }
    }

    /// Adds a line that concerns this server alone to the transaction at hand.
    pub(super) fn insert(&self, connection: &Connection, server: &str) -> Result<(), StoreError> {
        insert_audit(connection, &self.line(server), None)
    }
}

impl Store {
    /// Records and logs an alarm, unless the same was recorded within the hour. Where the store
    /// does not stand under the role term any more, it concerns this server alone.
    pub fn alarm(&mut self, acting: RoleTerm, alarm: &Audit) -> Result<(), StoreError> {
        let Audit { at, actor, event, subject, detail, shared: _ } = alarm;
        let recent: bool = self
            .connection
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM audit
                 WHERE event = ? AND subject = ? AND actor = ? AND at > ?)",
            )
            .and_then(|mut statement| {
                let since = at.0.saturating_sub(REPEAT_MS);
                statement.query_row(params![event, subject, actor, since], |row| row.get(0))
            })
            .map_err(StoreError::sqlite("read the audit log"))?;
        if recent {
            return Ok(());
        }
        tracing::warn!(event, actor, subject, detail, "alarm");
        if !self.record(acting, alarm)? {
            alarm.insert(&self.connection, &self.name.server)?;
        }
        Ok(())
    }
}
