//! What a line's thread needs of a plug.

use std::io;
use std::os::fd::BorrowedFd;

/// The host's end of a line. Nothing here blocks.
pub(super) trait Port: Send + 'static {
    /// Where new hosts come from.
    fn door(&self) -> Option<BorrowedFd<'_>>;
    /// Lets a host in, if one is waiting. Returns true when it did, so that what waited for the
    /// host before is thrown away.
    fn admit(&mut self) -> bool;
    /// The host, if there is one.
    fn host(&self) -> Option<BorrowedFd<'_>>;
    /// Reads what the host wrote; 0: it is gone.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes to the host.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// The host is gone.
    fn hang_up(&mut self);
}
