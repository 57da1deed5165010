//! A host's plug that is the TCP port of a serial device server.
//!
//! One host at a time, and the newest one has the line: a host that lost its connection without
//! the server's knowing of it would be kept out otherwise, for as long as TCP takes to notice. The
//! one before it is disconnected, and what waited for it is thrown away.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use super::error::LineError;
use super::port::Port;

/// A listener and the host that it let in last.
#[derive(Debug)]
pub struct Tcp {
    listener: TcpListener,
    address: SocketAddr,
    host: Option<TcpStream>,
}

impl Tcp {
    /// Listens; port 0 is any.
    pub fn listen(address: SocketAddr) -> Result<Self, LineError> {
        let what = || LineError::io(format!("listen on {address} for a line"));
        let listener = TcpListener::bind(address).map_err(what())?;
        listener.set_nonblocking(true).map_err(what())?;
        let address = listener.local_addr().map_err(what())?;
        Ok(Self { listener, address, host: None })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Port for Tcp {
    fn door(&self) -> Option<BorrowedFd<'_>> {
        Some(self.listener.as_fd())
    }

    fn admit(&mut self) -> bool {
        // Whoever gives up between knocking and this is not let in.
        let Ok((host, _)) = self.listener.accept() else { return false };
        // Without the first the line would stall, without the second it would stutter.
        if host.set_nonblocking(true).is_err() || host.set_nodelay(true).is_err() {
            return false;
        }
        self.host = Some(host);
        true
    }

    fn host(&self) -> Option<BorrowedFd<'_>> {
        self.host.as_ref().map(AsFd::as_fd)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.host.as_mut().map_or(Ok(0), |host| host.read(buffer))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.host.as_mut().map_or(Ok(0), |host| host.write(bytes))
    }

    fn hang_up(&mut self) {
        self.host = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::line::{Line, LineSettings, Place, Reply, Talker};

    /// Says everything back.
    struct Parrot;

    impl Talker for Parrot {
        fn on_bytes(&mut self, bytes: &[u8], _now: Duration) -> Option<Reply> {
            Some(Reply { after: Duration::from_micros(100), bytes: bytes.to_vec() })
        }
    }

    fn line(baud: u32) -> (Line<Parrot>, SocketAddr) {
        let settings = LineSettings { baud, ..LineSettings::default() };
        let any = "127.0.0.1:0".parse().unwrap();
        let line = Line::on_tcp(&settings, vec![Parrot], any).unwrap();
        let Place::Tcp(address) = *line.place() else { panic!("{:?}", line.place()) };
        (line, address)
    }

    fn ask(host: &mut TcpStream, bytes: &[u8]) {
        host.write_all(bytes).unwrap();
        let mut heard = vec![0; bytes.len()];
        host.read_exact(&mut heard).unwrap();
        assert_eq!(heard, bytes);
    }

    #[test]
    fn the_line_is_the_same_with_and_without_a_speed() {
        for baud in [0, 115_200] {
            let (line, address) = line(baud);
            let mut host = TcpStream::connect(address).unwrap();
            for round in 0..20 {
                ask(&mut host, &[round; 9]);
            }
            assert_eq!(line.handle().counters().stations[0].bytes, 180);
            line.stop().unwrap();
        }
    }

    #[test]
    fn the_newest_host_has_the_line_and_one_that_left_is_no_harm() {
        let (line, address) = line(0);
        let mut first = TcpStream::connect(address).unwrap();
        ask(&mut first, b"first");
        let mut second = TcpStream::connect(address).unwrap();
        ask(&mut second, b"second");
        assert_eq!(first.read(&mut [0; 8]).unwrap(), 0);
        drop(second);
        let mut third = TcpStream::connect(address).unwrap();
        ask(&mut third, b"third");
        line.stop().unwrap();
    }
}
