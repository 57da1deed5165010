//! How the group is run, changed by an operator at the active server.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use postern_protocol::role::{Mode, WhenFull};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::document::refused;
use super::{ApiError, Server, body, operator, peer_of};
use crate::clock;
use crate::reign::ChangeError;
use crate::role::decide::{Command, Denied, Reign, Rules as Changes, decide};
use crate::store::Audit;

/// `POST /v1/admin/rules`; what is left out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"when_full": "hold"}))]
pub struct Rules {
    /// By whose hand the role changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// The server that is to be active where there is a choice; `null` where they are alike.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub preferred: Option<Option<String>>,
    /// How long after an automatic failover there is no other, in milliseconds: a week at most. It
    /// doubles while failovers follow one another soon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 604_800_000)]
    pub dwell_ms: Option<u64>,
    /// How long another server than the preferred one may be active before that is alarmed, in
    /// milliseconds: a week at most; `null` for no alarm.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>, maximum = 604_800_000)]
    pub away_alarm_ms: Option<Option<u64>>,
    /// Whether somebody works on the servers, so that the role does not change by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<bool>,
    /// What happens when gateways run full while too few stores are in sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_full: Option<WhenFull>,
    /// How many copies of a transaction there are to be: 1 or 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 2)]
    pub copies_wanted: Option<u8>,
}

/// The longest of the times: what is longer is a mistake in the unit, or `manual`.
const LONGEST_MS: u64 = 7 * 24 * 3_600_000;

/// What is there was given, be it `null`.
#[expect(clippy::option_option, reason = "left out, null and a value are three things")]
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The answer to [`Rules`], and what holds then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ruled {
    /// Whether anything changed.
    pub changed: bool,
    /// See [`Rules`].
    pub mode: Mode,
    /// See [`Rules`].
    pub preferred: Option<String>,
    /// See [`Rules`].
    pub dwell_ms: u64,
    /// See [`Rules`].
    pub away_alarm_ms: Option<u64>,
    /// See [`Rules`].
    pub maintenance: bool,
    /// See [`Rules`].
    pub when_full: WhenFull,
    /// See [`Rules`].
    pub copies_wanted: u8,
}

/// Changes how the group is run; what is left out stays as it is.
#[utoipa::path(
    post,
    operation_id = "changeRules",
    path = "/v1/admin/rules",
    tag = "operator",
    security(("certificate" = ["operator"])),
    request_body(content = Rules, description = "What is to hold."),
    responses(
        (status = 200, description = "What holds now.", body = Ruled),
        refused::BadRequest,
        refused::Forbidden,
        refused::Denied,
        refused::TooLarge,
        refused::NotActive,
        refused::Unavailable,
    )
)]
pub(super) async fn change(
    State(server): State<Arc<Server>>,
    request: Request,
) -> Result<Json<Ruled>, ApiError> {
    let peer = peer_of(&request)?;
    operator(&peer)?;
    let rules: Rules = body::json(request).await?;
    sound(&rules, &server)?;
    // The change runs to its end even if the operator's connection breaks in the middle.
    let task = server.clone();
    let change = tokio::spawn(async move {
        let server = task;
        let _one = server.changing.lock().await;
        let belief = server.active()?;
        let group = belief.group().to_owned();
        let (holder, term) = (belief.me().clone(), belief.role().role_term);
        let detail = format!("{rules:?}");
        let rules = Changes::from(rules);
        let command =
            Command::Rules(Reign { group: group.clone(), holder, term }, rules, clock::now());
        let document = match decide(belief.document(), &command) {
            Ok(document) => document,
            Err(Denied::NothingToDo) => return Ok(false),
            Err(denied) => return Err(ApiError::denied(denied.to_string(), None)),
        };
        let why = Audit::now(&peer.to_string(), "rules_changed", &group, &detail).shared();
        if server.change_role(&belief, document, why).await? {
            return Ok(true);
        }
        Err(ApiError::unavailable("another change of the role document came first"))
    });
    let changed = change
        .await
        .unwrap_or_else(|_| Err(ApiError::unavailable("the change did not come to an end")))?;
    let belief = server.keeper.belief();
    let role = belief.role();
    Ok(Json(Ruled {
        changed,
        mode: role.mode,
        preferred: role.preferred.clone(),
        dwell_ms: role.dwell_ms,
        away_alarm_ms: role.away_alarm_ms,
        maintenance: role.maintenance,
        when_full: role.when_full,
        copies_wanted: role.copies_wanted,
    }))
}

/// What no document could carry out is refused before anybody is asked.
fn sound(rules: &Rules, server: &Server) -> Result<(), ApiError> {
    let Rules { mode, preferred, dwell_ms, away_alarm_ms, copies_wanted, .. } = rules;
    if let Some(copies) = copies_wanted.filter(|copies| !(1..=2).contains(copies)) {
        return Err(ApiError::bad_request(format!("copies_wanted is {copies}, not 1 or 2")));
    }
    if *mode == Some(Mode::Automatic) && server.voting.is_none() {
        return Err(ChangeError::NoThirdVoter.into());
    }
    if let Some(Some(name)) = preferred
        && server.config.member(name).is_none()
    {
        return Err(ApiError::bad_request(format!(
            "preferred is {name:?}, no server of this site"
        )));
    }
    for (key, ms) in [("dwell_ms", *dwell_ms), ("away_alarm_ms", away_alarm_ms.flatten())] {
        if ms.is_some_and(|ms| ms > LONGEST_MS) {
            return Err(ApiError::bad_request(format!("{key} is more than a week")));
        }
    }
    Ok(())
}

impl From<Rules> for Changes {
    fn from(rules: Rules) -> Self {
        let Rules {
            mode,
            preferred,
            dwell_ms,
            away_alarm_ms,
            maintenance,
            when_full,
            copies_wanted,
        } = rules;
        Self { mode, when_full, copies_wanted, preferred, dwell_ms, away_alarm_ms, maintenance }
    }
}
