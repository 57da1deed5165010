//! What a unit shows without a number of its own: cards in latches, doors, restarts. Pure.
//!
//! Nothing of this can be read a second time once it is over, so what was seen waits here until it is durable, and is
//! handed on again where a commit failed. The collector numbers it.

use std::collections::VecDeque;

use postern_protocol::modbus::card::CardError;
use postern_protocol::modbus::door::{self, Door};
use postern_protocol::modbus::profile::{DoorPoints, Events, Flag, Profile, Reader};
use postern_protocol::modbus::register::Table;
use postern_protocol::transaction::Timestamp;
use postern_protocol::{Digest, EpochId, Index};

use super::latch::Latch;
use super::look::Look;
use super::record::{Scribe, Seen, Shown};
use crate::driver::{LineCounters, Record};

/// When a look was: its requests take their time, and what it shows may be of any moment of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    /// When it began, in milliseconds of a clock that does not go back.
    pub(crate) ms: u64,
    /// How long it took.
    pub(crate) took_ms: u64,
    /// When it ended, by the gateway's clock.
    pub(crate) utc: Timestamp,
}

impl Now {
    /// When it ended, on the clock that does not go back.
    pub(crate) fn ended_ms(self) -> u64 {
        self.ms.saturating_add(self.took_ms)
    }

    /// What was seen by a look that ended at some moment, this one or one before, and not yet by one that began at another,
    /// if there was one.
    pub(crate) fn seen(self, after_ms: Option<u64>, by_ms: u64) -> Seen {
        let ago = i64::try_from(self.ended_ms().saturating_sub(by_ms)).unwrap_or(0);
        let at = Timestamp(self.utc.0.saturating_sub(ago));
        Seen { at, since_ms: after_ms.map(|after| by_ms.saturating_sub(after)) }
    }
}

/// Something is to be written to a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clear {
    /// Where.
    pub(crate) flag: Flag,
    /// What.
    pub(crate) value: u16,
}

/// What a latch is of.
#[derive(Clone, Copy, Debug)]
enum Of {
    Reader { number: u8, reader: Reader },
    Restart,
}

#[derive(Debug)]
struct Place {
    of: Of,
    flag: Flag,
    /// What clears it; `None` where it cannot be cleared.
    clear: Option<u16>,
    latch: Latch,
    /// Whether its flag was seen up, since it was last made something of; and when the look before that began.
    is_up: bool,
    before_up_ms: Option<u64>,
}

/// A record that is not durable yet, and the latch that it came from.
#[derive(Debug)]
struct Waiting {
    record: Record,
    latch: Option<usize>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Watch {
    places: Vec<Place>,
    doors: Vec<(DoorPoints, Door)>,
    waiting: VecDeque<Waiting>,
    /// Under which epoch and from which index on they were handed on last.
    handed: Option<(EpochId, Index)>,
    scribe: Scribe,
    /// When the last look began, and the one before it.
    last_ms: Option<u64>,
    before_ms: Option<u64>,
    unreadable: u64,
    nonsense: u64,
}

impl Watch {
    /// Nothing was seen yet. `run` is a random number, another one each time that the gateway starts.
    pub(crate) fn new(profile: &Profile, run: u32) -> Self {
        let numbered = (1..=u8::MAX).zip(&profile.readers);
        let readers = numbered.filter_map(|(number, reader)| match reader.events {
            Events::Latch { flag, clear } => {
                let of = Of::Reader { number, reader: *reader };
                Some(Place {
                    of,
                    flag,
                    clear: Some(clear),
                    latch: Latch::new(),
                    is_up: false,
                    before_up_ms: None,
                })
            }
            Events::Sequence { .. } | Events::Ring { .. } => None,
        });
        let restarted = profile.restarted.map(|flag| {
            let can_be_written = matches!(flag.table, Table::Coil | Table::HoldingRegister);
            let clear = can_be_written.then(|| u16::from(!flag.when));
            Place {
                of: Of::Restart,
                flag,
                clear,
                latch: Latch::new(),
                is_up: false,
                before_up_ms: None,
            }
        });
        Self {
            places: readers.chain(restarted).collect(),
            doors: profile.doors.iter().map(|door| (*door, Door::new(door.rules()))).collect(),
            waiting: VecDeque::new(),
            handed: None,
            scribe: Scribe::new(run),
            last_ms: None,
            before_ms: None,
            unreadable: 0,
            nonsense: 0,
        }
    }

