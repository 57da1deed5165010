//! Pushed events: one UDP socket for all boards. A push has no acknowledgement and no replay, so it
//! is a wake-up for the pull and nothing else; its contents are never stored.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use postern_protocol::uhppote::{FRAME, Response};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use crate::driver::Doorbell;

/// Rings the doorbell of whoever collects from the board that a push came from; counts in `refused`
/// what is no event, or none of a board of ours.
pub async fn listen(
    socket: UdpSocket,
    doorbells: BTreeMap<u32, Arc<Doorbell>>,
    refused: Arc<AtomicU64>,
    cancel: CancellationToken,
) {
    let mut buffer = [0; FRAME + 1];
    loop {
        // Cancel-safety: `recv_from` loses no datagram when it is dropped before it is ready.
        let received: Result<(usize, SocketAddr), _> = tokio::select! {
            () = cancel.cancelled() => return,
            received = socket.recv_from(&mut buffer) => received,
        };
        let Ok((length, _)) = received else { continue };
        let Ok(Response::GetStatus(status)) =
            Response::decode(buffer.get(..length).unwrap_or_default())
        else {
            refused.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        match doorbells.get(&status.controller) {
            Some(doorbell) => {
                doorbell.count.fetch_add(1, Ordering::Relaxed);
                doorbell.rung.notify_one();
            }
            None => {
                refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
