//! The UDP side of a board: a datagram in, its reply out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postern_protocol::uhppote::{FRAME, Frame};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::board::{Answer, Board};

/// One byte more than a frame, so that a longer datagram is seen to be longer.
const BUFFER: usize = FRAME + 1;

/// How many delayed replies wait at once; more are lost, as in any queue.
const MAX_DELAYED: usize = 1_024;

/// How long a socket that answers with an error is left alone.
const PAUSE: Duration = Duration::from_millis(10);

pub(super) async fn serve(board: Arc<Board>, tasks: TaskTracker, stop: CancellationToken) {
    let delayed = Arc::new(Semaphore::new(MAX_DELAYED));
    let mut buffer = [0; BUFFER];
    loop {
        // Cancel-safety: recv_from loses no datagram when it is dropped.
        let received = tokio::select! {
            () = stop.cancelled() => return,
            received = board.udp().recv_from(&mut buffer) => received,
        };
        let (length, from) = match received {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(controller = board.serial(), %error, "udp receive");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        if board.is_own(from) {
            continue;
        }
        let Answer::Reply(frames, after) = board.on_bytes(buffer.get(..length).unwrap_or(&[]))
        else {
            continue;
        };
        if after.is_zero() {
            send(&board, &frames, from).await;
        } else if let Ok(permit) = Arc::clone(&delayed).try_acquire_owned() {
            let (board, stop) = (Arc::clone(&board), stop.clone());
            tasks.spawn(async move {
                let _permit = permit;
                // Cancel-safety: neither branch holds anything.
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(after) => send(&board, &frames, from).await,
                }
            });
        }
    }
}

async fn send(board: &Board, frames: &[Frame], to: SocketAddr) {
    for frame in frames {
        if let Err(error) = board.udp().send_to(frame, to).await {
            tracing::debug!(controller = board.serial(), %error, "udp send");
        }
    }
}