    /// This is the last record of a life of the log that is durable. What was handed on up to it is let go, if it was
    /// handed on under that name and is that record: something else may have been committed instead.
    pub(crate) fn on_durable(&mut self, epoch: Option<EpochId>, durable: Option<(Index, Digest)>) {
        let (Some((handed, first)), Some((last, digest))) = (self.handed, durable) else { return };
        let place = last.0.checked_sub(first.0).and_then(|place| usize::try_from(place).ok());
        let is_it = |place: &usize| {
            let waiting = self.waiting.get(*place);
            waiting.is_some_and(|waiting| waiting.record.raw.digest() == digest)
        };
        let Some(place) = place.filter(is_it).filter(|_| epoch == Some(handed)) else { return };
        for Waiting { latch, .. } in self.waiting.drain(..=place) {
            if let Some(place) = latch.and_then(|latch| self.places.get_mut(latch)) {
                place.latch.on_durable();
            }
        }
        self.handed = Some((handed, last.next()));
    }

    /// What waits to be durable, numbered from `from` on. A look comes only once nothing does.
    pub(crate) fn hand_on(
        &mut self,
        epoch: Option<EpochId>,
        from: Index,
        at_most: usize,
    ) -> Vec<Record> {
        self.handed = epoch.map(|epoch| (epoch, from));
        let numbered = self.waiting.iter().take(at_most).zip(from.0..);
        let record = |(waiting, index): (&Waiting, u64)| Record {
            index: Index(index),
            ..waiting.record.clone()
        };
        numbered.map(record).collect()
    }

    /// Whether the unit is to be told something as soon as what waits is durable.
    pub(crate) fn holds_latches(&self) -> bool {
        self.waiting.iter().any(|waiting| waiting.latch.is_some())
    }

    /// Whether nothing waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Latches whose record is durable: their card is to be read, and [`Self::clear`] says what follows.
    pub(crate) fn durable(&self) -> Vec<usize> {
        let is_due = |place: &Place| place.clear.is_some() && place.latch.is_durable();
        let due = self.places.iter().enumerate().filter(|(_, place)| is_due(place));
        due.map(|(at, _)| at).collect()
    }

    /// The reader of a latch, whose card is to be read; `None` where there is no card.
    pub(crate) fn reader(&self, latch: usize) -> Option<Reader> {
        match self.places.get(latch)?.of {
            Of::Reader { reader, .. } => Some(reader),
            Of::Restart => None,
        }
    }

    /// What is to be written to clear a latch that shows this card, if that is the one that is durable. What it shows
    /// else is new, and the look that follows finds it.
    pub(crate) fn clear(&mut self, latch: usize, card: &Look) -> Option<Clear> {
        let place = self.places.get_mut(latch)?;
        let value = place.clear?;
        let shows = place.of.shows(card)?;
        place.latch.clear(&shows).then_some(Clear { flag: place.flag, value })
    }

    /// The unit says that it was cleared.
    pub(crate) fn on_cleared(&mut self, latch: usize) {
        if let Some(place) = self.places.get_mut(latch) {
            place.latch.on_cleared();
        }
    }

    /// The unit says that it will not. Whether that is a failure: one that says that it has restarted, and goes on saying
    /// so, does no harm.
    pub(crate) fn on_refused(&mut self, latch: usize) -> bool {
        let Some(place) = self.places.get_mut(latch) else { return false };
        place.latch.on_refused();
        match place.of {
            Of::Reader { .. } => true,
            Of::Restart => {
                place.clear = None;
                false
            }
        }
    }

    /// The unit could not be read.
    pub(crate) fn on_silence(&mut self) {
        self.doors.iter_mut().for_each(|(_, door)| door.on_silence());
    }

