//! Where a life of a board's log ends and the next begins.
//!
//! The invariant of this file: `life` rises by one with each restart line of the ledger, and with
//! nothing else.

use jiff::Timestamp;

use super::Controller;
use super::card::CardList;
use super::setting::Settings;
use crate::ledger::{LedgerError, Line, RestartLine, Restarted, Truth};
use crate::ring::Ring;

impl Controller {
    /// Takes over a line of an earlier run; lines of other controllers are passed over. Says what
    /// is wrong with a line that does not continue this log.
    pub fn resume(&mut self, line: &Line) -> Result<(), String> {
        match line {
            Line::Event(line) if line.controller == self.id() => {
                let event = line.raw.event(self.setup.serial).ok_or("no such record")?;
                if self.recorded == 0 {
                    self.ring = Ring::new(self.setup.capacity, self.setup.chunk, event.index);
                }
                let next = self.ring.next_index();
                let expected = (self.life, u64::from(next), next);
                if (line.life, line.index, event.index) != expected {
                    return Err(format!(
                        "life {} index {} where life {} index {next} comes next",
                        line.life, line.index, self.life
                    ));
                }
                self.ring.push(event);
                self.recorded += 1;
            }
            Line::Restart(line) if line.controller == self.id() => {
                if line.life != self.life + 1 {
                    return Err(format!("life {} after life {}", line.life, self.life));
                }
                self.life = line.life;
                self.ring.restart();
            }
            Line::Event(_) | Line::Restart(_) | Line::Modbus(_) => {}
        }
        Ok(())
    }

    /// Empties the log and all settings, as restore-default-parameters does. The clock goes on.
    pub fn restore_defaults(
        &mut self,
        now: Timestamp,
        truth: &mut dyn Truth,
    ) -> Result<(), LedgerError> {
        self.restart(now, truth)?;
        self.settings = Settings::new(self.setup.address);
        self.cards = CardList::default();
        self.event_index = 0;
        Ok(())
    }

    /// Someone puts another board in its place, with the same serial number: a log, settings and
    /// cards of its own, and a clock that nobody has set.
    pub fn replace(&mut self, now: Timestamp, truth: &mut dyn Truth) -> Result<(), LedgerError> {
        self.restart(now, truth)?;
        let mut another = Self::new(self.setup.clone());
        another.clock.unset();
        another.ring.restart();
        another.life = self.life;
        another.recorded = self.recorded;
        *self = another;
        Ok(())
    }

    fn restart(&mut self, now: Timestamp, truth: &mut dyn Truth) -> Result<(), LedgerError> {
        truth.keep(&Line::Restart(RestartLine {
            controller: self.id(),
            life: self.life + 1,
            event: Restarted::LogRestarted,
            at: now,
        }))?;
        self.life += 1;
        self.ring.restart();
        Ok(())
    }
}
