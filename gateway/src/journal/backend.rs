//! What redb reads and writes through: the journal's file, and a view of a file that is never
//! written.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What the journal's process did to its file since it was opened.
#[derive(Debug, Default)]
pub struct Traffic {
    syncs: AtomicU64,
    bytes_written: AtomicU64,
    entries: AtomicU64,
}

impl Traffic {
    /// Syncs that were asked for.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Entries that were committed.
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    pub(super) fn count_entries(&self, entries: u64) {
        self.entries.fetch_add(entries, Ordering::Relaxed);
    }

    /// Bytes handed to the file system.
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written.load(Ordering::Relaxed)
    }
}

/// The journal's file, locked by this process.
#[derive(Debug)]
pub(super) struct JournalFile {
    file: File,
    traffic: Arc<Traffic>,
}

impl JournalFile {
    /// Takes the lock; `None` where another process has it.
    pub(super) fn lock(file: File, traffic: Arc<Traffic>) -> io::Result<Option<Self>> {
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file, traffic })),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

impl redb::StorageBackend for JournalFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.traffic.syncs.fetch_add(1, Ordering::Relaxed);
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.traffic.bytes_written.fetch_add(data.len() as u64, Ordering::Relaxed);
        self.file.write_all_at(data, offset)
    }
}

/// Bytes of a page of the view; redb's own page size.
const PAGE: usize = 4_096;

/// A file as it is, with what redb wants to write to it kept in memory: a file that was not closed
/// cleanly can be looked at without touching it, although redb repairs it first.
#[derive(Debug)]
pub(super) struct View {
    file: File,
    state: Mutex<ViewState>,
}

#[derive(Debug)]
struct ViewState {
    len: u64,
    written: BTreeMap<u64, Vec<u8>>,
}

impl View {
    /// A view of the file as it is now.
    pub(super) fn of(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self { file, state: Mutex::new(ViewState { len, written: BTreeMap::new() }) })
    }

    /// The page at `number` as the file has it; zeros behind its end.
    fn original(&self, number: u64) -> io::Result<Vec<u8>> {
        let mut page = vec![0; PAGE];
        let (mut filled, start) = (0, number * PAGE as u64);
        while let Some(rest) = page.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, start + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(page)
    }
}

/// The pages that a range of the file touches: number, the part of the page, the part of the range.
fn pages(
    offset: u64,
    len: usize,
) -> impl Iterator<Item = (u64, std::ops::Range<usize>, std::ops::Range<usize>)> {
    let page = PAGE as u64;
    let within = move |at: u64| usize::try_from(at % page).unwrap_or(0);
    let mut done = 0;
    std::iter::from_fn(move || {
        (done < len).then(|| {
            let at = offset + done as u64;
            let start = within(at);
            let count = (PAGE - start).min(len - done);
            let range = done..done + count;
            done += count;
            (at / page, start..start + count, range)
        })
    })
}

impl redb::StorageBackend for View {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner).len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if offset.saturating_add(out.len() as u64) > state.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if state.written.is_empty() {
            return self.file.read_exact_at(out, offset);
        }
        for (number, part, range) in pages(offset, out.len()) {
            let original;
            let page = if let Some(page) = state.written.get(&number) {
                page
            } else {
                original = self.original(number)?;
                &original
            };
            if let (Some(from), Some(to)) = (page.get(part), out.get_mut(range)) {
                to.copy_from_slice(from);
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (number, part, range) in pages(offset, data.len()) {
            let page = match state.written.entry(number) {
                Entry::Occupied(page) => page.into_mut(),
                Entry::Vacant(free) => free.insert(self.original(number)?),
            };
            let page = page.get_mut(part);
            if let (Some(to), Some(from)) = (page, data.get(range)) {
                to.copy_from_slice(from);
            }
        }
        Ok(())
    }
}
