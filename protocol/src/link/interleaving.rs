//! Every order in which a poll, its answer, a commit, a restart and a loss can fall, to some depth: the two
//! machines as they are, and a small model of the gateway that stands behind them.
//!
//! Whatever happened, no event is stored twice or silently lost, the station is never told more than what
//! is durable, a command is carried out once at most, and once the faults stop everything that can still be
//! read is stored after a few exchanges. States that are alike are looked at once.

use core::time::Duration;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::format;
use std::hash::{Hash as _, Hasher as _};
use std::string::String;
use std::vec::Vec;

use super::event::{Code, Event, MAX_EVENT, Place, Reason, Stamp};
use super::frame::Receiver;
use super::gateway::{Access as GatewayAccess, Failure, Peer, Settings, Step};
use super::message::{Reply, Request};
use super::noise::Psk;
use super::rig::{ADDRESS, KEY, SERIAL, TestDevice, WIRE};
use super::station::{Access, Station};
use crate::id::EpochId;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// The gateway sends what is next, and is answered.
    Deliver,
    RequestLost,
    AnswerLost,
    RequestTwice,
    AnswerTwice,
    /// The answer comes when the gateway has gone on to its next frame.
    AnswerLate,
    /// The station restarts behind the request, before the answer is out.
    RebootAfter,
    /// The gateway orders a door to be opened.
    Order,
    /// An event is recorded; a full log overwrites its oldest.
    Record,
    /// The gateway's session is over, by age.
    Rekey,
    /// What was read becomes durable.
    Commit,
    /// What was read is not stored: it has to be read again.
    CommitFails,
    GatewayRestarts,
    StationReboots,
    /// The station's log begins another life.
    LogLost,
}

const ACTS: [Act; 15] = [
    Act::Deliver,
    Act::RequestLost,
    Act::AnswerLost,
    Act::RequestTwice,
    Act::AnswerTwice,
    Act::AnswerLate,
    Act::RebootAfter,
    Act::Order,
    Act::Record,
    Act::Rekey,
    Act::Commit,
    Act::CommitFails,
    Act::GatewayRestarts,
    Act::StationReboots,
    Act::LogLost,
];

/// What is wrong with the gateway's model or the station, on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Tells the station of what is read, not of what is durable.
    AcknowledgesBeforeCommit,
    /// Asks whatever life there is, and takes its pages for those of the one it knows.
    IgnoresLives,
    /// Stores the events behind a gap, and not the gap.
    DropsLost,
    /// Begins at the cursor again while pages are not committed yet.
    ForgetsSkip,
    /// The station carries a repeated request out again.
    RepeatsAgain,
    /// Takes a command whose answer was lost for one that was not carried out, and orders again.
    OrdersAgain,
}

/// How much of each may happen, so that there is an end.
const MOST_EVENTS: u64 = 5;
const MOST_LIVES: u8 = 2;
const MOST_ORDERS: u16 = 1;

/// Faults that are over cost the tries that are left, a lost session, a life that ended, and a page for
/// each event.
const BOUND: u32 = 16;

/// Bytes of one event and its run: each page has one event.
const ROOM: u16 = 13;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Page {
    life: u8,
    lost: u64,
    first: u64,
    events: Vec<Vec<u8>>,
}

/// What is durable of one life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Stored {
    top: u64,
    lost: Vec<(u64, u64)>,
}

/// What the question that is out is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Asked {
    Nothing,
    Session,
    Poll {
        life: u8,
        behind: u64,
    },
    /// A poll whose answer is no longer wanted.
    InVain,
    Door(u16),
}

struct World {
    fault: Fault,
    is_keyed: bool,
    device: TestDevice,
    station: Station<WIRE>,
    /// The station before its last request, and that request: for [`Fault::RepeatsAgain`].
    before: Option<(Station<WIRE>, Vec<u8>)>,
    peer: Peer,
    secret: u8,
    late: Option<Vec<u8>>,
    asked: Asked,
    /// The life that is read; not known yet after a start without a cursor.
    reading: Option<u8>,
    cursor: Option<u8>,
    stored: BTreeMap<u8, Stored>,
    pages: VecDeque<Page>,
    orders: u16,
    /// What the orders came to.
    done: BTreeMap<u16, Result<(), Failure>>,
    recorded: u64,
}

