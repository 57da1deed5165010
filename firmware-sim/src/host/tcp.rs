//! The TCP side of a board: one connection, one request, one reply.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use postern_protocol::uhppote::FRAME;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accept::accept;
use super::board::{Answer, Board};

/// How long a client may take to send its request, and how long a silent board keeps it waiting.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// How long after its reply a board waits for the client to close; closing first, over bytes that
/// were not read, would reset the connection and could take the reply with it.
const LINGER: Duration = Duration::from_secs(1);

pub(super) async fn serve(
    board: Arc<Board>,
    listener: TcpListener,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let of = format!("board {}", board.serial());
    let converse = |stream| {
        let board = Arc::clone(&board);
        async move { converse(&board, stream).await }
    };
    accept(of, listener, tasks, stop, converse).await;
}

async fn converse(board: &Board, mut stream: TcpStream) -> io::Result<()> {
    let mut request = [0; FRAME];
    // An error is a client that left within its request; no answer in time is one that never sent it.
    let read = timeout(READ_TIMEOUT, stream.read_exact(&mut request)).await;
    if !matches!(read, Ok(Ok(_))) {
        board.on_nothing();
        return Ok(());
    }
    match board.on_bytes(&request) {
        Answer::Ignored => Ok(()),
        Answer::Silence => drain(&mut stream, READ_TIMEOUT).await,
        Answer::Reset(after) => {
            tokio::time::sleep(after).await;
            // Closing then is a reset: what the client waits for ends with an error, not with an end.
            stream.set_zero_linger()
        }
        Answer::Reply(reply) => {
            // A sleep of nothing lasts until the timer's next millisecond.
            if !reply.after.is_zero() {
                tokio::time::sleep(reply.after).await;
            }
            for frame in reply.frames {
                stream.write_all(&frame).await?;
            }
            stream.shutdown().await?;
            drain(&mut stream, LINGER).await
        }
    }
}

/// Waits until the client closes; what it still says is nobody's business.
async fn drain(stream: &mut TcpStream, at_most: Duration) -> io::Result<()> {
    let mut nobody = [0; FRAME];
    let closed = async {
        while stream.read(&mut nobody).await? > 0 {}
        Ok(())
    };
    timeout(at_most, closed).await.unwrap_or(Ok(()))
}
