//! One board with its UDP socket: whatever happens to it happens here, under one lock.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use postern_protocol::uhppote::{Frame, Request, SOM};
use serde::{Deserialize, Serialize};
use tokio::net::UdpSocket;

use super::keeper::Keeper;
use super::{Stopped, lock};
use crate::controller::happening::{Events, Swipe};
use crate::controller::{Controller, Recorded, Setup};
use crate::fault::{Faults, Line};
use crate::ledger::{LedgerError, Truth};
use crate::people::Crowd;

/// How many swipes are generated before others get a turn at the board.
const GENERATE_AT_ONCE: u32 = 256;

/// What passed over a board's sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Datagrams and TCP requests that arrived.
    pub frames_received: u64,
    /// Of these: no frame, a frame for another board, or unheard because the board was deaf.
    pub frames_ignored: u64,
    /// Frames sent as replies.
    pub replies: u64,
    /// Events pushed to the listener.
    pub pushes: u64,
    /// Events not pushed: by order, or because the socket would not take them.
    pub pushes_lost: u64,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It was none, or not for this board.
    Ignored,
    /// It gets no reply.
    Silence,
    /// These frames, so much later.
    Reply(Vec<Frame>, Duration),
}

/// All that changes.
#[derive(Debug)]
pub struct State {
    /// The board itself.
    pub controller: Controller,
    /// How it misbehaves.
    pub faults: Faults,
    /// What passed.
    pub counters: Counters,
    line: Line,
    crowd: Crowd,
}

/// A board on the network.
#[derive(Debug)]
pub struct Board {
    serial: u32,
    address: SocketAddrV4,
    udp: UdpSocket,
    /// The cards that people at this board have.
    cards: Vec<u32>,
    state: Mutex<State>,
    keeper: Arc<Keeper>,
}

impl Board {
    pub(super) async fn new(
        seed: u64,
        setup: &Setup,
        controller: Controller,
        crowd: Crowd,
        udp: UdpSocket,
        keeper: Arc<Keeper>,
    ) -> io::Result<Self> {
        let address = match udp.local_addr()? {
            SocketAddr::V4(address) => address,
            SocketAddr::V6(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        // Pushes are tried, never waited for; the socket has to be known as writable before that.
        udp.writable().await?;
        let state = State {
            controller,
            faults: Faults::default(),
            counters: Counters::default(),
            line: Line::new(seed, setup.serial),
            crowd,
        };
        let cards = setup.cards.clone();
        Ok(Self { serial: setup.serial, address, udp, cards, state: Mutex::new(state), keeper })
    }

    /// Its serial number.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// Where it listens, UDP and TCP.
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Looks at it.
    pub fn look<T>(&self, at: impl FnOnce(&State) -> T) -> T {
        at(&lock(&self.state))
    }

    /// Sets how it misbehaves from now on.
    pub fn set_faults(&self, faults: Faults) {
        lock(&self.state).faults = faults;
    }

    /// Changes something about it, or lets something happen to it. What that pushes is sent before
    /// anything else happens.
    pub fn act<T>(
        &self,
        action: impl FnOnce(&mut Controller, Timestamp, &mut dyn Truth) -> Result<T, LedgerError>,
    ) -> Result<T, Stopped> {
        let mut state = lock(&self.state);
        self.act_on(&mut state, |state, now, truth| action(&mut state.controller, now, truth))
    }

    /// Someone of its people swipes.
    pub fn swipe_of_someone(&self) -> Result<Vec<Recorded>, Stopped> {
        self.act_on(&mut lock(&self.state), |state, now, truth| self.someone(state, now, truth))
    }

    /// So many of its people swipe as fast as they can. Answers how many events that recorded.
    /// Blocks for as long as that takes, though the board answers in between.
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
            left -= now_at_once;
            drop(state);
            std::thread::yield_now();
        }
        Ok(events)
    }

    pub(super) fn on_second(&self) {
        let mut state = lock(&self.state);
        state.controller.on_second(Timestamp::now());
        self.send_pushes(&mut state);
    }

    pub(super) fn udp(&self) -> &UdpSocket {
        &self.udp
    }

    /// A board that is its own listener would answer its own events, which look like requests, and
    /// push events for ever.
    pub(super) fn is_own(&self, from: SocketAddr) -> bool {
        let local = self.address.ip();
        from.port() == self.address.port()
            && (from.ip() == IpAddr::V4(*local)
                || (local.is_unspecified() && from.ip().is_loopback()))
    }

    /// Bytes arrived that may be a request.
    pub(super) fn on_bytes(&self, bytes: &[u8]) -> Answer {
        let mut state = lock(&self.state);
        state.counters.frames_received += 1;
        if state.faults.deaf {
            state.counters.frames_ignored += 1;
            return Answer::Silence;
        }
        let request = Request::decode(bytes).ok().filter(|request| {
            bytes.first() == Some(&SOM) && state.controller.is_addressed_by(request)
        });
        let Some(request) = request else {
            state.counters.frames_ignored += 1;
            return Answer::Ignored;
        };
        let reply = self
            .act_on(&mut state, |state, now, truth| state.controller.handle(&request, now, truth));
        // What cannot be recorded does not happen, and so is not answered either.
        let Ok(Some(reply)) = reply else { return Answer::Silence };
        let faults = state.faults;
        let frames = state.line.send(reply.encode(), &faults);
        if frames.is_empty() {
            return Answer::Silence;
        }
        state.counters.replies += u64::try_from(frames.len()).unwrap_or(0);
        Answer::Reply(frames, Duration::from_millis(faults.delay_ms))
    }

    /// A connection ended without a request.
    pub(super) fn on_nothing(&self) {
        let mut state = lock(&self.state);
        state.counters.frames_received += 1;
        state.counters.frames_ignored += 1;
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
        let result = action(state, Timestamp::now(), &mut truth);
        self.send_pushes(state);
        result.map_err(|error| self.keeper.fail(error))
    }

    fn send_pushes(&self, state: &mut State) {
        while let Some(push) = state.controller.poll_push() {
            let muted = state.faults.mute_push;
            if !muted && self.udp.try_send_to(&push.frame, push.to.into()).is_ok() {
                state.counters.pushes += 1;
            } else {
                state.counters.pushes_lost += 1;
            }
        }
    }
}
