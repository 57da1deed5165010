//! Another host on the boards' network: somebody else's tool, or whoever sends what he likes.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use postern_protocol::uhppote::{FRAME, Request, Response, SOM};

use super::{Error, wait_until};

/// How long an answer may take before the request is sent again.
const ANSWER_WITHIN: Duration = Duration::from_millis(200);
/// How long it is tried on a line that loses datagrams.
const WITHIN: Duration = Duration::from_secs(20);

/// A UDP socket.
#[derive(Debug)]
pub struct Host {
    socket: UdpSocket,
}

impl Host {
    /// One with a port of its own.
    pub fn new() -> Result<Self, Error> {
        Self::at(Ipv4Addr::LOCALHOST)
    }

    /// One with an address of its own, which has to be a loopback address.
    pub fn at(address: Ipv4Addr) -> Result<Self, Error> {
        let open = || {
            let socket = UdpSocket::bind((address, 0))?;
            socket.set_read_timeout(Some(ANSWER_WITHIN))?;
            Ok(socket)
        };
        let failed = |source| Error::Start { process: "another host".to_owned(), source };
        Ok(Self { socket: open().map_err(failed)? })
    }

    /// Sends a request until it is answered.
    pub fn ask(&self, board: SocketAddr, request: &Request) -> Result<Response, Error> {
        let frame = request.encode();
        let function = frame.get(1).copied().unwrap_or_default();
        wait_until(&format!("{board} to answer function {function:#04x}"), WITHIN, || {
            self.send(board, &frame)?;
            let mut answer = [0; FRAME];
            // Nothing, or what cannot be read: it is asked again.
            let Ok(length) = self.socket.recv(&mut answer) else { return Ok(None) };
            let is_answer = length == FRAME && answer.get(1) == Some(&function);
            Ok(Response::decode(&answer).ok().filter(|_| is_answer))
        })
    }

    /// Sends a request and does not wait for what becomes of it.
    pub fn send(&self, to: SocketAddr, datagram: &[u8]) -> Result<(), Error> {
        let failed = |source| Error::Start { process: "another host".to_owned(), source };
        self.socket.send_to(datagram, to).map(drop).map_err(failed)
    }
}

/// An event as a board pushes it: somebody let in at a door, which never was.
pub fn forged_push(serial: u32, index: u32) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = frame.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    put(0, &[SOM, 0x20]);
    put(4, &serial.to_le_bytes());
    put(8, &index.to_le_bytes());
    // A swipe, granted, at door 1, inwards; the card is nobody's.
    put(12, &[1, 1, 1, 1]);
    put(16, &7_777_777_u32.to_le_bytes());
    put(20, &[0x20, 0x26, 0x01, 0x01, 0x12, 0x00, 0x00, 1]);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forged_push_is_as_good_as_a_real_one() {
        let Ok(Response::GetStatus(status)) = Response::decode(&forged_push(405_419_001, 9)) else {
            panic!("it is no event");
        };
        assert_eq!((status.controller, status.event_index), (405_419_001, 9));
        assert_eq!((status.event_type, status.event_granted), (1, true));
    }
}
