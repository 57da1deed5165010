//! A file that is written anew: an export, a configuration.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::Failure;
use crate::exit;

/// A file that has its name only when it is whole: an export that breaks off leaves nothing that could
/// be taken for one, and the file that it was to replace.
pub(super) struct NewFile {
    path: PathBuf,
    partial: PathBuf,
    file: File,
    force: bool,
    kept: bool,
}

/// What a person can do where the file cannot be written; that depends on the command.
pub(super) struct Hints {
    /// There is one already.
    pub(super) exists: &'static str,
    /// Something other than a file has the name.
    pub(super) no_file: &'static str,
}

impl NewFile {
    /// Refuses to replace a file, but with `force`.
    pub(super) fn create(path: &Path, force: bool, hints: &Hints) -> Result<Self, Failure> {
        let failed = |what: &str, hint: &str| Failure {
            code: exit::FAILURE,
            message: format!("cannot write {}: {what}\nhint: {hint}", path.display()),
        };
        match fs::symlink_metadata(path) {
            Ok(known) if !known.is_file() && (force || known.is_dir()) => {
                let what = if known.is_dir() { "it is a directory" } else { "it is no plain file" };
                return Err(failed(what, hints.no_file));
            }
            Ok(_) if !force => return Err(failed("it exists", hints.exists)),
            _ => {}
        }
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        let partial = PathBuf::from(name);
        // Who went where is in it.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial);
        let hint = "the directory must exist and be writable for you";
        let file = file.map_err(|error| failed(&error.to_string(), hint))?;
        Ok(Self { path: path.to_owned(), partial, file, force, kept: false })
    }

    /// Writes into it.
    pub(super) fn writer(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Gives it the owner and the mode of another file, such as the one that it replaces.
    pub(super) fn belongs_like(&self, other: &Path) -> io::Result<()> {
        let (of, mine) = (fs::metadata(other)?, self.file.metadata()?);
        if (of.uid(), of.gid()) != (mine.uid(), mine.gid()) {
            fchown(&self.file, Some(of.uid()), Some(of.gid()))?;
        }
        self.file.set_permissions(of.permissions())
    }

    /// Syncs it and gives it its name.
    pub(super) fn keep(mut self) -> io::Result<PathBuf> {
        self.file.sync_all()?;
        if self.force {
            fs::rename(&self.partial, &self.path)?;
        } else {
            self.rename_unless_taken()?;
        }
        self.kept = true;
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(self.path.clone())
    }
}

impl NewFile {
    /// Replaces nothing that came there meanwhile. Not by a second name: the file systems of USB sticks
    /// have none.
    fn rename_unless_taken(&self) -> io::Result<()> {
        let (from, to) = (&self.partial, &self.path);
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Some network file systems cannot do it at once.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) if !to.try_exists()? => {
                fs::rename(from, to)
            }
            other => Ok(other?),
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.partial);
        }
    }
}
