//! The UDP side of a board: a datagram in, its reply out; and the address where a broadcast reaches
//! every board.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postern_protocol::uhppote::FRAME;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::board::{Answer, Board, Reply};

/// One byte more than a frame, so that a longer datagram is seen to be longer.
const BUFFER: usize = FRAME + 1;

/// How many delayed replies of a board wait at once; more are lost, as in any queue.
const MAX_DELAYED: usize = 1_024;

/// How long a socket that answers with an error is left alone.
const PAUSE: Duration = Duration::from_millis(10);

/// A board and what it needs to answer over UDP, now or later.
#[derive(Clone, Debug)]
pub(super) struct Station {
    board: Arc<Board>,
    delayed: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Station {
    pub(super) fn new(board: Arc<Board>, tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self { board, delayed: Arc::new(Semaphore::new(MAX_DELAYED)), tasks, stop }
    }

    async fn answer(&self, bytes: &[u8], from: SocketAddr) {
        if self.board.is_own(from) {
            return;
        }
        let Answer::Reply(reply) = self.board.on_bytes(bytes) else { return };
        if reply.after.is_zero() {
            send(&self.board, &reply, from).await;
        } else if let Ok(permit) = Arc::clone(&self.delayed).try_acquire_owned() {
            let (board, stop) = (Arc::clone(&self.board), self.stop.clone());
            self.tasks.spawn(async move {
                let _permit = permit;
                // Cancel-safety: neither branch holds anything.
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(reply.after) => send(&board, &reply, from).await,
                }
            });
        }
    }
}

/// Serves what comes to a board's own socket.
pub(super) async fn serve(station: Station) {
    let mut buffer = [0; BUFFER];
    while let Some((length, from)) = receive(station.board.udp(), &mut buffer, &station.stop).await
    {
        station.answer(buffer.get(..length).unwrap_or(&[]), from).await;
    }
}

/// Hands what comes to a broadcast address to every board; each answers from its own socket.
pub(super) async fn serve_discovery(
    socket: UdpSocket,
    stations: Vec<Station>,
    stop: CancellationToken,
) {
    let mut buffer = [0; BUFFER];
    while let Some((length, from)) = receive(&socket, &mut buffer, &stop).await {
        for station in &stations {
            station.answer(buffer.get(..length).unwrap_or(&[]), from).await;
        }
    }
}

/// The next datagram; `None` when the site stops.
async fn receive(
    socket: &UdpSocket,
    buffer: &mut [u8],
    stop: &CancellationToken,
) -> Option<(usize, SocketAddr)> {
    loop {
        // Cancel-safety: recv_from loses no datagram when it is dropped.
        let received = tokio::select! {
            () = stop.cancelled() => return None,
            received = socket.recv_from(buffer) => received,
        };
        match received {
            Ok(received) => return Some(received),
            Err(error) => {
                tracing::debug!(%error, "udp receive");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn send(board: &Board, reply: &Reply, to: SocketAddr) {
    if let Err(error) = try_send(board, reply, to).await {
        tracing::debug!(controller = board.serial(), %error, "udp send");
    }
}

async fn try_send(board: &Board, reply: &Reply, to: SocketAddr) -> io::Result<()> {
    let socket = if reply.elsewhere { board.udp_elsewhere().await? } else { board.udp() };
    for frame in &reply.frames {
        socket.send_to(frame, to).await?;
    }
    Ok(())
}