fn event(life: u8, index: u64) -> Vec<u8> {
    let event = Event {
        at: Stamp(800_000_000),
        code: Code::GRANTED,
        reason: Reason(0),
        place: Place(1),
        card: 1 << 33 | u64::from(life) << 16 | index,
    };
    event.encode(&mut [0; MAX_EVENT]).to_vec()
}

impl World {
    fn new(fault: Fault, is_keyed: bool) -> Self {
        Self {
            fault,
            is_keyed,
            device: TestDevice::new(2),
            station: Self::station(is_keyed),
            before: None,
            peer: Self::peer(is_keyed),
            secret: 0x90,
            late: None,
            asked: Asked::Nothing,
            reading: None,
            cursor: None,
            stored: BTreeMap::new(),
            pages: VecDeque::new(),
            orders: 0,
            done: BTreeMap::new(),
            recorded: 0,
        }
    }

    fn station(is_keyed: bool) -> Station<WIRE> {
        let access = if is_keyed { Access::Keyed(Psk::new(KEY)) } else { Access::Plain };
        Station::new(ADDRESS, SERIAL, access)
    }

    fn peer(is_keyed: bool) -> Peer {
        let access = if is_keyed { GatewayAccess::Keyed(KEY) } else { GatewayAccess::Plain };
        Peer::new(Settings { address: ADDRESS, serial: SERIAL, access })
    }

    fn fork(&self) -> Self {
        Self {
            device: self.device.clone(),
            station: self.station.clone(),
            before: self.before.clone(),
            peer: self.peer.fork(),
            late: self.late.clone(),
            stored: self.stored.clone(),
            pages: self.pages.clone(),
            done: self.done.clone(),
            ..*self
        }
    }

    /// States with the same key have the same future. Sequence numbers only count on, so that what they
    /// are relative to each other is all; but for a late frame, which has one.
    fn key(&self) -> u64 {
        let log = &self.device.log;
        let mut hasher = DefaultHasher::new();
        let (peer, session) = self.peer.summary();
        let (keeps, sessions) = self.station.summary();
        let base = session.map_or(0, |(_, last, _)| last);
        let relative =
            sessions.map(|each| each.map(|(life, last)| (life, last.wrapping_sub(base))));
        let session = session.map(|(life, _, behind)| (life, behind));
        (peer, session, keeps, relative, sessions.map(|each| each.is_some_and(|s| s.1 == 0)))
            .hash(&mut hasher);
        (log.epoch().0[0], log.newest().0, log.stored(), log.committed().0).hash(&mut hasher);
        (self.asked, self.reading, self.cursor, &self.stored, &self.pages).hash(&mut hasher);
        (self.orders, &self.device.opened, self.recorded).hash(&mut hasher);
        let done: Vec<_> = self.done.iter().map(|(id, came)| (*id, came.is_ok())).collect();
        done.hash(&mut hasher);
        if self.late.is_some() {
            (&self.late, self.peer.wire()).hash(&mut hasher);
        }
        if self.fault == Fault::RepeatsAgain {
            self.before.as_ref().map(|(_, request)| request == self.peer.wire()).hash(&mut hasher);
        }
        hasher.finish()
    }

    fn life(&self) -> u8 {
        self.device.log.epoch().0[0]
    }

    fn top(&self, life: u8) -> u64 {
        self.stored.get(&life).map_or(0, |stored| stored.top)
    }

    fn can(&self, act: Act) -> bool {
        match act {
            Act::Order => self.asked == Asked::Nothing && self.orders < MOST_ORDERS,
            Act::Record => self.recorded < MOST_EVENTS,
            Act::Rekey => self.asked == Asked::Nothing && self.peer.welcome().is_some(),
            Act::Commit | Act::CommitFails => !self.pages.is_empty(),
            Act::StationReboots => self.station.summary().1 != [None, None],
            Act::LogLost => self.life() < MOST_LIVES,
            Act::Deliver
            | Act::RequestLost
            | Act::AnswerLost
            | Act::RequestTwice
            | Act::AnswerTwice
            | Act::AnswerLate
            | Act::RebootAfter
            | Act::GatewayRestarts => true,
        }
    }

