//! Refusals: a status for the class, a closed code for which, words for people.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use postern_protocol::ControllerId;
use postern_protocol::pki::PeerIdentity;
use postern_protocol::role::SignedRole;
use postern_protocol::uplink::{MAX_BODY, Refusal, RefusalCode, Watermark};

use crate::failover::FailoverError;
use crate::reign::ChangeError;
use crate::role::{Belief, RoleError, State};
use crate::store::{Refused, StoreError, Unowned};

/// The longest message, in bytes: a few lines.
const MAX_MESSAGE: usize = 800;

/// A refusal on its way out.
#[derive(Debug)]
pub struct ApiError(Box<Refusal>);

/// The status of a code.
pub(super) fn status(code: RefusalCode) -> StatusCode {
    match code {
        RefusalCode::NotActive => StatusCode::MISDIRECTED_REQUEST,
        RefusalCode::Fork | RefusalCode::OutOfSequence | RefusalCode::Denied => {
            StatusCode::CONFLICT
        }
        RefusalCode::Foreign | RefusalCode::Forbidden => StatusCode::FORBIDDEN,
        RefusalCode::NotFound => StatusCode::NOT_FOUND,
        RefusalCode::BadRequest => StatusCode::BAD_REQUEST,
        RefusalCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        RefusalCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = self.0.code;
        let mut response = (status(code), Json(self.0)).into_response();
        let headers = response.headers_mut();
        match code {
            RefusalCode::Unavailable => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            // What is left of the body is not read, so the connection ends here.
            RefusalCode::TooLarge => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            RefusalCode::NotActive
            | RefusalCode::Fork
            | RefusalCode::OutOfSequence
            | RefusalCode::Foreign
            | RefusalCode::Forbidden
            | RefusalCode::NotFound
            | RefusalCode::BadRequest
            | RefusalCode::Denied => {}
        }
        response
    }
}

impl ApiError {
    fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        let message = short(message.into());
        Self(Box::new(Refusal { code, message, hint: None, watermark: None, role: None }))
    }

    pub(super) fn hint(mut self, hint: Option<impl Into<String>>) -> Self {
        self.0.hint = hint.map(Into::into);
        self
    }

    fn watermark(mut self, watermark: Watermark) -> Self {
        self.0.watermark = Some(watermark);
        self
    }

    fn role(mut self, role: &SignedRole) -> Self {
        self.0.role = Some(role.clone());
        self
    }

    /// The certificate is not for this.
    pub(super) fn forbidden(peer: &PeerIdentity, wanted: &str) -> Self {
        Self::new(RefusalCode::Forbidden, format!("{peer} is not {wanted}"))
    }

    /// A request that came past the TLS layer: a bug, answered closed.
    pub(super) fn nobody() -> Self {
        Self::new(RefusalCode::Forbidden, "the connection carries no identity")
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(RefusalCode::NotFound, message)
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(RefusalCode::BadRequest, message)
    }

    pub(super) fn denied(message: impl Into<String>, hint: Option<String>) -> Self {
        Self::new(RefusalCode::Denied, message).hint(hint)
    }

    /// Not now.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(RefusalCode::Unavailable, message)
    }

    /// The server stops.
    pub(super) fn stopping() -> Self {
        Self::new(RefusalCode::Unavailable, "this server is stopping")
    }

    /// There is no room for a body now.
    pub(super) fn busy() -> Self {
        Self::new(RefusalCode::Unavailable, "too much is being sent to this server at once")
    }

    pub(super) fn too_large() -> Self {
        Self::new(RefusalCode::TooLarge, format!("the body is longer than {MAX_BODY} bytes"))
            .hint(Some("send smaller batches"))
    }

    /// This server does not take what only the active one may take.
    pub(super) fn not_active(belief: &Belief) -> Self {
        let active = &belief.role().active;
        match belief.state() {
            State::Starting => Self::new(RefusalCode::Unavailable, "this server is starting"),
            State::SetAside => Self::new(
                RefusalCode::Unavailable,
                format!("the role document names server {active} with another store than its present one"),
            )
            .hint(Some("an operator has to fail over, to the other server or with --force")),
            State::Active | State::Standby => {
                Self::new(RefusalCode::NotActive, format!("server {active} is the active one"))
            }
        }
        .role(belief.signed())
    }

    /// Why a batch was refused; `belief` is read anew, since the role may have changed.
    pub(super) fn refused(refused: &Refused, belief: &Belief) -> Self {
        let message = refused.to_string();
        match refused {
            // It became active again in between: the batch only has to be sent again.
            Refused::Fenced if belief.state() == State::Active => {
                Self::new(RefusalCode::Unavailable, message)
            }
            Refused::Fenced => Self::not_active(belief),
            Refused::Paused => Self::new(RefusalCode::Unavailable, message),
            Refused::Behind { .. } => Self::new(RefusalCode::Unavailable, message).hint(Some(
                "its store was put back or replaced: an operator has to fail over to the other server",
            )),
            Refused::Batch(_) | Refused::TooManyAliases => Self::bad_request(message),
            Refused::ForeignJournal { .. } => Self::new(RefusalCode::Foreign, message),
            Refused::ForeignController { controller, .. } => {
                Self::new(RefusalCode::Foreign, message).hint(Some(reassign(*controller)))
            }
            Refused::Fork(watermark) => Self::new(RefusalCode::Fork, message)
                .watermark(*watermark)
                .hint(Some("take a new journal id and read the controllers again")),
            Refused::OutOfSequence(watermark) => {
                Self::new(RefusalCode::OutOfSequence, message).watermark(*watermark)
            }
        }
    }

    /// Why there is no owner to show or to change.
    pub(super) fn unowned(why: Unowned, controller: ControllerId, belief: &Belief) -> Self {
        match why {
            Unowned::Fenced => Self::refused(&Refused::Fenced, belief),
            Unowned::Unknown => {
                Self::not_found(format!("no gateway has sent anything of controller {controller}"))
                    .hint(Some("it becomes the gateway's that first sends something of it"))
            }
        }
    }
}

