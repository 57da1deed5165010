//! One Modbus unit, on a line or behind a TCP port: whatever happens to it happens here, under one lock.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use postern_protocol::modbus::serial;
use postern_protocol::transaction::Credential;

use super::keeper::Keeper;
use super::{GENERATE_AT_ONCE, Stopped, lock};
use crate::ledger::{ModbusLine, Truth};
use crate::line::{Reply, Talker};
use crate::modbus::rtu::{self, Assembly};
use crate::modbus::unit::BROADCAST;
use crate::modbus::{Device, HappeningError, Point, Reaction, Shown, Unit, UnitFaults};
use crate::people::Crowd;

/// All that changes.
#[derive(Debug)]
pub struct State {
    /// The unit itself.
    pub unit: Unit,
    crowd: Crowd,
}

/// A Modbus unit.
#[derive(Debug)]
pub struct ModbusUnit {
    serial: u32,
    unit: u8,
    line: String,
    readers: u8,
    reply_after: Duration,
    /// The cards that people at this unit have.
    cards: Vec<u32>,
    state: Mutex<State>,
    keeper: Arc<Keeper>,
}

/// Why something did not happen at a unit.
#[derive(Debug, thiserror::Error)]
pub enum UnitError {
    /// It has no such thing.
    #[error(transparent)]
    Refused(HappeningError),
    /// The simulator stops.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl ModbusUnit {
    pub(super) fn new(
        line: &str,
        reply_after: Duration,
        device: Device,
        crowd: Crowd,
        keeper: Arc<Keeper>,
    ) -> Self {
        let setup = device.setup();
        Self {
            serial: setup.serial,
            unit: setup.unit,
            line: line.to_owned(),
            readers: u8::try_from(setup.profile.readers.len()).unwrap_or(u8::MAX),
            reply_after,
            cards: setup.cards.clone(),
            state: Mutex::new(State { unit: Unit::new(device), crowd }),
            keeper,
        }
    }

    /// Its serial number.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// Its unit number.
    pub fn unit(&self) -> u8 {
        self.unit
    }

    /// The name of its line, or of the TCP port that it is behind.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Whether cards can be swiped there.
    pub fn has_readers(&self) -> bool {
        self.readers > 0
    }

    /// Looks at it.
    pub fn look<T>(&self, at: impl FnOnce(&State) -> T) -> T {
        at(&lock(&self.state))
    }

    /// It misbehaves like this from now on.
    ///
    /// # Errors
    /// What makes no sense; then nothing changes.
    pub fn set_faults(&self, faults: UnitFaults) -> Result<(), String> {
        faults.check()?;
        lock(&self.state).unit.set_faults(faults);
        Ok(())
    }

    /// A card is swiped at a reader, counted from 1.
    pub fn swipe(&self, reader: u8, card: u64) -> Result<Vec<ModbusLine>, UnitError> {
        self.act(|device, now, truth| device.swipe(reader, Credential(card), now, truth))
    }

    /// A door is opened, or closed.
    pub fn open_door(&self, door: u8, open: bool) -> Result<Vec<ModbusLine>, UnitError> {
        self.turn(door, Point::Contact, open)
    }

    /// A door's relay lets it be opened, or no longer.
    pub fn release(&self, door: u8, released: bool) -> Result<Vec<ModbusLine>, UnitError> {
        self.turn(door, Point::Relay, released)
    }

    /// The button beside a door is pressed, or let go.
    pub fn press(&self, door: u8, pressed: bool) -> Result<Vec<ModbusLine>, UnitError> {
        self.turn(door, Point::Button, pressed)
    }

    /// One of a door's points changes.
    pub fn turn(&self, door: u8, point: Point, on: bool) -> Result<Vec<ModbusLine>, UnitError> {
        self.act(|device, now, truth| device.turn(door, point, on, now, truth))
    }

    /// Its power goes and comes back at once.
    pub fn restart(&self) -> Result<Vec<ModbusLine>, UnitError> {
        self.act(Device::power_on)
    }

    /// Lets something happen to it.
    pub fn act(
        &self,
        action: impl FnOnce(&mut Device, Timestamp, &mut dyn Truth) -> Shown,
    ) -> Result<Vec<ModbusLine>, UnitError> {
        self.act_on(&mut lock(&self.state), action)
    }

    /// Someone of its people swipes; nobody where it has no reader.
    pub fn swipe_of_someone(&self) -> Result<Vec<ModbusLine>, Stopped> {
        self.someone(&mut lock(&self.state))
    }