    fn act(&mut self, act: Act) -> Result<(), String> {
        match act {
            Act::Order => self.order()?,
            Act::Record => {
                let (life, next) = (self.life(), self.device.log.newest().0 + 1);
                self.recorded += 1;
                self.device.log.push(&event(life, next)).map_err(|_| "not recorded")?;
            }
            Act::Rekey => self.peer.rekey(),
            Act::Commit => self.commit()?,
            Act::CommitFails => {
                self.pages.clear();
                // The page that is on its way is one behind what was dropped.
                if let Asked::Poll { .. } = self.asked {
                    self.asked = Asked::InVain;
                }
            }
            Act::GatewayRestarts => {
                self.peer = Self::peer(self.is_keyed);
                self.pages.clear();
                self.reading = self.cursor;
                if let Asked::Door(id) = std::mem::replace(&mut self.asked, Asked::Nothing) {
                    self.done.insert(id, Err(Failure::Unknown));
                }
            }
            Act::StationReboots => self.station = Self::station(self.is_keyed),
            Act::LogLost => {
                let next = EpochId([self.life() + 1; 16]);
                self.device.log.restart(next);
            }
            Act::Deliver
            | Act::RequestLost
            | Act::AnswerLost
            | Act::RequestTwice
            | Act::AnswerTwice
            | Act::AnswerLate
            | Act::RebootAfter => self.exchange(act)?,
        }
        self.check()
    }

    fn order(&mut self) -> Result<(), String> {
        self.orders += 1;
        self.asked = Asked::Door(self.orders);
        let order = Request::OpenDoor { role_term: 1, door: 1, ms: self.orders };
        let step = self.peer.ask(&order, None, Duration::ZERO);
        self.settle(step)
    }

    fn ask(&mut self) -> Result<(), String> {
        let Some(life) = self.reading else {
            self.asked = Asked::Session;
            let step = self.peer.open(Duration::ZERO);
            return self.settle(step);
        };
        let stored = self.top(life);
        let last = self.pages.iter().rev().find(|page| page.life == life);
        let read = last.map_or(stored, |page| page.first + page.events.len() as u64 - 1);
        let (committed, behind) = match self.fault {
            Fault::AcknowledgesBeforeCommit => (read, read),
            Fault::ForgetsSkip => (stored, stored),
            Fault::None
            | Fault::IgnoresLives
            | Fault::DropsLost
            | Fault::RepeatsAgain
            | Fault::OrdersAgain => (stored, read),
        };
        let skip = behind - committed;
        self.asked = Asked::Poll { life, behind };
        let epoch = (self.fault != Fault::IgnoresLives).then_some(EpochId([life; 16]));
        let poll = Request::Poll { committed, skip, room: ROOM };
        let step = self.peer.ask(&poll, epoch, Duration::ZERO);
        self.settle(step)
    }

    /// The gateway sends, and whatever comes back comes back.
    fn exchange(&mut self, act: Act) -> Result<(), String> {
        if self.asked == Asked::Nothing {
            self.ask()?;
            if self.asked == Asked::Nothing {
                return Ok(());
            }
        }
        let request = self.peer.wire().to_vec();
        let mut arrived: Vec<Vec<u8>> = self.late.take().into_iter().collect();
        let times = if act == Act::RequestTwice { 2 } else { u8::from(act != Act::RequestLost) };
        for _ in 0..times {
            if self.fault == Fault::RepeatsAgain {
                match &self.before {
                    Some((before, last)) if *last == request => self.station = before.clone(),
                    _ => self.before = Some((self.station.clone(), request.clone())),
                }
            }
            let answer = self.station.on_bytes(&request, &mut self.device).map(<[u8]>::to_vec);
            let Some(answer) = answer else { continue };
            if act == Act::AnswerLate {
                self.late = Some(answer);
            } else if !matches!(act, Act::AnswerLost | Act::RebootAfter) {
                arrived.extend((act == Act::AnswerTwice).then(|| answer.clone()));
                arrived.push(answer);
            }
        }
        if act == Act::RebootAfter {
            self.station = Self::station(self.is_keyed);
        }
        let mut is_answered = false;
        for answer in arrived {
            if let Some(step) = self.hear(&answer) {
                is_answered = true;
                self.settle(step)?;
            }
        }
        if !is_answered {
            let step = self.peer.on_silence();
            self.settle(step)?;
        }
        Ok(())
    }

