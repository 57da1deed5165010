//! The line itself: a serial port, or a TCP connection to a controller or to a serial device server. For every driver
//! whose bus is one.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_serial::{SerialPortBuilderExt, SerialStream};

/// How long a connection may take to come about. Whoever is on the same network answers within
/// milliseconds; a box that is off must not hold its stations' back-off up for long.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// How long the kernel may take to take a frame. It has room for the longest unless the line takes no
/// bytes any more.
const SEND_WITHIN: Duration = Duration::from_secs(3);

/// The parity bit of a serial line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Parity {
    /// None is sent.
    None,
    /// An even number of ones.
    Even,
    /// An odd number of ones.
    Odd,
}

impl Parity {
    /// The word for it, as it stands in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Even => "even",
            Self::Odd => "odd",
        }
    }
}

/// How long the line rests after a byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StopBits {
    /// For one bit.
    #[default]
    One,
    /// For two.
    Two,
}

/// Which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineSettings {
    /// A serial port.
    Serial {
        /// Its device.
        path: PathBuf,
        /// Bits a second.
        baud: u32,
        /// Its parity bit.
        parity: Parity,
        /// Its stop bits.
        stop_bits: StopBits,
        /// Whether the kernel switches the transceiver's direction (RTS).
        rs485: bool,
    },
    /// A connection.
    Tcp {
        /// To where.
        address: SocketAddr,
    },
}

/// Where it is: the device, or the address.
impl fmt::Display for LineSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial { path, .. } => path.display().fmt(f),
            Self::Tcp { address } => address.fmt(f),
        }
    }
}

impl LineSettings {
    /// The word for what it is: `serial`, `tcp`.
    pub fn transport(&self) -> &'static str {
        match self {
            Self::Serial { .. } => "serial",
            Self::Tcp { .. } => "tcp",
        }
    }

    /// How long so many bytes take on the line; nothing that matters over TCP.
    pub fn time_of(&self, bytes: usize) -> Duration {
        let Self::Serial { baud, parity, stop_bits, .. } = self else { return Duration::ZERO };
        // Start, eight bits, stop; the parity bit and the second stop bit.
        let more = [*parity != Parity::None, *stop_bits == StopBits::Two];
        let bits = 10 + more.into_iter().map(u64::from).sum::<u64>();
        let bits = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(bits);
        Duration::from_nanos(bits.saturating_mul(1_000_000_000) / u64::from((*baud).max(1)))
    }

    /// How many bytes go over the line within this time; `None` where nothing that matters limits them.
    pub fn bytes_in(&self, time: Duration) -> Option<usize> {
        let byte = self.time_of(1).as_nanos();
        let bytes = time.as_nanos().checked_div(byte)?;
        Some(usize::try_from(bytes).unwrap_or(usize::MAX))
    }
}

/// The line, open.
pub(super) enum Line {
    Serial {
        stream: SerialStream,
        /// Holds the transceiver's mode, where it was set.
        _mode: Option<serial2::SerialPort>,
    },
    Tcp(TcpStream),
}

impl Line {
    pub(super) async fn open(settings: &LineSettings) -> io::Result<Self> {
        match settings {
            LineSettings::Serial { path, baud, parity, stop_bits, rs485 } => {
                let parity = match parity {
                    Parity::None => tokio_serial::Parity::None,
                    Parity::Even => tokio_serial::Parity::Even,
                    Parity::Odd => tokio_serial::Parity::Odd,
                };
                let stop_bits = match stop_bits {
                    StopBits::One => tokio_serial::StopBits::One,
                    StopBits::Two => tokio_serial::StopBits::Two,
                };
                // First: whoever opens a port for himself alone shuts later ones out.
                let mode = if *rs485 { Some(rs485_mode(path, *baud)?) } else { None };
                let stream = tokio_serial::new(path.to_string_lossy(), *baud)
                    .parity(parity)
                    .stop_bits(stop_bits)
                    .open_native_async()
                    .map_err(|error| why(path, error.into()))?;
                Ok(Self::Serial { stream, _mode: mode })
            }
            LineSettings::Tcp { address } => {
                let connecting = TcpStream::connect(address);
                let stream = tokio::time::timeout(CONNECT_WITHIN, connecting)
                    .await
                    .map_err(|_| io::ErrorKind::TimedOut)??;
                // A poll is one small segment that waits for its answer.
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
        }
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// Also where the line takes no more bytes.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Cancel-safety: of a frame that was sent in part nothing comes; the line is opened anew.
        tokio::time::timeout(SEND_WITHIN, self.write_all(bytes))
            .await
            .map_err(|_| io::ErrorKind::TimedOut)?
    }

    /// What came; at least one byte.
    ///
    /// # Errors
    /// Also where the other end is gone.
    pub(super) async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.read(buffer).await?;
        if length == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(length) }
    }
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Serial { stream, .. } => Pin::new(stream).poll_read(task, buffer),
            Self::Tcp(stream) => Pin::new(stream).poll_read(task, buffer),
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Serial { stream, .. } => Pin::new(stream).poll_write(task, bytes),
            Self::Tcp(stream) => Pin::new(stream).poll_write(task, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            // A serial line's flush waits for the last bit, and blocks: the kernel sends what it has.
            Self::Serial { .. } => Poll::Ready(Ok(())),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(task),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Serial { stream, .. } => Pin::new(stream).poll_shutdown(task),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(task),
        }
    }
}

