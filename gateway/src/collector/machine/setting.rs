//! The controller's clock: set by itself or by an operator's order, and noted before it hears of it.

use postern_protocol::transaction::Origin;
use postern_protocol::{Kind, Transaction};

use super::{Action, Machine, Refused, State};
use crate::collector::clock::{NotSet, Order, Outcome};
use crate::collector::now::Now;
use crate::driver::DriverError;
use crate::journal::Append;

impl Machine {
    /// The note is durable; but what it says must still be so.
    pub(super) fn set_time(&mut self, now: Now) -> Action {
        let is_trusted = now.utc_is_right || self.order.is_some_and(|order| order.trust_gateway);
        if is_trusted && self.looked(now) {
            return Action::SetTime;
        }
        if !is_trusted {
            self.end_order(Err(NotSet::GatewayUnproven));
        }
        self.state = State::Status;
        Action::Status
    }

    /// An operator wants the clock set. What came of it is [`Machine::take_outcome`]'s.
    pub fn on_order(&mut self, order: Order) {
        self.order = Some(order);
    }

    /// What came of the last order, once.
    pub fn take_outcome(&mut self) -> Option<Outcome> {
        self.outcome.take()
    }

    pub(super) fn end_order(&mut self, outcome: Outcome) {
        if self.order.take().is_some() {
            self.outcome = Some(outcome);
        }
    }

    /// The note that the clock is about to be set. Asked for once.
    pub(super) fn note(&mut self, step_s: i64, now: Now) -> Action {
        let Some(cursor) = self.cursor else {
            self.state = State::Idle { until: None };
            return Action::Wait { until: now.monotonic };
        };
        let (controller, epoch, after) = (self.controller, cursor.epoch, cursor.index);
        let origin = Origin::Gateway { controller, epoch, after };
        let note = Transaction::noted(origin, Kind::ClockSet { step_s }, now.utc);
        self.state = State::Noting;
        let transactions = vec![note];
        Action::Note(Append { controller, transactions, cursor, opens: None, drops_held: None })
    }

    /// What came of [`Action::Note`].
    pub fn on_note(&mut self, result: Result<(), Refused>, now: Now) {
        match result {
            Ok(()) => {
                self.clock.on_set(now.monotonic);
                // Behind this, an older time is no contradiction.
                self.newest = None;
                self.state = State::SetTime;
            }
            Err(Refused::Full) => {
                self.room = false;
                self.end_order(Err(NotSet::JournalFull));
                self.state = State::Idle { until: None };
            }
        }
    }

    /// The answer to [`Action::SetTime`]. Whatever it says, the clock is looked at.
    pub fn on_time_set(&mut self, result: Result<(), DriverError>, now: Now) {
        match result {
            Ok(()) => {
                self.contact(now);
                self.report.clock_sets += 1;
                self.set_from = self.clock.skew();
                self.state = State::Status;
            }
            Err(error) => self.fail(error, now),
        }
    }

    /// Whether the clock is to be set now, by an order or by itself.
    pub(super) fn step_due(&mut self, now: Now) -> Option<i64> {
        if let Some(order) = self.order {
            let step = self.clock.ordered(order, now);
            let step = step.and_then(|step| self.cursor.map(|_| step).ok_or(NotSet::NothingRead));
            return step.map_err(|why| self.end_order(Err(why))).ok();
        }
        self.cursor?;
        self.clock.due(now)
    }
}
