//! Listens on a line that somebody else talks on, and says nothing (`postern bus sniff --serial`).
//!
//! What is sealed stays so: who only listens has no keys.

use std::io;

use postern_protocol::Timestamp;
use postern_protocol::link::frame::{From, MAX_WIRE, Receiver};

use super::tap::Heard;
use super::{CHUNK, meaning};
use crate::clock;
use crate::driver::line::{Line, LineSettings};

/// See the module.
pub(crate) struct Ear {
    line: Line,
    receiver: Receiver<MAX_WIRE>,
}

impl Ear {
    /// Opens a line.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub(crate) async fn open(settings: &LineSettings) -> io::Result<Self> {
        Ok(Self { line: Line::open(settings).await?, receiver: Receiver::default() })
    }

    /// Waits for bytes, and hands out the frames that end in them.
    ///
    /// # Errors
    /// Where the line failed, or the other end of a connection is gone.
    pub(crate) async fn listen(&mut self, each: &mut impl FnMut(Heard)) -> io::Result<()> {
        let mut buffer = [0; CHUNK];
        let length = self.line.receive(&mut buffer).await?;
        let bytes = buffer.get(..length).unwrap_or_default();
        decode(&mut self.receiver, bytes, clock::utc(), each);
        Ok(())
    }
}

fn decode(
    receiver: &mut Receiver<MAX_WIRE>,
    bytes: &[u8],
    at: Timestamp,
    each: &mut impl FnMut(Heard),
) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let (used, is_whole) = receiver.push(rest);
        rest = rest.get(used..).unwrap_or_default();
        if !is_whole {
            continue;
        }
        each(match receiver.frame() {
            Ok((header, plain)) => Heard {
                at,
                from: header.from,
                header: Ok(header),
                bytes: plain.to_vec(),
                meaning: meaning::in_clear(header, plain),
            },
            // Nobody knows whose it was; a gateway's own are rarely broken where it speaks.
            Err(error) => Heard {
                at,
                from: From::Station,
                header: Err(error),
                bytes: Vec::new(),
                meaning: None,
            },
        });
    }
}

#[cfg(test)]
mod tests {
    use postern_protocol::link::frame::{self, FrameError};

    use super::*;

    #[test]
    fn frames_are_found_however_the_bytes_come() {
        let mut wire = [0; 64];
        let used = frame::encode(&[0x05, 0x01, 1, 1], &mut wire).unwrap();
        let mut line = vec![9, 9, 9];
        line.extend_from_slice(&wire[..used]);
        line.extend_from_slice(&wire[..used]);
        for step in 1..line.len() {
            let (mut receiver, mut heard) = (Receiver::default(), Vec::new());
            for chunk in line.chunks(step) {
                decode(&mut receiver, chunk, Timestamp(7), &mut |each| heard.push(each));
            }
            assert_eq!(heard.len(), 3, "{step}");
            assert!(matches!(heard[0].header, Err(FrameError::TooShort | FrameError::Cobs)));
            for frame in &heard[1..] {
                assert_eq!(frame.meaning.as_deref(), Some("who is there? version 1"));
                assert_eq!((frame.bytes.as_slice(), frame.at), (&[5, 1, 1, 1][..], Timestamp(7)));
            }
        }
    }
}
