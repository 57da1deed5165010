//! The limit: the same bytes, written and synced into a file whose blocks were all written before,
//! so that the file system has nothing to do but pass them on.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use crate::Outcome;
use crate::load::Batch;
use crate::subject::{Kept, Subject, take_turns};

/// Longer than what is written before any of it comes round again in a round.
const LENGTH: u64 = 64 * 1024 * 1024;

/// Written in pieces of a page, as the contenders write: one larger write would leave the page cache
/// with larger units, and each later write would be counted as so much.
const PIECE: [u8; 4_096] = [0x5A; 4_096];

/// See the module.
#[derive(Debug)]
pub(crate) struct Limit {
    file: File,
    at: u64,
}

impl Limit {
    pub(crate) fn create(directory: &Path) -> Outcome<Self> {
        let file = File::create(directory.join("limit"))?;
        for offset in (0..LENGTH).step_by(PIECE.len()) {
            file.write_all_at(&PIECE, offset)?;
        }
        file.sync_all()?;
        Ok(Self { file, at: 0 })
    }
}

impl Subject for Limit {
    fn commit(&mut self, batch: Batch) -> Outcome<()> {
        let length = batch.bytes.len() as u64;
        if self.at + length > LENGTH {
            self.at = 0;
        }
        self.file.write_all_at(&batch.bytes, self.at)?;
        self.file.sync_data()?;
        self.at += length;
        Ok(())
    }

    fn concurrently(&mut self, appenders: u32, slice: Duration) -> Outcome<Kept> {
        take_turns(self, appenders, slice)
    }
}
