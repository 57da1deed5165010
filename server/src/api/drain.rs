//! A request's body whose rest is read when nobody wants it. Whoever is refused by the head alone may still be
//! sending: if the connection ended then, it would see a broken connection instead of the refusal.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use postern_protocol::uplink::MAX_BODY;
use tokio_util::sync::CancellationToken;

/// How long the rest may take: the refusal is out already, and this is a courtesy.
const PATIENCE: Duration = Duration::from_secs(10);

/// The body. It is read by a handler, or dropped by one that has no use for it.
pub(super) struct Drained<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    /// `None` once it has ended.
    body: Option<B>,
    /// How much of it is read at most; what is longer is refused for that, and nothing of it is waited for.
    left: usize,
    stop: CancellationToken,
}

impl<B> Drained<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    pub(super) fn new(body: B, stop: CancellationToken) -> Self {
        Self { body: Some(body), left: MAX_BODY, stop }
    }
}

impl<B> Body for Drained<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                self.left = self.left.saturating_sub(length);
            }
            // A body that broke off has no rest.
            Some(Err(_)) | None => self.body = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B> Drop for Drained<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    fn drop(&mut self) {
        let Some(mut body) = self.body.take() else { return };
        let (mut left, stop) = (self.left, self.stop.clone());
        let too_long = body.size_hint().lower() > u64::try_from(left).unwrap_or(u64::MAX);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if body.is_end_stream() || left == 0 || too_long {
            return;
        }
        runtime.spawn(async move {
            let rest = async {
                while let Some(Ok(frame)) =
                    std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
                {
                    left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
                    if left == 0 {
                        break;
                    }
                }
            };
            // Cancel-safety: what is read is thrown away.
            tokio::select! {
                () = stop.cancelled() => {}
                _ = tokio::time::timeout(PATIENCE, rest) => {}
            }
        });
    }
}
