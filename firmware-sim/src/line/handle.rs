//! A line at work, and a hand in it for other threads.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

use super::pty::Pty;
use super::pump::{Port, Pump};
use super::tcp::Tcp;
use super::wire::{Counters, Wire};
use super::{LineSettings, Misbehaviour, Noise, Talker};

/// Why there is no line, or why it does not do what it is told.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Settings that no line can have.
    #[error("the line's settings are wrong: {0}")]
    Settings(String),
    /// Misbehaviour that no station can have.
    #[error("the station's misbehaviour is wrong: {0}")]
    Misbehaviour(String),
    /// No such station.
    #[error("there is no station {station}, the line has {stations}, counted from 0")]
    NoStation {
        /// Which was asked for.
        station: usize,
        /// How many there are.
        stations: usize,
    },
    /// The system refuses something that a line needs.
    #[error("cannot {what}")]
    Io {
        /// What.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl LineError {
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// Where a host finds a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A serial device; what was asked for as its name, or else the pty's.
    Device(PathBuf),
    /// The port of a serial device server.
    Tcp(SocketAddr),
}

/// A line at work. Dropping it stops its thread and waits for that.
#[derive(Debug)]
pub struct Line<T: Talker + 'static> {
    handle: LineHandle<T>,
    place: Place,
    thread: Option<JoinHandle<()>>,
}

impl<T: Talker + 'static> Line<T> {
    /// A line behind a serial device: a pty, of which `link` is a symbolic link, if it is given.
    pub fn on_pty(
        settings: &LineSettings,
        stations: Vec<T>,
        link: Option<&Path>,
    ) -> Result<Self, LineError> {
        let pty = Pty::open(link)?;
        let place = Place::Device(link.unwrap_or(pty.path()).to_owned());
        Self::start(settings, stations, pty, place)
    }

    /// A line behind the TCP port of a serial device server; see [`super::tcp`].
    pub fn on_tcp(
        settings: &LineSettings,
        stations: Vec<T>,
        address: SocketAddr,
    ) -> Result<Self, LineError> {
        let tcp = Tcp::listen(address)?;
        let place = Place::Tcp(tcp.address());
        Self::start(settings, stations, tcp, place)
    }

    fn start(
        settings: &LineSettings,
        stations: Vec<T>,
        port: impl Port,
        place: Place,
    ) -> Result<Self, LineError> {
        settings.check().map_err(LineError::Settings)?;
        let waker = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
            .map_err(|errno| LineError::io("make an eventfd")(errno.into()))?;
        #[expect(clippy::disallowed_methods, reason = "the line's thread owns the line's clock")]
        let began = Instant::now();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                wire: Wire::new(settings, stations.len()),
                stations,
                dropped: 0,
            }),
            began,
            waker,
            stop: AtomicBool::new(false),
        });
        let pump = Pump::new(Arc::clone(&shared), port);
        let thread = thread::Builder::new()
            .name("serial line".to_owned())
            .spawn(move || pump.run())
            .map_err(LineError::io("start a line's thread"))?;
        Ok(Self { handle: LineHandle { shared }, place, thread: Some(thread) })
    }

    /// Where a host finds it.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// A handle for other threads.
    pub fn handle(&self) -> LineHandle<T> {
        self.handle.clone()
    }

    /// Stops the line. An error is the panic of a station.
    pub fn stop(mut self) -> thread::Result<()> {
        self.join()
    }

    fn join(&mut self) -> thread::Result<()> {
        self.handle.shared.stop.store(true, Ordering::Release);
        self.handle.shared.wake();
        self.thread.take().map_or(Ok(()), JoinHandle::join)
    }
}

impl<T: Talker + 'static> Drop for Line<T> {
    fn drop(&mut self) {
        // The panic of a station has been reported by its thread.
        let _ = self.join();
    }
}

/// A look at a line from other threads, and a hand in it. All that goes through it happens between
/// two steps of the line, which waits that long: be brief.
#[derive(Debug)]
pub struct LineHandle<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for LineHandle<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T: Talker> LineHandle<T> {
    /// The time since the line began.
    pub fn now(&self) -> Duration {
        self.shared.began.elapsed()
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        let state = self.shared.lock();
        let mut counters = state.wire.counters();
        counters.overrun += state.dropped;
        counters
    }

    /// How a station misbehaves.
    pub fn misbehaviour(&self, station: usize) -> Result<Misbehaviour, LineError> {
        let state = self.shared.lock();
        let misbehaviour = state.wire.misbehaviour(station).copied();
        misbehaviour.ok_or_else(|| state.no_station(station))
    }

    /// A station misbehaves like this from now on.
    pub fn set_misbehaviour(
        &self,
        station: usize,
        misbehaviour: Misbehaviour,
    ) -> Result<(), LineError> {
        misbehaviour.check().map_err(LineError::Misbehaviour)?;
        let mut state = self.shared.lock();
        state.advance(self.now());
        if !state.wire.set_misbehaviour(station, misbehaviour) {
            return Err(state.no_station(station));
        }
        drop(state);
        self.shared.wake();
        Ok(())
    }

    /// The line is disturbed like this from now on.
    pub fn set_noise(&self, noise: &Noise) -> Result<(), LineError> {
        noise.check().map_err(LineError::Settings)?;
        let mut state = self.shared.lock();
        state.advance(self.now());
        state.wire.set_noise(noise);
        drop(state);
        self.shared.wake();
        Ok(())
    }

    /// Does something to a station, or looks at it, when all that was due is done; `None` where
    /// there is no such station. The closure has the time since the line began, too.
    pub fn with_station<R>(
        &self,
        station: usize,
        act: impl FnOnce(&mut T, Duration) -> R,
    ) -> Option<R> {
        let mut state = self.shared.lock();
        let now = self.now();
        state.advance(now);
        let result = state.stations.get_mut(station).map(|talker| act(talker, now));
        drop(state);
        self.shared.wake();
        result
    }
}

/// What a line's thread and its handles share.
#[derive(Debug)]
pub(super) struct Shared<T> {
    pub(super) state: Mutex<State<T>>,
    pub(super) began: Instant,
    pub(super) waker: OwnedFd,
    pub(super) stop: AtomicBool,
}

#[derive(Debug)]
pub(super) struct State<T> {
    pub(super) wire: Wire,
    pub(super) stations: Vec<T>,
    /// Bytes lost in front of a host that does not read, or of none.
    pub(super) dropped: u64,
}

impl<T: Talker> State<T> {
    pub(super) fn advance(&mut self, now: Duration) {
        self.wire.advance(now, &mut self.stations);
    }

    fn no_station(&self, station: usize) -> LineError {
        LineError::NoStation { station, stations: self.stations.len() }
    }
}

impl<T> Shared<T> {
    /// A station that panicked takes its thread with it; what is left can still be looked at.
    pub(super) fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // It fails only when the thread has very many wake-ups before it already.
        let _ = rustix::io::write(&self.waker, &1_u64.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests;
