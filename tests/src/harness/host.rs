//! Another host on the boards' network: somebody else's tool, or whoever sends what he likes.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use postern_protocol::uhppote::{FRAME, Request, Response};

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
        let open = || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
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
