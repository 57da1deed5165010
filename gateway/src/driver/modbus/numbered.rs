//! Reads a log that the device numbers: the acting half of `count`.

use postern_protocol::modbus::counter::Ring;
use postern_protocol::modbus::profile::{Profile, Source};
use postern_protocol::modbus::register::Block;
use postern_protocol::{Digest, EpochId, Index};
use tokio::time::Instant;

use super::count::{Asked, Counted};
use super::look::{Look, Values};
use super::talk::Talk;
use super::watch::Now;
use super::wire::Wire;
use super::{ms, random};
use crate::clock;
use crate::driver::{Bounds, DriverError, LineCounters, Page, Record, Span, Then};

/// So often a counter and its card are read until they are of one moment.
const LOOKS: usize = 4;

/// See the module.
pub(super) struct Numbered {
    talk: Talk,
    requests: Vec<Block>,
    counted: Counted,
}

impl Numbered {
    /// Nothing was read yet; `None` of a reader that does not count.
    pub(super) fn new(unit: u8, profile: &Profile, number: u8) -> Option<Self> {
        Some(Self {
            talk: Talk::to(unit),
            requests: profile.look(Source::Reader(number)).ok()?.requests.to_vec(),
            counted: Counted::new(number, profile.reader(number)?)?,
        })
    }

    /// Whether somebody is there.
    pub(super) async fn greet(&mut self, wire: &mut Wire) -> Result<(), DriverError> {
        self.talk.read(wire, self.counted.counter()).await.map(|_| ())
    }

    /// The unit could not be read.
    pub(super) fn on_silence(&mut self) {
        self.counted.on_silence();
    }

    pub(super) fn counters(&self) -> LineCounters {
        let mut counters = self.talk.counters;
        counters.unreadable += self.counted.unreadable();
        counters
    }

    /// One look. Counter and card are of one moment, however many requests that takes.
    async fn look(&mut self, wire: &mut Wire) -> Result<Look, DriverError> {
        if self.requests.len() == 1 {
            return self.talk.look(wire, &self.requests).await;
        }
        for _ in 0..LOOKS {
            let before = self.shown(wire).await?;
            let look = self.talk.look(wire, &self.requests).await?;
            if self.counted.shown(&look) == Some(before) && self.shown(wire).await? == before {
                return Ok(look);
            }
        }
        Err(DriverError::Nonsense)
    }

    /// The counter alone.
    async fn shown(&mut self, wire: &mut Wire) -> Result<u16, DriverError> {
        let look = self.talk.look(wire, &[self.counted.counter()]).await?;
        self.counted.shown(&look).ok_or(DriverError::Nonsense)
    }

    pub(super) async fn bounds(&mut self, wire: &mut Wire) -> Result<Option<Bounds>, DriverError> {
        // What was read and could not be committed comes first, whatever the device shows by now.
        if let Some(waiting) = self.counted.waiting() {
            let epoch = self.counted.epoch();
            return Ok(Some(Bounds { epoch, oldest: waiting, newest: waiting }));
        }
        let shown = self.shown(wire).await?;
        // Nothing is known yet that one number could be compared with.
        if self.counted.epoch().is_none() && !follows(shown, self.shown(wire).await?) {
            return Err(self.nonsense());
        }
        let newest = match self.counted.newest(shown) {
            Some(newest) => newest,
            None => self.fell_back(wire, shown).await?.1,
        };
        let (epoch, oldest) = (self.counted.epoch(), self.counted.oldest(newest));
        Ok((newest.0 > 0).then_some(Bounds { epoch, oldest, newest }))
    }

