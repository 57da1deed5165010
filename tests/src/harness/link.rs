//! The wire between the gateway and one server, or between two servers: a TCP relay that can be cut, slowed down, and
//! made as long as a wire to another data centre.
//!
//! A killed server is one fault, a dead network another, and only a slow wire leaves time to
//! strike in the middle of an upload. The relay knows nothing of what it carries.
//!
//! - `distance`: when a piece arrives on a long wire.

mod distance;

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::SockRef;

pub use self::distance::Distance;
use self::distance::Path;
use super::Error;

/// How long a relay thread waits for bytes before it looks whether the wire was cut.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a connection to the server may take: whoever asks for one waits no longer.
const CONNECT: Duration = Duration::from_secs(2);
/// So little at a time that a slow wire is slow evenly.
const PIECE: usize = 1_024;
/// What a long wire holds: as much as is under way at once where windows are large.
const UNDER_WAY: usize = 1_024;

#[derive(Debug)]
struct Wire {
    target: SocketAddr,
    /// Connections of an earlier number are cut.
    number: AtomicU64,
    /// Bytes a second in each direction; 0 is without limit.
    rate: AtomicU64,
    /// Bytes that went from the gateway to the server.
    carried: AtomicU64,
    /// How long it is, for connections that are made from now on.
    distance: Mutex<Option<Distance>>,
    /// How many connections there were.
    connections: AtomicU64,
}

/// The relay to one server.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    wire: Arc<Wire>,
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

impl Link {
    /// An open wire from `address` to `target`.
    pub fn open_at(address: SocketAddr, target: SocketAddr) -> Result<Self, Error> {
        let wire = Wire {
            target,
            number: AtomicU64::new(0),
            rate: AtomicU64::new(0),
            carried: AtomicU64::new(0),
            distance: Mutex::new(None),
            connections: AtomicU64::new(0),
        };
        let link = Self { address, wire: Arc::new(wire), acceptor: Mutex::new(None) };
        link.open()?;
        Ok(link)
    }

    /// Where the gateway finds it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts it: what is connected is broken off, who connects is refused.
    pub fn cut(&self) {
        let mut acceptor = self.acceptor.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(thread) = acceptor.take() else { return };
        self.wire.number.fetch_add(1, Ordering::SeqCst);
        // The acceptor waits in `accept` and sees the new number once somebody comes.
        let _ = TcpStream::connect(self.address);
        let _ = thread.join();
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.acceptor.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Mends it.
    pub fn open(&self) -> Result<(), Error> {
        let mut acceptor = self.acceptor.lock().unwrap_or_else(PoisonError::into_inner);
        if acceptor.is_some() {
            return Ok(());
        }
        let name = || format!("the relay at {}", self.address);
        let listener = TcpListener::bind(self.address)
            .map_err(|source| Error::Start { process: name(), source })?;
        let wire = Arc::clone(&self.wire);
        let number = wire.number.load(Ordering::SeqCst);
        *acceptor = Some(thread::spawn(move || accept(&listener, &wire, number)));
        Ok(())
    }

    /// Lets no more than this through in a second, each way; 0 is without limit.
    pub fn limit(&self, bytes_per_second: u64) {
        self.wire.rate.store(bytes_per_second, Ordering::SeqCst);
    }

    /// Makes it so long, for connections that are made from now on.
    pub fn lengthen(&self, distance: Distance) {
        let mut own = self.wire.distance.lock().unwrap_or_else(PoisonError::into_inner);
        *own = Some(distance);
    }

    /// How many bytes it carried to the server so far.
    pub fn carried(&self) -> u64 {
        self.wire.carried.load(Ordering::SeqCst)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.cut();
    }
}

fn accept(listener: &TcpListener, wire: &Arc<Wire>, number: u64) {
    while let Ok((gateway, _)) = listener.accept() {
        if wire.number.load(Ordering::SeqCst) != number {
            close(listener);
            return;
        }
        // A server that is stopped leaves it waiting once its queue is full. Whoever comes later is not to wait for that.
        let (wire, paths) = (Arc::clone(wire), wire.paths());
        thread::spawn(move || connect(&gateway, &wire, number, paths));
    }
}

/// Connects to the server, and carries both directions.
fn connect(
    gateway: &TcpStream,
    wire: &Arc<Wire>,
    number: u64,
    [there, back]: [Option<Path>; 2],
) -> io::Result<()> {
    let server = TcpStream::connect_timeout(&wire.target, CONNECT)?;
    let (gateway_too, server_too, down) =
        (gateway.try_clone()?, server.try_clone()?, Arc::clone(wire));
    thread::spawn(move || relay(&server_too, &gateway_too, &down, number, None, back));
    relay(gateway, &server, wire, number, Some(&wire.carried), there)
}

impl Wire {
    /// The two directions of a new connection, where the wire is long.
    fn paths(&self) -> [Option<Path>; 2] {
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        let distance = *self.distance.lock().unwrap_or_else(PoisonError::into_inner);
        let paths = distance.map(|distance| distance.connect(number, Instant::now()));
        paths.map_or([None, None], |paths| paths.map(Some))
    }