    fn hear(&mut self, bytes: &[u8]) -> Option<Step> {
        let mut receiver = Receiver::<WIRE>::default();
        let mut rest = bytes;
        let mut step = None;
        while !rest.is_empty() {
            let (taken, is_whole) = receiver.push(rest);
            rest = &rest[taken..];
            if is_whole {
                let (header, plain) = receiver.frame().expect("whole");
                let secret = &mut self.secret;
                step = self.peer.on_frame(header, plain, &mut || {
                    *secret = secret.wrapping_add(1);
                    [*secret; 32]
                });
            }
        }
        step
    }

    fn settle(&mut self, step: Step) -> Result<(), String> {
        if let Step::Send(_) = step {
            return Ok(());
        }
        let asked = std::mem::replace(&mut self.asked, Asked::Nothing);
        match (asked, step) {
            (_, Step::Failed(Failure::Refused(refusal))) => return Err(format!("{refusal:?}")),
            (Asked::Door(id), Step::Failed(failure)) => {
                self.done.insert(id, Err(failure));
                if self.fault == Fault::OrdersAgain {
                    self.asked = Asked::Door(id);
                    let order = Request::OpenDoor { role_term: 1, door: 1, ms: id };
                    let step = self.peer.ask(&order, None, Duration::ZERO);
                    return if matches!(step, Step::Send(_)) {
                        Ok(())
                    } else {
                        Err("stuck".into())
                    };
                }
            }
            (Asked::Door(id), Step::Answered) => {
                self.done.insert(id, Ok(()));
            }
            (_, Step::Failed(Failure::Life { epoch })) => self.reading = Some(epoch.0[0]),
            (Asked::Session, Step::Answered) => {
                self.reading = self.peer.welcome().map(|welcome| welcome.epoch.0[0]);
            }
            (Asked::Poll { life, behind }, Step::Answered) => self.take(life, behind)?,
            _ => {}
        }
        Ok(())
    }

