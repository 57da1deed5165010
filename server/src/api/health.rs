//! Health for programs that ask every second and understand no more than a status, such as load
//! balancers: 200 is yes, 503 is not now. The body says why, for people.
//!
//! What is asked for is judged by [`Seen`], which is pure: the handlers only look.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use postern_protocol::RoleTerm;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Server;
use crate::replication::Phase;
use crate::role::State;

/// How a server is. Fields may be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `starting`, `active`, `standby`, `set_aside`.
    pub state: String,
    /// Who is active by its role document.
    pub active: String,
    /// Under which role term.
    pub role_term: RoleTerm,
    /// Why the answer is no; left out where it is yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What the answers depend on, as it was at one moment.
#[derive(Clone, Copy, Debug)]
struct Seen {
    state: State,
    /// Whether it may still claim to be active.
    claims: bool,
    /// Whether its store works.
    works: bool,
    /// What it does as a standby, and whether that went wrong when it was last tried.
    phase: Phase,
    fails: bool,
}

impl Seen {
    /// Whether it can be worked with.
    fn ready(self) -> Result<(), &'static str> {
        if !self.works {
            return Err("its store failed");
        }
        match self.state {
            State::Active | State::Standby => Ok(()),
            State::Starting => Err("it has not yet heard who is active"),
            State::SetAside => {
                Err("its store is not the one that the role document names, or lacks what it had")
            }
        }
    }

    /// Whether it may act as the active one.
    fn active(self) -> Result<(), &'static str> {
        self.ready()?;
        match self.state {
            State::Active if self.claims => Ok(()),
            State::Active => Err("it may not claim to be active: it has no lease"),
            State::Starting | State::Standby | State::SetAside => Err("another server is active"),
        }
    }

    /// Whether it stands by and follows.
    fn standby(self) -> Result<(), &'static str> {
        self.ready()?;
        match (self.state, self.phase) {
            (State::Standby, Phase::Following) if self.fails => Err("it cannot follow just now"),
            (State::Standby, Phase::Following) => Ok(()),
            (State::Standby, Phase::Idle) => Err("it has not begun to follow"),
            (State::Standby, Phase::Merging | Phase::Undoing | Phase::Copying) => {
                Err("its store is still being brought to the active server's")
            }
            (State::Starting | State::Active | State::SetAside, _) => Err("it is no standby"),
        }
    }
}

impl Server {
    /// Looks, and answers what is asked by `judge`.
    fn health(&self, judge: impl FnOnce(Seen) -> Result<(), &'static str>) -> Response {
        // What may run out is looked at first: it cannot come back under the belief read after it.
        let (claims, belief) = (self.claims(), self.keeper.belief());
        let progress = self.progress.borrow();
        let seen = Seen {
            state: belief.state(),
            claims,
            works: self.embedded.works(),
            phase: progress.phase,
            fails: progress.failure.is_some(),
        };
        drop(progress);
        let judged = judge(seen);
        let role = belief.role();
        let health = Health {
            state: belief.state().code().to_owned(),
            active: role.active.clone(),
            role_term: role.role_term,
            why: judged.err().map(str::to_owned),
        };
        if judged.is_ok() {
            return Json(health).into_response();
        }
        let mut response = (StatusCode::SERVICE_UNAVAILABLE, Json(health)).into_response();
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        response
    }
}

/// Says that the process runs.
#[utoipa::path(
    get,
    operation_id = "isLive",
    path = "/live",
    tag = "health",
    security(
        ("certificate" = ["gateway"]), ("certificate" = ["server"]), ("certificate" = ["operator"]),
        ("certificate" = ["monitor"]), ("certificate" = ["witness"])
    ),
    responses((status = 200, description = "It does.", body = Health))
)]
pub(super) async fn live(Shared(server): Shared<Arc<Server>>) -> Response {
    server.health(|_| Ok(()))
}

/// Says whether the server can be worked with: its store is sound, and it knows who is active.
#[utoipa::path(
    get,
    operation_id = "isReady",
    path = "/ready",
    tag = "health",
    security(
        ("certificate" = ["gateway"]), ("certificate" = ["server"]), ("certificate" = ["operator"]),
        ("certificate" = ["monitor"]), ("certificate" = ["witness"])
    ),
    responses(
        (status = 200, description = "It can.", body = Health),
        (status = 503, description = "Not now: `why` says why.", body = Health),
    )
)]
pub(super) async fn ready(Shared(server): Shared<Arc<Server>>) -> Response {
    server.health(Seen::ready)
}

/// Says whether the server may act as the active one.
#[utoipa::path(
    get,
    operation_id = "isActive",
    path = "/active",
    tag = "health",
    security(
        ("certificate" = ["gateway"]), ("certificate" = ["server"]), ("certificate" = ["operator"]),
        ("certificate" = ["monitor"]), ("certificate" = ["witness"])
    ),
    responses(
        (status = 200, description = "It may.", body = Health),
        (status = 503, description = "It may not: `why` says why.", body = Health),
    )
)]
pub(super) async fn active(Shared(server): Shared<Arc<Server>>) -> Response {
    server.health(Seen::active)
}

/// Says whether the server stands by and follows the active one.
#[utoipa::path(
    get,
    operation_id = "isStandby",
    path = "/standby",
    tag = "health",
    security(
        ("certificate" = ["gateway"]), ("certificate" = ["server"]), ("certificate" = ["operator"]),
        ("certificate" = ["monitor"]), ("certificate" = ["witness"])
    ),
    responses(
        (status = 200, description = "It does.", body = Health),
        (status = 503, description = "It does not: `why` says why.", body = Health),
    )
)]
pub(super) async fn standby(Shared(server): Shared<Arc<Server>>) -> Response {
    server.health(Seen::standby)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 4] = [State::Starting, State::Active, State::Standby, State::SetAside];
    const PHASES: [Phase; 5] =
        [Phase::Idle, Phase::Following, Phase::Merging, Phase::Undoing, Phase::Copying];

    /// Everything that can be seen.
    fn all() -> impl Iterator<Item = Seen> {
        STATES.into_iter().flat_map(|state| {
            PHASES.into_iter().flat_map(move |phase| {
                (0..8).map(move |bits| Seen {
                    state,
                    claims: bits & 1 == 0,
                    works: bits & 2 == 0,
                    phase,
                    fails: bits & 4 == 0,
                })
            })
        })
    }

    #[test]
    fn each_answer_is_yes_exactly_where_it_is_defined_to_be() {
        for seen in all() {
            let Seen { state, claims, works, phase, fails } = seen;
            let ready = works && [State::Active, State::Standby].contains(&state);
            assert_eq!(seen.ready().is_ok(), ready, "{seen:?}");
            let active = works && claims && state == State::Active;
            assert_eq!(seen.active().is_ok(), active, "{seen:?}");
            let follows = phase == Phase::Following && !fails;
            let standby = works && follows && state == State::Standby;
            assert_eq!(seen.standby().is_ok(), standby, "{seen:?}");
        }
    }
}
