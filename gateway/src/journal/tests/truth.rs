//! What a journal must hold after a crash: the list of everything that it was ever told, with what
//! was begun and what was acknowledged at which operation of the disk, and the comparison with what
//! a reopened journal shows.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use postern_protocol::transaction::MAX_ENTRY;
use postern_protocol::{Chain, ControllerId, EpochId, Origin, Transaction};

use super::backend::CutDisk;
use super::rig::{ID, Rig, Seen, Step, append, controller};
use crate::journal::{Cursor, EpochRecord, JournalError};

/// What is wrong with a reopened journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It does not open, or cannot be read.
    Unusable(String),
    /// Something that was acknowledged is not there, or will never be read from its controller.
    Lost(String),
    /// Something will be there twice.
    Doubled(String),
    /// A commit is there in part.
    Torn(String),
    /// Something else was found than was written.
    Wrong(String),
    /// Something above `safe` was reused, or `safe` is not what the servers said.
    Unsafe(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[derive(Debug)]
struct Entry {
    controller: ControllerId,
    /// `None`: a note of the gateway.
    index: Option<u64>,
    bytes: Vec<u8>,
    chain: Chain,
}

/// The journal after one commit.
#[derive(Clone, Debug, Default)]
struct Mark {
    /// The operation of the disk at which it was asked for, and at which it was acknowledged.
    begun: usize,
    acknowledged: Option<usize>,
    head: usize,
    cursors: BTreeMap<ControllerId, Cursor>,
    epochs: BTreeMap<EpochId, EpochRecord>,
    term: u64,
    /// The highest `safe` that the journal was told, and the part of it that must be durable: what
    /// was told before the last commit that held entries.
    told: u64,
    durable_safe: u64,
}

impl Mark {
    fn check_safe(&self, seen: &Seen) -> Result<(), Finding> {
        let safe = seen.safe.0;
        if safe > self.told || safe < self.durable_safe {
            let (low, high) = (self.durable_safe, self.told);
            return Err(Finding::Unsafe(format!("safe {safe}, told {high}, durable {low}")));
        }
        if seen.oldest.0 > safe + 1 {
            return Err(Finding::Unsafe(format!("safe {safe}, oldest {}", seen.oldest)));
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Truth {
    entries: Vec<Rc<Entry>>,
    marks: Vec<Mark>,
}

impl Truth {
    /// A journal whose creation is done at operation `created`.
    pub(super) fn new(created: usize) -> Self {
        let mark = Mark { acknowledged: Some(created), ..Mark::default() };
        Self { entries: Vec::new(), marks: vec![mark] }
    }

    fn last(&self) -> &Mark {
        self.marks.last().unwrap()
    }

    pub(super) fn head(&self) -> u64 {
        self.last().head as u64
    }

    pub(super) fn told(&self) -> u64 {
        self.last().told
    }

    pub(super) fn term(&self) -> u64 {
        self.last().term
    }

    /// Up to where the log of `controller` was read.
    pub(super) fn read_to(&self, controller: ControllerId) -> u64 {
        self.last().cursors.get(&controller).map_or(0, |cursor| cursor.index.0)
    }

    pub(super) fn chain(&self) -> Chain {
        self.chain_at(self.last().head)
    }

    fn chain_at(&self, seq: usize) -> Chain {
        seq.checked_sub(1).map_or_else(|| Chain::genesis(ID), |at| self.entries[at].chain)
    }

    /// Notes that these steps are about to be committed.
    pub(super) fn begin(&mut self, steps: &[Step], position: usize) {
        let mut mark = Mark { begun: position, acknowledged: None, ..self.last().clone() };
        let (head_before, told_before) = (mark.head as u64, mark.told);
        for step in steps {
            match step {
                Step::Append(append) => {
                    self.push(&append.transactions);
                    mark.cursors.insert(append.controller, append.cursor);
                    mark.epochs.extend(append.opens.map(|epoch| (epoch.epoch, epoch)));
                }
                Step::Safe(safe) => mark.told = mark.told.max((*safe).min(head_before)),
                Step::Role(term) => mark.term = *term,
                Step::Resolve(epoch, notes) => {
                    self.push(notes);
                    mark.epochs.insert(epoch.epoch, *epoch);
                }
            }
        }
        mark.head = self.entries.len();
        if mark.head as u64 > head_before {
            mark.durable_safe = told_before;
        }
        self.marks.push(mark);
    }

    fn push(&mut self, transactions: &[Transaction]) {
        for transaction in transactions {
            let mut buffer = [0; MAX_ENTRY];
            let bytes = transaction.encode(&mut buffer).unwrap().to_vec();
            let (controller, index) = match transaction.origin {
                Origin::Controller { controller, index, .. } => (controller, Some(index.0)),
                Origin::Gateway { controller, .. } => (controller, None),
            };
            let chain = self.chain_at(self.entries.len()).link(&bytes);
            self.entries.push(Rc::new(Entry { controller, index, bytes, chain }));
        }
    }

    /// Notes that they were acknowledged.
    pub(super) fn acknowledge(&mut self, position: usize) {
        self.marks.last_mut().unwrap().acknowledged = Some(position);
    }

    /// Compares what is seen after a cut at operation `at`: the state after the last acknowledged
    /// commit, or after the one that was under way. Returns which.
    pub(super) fn check(&self, seen: &Seen, at: usize) -> Result<usize, Finding> {
        let mut marks = 0..self.marks.len();
        let acknowledged = marks.rfind(|&mark| self.is_acknowledged(mark, at)).unwrap_or(0);
        let begun = self.marks.iter().rposition(|mark| mark.begun <= at).unwrap_or(0);
        let found = (acknowledged..=begun).rev().find(|&mark| self.is_at(seen, mark));
        let found = found.ok_or_else(|| self.explain(seen, acknowledged))?;
        self.check_held(seen)?;
        self.marks[found].check_safe(seen)?;
        Ok(found)
    }

    /// Whether commit `mark` was acknowledged before a cut at operation `at`.
    pub(super) fn is_acknowledged(&self, mark: usize, at: usize) -> bool {
        self.marks[mark].acknowledged.is_some_and(|done| done <= at)
    }

    fn is_at(&self, seen: &Seen, mark: usize) -> bool {
        let mark = &self.marks[mark];
        seen.head == self.chain_at(mark.head)
            && seen.cursors == mark.cursors
            && seen.epochs == mark.epochs
            && seen.term == mark.term
    }

    fn explain(&self, seen: &Seen, acknowledged: usize) -> Finding {
        let mark = &self.marks[acknowledged];
        let head = usize::try_from(seen.head.seq.0).unwrap();
        if head < mark.head {
            return Finding::Lost(format!("head {head}, acknowledged up to {}", mark.head));
        }
        if !self.marks.iter().any(|mark| mark.head == head) {
            return Finding::Torn(format!("head {head}: no commit ended there"));
        }
        if seen.head != self.chain_at(head) {
            return Finding::Wrong(format!("another past at {head}"));
        }
        for (controller, cursor) in &seen.cursors {
            let mut there = self.entries[..head].iter().rev();
            let own = |entry: &Rc<Entry>| entry.index.filter(|_| entry.controller == *controller);
            let (last, read) = (there.find_map(own).unwrap_or(0), cursor.index.0);
            if read > last {
                return Finding::Lost(format!("{controller} read to {read}, last held {last}"));
            }
            if read < last {
                return Finding::Doubled(format!("{controller} read to {read}, last held {last}"));
            }
        }
        if seen.term < mark.term {
            return Finding::Lost(format!("role term {} after {}", seen.term, mark.term));
        }
        let found = (head, &seen.cursors, &seen.epochs, seen.term);
        Finding::Torn(format!("{found:?} is after no commit"))
    }

    /// What is held reaches from the oldest, or from where it was read, to the head, each entry as it
    /// was written.
    fn check_held(&self, seen: &Seen) -> Result<(), Finding> {
        let start = usize::try_from(seen.before.seq.0).unwrap();
        // Nothing at all is held where even the head is gone.
        let first = seen.oldest.max(seen.from).min(seen.head.seq.next());
        if seen.before.seq.next() != first || seen.before != self.chain_at(start) {
            return Err(Finding::Wrong(format!("before {start}: oldest {}", seen.oldest)));
        }
        let head = usize::try_from(seen.head.seq.0).unwrap();
        if start + seen.entries.len() != head {
            let there = seen.entries.len();
            return Err(Finding::Lost(format!("{there} entries from {start} to {head}")));
        }
        for (at, (seen, written)) in seen.entries.iter().zip(&self.entries[start..]).enumerate() {
            if *seen != written.bytes {
                return Err(Finding::Wrong(format!("entry {}", start + at + 1)));
            }
        }
        Ok(())
    }

    /// The truth from here on, for a journal that was opened at operation `opened` of a new disk and
    /// showed `seen`, which is after commit `mark`: what was seen once stays.
    pub(super) fn resume(&self, seen: &Seen, mark: usize, opened: usize) -> Self {
        let now = &self.marks[mark];
        let safe = seen.safe.0;
        let mark = Mark {
            begun: 0,
            acknowledged: Some(opened),
            told: safe,
            durable_safe: safe,
            ..now.clone()
        };
        Self { entries: self.entries[..now.head].to_vec(), marks: vec![mark] }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub(super) fn unusable(error: JournalError) -> Finding {
    Finding::Unusable(format!("{error}: {:?}", std::error::Error::source(&error)))
}

/// Reads on like a collector: each controller from the cursor that the journal shows.
pub(super) fn go_on(
    rig: &mut Rig,
    disk: &CutDisk,
    truth: &mut Truth,
    seen: &Seen,
    capacity: u64,
) -> Result<(), Finding> {
    // The second is large enough to make a file grow now and then.
    for (number, most) in [3, 200].into_iter().enumerate() {
        let controller = controller(number);
        let read_to = seen.cursors.get(&controller).map_or(0, |Cursor { index, .. }| index.0);
        let count = most.min(capacity.saturating_sub(truth.head() - truth.told()));
        let mut steps = vec![Step::Safe(truth.told() + 3)];
        if count > 0 {
            steps.push(Step::Append(append(controller, read_to, count)));
        }
        truth.begin(&steps, disk.position());
        rig.commit(&steps).map_err(unusable)?;
        truth.acknowledge(disk.position());
    }
    Ok(())
}
