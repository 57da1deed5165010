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
        let bytes = if packed { unpack(&mut bytes.as_slice())? } else { bytes };
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

/// Unpacks no more than may be kept; `packed` is left at what was not needed.
fn unpack(packed: &mut &[u8]) -> Result<Vec<u8>, ApiError> {
    let broken = |error: std::io::Error| {
        ApiError::bad_request(format!("the body is not zstd that can be unpacked: {error}"))
    };
    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed).map_err(broken)?;
    decoder.window_log_max(MAX_WINDOW_LOG).map_err(broken)?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_BODY).unwrap_or(u64::MAX);
    decoder.take(limit + 1).read_to_end(&mut bytes).map_err(broken)?;
    if bytes.len() > MAX_BODY { Err(ApiError::too_large()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use axum::http::StatusCode;
    use axum::response::IntoResponse as _;

    use super::*;

    /// Invariant 10: a bomb is not unpacked and then found too long; unpacking stops at the limit.
    #[test]
    fn a_bomb_is_unpacked_no_further_than_the_limit() {
        let frame = zstd::bulk::compress(&vec![0; MAX_BODY], 1).unwrap();
        let bomb = frame.repeat(64);
        let mut rest = bomb.as_slice();
        let refused = unpack(&mut rest).unwrap_err().into_response();
        assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert!(rest.len() > bomb.len() / 2, "{} of {} left", rest.len(), bomb.len());
        assert_eq!(unpack(&mut frame.as_slice()).unwrap().len(), MAX_BODY);
    }

    #[test]
    fn a_frame_that_asks_for_a_huge_window_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(26).unwrap();
        encoder.write_all(b"{}").unwrap();
        encoder.flush().unwrap();
        encoder.write_all(b" ").unwrap();
        let packed = encoder.finish().unwrap();
        let refused = unpack(&mut packed.as_slice()).unwrap_err().into_response();
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    }
}
