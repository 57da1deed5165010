//! What a reader counts: with a number beside the newest card, or in a ring of registers. Pure.
//!
//! The counter has 16 bits; the number of a record goes on beyond that, from the one that the journal knows. A device
//! does not name the lives of its log, so the driver does: another begins where the counter went back, where the record
//! that the journal knows is another one now, and with each journal. What was lost behind a counter that went on is
//! counted exactly, and nothing is proven of it.

use std::collections::VecDeque;

use postern_protocol::modbus::counter::{Count, MOST_BEYOND_WRAP, Ring, count};
use postern_protocol::modbus::profile::{Events, Place, Reader};
use postern_protocol::modbus::register::Block;
use postern_protocol::{Digest, EpochId, Index};

use super::look::Look;
use super::record::{self, Shown};
use super::sight::Sights;
use super::watch::Now;
use crate::driver::Record;

/// So many lives that are over are remembered. A journal that cannot commit does not get to know of any.
const MAX_FORMER: usize = 16;

/// Bytes of a record before its registers.
const HEAD: usize = 6;

/// A life of the log, as far as this run of the gateway knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Life {
    epoch: EpochId,
    /// The newest record that was seen.
    newest: Index,
    /// Whether a record of it was seen by this run since the line failed last.
    is_proven: bool,
}

/// What is known of a log that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// It is read on.
    Goes,
    /// Another life has begun since.
    Other(EpochId),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Counted {
    number: u8,
    reader: Reader,
    counter: Place,
    ring: Option<Ring>,
    life: Option<Life>,
    /// Those that this run saw before it.
    former: VecDeque<EpochId>,
    /// The record that was handed on last: the device may have another one by the time that it is durable.
    kept: Option<(EpochId, Record)>,
    is_kept_durable: bool,
    /// What was shown under a number that is known as another card's, at the last look.
    doubt: Option<Record>,
    sights: Sights,
    unreadable: u64,
}

impl Counted {
    /// Of a reader with this number that counts; `None` of one that does not.
    pub(crate) fn new(number: u8, reader: &Reader) -> Option<Self> {
        let (Events::Sequence { counter } | Events::Ring { counter, .. }) = reader.events else {
            return None;
        };
        Some(Self {
            number,
            reader: *reader,
            counter,
            ring: reader.ring(),
            life: None,
            former: VecDeque::new(),
            kept: None,
            is_kept_durable: false,
            doubt: None,
            sights: Sights::default(),
            unreadable: 0,
        })
    }

    /// The ring, if it has one.
    pub(crate) fn ring(&self) -> Option<Ring> {
        self.ring
    }

    /// The register that counts.
    pub(crate) fn counter(&self) -> Block {
        self.counter.block()
    }

    /// What the counter shows.
    pub(crate) fn shown(&self, look: &Look) -> Option<u16> {
        look.word(self.counter)
    }

    /// This life of the log is asked for, behind this record.
    pub(crate) fn on_asked(&mut self, epoch: EpochId, behind: Index) -> Asked {
        match self.life {
            Some(life) if life.epoch == epoch => Asked::Goes,
            Some(life) if self.former.contains(&epoch) => Asked::Other(life.epoch),
            // By a journal that we know nothing of yet.
            Some(_) | None => {
                self.life = Some(Life { epoch, newest: behind, is_proven: false });
                self.former.clear();
                Asked::Goes
            }
        }
    }

    /// What the counter says of this life of the log.
    fn judge(&self, shown: u16) -> Count {
        let known = self.life.map_or(Index(0), |life| life.newest);
        // A long ring tells by its records what a counter cannot.
        let records = self.ring.map_or(0, |ring| ring.records().min(1 << 15));
        count(known, shown, MOST_BEYOND_WRAP.max(records))
    }

    /// The newest record, where the counter does not say that the log began anew. Of a log that nobody asked for yet it
    /// is what is shown.
    pub(crate) fn newest(&self, shown: u16) -> Option<Index> {
        match self.judge(shown) {
            Count::Same => Some(self.life.map_or(Index(0), |life| life.newest)),
            Count::Newest(newest) => Some(newest),
            Count::Restarted if self.life.is_none() => Some(Index(shown.into())),
            Count::Restarted => None,
        }
    }

    /// The oldest record that can be read while that is the newest.
    pub(crate) fn oldest(&self, newest: Index) -> Index {
        self.ring.map_or(newest, |ring| ring.oldest(newest))
    }

    /// Another life has begun, which shows this.
    pub(crate) fn restart(&mut self, epoch: EpochId, shown: u16) {
        self.former.extend(self.life.map(|life| life.epoch));
        if self.former.len() > MAX_FORMER {
            self.former.pop_front();
        }
        self.life = Some(Life { epoch, newest: Index(shown.into()), is_proven: true });
        (self.kept, self.doubt) = (None, None);
        self.sights.on_restart();
    }

    /// What it is called now.
    pub(crate) fn epoch(&self) -> Option<EpochId> {
        self.life.map(|life| life.epoch)
    }

