//! How the control API says no: a status code and `{code, message, hint}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::host::Stopped;

/// The body of a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Stable, for programs.
    pub code: String,
    /// What is wrong, for people.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// A refusal with its status.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    refusal: Refusal,
}

impl ApiError {
    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "no such path", "GET /status is a good start")
    }

    pub(super) fn method_not_allowed() -> Self {
        let hint = "GET reads (/status, /controllers/SERIAL, /lines/NAME), POST does everything else; DELETE takes a trap away";
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Self::new(status, "method-not-allowed", "this path has another method", hint)
    }

    pub(super) fn no_such_controller<'a>(serials: impl Iterator<Item = &'a u32>) -> Self {
        let serials: Vec<_> = serials.take(20).map(u32::to_string).collect();
        let hint = format!("there are {}", serials.join(", "));
        Self::new(
            StatusCode::NOT_FOUND,
            "no-such-controller",
            "no controller has this serial",
            &hint,
        )
    }

    pub(super) fn no_such_line<'a>(names: impl Iterator<Item = &'a String>) -> Self {
        let names: Vec<_> = names.take(20).map(String::as_str).collect();
        let hint = if names.is_empty() {
            "the configuration has no [[line]]".to_owned()
        } else {
            format!("there are {}", names.join(", "))
        };
        Self::new(StatusCode::NOT_FOUND, "no-such-line", "no line has this name", &hint)
    }

    /// What controllers of the other kind can do.
    pub(super) fn other_kind(message: &str, hint: &str) -> Self {
        Self::new(StatusCode::CONFLICT, "other-kind", message, hint)
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        let hint = "a body is one JSON object with the fields of this path and no others";
        Self::new(StatusCode::BAD_REQUEST, "bad-request", message, hint)
    }

    pub(super) fn bad_value(message: impl Into<String>) -> Self {
        let hint = "the fields are right, this value is not; correct it";
        Self::new(StatusCode::BAD_REQUEST, "bad-value", message, hint)
    }

    pub(super) fn refused_origin() -> Self {
        let hint = "use the command line or a program; browsers are not served";
        Self::new(StatusCode::FORBIDDEN, "refused-origin", "sent by a web page", hint)
    }

    pub(super) fn refused_host() -> Self {
        let hint = "use 127.0.0.1 or localhost in the address";
        Self::new(StatusCode::FORBIDDEN, "refused-host", "the host is not loopback", hint)
    }

    fn new(status: StatusCode, code: &str, message: impl Into<String>, hint: &str) -> Self {
        let refusal =
            Refusal { code: code.to_owned(), message: message.into(), hint: hint.to_owned() };
        Self { status, refusal }
    }
}

impl From<Stopped> for ApiError {
    fn from(stopped: Stopped) -> Self {
        let hint = "the simulator itself says why; see its messages";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", stopped.to_string(), hint)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.refusal)).into_response()
    }
}
