//! Reads what a unit shows without a number of its own, and clears its latches: the acting half of `watch`.

use std::sync::Arc;

use postern_protocol::modbus::profile::{Profile, Source};
use postern_protocol::modbus::register::Block;
use tokio::time::Instant;

use super::look::Look;
use super::ms;
use super::talk::Talk;
use super::watch::{Now, Watch};
use super::wire::Wire;
use crate::clock;
use crate::driver::{DriverError, LineCounters, Page, Span, Then};

/// So many cards in a row are read from a unit's latches without waiting for its next look.
const MOST_IN_A_ROW: u8 = 8;

/// See the module.
pub(super) struct Shown {
    talk: Talk,
    profile: Arc<Profile>,
    requests: Vec<Block>,
    watch: Watch,
    /// How many looks in a row found a new card right behind another.
    in_a_row: u8,
}

impl Shown {
    /// Nothing was read yet. `run` is a random number, another one each time that the gateway starts.
    pub(super) fn new(unit: u8, profile: &Arc<Profile>, run: u32) -> Option<Self> {
        Some(Self {
            talk: Talk::to(unit),
            profile: Arc::clone(profile),
            requests: profile.look(Source::Shown).ok()?.requests.to_vec(),
            watch: Watch::new(profile, run),
            in_a_row: 0,
        })
    }

    /// Whether somebody is there.
    pub(super) async fn greet(&mut self, wire: &mut Wire) -> Result<(), DriverError> {
        let first = self.requests.first().ok_or(DriverError::Refused)?;
        self.talk.read(wire, *first).await.map(|_| ())
    }

    /// The unit could not be read.
    pub(super) fn on_silence(&mut self) {
        self.watch.on_silence();
    }

    pub(super) async fn fetch(
        &mut self,
        wire: &mut Wire,
        span: Span,
        began: Instant,
    ) -> Result<Page, DriverError> {
        self.watch.on_durable(span.epoch, span.committed);
        let refused = if self.watch.is_idle() {
            let refused = self.clear(wire).await?;
            self.look(wire, began).await?;
            refused
        } else {
            None
        };
        let records = self.watch.hand_on(span.epoch, span.from, span.at_most);
        let failure = refused.or(self.watch.is_stuck().then_some(DriverError::Latch));
        if let Some(failure) = failure.filter(|_| records.is_empty()) {
            // Whoever leaves a card at a reader must not blind the doors: those are looked at all the same.
            if self.profile.doors.is_empty() {
                return Err(failure);
            }
            self.talk.counters.nonsense += 1;
        }
        // Whoever waits at a latch can show the next card once this one is cleared.
        let holds = self.watch.holds_latches();
        self.in_a_row = if holds { self.in_a_row.saturating_add(1) } else { 0 };
        // A device that shows another card whenever it is cleared has to wait for its turn.
        let then = if holds && self.in_a_row <= MOST_IN_A_ROW { Then::More } else { Then::Absent };
        Ok(Page { epoch: None, records, then })
    }

    /// Clears what is durable. Answers with what the unit refused.
    async fn clear(&mut self, wire: &mut Wire) -> Result<Option<DriverError>, DriverError> {
        let mut refused = None;
        for latch in self.watch.durable() {
            let card = self.card(wire, latch).await?;
            let Some(clear) = self.watch.clear(latch, &card) else { continue };
            let place = (clear.flag.table, clear.flag.address);
            match self.talk.write(wire, place, clear.value).await {
                Ok(()) => self.watch.on_cleared(latch),
                Err(error @ DriverError::Exception { .. }) => {
                    if self.watch.on_refused(latch) {
                        refused = Some(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(refused)
    }

    async fn look(&mut self, wire: &mut Wire, began: Instant) -> Result<(), DriverError> {
        let start = ms(began);
        let look = self.talk.look(wire, &self.requests).await?;
        let now = Now { ms: start, took_ms: ms(began) - start, utc: clock::utc() };
        for latch in self.watch.on_look(&look, now) {
            let card = self.card(wire, latch).await?;
            let now = Now { took_ms: ms(began) - start, utc: clock::utc(), ..now };
            self.watch.on_card(latch, &card, now);
        }
        Ok(())
    }

    /// The card that a latch shows; nothing where it has none.
    async fn card(&mut self, wire: &mut Wire, latch: usize) -> Result<Look, DriverError> {
        let plan = self.watch.reader(latch).and_then(|reader| self.profile.card(&reader).ok());
        let blocks = plan.map(|plan| plan.requests.to_vec()).unwrap_or_default();
        self.talk.look(wire, &blocks).await
    }

    pub(super) fn counters(&self) -> LineCounters {
        let mut counters = self.talk.counters;
        self.watch.count(&mut counters);
        counters
    }
}
