//! A file that has its name only when it is whole: an export that breaks off leaves nothing that could be
//! taken for one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::Failed;
use crate::exit;

pub(super) struct NewFile {
    path: PathBuf,
    partial: PathBuf,
    file: File,
    force: bool,
    kept: bool,
}

impl NewFile {
    /// Begins it under another name beside it, for its owner alone to read.
    pub(super) fn create(path: &Path, force: bool) -> Result<Self, Failed> {
        let failed = |what: &str, hint: &str| {
            Failed::new(
                exit::FAILED,
                format!("cannot write {}: {what}", path.display()),
                Some(hint),
            )
        };
        match fs::symlink_metadata(path) {
            Ok(found) if !found.is_file() => {
                return Err(failed("it is no plain file", "name another, or - for stdout"));
            }
            Ok(_) if !force => {
                return Err(failed("it exists", "give --force to replace it, or another name"));
            }
            _ => {}
        }
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        let partial = PathBuf::from(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial);
        let hint = "the directory must exist and be writable for you";
        let file = file.map_err(|error| failed(&error.to_string(), hint))?;
        Ok(Self { path: path.to_owned(), partial, file, force, kept: false })
    }

    pub(super) fn writer(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Syncs it and gives it its name.
    pub(super) fn keep(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        if !self.force && fs::symlink_metadata(&self.path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        fs::rename(&self.partial, &self.path)?;
        self.kept = true;
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.partial);
        }
    }
}
