//! One line, and one request at a time over it. The protocol is tokio-modbus's matter; here is what it leaves to whoever
//! uses it:
//!
//! - **Late answers.** RTU has nothing that tells which request an answer is to. After a time-out the line is drained:
//!   nothing is sent until it was quiet for as long as an answer may be late, and what came meanwhile belongs to nobody;
//!   likewise after it was opened. With Modbus over TCP the connection is given up, and with it whatever may still come
//!   over it.
//! - **What is left over.** Each request over RTU has a context of its own, so nothing that an earlier one left in a buffer
//!   is in it; what came unasked is thrown away before it is sent.
//! - **The gap.** Frames are told apart by silence; so much is kept before each request.
//! - **What surrounds an answer.** Bytes before the unit's own address are noise, such as the zero that a transceiver adds
//!   when it turns around. An answer with another length than was asked for is none, though its checksum is right.
//!
//! See tokio-modbus issues 324 (a context that a time-out has poisoned) and 180 (no gap of its own).

mod lent;

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use postern_protocol::modbus::register::{Block, Table};
use postern_protocol::modbus::serial::silence;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;
use tokio_modbus::client::{Client as _, Context, rtu, tcp};
use tokio_modbus::slave::SlaveContext as _;
use tokio_modbus::{Error, ProtocolError, Request, Response, Slave};

use super::look::Values;
use crate::driver::line::{Line, LineSettings};
use crate::driver::{DriverError, LineCounters};
use lent::{Heard, Lent, Whole, lock};

/// A line that does not become quiet is not waited for longer: somebody babbles on it.
const MAX_DRAIN: Duration = Duration::from_secs(2);

/// So often in a row somebody may speak unasked before a request is given up.
const MAX_STRAYS: u8 = 3;

/// Bytes read at once while a line is drained.
const CHUNK: usize = 256;

/// See [`usual_gap`].
const GAP_OVER_TCP: Duration = Duration::from_millis(10);

/// How frames stand on the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// With a checksum, and told apart by silence: serial lines, and device servers that hand on their bytes as they are.
    Rtu,
    /// With a header that says how long they are, and which request each is for.
    Tcp,
}

/// A line and its times.
#[derive(Clone, Debug)]
pub struct WireSettings {
    /// Which.
    pub line: LineSettings,
    /// How frames stand on it.
    pub framing: Framing,
    /// How long a unit may take to begin its answer.
    pub reply: Duration,
    /// How long the line rests before a request.
    pub gap: Duration,
    /// How much later than in time an answer may come: after a time-out nothing is sent for so long. Over RTU alone.
    pub late: Duration,
}

/// How long a line rests before a request, where nobody says otherwise: as the specification has it for a serial line. Over
/// TCP a device server needs what it hands on in one piece.
pub(crate) fn usual_gap(line: &LineSettings) -> Duration {
    match line {
        LineSettings::Serial { .. } => silence(line.time_of(1)),
        LineSettings::Tcp { .. } => GAP_OVER_TCP,
    }
}

/// The line, open.
struct Open {
    line: Arc<Mutex<Line>>,
    /// Over TCP one for all requests: it counts them.
    context: Option<Context>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    TimedOut,
    Exception(u8),
    Line(io::ErrorKind),
    /// Another unit's.
    Foreign,
    /// To another request.
    Unexpected,
    /// Of another length.
    Length,
    /// Its checksum is wrong, or it is none at all.
    Damaged,
}

impl Failure {
    fn error(self) -> DriverError {
        match self {
            // A gateway on the way says that it hears nothing.
            Self::TimedOut | Self::Exception(0x0b) => DriverError::TimedOut,
            Self::Exception(code) => DriverError::Exception { code },
            Self::Line(kind) => DriverError::Line(kind),
            Self::Foreign | Self::Unexpected | Self::Length => DriverError::Nonsense,
            Self::Damaged => DriverError::Damaged,
        }
    }

    fn count(self, counters: &mut LineCounters) {
        let counter = match self {
            Self::TimedOut => &mut counters.timeouts,
            Self::Exception(_) => &mut counters.exceptions,
            Self::Line(_) => &mut counters.line_errors,
            Self::Foreign => &mut counters.foreign,
            Self::Unexpected => &mut counters.unexpected,
            Self::Length => &mut counters.bad_length,
            Self::Damaged => &mut counters.broken,
        };
        *counter += 1;
    }
}

/// See the module.
pub(crate) struct Wire {
    settings: WireSettings,
    open: Option<Open>,
    /// Since when nothing was on it, as far as is known.
    quiet_since: Instant,
    /// Until when an answer may come that nobody waits for, also over a line that was opened since.
    owed_until: Instant,
}

impl Wire {
    /// Opened with the first request.
    pub(crate) fn new(settings: WireSettings) -> Self {
        let now = Instant::now();
        Self { settings, open: None, quiet_since: now, owed_until: now }
    }

    /// The same where somebody else may have asked something over it just now: an earlier run of this gateway.
    pub(crate) fn taken_over(settings: WireSettings) -> Self {
        let owed_until = Instant::now() + settings.reply + settings.late;
        Self { owed_until, ..Self::new(settings) }
    }

