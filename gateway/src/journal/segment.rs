//! Segments: consecutive entries under one key. A commit writes one, or several where its entries
//! are uncommonly long.
//!
//! A segment carries the chain hash *before* its first entry and a fast checksum over everything.
//! So reading verifies at the speed of memory, and the writer computes the chain over what it commits
//! while the sync is under way: SHA-256 over a thousand entries takes longer than writing them.

use postern_protocol::transaction::MAX_ENTRY;
use postern_protocol::uplink::{MAX_BATCH, MAX_SEQ};
use postern_protocol::{Chain, JournalId, Seq, Transaction};

use super::JournalError;
use super::format::{Broken, MAGIC, Raw, Record, SEAL, Segment, seal, unseal};
use super::ring::Place;

/// The longest value of a segment: every group of a commit fits one, of the usual entries at least.
/// redb keeps a value that is longer than a page in a run of pages whose number is a power of two:
/// cut a little below such a run, none is written with as many zeros as bytes.
pub(crate) const MAX_VALUE: usize = 128 * 1024 - 64;

/// The most that a segment's header takes in a value: seal, variant, first, before, place, count,
/// length.
const HEADER: usize = SEAL + 1 + 10 + 32 + 10 + 5 + 5;

impl<'a> Segment<'a> {
    /// Reads the value under a key and verifies it.
    pub(crate) fn read(key: u64, value: &'a [u8]) -> Result<Self, JournalError> {
        match unseal(value) {
            Ok(Record::Segment(segment)) if segment.first.0 == key && segment.is_whole() => {
                Ok(segment)
            }
            Ok(_) | Err(Broken) => Err(JournalError::Corrupt { at: Seq(key) }),
        }
    }

    /// Whether the entries are as many as it says. What the checksum covers was so when it was
    /// written; this is for those who forge one.
    pub(crate) fn is_whole(&self) -> bool {
        let mut entries = self.entries();
        let count = entries.by_ref().count();
        // Positions far below the end of their type: what counts on from one never overflows.
        self.first >= Seq(1)
            && self.first <= MAX_SEQ
            && self.place <= MAX_SEQ.0
            && count > 0
            && u32::try_from(count) == Ok(self.count)
            && entries.rest.is_empty()
    }

    /// The entries' bytes, in order.
    pub(crate) fn entries(&self) -> Entries<'a> {
        Entries { rest: self.entries.0 }
    }

    /// What [`Segment::place`] is, without verifying the rest.
    pub(crate) fn place_in(value: &[u8]) -> Option<u64> {
        let body = value.get(MAGIC.len() + 4 + 16..)?;
        let (record, _) = postcard::take_from_bytes(body).ok()?;
        if let Record::Segment(segment) = record { Some(segment.place) } else { None }
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Seq {
        Seq(self.first.0.saturating_add(u64::from(self.count)).saturating_sub(1))
    }

    /// The chain before the first entry.
    pub(crate) fn start(&self) -> Chain {
        Chain { seq: self.first.previous(), hash: self.before }
    }

    /// The chain after the last entry.
    pub(crate) fn end(&self) -> Chain {
        self.entries().fold(self.start(), Chain::link)
    }
}

/// The entries in a run of bytes. Ends early where a length reaches past the end.
#[derive(Clone, Debug)]
pub(crate) struct Entries<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.rest.split_first_chunk::<2>()?;
        let (entry, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
        self.rest = rest;
        Some(entry)
    }
}

/// Entries as they stand in a segment. Whoever appends encodes, while the writer waits for the disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    count: u32,
    bytes: Vec<u8>,
}

impl Run {
    /// Encodes transactions.
    pub(crate) fn of(transactions: &[Transaction]) -> Result<Self, JournalError> {
        let mut run = Self { count: 0, bytes: Vec::with_capacity(transactions.len() * 128) };
        let mut buffer = [0; MAX_ENTRY];
        for transaction in transactions {
            let entry = transaction
                .encode(&mut buffer)
                .map_err(|error| JournalError::Dead { reason: error.to_string() })?;
            run.push(entry)?;
        }
        Ok(run)
    }

