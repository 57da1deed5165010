//! A wire in real time: one thread for each line, between a plug and the wire.
//!
//! It is a thread of its own and no task, as a runtime's timers go by the millisecond and a byte
//! takes less than a tenth of that. The thread waits in `ppoll(2)`, for the host, for the wire's
//! next deadline or for a [`LineHandle`](super::LineHandle) that changed something, and never
//! anywhere else: it does not block in a read or a write, and waits for the lock only as long as a
//! handle's closure takes.
//!
//! What it does late, it does with the time at which it should have been: stations hear and answer
//! at the wire's times, so that lateness never adds up over an exchange. The host has its bytes a
//! wake-up later than on a real line, and never earlier.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::Talker;
use super::port::Port;
use super::shared::Shared;

/// How much of a reply the host gets at once, in line time: small against the time-outs of hosts,
/// large against a wake-up.
const CHUNK: Duration = Duration::from_millis(2);
/// How much waits for a host that does not read, beside what the system keeps for it. Above that
/// it is lost, as it is in a receiver that nobody reads.
const MAX_BACKLOG: usize = 16_384;
/// How much is read from the host at once: what a serial device of Linux takes at once.
const MAX_READ: usize = 4_096;
/// The longest wait, though nothing should ever need its end.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// What is waited where the system refuses something that it should not.
const PAUSE: Duration = Duration::from_millis(1);

/// A line's thread.
pub(super) struct Pump<T, P> {
    shared: Arc<Shared<T>>,
    port: P,
    backlog: VecDeque<u8>,
}

/// What a wait ended with.
#[derive(Default)]
struct Ready {
    door: bool,
    host: bool,
    gone: bool,
}

impl<T: Talker, P: Port> Pump<T, P> {
    pub(super) fn new(shared: Arc<Shared<T>>, port: P) -> Self {
        Self { shared, port, backlog: VecDeque::new() }
    }

    /// Runs until it is told to stop.
    pub(super) fn run(mut self) {
        let mut buffer = [0; MAX_READ];
        let mut read = 0;
        while !self.shared.stop.load(Ordering::Acquire) {
            let (deadline, room) = self.step(&buffer[..read]);
            self.flush();
            let ready = self.wait(deadline, room > 0);
            read = 0;
            if ready.door && self.admit() {
                self.backlog.clear();
            } else if ready.host {
                read = self.read(&mut buffer[..room.min(MAX_READ)]);
            } else if ready.gone {
                self.hang_up();
            }
        }
    }

    /// The wire is brought up to date and has what the host wrote. Returns when it is to be looked
    /// at again, and how much the host may write.
    fn step(&mut self, written: &[u8]) -> (Option<Duration>, usize) {
        let mut state = self.shared.lock();
        let now = self.shared.began.elapsed();
        state.advance(now);
        state.wire.host_sends(written, now);
        let arrived = state.wire.take_for_host();
        let room = if self.port.host().is_some() { MAX_BACKLOG - self.backlog.len() } else { 0 };
        let (kept, lost) = arrived.split_at(arrived.len().min(room));
        self.backlog.extend(kept);
        state.dropped += u64::try_from(lost.len()).unwrap_or(0);
        let byte = state.wire.byte_time().max(Duration::from_nanos(1));
        let chunk =
            usize::try_from(CHUNK.as_nanos() / byte.as_nanos()).unwrap_or(usize::MAX).max(1);
        let arrival = state.wire.next_arrival(chunk);
        let deadline = state.wire.next_deadline().into_iter().chain(arrival).min();
        (deadline, state.wire.room())
    }

    fn admit(&mut self) -> bool {
        let admitted = self.port.admit();
        if !admitted {
            // Out of descriptors, most likely, which no hurry helps.
            thread::sleep(PAUSE);
        }
        admitted
    }

    fn flush(&mut self) {
        while !self.backlog.is_empty() {
            let (bytes, _) = self.backlog.as_slices();
            match self.port.write(bytes) {
                Ok(0) => return,
                Ok(written) => drop(self.backlog.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.hang_up(),
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> usize {
        match self.port.read(buffer) {
            Ok(0) => {
                self.hang_up();
                0
            }
            Ok(read) => read,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                0
            }
            Err(_) => {
                self.hang_up();
                0
            }
        }
    }

    fn hang_up(&mut self) {
        self.port.hang_up();
        self.backlog.clear();
    }

    fn wait(&self, deadline: Option<Duration>, may_write: bool) -> Ready {
        let mut events = PollFlags::empty();
        events.set(PollFlags::IN, may_write);
        events.set(PollFlags::OUT, !self.backlog.is_empty());
        let mut polled = vec![PollFd::new(&self.shared.waker, PollFlags::IN)];
        let door = self.port.door().map(|door| {
            polled.push(PollFd::from_borrowed_fd(door, PollFlags::IN));
            polled.len() - 1
        });
        let host = self.port.host().map(|host| {
            polled.push(PollFd::from_borrowed_fd(host, events));
            polled.len() - 1
        });
        let wait = deadline.map_or(MAX_WAIT, |deadline| {
            deadline.saturating_sub(self.shared.began.elapsed()).min(MAX_WAIT)
        });
        // A second at most, so the conversion cannot fail.
        let timeout = Timespec::try_from(wait).unwrap_or_default();
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            // Out of memory or worse, for which a pause is the only remedy.
            Err(_) => thread::sleep(PAUSE),
        }
        if polled[0].revents().contains(PollFlags::IN) {
            let _ = rustix::io::read(&self.shared.waker, &mut [0; 8]);
        }
        let of = |index: Option<usize>| index.map_or(PollFlags::empty(), |i| polled[i].revents());
        Ready {
            door: of(door).contains(PollFlags::IN),
            host: of(host).contains(PollFlags::IN),
            gone: of(host).intersects(PollFlags::HUP | PollFlags::ERR),
        }
    }
}
