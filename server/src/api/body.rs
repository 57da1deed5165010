//! Request bodies: read within a time and a size, unpacked within a size.

use std::io::Read as _;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use futures_util::{Stream as _, StreamExt as _};
use postern_protocol::uplink::MAX_BODY;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::ApiError;
use crate::replication::wire;

use super::tls::MAX_CONNECTIONS_PER_IDENTITY;

/// How long a body may take: a full batch over a link of 1 Mbit/s.
const BODY_TIMEOUT: Duration = Duration::from_secs(40);

/// The largest zstd window, as a power of two (8 MiB): a frame may ask for much more, and that
/// memory would be taken before a byte is unpacked.
const MAX_WINDOW_LOG: u32 = 23;

/// Bodies unpacked and parsed at once: each may take some tens of megabytes for a moment.
static PARSING: Semaphore = Semaphore::const_new(8);

/// Bytes of longer bodies that are being received or wait to be parsed, all together: without this,
/// every open connection could hold a whole one. It is room for twice as many as one identity has
/// connections, so that nobody takes it all.
const MAX_GATHERED: usize = 2 * MAX_CONNECTIONS_PER_IDENTITY * MAX_BODY;

static GATHERED: Semaphore = Semaphore::const_new(MAX_GATHERED);

/// Bodies up to here need no room: all connections together hold 8 MiB of them, and a role
/// document or an operator's command does not queue behind batches.
const SMALL: usize = 16 * 1024;

/// How long a body waits for room: the sender's own patience is not much longer.
const ROOM_TIMEOUT: Duration = Duration::from_secs(10);

/// The body as JSON.
pub(super) async fn json<T: DeserializeOwned + Send + 'static>(
    request: Request,
) -> Result<T, ApiError> {
    let packed = is_packed(request.headers())?;
    parse(request, move |bytes| {
        let bytes = if packed { unpack(&mut bytes.as_slice())? } else { bytes };
        // serde takes an array for an object whose fields stand in order: nobody means that.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(ApiError::bad_request("the body is not a JSON object"));
        }
        serde_json::from_slice(&bytes).map_err(|error| {
            ApiError::bad_request(format!("the body is not as specified: {error}"))
        })
    })
    .await
}

/// The body as servers talk among themselves.
pub(super) async fn packed<T: DeserializeOwned + Send + 'static>(
    request: Request,
) -> Result<T, ApiError> {
    let read = |bytes: Vec<u8>| wire::unpack(&bytes);
    parse(request, move |bytes| {
        read(bytes).map_err(|error| ApiError::bad_request(error.to_string()))
    })
    .await
}

/// The body as it is.
pub(super) async fn bytes(request: Request) -> Result<Vec<u8>, ApiError> {
    Ok(gather(&GATHERED, request.into_body()).await?.0)
}

async fn parse<T: Send + 'static>(
    request: Request,
    read: impl FnOnce(Vec<u8>) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let (bytes, room) = gather(&GATHERED, request.into_body()).await?;
    let turn = PARSING.acquire().await;
    // Unpacking and parsing 4 MiB takes long enough to be kept from other requests.
    let parsed = tokio::task::spawn_blocking(move || {
        // Held to the end of the work, which goes on although the client hangs up.
        let _held = (turn, room);
        read(bytes)
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

/// Reads a body once there is room for all of it. The room is to be held as long as the bytes.
async fn gather(
    room: &Semaphore,
    body: Body,
) -> Result<(Vec<u8>, Option<SemaphorePermit<'_>>), ApiError> {
    let stream = body.into_data_stream();
    let longest = match stream.size_hint() {
        (_, Some(length)) if length > MAX_BODY => return Err(ApiError::too_large()),
        (_, Some(length)) => length,
        (_, None) => MAX_BODY,
    };
    let held = if longest > SMALL {
        let weight = u32::try_from(longest).unwrap_or(u32::MAX);
        let waited = tokio::time::timeout(ROOM_TIMEOUT, room.acquire_many(weight)).await;
        Some(waited.ok().and_then(Result::ok).ok_or_else(ApiError::busy)?)
    } else {
        None
    };
    let bytes = tokio::time::timeout(BODY_TIMEOUT, read(stream, longest))
        .await
        .map_err(|_| ApiError::bad_request("the body took too long"))??;
    Ok((bytes, held))
}

async fn read(mut stream: BodyDataStream, longest: usize) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::with_capacity(longest);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| ApiError::bad_request("the body broke off"))?;
        if bytes.len() + chunk.len() > longest {
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::http::StatusCode;
    use axum::response::IntoResponse as _;
    use futures_util::poll;
    use tokio::sync::mpsc;

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

    fn endless(polled: &Arc<AtomicBool>) -> (mpsc::UnboundedSender<Vec<u8>>, Body) {
        let (sender, mut chunks) = mpsc::unbounded_channel();
        let polled = polled.clone();
        let stream = futures_util::stream::poll_fn(move |context| {
            polled.store(true, Ordering::Relaxed);
            chunks.poll_recv(context).map(|chunk| chunk.map(Ok::<Vec<u8>, std::io::Error>))
        });
        (sender, Body::from_stream(stream))
    }

    /// Regression: bodies were gathered outside every limit, as many as there were connections.
    #[tokio::test]
    async fn no_more_bodies_are_gathered_than_there_is_room_for() {
        let room = Semaphore::new(2 * MAX_BODY);
        let polled = [const { AtomicBool::new(false) }; 3].map(Arc::new);
        let (senders, bodies): (Vec<_>, Vec<_>) = polled.iter().map(endless).unzip();
        let mut gathering: Vec<_> =
            bodies.into_iter().map(|body| Box::pin(gather(&room, body))).collect();
        for gather in &mut gathering {
            assert!(poll!(gather).is_pending());
        }
        let read: Vec<bool> = polled.iter().map(|polled| polled.load(Ordering::Relaxed)).collect();
        assert_eq!(read, [true, true, false], "the third waits unread");
        assert_eq!(room.available_permits(), 0);

        // A short command passes by.
        let (bytes, held) = gather(&room, Body::from("{}")).await.unwrap();
        assert!(bytes == b"{}" && held.is_none());

        senders[0].send(b"[]".to_vec()).unwrap();
        drop(senders);
        let (bytes, held) = gathering.remove(0).await.unwrap();
        assert_eq!(bytes, b"[]");
        assert!(poll!(&mut gathering[1]).is_pending(), "what was read holds its room still");
        drop(held);
        let (bytes, _held) = gathering.remove(1).await.unwrap();
        assert!(bytes.is_empty() && polled[2].load(Ordering::Relaxed));
        drop(gathering);
    }

    #[tokio::test]
    async fn a_body_that_says_it_is_too_long_is_not_read() {
        let room = Semaphore::new(0);
        let body = Body::from(vec![b' '; MAX_BODY + 1]);
        let refused = gather(&room, body).await.unwrap_err().into_response();
        assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
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
