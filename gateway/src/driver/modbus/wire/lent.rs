//! The line, while it is lent to the library for one request, and what was heard over it meanwhile.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use postern_protocol::modbus::serial::is_whole;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::driver::line::Line;

/// The longest frame of RTU.
const MAX_FRAME: usize = 256;

/// The shortest: an address, a function, a checksum.
const MIN_FRAME: usize = 4;

/// So many bytes of noise may stand before a frame that is looked for.
const MAX_NOISE: usize = 8;

pub(super) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked left a line, which is opened anew after the next failure.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What came since the request.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// As much as a frame and some noise before it may be.
    bytes: Vec<u8>,
    /// How many bytes came before the unit's own address.
    skipped: usize,
}

/// Whose a whole frame is that the library made nothing of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whole {
    /// The unit's own: its length lies.
    Own,
    /// Another unit's.
    Foreign,
}

impl Heard {
    fn note(&mut self, came: &[u8], noise: usize) {
        let room = (MAX_FRAME + MAX_NOISE).saturating_sub(self.bytes.len());
        self.bytes.extend(came.iter().take(room));
        self.skipped += noise;
    }

    /// Whether noise came before the answer, or instead of it.
    pub(super) fn has_noise(&self) -> bool {
        self.skipped > 0
    }

    /// Whether something came that began as an answer of the unit does.
    pub(super) fn has_begun(&self) -> bool {
        self.bytes.len() > self.skipped
    }

    /// Whether all that came, but for some noise before it, is one frame with a checksum that is right.
    pub(super) fn whole(&self, unit: u8) -> Option<Whole> {
        let starts = (0..=MAX_NOISE).filter_map(|start| self.bytes.get(start..));
        let mut frames = starts.filter(|bytes| (MIN_FRAME..=MAX_FRAME).contains(&bytes.len()));
        let frame = frames.find(|frame| is_whole(frame))?;
        Some(if frame.first() == Some(&unit) { Whole::Own } else { Whole::Foreign })
    }
}

/// See the module. Nobody else reads from the line meanwhile.
pub(super) struct Lent {
    line: Arc<Mutex<Line>>,
    /// Until the answer has begun: the unit whose address it begins with.
    awaits: Option<u8>,
    /// Over RTU, where nothing says how long a frame is.
    heard: Option<Arc<Mutex<Heard>>>,
}

impl Lent {
    /// For one request to this unit over RTU.
    pub(super) fn rtu(line: &Arc<Mutex<Line>>, unit: u8, heard: &Arc<Mutex<Heard>>) -> Self {
        Self { line: Arc::clone(line), awaits: Some(unit), heard: Some(Arc::clone(heard)) }
    }

    /// For as long as the connection holds.
    pub(super) fn tcp(line: &Arc<Mutex<Line>>) -> Self {
        Self { line: Arc::clone(line), awaits: None, heard: None }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        lock(&self.line)
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a line that is lent")
    }
}

impl AsyncRead for Lent {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let before = buffer.filled().len();
            let polled = Pin::new(&mut *self.line()).poll_read(task, buffer);
            if !matches!(polled, Poll::Ready(Ok(()))) {
                return polled;
            }
            let came = buffer.filled_mut().get_mut(before..).unwrap_or_default();
            if came.is_empty() {
                // The library would say of it whatever the last call to the system failed with.
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            let is_noise = |unit| came.iter().position(|byte| *byte == unit).unwrap_or(came.len());
            let noise = self.awaits.map_or(0, is_noise);
            if let Some(heard) = &self.heard {
                lock(heard).note(came, noise);
            }
            came.rotate_left(noise);
            let length = came.len() - noise;
            buffer.set_filled(before + length);
            if length > 0 {
                self.awaits = None;
                return polled;
            }
        }
    }
}

impl AsyncWrite for Lent {
    fn poll_write(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.line()).poll_write(task, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.line()).poll_flush(task)
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.line()).poll_shutdown(task)
    }
}
