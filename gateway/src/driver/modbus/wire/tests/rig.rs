//! A peer that says what it is told to, byte by byte.

use std::fs::File;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use postern_protocol::modbus::register::{Block, Table};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_serial::{SerialPort, SerialStream};

use super::super::{Framing, Wire, WireSettings};
use crate::driver::line::{LineSettings, Parity, StopBits};
use crate::driver::modbus::look::Values;
use postern_protocol::modbus::serial::checksum;

pub(super) const UNIT: u8 = 17;

/// Far more than a loaded machine needs: for who is answered.
pub(super) const PATIENT: Duration = Duration::from_secs(5);

pub(super) const SOON: Duration = Duration::from_millis(30);

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// The other end of a line.
pub(super) struct Peer {
    framing: Framing,
    listener: Option<TcpListener>,
    stream: Option<Box<dyn Stream>>,
    /// Holds the device open: else the line is gone whenever nobody has it.
    _device: Option<File>,
}

/// What lies between.
#[derive(Clone, Copy, Debug)]
pub(super) enum Over {
    Tcp,
    Pty,
}

/// A line that nothing was asked over yet, and who is at its other end.
pub(super) async fn line(over: Over, framing: Framing) -> (WireSettings, Peer) {
    let mut peer = Peer { framing, listener: None, stream: None, _device: None };
    let line = match over {
        Over::Tcp => {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            peer.listener = Some(listener);
            LineSettings::Tcp { address }
        }
        Over::Pty => {
            let (master, device) = SerialStream::pair().unwrap();
            let path: PathBuf = device.name().unwrap().into();
            drop(device);
            let device = File::options().read(true).write(true).open(&path).unwrap();
            let stream: Box<dyn Stream> = Box::new(master);
            peer = Peer { stream: Some(stream), _device: Some(device), ..peer };
            let (parity, stop_bits) = (Parity::None, StopBits::One);
            LineSettings::Serial { path, baud: 115_200, parity, stop_bits, rs485: false }
        }
    };
    (WireSettings { line, framing, reply: PATIENT, gap: Duration::ZERO, late: SOON }, peer)
}

/// A line whose peer answers in time.
pub(super) async fn patient(over: Over, framing: Framing) -> (Wire, Peer) {
    let (settings, peer) = line(over, framing).await;
    (Wire::new(settings), peer)
}

/// A line on which an answer is not waited for long.
pub(super) async fn hasty(framing: Framing) -> (Wire, Peer) {
    let (settings, peer) = line(Over::Tcp, framing).await;
    (Wire::new(WireSettings { reply: Duration::from_millis(150), ..settings }), peer)
}

/// Who asks and who answers, at once; both come to an end.
pub(super) async fn both<A, B>(
    asks: impl Future<Output = A>,
    answers: impl Future<Output = B>,
) -> (A, B) {
    let both = async { tokio::join!(asks, answers) };
    tokio::time::timeout(PATIENT * 4, both).await.expect("both come to an end")
}

impl Peer {
    /// The next connection, instead of the one that there was, which is answered with.
    pub(super) async fn accept(&mut self) -> Option<Box<dyn Stream>> {
        let (stream, _) = self.listener.as_ref().unwrap().accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        self.stream.replace(Box::new(stream))
    }

    pub(super) fn hang_up(&mut self) {
        self.stream = None;
    }

    /// The next request, and when it was there.
    pub(super) async fn request(&mut self) -> (Vec<u8>, Instant) {
        if self.stream.is_none() {
            self.accept().await;
        }
        let length = if self.framing == Framing::Rtu { 8 } else { 12 };
        let mut request = vec![0; length];
        self.stream.as_mut().unwrap().read_exact(&mut request).await.unwrap();
        (request, Instant::now())
    }

    pub(super) async fn say(&mut self, bytes: &[u8]) {
        self.stream.as_mut().unwrap().write_all(bytes).await.unwrap();
    }

    /// Says this again and again until nobody is there any more.
    pub(super) async fn babble(&mut self, bytes: &[u8]) {
        while self.stream.as_mut().unwrap().write_all(bytes).await.is_ok() {}
    }

    /// The next request is answered with these bytes.
    pub(super) async fn answer(&mut self, bytes: &[u8]) {
        self.request().await;
        self.say(bytes).await;
    }

    /// The next request is answered with this behind the unit's address, however frames stand on the line.
    pub(super) async fn tell(&mut self, pdu: &[u8]) {
        let (request, _) = self.request().await;
        self.say(&frame(self.framing, &request, pdu)).await;
    }
}

/// An answer to a request.
pub(super) fn frame(framing: Framing, request: &[u8], pdu: &[u8]) -> Vec<u8> {
    match framing {
        Framing::Rtu => rtu(UNIT, pdu),
        Framing::Tcp => mbap(&request[..2], UNIT, pdu),
    }
}

/// A frame of RTU.
pub(super) fn rtu(unit: u8, pdu: &[u8]) -> Vec<u8> {
    let frame = [&[unit][..], pdu].concat();
    let sum = checksum(&frame).to_le_bytes();
    [&frame[..], &sum].concat()
}

/// A frame of Modbus over TCP.
pub(super) fn mbap(number: &[u8], unit: u8, pdu: &[u8]) -> Vec<u8> {
    let length = u16::try_from(pdu.len() + 1).unwrap().to_be_bytes();
    [number, &[0, 0], &length, &[unit], pdu].concat()
}

/// What stands behind the address where one register is read.
pub(super) fn one(value: u8) -> [u8; 4] {
    [3, 2, 0, value]
}

pub(super) fn registers(address: u16, count: u16) -> Block {
    Block::new(Table::HoldingRegister, address, count).unwrap()
}

pub(super) fn words(values: &[u16]) -> Values {
    Values::Words(values.to_vec())
}
