//! The line to one board: a connected UDP socket that is kept, or a TCP connection per request.
//!
//! Every frame in either direction can be shown raw: the log target `postern_gateway::wire` at level
//! trace. It holds card numbers, so nothing turns it on but `--trace-wire`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use postern_protocol::uhppote::{FRAME, Frame, PORT};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::driver::DriverError;

/// The log target of raw frames.
pub const WIRE: &str = "postern_gateway::wire";

/// One byte more than a frame, so that a longer datagram is told from a whole one.
pub(super) const RECEIVE: usize = FRAME + 1;

/// Over what a board is talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// One connection per request.
    Tcp,
}

impl Transport {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// What was received: at most one byte more than a frame.
pub(super) struct Received {
    bytes: [u8; RECEIVE],
    length: usize,
}

impl Received {
    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

fn failed(error: &std::io::Error) -> DriverError {
    DriverError::Line(error.kind())
}

/// Shows a frame to whoever asked for raw frames.
pub(crate) fn show(peer: SocketAddr, way: &'static str, bytes: &[u8]) {
    if tracing::enabled!(target: "postern_gateway::wire", tracing::Level::TRACE) {
        use std::fmt::Write as _;
        let mut hex = String::with_capacity(bytes.len() * 2 + bytes.len() / 8);
        for (place, byte) in bytes.iter().enumerate() {
            // Writing to a string cannot fail.
            let gap = if place > 0 && place.is_multiple_of(8) { " " } else { "" };
            let _ = write!(hex, "{gap}{byte:02x}");
        }
        tracing::trace!(target: "postern_gateway::wire", %peer, "{way} {hex}");
    }
}

/// The UDP socket to one board, made when it is first needed.
pub(super) struct Udp {
    address: SocketAddr,
    socket: Option<UdpSocket>,
}

impl Udp {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, socket: None }
    }

    /// Gives the socket up: what is still under way to it is never read.
    pub(super) fn reset(&mut self) {
        self.socket = None;
    }

    /// Makes sure of a socket in which nothing waits: what arrived after its request was answered is a
    /// repeat, and nobody asked for it.
    pub(super) async fn ready(&mut self) -> Result<(), DriverError> {
        if let Some(socket) = &self.socket {
            while socket.try_recv(&mut [0; RECEIVE]).is_ok() {}
        } else {
            let socket = bind(any(self.address)).await.map_err(|error| failed(&error))?;
            socket.connect(self.address).await.map_err(|error| failed(&error))?;
            self.socket = Some(socket);
        }
        Ok(())
    }

    pub(super) async fn send(&self, frame: &Frame) -> Result<(), DriverError> {
        let Some(socket) = &self.socket else { return Err(not_connected()) };
        show(self.address, ">", frame);
        socket.send(frame).await.map(drop).map_err(|error| failed(&error))
    }

    pub(super) async fn receive(&self) -> Result<Received, DriverError> {
        let Some(socket) = &self.socket else { return Err(not_connected()) };
        let mut received = Received { bytes: [0; RECEIVE], length: 0 };
        received.length = socket.recv(&mut received.bytes).await.map_err(|error| failed(&error))?;
        show(self.address, "<", received.as_slice());
        Ok(received)
    }
}

fn not_connected() -> DriverError {
    DriverError::Line(std::io::ErrorKind::NotConnected)
}

/// One request over a connection of its own, and what came back.
pub(super) async fn exchange_tcp(
    address: SocketAddr,
    frame: &Frame,
) -> Result<Received, DriverError> {
    let exchange = async {
        // One write, so nothing that the kernel could hold back for more.
        let mut stream = TcpStream::connect(address).await?;
        show(address, ">", frame);
        stream.write_all(frame).await?;
        let mut received = Received { bytes: [0; RECEIVE], length: 0 };
        // Until the frame is whole: boards of some firmware do not close. One that is longer shows by the
        // byte too many that came with it.
        while received.length < FRAME {
            let Some(free) = received.bytes.get_mut(received.length..) else { break };
            let read = stream.read(free).await?;
            if read == 0 {
                break;
            }
            received.length += read;
        }
        show(address, "<", received.as_slice());
        Ok(received)
    };
    exchange.await.map_err(|error: std::io::Error| failed(&error))
}

/// Any address of the family of this one.
pub(super) fn any(peer: SocketAddr) -> SocketAddr {
    match peer {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// A client socket whose port is not the boards' own: from 60000 it would read its own broadcasts,
/// and a board's pushes, as replies.
pub(crate) async fn bind(at: SocketAddr) -> std::io::Result<UdpSocket> {
    let first = UdpSocket::bind(at).await?;
    if first.local_addr()?.port() != PORT {
        return Ok(first);
    }
    // While the first is held the second cannot be given the same port.
    UdpSocket::bind(at).await
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::Command;

    use super::*;

    /// Set where the test runs once more, in a network of its own that has two ports to give.
    const INSIDE: &str = "POSTERN_TEST_TWO_PORTS";
    /// Set where every test has to run.
    const REQUIRE: &str = "POSTERN_REQUIRE";
    const SCRIPT: &str = r#"echo "60000 60001" > /proc/sys/net/ipv4/ip_local_port_range && exec "$0" \
        --exact driver::uhppote::transport::tests::a_client_port_is_never_the_boards_own"#;

    /// Port 60000 lies in the range from which the kernel gives ports to whoever asks for any.
    #[tokio::test]
    async fn a_client_port_is_never_the_boards_own() {
        if std::env::var_os(INSIDE).is_some() {
            let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            let mut was_given = false;
            for _ in 0..200 {
                let any = UdpSocket::bind(at).await.unwrap();
                was_given |= any.local_addr().unwrap().port() == PORT;
                drop(any);
                assert_ne!(bind(at).await.unwrap().local_addr().unwrap().port(), PORT);
            }
            assert!(was_given, "the kernel never gave it, so nothing was shown");
            return;
        }
        let mut why = String::new();
        for namespaces in ["-rn", "-n"] {
            let mut unshare = Command::new("unshare");
            unshare.args([namespaces, "sh", "-c", SCRIPT]).arg(std::env::current_exe().unwrap());
            match unshare.env(INSIDE, "1").output() {
                Ok(output) => {
                    let said = String::from_utf8_lossy(&output.stdout).into_owned();
                    if said.contains("running 1 test") {
                        assert!(output.status.success(), "{said}");
                        return;
                    }
                    why = String::from_utf8_lossy(&output.stderr).into_owned();
                }
                Err(error) => why = error.to_string(),
            }
        }
        assert!(
            std::env::var_os(REQUIRE).is_none_or(|value| value != "1"),
            "no network of its own: {why}"
        );
        writeln!(
            std::io::stderr(),
            "SKIPPED: a network with two ports cannot be made here: {why}\n\
             hint: allow user namespaces or run as root; {REQUIRE}=1 makes this a failure"
        )
        .unwrap();
    }
}
