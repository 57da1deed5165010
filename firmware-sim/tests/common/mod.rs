//! A simulator in this process, and a client that is as plain as the wire.

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use postern_protocol::uhppote::field::Magic;
use postern_protocol::uhppote::message::{request, response};
use postern_protocol::uhppote::{FRAME, Frame, Request, Response};
use postern_sim::config::Config;
use postern_sim::host::board::Board;
use postern_sim::host::{HostError, Running};
use postern_sim::ledger::Line;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

pub(crate) const SERIAL: u32 = 405_419_896;
pub(crate) const OTHER: u32 = 303_986_753;

/// How long anything may take that is going to happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// How long a client waits for what is not going to happen.
pub(crate) const SILENCE: Duration = Duration::from_millis(200);

/// Two small boards.
pub(crate) const TWO_BOARDS: &str = "
[defaults]
capacity = 64
chunk = 16
[[controller]]
serial = 405419896
[[controller]]
serial = 303986753
";

pub(crate) struct Sim {
    pub(crate) running: Running,
    pub(crate) ledger: PathBuf,
    dir: TempDir,
    config: Config,
}

impl Sim {
    pub(crate) async fn start(text: &str) -> Self {
        Self::start_with_seed(text, 7).await
    }

    pub(crate) async fn start_with_seed(text: &str, seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("seed = {seed}\nledger = \"ledger.jsonl\"\n{text}");
        let config = Config::parse(&dir.path().join("sim.toml"), &text).unwrap();
        let running = Running::start(&config).await.unwrap();
        Self { running, ledger: config.ledger.clone(), dir, config }
    }

    pub(crate) async fn restart(self) -> Self {
        let Self { running, ledger, dir, config } = self;
        running.stop().await.unwrap();
        let running = Running::start(&config).await.unwrap();
        Self { running, ledger, dir, config }
    }

    /// Another simulator with the same configuration.
    pub(crate) async fn start_twin(&self) -> Result<Running, HostError> {
        Running::start(&self.config).await
    }

    pub(crate) fn board(&self, serial: u32) -> &Arc<Board> {
        &self.running.site().boards()[&serial]
    }

    pub(crate) fn address(&self, serial: u32) -> SocketAddrV4 {
        self.board(serial).address()
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        lines(&self.ledger)
    }

    pub(crate) async fn stop(self) {
        self.running.stop().await.unwrap();
    }
}

/// The lines that are written: one that has no end yet is being written by a simulator that runs.
/// (Its event has not happened, see [`postern_sim::ledger`]; a reader can see half of a `write(2)`.)
pub(crate) fn lines(ledger: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(ledger).unwrap();
    let (written, _) = text.rsplit_once('\n').unwrap_or_default();
    written.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A client socket on a port of its own.
pub(crate) struct Client {
    pub(crate) socket: UdpSocket,
    to: SocketAddrV4,
}

impl Client {
    pub(crate) async fn of(sim: &Sim, serial: u32) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        Self { socket, to: sim.address(serial) }
    }

    pub(crate) async fn send(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.to).await.unwrap();
    }

    pub(crate) async fn receive(&self, within: Duration) -> Option<Vec<u8>> {
        let mut buffer = [0; 2 * FRAME];
        let (length, _) = timeout(within, self.socket.recv_from(&mut buffer)).await.ok()?.unwrap();
        Some(buffer[..length].to_vec())
    }

    pub(crate) async fn ask(&self, request: Request) -> Response {
        self.send(&request.encode()).await;
        Response::decode(&self.receive(DEADLINE).await.expect("a reply")).unwrap()
    }

    pub(crate) async fn event(&self, serial: u32, index: u32) -> response::GetEvent {
        let reply = self.ask(get_event(serial, index)).await;
        let Response::GetEvent(event) = reply else { panic!("{reply:?}") };
        event
    }
}

/// One request over TCP: the bytes until the board closes.
pub(crate) async fn ask_tcp(address: SocketAddrV4, request: &[u8], half_close: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    if half_close {
        stream.shutdown().await.unwrap();
    }
    let mut reply = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut reply)).await.unwrap().unwrap();
    reply
}

pub(crate) fn get_event(controller: u32, index: u32) -> Request {
    Request::GetEvent(request::GetEvent { controller, index })
}

pub(crate) fn get_time(controller: u32) -> Request {
    Request::GetTime(request::GetTime { controller })
}

pub(crate) fn get_controller(controller: u32) -> Request {
    Request::GetController(request::GetController { controller })
}

pub(crate) fn open_door(controller: u32, door: u8) -> Request {
    Request::OpenDoor(request::OpenDoor { controller, door })
}

pub(crate) fn restore_defaults(controller: u32) -> Request {
    Request::RestoreDefaults(request::RestoreDefaults { controller, magic: Magic })
}

pub(crate) fn record_special_events(controller: u32) -> Request {
    Request::RecordSpecialEvents(request::RecordSpecialEvents { controller, enabled: true })
}

pub(crate) fn set_listener(controller: u32, to: &UdpSocket) -> Request {
    let port = to.local_addr().unwrap().port();
    let address = std::net::Ipv4Addr::LOCALHOST;
    Request::SetListener(request::SetListener { controller, address, port, interval: 0 })
}

pub(crate) fn frame(bytes: &[u8]) -> Frame {
    bytes.try_into().unwrap()
}

/// Waits for a level, not for a time.
pub(crate) async fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let begun = tokio::time::Instant::now();
    while !reached() {
        assert!(begun.elapsed() < DEADLINE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
