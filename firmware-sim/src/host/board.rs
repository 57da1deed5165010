//! One board with its UDP socket: whatever happens to it happens here, under one lock.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use postern_protocol::uhppote::{Frame, Request, SOM};
use serde::{Deserialize, Serialize};
use tokio::net::UdpSocket;
use tokio::sync::OnceCell;

use super::keeper::Keeper;
use super::{GENERATE_AT_ONCE, Stopped, lock};
use crate::controller::happening::{Events, Swipe};
use crate::controller::{Controller, Recorded, Setup};
use crate::fault::{Faults, Line, Sent};
use crate::ledger::{LedgerError, Truth};
use crate::people::Crowd;
use crate::trap::{Then, Trap};

/// What passed over a board's sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Datagrams and TCP requests that arrived.
    pub frames_received: u64,
    /// Of these: no frame, a frame for another board, lost, or unheard because the board was deaf
    /// or just being replaced.
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
    /// The connection is reset, so much later.
    Reset(Duration),
    /// It gets a reply.
    Reply(Reply),
}

/// What goes on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// The frames; there is one at least.
    pub(super) frames: Vec<Frame>,
    /// So much later.
    pub(super) after: Duration,
    /// Over UDP: from another socket.
    pub(super) elsewhere: bool,
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
    /// What waits for someone to read an index.
    pub trap: Option<Trap>,
    line: Line,
    crowd: Crowd,
    /// How many are about to replace it; until they have, it hears nothing.
    replacing: u32,
}

/// A board on the network.
#[derive(Debug)]
pub struct Board {
    serial: u32,
    address: SocketAddrV4,
    udp: UdpSocket,
    /// Another socket for replies from elsewhere; there is none before the first of them.
    udp_elsewhere: OnceCell<UdpSocket>,
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
            trap: None,
            line: Line::new(seed, setup.serial),
            crowd,
            replacing: 0,
        };
        Ok(Self {
            serial: setup.serial,
            address,
            udp,
            udp_elsewhere: OnceCell::new(),
            cards: setup.cards.clone(),
            state: Mutex::new(state),
            keeper,
        })
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

    /// Arms a trap, or takes it away.
    pub fn set_trap(&self, trap: Option<Trap>) {
        lock(&self.state).trap = trap;
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
            let now_at_once = left.min(GENERATE_AT_ONCE);
            events += self.generate_on(&mut lock(&self.state), now_at_once)?;
            left -= now_at_once;
            std::thread::yield_now();
        }
        Ok(events)
    }

    /// Someone puts another board in its place, at which so many swipes have happened. No request
    /// is heard in between. Blocks for as long as the swipes take.
    pub fn replace(&self, clock_is_right: bool, swipes: u32) -> Result<(), Stopped> {
        let mut state = lock(&self.state);
        state.replacing += 1;
        let replaced = self.act_on(&mut state, |state, now, truth| {
            state.controller.replace(now, truth)?;
            if clock_is_right {
                state.controller.clock_mut().shift(0, now);
            }
            Ok(())
        });
        drop(state);
        let generated = replaced.and_then(|()| self.generate(swipes));
        lock(&self.state).replacing -= 1;
        generated.map(drop)
    }

    pub(super) fn on_second(&self) {
        let mut state = lock(&self.state);
        state.controller.on_second(Timestamp::now());
        self.send_pushes(&mut state);
    }

    pub(super) fn udp(&self) -> &UdpSocket {
        &self.udp
    }

    /// Another socket at the same address. The first who asks opens it.
    pub(super) async fn udp_elsewhere(&self) -> io::Result<&UdpSocket> {
        self.udp_elsewhere.get_or_try_init(|| UdpSocket::bind((*self.address.ip(), 0))).await
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
        if state.faults.deaf || state.replacing > 0 {
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
        let faults = state.faults;
        if state.line.loses(&faults) {
            state.counters.frames_ignored += 1;
            return Answer::Silence;
        }
        let reply = self.spring(&mut state, &request).and_then(|()| {
            self.act_on(&mut state, |state, now, truth| {
                state.controller.handle(&request, now, truth)
            })
        });
        // What cannot be recorded does not happen, and so is not answered either.
        let Ok(Some(reply)) = reply else { return Answer::Silence };
        let after = Duration::from_millis(faults.delay_ms);
        let frames = match state.line.send(reply.encode(), &faults) {
            Sent::Reset => return Answer::Reset(after),
            Sent::Frames(frames) => frames,
        };
        if frames.is_empty() {
            return Answer::Silence;
        }
        state.counters.replies += u64::try_from(frames.len()).unwrap_or(0);
        Answer::Reply(Reply { frames, after, elsewhere: faults.elsewhere })
    }

    /// A connection ended without a request.
    pub(super) fn on_nothing(&self) {
        let mut state = lock(&self.state);
        state.counters.frames_received += 1;
        state.counters.frames_ignored += 1;
    }

    /// Lets happen what waited for this request.
    fn spring(&self, state: &mut State, request: &Request) -> Result<(), Stopped> {
        let Some(trap) = state.trap.take_if(|trap| trap.springs(request)) else { return Ok(()) };
        match trap.then {
            Then::Generate(swipes) => self.generate_on(state, swipes).map(drop),
            Then::Reset => self
                .act_on(state, |state, now, truth| state.controller.restore_defaults(now, truth)),
        }
    }

    fn generate_on(&self, state: &mut State, swipes: u32) -> Result<u64, Stopped> {
        if self.keeper.is_stopping() {
            return Err(Stopped);
        }
        let mut events = 0;
        for _ in 0..swipes {
            let recorded =
                self.act_on(state, |state, now, truth| self.someone(state, now, truth))?;
            events += u64::try_from(recorded.len()).unwrap_or(0);
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
        let result = action(state, Timestamp::now(), &mut truth);
        self.send_pushes(state);
        result.map_err(|error| self.keeper.fail(error))
    }

    fn send_pushes(&self, state: &mut State) {
        while let Some(push) = state.controller.poll_push() {
            let faults = state.faults;
            let copies = state.line.copies_of_push(&faults);
            let mut sent = 0;
            for _ in 0..copies {
                sent += u64::from(self.udp.try_send_to(&push.frame, push.to.into()).is_ok());
            }
            state.counters.pushes += sent;
            state.counters.pushes_lost += u64::from(sent == 0);
        }
    }
}
