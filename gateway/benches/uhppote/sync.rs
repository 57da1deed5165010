//! What a durable write costs at least: 4 KiB and one fdatasync.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Outcome;

const PIECE: [u8; 4_096] = [0x5A; 4_096];

/// How long the file is whose blocks were all written before.
const LENGTH: u64 = 16 * 1024 * 1024;

/// Two files: one is written over again and again, so that the file system has nothing to do but pass
/// the bytes on; the other grows, so that it has to note a new block and a new length with each sync.
#[derive(Debug)]
pub(crate) struct Sync {
    written: File,
    growing: File,
    at: u64,
}

impl Sync {
    pub(crate) fn create(directory: &Path) -> Outcome<Self> {
        let written = File::create(directory.join("written"))?;
        for at in (0..LENGTH).step_by(PIECE.len()) {
            written.write_all_at(&PIECE, at)?;
        }
        written.sync_all()?;
        Ok(Self { written, growing: File::create(directory.join("growing"))?, at: 0 })
    }

    /// Writes over what was written before: the reference.
    pub(crate) fn over(&mut self) -> Outcome<Duration> {
        let begin = Instant::now();
        self.written.write_all_at(&PIECE, self.at % LENGTH)?;
        self.written.sync_data()?;
        Ok(begin.elapsed())
    }

    /// Appends to the file that grows.
    pub(crate) fn append(&mut self) -> Outcome<Duration> {
        let begin = Instant::now();
        self.growing.write_all_at(&PIECE, self.at)?;
        self.growing.sync_data()?;
        self.at += PIECE.len() as u64;
        Ok(begin.elapsed())
    }
}