    /// Adds the bytes of an entry.
    pub(crate) fn push(&mut self, entry: &[u8]) -> Result<(), JournalError> {
        let length = u16::try_from(entry.len())
            .ok()
            .filter(|_| entry.len() <= MAX_ENTRY)
            .ok_or_else(|| JournalError::Dead { reason: "an entry is too long".to_owned() })?;
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(entry);
        self.count += 1;
        Ok(())
    }

    fn append(&mut self, other: &Self) {
        self.bytes.extend_from_slice(&other.bytes);
        self.count += other.count;
    }

    pub(crate) fn entries(&self) -> Entries<'_> {
        Entries { rest: &self.bytes }
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.count as usize
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Their bytes, the lengths between them counted in.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The chain after them: SHA-256 over every entry.
    pub(crate) fn link(&self, start: Chain) -> Chain {
        self.entries().fold(start, Chain::link)
    }
}

/// Runs on their way into segments.
pub(crate) struct Builder {
    journal: JournalId,
    /// The chain before the entries of `run`.
    start: Chain,
    place: u64,
    run: Run,
    done: Vec<(u64, Vec<u8>)>,
}

/// What a commit writes into the log.
pub(crate) struct Built {
    /// First `seq` and value of each.
    pub(crate) segments: Vec<(u64, Vec<u8>)>,
    /// The chain before `tail`.
    pub(crate) start: Chain,
    /// The entries whose links are still to be computed: those of the last segment.
    pub(crate) tail: Run,
    /// The last entry, and where the next segment will lie.
    pub(crate) head: Place,
}

impl Builder {
    /// Behind this entry, which lies at this place.
    pub(crate) fn behind(journal: JournalId, chain: Chain, place: u64) -> Self {
        Self { journal, start: chain, place, run: Run::default(), done: Vec::new() }
    }

    /// The last entry that was pushed.
    pub(crate) fn last(&self) -> Seq {
        Seq(self.start.seq.0.saturating_add(self.run.count.into()))
    }

    fn fits(&self, count: usize, size: usize) -> bool {
        self.run.len() + count <= MAX_BATCH && HEADER + self.run.size() + size <= MAX_VALUE
    }

    /// Pushes a run.
    pub(crate) fn push(&mut self, run: &Run) -> Result<(), JournalError> {
        if self.fits(run.len(), run.size()) {
            self.run.append(run);
            return Ok(());
        }
        run.entries().try_for_each(|entry| self.push_entry(entry))
    }

    /// Pushes the bytes of an entry.
    pub(crate) fn push_entry(&mut self, entry: &[u8]) -> Result<(), JournalError> {
        if !self.fits(1, 2 + entry.len()) {
            self.cut()?;
            self.start = self.run.link(self.start);
            self.run = Run::default();
        }
        self.run.push(entry)
    }

    fn cut(&mut self) -> Result<(), JournalError> {
        let first = self.start.seq.next();
        let segment = Segment {
            first,
            before: self.start.hash,
            place: self.place,
            count: self.run.count,
            entries: Raw(&self.run.bytes),
        };
        let value = seal(self.journal, &Record::Segment(segment))?;
        self.place = self.place.saturating_add(value.len() as u64);
        self.done.push((first.0, value));
        Ok(())
    }

    /// The bytes that wait to be written, about.
    pub(crate) fn pending(&self) -> usize {
        self.done.iter().map(|(_, value)| value.len()).sum::<usize>() + self.run.size()
    }

    /// All segments.
    pub(crate) fn finish(mut self) -> Result<Built, JournalError> {
        let seq = self.last();
        if !self.run.is_empty() {
            self.cut()?;
        }
        let Self { start, place, run, done, .. } = self;
        let head = Place { seq, bytes: place };
        Ok(Built { segments: done, start, tail: run, head })
    }
}
