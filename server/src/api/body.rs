//! Request bodies: read within a time and a size, unpacked within a size.

use std::io::Read as _;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use futures_util::StreamExt as _;
use postern_protocol::uplink::MAX_BODY;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::ApiError;

/// How long a body may take: a full batch over a link of 1 Mbit/s.
const BODY_TIMEOUT: Duration = Duration::from_secs(40);

/// The largest zstd window, as a power of two (8 MiB): a frame may ask for much more, and that
/// memory would be taken before a byte is unpacked.
const MAX_WINDOW_LOG: u32 = 23;

/// Bodies unpacked and parsed at once: each may take some tens of megabytes for a moment.
static PARSING: Semaphore = Semaphore::const_new(8);

/// The body as JSON.
pub(super) async fn json<T: DeserializeOwned + Send + 'static>(
    request: Request,
) -> Result<T, ApiError> {
    let packed = is_packed(request.headers())?;
    let bytes = tokio::time::timeout(BODY_TIMEOUT, read(request.into_body()))
        .await
        .map_err(|_| ApiError::bad_request("the body took too long"))??;
    let _turn = PARSING.acquire().await;
    // Unpacking and parsing 4 MiB takes long enough to be kept from other requests.
    let parsed = tokio::task::spawn_blocking(move || {
        let bytes = if packed { unpack(&bytes)? } else { bytes };
        serde_json::from_slice(&bytes).map_err(|error| {
            ApiError::bad_request(format!("the body is not as specified: {error}"))
        })
    });
    parsed.await.unwrap_or_else(|_| Err(ApiError::bad_request("the body cannot be read")))
}

fn is_packed(headers: &HeaderMap) -> Result<bool, ApiError> {
    match headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(false),
        Some(b"zstd") => Ok(true),
        Some(_) => Err(ApiError::bad_request("content-encoding is neither zstd nor identity")),
    }
}

async fn read(body: Body) -> Result<Vec<u8>, ApiError> {
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| ApiError::bad_request("the body broke off"))?;
        if bytes.len() + chunk.len() > MAX_BODY {
            return Err(ApiError::too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn unpack(packed: &[u8]) -> Result<Vec<u8>, ApiError> {
    let broken = |error: std::io::Error| {
        ApiError::bad_request(format!("the body is not zstd that can be unpacked: {error}"))
    };
    let mut decoder = zstd::stream::read::Decoder::new(packed).map_err(broken)?;
    decoder.window_log_max(MAX_WINDOW_LOG).map_err(broken)?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_BODY).unwrap_or(u64::MAX);
    decoder.take(limit + 1).read_to_end(&mut bytes).map_err(broken)?;
    if bytes.len() > MAX_BODY { Err(ApiError::too_large()) } else { Ok(bytes) }
}
