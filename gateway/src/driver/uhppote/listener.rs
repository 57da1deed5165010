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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use postern_protocol::uhppote::Request;
    use postern_protocol::uhppote::message::request::GetTime;

    /// A status frame of this board, as it pushes them.
    fn push(serial: u32, som: u8) -> [u8; FRAME] {
        let mut frame = [0; FRAME];
        frame[..2].copy_from_slice(&[som, 0x20]);
        frame[4..8].copy_from_slice(&serial.to_le_bytes());
        frame
    }

    #[tokio::test]
    async fn a_push_of_either_firmware_rings_its_own_doorbell_and_garbage_is_counted() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let doorbell = Arc::new(Doorbell::default());
        let refused = Arc::new(AtomicU64::new(0));
        let cancel = CancellationToken::new();
        let doorbells = BTreeMap::from([(7, Arc::clone(&doorbell))]);
        let listening =
            tokio::spawn(listen(socket, doorbells, Arc::clone(&refused), cancel.clone()));

        let board = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let garbage = [
            &push(8, 0x17)[..],
            &push(7, 0x18)[..],
            &push(7, 0x17)[..63],
            &Request::GetTime(GetTime { controller: 7 }).encode()[..],
        ];
        for datagram in garbage {
            board.send_to(datagram, address).await.unwrap();
        }
        for som in [0x17, 0x19] {
            board.send_to(&push(7, som), address).await.unwrap();
            let within = Duration::from_secs(20);
            tokio::time::timeout(within, doorbell.rung.notified()).await.unwrap();
        }
        // One socket, in order: what was sent before has been looked at.
        assert_eq!(refused.load(Ordering::Relaxed), 4);
        assert_eq!(doorbell.count.load(Ordering::Relaxed), 2);
        cancel.cancel();
        listening.await.unwrap();
    }
}
