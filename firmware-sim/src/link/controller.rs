//! A controller: the station that answers on its line, the device behind it, and its power. Pure.
//!
//! The host hands in what was said on the line and what happened, with the real time, and sends what
//! comes back. After an error nothing may be sent: what could not be told to the truth did not
//! happen.

use jiff::Timestamp;
use postern_protocol::link::station::{Access, Counters, Station};
use serde::{Deserialize, Serialize};

use super::device::{Attended, LinkDevice};
use super::{Security, Setup};
use crate::controller::happening::{Events, Swipe};
use crate::ledger::{LedgerError, Line, Truth};

/// The longest frame that a simulated controller takes and sends: the longest that there is.
pub const WIRE: usize = 1_024;

/// What a power cut leaves of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogAfter {
    /// All of it.
    #[default]
    Kept,
    /// Nothing; another life of it begins.
    Lost,
}

/// The controller.
#[derive(Debug)]
pub struct LinkController {
    device: LinkDevice,
    station: Box<Station<WIRE>>,
}

impl LinkController {
    /// A controller that was just taken out of its box, and powered on.
    pub fn new(setup: Setup) -> Self {
        let station = station(&setup);
        Self { device: LinkDevice::new(setup), station }
    }

    /// Takes over a line of an earlier run; see [`LinkDevice::resume`].
    pub fn resume(&mut self, line: &Line) -> Result<(), String> {
        self.device.resume(line)
    }

    /// Something was said on the line. Answers with what the controller says to it, if anything.
    pub fn on_bytes(
        &mut self,
        bytes: &[u8],
        now: Timestamp,
        truth: &mut dyn Truth,
    ) -> Result<Option<&[u8]>, LedgerError> {
        let mut device = Attended::new(&mut self.device, now, truth);
        let reply = self.station.on_bytes(bytes, &mut device);
        device.end()?;
        Ok(reply)
    }

    /// The power goes and comes back at once. Sessions and all that was not finished are gone, and
    /// the log is, where it is lost.
    pub fn power_cut(&mut self, log: LogAfter, now: Timestamp, truth: &mut dyn Truth) -> Events {
        match log {
            LogAfter::Kept => {}
            LogAfter::Lost => self.device.restart(now, truth)?,
        }
        self.device.lose_power();
        self.station = station(&self.device.setup);
        self.device.power_on(now, truth)
    }

    /// Someone restores its defaults: the log and all that hosts have set is gone. Its key, its
    /// cards and its clock stay.
    pub fn reset(&mut self, now: Timestamp, truth: &mut dyn Truth) -> Result<(), LedgerError> {
        self.device.restart(now, truth)?;
        self.device.lose_power();
        self.device.forget_settings();
        self.station = station(&self.device.setup);
        Ok(())
    }

    /// A card is swiped.
    pub fn swipe(&mut self, swipe: Swipe, now: Timestamp, truth: &mut dyn Truth) -> Events {
        self.device.swipe(swipe, now, truth)
    }

    /// Someone presses the button beside a door.
    pub fn button(&mut self, door: u8, now: Timestamp, truth: &mut dyn Truth) -> Events {
        self.device.button(door, now, truth)
    }

    /// Someone opens a door by force.
    pub fn force(&mut self, door: u8, now: Timestamp, truth: &mut dyn Truth) -> Events {
        self.device.force(door, now, truth)
    }

    /// A door stands open too long.
    pub fn hold(&mut self, door: u8, now: Timestamp, truth: &mut dyn Truth) -> Events {
        self.device.hold(door, now, truth)
    }

    /// The device.
    pub fn device(&self) -> &LinkDevice {
        &self.device
    }

    /// The device, to set its clock.
    pub fn device_mut(&mut self) -> &mut LinkDevice {
        &mut self.device
    }

    /// What the station counted since power on.
    pub fn counters(&self) -> Counters {
        self.station.counters()
    }
}

fn station(setup: &Setup) -> Box<Station<WIRE>> {
    let access = match &setup.security {
        Security::Key(key) => Access::Keyed(key.clone()),
        Security::Plaintext => Access::Plain,
    };
    Box::new(Station::new(setup.address, setup.serial, access))
}