    /// So many of its people swipe as fast as they can. Answers how many cards that showed. Blocks for as long as
    /// that takes, though the unit answers in between.
    pub fn generate(&self, swipes: u32) -> Result<u64, Stopped> {
        let (mut left, mut shown) = (swipes, 0);
        while left > 0 {
            if self.keeper.is_stopping() {
                return Err(Stopped);
            }
            let now_at_once = left.min(GENERATE_AT_ONCE);
            let mut state = lock(&self.state);
            for _ in 0..now_at_once {
                shown += u64::from(!self.someone(&mut state)?.is_empty());
            }
            drop(state);
            left -= now_at_once;
            std::thread::yield_now();
        }
        Ok(shown)
    }

    fn someone(&self, state: &mut State) -> Result<Vec<ModbusLine>, Stopped> {
        let swipe = state.crowd.swipe(&self.cards);
        let Some(reader) = swipe.door.checked_sub(1).and_then(|at| at.checked_rem(self.readers))
        else {
            return Ok(Vec::new());
        };
        let card = Credential(swipe.card.into());
        let shown =
            self.act_on(state, |device, now, truth| device.swipe(reader + 1, card, now, truth));
        match shown {
            Ok(lines) => Ok(lines),
            // Someone whose card this reader cannot read goes away.
            Err(UnitError::Refused(_)) => Ok(Vec::new()),
            Err(UnitError::Stopped(stopped)) => Err(stopped),
        }
    }

    fn act_on(
        &self,
        state: &mut State,
        action: impl FnOnce(&mut Device, Timestamp, &mut dyn Truth) -> Shown,
    ) -> Result<Vec<ModbusLine>, UnitError> {
        let mut truth = &*self.keeper;
        action(state.unit.device_mut(), Timestamp::now(), &mut truth).map_err(|error| match error {
            HappeningError::Ledger(error) => UnitError::Stopped(self.keeper.fail(error)),
            HappeningError::NoReader { .. }
            | HappeningError::NoDoor { .. }
            | HappeningError::NoPoint { .. }
            | HappeningError::Card { .. } => UnitError::Refused(error),
        })
    }

    /// A request to this unit, or to everybody; any delay of the answer is with its own turn-around.
    pub(super) fn on_request(
        &self,
        unit: u8,
        request: &[u8],
        frame: impl FnOnce(u8, &[u8]) -> Vec<u8>,
    ) -> Reaction {
        if self.keeper.is_stopping() {
            return Reaction::Silence;
        }
        let mut truth = &*self.keeper;
        let now = Timestamp::now();
        let mut state = lock(&self.state);
        match state.unit.on_request(unit, request, frame, now, &mut truth) {
            Ok(Reaction::Silence) => Reaction::Silence,
            Ok(Reaction::HangUp { late }) => Reaction::HangUp { late: late + self.reply_after },
            Ok(Reaction::Bytes { bytes, late }) => {
                Reaction::Bytes { bytes, late: late + self.reply_after }
            }
            // What cannot be recorded does not happen, and so is not answered either.
            Err(error) => {
                self.keeper.fail(error);
                Reaction::Silence
            }
        }
    }
}

/// A unit on a serial line.
#[derive(Debug)]
pub struct RtuStation {
    unit: Arc<ModbusUnit>,
    assembly: Assembly,
    silence: Duration,
}

impl RtuStation {
    /// `character` is how long one takes on the line.
    pub(super) fn new(unit: Arc<ModbusUnit>, character: Duration) -> Self {
        Self { unit, assembly: Assembly::default(), silence: serial::silence(character) }
    }
}

/// On the line's thread, under the line's lock.
impl Talker for RtuStation {
    fn on_bytes(&mut self, bytes: &[u8], _: Duration) -> Option<Reply> {
        self.assembly.push(bytes);
        None
    }

    fn silence(&self) -> Option<Duration> {
        (!self.assembly.is_empty()).then_some(self.silence)
    }

    fn on_silence(&mut self, _: Duration) -> Option<Reply> {
        let heard = self.assembly.take();
        let (unit, request) = rtu::open(&heard)?;
        if unit != self.unit.unit && unit != BROADCAST {
            return None;
        }
        match self.unit.on_request(unit, request, rtu::frame) {
            Reaction::Silence | Reaction::HangUp { .. } => None,
            Reaction::Bytes { bytes, late } => Some(Reply { after: late, bytes }),
        }
    }

    fn on_power_cut(&mut self, _: Duration) {
        self.assembly.take();
        // Where that cannot be recorded the simulator stops, and says why.
        let _ = self.unit.restart();
    }
}
