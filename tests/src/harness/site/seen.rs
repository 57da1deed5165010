//! What is seen of a run on its way: who was active in whose eyes, how long things took, how processes
//! ended.

use std::time::{Duration, Instant};

use postern_protocol::RoleTerm;

use super::Site;
use crate::checker::{Exit, ReignSeen, Timing};
use crate::harness::{Began, Claim, Error, GatewayStatus, RoleStatus, Side, overlap};

impl Site {
    /// Notes how a process ended that the scenario started by itself, and with which code it had to.
    pub fn note_exit(&mut self, exit: Exit, expected: i32) {
        self.exits.push(Exit { expected, ..exit });
    }

    /// Notes how long something took, and how long it may take.
    pub fn note_time(&mut self, what: &str, since: Instant, bound: Duration) {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let (took_ms, bound_ms) = (ms(since.elapsed()), ms(bound));
        self.times.push(Timing { what: what.to_owned(), took_ms, bound_ms });
    }

    /// The gateway's status; who is active in its eyes is noted.
    pub fn look(&mut self) -> Result<GatewayStatus, Error> {
        let status = self.gateway.status()?;
        let uplink = &status.uplink;
        if let (Some(active), Some(role_term)) = (uplink.active.clone(), uplink.role_term) {
            self.note_reign(ReignSeen { observer: "gateway".to_owned(), active, role_term });
        }
        self.ask_servers()?;
        Ok(status)
    }

    /// Notes who is active in the eyes of the servers that run. Whoever is about to change the role
    /// asks first, so that every role term under which anything was stored has been seen.
    pub(super) fn ask_servers(&mut self) -> Result<(), Error> {
        for side in Side::BOTH {
            if self.server(side).is_running() {
                let RoleStatus { active, role_term, .. } = self.server(side).role()?;
                let observer = format!("server {}", side.name());
                self.note_reign(ReignSeen { observer, active, role_term });
            }
        }
        Ok(())
    }

    /// Notes the reigns that began by themselves, which nobody may have seen at the time: the audit log
    /// names each. Its lines do not stand in the order of their terms where one server brought its own.
    pub(super) fn read_reigns(&mut self, active: Side) -> Result<(), Error> {
        for (line, began) in self.server(active).reigns()?.into_iter().enumerate() {
            let Began { active, role_term, .. } = began;
            let observer = format!("audit line {line}");
            self.note_reign(ReignSeen { observer, active, role_term });
        }
        Ok(())
    }

    /// The same observer saying the same again is nothing new.
    fn note_reign(&mut self, seen: ReignSeen) {
        let last = self.reigns.iter().rev().find(|known| known.observer == seen.observer);
        if last != Some(&seen) {
            self.reigns.push(seen);
        }
    }

    /// Ends the questions who is active. No role term may have been claimed by two servers, and none after
    /// another server had claimed a higher one; for a moment only where it was handed over.
    pub(super) fn judge_claims(&mut self) -> Result<(), Error> {
        let Some(claims) = self.claims.take() else { return Ok(()) };
        let claims = claims.finish()?;
        if claims.is_empty() {
            let what = "no server ever said at /active that it is the active one";
            return Err(Error::Scenario(what.to_owned()));
        }
        for Claim { server, active, role_term, .. } in claims.clone() {
            let observer = format!("/active of server {server}");
            if active != server {
                let what = format!("{observer} is answered with 200 and names {active}");
                return Err(Error::Scenario(what));
            }
            self.note_reign(ReignSeen { observer, active, role_term });
        }
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let handed = |term: RoleTerm| self.handed.contains(&term);
        self.times.push(Timing {
            what: format!("two servers said that they are active ({} answers):", claims.len()),
            took_ms: ms(overlap(&claims, |term| !handed(term))),
            bound_ms: 0,
        });
        if !self.handed.is_empty() {
            self.times.push(Timing {
                what: "two servers said that they are active, after a handover:".to_owned(),
                took_ms: ms(overlap(&claims, handed)),
                bound_ms: ms(postern_server::liveness::Timing::NEAR.holds_for),
            });
        }
        Ok(())
    }

    /// The role is about to be handed over, if this server has it. It lives and hears of that a moment later, and
    /// never later than its lease ends.
    pub(super) fn expect_overlap(&mut self, before: Side) -> Result<(), Error> {
        if self.claims.is_some() && self.server(before).is_running() {
            let RoleStatus { state, role_term, .. } = self.server(before).role()?;
            if state == "active" {
                self.handed.insert(role_term);
            }
        }
        Ok(())
    }
}
