//! Pushed events: one UDP socket for all boards. A push has no acknowledgement and no replay, so it
//! is a wake-up for the pull and nothing else; its contents are never stored.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use postern_protocol::Index;
use postern_protocol::uhppote::{FRAME, Response};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use crate::driver::Doorbell;

/// A board whose events are listened to.
#[derive(Clone, Debug)]
pub struct Pusher {
    /// Wakes whoever collects from it.
    pub doorbell: Arc<Doorbell>,
    /// Where it is configured to be.
    pub address: IpAddr,
}

/// Rings the doorbell of whoever collects from the board that a push came from; counts in `refused`
/// what is no event, or none of a board of ours. `elsewhere` is told of events that come from another
/// address than the board's: it moved, or two boards have one serial number.
pub async fn listen(
    socket: UdpSocket,
    boards: BTreeMap<u32, Pusher>,
    refused: Arc<AtomicU64>,
    elsewhere: impl Fn(u32, SocketAddr) + Send,
    cancel: CancellationToken,
) {
    let mut buffer = [0; FRAME + 1];
    loop {
        // Cancel-safety: `recv_from` loses no datagram when it is dropped before it is ready.
        let received: Result<(usize, SocketAddr), _> = tokio::select! {
            () = cancel.cancelled() => return,
            received = socket.recv_from(&mut buffer) => received,
        };
        let Ok((length, from)) = received else { continue };
        let Ok(Response::GetStatus(status)) =
            Response::decode(buffer.get(..length).unwrap_or_default())
        else {
            refused.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        match boards.get(&status.controller) {
            Some(board) => {
                if from.ip().to_canonical() != board.address.to_canonical() {
                    elsewhere(status.controller, from);
                }
                board.doorbell.ring(Index(u64::from(status.event_index)));
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
    use tokio::sync::Notify;

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
        let bell = Arc::new(Notify::new());
        let doorbell = Arc::new(Doorbell::of(&bell));
        let refused = Arc::new(AtomicU64::new(0));
        let cancel = CancellationToken::new();
        let strayed = Arc::new(AtomicU64::new(0));
        let pusher = |address: &str| Pusher {
            doorbell: Arc::clone(&doorbell),
            address: address.parse().unwrap(),
        };
        let boards = BTreeMap::from([(7, pusher("127.0.0.1")), (9, pusher("127.0.0.9"))]);
        let elsewhere = {
            let strayed = Arc::clone(&strayed);
            move |serial: u32, _| {
                strayed.fetch_add(u64::from(serial), Ordering::Relaxed);
            }
        };
        let refusing = Arc::clone(&refused);
        let listening = tokio::spawn(listen(socket, boards, refusing, elsewhere, cancel.clone()));

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
            tokio::time::timeout(within, bell.notified()).await.unwrap();
            assert_eq!(doorbell.answer(), Some(Index(0)));
            assert_eq!(doorbell.answer(), None);
        }
        assert_eq!(strayed.load(Ordering::Relaxed), 0);
        board.send_to(&push(9, 0x17), address).await.unwrap();
        tokio::time::timeout(Duration::from_secs(20), bell.notified()).await.unwrap();
        assert_eq!(strayed.load(Ordering::Relaxed), 9, "its address is another one");
        // One socket, in order: what was sent before has been looked at.
        assert_eq!(refused.load(Ordering::Relaxed), 4);
        assert_eq!(doorbell.count(), 3);
        cancel.cancel();
        listening.await.unwrap();
    }
}
