//! What becomes of a voter's file and of what it is told, while it does not run: put back to an earlier day, lost,
//! its whole directory copied; and a clock that can be set.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::{Server, store};
use crate::harness::Error;
use crate::harness::skip::skip;

const FILE: &str = "voter.redb";
/// Of Debian's package libfaketime, below the machine's own directory of libraries.
const LIBRARY: &str = "faketime/libfaketime.so.1";

impl Server {
    /// Copies the file of a voter that does not run.
    pub fn copy_voter(&self, to: &Path) -> Result<(), Error> {
        store::copy(&self.dir.join(FILE), to)
    }

    /// Puts a copy in its place.
    pub fn put_voter_back(&self, from: &Path) -> Result<(), Error> {
        store::copy(from, &self.dir.join(FILE))
    }

    /// It is gone.
    pub fn lose_voter(&self) -> Result<(), Error> {
        let path = self.dir.join(FILE);
        fs::remove_file(&path).map_err(Error::file("remove", path))
    }

    /// Has an operator make it anew, as one that is to found the group once all are as empty.
    pub fn found_voters(&self) -> Result<(), Error> {
        self.command(&["found-voters"], |_| {}).map(drop)
    }

    /// How often its file was found to be older than others remember, and was set aside.
    pub fn outdated(&self) -> Result<usize, Error> {
        let files = fs::read_dir(&self.dir).map_err(Error::file("list", &self.dir))?;
        let names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
        Ok(names.filter(|name| name.starts_with("voter.redb.outdated")).count())
    }

    /// What its `server.toml` is.
    pub fn configuration(&self) -> Result<String, Error> {
        let path = self.dir.join("server.toml");
        fs::read_to_string(&path).map_err(Error::file("read", path))
    }

    /// From its next start it does not know that there is a witness.
    pub fn forget_witness(&self) -> Result<(), Error> {
        self.edit_configuration(|text| {
            let table = text.find("\n[witness]").unwrap_or(text.len());
            let (head, tail) = text.split_at(table);
            // Another table may follow it.
            let rest = tail.get(1..).and_then(|tail| tail.find("\n[")).map(|at| &tail[at + 1..]);
            format!("{head}{}", rest.unwrap_or_default())
        })
    }

    /// Its configuration is this again.
    pub fn put_configuration_back(&self, text: &str) -> Result<(), Error> {
        let path = self.dir.join("server.toml");
        fs::write(&path, text).map_err(Error::file("write", &path))
    }

    /// A copy of this server, which does not run, that listens at another address: the same to everybody that it
    /// talks to.
    pub fn twin(&self, root: &Path, listen: SocketAddr) -> Result<Self, Error> {
        let name = format!("{}-twin", self.name);
        let twin = Self { part: self.part, ..Self::at(root, &self.logs, &name, listen) };
        fs::create_dir_all(&twin.dir).map_err(Error::file("create", &twin.dir))?;
        for file in fs::read_dir(&self.dir).map_err(Error::file("list", &self.dir))? {
            let file = file.map_err(Error::file("list", &self.dir))?;
            if file.path().is_file() {
                store::copy(&file.path(), &twin.dir.join(file.file_name()))?;
            }
        }
        twin.edit_configuration(|text| {
            let line = |line: &str| match line.strip_prefix("listen = ") {
                Some(_) => format!("listen = \"{listen}\"\n"),
                None => format!("{line}\n"),
            };
            text.lines().map(line).collect()
        })?;
        Ok(twin)
    }

    /// What `status` says to a person, of this server alone.
    pub fn said(&self) -> Result<String, Error> {
        self.command(&["status", "--server", &self.name], |_| {})
    }

    /// What its present process has logged.
    pub fn log(&mut self) -> Result<String, Error> {
        Ok(self.running()?.messages())
    }

    /// From its next start on its time of day is what a file says: an offset such as `+5h`. `None`, with a line on
    /// stderr that begins with `SKIPPED`, where there is no library for that.
    pub fn fake_clock(&mut self) -> Result<Option<PathBuf>, Error> {
        let places = fs::read_dir("/usr/lib").into_iter().flatten().filter_map(Result::ok);
        let Some(library) = places.map(|place| place.path().join(LIBRARY)).find(|at| at.exists())
        else {
            let why = "there is no libfaketime";
            return skip("no clock can be set", why, "install Debian's package libfaketime");
        };
        let file = self.logs.join(format!("{}.clock", self.name));
        fs::write(&file, "+0").map_err(Error::file("write", &file))?;
        self.inside = vec![
            "env".to_owned(),
            format!("LD_PRELOAD={}", library.display()),
            format!("FAKETIME_TIMESTAMP_FILE={}", file.display()),
            "FAKETIME_NO_CACHE=1".to_owned(),
            // Whoever sets the time of day sets no other clock.
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        ];
        Ok(Some(file))
    }
}