    pub(super) async fn fetch(
        &mut self,
        wire: &mut Wire,
        span: Span,
        began: Instant,
    ) -> Result<Page, DriverError> {
        let Some(epoch) = span.epoch else { return Err(DriverError::Refused) };
        if let Asked::Other(epoch) = self.counted.on_asked(epoch, span.from.previous()) {
            return Ok(another(epoch));
        }
        if let Some((durable, _)) = span.committed {
            self.counted.on_durable(epoch, durable);
        }
        if let Some(record) = self.counted.again(span.from) {
            // By itself: behind it there would be two that wait to be durable.
            return Ok(Page { epoch: span.epoch, records: vec![record], then: Then::Absent });
        }
        let start = ms(began);
        let look = self.look(wire).await?;
        let now = Now { ms: start, took_ms: ms(began) - start, utc: clock::utc() };
        let shown = self.counted.shown(&look).ok_or(DriverError::Nonsense)?;
        let Some(newest) = self.counted.newest(shown) else {
            return Ok(another(self.fell_back(wire, shown).await?.0));
        };
        self.counted.on_look(newest, span.from, now);
        let page = self.read_on(wire, &span, &look, (shown, newest), now).await;
        if page.is_err() {
            self.counted.on_nonsense();
        }
        page
    }

    /// What there is behind a look that shows this number, of the life that was asked for.
    async fn read_on(
        &mut self,
        wire: &mut Wire,
        span: &Span,
        look: &Look,
        (shown, newest): (u16, Index),
        now: Now,
    ) -> Result<Page, DriverError> {
        let page = |records| Page { epoch: span.epoch, records, then: Then::Absent };
        let is_new = newest >= span.from;
        // Some were lost, or the number is wrong. A ring is asked again anyway.
        if newest > span.from && self.counted.ring().is_none() {
            let again = self.shown(wire).await?;
            if !follows(shown, again) {
                return Err(self.nonsense());
            }
        }
        match self.counted.ring() {
            Some(ring) if is_new || self.counted.is_unproven() => {
                self.fetch_ring(wire, span, (ring, newest), now).await
            }
            Some(_) => Ok(page(Vec::new())),
            None => match self.counted.record(look, newest, now).filter(|_| newest.0 > 0) {
                None => Ok(page(Vec::new())),
                Some(record) if is_new && self.counted.settles_doubt(&record) => {
                    Ok(another(self.restarted(wire, shown).await?.0))
                }
                Some(record) if is_new => {
                    self.counted.on_read(std::slice::from_ref(&record));
                    Ok(page(vec![record]))
                }
                Some(record) if self.is_another(&record, span.committed) => {
                    if !self.counted.is_beyond_doubt(&record) {
                        return Ok(page(Vec::new()));
                    }
                    Ok(another(self.restarted(wire, shown).await?.0))
                }
                Some(record) => {
                    self.counted.settles_doubt(&record);
                    self.counted.on_proof();
                    Ok(page(Vec::new()))
                }
            },
        }
    }

    /// Whether a number that is known shows another card: the device has begun anew, and come just as far. A card that is
    /// not shown any more is nothing.
    fn is_another(&self, record: &Record, committed: Option<(Index, Digest)>) -> bool {
        let known = self.counted.known().or(committed);
        let known = known.filter(|(index, _)| *index == record.index);
        record.credential.is_some() && known.is_some_and(|known| !is_known(record, known))
    }

    /// Records of a ring, together with the one that the journal knows, where it is there still.
    async fn fetch_ring(
        &mut self,
        wire: &mut Wire,
        span: &Span,
        (ring, newest): (Ring, Index),
        now: Now,
    ) -> Result<Page, DriverError> {
        let oldest = ring.oldest(newest);
        // Also the record that is overwritten next: where it is compared, and there still, nothing was lost before it.
        let is_there =
            |(index, _): &(Index, Digest)| index.next() == span.from && index.next() >= oldest;
        let anchor = span.committed.filter(is_there);
        let first = anchor.map_or(span.from.max(oldest), |(index, _)| index);
        let wanted = u64::try_from(span.at_most).unwrap_or(u64::MAX);
        let from = span.from.max(oldest);
        let last = newest.min(Index(from.previous().0.saturating_add(wanted)));
        // However little time there is, one record is read that was asked for: the known one alone is no progress.
        let needed = (from, span.until);
        let mut records = self.stretches(wire, needed, (ring, first, last), now).await?;
        // What the counter has passed meanwhile was perhaps overwritten while it was read.
        let shown = self.shown(wire).await?;
        let Some(now_newest) = self.counted.newest(shown) else {
            return Ok(another(self.fell_back(wire, shown).await?.0));
        };
        if now_newest < newest {
            return Err(self.nonsense());
        }
        let compared = anchor.filter(|(index, _)| {
            let is_read = records.first().is_some_and(|record| record.index == *index);
            is_read && index.next() >= ring.oldest(now_newest)
        });
        let is_other = compared.is_some_and(|known| !is_known(&records.remove(0), known));
        // The one that is overwritten next may be half another by now.
        let is_other = is_other && compared.is_some_and(|(at, _)| at >= ring.oldest(now_newest));
        records.retain(|record| record.index >= span.from.max(ring.oldest(now_newest)));
        if let Some(known) = compared.filter(|_| is_other) {
            let again = (ring, known.0, known.0);
            let again = self.stretches(wire, (known.0, span.until), again, now).await?;
            if again.first().is_some_and(|record| is_known(record, known)) {
                return Err(self.nonsense());
            }
            return Ok(another(self.restarted(wire, shown).await?.0));
        }
        self.counted.on_proof();
        self.counted.on_read(&records);
        let read = records.last().map_or(span.from.previous(), |record| record.index);
        let then = if read >= now_newest { Then::Absent } else { Then::More };
        Ok(Page { epoch: self.counted.epoch(), records, then })
    }

