//! One controller on a line: whatever happens to it happens here, under one lock.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;

use super::keeper::Keeper;
use super::{GENERATE_AT_ONCE, Stopped, lock};
use crate::controller::Recorded;
use crate::controller::happening::{Events, Swipe};
use crate::ledger::{LedgerError, Truth};
use crate::line::{Reply, Talker};
use crate::link::{LinkController, LogAfter, Setup};
use crate::people::Crowd;

/// All that changes.
#[derive(Debug)]
pub struct State {
    /// The controller itself.
    pub controller: LinkController,
    /// What a power cut within a reply leaves of its log.
    pub cut_log: LogAfter,
    crowd: Crowd,
}

/// A controller on a line.
#[derive(Debug)]
pub struct LinkStation {
    serial: u32,
    address: u8,
    line: String,
    reply_after: Duration,
    /// The cards that people at this controller have.
    cards: Vec<u32>,
    state: Mutex<State>,
    keeper: Arc<Keeper>,
}

impl LinkStation {
    pub(super) fn new(
        setup: &Setup,
        line: &str,
        reply_after: Duration,
        controller: LinkController,
        crowd: Crowd,
        keeper: Arc<Keeper>,
    ) -> Self {
        Self {
            serial: setup.serial,
            address: setup.address,
            line: line.to_owned(),
            reply_after,
            cards: setup.cards.clone(),
            state: Mutex::new(State { controller, cut_log: LogAfter::default(), crowd }),
            keeper,
        }
    }

    /// Its serial number.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// Its address on its line.
    pub fn address(&self) -> u8 {
        self.address
    }

    /// The name of its line.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Looks at it.
    pub fn look<T>(&self, at: impl FnOnce(&State) -> T) -> T {
        at(&lock(&self.state))
    }

    /// What a power cut within a reply leaves of its log from now on.
    pub(super) fn set_cut_log(&self, log: LogAfter) {
        lock(&self.state).cut_log = log;
    }

    /// Changes something about it, or lets something happen to it.
    pub fn act<T>(
        &self,
        action: impl FnOnce(&mut LinkController, Timestamp, &mut dyn Truth) -> Result<T, LedgerError>,
    ) -> Result<T, Stopped> {
        let mut state = lock(&self.state);
        self.act_on(&mut state, |state, now, truth| action(&mut state.controller, now, truth))
    }

    /// Someone of its people swipes.
    pub fn swipe_of_someone(&self) -> Result<Vec<Recorded>, Stopped> {
        self.act_on(&mut lock(&self.state), |state, now, truth| self.someone(state, now, truth))
    }

    /// So many of its people swipe as fast as they can. Answers how many events that recorded.
    /// Blocks for as long as that takes, though the controller answers in between.
    pub fn generate(&self, swipes: u32) -> Result<u64, Stopped> {
        let (mut left, mut events) = (swipes, 0);
        while left > 0 {
            if self.keeper.is_stopping() {
                return Err(Stopped);
            }
            let now_at_once = left.min(GENERATE_AT_ONCE);
            let mut state = lock(&self.state);
            for _ in 0..now_at_once {
                let recorded =
                    self.act_on(&mut state, |state, now, truth| self.someone(state, now, truth))?;
                events += u64::try_from(recorded.len()).unwrap_or(0);
            }
            drop(state);
            left -= now_at_once;
            std::thread::yield_now();
        }
        Ok(events)
    }

    fn someone(&self, state: &mut State, now: Timestamp, truth: &mut dyn Truth) -> Events {
        let swipe: Swipe = state.crowd.swipe(&self.cards);
        state.controller.swipe(swipe, now, truth)
    }

    fn act_on<T>(
        &self,
        state: &mut State,
        action: impl FnOnce(&mut State, Timestamp, &mut dyn Truth) -> Result<T, LedgerError>,
    ) -> Result<T, Stopped> {
        let mut truth = &*self.keeper;
        action(state, Timestamp::now(), &mut truth).map_err(|error| self.keeper.fail(error))
    }
}

/// On the line's thread, under the line's lock.
impl Talker for Arc<LinkStation> {
    fn on_bytes(&mut self, bytes: &[u8], _: Duration) -> Option<Reply> {
        if self.keeper.is_stopping() {
            return None;
        }
        let answered = self.act_on(&mut lock(&self.state), |state, now, truth| {
            let reply = state.controller.on_bytes(bytes, now, truth)?;
            Ok(reply.map(|bytes| Reply { after: self.reply_after, bytes: bytes.to_vec() }))
        });
        // What cannot be recorded does not happen, and so is not answered either.
        answered.ok().flatten()
    }

    fn on_power_cut(&mut self, _: Duration) {
        // Where that cannot be recorded the simulator stops, and says why.
        let _ = self.act_on(&mut lock(&self.state), |state, now, truth| {
            state.controller.power_cut(state.cut_log, now, truth)
        });
    }
}
