//! Finding sealed records in a file whose trees cannot be trusted: the file is read from end to end,
//! and whatever carries the magic bytes and a right checksum is a record, wherever it lies.
//!
//! What is found may be older than the last commit (redb writes a changed page elsewhere and leaves
//! the old one until its room is needed) or newer (written by a commit that a crash cut off).
//! Telling these apart is `salvage`'s work.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;

use memchr::memmem;
use postern_protocol::JournalId;

use super::format::{MAGIC, Record, unseal_prefix};

/// How much is read at a time.
const WINDOW: usize = 4 * 1024 * 1024;

/// The longest record: a role document as JSON; a segment is shorter.
const LONGEST: usize = 512 * 1024;

/// What is read again in pieces of this size where the medium gives no more.
const SECTOR: usize = 4_096;

/// Bytes of the file at an offset; zeros where the medium cannot read them.
fn read(file: &File, offset: u64, window: &mut Vec<u8>, len: usize) {
    *window = vec![0; len];
    let mut filled = 0;
    while let Some(rest) = window.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A sector that cannot be read: zeros stand for it.
            Err(_) => {
                let sector = rest.len().min(SECTOR);
                let mut piece = vec![0; sector];
                if file.read_exact_at(&mut piece, offset + filled as u64).is_ok()
                    && let Some(to) = rest.get_mut(..sector)
                {
                    to.copy_from_slice(&piece);
                }
                filled += sector;
            }
        }
    }
    window.truncate(filled);
}

/// Calls `visit` with offset, journal and record for each that is found, in the order of the file, until
/// it breaks off.
pub(super) fn carve(
    path: &Path,
    mut visit: impl FnMut(u64, JournalId, Record<'_>) -> ControlFlow<()>,
) -> io::Result<()> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let finder = memmem::Finder::new(&MAGIC);
    let mut window = Vec::new();
    let mut offset = 0;
    // Records that begin before this were visited, or lie within one that was.
    let mut done = 0;
    while offset < len {
        let wanted = (len - offset).min((WINDOW + LONGEST) as u64);
        read(&file, offset, &mut window, usize::try_from(wanted).unwrap_or(WINDOW));
        let mut at = usize::try_from(done - offset).unwrap_or(0);
        while let Some(found) = window.get(at..).and_then(|rest| finder.find(rest)) {
            at += found;
            if at >= WINDOW {
                break;
            }
            let rest = window.get(at..).unwrap_or_default();
            match unseal_prefix(rest) {
                Ok((journal, record, behind)) => {
                    if visit(offset + at as u64, journal, record).is_break() {
                        return Ok(());
                    }
                    at += rest.len() - behind.len();
                }
                Err(_) => at += 1,
            }
        }
        offset += WINDOW as u64;
        done = offset.max(offset - WINDOW as u64 + at.min(WINDOW + LONGEST) as u64);
    }
    Ok(())
}

/// Whether anything in the file ever was a journal's.
pub(super) fn has_records(path: &Path) -> io::Result<bool> {
    let mut found = false;
    carve(path, |_, _, _| {
        found = true;
        ControlFlow::Break(())
    })?;
    Ok(found)
}

/// A reader of single records whose places are known.
pub(super) struct Places {
    file: File,
    buffer: Vec<u8>,
}

impl Places {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, buffer: Vec::new() })
    }

    /// The record at this place, once more; `None` where the medium no longer gives it.
    pub(super) fn at(&mut self, offset: u64, len: usize) -> Option<Record<'_>> {
        read(&self.file, offset, &mut self.buffer, len);
        unseal_prefix(&self.buffer).ok().map(|(_, record, _)| record)
    }
}
