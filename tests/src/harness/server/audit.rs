//! A server's audit log: what was recorded, and how reigns began.

use postern_protocol::RoleTerm;
use serde::Deserialize;

use super::Server;
use crate::harness::Error;

/// How a reign began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Began {
    /// The word for it: `role_taken` where it was handed over, `role_claimed` where the server claimed it by itself,
    /// `role_forced`; `role_adopted` where a server heard of it.
    pub event: String,
    /// Whose it is.
    pub active: String,
    /// Its role term.
    pub role_term: RoleTerm,
    /// The particulars; of a claim they end with the reason.
    pub detail: String,
}

#[derive(Deserialize)]
struct AuditLog {
    items: Vec<AuditLine>,
}

#[derive(Deserialize)]
struct AuditLine {
    event: String,
    subject: String,
    detail: String,
}

impl Server {
    /// How each reign began that it knows of; of some there are several lines.
    pub fn reigns(&self) -> Result<Vec<Began>, Error> {
        let began = |AuditLine { event, subject, detail }| {
            let rest: &str = detail.strip_prefix("role term ")?;
            let role_term = RoleTerm(rest.split(',').next()?.parse().ok()?);
            Some(Began { event, active: subject, role_term, detail })
        };
        Ok(self.audit_log()?.into_iter().filter_map(began).collect())
    }

    /// The events, in their order; of a server that runs.
    pub fn audit(&self) -> Result<Vec<String>, Error> {
        Ok(self.audit_log()?.into_iter().map(|line| line.event).collect())
    }

    fn audit_log(&self) -> Result<Vec<AuditLine>, Error> {
        Ok(self.json::<AuditLog>("audit", &["--limit", "5000"])?.items)
    }
}
