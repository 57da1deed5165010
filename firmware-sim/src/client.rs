//! The other end of the control API: one connection, one request, one JSON reply.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::api::error::Refusal;

/// How long a reply may take; generating millions of events takes minutes.
const TIMEOUT: Duration = Duration::from_mins(10);

/// The largest reply: the settings of a board with all its tasks and profiles fit ten times.
const MAX_REPLY: usize = 4 * 1024 * 1024;

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody there, or not the control API.
    #[error("{api}: no simulator answers: {what}")]
    Unreachable {
        /// Where.
        api: SocketAddr,
        /// Why.
        what: String,
    },
    /// The simulator said no.
    #[error("the simulator refuses ({status}): {}", refusal.message)]
    Refused {
        /// The status code.
        status: u16,
        /// Why.
        refusal: Refusal,
    },
}

/// Sends a request; `Some` body makes it a POST.
pub async fn call(api: SocketAddr, path: &str, body: Option<Value>) -> Result<Value, ClientError> {
    let unreachable = |what: String| ClientError::Unreachable { api, what };
    let exchange = async {
        let stream = TcpStream::connect(api).await.map_err(|error| error.to_string())?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, api.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.map(|body| body.to_string()).unwrap_or_default()))
            .map_err(|error| error.to_string())?;
        let reply = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = reply.status();
        let bytes = to_bytes(Body::new(reply.into_body()), MAX_REPLY)
            .await
            .map_err(|error| error.to_string())?;
        Ok::<_, String>((status, bytes))
    };
    let (status, bytes) = tokio::time::timeout(TIMEOUT, exchange)
        .await
        .map_err(|_| unreachable("it takes too long".to_owned()))?
        .map_err(unreachable)?;
    if status == StatusCode::OK {
        return serde_json::from_slice(&bytes).map_err(|error| unreachable(error.to_string()));
    }
    match serde_json::from_slice(&bytes) {
        Ok(refusal) => Err(ClientError::Refused { status: status.as_u16(), refusal }),
        Err(_) => Err(unreachable(format!("status {status}"))),
    }
}
