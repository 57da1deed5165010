//! A line at work, and a hand in it for other threads.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

use super::error::LineError;
use super::port::Port;
use super::pty::Pty;
use super::pump::Pump;
use super::shared::{Shared, State};
use super::tcp::Tcp;
use super::wire::{Counters, Wire};
use super::{LineSettings, Misbehaviour, Noise, Talker};

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

#[cfg(test)]
mod tests;