    /// Whether a record that the journal knows is to be looked at once more.
    pub(crate) fn is_unproven(&self) -> bool {
        self.life.is_some_and(|life| !life.is_proven)
    }

    /// The log gives the record that the journal knows, or has overwritten it.
    pub(crate) fn on_proof(&mut self) {
        if let Some(life) = &mut self.life {
            life.is_proven = true;
        }
    }

    /// The unit could not be read: whatever happens now is not seen.
    pub(crate) fn on_silence(&mut self) {
        if let Some(life) = &mut self.life {
            life.is_proven = false;
        }
    }

    /// What the last look showed made no sense, or was not borne out.
    pub(crate) fn on_nonsense(&mut self) {
        self.sights.on_nonsense();
    }

    /// A look showed this as its newest record; `from` is what is asked for.
    pub(crate) fn on_look(&mut self, newest: Index, from: Index, now: Now) {
        self.sights.on_look(newest, from, now);
    }

    /// These are handed on: the newest of them is known.
    pub(crate) fn on_read(&mut self, records: &[Record]) {
        let (Some(life), Some(last)) = (&mut self.life, records.last()) else { return };
        life.newest = life.newest.max(last.index);
        life.is_proven = true;
        let unreadable = records.iter().filter(|record| record.credential.is_none()).count();
        self.unreadable += u64::try_from(unreadable).unwrap_or(0);
        // A ring has it still, or says that it has not.
        if self.ring.is_none() {
            self.kept = Some((life.epoch, last.clone()));
            self.is_kept_durable = false;
        }
    }

    /// So much of a life of the log is durable.
    pub(crate) fn on_durable(&mut self, epoch: EpochId, durable: Index) {
        let is_it = |(kept, record): &(EpochId, Record)| *kept == epoch && record.index <= durable;
        self.is_kept_durable |= self.kept.as_ref().is_some_and(is_it);
    }

    /// The record that was handed on last, where it is not durable.
    pub(crate) fn waiting(&self) -> Option<Index> {
        let (epoch, record) = self.kept.as_ref().filter(|_| !self.is_kept_durable)?;
        (Some(*epoch) == self.epoch()).then_some(record.index)
    }

    /// A number that is known shows another card. Whether it did so at the last look already: a device may show its
    /// newest card a moment before it counts.
    pub(crate) fn is_beyond_doubt(&mut self, record: &Record) -> bool {
        let is_same = self.doubt.as_ref().is_some_and(|doubt| doubt.raw == record.raw);
        self.doubt = (!is_same).then(|| record.clone());
        is_same
    }

    /// A new record is shown, or the one that is known. Whether it shows that the card of the last look, which had a number
    /// that was known, was one by itself: it is not this one, whose number is the next.
    pub(crate) fn settles_doubt(&mut self, record: &Record) -> bool {
        let Some(doubt) = self.doubt.take() else { return false };
        let registers = |record: &Record| record.raw.as_slice().get(HEAD..).map(<[u8]>::to_vec);
        record.index == doubt.index.next() && registers(record) != registers(&doubt)
    }

    /// The record that was handed on last, where it is asked for once more: its commit failed.
    pub(crate) fn again(&mut self, from: Index) -> Option<Record> {
        let (epoch, record) = self.kept.as_ref()?;
        let is_it = Some(*epoch) == self.epoch() && record.index >= from;
        is_it.then(|| record.clone())
    }

    /// The record of what a look shows beside the counter.
    pub(crate) fn record(&self, look: &Look, index: Index, now: Now) -> Option<Record> {
        let block = self.reader.card.block()?;
        let bits = self.reader.card.bits.and_then(|bits| look.word(bits));
        Some(self.made(look.words(block)?, bits, index, now))
    }

    /// The record that stands in these registers of the ring: all of them are kept, a part of them is the card.
    pub(crate) fn of_ring(&self, words: &[u16], index: Index, now: Now) -> Option<Record> {
        let card = self.reader.card;
        let begin = usize::from(card.address);
        let shown = self.made(words.get(begin..begin + usize::from(card.count))?, None, index, now);
        let whole = self.made(words, None, index, now);
        Some(Record { raw: whole.raw, ..shown })
    }

    fn made(&self, words: &[u16], bits: Option<u16>, index: Index, now: Now) -> Record {
        let Reader { door, direction, card, .. } = self.reader;
        let (reader, layout) = (self.number, card.layout());
        let shown = Shown { reader, door, direction, layout, bits, words };
        record::counted(&shown, index, self.ring.is_some(), self.sights.of(index, now))
    }

    /// The record that this run handed on last, by its number and bytes.
    pub(crate) fn known(&self) -> Option<(Index, Digest)> {
        let (epoch, record) = self.kept.as_ref()?;
        (Some(*epoch) == self.epoch()).then(|| (record.index, record.raw.digest()))
    }

    /// Records whose card could not be read.
    pub(crate) fn unreadable(&self) -> u64 {
        self.unreadable
    }
}
