//! A small file system that can really run full: a tmpfs in a mount namespace of its own, which a
//! sleeping process holds. Others reach it through that process's root, so nothing else has to run
//! in there, and it is gone with the process, whatever becomes of the scenario.
//!
//! Needs `unshare` and the right to make a namespace: root has it, others have it where user
//! namespaces are allowed.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::skip::skip;
use super::{Error, Process};

/// It mounts and says so.
const READY_WITHIN: Duration = Duration::from_secs(10);
const SCRIPT: &str = "mount -t tmpfs -o size=\"$1\",mode=0700 tmpfs \"$2\" && \
                      echo '{\"schema\":\"disk.v1\"}' && exec sleep 86400";
/// What is written at a time; the pages of a tmpfs.
const PIECE: [u8; 4_096] = [1; 4_096];

/// See the module.
#[derive(Debug)]
pub struct Disk {
    holder: Process,
    /// Whether there is a user namespace as well.
    has_users: bool,
    /// Where it is, for everybody.
    pub root: PathBuf,
}

impl Disk {
    /// Mounts one of so many bytes. `None`, with a line on stderr that begins with `SKIPPED`, where
    /// this machine does not let us; an error where the environment says that nothing may be skipped.
    pub fn mount(bytes: u64, dir: &Path, logs: &Path) -> Result<Option<Self>, Error> {
        let point = dir.join("disk");
        fs::create_dir_all(&point).map_err(Error::file("create", &point))?;
        let mut why = String::new();
        for namespaces in ["-rm", "-m"] {
            let mut command = Command::new("unshare");
            command.args([namespaces, "sh", "-c", SCRIPT, "sh"]).arg(bytes.to_string()).arg(&point);
            let held = Process::start(&mut command, &format!("disk{namespaces}"), logs);
            match held.and_then(|mut holder| {
                holder.ready::<Value>("disk.v1", READY_WITHIN).map(|_| holder)
            }) {
                Ok(holder) => {
                    let inside = point.strip_prefix("/").unwrap_or(&point);
                    let root = Path::new("/proc").join(holder.id().to_string());
                    return Ok(Some(Self {
                        root: root.join("root").join(inside),
                        has_users: namespaces.contains('r'),
                        holder,
                    }));
                }
                Err(error) => why = error.to_string(),
            }
        }
        let hint = "allow user namespaces or run as root";
        skip("a full file system cannot be made here", &why, hint)
    }

    /// A command that runs what follows it where the disk is mounted: for programs that find out what a path
    /// really is, which then leads past the disk everywhere else.
    pub(super) fn inside(&self) -> Vec<String> {
        let target = self.holder.id().to_string();
        let users: &[&str] =
            if self.has_users { &["--user", "--preserve-credentials"] } else { &[] };
        let words = ["nsenter", "--mount", "--target", &target];
        words.iter().chain(users).chain(&["--"]).map(|word| (*word).to_owned()).collect()
    }

    /// How many bytes are free.
    pub fn free(&self) -> Result<u64, Error> {
        let stat = rustix::fs::statvfs(&self.root)
            .map_err(|error| Error::file("look at", &self.root)(error.into()))?;
        Ok(stat.f_bavail * stat.f_frsize)
    }

    /// Adds ballast until no more than this is free; with 0 up to the last byte.
    pub fn leave(&self, bytes: u64) -> Result<(), Error> {
        let path = self.ballast();
        let failed = |error| Error::file("write", &path)(error);
        let mut ballast = File::options().create(true).append(true).open(&path).map_err(failed)?;
        while self.free()? > bytes {
            match ballast.write_all(&PIECE) {
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                other => other.map_err(failed)?,
            }
        }
        Ok(())
    }

    /// Takes the ballast away.
    pub fn clear(&self) -> Result<(), Error> {
        fs::remove_file(self.ballast()).map_err(Error::file("remove", self.ballast()))
    }

    fn ballast(&self) -> PathBuf {
        self.root.join("ballast")
    }
}