    /// A look at flags and doors is done. Answers with the latches whose card is to be read now, for [`Self::on_card`].
    pub(crate) fn on_look(&mut self, look: &Look, now: Now) -> Vec<usize> {
        self.before_ms = self.last_ms.replace(now.ms);
        self.on_doors(look, now);
        let (mut cards, mut restarts) = (Vec::new(), Vec::new());
        for (at, place) in self.places.iter_mut().enumerate() {
            match look.flag(place.flag) {
                Some(true) => {
                    if !place.is_up {
                        (place.is_up, place.before_up_ms) = (true, self.before_ms);
                    }
                    match place.of {
                        Of::Reader { .. } => cards.push(at),
                        Of::Restart => restarts.push(at),
                    }
                }
                Some(false) => {
                    place.latch.on_down();
                    place.is_up = false;
                }
                None => {}
            }
        }
        for latch in restarts {
            self.on_card(latch, &Look::default(), now);
        }
        cards
    }

    fn on_doors(&mut self, look: &Look, now: Now) {
        let at = door::Span { began_ms: now.ms, ended_ms: now.ended_ms() };
        for (points, door) in &mut self.doors {
            // Whoever was let through meanwhile, and has gone, was not seen.
            let is_long = |last: u64| now.ms.saturating_sub(last) > points.grant_ms;
            if self.before_ms.is_some_and(is_long) {
                door.on_silence();
            }
            let flag = |flag: Option<Flag>| flag.and_then(|flag| look.flag(flag));
            let seen = door::Look {
                open: flag(points.contact),
                released: flag(points.relay),
                button: flag(points.button),
            };
            for event in door.on_look(seen, at) {
                let seen = now.seen(Some(event.after_ms), event.by_ms);
                let record = self.scribe.door(points.door, event.what, seen);
                self.waiting.push_back(Waiting { record, latch: None });
            }
        }
    }

    /// The card of a latch whose flag was up at the last look. `now` is of both: the card that is read may be another one
    /// than that which put up the flag.
    pub(crate) fn on_card(&mut self, latch: usize, card: &Look, now: Now) {
        let Some(place) = self.places.get_mut(latch) else { return };
        let Some(shows) = place.of.shows(card) else { return };
        // Also where its card could not be read when its flag was first seen.
        let after_ms = if place.is_up { place.before_up_ms } else { self.before_ms };
        place.is_up = false;
        let seen = now.seen(after_ms, now.ended_ms());
        let was_told = place.latch.was_told();
        let Some(may_repeat) = place.latch.on_up(shows) else { return };
        if was_told && may_repeat && matches!(place.of, Of::Restart) {
            // It says so all the time, whatever it is told: it has not restarted once more.
            place.clear = None;
            return;
        }
        let record = match place.of.told(card) {
            None => self.scribe.restarted(seen),
            Some(told) => match told.card() {
                // It says that there is a card, and there is none: nothing is made of that.
                Err(CardError::Empty) => {
                    self.nonsense += 1;
                    place.latch.on_durable();
                    return;
                }
                card => {
                    self.unreadable += u64::from(card.is_err());
                    self.scribe.latch(&told, may_repeat, seen)
                }
            },
        };
        self.waiting.push_back(Waiting { record, latch: Some(latch) });
    }

    /// Whether a latch goes on showing the same card although it was cleared.
    pub(crate) fn is_stuck(&self) -> bool {
        self.places.iter().any(|place| place.latch.is_stuck())
    }

    /// What was seen that made no sense.
    pub(crate) fn count(&self, counters: &mut LineCounters) {
        counters.unreadable += self.unreadable;
        counters.nonsense += self.nonsense;
    }
}

impl Of {
    /// What a latch shows, to be compared: nothing where it has no card.
    fn shows(self, look: &Look) -> Option<Vec<u16>> {
        match self {
            Self::Restart => Some(Vec::new()),
            Self::Reader { reader, .. } => look.words(reader.card.block()?).map(<[u16]>::to_vec),
        }
    }

    fn told(self, look: &Look) -> Option<Shown<'_>> {
        let Self::Reader { number, reader } = self else { return None };
        Some(Shown {
            reader: number,
            door: reader.door,
            direction: reader.direction,
            layout: reader.card.layout(),
            bits: reader.card.bits.and_then(|bits| look.word(bits)),
            words: look.words(reader.card.block()?)?,
        })
    }
}

#[cfg(test)]
mod tests;
