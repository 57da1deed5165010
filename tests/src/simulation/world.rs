//! All of it, and the loop.

use std::collections::BTreeMap;
use std::time::Duration;

use postern_protocol::role::{GroupRole, Limits, Mode, RoleDocument, RoleVersion};
use postern_protocol::{RoleTerm, Timestamp};
use tokio::time::Instant;

use super::Flaw;
use super::check::Checked;
use super::event::{Doc, Event, Message, Ms, Outcome, Queue, Signal, Timer};
use super::gateway::Gateway;
use super::log::{Digest, index};
use super::network::{Network, Place};
use super::node::{GROUP, Life, Node, store};
use crate::random::Random;

/// When all faults end.
pub(super) const HEALED: Ms = 120_000;

/// When it must be seen that they did no harm.
pub(super) const END: Ms = HEALED + 60_000;

/// How often a voter looks.
pub(super) const BEAT: Ms = 50;

/// How often a voter says that it is there.
const PRESENCE: Ms = 200;

/// How often a standby fetches, and the active server tends its reign.
pub(super) const PULL: Ms = 50;
pub(super) const TEND: Ms = 250;

/// How often a stream is tried that is not there.
pub(super) const RECONNECT: Ms = 100;

/// How long a stream is waited for.
const CONNECT: Ms = 1_000;

pub(super) struct World {
    pub(super) flaw: Option<Flaw>,
    pub(super) random: Random,
    pub(super) now: Ms,
    pub(super) base: Instant,
    pub(super) queue: Queue,
    pub(super) network: Network,
    /// Whose streams a firewall may refuse.
    pub(super) liar: usize,
    pub(super) nodes: Vec<Node>,
    pub(super) gateways: Vec<Gateway>,
    /// Every document that was ever written.
    pub(super) docs: Vec<RoleDocument>,
    /// The one that a majority of the voters holds.
    pub(super) register: Doc,
    pub(super) next_id: u64,
    pub(super) digest: Digest,
    pub(super) checked: Checked,
    pub(super) seen: BTreeMap<&'static str, u64>,
}

impl World {
    pub(super) fn new(seed: u64, gateways: usize, flaw: Option<Flaw>) -> Self {
        let mut random = Random::new(seed);
        let founded = GroupRole {
            mode: Mode::Automatic,
            dwell_ms: [0, 2_000][random.place(2)],
            preferred: [None, Some("a".to_owned())][random.place(2)].clone(),
            ..GroupRole::founded(store(0), RoleTerm(1), Timestamp(0))
        };
        let groups = BTreeMap::from([(GROUP.to_owned(), founded)]);
        let document = RoleDocument { site: "north".into(), groups, limits: Limits::default() };
        let liar = random.place(3);
        let nodes = (0..3).map(|n| Node::new(n, random.below(1_000_000), &document)).collect();
        let mut world = Self {
            flaw,
            random,
            now: 0,
            base: Instant::now(),
            queue: Queue::default(),
            network: Network::default(),
            liar,
            nodes,
            gateways: (0..gateways).map(Gateway::new).collect(),
            docs: vec![document],
            register: 0,
            next_id: 0,
            digest: Digest::START,
            checked: Checked::default(),
            seen: BTreeMap::new(),
        };
        for node in 0..3 {
            world.start_process(node);
        }
        for gateway in 0..gateways {
            let at = world.random.below(2_000);
            world.queue.push(at, Event::Gateway(gateway, Signal::Swipe));
            world.queue.push(at, Event::Gateway(gateway, Signal::News(0)));
        }
        world.plan();
        world
    }

