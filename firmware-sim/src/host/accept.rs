//! Connections of a TCP port, whatever is said over them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many connections there are at once; more wait in the backlog. Real controllers have fewer.
const MAX_CONNECTIONS: usize = 32;

/// How long a listener that answers with an error is left alone.
const PAUSE: Duration = Duration::from_millis(10);

/// Takes connections until cancelled, and has each of them talked over; `of` is whose port it is, for the log.
pub(super) async fn accept<F>(
    of: String,
    listener: TcpListener,
    tasks: TaskTracker,
    stop: CancellationToken,
    converse: impl Fn(TcpStream) -> F,
) where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let (of, connections): (Arc<str>, _) = (of.into(), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
        // Cancel-safety: accept loses no connection when it is dropped.
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (of, stop, conversation) = (Arc::clone(&of), stop.clone(), converse(stream));
                tasks.spawn(async move {
                    let _permit = permit;
                    // Cancel-safety: a conversation that is dropped is a connection that is closed.
                    tokio::select! {
                        () = stop.cancelled() => {}
                        result = conversation => if let Err(error) = result {
                            tracing::debug!(%of, %error, "tcp");
                        }
                    }
                });
            }
            Err(error) => {
                tracing::debug!(%of, %error, "tcp accept");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