    /// Reads a block; as many values as it has.
    ///
    /// # Errors
    /// Where there was no answer to exactly that.
    pub(crate) async fn read(
        &mut self,
        unit: u8,
        block: Block,
        counters: &mut LineCounters,
    ) -> Result<Values, DriverError> {
        let (address, count) = (block.address(), block.count());
        let request = match block.table() {
            Table::Coil => Request::ReadCoils(address, count),
            Table::DiscreteInput => Request::ReadDiscreteInputs(address, count),
            Table::InputRegister => Request::ReadInputRegisters(address, count),
            Table::HoldingRegister => Request::ReadHoldingRegisters(address, count),
        };
        let bytes = if block.table().is_bits() { count.div_ceil(8) } else { count * 2 };
        // Unit, function, length, checksum.
        let response = self.ask(unit, request, usize::from(bytes) + 5, counters).await?;
        let wanted = usize::from(count);
        let values = match response {
            Response::ReadCoils(bits) | Response::ReadDiscreteInputs(bits)
                if bits.len() == wanted.next_multiple_of(8) =>
            {
                Some(Values::Bits(bits.into_iter().take(wanted).collect()))
            }
            Response::ReadInputRegisters(words) | Response::ReadHoldingRegisters(words)
                if words.len() == wanted =>
            {
                Some(Values::Words(words))
            }
            // To another function it is none: the library compares them.
            Response::ReadCoils(_)
            | Response::ReadDiscreteInputs(_)
            | Response::ReadInputRegisters(_)
            | Response::ReadHoldingRegisters(_)
            | Response::WriteSingleCoil(..)
            | Response::WriteMultipleCoils(..)
            | Response::WriteSingleRegister(..)
            | Response::WriteMultipleRegisters(..)
            | Response::ReportServerId(..)
            | Response::MaskWriteRegister(..)
            | Response::ReadWriteMultipleRegisters(_)
            | Response::ReadDeviceIdentification(_)
            | Response::Custom(..) => None,
        };
        match values {
            Some(values) => {
                counters.replies += 1;
                Ok(values)
            }
            None => Err(self.failed(Failure::Length, counters).await),
        }
    }

    /// Writes one value.
    ///
    /// # Errors
    /// Where the unit did not say that it has. It may have all the same.
    pub(crate) async fn write(
        &mut self,
        unit: u8,
        table: Table,
        address: u16,
        value: u16,
        counters: &mut LineCounters,
    ) -> Result<(), DriverError> {
        // Who has written says what.
        let (request, wanted) = match table {
            Table::Coil => (
                Request::WriteSingleCoil(address, value != 0),
                Response::WriteSingleCoil(address, value != 0),
            ),
            Table::HoldingRegister => (
                Request::WriteSingleRegister(address, value),
                Response::WriteSingleRegister(address, value),
            ),
            // A checked profile writes to neither.
            Table::DiscreteInput | Table::InputRegister => return Err(DriverError::Refused),
        };
        if self.ask(unit, request, 8, counters).await? != wanted {
            return Err(self.failed(Failure::Unexpected, counters).await);
        }
        counters.replies += 1;
        Ok(())
    }

    async fn ask(
        &mut self,
        unit: u8,
        request: Request<'static>,
        answer: usize,
        counters: &mut LineCounters,
    ) -> Result<Response, DriverError> {
        counters.requests += 1;
        match self.exchange(unit, request, answer, counters).await {
            Ok(response) => Ok(response),
            Err(failure) => Err(self.failed(failure, counters).await),
        }
    }

    /// After a failure nothing that is still on its way may be taken for the next answer.
    async fn failed(&mut self, failure: Failure, counters: &mut LineCounters) -> DriverError {
        failure.count(counters);
        match (failure, self.settings.framing) {
            (Failure::Exception(_), _) => {}
            (Failure::Line(_), _) | (_, Framing::Tcp) => self.open = None,
            (
                Failure::TimedOut
                | Failure::Foreign
                | Failure::Unexpected
                | Failure::Length
                | Failure::Damaged,
                Framing::Rtu,
            ) => {
                match self.drain(self.settings.late).await {
                    // Late, most likely.
                    Ok(some) => counters.unexpected += u64::from(some),
                    Err(_) => self.open = None,
                }
            }
        }
        failure.error()
    }

