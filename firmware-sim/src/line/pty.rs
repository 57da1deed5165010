//! A host's plug that is a serial device: a pty, in raw mode.
//!
//! The device is held open on this side, too, so that the line never sees a hang-up when a host
//! comes and goes. What arrives while no host has it open waits in the system's buffer, some ten
//! KiB, where a real device would have thrown it away: a host that opens a device flushes it
//! anyway. A pty takes any speed and parity that a host sets and does nothing with them; how fast
//! the line is, its settings say.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::error::LineError;
use super::port::Port;

/// A pty and, while it lives, the link to it.
#[derive(Debug)]
pub struct Pty {
    line: File,
    _device: File,
    path: PathBuf,
    link: Option<PathBuf>,
}

impl Pty {
    /// Opens a pty. `link` becomes a symbolic link to its device; a link that is there already,
    /// left by a simulator that was killed, is replaced, and anything else is not.
    pub fn open(link: Option<&Path>) -> Result<Self, LineError> {
        let (master, device, path) = pair().map_err(LineError::io("open a pty"))?;
        if let Some(link) = link {
            let what = format!("link {} to {}", link.display(), path.display());
            point(link, &path).map_err(LineError::io(what))?;
        }
        Ok(Self { line: master, _device: device, path, link: link.map(Path::to_owned) })
    }

    /// The device.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // Only while it is ours: another simulator may have taken the name.
        if let Some(link) = &self.link
            && fs::read_link(link).is_ok_and(|target| target == self.path)
        {
            let _ = fs::remove_file(link);
        }
    }
}

impl Port for Pty {
    fn door(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn admit(&mut self) -> bool {
        false
    }

    fn host(&self) -> Option<BorrowedFd<'_>> {
        Some(self.line.as_fd())
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.line.read(buffer)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.write(bytes)
    }

    /// A device has no end: it is held open here.
    fn hang_up(&mut self) {}
}

fn pair() -> io::Result<(File, File, PathBuf)> {
    let line = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&line)?;
    unlockpt(&line)?;
    let name = ptsname(&line, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let device = rustix::fs::open(name.as_c_str(), flags, Mode::empty())?;
    // The line discipline is the device's; the other end has none that would change a byte.
    let mut mode = tcgetattr(&device)?;
    mode.make_raw();
    tcsetattr(&device, OptionalActions::Now, &mode)?;
    rustix::io::ioctl_fionbio(&line, true)?;
    let path = PathBuf::from(OsStr::from_bytes(name.as_bytes()));
    Ok((line.into(), device.into(), path))
}

fn point(link: &Path, device: &Path) -> io::Result<()> {
    match symlink(device, link) {
        Err(error)
            if error.kind() == ErrorKind::AlreadyExists
                && fs::symlink_metadata(link).is_ok_and(|meta| meta.is_symlink()) =>
        {
            fs::remove_file(link)?;
            symlink(device, link)
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_pass_as_they_are_in_both_directions() {
        let mut pty = Pty::open(None).unwrap();
        let mut host = File::options().read(true).write(true).open(pty.path()).unwrap();
        let all: Vec<u8> = (0..=255).collect();
        let mut heard = vec![0; 256];
        assert_eq!(pty.write(&all).unwrap(), 256);
        host.read_exact(&mut heard).unwrap();
        assert_eq!(heard, all);

        host.write_all(&all).unwrap();
        let mut heard = Vec::new();
        while heard.len() < all.len() {
            let mut buffer = [0; 256];
            match pty.read(&mut buffer) {
                Ok(read) => heard.extend_from_slice(&buffer[..read]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        assert_eq!(heard, all);
    }

    #[test]
    fn a_host_that_goes_is_no_hang_up() {
        let mut pty = Pty::open(None).unwrap();
        drop(File::open(pty.path()).unwrap());
        let error = pty.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }

    #[test]
    fn the_link_lives_as_long_as_the_pty_and_replaces_only_links() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("line");
        symlink("/nowhere", &link).unwrap();
        let pty = Pty::open(Some(&link)).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), pty.path());
        drop(pty);
        assert!(fs::symlink_metadata(&link).is_err());

        fs::write(&link, "mine").unwrap();
        assert!(matches!(Pty::open(Some(&link)), Err(LineError::Io { .. })));
        assert_eq!(fs::read(&link).unwrap(), b"mine");
    }
}
