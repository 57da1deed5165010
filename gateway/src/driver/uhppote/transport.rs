//! The line to one board: a connected UDP socket that is kept, or a TCP connection per request.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use postern_protocol::uhppote::{FRAME, PORT};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::driver::DriverError;

/// One byte more than a frame, so that a longer datagram is told from a whole one.
const RECEIVE: usize = FRAME + 1;

/// Over what a board is talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// One connection per request.
    Tcp,
}

/// What was received: at most [`RECEIVE`] bytes.
pub(super) struct Received {
    bytes: [u8; RECEIVE],
    length: usize,
}

impl Received {
    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

pub(super) struct Line {
    transport: Transport,
    address: SocketAddr,
    udp: Option<UdpSocket>,
    tcp: Option<TcpStream>,
}

impl Line {
    pub(super) fn new(transport: Transport, address: SocketAddr) -> Self {
        Self { transport, address, udp: None, tcp: None }
    }

    /// Gives the socket up: what is still under way to it is never read.
    pub(super) fn reset(&mut self) {
        self.udp = None;
        self.tcp = None;
    }

    pub(super) async fn send(&mut self, frame: &[u8; FRAME]) -> Result<(), DriverError> {
        let failed = |error: std::io::Error| DriverError::Line(error.kind());
        match self.transport {
            Transport::Udp => {
                let socket = match self.udp.take() {
                    Some(socket) => socket,
                    None => bind(self.address).await.map_err(failed)?,
                };
                // What arrived after its request was answered is a repeat: nobody asked for it.
                while socket.try_recv(&mut [0; RECEIVE]).is_ok() {}
                socket.send(frame).await.map_err(failed)?;
                self.udp = Some(socket);
            }
            Transport::Tcp => {
                let mut stream = TcpStream::connect(self.address).await.map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                stream.write_all(frame).await.map_err(failed)?;
                self.tcp = Some(stream);
            }
        }
        Ok(())
    }

    pub(super) async fn receive(&mut self) -> Result<Received, DriverError> {
        let failed = |error: std::io::Error| DriverError::Line(error.kind());
        let mut received = Received { bytes: [0; RECEIVE], length: 0 };
        if let Some(socket) = &self.udp {
            received.length = socket.recv(&mut received.bytes).await.map_err(failed)?;
        } else if let Some(mut stream) = self.tcp.take() {
            // Until the board closes or has sent too much; one that keeps the connection open has
            // sent its frame when there are as many bytes and nothing more is there.
            while received.length < RECEIVE {
                let Some(free) = received.bytes.get_mut(received.length..) else { break };
                let read = if received.length == FRAME {
                    stream.try_read(free).unwrap_or(0)
                } else {
                    stream.read(free).await.map_err(failed)?
                };
                if read == 0 {
                    break;
                }
                received.length += read;
            }
        } else {
            return Err(DriverError::Line(std::io::ErrorKind::NotConnected));
        }
        Ok(received)
    }
}

/// A client socket whose port is not the boards' own: from 60000 it would read its own broadcasts,
/// and a board's pushes, as replies.
async fn bind(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let mut socket = UdpSocket::bind(any).await?;
    if socket.local_addr()?.port() == PORT {
        // While the first is held the second cannot be given the same port.
        socket = UdpSocket::bind(any).await?;
    }
    socket.connect(address).await?;
    Ok(socket)
}
