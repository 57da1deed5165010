//! What becomes of a server's disk while it does not run: its store is lost, put back to an earlier day,
//! restored from a backup, or its directory lies on another disk.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{READY_WITHIN, Server, listen_there};
use crate::harness::{Disk, Error, Output};

/// The store and what lies beside it: transactions may stand in its log alone.
const FILES: [&str; 3] = ["store.sqlite", "store.sqlite-wal", "store.sqlite-shm"];

impl Server {
    /// Copies the store of a server that does not run into a directory, as a snapshot of its disk does.
    pub fn copy_store(&self, to: &Path) -> Result<(), Error> {
        fs::create_dir_all(to).map_err(Error::file("create", to))?;
        copy_files(&self.dir, to)
    }

    /// The store is gone.
    pub fn remove_store(&self) -> Result<(), Error> {
        for path in FILES.map(|name| self.dir.join(name)) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed.map_err(Error::file("remove", &path))?,
            }
        }
        Ok(())
    }

    /// Puts a copy of the store in its place.
    pub fn put_back(&self, from: &Path) -> Result<(), Error> {
        self.remove_store()?;
        copy_files(from, &self.dir)
    }

    /// Has this server, which runs, make a backup.
    pub fn back_up(&self, to: &Path) -> Result<(), Error> {
        self.command(&["backup", "create"], |command| {
            command.arg("--out").arg(to);
        })
        .map(drop)
    }

    /// Puts a backup in the place of the store, as an operator does.
    pub fn restore(&self, from: &Path) -> Result<(), Error> {
        self.command(&["restore", "--set-aside", "--yes"], |command| {
            command.arg("--from").arg(from);
        })
        .map(drop)
    }

    /// Cuts everything off its change log but the last entry, as the log of a server that has made
    /// hundreds of thousands of commits is cut.
    pub fn forget_log(&self) -> Result<(), Error> {
        // Elsewhere, since the way to a disk of its own is open to file copies alone.
        let aside = self.logs.join("cut");
        self.copy_store(&aside)?;
        let path = aside.join(FILES[0]);
        let forget = || {
            let store = rusqlite::Connection::open(&path)?;
            let last = "(SELECT max(position) FROM log)";
            store.execute(&format!("DELETE FROM log WHERE position < {last}"), [])
        };
        forget().map_err(|error| {
            Error::Scenario(format!("the log in {} cannot be cut: {error}", path.display()))
        })?;
        self.put_back(&aside)?;
        fs::remove_dir_all(&aside).map_err(Error::file("remove", &aside))
    }

    /// Starts it where it cannot run; returns how it ended.
    pub fn fail_to_start(&mut self) -> Result<Output, Error> {
        let mut process = self.spawn()?;
        let exit = process.wait(READY_WITHIN)?;
        Ok(Output { exit, stdout: process.data(), stderr: process.messages() })
    }

    /// Moves the directory of a server that does not run to a disk, to which a link leads.
    pub fn move_to(&mut self, disk: &Disk) -> Result<(), Error> {
        let files = fs::read_dir(&self.dir).map_err(Error::file("list", &self.dir))?;
        for file in files {
            let file = file.map_err(Error::file("list", &self.dir))?;
            copy(&file.path(), &disk.root.join(file.file_name()))?;
        }
        self.inside = disk.inside();
        fs::remove_dir_all(&self.dir)
            .and_then(|()| symlink(&disk.root, &self.dir))
            .map_err(Error::file("replace", &self.dir))
    }

    /// Makes its directory anew, which is lost, by joining the other one. Its entry is taken out of that
    /// one's configuration before, as an operator does.
    pub fn join_anew(&self, peer: &Self) -> Result<(), Error> {
        fs::remove_dir_all(&self.dir).map_err(Error::file("remove", &self.dir))?;
        peer.edit_configuration(|text| {
            let mut parts = text.split("\n[[members]]");
            let head = parts.next().unwrap_or_default().to_owned();
            let name = format!("\nname = \"{}\"\n", self.name);
            let kept = parts.filter(|part| !part.contains(&name));
            kept.fold(head, |text, part| text + "\n[[members]]" + part)
        })?;
        self.command(&["init", "--name", &self.name], |command| {
            command.arg("--join").arg(&peer.dir);
            listen_there(command, self.address);
        })
        .map(drop)
    }

    /// Lets it find its peer at another address, where a wire begins.
    pub fn find_peer(&self, peer: &Self, at: std::net::SocketAddr) -> Result<(), Error> {
        let (named, wire) =
            (format!("address = \"{}\"", peer.address), format!("address = \"{at}\""));
        self.edit_configuration(|text| text.replace(&named, &wire))
    }

    /// Has it work by the times that are made for voters in different data centres.
    pub fn be_far(&self) -> Result<(), Error> {
        self.edit_configuration(|text| text.replacen("\nlisten", "\ntimers = \"far\"\nlisten", 1))
    }

    pub(super) fn edit_configuration(
        &self,
        edit: impl FnOnce(&str) -> String,
    ) -> Result<(), Error> {
        let path = self.dir.join("server.toml");
        let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        let edited = edit(&text);
        if edited == text {
            let what = format!("{} has nothing in it that was to be changed", path.display());
            return Err(Error::Scenario(what));
        }
        fs::write(&path, edited).map_err(Error::file("write", &path))
    }
}

fn copy_files(from: &Path, to: &Path) -> Result<(), Error> {
    for file in FILES.map(OsStr::new) {
        let (from, to) = (from.join(file), to.join(file));
        if from.exists() {
            copy(&from, &to)?;
        }
    }
    Ok(())
}

/// With its mode.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    fs::copy(from, to).map(drop).map_err(Error::file("copy", from))
}