    /// Until the end, or until it is found that something must not be.
    pub(super) fn run(&mut self) {
        while self.checked.wrong.is_none() {
            let Some((at, event)) = self.queue.pop() else { return };
            if at > END {
                break;
            }
            self.now = at;
            self.step(event);
        }
        self.check_end();
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Timer(node, life, timer) => {
                if self.nodes[node].number != life || !self.nodes[node].runs() {
                    return;
                }
                if self.nodes[node].paused {
                    self.nodes[node].deferred.push(Event::Timer(node, life, timer));
                    return;
                }
                self.trace(1, node);
                self.timer(node, timer);
            }
            Event::Message(node, message) => {
                if !self.nodes[node].runs() {
                    self.bounce(node, &message);
                } else if self.nodes[node].paused {
                    self.nodes[node].deferred.push(Event::Message(node, message));
                } else {
                    self.trace(2, node);
                    self.message(node, message);
                }
            }
            Event::Gateway(gateway, signal) => {
                self.trace(3, gateway);
                self.signal(gateway, signal);
            }
            Event::Begin(fault) => self.begin(fault),
            Event::End(fault) => self.end(fault),
            Event::Heal => self.heal(),
        }
    }

    fn timer(&mut self, node: usize, timer: Timer) {
        match timer {
            Timer::Beat => self.beat(node),
            Timer::Wake => {
                if let Some(server) = &mut self.nodes[node].server {
                    server.wakes_at = None;
                }
            }
            Timer::Presence => {
                self.presence(node);
                self.after(PRESENCE, node, Timer::Presence);
            }
            Timer::Tend => {
                self.tend(node);
                self.after(TEND, node, Timer::Tend);
            }
            Timer::Pull => {
                self.pull(node);
                self.after(PULL, node, Timer::Pull);
            }
            Timer::Connect(to) => self.connect(node, to),
            Timer::Outcome(to, outcome) => self.outcome(node, to, outcome),
            Timer::Elect => self.elect(node),
            Timer::Commit(epoch, swap) => self.commit(node, epoch, swap),
            Timer::TimedOut(id) => self.timed_out(node, id),
            Timer::Stored(doc) => self.stored(node, doc),
            Timer::Written(job) => self.written(node, job),
        }
        self.drive(node);
    }

    fn message(&mut self, node: usize, message: Message) {
        let now = self.nodes[node].at(self.now);
        match message {
            Message::Heartbeat { from, epoch, sent, applied } => {
                self.heartbeat(node, from, epoch, sent, applied);
            }
            Message::Acknowledged { from, epoch, sent } => {
                self.acknowledged(node, from, epoch, sent);
            }
            Message::Presence { from, stream, term, holds } => {
                if self.nodes[node].streams[from] == Some(stream) {
                    self.nodes[node].watches[from].on_message(now);
                    if let Some(server) = &mut self.nodes[node].server {
                        server.guard.on_lease_flag(RoleTerm(term), holds);
                    }
                }
            }
            Message::Closed { from, stream } => self.closed(node, from, stream),
            Message::Ask { from, life, id, relayed, ask } => {
                self.asked(node, from, life, id, relayed, ask);
            }
            Message::Reply { life, id, answer } => {
                if life == self.nodes[node].number {
                    self.answered(node, id, answer);
                }
            }
            Message::Journal { gateway, id, doc, batch, percent } => {
                self.journal(node, gateway, id, doc, batch, percent);
            }
            Message::Role { gateway, doc } => {
                self.adopt(node, doc);
                let known = self.nodes[node].server.as_ref().map_or(0, |server| server.durable);
                self.tell(node, gateway, Signal::News(known));
            }
        }
        self.drive(node);
    }

    /// A message reached a machine on which nobody listens: it says so, if it is not off.
    fn bounce(&mut self, node: usize, message: &Message) {
        if self.nodes[node].life != Life::Killed {
            return;
        }
        match message {
            Message::Journal { gateway, id, .. } => self.tell(node, *gateway, Signal::Refused(*id)),
            Message::Ask { from, life, id, relayed: false, .. } => {
                let ms = self.network.way(Place::Node(node), Place::Node(*from), &mut self.random);
                if let Some(ms) = ms {
                    let timer = Event::Timer(*from, *life, Timer::TimedOut(*id));
                    self.queue.push(self.now + ms, timer);
                }
            }
            // A request that goes by way of it, and what is not answered.
            Message::Ask { .. }
            | Message::Heartbeat { .. }
            | Message::Acknowledged { .. }
            | Message::Presence { .. }
            | Message::Closed { .. }
            | Message::Reply { .. }
            | Message::Role { .. } => {}
        }
    }

    pub(super) fn send(&mut self, from: usize, to: usize, message: Message) {
        let way = self.network.way(Place::Node(from), Place::Node(to), &mut self.random);
        if let Some(ms) = way {
            self.queue.push(self.now + ms, Event::Message(to, message));
        }
    }

    pub(super) fn tell(&mut self, from: usize, gateway: usize, signal: Signal) {
        let way = self.network.way(Place::Node(from), Place::Gateway(gateway), &mut self.random);
        if let Some(ms) = way {
            self.queue.push(self.now + ms, Event::Gateway(gateway, signal));
        }
    }

    pub(super) fn after(&mut self, ms: Ms, node: usize, timer: Timer) {
        let life = self.nodes[node].number;
        self.queue.push(self.now + ms, Event::Timer(node, life, timer));
    }

    pub(super) fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// For the gateways' machine and the acknowledgements.
    pub(super) fn instant(&self) -> Instant {
        self.base + Duration::from_millis(self.now)
    }

    pub(super) fn role(&self, doc: Doc) -> &GroupRole {
        &self.docs[doc].groups[GROUP]
    }

    pub(super) fn version(&self, doc: Doc) -> RoleVersion {
        self.role(doc).version()
    }

    pub(super) fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    pub(super) fn trace(&mut self, kind: u64, what: usize) {
        for number in [self.now, kind, index(what)] {
            self.digest.add(number);
        }
    }

    pub(super) fn start_process(&mut self, node: usize) {
        if self.nodes[node].runs() {
            return;
        }
        self.saw("starts");
        let now = self.now;
        self.nodes[node].begins(node, now, &self.docs, self.flaw);
        // Periods of several processes do not run in step.
        let step = self.random.below(BEAT);
        for (ms, timer) in [
            (BEAT, Timer::Beat),
            (PRESENCE, Timer::Presence),
            (TEND, Timer::Tend),
            (PULL, Timer::Pull),
            (0, Timer::Wake),
        ] {
            self.after(ms + step, node, timer);
        }
        for other in (0..3).filter(|other| *other != node) {
            self.after(step, node, Timer::Connect(other));
        }
    }

    pub(super) fn end_process(&mut self, node: usize, killed: bool) {
        if !self.nodes[node].runs() {
            if !killed {
                self.nodes[node].life = Life::Off;
            }
            return;
        }
        let (paused, life) = (false, if killed { Life::Killed } else { Life::Off });
        let ended = &mut self.nodes[node];
        (ended.paused, ended.life) = (paused, life);
        ended.leading = None;
        ended.deferred.clear();
        if killed {
            self.saw("kills");
            for observer in (0..3).filter(|observer| *observer != node) {
                if let Some(stream) = self.nodes[observer].streams[node] {
                    self.send(node, observer, Message::Closed { from: node, stream });
                }
            }
        }
    }

    pub(super) fn resume(&mut self, node: usize) {
        self.nodes[node].paused = false;
        self.nodes[node].on_renewal = None;
        for event in std::mem::take(&mut self.nodes[node].deferred) {
            self.queue.push(self.now, event);
        }
    }

    fn presence(&mut self, node: usize) {
        let now = self.nodes[node].at(self.now);
        let (term, holds) = match &self.nodes[node].server {
            Some(server) => (server.belief.role().role_term.0, server.guard.holds_lease(now)),
            None => (0, false),
        };
        for observer in (0..3).filter(|observer| *observer != node) {
            if let Some(stream) = self.nodes[observer].streams[node] {
                let presence = Message::Presence { from: node, stream, term, holds };
                self.send(node, observer, presence);
            }
        }
    }

    fn connect(&mut self, node: usize, to: usize) {
        if self.nodes[node].streams[to].is_some() {
            return;
        }
        let there = self.network.joins(node, to) && self.nodes[to].life != Life::Off;
        let trip = self.network.round_trip(node, to);
        let other = &self.nodes[to];
        let (ms, outcome) = if self.network.rejects(node, to) {
            (1, Outcome::Refused { asked: self.now })
        } else if !there || other.paused || trip >= CONNECT {
            (CONNECT, Outcome::TimedOut)
        } else if other.life == Life::Killed {
            (trip, Outcome::Refused { asked: self.now })
        } else {
            (trip, Outcome::Accepted { life: other.number })
        };
        self.after(ms, node, Timer::Outcome(to, outcome));
    }

    fn outcome(&mut self, node: usize, to: usize, outcome: Outcome) {
        let now = self.nodes[node].at(self.now);
        let stream = self.id();
        let other = &self.nodes[to];
        let accepted = |life| other.runs() && other.number == life;
        let observer = &self.nodes[node].watches[to];
        let mut watch = observer.clone();
        match outcome {
            Outcome::Accepted { life } if accepted(life) => {
                watch.on_connected(now);
                self.nodes[node].streams[to] = Some(stream);
            }
            Outcome::Refused { asked } => watch.on_refused(self.nodes[node].at(asked), now),
            Outcome::Accepted { .. } | Outcome::TimedOut => watch.on_timeout(),
        }
        self.nodes[node].watches[to] = watch;
        if self.nodes[node].streams[to].is_none() {
            self.after(RECONNECT, node, Timer::Connect(to));
        }
    }

    fn closed(&mut self, node: usize, from: usize, stream: u64) {
        if self.nodes[node].streams[from] == Some(stream) {
            let now = self.nodes[node].at(self.now);
            self.nodes[node].streams[from] = None;
            self.nodes[node].watches[from].on_closed(now);
            self.after(5, node, Timer::Connect(from));
        }
    }

    /// A firewall ends a stream.
    pub(super) fn reset(&mut self, observer: usize, target: usize) {
        if let Some(stream) = self.nodes[observer].streams[target] {
            let closed = Message::Closed { from: target, stream };
            self.queue.push(self.now + 1, Event::Message(observer, closed));
        }
    }
}
