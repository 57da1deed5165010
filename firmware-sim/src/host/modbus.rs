//! Modbus units behind one TCP port, as behind a gateway to a line of them.
//!
//! Each connection is answered in the order of its requests, so that a late answer delays those behind it. A host that
//! leaves is not waited for; what it asked for is done.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accept::accept;
use super::unit::ModbusUnit;
use crate::modbus::Reaction;
use crate::modbus::request::Exception;
use crate::modbus::tcp::{HEADER, Header, frame};
use crate::modbus::unit::BROADCAST;

/// A TCP port with units behind it.
#[derive(Debug)]
pub struct ModbusServer {
    name: String,
    address: SocketAddr,
    units: BTreeMap<u8, Arc<ModbusUnit>>,
}

impl ModbusServer {
    pub(super) fn new(
        name: &str,
        listener: &TcpListener,
        units: impl Iterator<Item = Arc<ModbusUnit>>,
    ) -> io::Result<Self> {
        let units = units.map(|unit| (unit.unit(), unit)).collect();
        Ok(Self { name: name.to_owned(), address: listener.local_addr()?, units })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The units behind it, by their unit numbers.
    pub fn units(&self) -> &BTreeMap<u8, Arc<ModbusUnit>> {
        &self.units
    }

    fn on_request(&self, header: Header, request: &[u8]) -> Reaction {
        let Header { transaction, unit, .. } = header;
        let framed = |unit: u8, answer: &[u8]| frame(transaction, unit, answer);
        if unit == BROADCAST {
            for each in self.units.values() {
                each.on_request(unit, request, framed);
            }
            return Reaction::Silence;
        }
        let Some(found) = self.units.get(&unit) else {
            let function = request.first().copied().unwrap_or_default();
            let bytes = framed(unit, &Exception::NO_TARGET.answer(function));
            return Reaction::Bytes { bytes, late: Duration::ZERO };
        };
        found.on_request(unit, request, framed)
    }
}

pub(super) async fn serve(
    server: Arc<ModbusServer>,
    listener: TcpListener,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let of = format!("line {}", server.name());
    let converse = |stream| {
        let server = Arc::clone(&server);
        async move { converse(&server, stream).await }
    };
    accept(of, listener, tasks, stop, converse).await;
}

async fn converse(server: &ModbusServer, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut header = [0; HEADER];
    loop {
        match stream.read_exact(&mut header).await {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
        let Some(header) = Header::of(header) else { return Ok(()) };
        let mut request = vec![0; header.length];
        stream.read_exact(&mut request).await?;
        match server.on_request(header, &request) {
            Reaction::Silence => {}
            Reaction::HangUp { late } => {
                pause(late).await;
                return Ok(());
            }
            Reaction::Bytes { bytes, late } => {
                pause(late).await;
                stream.write_all(&bytes).await?;
            }
        }
    }
}

async fn pause(time: Duration) {
    // A sleep of nothing lasts until the timer's next millisecond.
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}
