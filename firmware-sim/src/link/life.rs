//! Where a life of a controller's log ends and the next begins.
//!
//! The invariant of this file: `life` rises by one with each restart line of the ledger, and with
//! nothing else.
//!
//! A life's epoch is drawn from the seed, the serial number and the number of the life. It need not
//! be kept anywhere, then: the ledger has the number of lives, and a simulator that is started again
//! goes on in the epoch that the log had. Who throws a ledger away has to change the seed, too, or
//! another log has the name of the one that is gone.

use jiff::Timestamp;
use postern_protocol::EpochId;
use postern_protocol::link::log::EventLog;

use super::device::LinkDevice;
use super::{draws, epoch};
use crate::ledger::{LedgerError, Line, RestartLine, Restarted, Truth};
use crate::random::Random;

/// Keeps the draws of epochs apart from all others of a seed.
const STREAM: u64 = 1 << 45;

/// The epoch of one life of one controller's log.
pub fn epoch_of(seed: u64, serial: u32, life: u64) -> EpochId {
    let own = draws(seed, STREAM, serial).draw();
    epoch(&mut Random::new(own, life))
}

impl LinkDevice {
    /// Takes over a line of an earlier run; lines of other controllers are passed over. Says what
    /// is wrong with a line that does not continue this log.
    pub fn resume(&mut self, line: &Line) -> Result<(), String> {
        match line {
            Line::Event(line) if line.controller == self.id() => {
                let (index, event) = line.raw.link_event().ok_or("no such record")?;
                let next = self.log.newest().next();
                let expected = (self.life, next.0, next);
                if (line.life, line.index, index) != expected {
                    return Err(format!(
                        "life {} index {} where life {} index {next} comes next",
                        line.life, line.index, self.life
                    ));
                }
                self.log.push(event).map_err(|_| "no such event")?;
                self.recorded += 1;
            }
            Line::Restart(line) if line.controller == self.id() => {
                if line.life != self.life + 1 {
                    return Err(format!("life {} after life {}", line.life, self.life));
                }
                self.begin(line.life);
            }
            Line::Event(_) | Line::Restart(_) | Line::Modbus(_) => {}
        }
        Ok(())
    }

    /// The log is lost; another life of it begins, empty.
    pub(super) fn restart(
        &mut self,
        now: Timestamp,
        truth: &mut dyn Truth,
    ) -> Result<(), LedgerError> {
        truth.keep(&Line::Restart(RestartLine {
            controller: self.id(),
            life: self.life + 1,
            event: Restarted::LogRestarted,
            at: now,
        }))?;
        self.begin(self.life + 1);
        Ok(())
    }

    fn begin(&mut self, life: u64) {
        self.life = life;
        self.log.restart(epoch_of(self.setup.seed, self.setup.serial, life));
    }

    /// What is counted from power on begins anew; the log itself stays.
    pub(super) fn forget_counters(&mut self) {
        let (epoch, newest, stored) = (self.log.epoch(), self.log.newest(), self.log.stored());
        let slots = std::mem::replace(&mut self.log, EventLog::new(Vec::new(), epoch)).into_slots();
        self.log = EventLog::resume(slots, epoch, newest, stored);
    }
}