    /// What stands in a ring from one record to another: up to the one that is needed, and further as far as the
    /// time allows.
    async fn stretches(
        &mut self,
        wire: &mut Wire,
        (needed, until): (Index, Instant),
        (ring, first, last): (Ring, Index, Index),
        now: Now,
    ) -> Result<Vec<Record>, DriverError> {
        let (mut records, mut next) = (Vec::new(), first);
        while next <= last && (next <= needed || Instant::now() < until) {
            let Some((count, block)) = ring.stretch(next, last) else { break };
            let Values::Words(words) = self.talk.read(wire, block).await? else { break };
            for words in words.chunks_exact(usize::from(block.count() / count.max(1)).max(1)) {
                records.extend(self.counted.of_ring(words, next, now));
                next = next.next();
            }
        }
        Ok(records)
    }

    /// The counter shows less than is known. Answers as [`Self::restarted`] does, unless it goes on with the next look: then
    /// the first was no number of it.
    async fn fell_back(
        &mut self,
        wire: &mut Wire,
        shown: u16,
    ) -> Result<(EpochId, Index), DriverError> {
        let again = self.shown(wire).await?;
        if self.counted.newest(again).is_some() {
            return Err(self.nonsense());
        }
        self.begin_anew(shown, again)
    }

    /// The log seems to have begun anew. One number that makes no sense is not believed: it is asked for again. Answers
    /// with the name of the new life, and its newest record.
    async fn restarted(
        &mut self,
        wire: &mut Wire,
        shown: u16,
    ) -> Result<(EpochId, Index), DriverError> {
        let again = self.shown(wire).await?;
        self.begin_anew(shown, again)
    }

    fn begin_anew(&mut self, shown: u16, again: u16) -> Result<(EpochId, Index), DriverError> {
        if !follows(shown, again) {
            return Err(self.nonsense());
        }
        let epoch = EpochId(random());
        self.counted.restart(epoch, again);
        Ok((epoch, Index(again.into())))
    }

    fn nonsense(&mut self) -> DriverError {
        self.counted.on_nonsense();
        self.talk.counters.nonsense += 1;
        DriverError::Nonsense
    }
}

/// So many events may come between two requests in a row. Of two numbers that make no sense one in a thousand passes for
/// that.
const MOST_BETWEEN: u16 = 64;

/// Whether two numbers that were shown one after the other are those of one counter.
fn follows(shown: u16, again: u16) -> bool {
    again.wrapping_sub(shown) <= MOST_BETWEEN
}

/// Nothing is read of the life that was asked for: there is another one.
fn another(epoch: EpochId) -> Page {
    Page { epoch: Some(epoch), records: Vec::new(), then: Then::More }
}

/// Whether this record is what is known under its number.
fn is_known(record: &Record, (index, digest): (Index, Digest)) -> bool {
    record.index == index && record.raw.digest() == digest
}
