//! The limit: a loop that does nothing but ask for one event after the other and look at the number
//! in the answer, on blocking sockets of the standard library.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use postern_protocol::uhppote::message::request::GetEvent;
use postern_protocol::uhppote::{FRAME, Request};

use crate::Outcome;
use crate::simulator::Board;

/// The longest that an answer takes; on loopback none is lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the index stands in a get-event request and in its answer.
const INDEX: std::ops::Range<usize> = 8..12;

/// Over what a board is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// One socket, a datagram for each request.
    Udp,
    /// A connection for each request, as boards want it.
    Tcp,
}

/// Asks for the events from `first` to `last`; how long that took.
pub(crate) fn read(board: Board, wire: Wire, first: u32, last: u32) -> Outcome<Duration> {
    let socket = match wire {
        Wire::Udp => {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.connect(board.address)?;
            Some(socket)
        }
        Wire::Tcp => None,
    };
    let mut request = Request::GetEvent(GetEvent { controller: board.serial, index: 0 }).encode();
    let mut reply = [0; FRAME];
    let begin = Instant::now();
    for index in first..=last {
        let index = index.to_le_bytes();
        request[INDEX].copy_from_slice(&index);
        if let Some(socket) = &socket {
            socket.send(&request)?;
            socket.recv(&mut reply)?;
        } else {
            let mut stream = TcpStream::connect(board.address)?;
            stream.write_all(&request)?;
            stream.read_exact(&mut reply)?;
        }
        if reply[INDEX] != index {
            return Err("the board answered something else".into());
        }
    }
    Ok(begin.elapsed())
}

/// The events 1 to `last` from many boards at once over UDP, each by a thread of its own.
pub(crate) fn read_all(boards: &[Board], last: u32) -> Outcome<Duration> {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            boards.iter().map(|board| scope.spawn(|| read(*board, Wire::Udp, 1, last))).collect();
        for thread in threads {
            thread.join().map_err(|_| "a loop panicked")??;
        }
        Ok(begin.elapsed())
    })
}
