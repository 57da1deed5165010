//! A simulated unit on the line.

use std::time::Duration;

use jiff::Timestamp;
use postern_protocol::modbus::serial;
use postern_protocol::transaction::Credential;
use postern_sim::ledger::Line;
use postern_sim::line::{Reply, Talker};
use postern_sim::modbus::rtu::{self, Assembly};
use postern_sim::modbus::{Device, Reaction, Setup, Unit, UnitFaults};

use crate::Outcome;
use crate::kind::{self, Kind};

/// See the module.
pub(crate) struct Station {
    unit: Unit,
    assembly: Assembly,
    silence: Duration,
    truth: Vec<Line>,
}

impl Station {
    /// A unit that has its power.
    pub(crate) fn new(number: u8, kind: &Kind) -> Outcome<Self> {
        let device = Device::new(Setup {
            seed: 1,
            serial: kind::serial(number),
            unit: number,
            profile: (*kind.profile).clone(),
            cards: Vec::new(),
        });
        let mut device = device.map_err(|problems| format!("{problems:?}"))?;
        let mut truth = Vec::new();
        device.power_on(Timestamp::now(), &mut truth)?;
        let silence = serial::silence(kind::line().character());
        Ok(Self { unit: Unit::new(device), assembly: Assembly::default(), silence, truth })
    }

    /// A card is swiped here.
    pub(crate) fn swipe(&mut self, card: u64) -> Outcome<()> {
        let device = self.unit.device_mut();
        device.swipe(1, Credential(card), Timestamp::now(), &mut self.truth)?;
        Ok(())
    }

    /// It hears nothing any more.
    pub(crate) fn fall_silent(&mut self) {
        self.unit.set_faults(UnitFaults { deaf: 1.0, ..UnitFaults::default() });
    }

    /// How many cards were overwritten before anybody had read them.
    pub(crate) fn lost(&self) -> u64 {
        self.unit.device().lost()
    }

    fn answer(&mut self, heard: &[u8]) -> Option<Reply> {
        let (number, request) = rtu::open(heard)?;
        if number != self.unit.device().setup().unit {
            return None;
        }
        let Self { unit, truth, .. } = self;
        match unit.on_request(number, request, rtu::frame, Timestamp::now(), truth).ok()? {
            Reaction::Silence | Reaction::HangUp { .. } => None,
            Reaction::Bytes { bytes, late } => Some(Reply { after: late, bytes }),
        }
    }
}

impl Talker for Station {
    fn on_bytes(&mut self, bytes: &[u8], _: Duration) -> Option<Reply> {
        self.assembly.push(bytes);
        None
    }

    fn silence(&self) -> Option<Duration> {
        (!self.assembly.is_empty()).then_some(self.silence)
    }

    /// Only now the request is known to be whole: the answer begins at once.
    fn on_silence(&mut self, _: Duration) -> Option<Reply> {
        let heard = self.assembly.take();
        self.answer(&heard)
    }
}