    async fn exchange(
        &mut self,
        unit: u8,
        request: Request<'static>,
        answer: usize,
        counters: &mut LineCounters,
    ) -> Result<Response, Failure> {
        let line = |error: io::Error| Failure::Line(error.kind());
        self.make_ready(counters).await.map_err(line)?;
        let WireSettings { line: settings, framing, reply, late, .. } = &self.settings;
        // Unit, function, address, count or value, checksum.
        let deadline = settings.time_of(8) + *reply + settings.time_of(answer);
        let Some(open) = &mut self.open else {
            return Err(Failure::Line(io::ErrorKind::NotConnected));
        };
        self.owed_until = Instant::now() + deadline + *late;
        let heard = Arc::new(Mutex::new(Heard::default()));
        let called = match framing {
            Framing::Rtu => {
                let lent = Lent::rtu(&open.line, unit, &heard);
                let mut context = rtu::attach_slave(lent, Slave(unit));
                tokio::time::timeout(deadline, context.call(request)).await
            }
            Framing::Tcp => {
                let lent = || tcp::attach(Lent::tcp(&open.line));
                let context = open.context.get_or_insert_with(lent);
                context.set_slave(Slave(unit));
                // Cancel-safety: after a time-out the connection is given up.
                tokio::time::timeout(deadline, context.call(request)).await
            }
        };
        self.quiet_since = Instant::now();
        let heard = lock(&heard);
        counters.bad_start += u64::from(heard.has_noise());
        match called {
            Err(_) => Err(unframed(Failure::TimedOut, &heard, unit)),
            Ok(Ok(Ok(response))) => {
                self.owed_until = self.quiet_since;
                Ok(response)
            }
            Ok(Ok(Err(exception))) => Err(Failure::Exception(u8::from(exception))),
            Ok(Err(error)) => Err(unframed(meaning(&error), &heard, unit)),
        }
    }

    /// The line is open, nothing is left on it, and it was quiet for the gap.
    async fn make_ready(&mut self, counters: &mut LineCounters) -> io::Result<()> {
        if self.open.is_none() {
            let line = Arc::new(Mutex::new(Line::open(&self.settings.line).await?));
            self.open = Some(Open { line, context: None });
            self.quiet_since = Instant::now();
            // What was asked before, by us or by whoever had the line, may still be answered: a device server gives that
            // to the next connection.
            let owed = self.owed_until.saturating_duration_since(self.quiet_since);
            let quiet = self.settings.late.max(owed);
            if self.settings.framing == Framing::Rtu && self.drain(quiet).await? {
                counters.unexpected += 1;
            }
        }
        if self.settings.framing == Framing::Rtu {
            for _ in 0..MAX_STRAYS {
                tokio::time::sleep_until(self.quiet_since + self.settings.gap).await;
                if !self.discard()? {
                    return Ok(());
                }
                // Somebody speaks who was not asked.
                counters.unexpected += 1;
                self.drain(self.settings.late).await?;
            }
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    /// Throws away what has come. Whether there was something.
    fn discard(&mut self) -> io::Result<bool> {
        let mut some = false;
        while let Some(came) = self.receive().now_or_never() {
            some |= came? > 0;
        }
        Ok(some)
    }

    /// Throws away what comes until nothing did for so long. Whether there was something.
    ///
    /// # Errors
    /// Also where that does not come to an end.
    async fn drain(&mut self, quiet: Duration) -> io::Result<bool> {
        let mut some = false;
        let end = Instant::now() + MAX_DRAIN + quiet;
        // Cancel-safety: bytes that were read belong to nobody.
        while let Ok(came) = tokio::time::timeout(quiet, self.receive()).await {
            some |= came? > 0;
            if Instant::now() > end {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        self.quiet_since = Instant::now();
        Ok(some)
    }

    async fn receive(&mut self) -> io::Result<usize> {
        let Some(open) = &self.open else { return Err(io::ErrorKind::NotConnected.into()) };
        let line = Arc::clone(&open.line);
        std::future::poll_fn(move |task| {
            let mut buffer = [0; CHUNK];
            let mut buffer = ReadBuf::new(&mut buffer);
            let polled = Pin::new(&mut *lock(&line)).poll_read(task, &mut buffer);
            polled.map(|result| match (result, buffer.filled().len()) {
                (Ok(()), 0) => Err(io::ErrorKind::UnexpectedEof.into()),
                (Ok(()), length) => Ok(length),
                (Err(error), _) => Err(error),
            })
        })
        .await
    }
}

/// What the library says of an answer.
fn meaning(error: &Error) -> Failure {
    match error {
        Error::Protocol(ProtocolError::HeaderMismatch { .. }) => Failure::Foreign,
        Error::Protocol(ProtocolError::FunctionCodeMismatch { .. }) => Failure::Unexpected,
        Error::Transport(error) => {
            let kind = error.kind();
            // The last: of an answer that ends before what it says is in it. A line that ends is told otherwise.
            let garbage = [
                io::ErrorKind::InvalidData,
                io::ErrorKind::InvalidInput,
                io::ErrorKind::UnexpectedEof,
            ];
            if garbage.contains(&kind) { Failure::Damaged } else { Failure::Line(kind) }
        }
    }
}

/// What it was that the library found no frame in, or waited for the rest of.
fn unframed(failure: Failure, heard: &Heard, unit: u8) -> Failure {
    if !matches!(failure, Failure::TimedOut | Failure::Damaged) {
        return failure;
    }
    match heard.whole(unit) {
        Some(Whole::Own) => Failure::Length,
        Some(Whole::Foreign) => Failure::Foreign,
        None if heard.has_begun() => Failure::Damaged,
        None => failure,
    }
}

#[cfg(test)]
mod tests;