/// Why a port cannot be opened. The library calls one that somebody else has "not found".
fn why(path: &Path, error: io::Error) -> io::Error {
    let Ok(found) = std::fs::metadata(path) else { return error };
    let is_device = found.file_type().is_char_device();
    let is = |kind| error.kind() == kind;
    if is(io::ErrorKind::NotFound) && is_device {
        io::Error::new(io::ErrorKind::ResourceBusy, "another program has it")
    } else if is(io::ErrorKind::Other) && !is_device {
        io::Error::new(io::ErrorKind::InvalidInput, "it is no device")
    } else {
        error
    }
}

/// Has the kernel drive the transceiver while it sends.
fn rs485_mode(path: &Path, baud: u32) -> io::Result<serial2::SerialPort> {
    let port = serial2::SerialPort::open(path, baud)?;
    port.set_rs4xx_mode(serial2::rs4xx::Rs485Config::new())?;
    Ok(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serial(baud: u32, parity: Parity) -> LineSettings {
        let stop_bits = StopBits::One;
        LineSettings::Serial { path: "/dev/null".into(), baud, parity, stop_bits, rs485: false }
    }

    /// A port that another program had was said not to be there, and a directory to be in use.
    #[tokio::test]
    async fn why_a_port_cannot_be_opened_is_told_apart() {
        let (_master, slave) = tokio_serial::SerialStream::pair().unwrap();
        let path: PathBuf = tokio_serial::SerialPort::name(&slave).unwrap().into();
        drop(slave);
        let directory = tempfile::tempdir().unwrap();
        let kind = async |path: PathBuf| {
            let LineSettings::Serial { baud, parity, stop_bits, rs485, .. } =
                serial(9_600, Parity::None)
            else {
                unreachable!()
            };
            let settings = LineSettings::Serial { path, baud, parity, stop_bits, rs485 };
            Line::open(&settings).await.map_err(|error| error.kind())
        };
        let first = kind(path.clone()).await.unwrap();
        assert_eq!(kind(path.clone()).await.err(), Some(io::ErrorKind::ResourceBusy));
        drop(first);
        assert_eq!(kind(path).await.err(), None);
        let at = directory.path().to_owned();
        assert_eq!(kind(at.clone()).await.err(), Some(io::ErrorKind::InvalidInput));
        assert_eq!(kind(at.join("absent")).await.err(), Some(io::ErrorKind::NotFound));
    }

    #[test]
    fn bytes_take_their_time() {
        assert_eq!(serial(9_600, Parity::None).time_of(96), Duration::from_millis(100));
        assert_eq!(serial(115_200, Parity::Even).time_of(11_520), Duration::from_millis(1_100));
        assert_eq!(serial(9_600, Parity::None).bytes_in(Duration::from_millis(500)), Some(480));
        assert_eq!(serial(0, Parity::None).time_of(usize::MAX), Duration::from_nanos(u64::MAX));
        let tcp = LineSettings::Tcp { address: "127.0.0.1:1".parse().unwrap() };
        assert_eq!(tcp.time_of(1_000_000), Duration::ZERO);
        assert_eq!(tcp.bytes_in(Duration::from_secs(1)), None);
    }
}