    /// A page.
    fn take(&mut self, life: u8, behind: u64) -> Result<(), String> {
        let Some((Reply::Events { lost, .. }, runs)) = self.peer.answer() else {
            return Err("no events".into());
        };
        let events: Vec<Vec<u8>> = runs.map(<[u8]>::to_vec).collect();
        let first = behind + 1 + lost;
        let log = &self.device.log;
        if lost > 0 && life == log.epoch().0[0] && first > log.oldest().0 {
            return Err(format!("{lost} said to be lost before {first}, which are there"));
        }
        let lost = if self.fault == Fault::DropsLost { 0 } else { lost };
        if lost > 0 || !events.is_empty() {
            self.pages.push_back(Page { life, lost, first, events });
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), String> {
        for Page { life, lost, first, events } in std::mem::take(&mut self.pages) {
            let stored = self.stored.entry(life).or_default();
            if first != stored.top + lost + 1 {
                return Err(format!("{first} stored behind {} and {lost} lost", stored.top));
            }
            if lost > 0 {
                stored.lost.push((stored.top + 1, stored.top + lost));
            }
            for (bytes, index) in events.iter().zip(first..) {
                if *bytes != event(life, index) {
                    return Err(format!("something else stored as {index} of life {life}"));
                }
            }
            stored.top = first + events.len() as u64 - 1;
            self.cursor = Some(life);
        }
        Ok(())
    }

    /// What holds always.
    fn check(&self) -> Result<(), String> {
        let (told, top) = (self.device.log.committed().0, self.top(self.life()));
        if told > top {
            return Err(format!("told that {told} are durable, of {top}"));
        }
        for id in 1..=self.orders {
            let times = self.device.opened.iter().filter(|(_, ms)| *ms == id).count();
            let is_right = match self.done.get(&id) {
                Some(Ok(())) => times == 1,
                None | Some(Err(Failure::Unknown)) => times <= 1,
                // Only where it says that nobody knows, it may have been.
                Some(Err(_)) => times == 0,
            };
            if !is_right {
                return Err(format!("opened {times} times: {:?}", self.done.get(&id)));
            }
        }
        Ok(())
    }

    /// The faults stop; after how many exchanges everything that could be read is stored.
    fn finish(mut self) -> Result<u32, String> {
        for exchanges in 0..=BOUND {
            let (life, newest) = (self.life(), self.device.log.newest().0);
            if self.asked == Asked::Nothing
                && self.reading == Some(life)
                && self.top(life) == newest
            {
                // Behind the last that was stored only what a life that is over had not given yet.
                return Ok(exchanges);
            }
            self.act(Act::Deliver)?;
            self.commit()?;
            self.check()?;
        }
        Err(format!("no end after {BOUND} exchanges: {:?} {:?}", self.asked, self.stored))
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Explored {
    states: usize,
    transitions: usize,
    longest: u32,
}

/// Looks at every sequence of `depth` acts; what was wrong, and by which acts.
fn explore(fault: Fault, depth: usize) -> Result<Explored, (String, Vec<Act>)> {
    let mut seen = BTreeSet::new();
    let mut level: Vec<(World, Vec<Act>)> = std::vec![(World::new(fault, false), Vec::new())];
    let mut explored = Explored::default();
    for _ in 0..depth {
        let mut next = Vec::new();
        for (world, path) in level {
            for act in ACTS.into_iter().filter(|act| world.can(*act)) {
                let mut world = world.fork();
                let mut path = path.clone();
                path.push(act);
                explored.transitions += 1;
                if let Err(wrong) = world.act(act) {
                    return Err((wrong, path));
                }
                if seen.insert(world.key()) {
                    let ended = world.fork().finish().map_err(|wrong| (wrong, path.clone()))?;
                    explored.longest = explored.longest.max(ended);
                    next.push((world, path));
                }
            }
        }
        level = next;
    }
    Ok(Explored { states: seen.len(), ..explored })
}

/// The same with keys, which cannot be copied: each state is reached anew.
fn explore_sealed(depth: usize) -> Result<Explored, (String, Vec<Act>)> {
    let reach = |path: &[Act]| {
        let mut world = World::new(Fault::None, true);
        path.iter().try_for_each(|act| world.act(*act)).map(|()| world)
    };
    let mut seen = BTreeSet::new();
    let mut level = std::vec![Vec::new()];
    let mut explored = Explored::default();
    for _ in 0..depth {
        let mut next = Vec::new();
        for path in level {
            let world = reach(&path).map_err(|wrong| (wrong, path.clone()))?;
            for act in ACTS.into_iter().filter(|act| world.can(*act)) {
                let path: Vec<Act> = path.iter().copied().chain([act]).collect();
                explored.transitions += 1;
                let world = reach(&path).map_err(|wrong| (wrong, path.clone()))?;
                if seen.insert(world.key()) {
                    let ended = world.finish().map_err(|wrong| (wrong, path.clone()))?;
                    explored.longest = explored.longest.max(ended);
                    next.push(path);
                }
            }
        }
        level = next;
    }
    Ok(Explored { states: seen.len(), ..explored })
}

#[test]
fn nothing_is_lost_or_doubled_in_any_order_of_faults() {
    let explored = explore(Fault::None, 9).unwrap();
    std::println!("{explored:?}");
    assert!(explored.states > 1_000 && explored.longest < BOUND, "{explored:?}");
}

#[test]
fn nothing_is_lost_or_doubled_in_any_order_of_faults_in_secured_sessions() {
    let explored = explore_sealed(5).unwrap();
    std::println!("{explored:?}");
    assert!(explored.states > 100 && explored.longest < BOUND, "{explored:?}");
}

/// The checker notices what it is for, each by some order of events.
#[test]
fn every_fault_that_is_built_in_is_found() {
    for (fault, wrong) in [
        (Fault::AcknowledgesBeforeCommit, "told that"),
        (Fault::IgnoresLives, ""),
        (Fault::DropsLost, "stored behind"),
        (Fault::ForgetsSkip, "stored behind"),
        (Fault::RepeatsAgain, "opened 2 times"),
        (Fault::OrdersAgain, "opened 2 times"),
    ] {
        let (found, path) = explore(fault, 9).unwrap_err();
        std::println!("{fault:?}: {found}: {path:?}");
        assert!(found.contains(wrong), "{fault:?}: {found}: {path:?}");
    }
}
