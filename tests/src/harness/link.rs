//! The wire between the gateway and one server: a TCP relay that can be cut and slowed down.
//!
//! A killed server is one fault, a dead network another, and only a slow wire leaves time to
//! strike in the middle of an upload. The relay knows nothing of what it carries.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

use super::Error;

/// How long a relay thread waits for bytes before it looks whether the wire was cut.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// So little at a time that a slow wire is slow evenly.
const PIECE: usize = 1_024;

#[derive(Debug)]
struct Wire {
    target: SocketAddr,
    /// Connections of an earlier number are cut.
    number: AtomicU64,
    /// Bytes a second in each direction; 0 is without limit.
    rate: AtomicU64,
    /// Bytes that went from the gateway to the server.
    carried: AtomicU64,
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
        let Ok(server) = TcpStream::connect(wire.target) else { continue };
        let (Ok(gateway_too), Ok(server_too)) = (gateway.try_clone(), server.try_clone()) else {
            continue;
        };
        let (up, down) = (Arc::clone(wire), Arc::clone(wire));
        thread::spawn(move || {
            let _ = relay(&gateway, &server, &up, number, Some(&up.carried));
        });
        thread::spawn(move || {
            let _ = relay(&server_too, &gateway_too, &down, number, None);
        });
    }
}

/// Ends the listening itself, not only this descriptor's part in it: a process that another scenario starts at this
/// moment holds a copy of it until it runs its own program, and the address could not be bound again meanwhile.
fn close(listener: &TcpListener) {
    let _ = SockRef::from(listener).shutdown(Shutdown::Both);
}

/// Carries one direction until one side ends or the wire is cut; then both sides end.
fn relay(
    mut from: &TcpStream,
    mut to: &TcpStream,
    wire: &Wire,
    number: u64,
    carried: Option<&AtomicU64>,
) -> io::Result<()> {
    from.set_read_timeout(Some(LOOK_EVERY))?;
    from.set_nodelay(true)?;
    let mut piece = [0; PIECE];
    while wire.number.load(Ordering::SeqCst) == number {
        let length = match from.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            Err(_) => break,
        };
        let bytes = u64::try_from(length).unwrap_or(0);
        let rate = wire.rate.load(Ordering::SeqCst);
        if let Some(slow_us) = (bytes * 1_000_000).checked_div(rate) {
            // This is the slowness itself, not a wait for anything.
            thread::sleep(Duration::from_micros(slow_us));
        }
        if let Some(carried) = carried {
            carried.fetch_add(bytes, Ordering::SeqCst);
        }
        if to.write_all(piece.get(..length).unwrap_or_default()).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
    Ok(())
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
}