/// What is wrong with a text may be said with all of that text, which may be a whole body.
fn short(mut message: String) -> String {
    if message.len() > MAX_MESSAGE {
        let end = (0..=MAX_MESSAGE).rev().find(|at| message.is_char_boundary(*at));
        message.truncate(end.unwrap_or(0));
        message.push('…');
    }
    message
}

/// What to do about a controller that two gateways claim.
fn reassign(controller: ControllerId) -> String {
    format!(
        "one gateway alone may read it; to give it to another: \
         postern-server reassign {controller} --to GATEWAY --dir DIR"
    )
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::new(RefusalCode::Unavailable, error.to_string()).hint(error.hint())
    }
}

impl From<RoleError> for ApiError {
    fn from(error: RoleError) -> Self {
        match error {
            RoleError::Store(error) => error.into(),
            RoleError::Unavailable(_) => Self::new(RefusalCode::Unavailable, error.to_string()),
            RoleError::Signature(_)
            | RoleError::TermTooHigh(_)
            | RoleError::NoGroup(_)
            | RoleError::Missing => Self::bad_request(error.to_string()),
        }
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Role(error) => error.into(),
            ChangeError::NoThirdVoter => {
                Self::denied(error.to_string(), error.hint().map(Into::into))
            }
            ChangeError::Sign(_) | ChangeError::Voters(_) => {
                Self::new(RefusalCode::Unavailable, error.to_string()).hint(error.hint())
            }
        }
    }
}

impl From<FailoverError> for ApiError {
    fn from(error: FailoverError) -> Self {
        match error {
            FailoverError::Role(RoleError::Store(error)) => error.into(),
            FailoverError::Change(error) => {
                let hint = FailoverError::Change(error);
                let message = hint.to_string();
                Self::new(RefusalCode::Unavailable, message).hint(hint.hint())
            }
            FailoverError::Starting => {
                Self::new(RefusalCode::Unavailable, error.to_string()).hint(error.hint())
            }
            FailoverError::Denied(_)
            | FailoverError::Unreachable { .. }
            | FailoverError::Stranger(_)
            | FailoverError::Unclear { .. }
            | FailoverError::Overtaken { .. }
            | FailoverError::Lagging { .. }
            | FailoverError::PeerSetAside { .. }
            | FailoverError::NoTerm
            | FailoverError::Role(_)
            | FailoverError::Sign(_) => {
                Self::denied(error.to_string(), error.hint().map(Into::into))
            }
        }
    }
}

/// Any other path.
pub(super) async fn no_such_path() -> ApiError {
    ApiError::not_found("there is nothing at this path").hint(Some("see docs/uplink.md"))
}

/// Another method than the path has.
pub(super) async fn no_such_method() -> Response {
    let mut response = ApiError::bad_request("this path has no such method").into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}