    fn is_cut(&self, number: u64) -> bool {
        self.number.load(Ordering::SeqCst) != number
    }
}

/// Ends the listening itself, not only this descriptor's part in it: a process that another scenario starts at this
/// moment holds a copy of it until it runs its own program, and the address could not be bound again meanwhile.
fn close(listener: &TcpListener) {
    let _ = SockRef::from(listener).shutdown(Shutdown::Both);
}

/// Carries one direction until one side ends or the wire is cut; then both sides end.
fn relay(
    from: &TcpStream,
    to: &TcpStream,
    wire: &Wire,
    number: u64,
    carried: Option<&AtomicU64>,
    path: Option<Path>,
) -> io::Result<()> {
    from.set_read_timeout(Some(LOOK_EVERY))?;
    from.set_nodelay(true)?;
    let mut hand_over = |piece: &[u8]| {
        if let Some(carried) = carried {
            carried.fetch_add(u64::try_from(piece.len()).unwrap_or(0), Ordering::SeqCst);
        }
        let mut to = to;
        to.write_all(piece).is_ok()
    };
    if let Some(mut path) = path {
        let (sender, under_way) = sync_channel(UNDER_WAY);
        thread::scope(|scope| {
            scope.spawn(|| {
                deliver(under_way, wire, number, hand_over);
                // Nobody is there any more to whom it could be carried.
                let _ = from.shutdown(Shutdown::Both);
            });
            let mut send =
                |piece: &[u8]| sender.send((path.arrival(Instant::now()), piece.to_vec())).is_ok();
            carry(from, wire, number, &mut send);
            // The end is under way as long as anything else.
            send(&[]);
            drop(sender);
        });
    } else {
        carry(from, wire, number, &mut hand_over);
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
    Ok(())
}

/// Reads one side to its end, or until the wire is cut, or nobody takes any more.
fn carry(mut from: &TcpStream, wire: &Wire, number: u64, hand_over: &mut dyn FnMut(&[u8]) -> bool) {
    let mut piece = [0; PIECE];
    while !wire.is_cut(number) {
        let length = match from.read(&mut piece) {
            Ok(0) => return,
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            Err(_) => return,
        };
        let bytes = u64::try_from(length).unwrap_or(0);
        let rate = wire.rate.load(Ordering::SeqCst);
        if let Some(slow_us) = (bytes * 1_000_000).checked_div(rate) {
            // This is the slowness itself, not a wait for anything.
            thread::sleep(Duration::from_micros(slow_us));
        }
        if !hand_over(piece.get(..length).unwrap_or_default()) {
            return;
        }
    }
}

/// Hands over what is under way, each piece when it arrives; an empty one is the end.
fn deliver(
    under_way: Receiver<(Instant, Vec<u8>)>,
    wire: &Wire,
    number: u64,
    mut hand_over: impl FnMut(&[u8]) -> bool,
) {
    for (arrival, piece) in under_way {
        loop {
            let left = arrival.saturating_duration_since(Instant::now());
            if wire.is_cut(number) {
                return;
            }
            if left.is_zero() {
                break;
            }
            // This is the length of the wire itself, not a wait for anything.
            thread::sleep(left.min(LOOK_EVERY));
        }
        if piece.is_empty() || !hand_over(&piece) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::Ports;

    #[test]
    fn a_closed_listener_refuses_and_frees_its_address_though_there_is_a_copy() {
        let ports = Ports::claim().unwrap();
        let listener = TcpListener::bind(ports.address(0)).unwrap();
        let copy = listener.try_clone().unwrap();
        close(&listener);
        drop(listener);
        assert!(TcpStream::connect(ports.address(0)).is_err());
        TcpListener::bind(ports.address(0)).unwrap();
        drop(copy);
    }

    #[test]
    fn a_wire_carries_and_counts_is_cut_and_mended() {
        let ports = Ports::claim().unwrap();
        let server = TcpListener::bind(ports.address(0)).unwrap();
        let link = Link::open_at(ports.address(1), ports.address(0)).unwrap();

        let mut gateway = TcpStream::connect(link.address()).unwrap();
        gateway.write_all(b"hello").unwrap();
        let (mut other, _) = server.accept().unwrap();
        let mut heard = [0; 5];
        other.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"hello");
        assert_eq!(link.carried(), 5);

        link.cut();
        assert_eq!(gateway.read(&mut heard).unwrap_or(0), 0);
        assert!(TcpStream::connect(link.address()).is_err());

        link.open().unwrap();
        let mut gateway = TcpStream::connect(link.address()).unwrap();
        let (mut other, _) = server.accept().unwrap();
        other.write_all(b"again").unwrap();
        gateway.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"again");
    }

    #[test]
    fn a_long_wire_carries_everything_in_order_both_ways_and_its_end_last() {
        let ports = Ports::claim().unwrap();
        let server = TcpListener::bind(ports.address(0)).unwrap();
        let link = Link::open_at(ports.address(1), ports.address(0)).unwrap();
        link.lengthen(Distance {
            way: Duration::from_millis(2),
            jitter: Duration::from_millis(1),
            lost: 5,
            seed: 3,
        });
        let sent: Vec<u8> = (0..u8::MAX).cycle().take(100_000).collect();
        let echo = thread::spawn(move || {
            let (mut other, _) = server.accept().unwrap();
            let mut heard = vec![0; 100_000];
            other.read_exact(&mut heard).unwrap();
            other.write_all(&heard).unwrap();
        });
        let mut gateway = TcpStream::connect(link.address()).unwrap();
        gateway.write_all(&sent).unwrap();
        let mut heard = Vec::new();
        gateway.read_to_end(&mut heard).unwrap();
        assert!(heard == sent, "{} of {} bytes came back", heard.len(), sent.len());
        assert_eq!(link.carried(), 100_000);
        echo.join().unwrap();
    }

    #[test]
    fn a_long_wire_is_cut_though_something_is_under_way() {
        let ports = Ports::claim().unwrap();
        let server = TcpListener::bind(ports.address(0)).unwrap();
        let link = Link::open_at(ports.address(1), ports.address(0)).unwrap();
        let way = Duration::from_hours(1);
        link.lengthen(Distance { way, jitter: Duration::ZERO, lost: 0, seed: 0 });
        let mut gateway = TcpStream::connect(link.address()).unwrap();
        gateway.write_all(b"hello").unwrap();
        let (mut other, _) = server.accept().unwrap();
        link.cut();
        assert_eq!(gateway.read(&mut [0; 5]).unwrap_or(0), 0);
        assert_eq!(other.read(&mut [0; 5]).unwrap_or(0), 0);
    }
}
