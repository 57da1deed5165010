//! Which gateway a controller belongs to: the one that first sent something of it, or the one that
//! an operator gave it to since.
//!
//! Called by `apply` and `query` for every gateway, and by `api` for operators. Invariant: whose it
//! is changes only by an operator's hand, under the role term by which this server is active, in
//! the commit that says so in the audit log.

use postern_protocol::{ControllerId, RoleTerm, Timestamp};
use rusqlite::{Connection, OptionalExtension as _};

use super::apply::put_owner;
use super::change::OwnerChange;
use super::log::commit_logged;
use super::{Audit, Store, StoreError, role::stored_term};

/// An operator's order to give a controller to another gateway.
#[derive(Clone, Debug)]
pub struct Reassignment {
    /// Which.
    pub controller: ControllerId,
    /// To which gateway. There is no list of gateways: a name need not have been seen here yet.
    pub to: String,
    /// The role term that this server accepted it under.
    pub acting: RoleTerm,
    /// Who ordered it.
    pub by: String,
    /// By this server's clock.
    pub now: Timestamp,
}

/// Why there is no owner to show or to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unowned {
    /// The store stands under another role term than the request was accepted under.
    Fenced,
    /// No gateway has sent anything of it.
    Unknown,
}

impl Store {
    /// The gateway that a controller belongs to.
    pub fn owner(
        &self,
        controller: ControllerId,
        acting: RoleTerm,
    ) -> Result<Result<String, Unowned>, StoreError> {
        owned(&self.connection, controller, acting)
    }

    /// Gives a controller to another gateway; returns whose it was. Where it is that gateway's
    /// already nothing changes.
    pub fn reassign(
        &mut self,
        order: &Reassignment,
    ) -> Result<Result<String, Unowned>, StoreError> {
        if self.is_paused() {
            // It would come behind the end that the next active server waits for.
            return Ok(Err(Unowned::Fenced));
        }
        let Reassignment { controller, to, acting, by, now } = order;
        let server = self.name.server.clone();
        let done = commit_logged(&mut self.connection, &server, *acting, |write| {
            let from = match owned(write.sql, *controller, *acting)? {
                Ok(from) => from,
                Err(unowned) => return Ok(Err(unowned)),
            };
            if from != *to {
                let name = controller.to_string();
                let (before, after) = (Some(from.clone()), to.clone());
                let change = OwnerChange { controller: *controller, before, after };
                put_owner(write.sql, &change)?;
                write.note(|noted| noted.controllers.push(change));
                let detail = format!("from gateway {from} to gateway {to}");
                write.audit(&Audit::at(*now, by, "controller_reassigned", &name, &detail))?;
            }
            Ok(Ok(from))
        })?;
        let done = done.map(|(from, _)| from);
        if let Ok(from) = &done
            && from != to
        {
            tracing::warn!(%controller, from, to, by, "a controller was given to another gateway");
        }
        Ok(done)
    }
}

/// The gateway that a controller belongs to, if anything was sent of it.
pub(super) fn owner_of(
    connection: &Connection,
    controller: ControllerId,
) -> Result<Option<String>, StoreError> {
    connection
        .prepare_cached("SELECT gateway FROM controllers WHERE controller = ?")
        .and_then(|mut statement| {
            statement.query_row([controller.to_string()], |row| row.get(0)).optional()
        })
        .map_err(StoreError::sqlite("read the controller"))
}

fn owned(
    connection: &Connection,
    controller: ControllerId,
    acting: RoleTerm,
) -> Result<Result<String, Unowned>, StoreError> {
    if stored_term(connection)? != Some(acting) {
        return Ok(Err(Unowned::Fenced));
    }
    Ok(owner_of(connection, controller)?.ok_or(Unowned::Unknown))
}
