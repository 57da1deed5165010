//! Simulated boards in a process of their own, told what to do through its control API.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use postern_protocol::uhppote::message::request::SetListener;
use postern_protocol::uhppote::{FRAME, Request};
use serde_json::{Value, json};

use crate::{Outcome, binary};

/// A board whose serial number is the first of so many.
const FIRST_SERIAL: u32 = 405_000_001;

/// A card that the boards know.
const CARD: u32 = 8_165_501;

/// Answers come from memory within milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// A board, and where it listens for both UDP and TCP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Board {
    pub(crate) serial: u32,
    pub(crate) address: SocketAddrV4,
}

impl Board {
    /// Tells it where to push its events to.
    pub(crate) fn set_listener(self, listener: SocketAddrV4) -> Outcome<()> {
        let request = Request::SetListener(SetListener {
            controller: self.serial,
            address: *listener.ip(),
            port: listener.port(),
            interval: 0,
        });
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send_to(&request.encode(), self.address)?;
        let mut reply = [0; FRAME];
        socket.recv(&mut reply)?;
        if reply.get(8) == Some(&1) { Ok(()) } else { Err("the board refused its listener".into()) }
    }
}

/// Running boards; they end with this value.
#[derive(Debug)]
pub(crate) struct Simulator {
    child: Child,
    api: SocketAddr,
    boards: Vec<Board>,
}

impl Simulator {
    /// Starts so many boards, each with so many events in its log, in a new directory.
    pub(crate) fn start(
        binary: &binary::Simulator,
        directory: &Path,
        boards: u32,
        events: u32,
    ) -> Outcome<Self> {
        let mut text = format!("ledger = \"ledger.jsonl\"\n[defaults]\npreload = {events}\n");
        for serial in (FIRST_SERIAL..).take(usize::try_from(boards)?) {
            write!(text, "[[controller]]\nserial = {serial}\n")?;
        }
        std::fs::create_dir_all(directory)?;
        let config = directory.join("sim.toml");
        std::fs::write(&config, text)?;
        let child = Command::new(binary.path())
            .args(["run", "--json", "-c"])
            .arg(&config)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let unset = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut simulator = Self { child, api: unset, boards: Vec::new() };
        let stdout = simulator.child.stdout.take().ok_or("the simulator has no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let ready: Value = serde_json::from_str(&line)
            .map_err(|error| format!("the simulator did not say that it is ready: {error}"))?;
        let text = |value: &Value, key: &str| -> Outcome<String> {
            let text = value.get(key).and_then(Value::as_str);
            Ok(text.ok_or_else(|| format!("the simulator names no {key}"))?.to_owned())
        };
        simulator.api = text(&ready, "api")?.parse()?;
        for board in ready.get("controllers").and_then(Value::as_array).into_iter().flatten() {
            let serial = board.get("serial").and_then(Value::as_u64).unwrap_or_default();
            let address = text(board, "address")?.parse()?;
            simulator.boards.push(Board { serial: u32::try_from(serial)?, address });
        }
        Ok(simulator)
    }

    pub(crate) fn boards(&self) -> &[Board] {
        &self.boards
    }

    /// The first board, which is the only one where one was asked for.
    pub(crate) fn board(&self) -> Outcome<Board> {
        Ok(*self.boards.first().ok_or("the simulator has no boards")?)
    }

    /// Someone swipes a card.
    pub(crate) fn swipe(&self, board: Board) -> Outcome<()> {
        self.post(board, "swipe", &json!({"card": CARD, "door": 1})).map(|_| ())
    }

    /// Lets a board answer so late. Nothing changes where it does so already.
    pub(crate) fn set_delay(&self, board: Board, delay: Duration) -> Outcome<()> {
        let delay = u64::try_from(delay.as_millis())?;
        self.post(board, "faults", &json!({"delay_ms": delay})).map(|_| ())
    }

    /// How many requests arrived at all boards.
    pub(crate) fn requests(&self) -> Outcome<u64> {
        let status = self.call("GET", "/status", "")?;
        let boards = status.get("controllers").and_then(Value::as_array);
        let received = boards.into_iter().flatten().map(|board| board.get("frames_received"));
        Ok(received.filter_map(|count| count?.as_u64()).sum())
    }

    fn post(&self, board: Board, what: &str, body: &Value) -> Outcome<Value> {
        self.call("POST", &format!("/controllers/{}/{what}", board.serial), &body.to_string())
    }

    fn call(&self, method: &str, path: &str, body: &str) -> Outcome<Value> {
        let mut stream = TcpStream::connect_timeout(&self.api, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // In one piece: the second of two small ones would wait for the first to be acknowledged.
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.api,
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or("the simulator speaks no HTTP")?;
        if !head.starts_with("HTTP/1.1 200") {
            return Err(format!("{method} {path}: {head}: {body}").into());
        }
        Ok(serde_json::from_str(body)?)
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        // Nothing of it is needed any more, its ledger least of all.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
